//! Names of types and literals of plans, as SQL writes them.

/// Arrow's names of types and those of SQL.
const TYPES: &[(&str, &str)] = &[
    ("Utf8View", "TEXT"),
    ("Utf8", "TEXT"),
    ("LargeUtf8", "TEXT"),
    ("String", "TEXT"),
    ("Int8", "TINYINT"),
    ("Int16", "SMALLINT"),
    ("Int32", "INT"),
    ("Int64", "BIGINT"),
    ("UInt8", "TINYINT UNSIGNED"),
    ("UInt16", "SMALLINT UNSIGNED"),
    ("UInt32", "INT UNSIGNED"),
    ("UInt64", "BIGINT UNSIGNED"),
    ("Float32", "REAL"),
    ("Float64", "DOUBLE"),
    ("Boolean", "BOOLEAN"),
    ("Date32", "DATE"),
    ("Date64", "DATE"),
    ("Binary", "BYTEA"),
    ("BinaryView", "BYTEA"),
    ("LargeBinary", "BYTEA"),
    ("FixedSizeBinary", "BYTEA"),
    ("Decimal32", "DECIMAL"),
    ("Decimal64", "DECIMAL"),
    ("Decimal128", "DECIMAL"),
    ("Decimal256", "DECIMAL"),
    ("Timestamp", "TIMESTAMP"),
    ("Time32", "TIME"),
    ("Time64", "TIME"),
    ("Interval", "INTERVAL"),
];
/// Types of which a literal is written `Type(value)`.
const LITERALS: &[&str] = &[
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float32",
    "Float64",
    "Boolean",
    "Utf8",
    "Utf8View",
    "LargeUtf8",
    "Date32",
];
/// Types whose name is followed by a unit, which SQL leaves out.
const WITH_UNIT: &[&str] = &["Timestamp", "Time32", "Time64", "Interval"];

/// A text with the names of types and literals as SQL has them. What is between single quotes stays.
pub(crate) fn in_sql(text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        // Behind a letter it is an apostrophe.
        let apostrophe = said.ends_with(|c: char| c.is_ascii_alphabetic());
        let taken = if first == '\'' && !apostrophe {
            quoted(rest, &mut said)
        } else if first.is_ascii_alphanumeric() || first == '_' {
            word(rest, &mut said)
        } else {
            said.push(first);
            first.len_utf8()
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    // What `count(*)` counts is nobody's business.
    said.replace("count(1)", "count(*)")
}

/// Copies a quoted text.
fn quoted(rest: &str, said: &mut String) -> usize {
    let end = rest.get(1..).and_then(|inner| inner.find('\''));
    let length = end.map_or(rest.len(), |end| end + 2);
    said.push_str(rest.get(..length).unwrap_or_default());
    length
}

/// Translates a word and, with it, what is in parentheses behind it.
fn word(rest: &str, said: &mut String) -> usize {
    let length = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let (word, behind) = rest.split_at(length);
    let Some((_, name)) = TYPES.iter().find(|(arrow, _)| *arrow == word) else {
        said.push_str(word);
        return length;
    };
    let inner = behind
        .strip_prefix('(')
        .and_then(|inner| inner.split_once(')'))
        .map(|(inner, _)| inner);
    match inner {
        Some(value) if LITERALS.contains(&word) => {
            match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
                Some(text) => said.push_str(&format!("'{text}'")),
                None => said.push_str(value),
            }
            length + value.len() + 2
        }
        Some(unit) if WITH_UNIT.contains(&word) => {
            said.push_str(name);
            if word == "Timestamp" && unit.contains('"') {
                said.push_str(" WITH TIME ZONE");
            }
            length + unit.len() + 2
        }
        _ => {
            said.push_str(name);
            length
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_literals_are_those_of_sql() {
        for (arrow, sql) in [
            ("Utf8View + Int64", "TEXT + BIGINT"),
            ("Decimal128(9, 2)", "DECIMAL(9, 2)"),
            ("Timestamp(ns, \"UTC\")", "TIMESTAMP WITH TIME ZONE"),
            ("Timestamp(ns)", "TIMESTAMP"),
            ("a = Utf8(\"x\")", "a = 'x'"),
            ("count(Int64(1))", "count(*)"),
            ("it isn't Int64", "it isn't BIGINT"),
            ("needs 'Int64' and Int64", "needs 'Int64' and BIGINT"),
            ("Int64s, myInt64", "Int64s, myInt64"),
            ("Int64(", "BIGINT("),
            ("日 Int8", "日 TINYINT"),
        ] {
            assert_eq!(in_sql(arrow), sql);
        }
    }
}
