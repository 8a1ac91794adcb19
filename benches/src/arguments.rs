//! The command line.
//!
//! Invariant: an option that a benchmark would ignore is refused.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;

/// What a benchmark may be told; what it does not use has been refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// How many times each contender is measured, if told.
    pub(crate) runs: Option<usize>,
    /// How many cores one query may use, the same for every contender.
    pub(crate) partitions: usize,
    /// Scale factor of generated data.
    pub(crate) scale: f64,
    /// The contenders to compare with; empty: the benchmark's default.
    pub(crate) against: Vec<String>,
    /// The queries to run; empty: all.
    pub(crate) queries: Vec<usize>,
    /// Whether plans are shown.
    pub(crate) explain: bool,
    /// Shards of each table; none: the default of CREATE TABLE.
    pub(crate) shards: Option<usize>,
    /// Folder of generated data and of stores; none: beside the build.
    pub(crate) data: Option<PathBuf>,
    /// Rows of a loaded table, if told.
    pub(crate) rows: Option<usize>,
    /// Length of one measurement, if told.
    pub(crate) seconds: Option<f64>,
    /// Length of a long run.
    pub(crate) minutes: f64,
    /// Size of the rows in GB, if told.
    pub(crate) gb: Option<f64>,
    /// What follows the name of a helper process.
    pub(crate) inputs: Vec<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runs: None,
            partitions: thread::available_parallelism().map_or(1, NonZeroUsize::get),
            scale: 1.0,
            against: Vec::new(),
            queries: Vec::new(),
            explain: false,
            shards: None,
            data: None,
            rows: None,
            seconds: None,
            minutes: 10.0,
            gb: None,
            inputs: Vec::new(),
        }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) name: String,
    pub(crate) settings: Settings,
}

/// Each option and who understands it; those not listed here everybody does.
const OPTIONS: &[(&str, &[&str])] = &[
    ("--runs", &["spine", "tpch", "store", "point"]),
    ("--sf", &["tpch"]),
    ("--against", &["tpch", "store", "point"]),
    ("--queries", &["tpch"]),
    ("--explain", &["tpch"]),
    ("--shards", &["tpch", "tpch-load"]),
    (
        "--data",
        &["tpch", "store", "mixed", "open", "spill", "point"],
    ),
    ("--rows", &["store", "mixed", "open", "point"]),
    ("--seconds", &["store"]),
    ("--minutes", &["mixed"]),
    ("--gb", &["spill"]),
];

/// How many paths follow the name of a helper process.
const INPUTS: &[(&str, usize)] = &[
    ("tpch-load", 2),
    ("open-write", 1),
    ("open-idle", 1),
    ("spill-query", 1),
];

/// Reads `<name> [--option value]…`, or says what is wrong with it.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = arguments;
    let mut name: Option<String> = None;
    let mut given = Vec::new();
    let mut settings = Settings::default();
    while let Some(argument) = arguments.next() {
        if argument.starts_with('-') {
            read_option(&mut settings, &argument, &mut arguments)?;
            given.push(argument);
            continue;
        }
        let Some(name) = &name else {
            name = Some(argument);
            continue;
        };
        if settings.inputs.len() == inputs_of(name) {
            return Err(format!(
                "one benchmark at a time, please: {argument} is too much"
            ));
        }
        settings.inputs.push(argument.into());
    }
    let name = name.ok_or("which benchmark?")?;
    if settings.inputs.len() < inputs_of(&name) {
        return Err(format!("{name} needs {} paths", inputs_of(&name)));
    }
    match given.iter().find(|option| !understands(&name, option)) {
        Some(option) => Err(format!("{option} is not an option of {name}")),
        None => Ok(Arguments { name, settings }),
    }
}

/// Each option with the benchmarks that know it, as lines for people.
pub(crate) fn help() -> impl Iterator<Item = String> {
    let shown = |names: &[&str]| {
        let names = names.iter().filter(|name| inputs_of(name) == 0);
        names.copied().collect::<Vec<_>>().join(", ")
    };
    let line = move |(option, names): &(&str, &[&str])| format!("{option:<13}{}", shown(names));
    std::iter::once(format!("{:<13}all", "--partitions")).chain(OPTIONS.iter().map(line))
}

fn inputs_of(name: &str) -> usize {
    let found = INPUTS.iter().find(|(helper, _)| *helper == name);
    found.map_or(0, |(_, count)| *count)
}

