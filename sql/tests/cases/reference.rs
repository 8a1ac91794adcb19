//! The examples of the SQL reference, page by page: they run, and give what is printed under them.

use std::path::{Path, PathBuf};

use arrow::util::pretty::pretty_format_batches;
use netabase_sql::Engine;

use crate::common::engine;

/// An example: statements, and what is printed under them.
struct Example {
    line: usize,
    fails: bool,
    sql: String,
    output: Option<String>,
}

/// The lines of a fenced block from `start` on, and where what follows it begins.
fn block(lines: &[&str], start: usize) -> (String, usize) {
    let end = (start..lines.len()).find(|&at| lines[at] == "```");
    let end = end.unwrap_or_else(|| panic!("line {start}: a block does not end"));
    (lines[start..end].join("\n"), end + 1)
}

fn examples(page: &Path) -> Vec<Example> {
    let text = std::fs::read_to_string(page).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < lines.len() {
        let fence = lines[at];
        at += 1;
        if !fence.starts_with("```") {
            continue;
        }
        let (body, next) = block(&lines, at);
        let line = at;
        at = next;
        let fails = match fence {
            "```sql" => false,
            "```sql fails" => true,
            "```text" => continue,
            other => panic!("{}, line {line}: {other} is no known block", page.display()),
        };
        let mut example = Example {
            line,
            fails,
            sql: body,
            output: None,
        };
        if lines.get(at) == Some(&"```output") {
            let (output, next) = block(&lines, at + 1);
            example.output = Some(output);
            at = next;
        }
        found.push(example);
    }
    found
}

/// Examples put their files into /tmp, and the test into a folder of its own.
fn in_folder(text: &str, folder: &Path) -> String {
    text.replace("/tmp/", &format!("{}/", folder.display()))
}

async fn run(engine: &Engine, example: &Example) -> Result<(), String> {
    let ran = match engine.script(&example.sql).await {
        Ok(mut outputs) => outputs.pop().ok_or("no statement")?.collect().await,
        Err(error) => Err(error),
    };
    let expected = example.output.as_deref();
    match ran {
        Err(error) if example.fails => match expected {
            Some(expected) if error.to_string().contains(expected) => Ok(()),
            _ => Err(format!("it fails with: {error}")),
        },
        Err(error) => Err(error.to_string()),
        Ok(_) if example.fails => Err("it does not fail".to_owned()),
        Ok(batches) => {
            let shown = pretty_format_batches(&batches).unwrap().to_string();
            match expected {
                Some(expected) if expected != shown => Err(format!("it gives\n{shown}")),
                _ => Ok(()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_give_what_is_printed_under_them() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/sql");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    let (mut failures, mut ran) = (Vec::new(), 0);
    for page in pages {
        let engine = engine();
        let files = tempfile::tempdir().unwrap();
        for mut example in examples(&page) {
            ran += 1;
            example.sql = in_folder(&example.sql, files.path());
            if let Err(failure) = run(&engine, &example).await {
                let (page, line) = (page.display(), example.line);
                failures.push(format!("{page}, line {line}: {failure}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(ran > 8, "{ran} examples");
}
