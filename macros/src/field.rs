//! What `#[record(…)]` says about a field, of a row or of a nested value.

use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Error, Expr, Field, Ident, LitStr, Path, Result, Type, Visibility};

use crate::attributes::{
    Given, Problems, closest, each_entry, expression, flag, function, has_value, listed, name_of,
    number, once, text, unknown,
};
use crate::case::Case;
use crate::container::Container;
use crate::naming;
use crate::serde_attributes::{self, SerdeDefault, SerdeSays, as_text};

/// Most columns of a key that a number can order.
const MAX_KEY_ORDER: u32 = 64;
/// The attributes of a field of a record.
const OF_RECORD: [&str; 8] = [
    "key",
    "shard_key",
    "index",
    "rename",
    "default",
    "skip",
    "validate",
    "codec",
];
/// The attributes of a field of a nested value.
const OF_VALUE: [&str; 3] = ["rename", "default", "skip"];
/// What others call it, or where it belongs.
const HINTS: [(&str, &str); 13] = [
    ("primary_key", "write `key`"),
    ("id", "write `key`"),
    ("name", "write rename = \"…\""),
    ("column", "write rename = \"…\""),
    ("ignore", "write `skip`"),
    ("table", "write it at the struct"),
    ("ttl", "write it at the struct"),
    ("rename_all", "write it at the struct"),
    (
        "unique",
        "only the primary key is unique; write `key`, or leave it out",
    ),
    ("nullable", "make the type an Option"),
    ("not_null", "leave it out: only an Option can be NULL"),
    (
        "nested",
        "leave it out: a field whose type derives RecordField is a STRUCT column",
    ),
    (
        "flatten",
        "list the other type's fields here, or leave it out for a STRUCT column",
    ),
];

/// How a whole value is stored in a column of bytes.
#[derive(Clone, Copy)]
pub(crate) enum ValueCodec {
    Bincode,
    Json,
    Cbor,
}

const CODECS: [(&str, ValueCodec); 3] = [
    ("bincode", ValueCodec::Bincode),
    ("json", ValueCodec::Json),
    ("cbor", ValueCodec::Cbor),
];

/// What a field is, where the table has no value for it.
pub(crate) enum Fallback {
    /// `Default` of its type.
    Trait,
    Function(Path),
    Expr(Expr),
    /// The same field of the struct's `Default`, or of what a function makes.
    Container(Option<Path>),
}

/// One field and what is said about it.
pub(crate) struct FieldModel {
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
    pub(crate) ty: Type,
    /// The column's name.
    pub(crate) name: String,
    pub(crate) skip: bool,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) validate: Option<Path>,
    pub(crate) codec: Option<ValueCodec>,
    pub(crate) key: Option<Given<Option<u32>>>,
    pub(crate) shard_key: Option<Given<()>>,
    pub(crate) indexes: Vec<Given<Option<String>>>,
}

/// Which derive the fields belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Record,
    Value,
}

#[derive(Default)]
struct Entries {
    key: Option<Given<Option<u32>>>,
    shard_key: Option<Given<()>>,
    indexes: Vec<Given<Option<String>>>,
    rename: Option<Given<LitStr>>,
    default: Option<Given<Option<Expr>>>,
    skip: Option<Given<bool>>,
    validate: Option<Given<Path>>,
    codec: Option<Given<ValueCodec>>,
}

