//! Broken statements and all of what they are answered with.
//!
//! `sql/tests/broken/*.txt` hold statements, in lines that begin with `> `, and below each the kind and
//! the text of its error. `UPDATE_GOLDEN=1` writes the answers anew: read them before they are kept.

use std::fs;
use std::path::{Path, PathBuf};

use netabase_sql::Engine;

use crate::common::{engine, run, value};

/// What is there when the statements come.
const TABLES: &str = "
    CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT NOT NULL, born DATE, height DOUBLE,
        salary DECIMAL(9, 2), active BOOLEAN, photo BYTEA, seen TIMESTAMP);
    CREATE TABLE orders (customer BIGINT, number INT, total DECIMAL(9, 2) NOT NULL, note TEXT,
        PRIMARY KEY (customer, number));
    CREATE TABLE \"Mixed Case\" (\"Key\" INT PRIMARY KEY, \"Some Value\" TEXT);
    CREATE INDEX people_by_name ON people (name);
    INSERT INTO people VALUES
        (1, 'Ada', '1815-12-10', 1.65, 100.00, true, X'00ff', '1843-09-05 12:00:00'),
        (2, 'Bob', NULL, NULL, NULL, false, NULL, NULL),
        (3, 'Çelik', '1990-01-01', 1.8, 250.50, NULL, NULL, NULL);
    INSERT INTO orders VALUES (1, 1, 10.00, 'first'), (1, 2, 20.00, NULL), (2, 1, 5.50, 'x');
    INSERT INTO \"Mixed Case\" VALUES (1, 'one')";
/// Every table with its rows.
const ROWS: [(&str, &str); 3] = [("people", "3"), ("orders", "3"), ("\"Mixed Case\"", "1")];
/// Words of the layers below, which nobody who writes SQL has to know.
const LEAKS: [&str; 16] = [
    "DataFusion",
    "datafusion-",
    "Arrow",
    "Utf8",
    "LargeList",
    "file a bug",
    "bug report",
    "Internal error",
    "the query engine failed",
    "panicked",
    "netabase.public.",
    "Some(",
    "Ident {",
    "Expr(",
    "DFSchema",
    "TypeSignature",
];

/// A file's statements, each with its place in the file and its answer.
fn statements(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let Some(first) = line.strip_prefix("> ") else {
            continue;
        };
        let mut statement = first.to_string();
        while let Some((_, more)) = lines.next_if(|(_, line)| line.starts_with('>')) {
            statement.push('\n');
            statement.push_str(more[1..].strip_prefix(' ').unwrap_or(&more[1..]));
        }
        let mut answer = Vec::new();
        while let Some((_, more)) = lines.next_if(|(_, line)| !line.is_empty()) {
            answer.push(more);
        }
        found.push((number + 1, statement, answer.join("\n")));
    }
    found
}

/// Kind and text of the answer to a statement that must fail.
async fn answer(engine: &Engine, statement: &str) -> String {
    // As the console does: a text of several statements is a script.
    let ran = match statement.contains(';') {
        true => engine.script(statement).await.map(|_| ()),
        false => match engine.sql(statement).await {
            Ok(output) => output.collect().await.map(|_| ()),
            Err(error) => Err(error),
        },
    };
    match ran {
        Ok(()) => "IT RUNS".to_string(),
        Err(error) => format!("{:?}: {error}", error.kind()),
    }
}

/// What is wrong with an answer, whatever the file says.
fn fault(answer: &str) -> Option<String> {
    if answer == "IT RUNS" {
        return Some("it does not fail".to_string());
    }
    if let Some(leak) = LEAKS.iter().find(|leak| answer.contains(**leak)) {
        return Some(format!("it speaks of {leak}"));
    }
    answer
        .contains("\n\n")
        .then(|| "it has an empty line".to_string())
}

async fn check(engine: &Engine, file: &Path) -> (usize, Vec<String>) {
    let text = fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let (mut rewritten, mut failures, mut count) = (String::new(), Vec::new(), 0);
    let comments = text.lines().take_while(|line| line.starts_with('#'));
    rewritten.extend(comments.map(|line| format!("{line}\n")));
    for (line, statement, expected) in statements(&text) {
        count += 1;
        let given = answer(engine, &statement).await;
        if let Some(fault) = fault(&given) {
            failures.push(format!("{name}:{line}: {statement}\n{fault}:\n{given}"));
        }
        if given != expected {
            let failure = format!("{name}:{line}: {statement}\nis answered with\n{given}");
            failures.push(failure);
        }
        let marked: Vec<String> = statement.lines().map(|line| format!("> {line}")).collect();
        rewritten.push_str(&format!("\n{}\n{given}\n", marked.join("\n")));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, rewritten).unwrap();
    }
    (count, failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_statement_is_answered_helpfully_and_loses_nothing() {
    let engine = engine();
    run(&engine, TABLES).await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut count, mut failures) = (0, Vec::new());
    for file in files {
        let (more, failed) = check(&engine, &file).await;
        count += more;
        failures.extend(failed);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(count >= 200, "{count} statements");
    for (table, rows) in ROWS {
        let counted = value(&engine, &format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(counted, rows, "{table}");
    }
}
