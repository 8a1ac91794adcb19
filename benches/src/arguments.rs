//! The command line.

use std::num::NonZeroUsize;
use std::thread;

/// Rounds of a benchmark, unless told otherwise.
const DEFAULT_RUNS: usize = 20;

/// What every benchmark may be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// How many times each contender is measured.
    pub(crate) runs: usize,
    /// How many cores one query may use, the same for every contender.
    pub(crate) partitions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runs: DEFAULT_RUNS,
            partitions: thread::available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) name: String,
    pub(crate) settings: Settings,
}

/// Reads `<name> [--runs N] [--partitions N]`, or says what is wrong with it.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = arguments;
    let mut name = None;
    let mut settings = Settings::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => settings.runs = count(&argument, arguments.next())?,
            "--partitions" => settings.partitions = count(&argument, arguments.next())?,
            option if option.starts_with('-') => return Err(format!("no option {option}")),
            _ if name.is_none() => name = Some(argument),
            _ => {
                return Err(format!(
                    "one benchmark at a time, please: {argument} is too much"
                ));
            }
        }
    }
    match name {
        Some(name) => Ok(Arguments { name, settings }),
        None => Err("which benchmark?".to_owned()),
    }
}

fn count(option: &str, value: Option<String>) -> Result<usize, String> {
    value
        .and_then(|value| value.parse::<NonZeroUsize>().ok())
        .map(NonZeroUsize::get)
        .ok_or_else(|| format!("{option} needs a number of at least 1"))
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
                runs: 3,
                partitions: 2,
            },
        };
        assert_eq!(
            parsed("--runs 3 spine --partitions 2").as_ref(),
            Ok(&expected)
        );
        assert_eq!(parsed("spine").unwrap().settings.runs, DEFAULT_RUNS);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, word) in [
            ("", "which"),
            ("spine --runs", "--runs"),
            ("spine --runs 0", "--runs"),
            ("spine --fast", "--fast"),
            ("spine other", "other"),
        ] {
            assert!(parsed(line).unwrap_err().contains(word), "{line}");
        }
    }
}
