//! What `#[record(…)]` says about a whole struct or enum.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, DeriveInput, Error, LitStr, Path, Result};

use crate::attributes::{
    Given, Problems, closest, each_entry, flag, function, listed, name_of, number, once, text,
    unknown,
};
use crate::case::Case;
use crate::field::Fallback;
use crate::naming;
use crate::serde_attributes::{self, SerdeDefault};

/// `MAX_SHARDS` and `MAX_REPLICAS` of the store.
const MAX_SHARDS: u32 = 4096;
const MAX_REPLICAS: u32 = 16;
/// Units of time and their milliseconds: those of `WITH (ttl = …)`.
const UNITS: [(&[&str], u64); 5] = [
    (&["ms", "millisecond", "milliseconds"], 1),
    (&["s", "sec", "second", "seconds"], 1000),
    (&["min", "minute", "minutes"], 60_000),
    (&["h", "hour", "hours"], 3_600_000),
    (&["d", "day", "days"], 86_400_000),
];
/// The longest time to live that a version can count.
const MAX_TTL_MILLIS: u64 = (1 << 48) - 1;
/// The attributes of a record.
const OF_RECORD: [&str; 10] = [
    "table",
    "rename_all",
    "default",
    "validate",
    "shards",
    "replicas",
    "local",
    "ttl",
    "compression",
    "crate",
];
/// The attributes of a value of a column.
const OF_VALUE: [&str; 3] = ["rename_all", "default", "crate"];
/// What others call it, or where it belongs.
const HINTS: [(&str, &str); 13] = [
    ("name", "write table = \"…\""),
    ("table_name", "write table = \"…\""),
    ("rename", "write table = \"…\""),
    (
        "primary_key",
        "write #[record(key)] at the fields of the key",
    ),
    ("key", "write #[record(key)] at the fields of the key"),
    (
        "shard_key",
        "write #[record(key, shard_key)] at the first fields of the key",
    ),
    (
        "shard_by",
        "write #[record(key, shard_key)] at the first fields of the key",
    ),
    (
        "index",
        "write #[record(index)] at the field, or index = \"name\" at several",
    ),
    (
        "unique",
        "only the primary key is unique; write #[record(key)] at its fields",
    ),
    ("skip", "write #[record(skip)] at the field"),
    ("codec", "write #[record(codec = \"…\")] at the field"),
    (
        "nested",
        "leave it out: a field whose type derives RecordField is a STRUCT column",
    ),
    (
        "flatten",
        "list the fields here, or nest them as a STRUCT column",
    ),
];

/// How segments of the table are compressed.
#[derive(Clone, Copy)]
pub(crate) enum Compression {
    Zstd,
    Lz4,
    None,
}

const COMPRESSIONS: [(&str, Compression); 3] = [
    ("zstd", Compression::Zstd),
    ("lz4", Compression::Lz4),
    ("none", Compression::None),
];

/// The attributes of a struct or enum.
#[derive(Default)]
pub(crate) struct Container {
    pub(crate) table: Option<Given<String>>,
    pub(crate) rename_all: Option<Given<Case>>,
    pub(crate) default: Option<Given<()>>,
    pub(crate) validate: Option<Given<Path>>,
    pub(crate) shards: Option<Given<u32>>,
    pub(crate) replicas: Option<Given<u32>>,
    pub(crate) local: Option<Given<()>>,
    pub(crate) ttl_millis: Option<Given<u64>>,
    pub(crate) compression: Option<Given<Compression>>,
    krate: Option<Given<Path>>,
    serde_case: Option<Case>,
    serde_default: Option<SerdeDefault>,
}

impl Container {
    /// Reads the attributes of a row's struct.
    pub(crate) fn of_record(input: &DeriveInput, problems: &mut Problems) -> Self {
        let (mut read, two_rules) = Self::from_serde(&input.attrs, problems);
        each_entry(&input.attrs, problems, |meta| read.record_entry(meta));
        read.needs_one_rule(two_rules, problems);
        if let (Some(local), Some(_)) = (&read.local, &read.replicas) {
            problems.at(
                &local.at,
                "a local table never leaves its peer: drop `local`, or drop `replicas`",
            );
        }
        read
    }

    /// Reads the attributes of a column's struct or enum.
    pub(crate) fn of_value(input: &DeriveInput, problems: &mut Problems) -> Self {
        let (mut read, two_rules) = Self::from_serde(&input.attrs, problems);
        each_entry(&input.attrs, problems, |meta| {
            match read.common_entry(meta)? {
                true => Ok(()),
                false => Err(not_of_value(meta)),
            }
        });
        read.needs_one_rule(two_rules, problems);
        read
    }

    /// What serde's attributes say, and that they have two rules for names.
    fn from_serde(attributes: &[Attribute], problems: &mut Problems) -> (Self, Option<Error>) {
        let says = serde_attributes::read(attributes, problems);
        let read = Self {
            serde_case: says.rename_all,
            serde_default: says.default,
            ..Self::default()
        };
        (read, says.two_rules)
    }

