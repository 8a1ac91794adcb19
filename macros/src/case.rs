//! The rules of `rename_all`, which are serde's.
//!
//! Invariant: a name becomes what serde makes of it, so that a row's columns are the members of its
//! JSON.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::{Error, LitStr, Result};

use crate::attributes::{closest, listed};

/// How names are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

const CASES: [(&str, Case); 8] = [
    ("lowercase", Case::Lower),
    ("UPPERCASE", Case::Upper),
    ("PascalCase", Case::Pascal),
    ("camelCase", Case::Camel),
    ("snake_case", Case::Snake),
    ("SCREAMING_SNAKE_CASE", Case::ScreamingSnake),
    ("kebab-case", Case::Kebab),
    ("SCREAMING-KEBAB-CASE", Case::ScreamingKebab),
];

impl Case {
    /// The rule of this name. Fails at the text, and names the rules there are.
    pub(crate) fn parse(text: &LitStr) -> Result<Self> {
        let given = text.value();
        let found = CASES.iter().find(|(name, _)| *name == given);
        found.map(|(_, case)| *case).ok_or_else(|| {
            let names = CASES.map(|(name, _)| name);
            let way_out = match closest(&given, &names) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("there are {}", listed(&names)),
            };
            Error::new(
                text.span(),
                format!("\"{given}\" is no rule of `rename_all`: {way_out}"),
            )
        })
    }

    /// The name of a field, which is `snake_case` in the source.
    pub(crate) fn of_field(self, ident: &Ident) -> String {
        let name = ident.unraw().to_string();
        match self {
            Self::Lower | Self::Snake => name,
            Self::Upper | Self::ScreamingSnake => name.to_ascii_uppercase(),
            Self::Pascal => pascal(&name),
            Self::Camel => lower_first(&pascal(&name)),
            Self::Kebab => name.replace('_', "-"),
            Self::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// The name of a variant, which is `PascalCase` in the source.
    pub(crate) fn of_variant(self, ident: &Ident) -> String {
        let name = ident.unraw().to_string();
        match self {
            Self::Pascal => name,
            Self::Lower => name.to_ascii_lowercase(),
            Self::Upper => name.to_ascii_uppercase(),
            Self::Camel => lower_first(&name),
            Self::Snake => snake(&name),
            Self::ScreamingSnake => snake(&name).to_ascii_uppercase(),
            Self::Kebab => snake(&name).replace('_', "-"),
            Self::ScreamingKebab => snake(&name).to_ascii_uppercase().replace('_', "-"),
        }
    }
}

/// `PascalCase` to `snake_case`: an underscore before every capital but the first.
pub(crate) fn snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

fn pascal(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut starts = true;
    for letter in name.chars() {
        if letter == '_' {
            starts = true;
        } else if starts {
            text.push(letter.to_ascii_uppercase());
            starts = false;
        } else {
            text.push(letter);
        }
    }
    text
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) => first.to_ascii_lowercase().to_string() + letters.as_str(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(name: &str) -> Ident {
        Ident::new(name, proc_macro2::Span::call_site())
    }

    /// The table of serde's own test of these rules (serde_derive, internals/case.rs).
    #[test]
    fn names_are_those_of_serde() {
        let fields = [
            (
                "outcome",
                [
                    "outcome", "OUTCOME", "Outcome", "outcome", "outcome", "OUTCOME", "outcome",
                    "OUTCOME",
                ],
            ),
            (
                "very_tasty",
                [
                    "very_tasty",
                    "VERY_TASTY",
                    "VeryTasty",
                    "veryTasty",
                    "very_tasty",
                    "VERY_TASTY",
                    "very-tasty",
                    "VERY-TASTY",
                ],
            ),
            (
                "z42",
                ["z42", "Z42", "Z42", "z42", "z42", "Z42", "z42", "Z42"],
            ),
        ];
        for (name, expected) in fields {
            for ((_, case), expected) in CASES.iter().zip(expected) {
                assert_eq!(case.of_field(&ident(name)), expected);
            }
        }
        let variants = [
            (
                "Outcome",
                [
                    "outcome", "OUTCOME", "Outcome", "outcome", "outcome", "OUTCOME", "outcome",
                    "OUTCOME",
                ],
            ),
            (
                "VeryTasty",
                [
                    "verytasty",
                    "VERYTASTY",
                    "VeryTasty",
                    "veryTasty",
                    "very_tasty",
                    "VERY_TASTY",
                    "very-tasty",
                    "VERY-TASTY",
                ],
            ),
            ("A", ["a", "A", "A", "a", "a", "A", "a", "A"]),
        ];
        for (name, expected) in variants {
            for ((_, case), expected) in CASES.iter().zip(expected) {
                assert_eq!(case.of_variant(&ident(name)), expected);
            }
        }
    }

    #[test]
    fn a_raw_identifier_is_a_word() {
        let raw = Ident::new_raw("type", proc_macro2::Span::call_site());
        assert_eq!(Case::Snake.of_field(&raw), "type");
    }
}
