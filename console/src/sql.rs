//! `netabase sql`: one script, or the prompt.

use std::io::{IsTerminal, Read};
use std::path::Path;

use netabase::Netabase;

use crate::args::{Format, SqlArguments};
use crate::connect::{finish, note};
use crate::exit::Failure;
use crate::{print, progress, prompt, statements};

/// Longest script that is read, in bytes.
const MAX_SCRIPT: u64 = 256 << 20;

pub(crate) async fn run(arguments: SqlArguments) -> Result<(), Failure> {
    let script = match (&arguments.command, &arguments.file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(file)) => Some(read_script(file)?),
        // A pipe is a script.
        (None, None) if !std::io::stdin().is_terminal() => Some(read_script(Path::new("-"))?),
        (None, None) => None,
    };
    let db = arguments.peer.open_client().await?;
    let worked = match script {
        Some(script) => run_script(&db, &script, arguments.format).await,
        None => prompt::run(&db, arguments.format).await,
    };
    finish(&db, worked).await
}

/// Runs every statement of a text; what follows the last `;` is a statement, too.
pub(crate) async fn run_script(db: &Netabase, text: &str, format: Format) -> Result<(), Failure> {
    let (complete, rest) = statements::split(text);
    let last = (!statements::is_blank(rest)).then_some(rest);
    for statement in complete.into_iter().chain(last) {
        let answer = progress::run(db, statement).await?;
        note(print::answer(answer, format).await?);
    }
    Ok(())
}

fn read_script(path: &Path) -> Result<String, Failure> {
    let named = |e: &std::io::Error| Failure::io(&format!("script {}", path.display()), e);
    let mut text = String::new();
    let length = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_SCRIPT + 1)
            .read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path).map_err(|e| named(&e))?;
        file.take(MAX_SCRIPT + 1).read_to_string(&mut text)
    }
    .map_err(|e| named(&e))?;
    if length as u64 > MAX_SCRIPT {
        return Err(Failure::Usage(format!(
            "script {} is longer than {MAX_SCRIPT} bytes; load data with COPY … FROM",
            path.display()
        )));
    }
    Ok(text)
}
