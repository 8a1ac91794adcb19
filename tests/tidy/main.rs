//! The rules of this project that a program can check.
//!
//! Purpose: layers, sizes, leftovers and links stay as CONTRIBUTING.md says, without anybody having
//! to look. Every failure names file and line and says what to do.
//!
//! Invariant: each checker is a pure function over text with tests of its own, so that it is known
//! to fail where it should; the tests below only feed it the tree.
//!
//! Not here: formatting (rustfmt), lints (clippy), licences and versions (cargo-deny).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod layers;
mod source;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

use layers::Package;

/// No source file is longer, in lines.
const MAX_FILE_LINES: usize = 800;
/// No production function is longer, in lines, from `fn` to its closing brace.
const MAX_FUNCTION_LINES: usize = 70;
/// Larger files are data, not text that somebody wrote.
const MAX_TEXT_BYTES: u64 = 2 << 20;
/// Folders that hold no text of ours.
const FOREIGN_FOLDERS: &[&str] = &[".git", "target", ".venv", "__pycache__", "node_modules"];
/// The one crate that may contain unsafe code: a C ABI cannot be written without.
const UNSAFE_CRATE: &str = "netabase-c";

struct File {
    /// Relative to the workspace, with forward slashes.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it ends up in something that we deliver.
    fn is_production(&self) -> bool {
        let test = |part: &str| part == "tests" || part == "tests.rs";
        self.is_rust() && !self.path.split('/').any(test)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the workspace, in the order of their paths.
fn files() -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let name = entry.file_name();
            if kind.is_dir() && !FOREIGN_FOLDERS.iter().any(|skip| name == *skip) {
                folders.push(entry.path());
            } else if kind.is_file() && entry.metadata().unwrap().len() <= MAX_TEXT_BYTES {
                found.extend(read(&root, &entry.path()));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        found.iter().any(|file| file.path == "tests/tidy/main.rs"),
        "the tree was not found"
    );
    found
}

/// Nothing when the file is not UTF-8, or has just been removed.
fn read(root: &Path, path: &Path) -> Option<File> {
    let text = std::fs::read_to_string(path).ok()?;
    let relative = path.strip_prefix(root).unwrap();
    Some(File {
        path: relative.to_str()?.replace('\\', "/"),
        text,
    })
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    layers::packages(&serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON"))
}

#[track_caller]
fn expect_none(problems: &[String], what_to_do: &str) {
    assert!(
        problems.is_empty(),
        "\n{}\n\n{} of them. {what_to_do}\n",
        problems.join("\n"),
        problems.len()
    );
}

#[test]
fn layers_import_only_what_lies_below_them() {
    let packages = packages();
    assert!(
        packages.len() >= 8,
        "cargo metadata lists {} packages",
        packages.len()
    );
    expect_none(
        &packages
            .iter()
            .flat_map(layers::violations)
            .collect::<Vec<_>>(),
        "A layer imports only those to its left: store, sql, distributed, netabase (which alone has \
         the macros), and last \
         the bindings, console and benches, which see the facade alone (but benches may measure the \
         store by itself). Move the code to the layer that may do this, or hand the thing in as a trait that the lower layer defines \
         (docs/adr/0001). A new crate gets a row in tests/tidy/layers.rs.",
    );
}

#[test]
fn crate_roots_forbid_unsafe_code() {
    let problems: Vec<String> = packages()
        .iter()
        .flat_map(|package| package.roots.iter().map(move |path| (package, path)))
        .filter_map(|(package, path)| {
            let (level, lint) = match package.name.as_str() {
                UNSAFE_CRATE => ("deny", "unsafe_op_in_unsafe_fn"),
                _ => ("forbid", "unsafe_code"),
            };
            let code = source::code(&std::fs::read_to_string(path).unwrap());
            (!source::has_inner_attribute(&code, level, lint))
                .then(|| format!("{path}: no #![{level}({lint})]"))
        })
        .collect();
    expect_none(
        &problems,
        "Add the attribute below the crate's header comment.",
    );
}

#[test]
fn files_are_short() {
    let problems: Vec<String> = files()
        .iter()
        .filter(|file| file.is_rust())
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_FILE_LINES)
        .map(|(file, lines)| format!("{}: {lines} lines", file.path))
        .collect();
    expect_none(
        &problems,
        "A file is one idea in at most 800 lines: make two modules of it.",
    );
}

#[test]
fn functions_are_short() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for file in files().iter().filter(|file| file.is_production()) {
        let code = source::without_tests(&source::code(&file.text));
        for function in source::functions(&code) {
            seen += 1;
            if function.lines > MAX_FUNCTION_LINES {
                let source::Function { name, line, lines } = function;
                problems.push(format!("{}:{line}: fn {name} has {lines} lines", file.path));
            }
        }
    }
    assert!(seen > 0, "no function was found at all");
    expect_none(
        &problems,
        "A function has at most 70 lines: give its steps names of their own.",
    );
}

#[test]
fn nothing_is_left_over() {
    let mut problems = Vec::new();
    for file in files().iter().filter(|file| file.is_rust()) {
        for (line, word) in source::leftovers(&file.text) {
            problems.push(format!("{}:{line}: {word}", file.path));
        }
    }
    expect_none(
        &problems,
        "Finish it, or return an error that says what is not supported.",
    );
}

#[test]
fn no_path_of_somebodys_machine() {
    let mut problems = Vec::new();
    for file in &files() {
        for (line, path) in text::home_paths(&file.text) {
            problems.push(format!("{}:{line}: {path}", file.path));
        }
    }
    expect_none(
        &problems,
        "Write paths relative to the repository, or take them from a setting.",
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = root();
    let mut problems = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root.join(&file.path).parent().unwrap().to_path_buf();
        for (line, target) in text::local_links(&file.text) {
            let path = match target.strip_prefix('/') {
                Some(from_root) => root.join(from_root),
                None => folder.join(&target),
            };
            if !path.exists() {
                problems.push(format!("{}:{line}: {target} does not exist", file.path));
            }
        }
    }
    expect_none(&problems, "Mend the link, or write the page it leads to.");
}
