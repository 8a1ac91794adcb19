//! Reading `#[record(…)]`.
//!
//! Purpose: one entry of an attribute at a time, with an error that shows how it is written.
//! Invariant: every entry is either understood or refused; none is passed over.

use quote::ToTokens;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Expr, ExprLit, Lit, LitStr, Meta, Path, Result, Token};

/// Fewest letters in common, from 0 to 1, for a name to be meant by another one.
const ALIKE: f64 = 0.7;

/// The mistakes of one item; they are reported together.
#[derive(Default)]
pub(crate) struct Problems(Option<Error>);

impl Problems {
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// A mistake at some tokens.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, text: impl std::fmt::Display) {
        self.add(Error::new_spanned(tokens, text));
    }

    /// The value, if there is one; its mistake is noted otherwise.
    pub(crate) fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Something that an attribute says, and where.
#[derive(Clone)]
pub(crate) struct Given<T> {
    pub(crate) at: Path,
    pub(crate) value: T,
}

/// Keeps what an entry says, unless it was said before.
pub(crate) fn once<T>(
    slot: &mut Option<Given<T>>,
    meta: &ParseNestedMeta<'_>,
    value: T,
) -> Result<()> {
    if slot.is_some() {
        return Err(meta.error(format!("`{}` is given twice: keep one", name_of(meta))));
    }
    *slot = Some(Given {
        at: meta.path.clone(),
        value,
    });
    Ok(())
}

/// The entry's name, as it is written.
pub(crate) fn name_of(meta: &ParseNestedMeta<'_>) -> String {
    path_text(&meta.path)
}

pub(crate) fn path_text(path: &Path) -> String {
    let parts = path
        .segments
        .iter()
        .map(|segment| segment.ident.to_string());
    parts.collect::<Vec<_>>().join("::")
}

/// Hands every entry of the `#[record(…)]` attributes to a function.
pub(crate) fn each_entry(
    attributes: &[Attribute],
    problems: &mut Problems,
    mut entry: impl FnMut(&ParseNestedMeta<'_>) -> Result<()>,
) {
    for attribute in attributes {
        if !attribute.path().is_ident("record") {
            continue;
        }
        match &attribute.meta {
            Meta::List(_) => {
                let read = attribute.parse_nested_meta(|meta| entry(&meta));
                problems.keep(read);
            }
            other => problems.at(
                other,
                "`record` takes a list: write #[record(…)], such as #[record(key)]",
            ),
        }
    }
}

/// Whether a value follows.
pub(crate) fn has_value(meta: &ParseNestedMeta<'_>) -> bool {
    meta.input.peek(Token![=])
}

/// Refuses a value behind an entry that takes none.
pub(crate) fn flag(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.is_empty() || meta.input.peek(Token![,]) {
        return Ok(());
    }
    let name = name_of(meta);
    Err(meta.error(format!("`{name}` takes no value: write {name} alone")))
}

/// The expression behind `=`; `example` shows how it is written.
pub(crate) fn expression(meta: &ParseNestedMeta<'_>, example: &str) -> Result<Expr> {
    if !has_value(meta) {
        let name = name_of(meta);
        return Err(meta.error(format!("`{name}` takes a value: write {example}")));
    }
    meta.value()?.parse().map(ungrouped)
}

/// An expression without the invisible group in which a macro hands it on.
fn ungrouped(expr: Expr) -> Expr {
    match expr {
        Expr::Group(group) => ungrouped(*group.expr),
        other => other,
    }
}

/// The text behind `=`.
pub(crate) fn text(meta: &ParseNestedMeta<'_>, example: &str) -> Result<LitStr> {
    match expression(meta, example)? {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text),
        other => Err(Error::new_spanned(
            other,
            format!(
                "`{}` takes a text in quotes: write {example}",
                name_of(meta)
            ),
        )),
    }
}

/// The whole number behind `=`, and where it stands.
pub(crate) fn number(
    meta: &ParseNestedMeta<'_>,
    example: &str,
    (least, most): (u32, u32),
) -> Result<u32> {
    let given = expression(meta, example)?;
    let found = match &given {
        Expr::Lit(ExprLit {
            lit: Lit::Int(number),
            ..
        }) => number.base10_parse::<u32>().ok(),
        _ => None,
    };
    let within = found.filter(|number| (least..=most).contains(number));
    within.ok_or_else(|| {
        Error::new_spanned(
            &given,
            format!(
                "`{}` is a whole number from {least} to {most}: write {example}",
                name_of(meta)
            ),
        )
    })
}

/// The path of a function behind `=`.
pub(crate) fn function(meta: &ParseNestedMeta<'_>, example: &str) -> Result<Path> {
    match expression(meta, example)? {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path),
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Err(Error::new_spanned(
            &text,
            format!(
                "`{name}` takes the path of a function without quotes: write {name} = {}",
                text.value(),
                name = name_of(meta)
            ),
        )),
        other => Err(Error::new_spanned(
            other,
            format!(
                "`{}` takes the path of a function: write {example}",
                name_of(meta)
            ),
        )),
    }
}

/// The error about an entry that does not exist. `hints` are names that others use, and what to do.
pub(crate) fn unknown(
    meta: &ParseNestedMeta<'_>,
    of: &str,
    known: &[&str],
    hints: &[(&str, &str)],
) -> Error {
    let name = name_of(meta);
    if let Some((_, hint)) = hints.iter().find(|(other, _)| *other == name) {
        return meta.error(format!("`{name}` is no attribute of {of}: {hint}"));
    }
    meta.error(match closest(&name, known) {
        Some(meant) => format!("`{name}` is no attribute of {of}: did you mean `{meant}`?"),
        None => format!(
            "`{name}` is no attribute of {of}: there are {}",
            listed(known)
        ),
    })
}

/// The known name that is most like the one given.
pub(crate) fn closest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let alike = |name: &&str| strsim::jaro_winkler(given, name);
    let best = known
        .iter()
        .map(|name| (alike(name), *name))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(alike, _)| *alike >= ALIKE)
        .map(|(_, name)| name)
}

/// `a, b and c`, each as code.
pub(crate) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