impl FieldModel {
    /// Reads a field; mistakes are noted, and what is left is read on.
    pub(crate) fn read(
        field: &Field,
        container: &Container,
        owner: Owner,
        problems: &mut Problems,
    ) -> Option<Self> {
        let ident = field.ident.clone()?;
        let mut entries = Entries::default();
        each_entry(&field.attrs, problems, |meta| entries.entry(meta, owner));
        let mut serde = serde_attributes::read(&field.attrs, problems);
        let skip = match (&entries.skip, serde.half_skipped.take()) {
            (Some(said), _) => said.value,
            (None, Some(half)) => {
                problems.add(half);
                true
            }
            (None, None) => serde.skip,
        };
        entries.check(skip, problems);
        entries.check_serde(skip, &mut serde, problems);
        let name = column_name(&ident, &entries, &serde, container.case());
        if !skip && let Err(text) = naming::check_column(&name) {
            match &entries.rename {
                Some(given) => problems.at(&given.value, text),
                None => problems.at(&ident, text),
            }
        }
        let fallback = entries.fallback(serde.default, container);
        Some(Self {
            vis: field.vis.clone(),
            ty: field.ty.clone(),
            ident,
            name,
            skip,
            fallback,
            validate: entries.validate.map(|given| given.value),
            codec: entries.codec.map(|given| given.value),
            key: entries.key,
            shard_key: entries.shard_key,
            indexes: entries.indexes,
        })
    }
}

impl Entries {
    fn entry(&mut self, meta: &ParseNestedMeta<'_>, owner: Owner) -> Result<()> {
        if meta.path.is_ident("rename") {
            let name = text(meta, "rename = \"name\"")?;
            return once(&mut self.rename, meta, name);
        }
        if meta.path.is_ident("default") {
            let value = match has_value(meta) {
                true => Some(expression(meta, "default = 0")?),
                false => flag(meta).map(|()| None)?,
            };
            return once(&mut self.default, meta, value);
        }
        if meta.path.is_ident("skip") {
            let value = skipped(meta)?;
            return once(&mut self.skip, meta, value);
        }
        match owner {
            Owner::Record => self.record_entry(meta),
            Owner::Value => Err(not_of_value(meta)),
        }
    }

    fn record_entry(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("key") {
            let order = match has_value(meta) {
                true => Some(number(meta, "key = 1", (1, MAX_KEY_ORDER))?),
                false => flag(meta).map(|()| None)?,
            };
            once(&mut self.key, meta, order)
        } else if meta.path.is_ident("shard_key") {
            flag(meta)?;
            once(&mut self.shard_key, meta, ())
        } else if meta.path.is_ident("index") {
            let value = index_name(meta)?;
            if self.indexes.iter().any(|other| other.value == value) {
                return Err(meta.error("this index is given twice: keep one"));
            }
            let at = meta.path.clone();
            self.indexes.push(Given { at, value });
            Ok(())
        } else if meta.path.is_ident("validate") {
            let path = function(meta, "validate = check_title")?;
            once(&mut self.validate, meta, path)
        } else if meta.path.is_ident("codec") {
            let codec = codec(&text(meta, "codec = \"json\"")?)?;
            once(&mut self.codec, meta, codec)
        } else {
            Err(unknown(meta, "a field", &OF_RECORD, &HINTS))
        }
    }

    /// Refuses entries that contradict each other.
    fn check(&self, skip: bool, problems: &mut Problems) {
        if skip {
            self.check_skipped(problems);
            return;
        }
        if self.key.is_some()
            && let Some(default) = &self.default
        {
            problems.at(
                &default.at,
                "a key is in every row, so that its default would never be used: remove `default`",
            );
        }
        if let (Some(shard_key), None) = (&self.shard_key, &self.key) {
            problems.at(
                &shard_key.at,
                "the shard key is a part of the primary key: write #[record(key, shard_key)]",
            );
        }
        if let Some(codec) = &self.codec {
            let what = match (&self.key, self.indexes.is_empty()) {
                (Some(_), _) => "a key",
                (None, false) => "an indexed column",
                (None, true) => return,
            };
            problems.at(
                &codec.at,
                format!(
                    "encoded bytes have no order that makes sense, as {what} needs: remove `codec`"
                ),
            );
        }
    }

    /// Refuses what serde says and a column cannot, unless an entry decides.
    fn check_serde(&self, skip: bool, serde: &mut SerdeSays, problems: &mut Problems) {
        let decided = [
            (serde.two_names.take(), self.rename.is_some()),
            (serde.flattened.take(), self.codec.is_some()),
        ];
        for (error, decided) in decided {
            if !skip && !decided {
                error.into_iter().for_each(|error| problems.add(error));
            }
        }
    }