    fn needs_one_rule(&self, two_rules: Option<Error>, problems: &mut Problems) {
        if self.rename_all.is_none()
            && let Some(two) = two_rules
        {
            problems.add(two);
        }
    }

    /// Takes an entry that both derives have; says whether it was one.
    fn common_entry(&mut self, meta: &ParseNestedMeta<'_>) -> Result<bool> {
        if meta.path.is_ident("rename_all") {
            let rule = Case::parse(&text(meta, "rename_all = \"camelCase\"")?)?;
            once(&mut self.rename_all, meta, rule)?;
        } else if meta.path.is_ident("default") {
            flag(meta)?;
            once(&mut self.default, meta, ())?;
        } else if meta.path.is_ident("crate") {
            let path = function(meta, "crate = my_crate::netabase")?;
            once(&mut self.krate, meta, path)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn record_entry(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if self.common_entry(meta)? || self.option_entry(meta)? {
            return Ok(());
        }
        if meta.path.is_ident("table") {
            let name = naming::check_given("a table", &text(meta, "table = \"articles\"")?)?;
            once(&mut self.table, meta, name)
        } else if meta.path.is_ident("validate") {
            let path = function(meta, "validate = check_article")?;
            once(&mut self.validate, meta, path)
        } else {
            Err(unknown(meta, "a record", &OF_RECORD, &HINTS))
        }
    }

    /// Takes an option of the table; says whether it was one.
    fn option_entry(&mut self, meta: &ParseNestedMeta<'_>) -> Result<bool> {
        if meta.path.is_ident("shards") {
            let shards = number(meta, "shards = 8", (1, MAX_SHARDS))?;
            once(&mut self.shards, meta, shards)?;
        } else if meta.path.is_ident("replicas") {
            let replicas = number(meta, "replicas = 2", (1, MAX_REPLICAS))?;
            once(&mut self.replicas, meta, replicas)?;
        } else if meta.path.is_ident("local") {
            flag(meta)?;
            once(&mut self.local, meta, ())?;
        } else if meta.path.is_ident("ttl") {
            let millis = duration(&text(meta, "ttl = \"7 days\"")?)?;
            once(&mut self.ttl_millis, meta, millis)?;
        } else if meta.path.is_ident("compression") {
            let codec = compression(&text(meta, "compression = \"lz4\"")?)?;
            once(&mut self.compression, meta, codec)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The rule that names follow: ours before serde's.
    pub(crate) fn case(&self) -> Option<Case> {
        let own = self.rename_all.as_ref().map(|given| given.value);
        own.or(self.serde_case)
    }

    /// The value of the struct that fields without a value take theirs of: ours before serde's.
    pub(crate) fn fallback(&self) -> Option<Fallback> {
        match (&self.default, &self.serde_default) {
            (Some(_), _) | (None, Some(SerdeDefault::Trait)) => Some(Fallback::Container(None)),
            (None, Some(SerdeDefault::Function(path))) => {
                Some(Fallback::Container(Some(path.clone())))
            }
            (None, None) => None,
        }
    }

    /// Where the generated code finds netabase.
    pub(crate) fn netabase(&self) -> Path {
        match &self.krate {
            Some(given) => given.value.clone(),
            None => syn::parse_quote!(::netabase),
        }
    }
}

fn not_of_value(meta: &ParseNestedMeta<'_>) -> Error {
    let name = name_of(meta);
    if OF_RECORD.contains(&name.as_str()) || name == "key" {
        return meta.error(format!(
            "`{name}` belongs to a table, and this is a value of a column: move it to the struct \
             with #[derive(Record)]"
        ));
    }
    unknown(meta, "a value", &OF_VALUE, &[])
}

/// A time like `7 days`, in milliseconds.
fn duration(given: &LitStr) -> Result<u64> {
    let wrong = || {
        let text = format!(
            "\"{}\" is no time: write a whole number and its unit (ms, s, min, h, days), like \
             \"7 days\"",
            given.value()
        );
        Error::new(given.span(), text)
    };
    let text = given.value().trim().to_lowercase();
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let known = UNITS.iter().find(|(names, _)| names.contains(&unit.trim()));
    let (_, millis) = known.ok_or_else(wrong)?;
    let millis = number.checked_mul(*millis).ok_or_else(wrong)?;
    match millis {
        1..=MAX_TTL_MILLIS => Ok(millis),
        _ => Err(wrong()),
    }
}

fn compression(given: &LitStr) -> Result<Compression> {
    let name = given.value();
    let found = COMPRESSIONS.iter().find(|(known, _)| *known == name);
    found.map(|(_, codec)| *codec).ok_or_else(|| {
        let names = COMPRESSIONS.map(|(name, _)| name);
        let way_out = match closest(&name, &names) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("there are {}", listed(&names)),
        };
        Error::new(
            given.span(),
            format!("\"{name}\" is no compression: {way_out}"),
        )
    })
}
