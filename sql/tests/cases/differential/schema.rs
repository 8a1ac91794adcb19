//! Tables, their columns, and values for them.
//!
//! SQLite's tables are STRICT, so that a column holds values of its type alone, as ours do.

use super::dice::Dice;
use super::tree::{Part, Tree, Type, either, sql};

/// Numbers of a tame column are no larger than this.
pub(super) const TAME: f64 = 100.0;
/// Numbers of a key are no larger than this, however often a script moves them.
pub(super) const TAME_KEY: f64 = 10_000.0;
/// Different values of one column of a key, about.
const KEYS: i64 = 40;

/// A column of a table.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) ty: Type,
    /// Whether its numbers are small, and its text is ASCII. Sums of wild numbers overflow, where
    /// SQLite goes over to floats, and SQLite changes the case of ASCII alone.
    pub(super) tame: bool,
    pub(super) nullable: bool,
}

/// A table that both databases have.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// How many of the first columns are the key.
    pub(super) key: usize,
    /// The numbers of its indexes.
    pub(super) indexed: Vec<usize>,
}

impl Table {
    /// A table with a name of its own.
    pub(super) fn random(dice: &mut Dice, name: String) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        let key = 1 + dice.weighted(&[70, 25, 5]);
        for index in 0..key {
            // Keys of the first kind are called alike in all tables, for USING.
            let ty = [Type::Int, Type::Text, Type::Bool, Type::Blob];
            let weights: [usize; 4] = match index {
                0 => [75, 25, 0, 0],
                _ => [40, 40, 10, 10],
            };
            let ty = ty[dice.weighted(&weights)];
            let name = match (index, ty) {
                (0, Type::Int) => "k".to_owned(),
                _ => format!("k{index}"),
            };
            columns.push(Column {
                name,
                ty,
                tame: true,
                nullable: false,
            });
        }
        for index in 0..2 + dice.below(5) {
            let ty = [Type::Int, Type::Text, Type::Real, Type::Bool, Type::Blob];
            let ty = ty[dice.weighted(&[35, 25, 20, 15, 5])];
            columns.push(Column {
                name: format!("c{index}"),
                ty,
                tame: dice.percent(75),
                nullable: dice.percent(85),
            });
        }
        Self {
            name,
            columns,
            key,
            indexed: Vec::new(),
        }
    }

    /// The statement that makes it.
    pub(super) fn create(&self, dice: &mut Dice) -> Tree {
        let mut parts = vec![Part::from(format!("CREATE TABLE {} (", self.name))];
        for column in &self.columns {
            let (ours, sqlite) = match column.ty {
                Type::Int => ("BIGINT", "INT"),
                Type::Real => ("DOUBLE", "REAL"),
                Type::Text => ("TEXT", "TEXT"),
                Type::Bool => ("BOOLEAN", "INT"),
                Type::Blob => ("BYTEA", "BLOB"),
            };
            parts.push(Part::from(format!("{} ", column.name)));
            parts.push(either(ours, sqlite));
            let null = if column.nullable { ", " } else { " NOT NULL, " };
            parts.push(Part::from(null));
        }
        let names: Vec<&str> = self.key().map(|column| column.name.as_str()).collect();
        parts.push(format!("PRIMARY KEY ({}))", names.join(", ")).into());
        let shards = 1 + dice.below(4);
        let shard_by = match dice.percent(30) {
            true => format!(", shard_by = '{}'", names[0]),
            false => String::new(),
        };
        let options = format!(" WITH (shards = {shards}{shard_by})");
        parts.push(either(&options, " STRICT"));
        Tree::fixed(parts)
    }

    /// The columns of the key.
    pub(super) fn key(&self) -> impl Iterator<Item = &Column> {
        self.columns[..self.key].iter()
    }

    /// The others.
    pub(super) fn rest(&self) -> &[Column] {
        &self.columns[self.key..]
    }
}

/// A literal for a column of a key, which is never taken apart.
pub(super) fn key_literal(dice: &mut Dice, ty: Type) -> String {
    let number = dice.between(0, KEYS);
    match ty {
        Type::Int => number.to_string(),
        Type::Real => format!("{number}.5"),
        Type::Text => match number % 8 {
            0 => format!("'日{number}'"),
            1 => format!("'K {number}'"),
            _ => format!("'k{number}'"),
        },
        Type::Bool => ["FALSE", "TRUE"][dice.below(2)].to_owned(),
        Type::Blob => format!("X'{number:02}FF'"),
    }
}

/// A literal, tame or not, and NULL in so many of a hundred cases.
pub(super) fn literal(dice: &mut Dice, ty: Type, tame: bool, nulls: usize) -> Tree {
    if dice.percent(nulls) {
        return null(ty);
    }
    let text = match (ty, tame) {
        (Type::Int, true) => number(dice.between(-9, 20)),
        (Type::Int, false) => dice.pick(&WILD_INTS).to_owned(),
        (Type::Real, true) => {
            let quarters = dice.between(-40, 80) as f64 / 4.0;
            match quarters < 0.0 {
                true => format!("({quarters:?})"),
                false => format!("{quarters:?}"),
            }
        }
        (Type::Real, false) => dice.pick(&WILD_REALS).to_owned(),
        (Type::Text, true) => format!("'{}'", dice.pick(&TAME_TEXTS)),
        (Type::Text, false) => format!("'{}'", dice.pick(&WILD_TEXTS)),
        (Type::Bool, _) => dice.pick(&["TRUE", "FALSE"]).to_owned(),
        (Type::Blob, _) => dice.pick(&BLOBS).to_owned(),
    };
    sql![text].role(super::tree::Role::Value(ty))
}

/// A NULL of a type.
pub(super) fn null(ty: Type) -> Tree {
    let name = match ty {
        Type::Int => "BIGINT",
        Type::Real => "DOUBLE",
        Type::Text => "TEXT",
        Type::Bool => "BOOLEAN",
        Type::Blob => "BYTEA",
    };
    sql![format!("CAST(NULL AS {name})")].role(super::tree::Role::Value(ty))
}

/// A number that can follow a minus.
pub(super) fn number(value: i64) -> String {
    match value < 0 {
        true => format!("({value})"),
        false => value.to_string(),
    }
}

const WILD_INTS: [&str; 8] = [
    "9223372036854775807",
    "(-9223372036854775807)",
    "9007199254740993",
    "2147483648",
    "(-2147483649)",
    "0",
    "255",
    "(-1)",
];

// Without a negative zero, which is less than zero for us.
const WILD_REALS: [&str; 8] = [
    "1e300",
    "(-1e300)",
    "1e-300",
    "0.1",
    "(-0.3)",
    "0.0",
    "1e15",
    "123456.789",
];

const TAME_TEXTS: [&str; 12] = [
    "", "a", "A", "b", "ab", "abc", "Abc", "x y", " x ", "0", "a''b", "zz",
];

// Without a backslash, which is LIKE's escape for us and nothing to SQLite.
const WILD_TEXTS: [&str; 10] = [
    "日",
    "É",
    "日本",
    "ab",
    "%",
    "_",
    "a%b",
    "ß",
    "𝄞 clef",
    "longer than the twelve bytes of a view",
];

const BLOBS: [&str; 5] = ["X''", "X'00'", "X'00FF'", "X'FF'", "X'6162'"];
