//! What `#[serde(…)]` says about names and defaults.
//!
//! Purpose: a type that is serialized as well has the same names in both worlds, said once.
//! Invariant: an attribute of serde that cannot mean the same here is refused with the `record`
//! attribute to write, never half followed. Those that do not concern names, presence or defaults
//! are not ours.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Expr, ExprLit, Lit, LitStr, Meta, Result, Token};

use crate::attributes::{Problems, has_value};
use crate::case::Case;

/// What serde's attributes say, where they say it to us.
#[derive(Default)]
pub(crate) struct SerdeSays {
    pub(crate) rename: Option<LitStr>,
    pub(crate) rename_all: Option<Case>,
    pub(crate) default: Option<SerdeDefault>,
    /// The word `skip`.
    pub(crate) skip: bool,
    /// An error, unless a `record` attribute decides about skipping.
    pub(crate) half_skipped: Option<Error>,
    /// An error, unless a `record` attribute says the name.
    pub(crate) two_names: Option<Error>,
    /// An error, unless a `record` attribute says the rule.
    pub(crate) two_rules: Option<Error>,
    /// An error, unless a `record` attribute makes it one column, or none.
    pub(crate) flattened: Option<Error>,
}

/// `default` or `default = "path"`.
pub(crate) enum SerdeDefault {
    Trait,
    Function(syn::Path),
}

/// Reads the attributes of a struct, field or variant.
pub(crate) fn read(attributes: &[Attribute], problems: &mut Problems) -> SerdeSays {
    let mut says = SerdeSays::default();
    for attribute in attributes {
        if attribute.path().is_ident("serde") && matches!(attribute.meta, Meta::List(_)) {
            let read = attribute.parse_nested_meta(|meta| entry(&meta, &mut says));
            problems.keep(read);
        }
    }
    says
}

fn entry(meta: &ParseNestedMeta<'_>, says: &mut SerdeSays) -> Result<()> {
    if meta.path.is_ident("rename") {
        match one_name(meta, "rename = \"name\"")? {
            Ok(name) => says.rename = Some(name),
            Err(two) => says.two_names = Some(two),
        }
    } else if meta.path.is_ident("rename_all") {
        match one_name(meta, "rename_all = \"camelCase\"")? {
            Ok(rule) => says.rename_all = Some(Case::parse(&rule)?),
            Err(two) => says.two_rules = Some(two),
        }
    } else if meta.path.is_ident("default") {
        says.default = Some(match has_value(meta) {
            true => SerdeDefault::Function(meta.value()?.parse::<LitStr>()?.parse()?),
            false => SerdeDefault::Trait,
        });
    } else if meta.path.is_ident("skip") {
        says.skip = true;
    } else if meta.path.is_ident("skip_serializing") || meta.path.is_ident("skip_deserializing") {
        says.half_skipped = Some(meta.error(
            "a column is written and read: add #[record(skip)] to leave the field out of the table, \
             or #[record(skip = false)] to keep it",
        ));
    } else if meta.path.is_ident("flatten") {
        says.flattened = Some(meta.error(
            "a record cannot take over the fields of another type: list them here, or drop \
             `flatten`, and the value is one STRUCT column",
        ));
    } else {
        pass_over(meta)?;
    }
    Ok(())
}

/// `= "name"`, or `(serialize = "name", deserialize = "name")` with the same name twice; the inner
/// error is that there are two.
fn one_name(meta: &ParseNestedMeta<'_>, example: &str) -> Result<Result<LitStr>> {
    if has_value(meta) {
        return meta.value()?.parse().map(Ok);
    }
    let mut names: Vec<LitStr> = Vec::new();
    meta.parse_nested_meta(|inner| {
        names.push(inner.value()?.parse()?);
        Ok(())
    })?;
    Ok(match names.as_slice() {
        [one, other] if one.value() == other.value() => Ok(one.clone()),
        _ => Err(meta.error(format!(
            "a column has one name, and serde has two: say which with #[record({example})]"
        ))),
    })
}

/// Reads over an entry that means nothing to us.
fn pass_over(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if has_value(meta) {
        let _: Expr = meta.value()?.parse()?;
    } else if !meta.input.is_empty() && !meta.input.peek(Token![,]) {
        let inside;
        syn::parenthesized!(inside in meta.input);
        let _: proc_macro2::TokenStream = inside.parse()?;
    }
    Ok(())
}

/// A text literal, where an expression may be.
pub(crate) fn as_text(expr: &Expr) -> Option<&LitStr> {
    match expr {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some(text),
        _ => None,
    }
}
