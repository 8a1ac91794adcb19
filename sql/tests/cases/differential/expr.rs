//! Values: expressions of every type over what is in scope.
//!
//! Each value knows how large it can get, so that no sum leaves the numbers that both databases add
//! alike: integers below the point where they overflow (an error, or wrapped, or a float), and reals
//! that are quarters, whose sums are exact in any order. Where the dialects differ:
//! - Division by zero is NULL in SQLite and an error here; every divisor is guarded by NULLIF.
//! - A product or quotient of reals may be a negative zero, which is less than zero here; a zero is
//!   added to it.
//! - `CAST` of text to numbers takes a prefix in SQLite; of reals to text it prints other digits;
//!   of booleans to text it prints numbers. None of them is made.

use super::dice::Dice;
use super::schema::{self, TAME, TAME_KEY, Table};
use super::tree::{Role, Tree, Type, sql};

/// Numbers that are used further are no larger than this.
const MOST: f64 = 1e6;

/// Something that can be named in an expression.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) text: String,
    pub(super) ty: Type,
    /// The largest number; infinite for wild values.
    pub(super) size: f64,
}

/// What can be named.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) fields: Vec<Field>,
    /// What the first join merges, as long as it is not among the fields.
    pub(super) merged: Option<Field>,
    /// Fields that tell all rows apart, if there are such.
    pub(super) key: Option<Vec<String>>,
    /// Whether there are no subqueries.
    pub(super) plain: bool,
    /// Whether all rows of two relations are paired already.
    pub(super) crossed: bool,
    /// The table that an UPDATE changes, where subqueries must not read it.
    pub(super) changed: Option<String>,
    /// Whether this is a WHERE: the planner takes EXISTS and IN of a query nowhere else.
    pub(super) filters: bool,
}

/// An expression.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) tree: Tree,
    pub(super) ty: Type,
    pub(super) size: f64,
}

impl Value {
    pub(super) fn new(tree: Tree, ty: Type, size: f64) -> Self {
        let tree = tree.role(Role::Value(ty));
        Self { tree, ty, size }
    }

    pub(super) fn is_tame(&self) -> bool {
        self.size.is_finite()
    }
}

/// The fields of a table under an alias.
pub(super) fn fields_of(table: &Table, alias: &str) -> Vec<Field> {
    let fields = table.columns.iter().enumerate().map(|(index, column)| {
        let size = match (column.tame, index < table.key) {
            (true, true) => TAME_KEY,
            (true, false) => TAME,
            (false, _) => f64::INFINITY,
        };
        Field {
            text: format!("{alias}.{}", column.name),
            ty: column.ty,
            size,
        }
    });
    fields.collect()
}

/// Makes expressions and queries over some tables.
pub(super) struct Maker<'a> {
    pub(super) dice: &'a mut Dice,
    pub(super) tables: &'a [Table],
    /// Names that were given out.
    pub(super) names: usize,
    /// Views, and then what WITH has named so far.
    pub(super) named: Vec<Named>,
    /// How many of them are views.
    pub(super) views: usize,
}

/// A query that can be read by its name.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) columns: Vec<Field>,
}

