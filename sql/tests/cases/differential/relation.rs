//! What stands behind FROM, and subqueries in expressions.
//!
//! Where the dialects differ: SQLite cannot name the columns of VALUES, so that they keep the names
//! that both give them; subqueries of more than one row where one value is wanted give the first in
//! SQLite and an error here, so that these aggregate, or are cut to one row; a name in USING that the left
//! side has twice is the first of them in SQLite and an error here. What USING merges is named without its
//! table where there are no other sources, and not from inside of subqueries.
//!
//! Of one FROM at most two relations are paired row by row, so that no statement is large.

use super::expr::{Field, Maker, Scope, Value, fields_of};
use super::query::Query;
use super::schema::{self, Table};
use super::tree::{Part, Tree, Type, relation, sql};

/// The most rows of a VALUES.
const VALUES: usize = 4;

impl Maker<'_> {
    /// Everything behind FROM, and what it brings into scope.
    pub(super) fn from(&mut self, depth: usize) -> (Tree, Scope) {
        let (mut tree, mut scope) = self.relation(depth);
        let joins = self.dice.weighted(&[50, 38, 12]);
        for at in 0..joins {
            let (right, more) = self.relation(depth.min(1));
            let join = self.join(&mut scope, right, more, at == 0);
            tree = sql![tree, join];
        }
        let merged = scope.merged.take();
        scope.fields.extend(merged.filter(|_| joins == 1));
        (tree, scope)
    }

    fn join(&mut self, scope: &mut Scope, right: Tree, more: Scope, is_first: bool) -> Tree {
        let key = match (&scope.key, &more.key) {
            (Some(a), Some(b)) => Some([a.as_slice(), b.as_slice()].concat()),
            _ => None,
        };
        let kinds = [" JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " FULL JOIN "];
        let kind = kinds[self.dice.weighted(&[40, 30, 15, 15])];
        let pair = self.equal_pair(&scope.fields, &more.fields);
        let named = |field: &&Field| field.text.ends_with(".k");
        let once = scope.fields.iter().filter(named).count() == 1;
        if pair.is_none() && scope.crossed {
            return Tree::nothing();
        }
        scope.fields.extend(more.fields);
        scope.key = key;
        let Some((a, b)) = pair else {
            scope.crossed = true;
            return sql![" CROSS JOIN ", right].optional();
        };
        // Whose column a later RIGHT or FULL JOIN merges is not in the text.
        let merges = is_first || kind == " JOIN " || kind == " LEFT JOIN ";
        if merges && once && a.ends_with(".k") && b.ends_with(".k") && self.dice.percent(25) {
            let key = scope.fields.iter().find(|field| field.text == a);
            scope.merged = key.filter(|_| is_first).map(|key| Field {
                text: "k".to_owned(),
                ty: key.ty,
                size: f64::INFINITY,
            });
            return sql![kind, right, " USING (k)"].optional();
        }
        if self.dice.percent(6) && !scope.crossed {
            scope.crossed = true;
            return sql![" CROSS JOIN ", right].optional();
        }
        let on = match self.dice.percent(90) || scope.crossed {
            true => sql![format!("{a} = {b}")],
            false => {
                scope.crossed = true;
                sql!["TRUE"]
            }
        };
        let plain = Scope {
            plain: true,
            ..scope.clone()
        };
        let more = match self.dice.percent(30) {
            true => sql![" AND ", self.condition(&plain, 1)].optional(),
            false => Tree::nothing(),
        };
        sql![kind, right, " ON ", on, more].optional()
    }

    /// A field of each side, of one type.
    fn equal_pair(&mut self, left: &[Field], right: &[Field]) -> Option<(String, String)> {
        let mut pairs = Vec::new();
        for a in left {
            for b in right.iter().filter(|b| b.ty == a.ty) {
                let both_keys = a.text.ends_with(".k") && b.text.ends_with(".k");
                let times = if both_keys { 6 } else { 1 };
                pairs.extend(std::iter::repeat_n((a, b), times));
            }
        }
        let pairs: Vec<&(&Field, &Field)> = pairs.iter().collect();
        if pairs.is_empty() {
            return None;
        }
        let (a, b) = self.dice.pick(&pairs);
        Some((a.text.clone(), b.text.clone()))
    }

    fn relation(&mut self, depth: usize) -> (Tree, Scope) {
        match self.dice.weighted(&[80, 12, 5, 8]) {
            1 if depth > 0 => {
                let Query { tree, columns } = self.query(None, depth - 1);
                let alias = self.name("d");
                (
                    sql![relation(tree, true), format!(" AS {alias}")],
                    derived(&alias, &columns),
                )
            }
            2 => self.values(),
            3 if !self.named.is_empty() => {
                let named = self.named[self.dice.below(self.named.len())].clone();
                let alias = self.name("w");
                let tree = sql![relation(named.name.clone(), false), format!(" AS {alias}")];
                (tree, derived(&alias, &named.columns))
            }
            _ => self.table_relation(),
        }
    }

    fn table_relation(&mut self) -> (Tree, Scope) {
        let table = self.any_table();
        let alias = self.name("t");
        let key = table.key().map(|column| format!("{alias}.{}", column.name));
        let scope = Scope {
            fields: fields_of(&table, &alias),
            key: Some(key.collect()),
            ..Scope::default()
        };
        (sql![format!("{} AS {alias}", table.name)], scope)
    }

    fn any_table(&mut self) -> Table {
        self.tables[self.dice.below(self.tables.len())].clone()
    }

    fn values(&mut self) -> (Tree, Scope) {
        let types: Vec<Type> = (0..1 + self.dice.below(3))
            .map(|_| self.any_type())
            .collect();
        let rows = (0..1 + self.dice.below(VALUES)).map(|_| {
            let row = types
                .iter()
                .map(|ty| schema::literal(self.dice, *ty, true, 15));
            sql!["(", Tree::row(row), ")"]
        });
        let rows = Tree::list(", ", rows.collect::<Vec<_>>());
        let alias = self.name("v");
        let fields = types.iter().enumerate().map(|(index, ty)| Field {
            text: format!("column{}", index + 1),
            ty: *ty,
            size: schema::TAME,
        });
        let scope = derived(&alias, &fields.collect::<Vec<_>>());
        (sql!["(VALUES ", rows, format!(") AS {alias}")], scope)
    }

    /// One value from a query.
    pub(super) fn scalar_subquery(&mut self, scope: &Scope, ty: Type) -> Value {
        let table = self.any_table();
        let alias = self.name("s");
        let fields = fields_of(&table, &alias);
        let of_type: Vec<&Field> = fields.iter().filter(|field| field.ty == ty).collect();
        let changes = scope.changed.as_ref() == Some(&table.name);
        if of_type.is_empty() || ty == Type::Blob || changes {
            return self.leaf(scope, ty);
        }
        let field = self.dice.pick(&of_type).clone();
        let (filter, first) = self.correlated(scope, &fields);
        let from = format!(" FROM {} AS {alias}", table.name);
        let kind = self.dice.weighted(&[30, 30, 20, 20]);
        if kind == 3 && first.is_none() {
            let key: Vec<String> = table.key().map(|c| format!("{alias}.{}", c.name)).collect();
            let order = format!(" ORDER BY {} LIMIT 1)", key.join(", "));
            let tree = sql!["(SELECT ", field.text, from, filter, order];
            return Value::new(tree, ty, field.size);
        }
        let (what, size) = match kind {
            0 => (format!("min({})", field.text), field.size),
            2 if ty == Type::Int => (format!("count({})", field.text), 1000.0),
            _ => (format!("max({})", field.text), field.size),
        };
        Value::new(sql!["(SELECT ", what, from, filter, ")"], ty, size)
    }

    /// A WHERE, and how it ties the subquery to what is around it, if it does.
    fn correlated(&mut self, scope: &Scope, fields: &[Field]) -> (Tree, Option<String>) {
        let tie = match self.dice.percent(60) {
            true => self.equal_pair(fields, &with_tables(&scope.fields)),
            false => None,
        };
        let inner = Scope {
            fields: fields.to_vec(),
            plain: true,
            ..Scope::default()
        };
        match tie {
            Some((a, b)) => {
                let tie = format!("{a} = {b}");
                let more = match self.dice.percent(40) {
                    true => sql![" AND ", self.condition(&inner, 1)].optional(),
                    false => Tree::nothing(),
                };
                (sql![format!(" WHERE {tie}"), more], Some(tie))
            }
            None => (sql![" WHERE ", self.condition(&inner, 1)].optional(), None),
        }
    }

    /// EXISTS, IN, and their opposites.
    pub(super) fn subquery_condition(&mut self, scope: &Scope) -> Tree {
        let table = self.any_table();
        let alias = self.name("s");
        let fields = fields_of(&table, &alias);
        let from = format!(" FROM {} AS {alias}", table.name);
        let (filter, _) = self.correlated(scope, &fields);
        if self.dice.percent(45) {
            let not = self
                .dice
                .pick(&["(EXISTS (SELECT 1", "(NOT EXISTS (SELECT 1"]);
            return sql![not, from, filter, "))"];
        }
        let field = fields[self.dice.below(fields.len())].clone();
        let value = self.leaf(scope, field.ty);
        let not = self.dice.pick(&[" IN (SELECT ", " NOT IN (SELECT "]);
        let parts: Vec<Part> = vec![
            "(".into(),
            value.tree.into(),
            not.into(),
            field.text.into(),
            from.into(),
            filter.into(),
            "))".into(),
        ];
        Tree::fixed(parts)
    }
}

/// Those that are named with their table.
fn with_tables(fields: &[Field]) -> Vec<Field> {
    let named = fields.iter().filter(|field| field.text.contains('.'));
    named.cloned().collect()
}

/// The columns of a query, under an alias.
pub(super) fn derived(alias: &str, columns: &[Field]) -> Scope {
    let fields = columns.iter().map(|column| Field {
        text: format!("{alias}.{}", column.text),
        ..column.clone()
    });
    Scope {
        fields: fields.collect(),
        ..Scope::default()
    }
}
