//! The interactive console.
//!
//! Purpose: statements end with `;` and may span lines; a line that begins with a dot is a command.
//! Invariant: an error ends the statement, never the console; Ctrl-C ends a running statement.

use std::path::PathBuf;

use netabase::Netabase;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Editor, Helper};

use crate::args::Format;
use crate::connect::note;
use crate::exit::Failure;
use crate::{print, progress, statements};

const PROMPT: &str = "netabase> ";
const HELP: &str = "A statement ends with ; and may span lines. Ctrl-C ends a running statement.
.tables            the tables
.schema [TABLE]    the columns of one table, or of all
.peers             the other peers of the network
.coverage on|off   whether to say after each answer what it covers
.plan              the plan of the last statement
.help              this text
.quit              leave (also Ctrl-D)";

const TABLES: &str = "SELECT CASE table_schema WHEN 'public' THEN '' ELSE table_schema || '.' END \
    || table_name AS table_name FROM information_schema.tables \
    WHERE table_schema NOT IN ('netabase', 'information_schema') ORDER BY table_schema, 1";

/// Whether to go on reading.
enum Next {
    Read,
    Quit,
}

/// Reads and runs until the end of the input.
pub(crate) async fn run(db: &Netabase, format: Format) -> Result<(), Failure> {
    let mut editor = Editor::<Input, FileHistory>::new().map_err(|e| unreadable(&e))?;
    editor.set_helper(Some(Input));
    let history = history_file();
    if let Some(file) = &history {
        // The first time there is none.
        let _ = editor.load_history(file);
    }
    let mut session = Session {
        db,
        format,
        coverage: true,
        plan: None,
    };
    note("Type .help for help, .quit to leave.");
    let worked = session.read(&mut editor).await;
    if let Some(file) = &history
        && let Err(error) = editor.save_history(file)
    {
        note(format_args!(
            "the history is not kept: {}: {error}",
            file.display()
        ));
    }
    worked
}

fn unreadable(error: &ReadlineError) -> Failure {
    Failure::Io(format!("cannot read from the terminal: {error}"))
}

fn history_file() -> Option<PathBuf> {
    let folder = dirs::data_local_dir()?.join("netabase");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

struct Session<'a> {
    db: &'a Netabase,
    format: Format,
    coverage: bool,
    plan: Option<String>,
}

impl Session<'_> {
    async fn read(&mut self, editor: &mut Editor<Input, FileHistory>) -> Result<(), Failure> {
        loop {
            let text = match editor.readline(PROMPT) {
                Ok(text) => text,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(unreadable(&error)),
            };
            if text.trim().is_empty() {
                continue;
            }
            // The history is a convenience: what it refuses is still run.
            let _ = editor.add_history_entry(text.trim());
            match self.run(&text).await {
                Ok(Next::Read) => {}
                Ok(Next::Quit) => return Ok(()),
                Err(Failure::ClosedPipe) => return Err(Failure::ClosedPipe),
                Err(failure) => note(format_args!("error: {failure}")),
            }
        }
    }

    async fn run(&mut self, text: &str) -> Result<Next, Failure> {
        if let Some(command) = text.trim().strip_prefix('.') {
            return self.command(command).await;
        }
        let (complete, rest) = statements::split(text);
        let last = (!statements::is_blank(rest)).then_some(rest);
        for statement in complete.into_iter().chain(last) {
            self.statement(statement).await?;
        }
        Ok(Next::Read)
    }

    async fn statement(&mut self, text: &str) -> Result<(), Failure> {
        let (db, format) = (self.db, self.format);
        let plan = &mut self.plan;
        let work = async {
            let answer = progress::run(db, text).await?;
            *plan = answer.plan_text();
            print::answer(answer, format).await
        };
        let coverage = interruptible(work).await?;
        if self.coverage {
            note(coverage);
        }
        Ok(())
    }

    async fn command(&mut self, command: &str) -> Result<Next, Failure> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["help"] => note(HELP),
            ["quit" | "exit"] => return Ok(Next::Quit),
            ["tables"] => self.quietly(TABLES).await?,
            ["schema"] => self.quietly(&columns_of(None)).await?,
            ["schema", table] => self.quietly(&columns_of(Some(table))).await?,
            ["peers"] => self.peers()?,
            ["coverage", "on"] => self.coverage = true,
            ["coverage", "off"] => self.coverage = false,
            ["plan"] => match &self.plan {
                Some(plan) => print::line(plan)?,
                None => note("no statement with a plan has been run yet"),
            },
            _ => note(format_args!(
                ".{command} is not a command; type .help for a list"
            )),
        }
        Ok(Next::Read)
    }

    /// Runs a statement of the console's own: the last plan stays the user's.
    async fn quietly(&self, text: &str) -> Result<(), Failure> {
        let answer = self.db.sql(text).await?;
        print::answer(answer, self.format).await.map(|_| ())
    }

    fn peers(&self) -> Result<(), Failure> {
        print::line(&format!("{} (this one)", self.db.peer_id()))?;
        for peer in self.db.peers() {
            print::line(&format!(
                "{}  {:?}  {} tables  {} rows  {}",
                peer.id,
                peer.role,
                peer.tables,
                peer.rows,
                peer.addresses.join(" ")
            ))?;
        }
        Ok(())
    }
}

fn columns_of(table: Option<&str>) -> String {
    const NAME: &str =
        "CASE table_schema WHEN 'public' THEN '' ELSE table_schema || '.' END || table_name";
    let only = table.map_or(String::new(), |name| {
        let name = name.trim_end_matches(';').replace('\'', "''");
        format!("AND {NAME} = '{name}'")
    });
    format!(
        "SELECT {NAME} AS table_name, column_name, data_type, is_nullable \
         FROM information_schema.columns \
         WHERE table_schema NOT IN ('netabase', 'information_schema') {only} \
         ORDER BY table_schema, 1, ordinal_position"
    )
}

/// Ends the work when the user presses Ctrl-C.
pub(crate) async fn interruptible<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        signal = tokio::signal::ctrl_c() => Err(match signal {
            Ok(()) => Failure::Other("interrupted".into()),
            Err(error) => Failure::io("cannot listen to signals", &error),
        }),
    }
}

/// Tells the editor when the input is complete.
struct Input;

impl Validator for Input {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input();
        let complete =
            text.trim_start().starts_with('.') || statements::is_blank(statements::split(text).1);
        Ok(if complete {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Completer for Input {
    type Candidate = String;
}

impl Hinter for Input {
    type Hint = String;
}

impl Highlighter for Input {}

impl Helper for Input {}