fn understands(name: &str, option: &str) -> bool {
    let found = OPTIONS.iter().find(|(other, _)| *other == option);
    found.is_none_or(|(_, names)| names.contains(&name))
}

fn read_option(
    settings: &mut Settings,
    option: &str,
    rest: &mut impl Iterator<Item = String>,
) -> Result<(), String> {
    if option == "--explain" {
        settings.explain = true;
        return Ok(());
    }
    let value = || rest.next();
    match option {
        "--runs" => settings.runs = Some(count(option, value)?),
        "--partitions" => settings.partitions = count(option, value)?,
        "--sf" => settings.scale = positive(option, value)?,
        "--against" => settings.against = list(option, value)?,
        "--queries" => settings.queries = list(option, value)?,
        "--shards" => settings.shards = Some(count(option, value)?),
        "--data" => settings.data = Some(text(option, value)?.into()),
        "--rows" => settings.rows = Some(count(option, value)?),
        "--seconds" => settings.seconds = Some(positive(option, value)?),
        "--minutes" => settings.minutes = positive(option, value)?,
        "--gb" => settings.gb = Some(positive(option, value)?),
        _ => return Err(format!("no option {option}")),
    }
    Ok(())
}

/// The value after an option is taken only by the option that needs one.
fn text(option: &str, value: impl FnOnce() -> Option<String>) -> Result<String, String> {
    value().ok_or_else(|| format!("{option} needs a value"))
}

fn count(option: &str, value: impl FnOnce() -> Option<String>) -> Result<usize, String> {
    value()
        .and_then(|value| value.parse::<NonZeroUsize>().ok())
        .map(NonZeroUsize::get)
        .ok_or_else(|| format!("{option} needs a number of at least 1"))
}

fn positive(option: &str, value: impl FnOnce() -> Option<String>) -> Result<f64, String> {
    value()
        .and_then(|value| value.parse::<f64>().ok())
        .filter(|value| value.is_finite() && *value > 0.0)
        .ok_or_else(|| format!("{option} needs a number above 0"))
}

fn list<T: FromStr>(
    option: &str,
    value: impl FnOnce() -> Option<String>,
) -> Result<Vec<T>, String> {
    let text = text(option, value)?;
    let items = text.split(',').map(|item| item.trim().parse::<T>());
    items
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{option} needs a list like a,b,c and not {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_may_stand_anywhere() {
        let expected = Arguments {
            name: "spine".to_owned(),
            settings: Settings {
                runs: Some(3),
                partitions: 2,
                ..Settings::default()
            },
        };
        assert_eq!(
            parsed("--runs 3 spine --partitions 2").as_ref(),
            Ok(&expected)
        );
        assert_eq!(parsed("spine").unwrap().settings.runs, None);
    }

    #[test]
    fn lists_and_fractions_are_read() {
        let line = "tpch --sf 0.1 --queries 1,6,18 --against duckdb --shards 4 --explain";
        let settings = parsed(line).unwrap().settings;
        assert_eq!(settings.scale, 0.1);
        assert_eq!(settings.queries, [1, 6, 18]);
        assert_eq!(settings.against, ["duckdb"]);
        assert_eq!((settings.shards, settings.explain), (Some(4), true));
        assert_eq!(parsed("mixed --minutes 0.5").unwrap().settings.minutes, 0.5);
        assert_eq!(parsed("spill --gb 0.5").unwrap().settings.gb, Some(0.5));
    }

    #[test]
    fn helpers_take_paths() {
        let settings = parsed("tpch-load a b --shards 2").unwrap().settings;
        assert_eq!(settings.inputs, [PathBuf::from("a"), PathBuf::from("b")]);
        assert!(parsed("tpch-load a").unwrap_err().contains("2 paths"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, word) in [
            ("", "which"),
            ("spine --runs", "--runs"),
            ("spine --runs 0", "--runs"),
            ("spine --fast", "--fast"),
            ("spine other", "other"),
            ("tpch --sf -1", "--sf"),
            ("tpch --queries one", "--queries"),
            ("mixed --data", "--data"),
        ] {
            assert!(parsed(line).unwrap_err().contains(word), "{line}");
        }
    }

    #[test]
    fn options_of_other_benchmarks_are_refused() {
        for line in [
            "spine --sf 1",
            "store --minutes 1",
            "mixed --seconds 1",
            "open --queries 1",
            "tpch --rows 5",
            "mixed --gb 5",
        ] {
            assert!(
                parsed(line).unwrap_err().contains("not an option of"),
                "{line}"
            );
        }
    }
}