impl Maker<'_> {
    /// A name that is used nowhere else in the statement.
    pub(super) fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    pub(super) fn any_type(&mut self) -> Type {
        let types = [Type::Int, Type::Text, Type::Real, Type::Bool, Type::Blob];
        types[self.dice.weighted(&[40, 25, 18, 13, 4])]
    }

    /// A value of a type, of so many levels.
    pub(super) fn value(&mut self, scope: &Scope, ty: Type, depth: usize) -> Value {
        if depth == 0 || self.dice.percent(25) {
            return self.leaf(scope, ty);
        }
        match self.dice.weighted(&[60, 12, 10, 6, 6]) {
            1 => self.case(scope, ty, depth - 1),
            2 => self.coalesce(scope, ty, depth - 1),
            3 if ty != Type::Blob => self.nullif(scope, ty, depth - 1),
            4 if !scope.plain => self.scalar_subquery(scope, ty),
            _ => match ty {
                Type::Int => self.int(scope, depth - 1),
                Type::Real => self.real(scope, depth - 1),
                Type::Text => self.text(scope, depth - 1),
                Type::Bool => Value::new(self.condition(scope, depth), Type::Bool, 1.0),
                Type::Blob => self.leaf(scope, Type::Blob),
            },
        }
    }

    /// A column or a literal.
    pub(super) fn leaf(&mut self, scope: &Scope, ty: Type) -> Value {
        let fields = scope.fields.iter();
        let fields: Vec<&Field> = fields.filter(|field| field.ty == ty).collect();
        if !fields.is_empty() && self.dice.percent(75) {
            let field = self.dice.pick(&fields);
            return Value::new(sql![field.text.clone()], ty, field.size);
        }
        let tame = self.dice.percent(85);
        let tree = schema::literal(self.dice, ty, tame, 6);
        Value::new(tree, ty, if tame { TAME } else { f64::INFINITY })
    }

    /// A value whose sums are alike everywhere.
    pub(super) fn tame(&mut self, scope: &Scope, ty: Type, depth: usize) -> Value {
        let value = self.value(scope, ty, depth);
        match ty {
            Type::Int if value.is_tame() && value.size > MOST => {
                Value::new(sql!["(", value.tree, " % 1000)"], ty, 1000.0)
            }
            _ if value.size <= MOST => value,
            _ => Value::new(schema::literal(self.dice, ty, true, 6), ty, TAME),
        }
    }

    fn int(&mut self, scope: &Scope, depth: usize) -> Value {
        let ty = Type::Int;
        let kind = self.dice.weighted(&[20, 15, 12, 8, 8, 6, 5, 8, 5, 5, 4]);
        let mut one = |ty| self.tame(scope, ty, depth);
        let (tree, size) = match kind {
            0..=2 => {
                let (a, b) = (one(ty), one(ty));
                let (sign, size) = match kind {
                    0 => (" + ", a.size + b.size),
                    1 => (" - ", a.size + b.size),
                    _ => (" * ", a.size * b.size),
                };
                (sql!["(", a.tree, sign, b.tree, ")"], size)
            }
            3 | 4 => {
                let (a, b) = (one(ty), one(ty));
                let sign = if kind == 3 { " / " } else { " % " };
                let tree = sql!["(", a.tree, sign, "NULLIF(", b.tree, ", 0))"];
                (tree, a.size)
            }
            5 => {
                let a = one(ty);
                (sql!["abs(", a.tree, ")"], a.size)
            }
            6 => {
                let a = one(ty);
                (sql!["(- ", a.tree, ")"], a.size)
            }
            7 => (sql!["length(", one(Type::Text).tree, ")"], TAME),
            8 => {
                let (a, b) = (one(Type::Text), one(Type::Text));
                (sql!["instr(", a.tree, ", ", b.tree, ")"], TAME)
            }
            9 => (sql!["CAST(", one(Type::Bool).tree, " AS BIGINT)"], 1.0),
            _ => {
                let a = one(Type::Real);
                (sql!["CAST(", a.tree, " AS BIGINT)"], a.size)
            }
        };
        Value::new(tree, ty, size)
    }

    fn real(&mut self, scope: &Scope, depth: usize) -> Value {
        let ty = Type::Real;
        let kind = self.dice.weighted(&[25, 20, 15, 12, 10, 10, 8]);
        let mut one = |ty| self.tame(scope, ty, depth);
        let (tree, size) = match kind {
            0 | 1 => {
                let (a, b) = (one(ty), one(ty));
                let sign = if kind == 0 { " + " } else { " - " };
                (sql!["(", a.tree, sign, b.tree, ")"], a.size + b.size)
            }
            2 => {
                let (a, b) = (one(ty), one(ty));
                let size = a.size * b.size;
                (sql!["(", a.tree, " * ", b.tree, " + 0.0)"], size)
            }
            3 => {
                let (a, b) = (one(ty), one(ty));
                let tree = sql!["(", a.tree, " / NULLIF(", b.tree, ", 0.0) + 0.0)"];
                (tree, f64::INFINITY)
            }
            4 => {
                let a = one(ty);
                (sql!["abs(", a.tree, ")"], a.size)
            }
            5 => {
                let a = one(Type::Int);
                (sql!["CAST(", a.tree, " AS DOUBLE)"], a.size)
            }
            _ => {
                let a = one(ty);
                (sql!["(round(", a.tree, ") + 0.0)"], a.size + 1.0)
            }
        };
        Value::new(tree, ty, size)
    }

    fn text(&mut self, scope: &Scope, depth: usize) -> Value {
        let ty = Type::Text;
        let kind = self.dice.weighted(&[15, 15, 12, 20, 20, 10, 8]);
        let (tree, size) = match kind {
            0 => {
                let a = self.tame(scope, ty, depth);
                let function = self.dice.pick(&["lower(", "upper("]);
                (sql![function, a.tree, ")"], a.size)
            }
            1 => {
                let a = self.value(scope, ty, depth);
                let function = self.dice.pick(&["trim(", "ltrim(", "rtrim("]);
                (sql![function, a.tree, ")"], a.size)
            }
            2 => {
                // SQLite counts from the end for starts below one.
                let a = self.value(scope, ty, depth);
                let (from, count) = (self.dice.between(1, 4), self.dice.between(0, 5));
                let rest = match self.dice.percent(70) {
                    true => format!(", {from}, {count})"),
                    false => format!(", {from})"),
                };
                (sql!["substr(", a.tree, rest], a.size)
            }
            3 | 4 => {
                let (a, b) = (
                    self.value(scope, ty, depth),
                    self.value(scope, ty, depth.min(1)),
                );
                (sql!["(", a.tree, " || ", b.tree, ")"], a.size.max(b.size))
            }
            5 => {
                let a = self.value(scope, ty, depth);
                let (from, to) = (
                    self.dice.pick(&["a", "b", "A", "x y"]),
                    self.dice.pick(&["", "b", "--"]),
                );
                (
                    sql!["replace(", a.tree, format!(", '{from}', '{to}')")],
                    a.size,
                )
            }
            _ => {
                let a = self.value(scope, Type::Int, depth);
                (sql!["CAST(", a.tree, " AS TEXT)"], 0.0)
            }
        };
        Value::new(tree, ty, size)
    }

    fn case(&mut self, scope: &Scope, ty: Type, depth: usize) -> Value {
        let depth = depth.min(1);
        let (a, b) = (self.value(scope, ty, depth), self.value(scope, ty, depth));
        let size = a.size.max(b.size);
        let tree = match self.dice.weighted(&[60, 20, 20]) {
            0 => {
                let when = self.condition(scope, depth);
                sql![
                    "CASE WHEN ",
                    when,
                    " THEN ",
                    a.tree,
                    sql![" ELSE ", b.tree].optional(),
                    " END"
                ]
            }
            1 => {
                let (x, y) = (self.condition(scope, depth), self.condition(scope, depth));
                sql![
                    "CASE WHEN ",
                    x,
                    " THEN ",
                    a.tree,
                    sql![" WHEN ", y, " THEN ", b.tree].optional(),
                    " END"
                ]
            }
            _ => {
                let of = self.value(scope, Type::Int, depth);
                let (x, y) = (self.dice.between(0, 5), self.dice.between(0, 5));
                sql![
                    "CASE ",
                    of.tree,
                    format!(" WHEN {x} THEN "),
                    a.tree,
                    sql![format!(" WHEN {y} THEN "), b.tree].optional(),
                    " END"
                ]
            }
        };
        Value::new(tree, ty, size)
    }

    fn coalesce(&mut self, scope: &Scope, ty: Type, depth: usize) -> Value {
        let (a, b) = (
            self.value(scope, ty, depth),
            self.value(scope, ty, depth.min(1)),
        );
        let tree = sql!["COALESCE(", a.tree, ", ", b.tree, ")"];
        Value::new(tree, ty, a.size.max(b.size))
    }

    fn nullif(&mut self, scope: &Scope, ty: Type, depth: usize) -> Value {
        let (a, b) = (self.value(scope, ty, depth), self.leaf(scope, ty));
        let tree = sql!["NULLIF(", a.tree, ", ", b.tree, ")"];
        Value::new(tree, ty, a.size)
    }
}
