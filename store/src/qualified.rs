//! The names of tables, with the schemas they are in.
//!
//! Idea: a table is known by one text: `t`, or `s.t` in a schema; a part with a dot or a quote in it is
//! in double quotes. Invariant: two names are equal exactly if their texts are, so that a text is a key
//! of a map, and `"a.b"` is never taken for `a.b`.

use std::fmt;

/// A table's name and its schema's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// The schema; `None` for the one that needs no name.
    pub schema: Option<String>,
    /// The table. Empty for the definition of the schema itself.
    pub table: String,
}

impl QualifiedName {
    /// A table of the schema that needs no name.
    pub fn bare(table: &str) -> Self {
        Self {
            schema: None,
            table: table.to_owned(),
        }
    }

    /// A table of a schema.
    pub fn of(schema: &str, table: &str) -> Self {
        Self {
            schema: Some(schema.to_owned()),
            table: table.to_owned(),
        }
    }

    /// Reads `t`, `s.t`, and parts in double quotes; `None` if it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, rest) = part(text)?;
        let Some(rest) = rest else {
            return Some(Self::bare(&first));
        };
        match part(rest)? {
            (table, None) => Some(Self::of(&first, &table)),
            (_, Some(_)) => None,
        }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write_part(f, schema)?;
            f.write_str(".")?;
        }
        write_part(f, &self.table)
    }
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &str) -> fmt::Result {
    match part.contains(['.', '"']) {
        true => write!(f, "\"{}\"", part.replace('"', "\"\"")),
        false => f.write_str(part),
    }
}

/// The first part of a name, and what follows its dot.
fn part(text: &str) -> Option<(String, Option<&str>)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(match text.split_once('.') {
            Some((part, rest)) => (part.to_owned(), Some(rest)),
            None => (text.to_owned(), None),
        });
    };
    let mut from = 0;
    loop {
        let end = from + quoted.get(from..)?.find('"')?;
        let rest = quoted.get(end + 1..)?;
        if rest.starts_with('"') {
            from = end + 2;
            continue;
        }
        let part = quoted.get(..end)?.replace("\"\"", "\"");
        return match rest.strip_prefix('.') {
            Some(rest) => Some((part, Some(rest))),
            None if rest.is_empty() => Some((part, None)),
            None => None,
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::{TableDef, TableId, Version};

    #[test]
    fn every_name_is_read_as_it_was_written() {
        let parts = [
            "t", "a.b", "a\"b", "\"", ".", "..", "\"\".\"", "Ä ö", "a\"", "\"a",
        ];
        let mut seen = std::collections::HashSet::new();
        for table in parts.iter().chain(&[""]) {
            let of_schemas = parts.iter().map(|schema| QualifiedName::of(schema, table));
            let bare = (!table.is_empty()).then(|| QualifiedName::bare(table));
            for name in of_schemas.chain(bare) {
                let text = name.to_string();
                assert_eq!(QualifiedName::parse(&text), Some(name), "{text}");
                assert!(seen.insert(text.clone()), "{text} means two names");
            }
        }
    }

    fn def(name: &str) -> TableDef {
        TableDef {
            id: TableId::derive(&[name.as_bytes()]),
            name: name.to_owned(),
            schema: Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false)])),
            primary_key: vec![0],
            shard_key: vec![0],
            shards: 1,
            replicas: 1,
            local: false,
            owner: "me".into(),
            created: Version(7),
            dropped: None,
            placement: Vec::new(),
            options: Default::default(),
            attachment: Vec::new(),
        }
    }

    #[test]
    fn definitions_keep_names_and_the_bytes_of_before() {
        for (name, raw, format) in [
            ("t", "t", 1),
            ("\"a.b\"", "a.b", 1),
            ("\"q\"\"\"", "q\"", 1),
            ("s.t", "t", 5),
            ("s.\"a.b\"", "a.b", 5),
            ("\"s.s\".t", "t", 5),
            ("s.", "", 5),
        ] {
            let def = def(name);
            let bytes = def.to_bytes().unwrap();
            assert_eq!(bytes[0], format, "{name}");
            // The id has 16 bytes; the name follows, as it was always written.
            assert_eq!(bytes[17], raw.len() as u8, "{name}");
            assert_eq!(&bytes[18..18 + raw.len()], raw.as_bytes(), "{name}");
            assert_eq!(TableDef::from_bytes(&bytes).unwrap(), def, "{name}");
            assert_eq!(def.is_schema(), name == "s.");
        }
        let mut renamed = def("t");
        renamed.options.first_name = Some("u".to_owned());
        let bytes = renamed.to_bytes().unwrap();
        assert_eq!(bytes[0], 5);
        assert_eq!(TableDef::from_bytes(&bytes).unwrap(), renamed);
        for (name, format) in [("t", 4), ("s.t", 5)] {
            let (mut half, mut gone) = (def(name), def(name));
            half.options.rules.unfinished = true;
            gone.dropped = Some(Version(9));
            gone.options.rules.replaced_by = Some(half.id);
            for def in [half, gone] {
                let bytes = def.to_bytes().unwrap();
                assert_eq!(bytes[0], format, "{name}");
                assert_eq!(TableDef::from_bytes(&bytes).unwrap(), def);
            }
        }
    }

    #[test]
    fn names_that_could_be_read_in_two_ways_are_refused() {
        for name in [
            "\"t\"", "a.b.c", "a\"b", "\"a.b", "s.\"t\"", ".t", "\"\"", ".",
        ] {
            assert!(def(name).validate().is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_not_read() {
        for text in ["a.b.c", "\"a", "\"a\"b", "\"a\"\"", "\"a\".\"b"] {
            assert_eq!(QualifiedName::parse(text), None, "{text}");
        }
        assert_eq!(
            QualifiedName::parse("\"t\""),
            Some(QualifiedName::bare("t"))
        );
    }
}