    fn check_skipped(&self, problems: &mut Problems) {
        let at = [
            self.key.as_ref().map(|given| &given.at),
            self.shard_key.as_ref().map(|given| &given.at),
            self.indexes.first().map(|given| &given.at),
            self.rename.as_ref().map(|given| &given.at),
            self.codec.as_ref().map(|given| &given.at),
            self.validate.as_ref().map(|given| &given.at),
        ];
        for path in at.into_iter().flatten() {
            let name = crate::attributes::path_text(path);
            problems.at(
                path,
                format!("a skipped field is no column: remove `skip`, or remove `{name}`"),
            );
        }
    }

    /// What stands in for a missing value: a `record` attribute, then serde's, then the struct's. A
    /// key has none.
    fn fallback(&self, serde: Option<SerdeDefault>, container: &Container) -> Option<Fallback> {
        match (&self.default, serde) {
            (Some(given), _) => Some(match &given.value {
                Some(expr) => Fallback::Expr(expr.clone()),
                None => Fallback::Trait,
            }),
            // A row without its key would be another row.
            (None, _) if self.key.is_some() => None,
            (None, Some(SerdeDefault::Trait)) => Some(Fallback::Trait),
            (None, Some(SerdeDefault::Function(path))) => Some(Fallback::Function(path)),
            (None, None) => container.fallback(),
        }
    }
}

fn column_name(ident: &Ident, entries: &Entries, serde: &SerdeSays, case: Option<Case>) -> String {
    match (&entries.rename, &serde.rename) {
        (Some(given), _) => given.value.value(),
        (None, Some(name)) => name.value(),
        (None, None) => case.unwrap_or(Case::Snake).of_field(ident),
    }
}

/// `skip`, or `skip = false` against serde's.
fn skipped(meta: &ParseNestedMeta<'_>) -> Result<bool> {
    if !has_value(meta) {
        return flag(meta).map(|()| true);
    }
    let given = expression(meta, "skip")?;
    match &given {
        Expr::Lit(literal) => match &literal.lit {
            syn::Lit::Bool(value) => Ok(value.value),
            _ => Err(Error::new(
                given.span(),
                "`skip` takes no value: write skip alone",
            )),
        },
        _ => Err(Error::new(
            given.span(),
            "`skip` takes no value: write skip alone",
        )),
    }
}

fn index_name(meta: &ParseNestedMeta<'_>) -> Result<Option<String>> {
    const KINDS: &str = "there is one kind of index: write `index`, or index = \"name\" at each \
                         field of an index over several";
    if meta.input.peek(syn::token::Paren) {
        return Err(meta.error(KINDS));
    }
    if !has_value(meta) {
        return flag(meta).map(|()| None);
    }
    let given = expression(meta, "index = \"name\"")?;
    match as_text(&given) {
        Some(name) => naming::check_given("an index", name).map(Some),
        None => Err(Error::new(given.span(), KINDS)),
    }
}

fn codec(given: &LitStr) -> Result<ValueCodec> {
    let name = given.value();
    let found = CODECS.iter().find(|(known, _)| *known == name);
    found.map(|(_, codec)| *codec).ok_or_else(|| {
        let names = CODECS.map(|(name, _)| name);
        let way_out = match closest(&name, &names) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("there are {}", listed(&names)),
        };
        Error::new(given.span(), format!("\"{name}\" is no codec: {way_out}"))
    })
}

fn not_of_value(meta: &ParseNestedMeta<'_>) -> Error {
    let name = name_of(meta);
    if OF_RECORD.contains(&name.as_str()) {
        return meta.error(format!(
            "`{name}` belongs to a column, and this is a part of one: write it at the field of the \
             record that has this type"
        ));
    }
    unknown(meta, "a part of a value", &OF_VALUE, &HINTS)
}
