//! What can be said about a type by its tokens.
//!
//! Non-goal: to be complete. A type behind an alias is not recognised here, and refused by the trait
//! bounds of the generated code instead.

use syn::{Error, GenericArgument, PathArguments, Result, Type};

/// The last name of a type's path, and its first type argument.
fn named(ty: &Type) -> Option<(String, Option<&Type>)> {
    let Type::Path(path) = plain(ty) else {
        return None;
    };
    let last = path.path.segments.last()?;
    let inner = match &last.arguments {
        PathArguments::AngleBracketed(list) => {
            list.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(inner) => Some(inner),
                _ => None,
            })
        }
        _ => None,
    };
    Some((last.ident.to_string(), inner))
}

/// A type without parentheses and invisible groups.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Paren(inner) => plain(&inner.elem),
        Type::Group(inner) => plain(&inner.elem),
        other => other,
    }
}

/// What is inside of an `Option`.
pub(crate) fn optional(ty: &Type) -> Option<&Type> {
    match named(ty)? {
        (name, inner) if name == "Option" => inner,
        _ => None,
    }
}

fn is(ty: &Type, names: &[&str]) -> bool {
    named(ty).is_some_and(|(name, _)| names.contains(&name.as_str()))
}

/// Whether it is called like one of the types that every program has.
pub(crate) fn is_common(ty: &Type) -> bool {
    is(
        ty,
        &[
            "bool",
            "i8",
            "i16",
            "i32",
            "i64",
            "u8",
            "u16",
            "u32",
            "u64",
            "String",
            "Vec",
            "SystemTime",
        ],
    )
}

/// Whether it is a list of anything but bytes, or a map.
fn is_nested(ty: &Type) -> bool {
    match named(ty) {
        Some((name, Some(inner))) if name == "Vec" => !is(inner, &["u8"]),
        Some((name, _)) => name == "HashMap" || name == "BTreeMap",
        None => false,
    }
}

/// Refuses types that no column can have, with the type to take instead.
pub(crate) fn check_column(ty: &Type) -> Result<()> {
    let refuse = |text: &str| Err(Error::new_spanned(ty, text));
    match plain(ty) {
        Type::Reference(_) => {
            return refuse(
                "a row owns its values: write String for &str, Vec<u8> for &[u8], or the type \
                 without &",
            );
        }
        Type::Tuple(_) => {
            return refuse("a tuple has no names: make it a struct with #[derive(RecordField)]");
        }
        Type::Array(_) | Type::Slice(_) => {
            return refuse("a column has no arrays: write Vec<…>");
        }
        Type::BareFn(_) | Type::Ptr(_) | Type::Never(_) | Type::TraitObject(_) => {
            return refuse(
                "this is no value that can be stored: leave it out with #[record(skip)]",
            );
        }
        _ => {}
    }
    if is(ty, &["usize", "isize"]) {
        return refuse(
            "a column's width must not depend on the machine: write u64 for usize, i64 for isize",
        );
    }
    if is(ty, &["u128", "i128"]) {
        return refuse(
            "no column is 128 bits wide: write u64 or i64, or Vec<u8> for an identifier",
        );
    }
    if optional(ty).and_then(optional).is_some() {
        return refuse("a column has one NULL: write one Option");
    }
    match named(ty) {
        Some((name, Some(inner))) if name == "Option" || name == "Vec" => check_column(inner),
        _ => Ok(()),
    }
}

/// Refuses types that a primary key cannot have.
pub(crate) fn check_key(ty: &Type) -> Result<()> {
    let refuse = |text: &str| Err(Error::new_spanned(ty, text));
    if optional(ty).is_some() {
        return refuse("a key is never NULL: write the type without Option");
    }
    if is(ty, &["f32", "f64"]) {
        return refuse(
            "a float is no key, because NaN equals nothing: store an integer or a String",
        );
    }
    if is_nested(ty) {
        return refuse(
            "a list or map is no key: use integers, bool, String, Vec<u8>, SystemTime or an enum \
             with #[derive(RecordField)]",
        );
    }
    Ok(())
}

/// Refuses types that an index cannot have.
pub(crate) fn check_index(ty: &Type) -> Result<()> {
    if is_nested(optional(ty).unwrap_or(ty)) {
        return Err(Error::new_spanned(
            ty,
            "a list or map has no order to be indexed by: remove `index`, or give what is looked \
             up a field of its own",
        ));
    }
    Ok(())
}
