//! "Did you mean": the known name that is nearest to one that does not exist.
//!
//! Invariant: what is suggested exists. Nothing is suggested that differs in so many letters that
//! it is rather another word.

use strsim::damerau_levenshtein;

/// The most names that a hint lists.
const MAX_SUGGESTED: usize = 3;
/// One of so many letters may differ, and at least one.
const LETTERS_PER_DIFFERENCE: usize = 3;
/// The longest name that is compared, in bytes: the time grows with the product of the lengths.
const MAX_COMPARED: usize = 128;
/// From this many letters on, a name that begins with the wanted one is near, too.
const MIN_PREFIX: usize = 4;

/// The nearest of some names, the nearest first; more than one only if `most` says so.
pub(crate) fn near<S: AsRef<str>>(
    wanted: &str,
    known: impl IntoIterator<Item = S>,
    most: usize,
) -> Vec<String> {
    if wanted.is_empty() || wanted.len() > MAX_COMPARED {
        return Vec::new();
    }
    let wanted = wanted.to_lowercase();
    let limit = (wanted.chars().count() / LETTERS_PER_DIFFERENCE).max(1);
    let mut ranked: Vec<(usize, usize, String)> = Vec::new();
    for name in known {
        let name = name.as_ref();
        if name.len() > MAX_COMPARED {
            continue;
        }
        let folded = name.to_lowercase();
        let letters = damerau_levenshtein(&wanted, &folded);
        let mut differences = letters;
        let begins = wanted.chars().count() >= MIN_PREFIX && folded.starts_with(&wanted);
        if begins || folded.replace('_', "") == wanted.replace('_', "") {
            differences = differences.min(limit);
        }
        // A word of which nothing is left is another word.
        if differences <= limit && differences < wanted.chars().count() {
            ranked.push((differences, letters, name.to_owned()));
        }
    }
    ranked.sort();
    ranked.dedup();
    ranked.truncate(most);
    ranked.into_iter().map(|(_, _, name)| name).collect()
}

/// `; did you mean "x"?`, or nothing.
pub(crate) fn hint<S: AsRef<str>>(wanted: &str, known: impl IntoIterator<Item = S>) -> String {
    match near(wanted, known, 1).first() {
        Some(name) => format!("; did you mean \"{name}\"?"),
        None => String::new(),
    }
}

/// The same for up to three names.
pub(crate) fn hints<S: AsRef<str>>(wanted: &str, known: impl IntoIterator<Item = S>) -> String {
    let names = near(wanted, known, MAX_SUGGESTED);
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => format!("; did you mean {only}?"),
        Some((last, others)) => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

/// The same as a sentence, where a name may have several parts: the nearest, or one whose last part
/// is near.
pub(crate) fn did_you_mean<'a>(
    given: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let known: Vec<&str> = known.collect();
    let last = |name: &'a str| name.rsplit_once('.').map_or(name, |(_, last)| last);
    let nearest = near(given, &known, 1).into_iter().next().or_else(|| {
        let part = near(given, known.iter().map(|name| last(name)), 1);
        let part = part.first()?;
        let whole = known.iter().find(|name| last(name) == part)?;
        Some((*whole).to_owned())
    })?;
    Some(format!("did you mean \"{nearest}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["name", "nation", "price", "id", "created_at"];
        assert_eq!(near("nmae", names, 1), ["name"]);
        assert_eq!(near("PRICES", names, 1), ["price"]);
        assert_eq!(near("createdat", names, 1), ["created_at"]);
        assert_eq!(near("weight", names, 3), Vec::<String>::new());
        assert_eq!(near("x", names, 3), Vec::<String>::new());
        assert_eq!(near("", names, 3), Vec::<String>::new());
        assert_eq!(hint("nmae", names), "; did you mean \"name\"?");
        assert_eq!(hint("weight", names), "");
    }

    #[test]
    fn several_names_are_listed_by_nearness() {
        let names = ["substr", "substring", "subst", "sum"];
        let text = hints("substrr", names);
        assert_eq!(text, "; did you mean \"substr\" or \"subst\"?");
    }
}
