//! Statements that change rows.
//!
//! Where the dialects differ: INSERT replaces the row of the same key here, which is `OR REPLACE` in
//! SQLite; a key that one statement gives twice, or a row that one UPDATE … FROM finds twice, is a
//! conflict here, while SQLite takes any of them, so that keys are told apart before; columns of the
//! key cannot be updated here; a subquery of SET sees the rows that SQLite has updated so far, and all
//! rows as they were here, so that it reads other tables.

use super::expr::{Maker, Scope, Value, fields_of};
use super::schema::{self, Column, TAME, Table};
use super::tree::{Tree, Type, either, sql};

/// Rows of an INSERT of values, at most.
const ROWS: usize = 8;
/// Attempts at rows with new keys, for each that is wanted.
const ATTEMPTS: usize = 3;

impl Maker<'_> {
    /// An INSERT of so many rows, or fewer.
    pub(super) fn insert_values(&mut self, table: &Table, most: usize) -> Tree {
        let columns = self.written(table);
        let (mut keys, mut rows) = (Vec::new(), Vec::new());
        for _ in 0..ATTEMPTS * (1 + self.dice.below(most)) {
            let mut key = Vec::new();
            let mut values = Vec::new();
            for index in &columns {
                let column = &table.columns[*index];
                if *index < table.key {
                    let text = schema::key_literal(self.dice, column.ty);
                    key.push((*index, text.clone()));
                    values.push(sql![text]);
                } else {
                    values.push(self.cell(column));
                }
            }
            key.sort();
            if !keys.contains(&key) && rows.len() < most {
                keys.push(key);
                rows.push(sql!["(", Tree::row(values), ")"]);
            }
        }
        let rows = Tree::list(", ", rows);
        let returning = self.returning(table);
        let columns = listed(table, &columns);
        if self.dice.percent(30) {
            let head = format!("INSERT INTO {}{columns}VALUES ", table.name);
            return sql![head, rows, self.on_conflict(table), returning];
        }
        let insert = either("INSERT INTO ", "INSERT OR REPLACE INTO ");
        sql![
            insert,
            table.name.clone(),
            columns,
            "VALUES ",
            rows,
            returning
        ]
    }

    /// What becomes of rows whose keys are there.
    fn on_conflict(&mut self, table: &Table) -> Tree {
        if table.rest().is_empty() || self.dice.percent(40) {
            return sql![" ON CONFLICT DO NOTHING"];
        }
        let mut scope = Scope {
            fields: fields_of(table, &table.name),
            plain: true,
            ..Scope::default()
        };
        scope.fields.extend(fields_of(table, "excluded"));
        let mut set = Vec::new();
        for column in table.rest() {
            if self.dice.percent(50) || set.is_empty() {
                let value = self.fitting(&scope, column);
                set.push(sql![format!("{} = ", column.name), value]);
            }
        }
        let names: Vec<&str> = table.key().map(|column| column.name.as_str()).collect();
        let filter = match self.dice.percent(25) {
            true => sql![" WHERE ", self.condition(&scope, 1)].optional(),
            false => Tree::nothing(),
        };
        let head = format!(" ON CONFLICT ({}) DO UPDATE SET ", names.join(", "));
        sql![head, Tree::list(", ", set), filter]
    }

    /// The rows that a change made or removed, sometimes.
    fn returning(&mut self, table: &Table) -> Tree {
        if !self.dice.percent(20) {
            return Tree::nothing();
        }
        let names: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
        sql![format!(" RETURNING {}", names.join(", "))].optional()
    }

    /// Columns to be written: the key, what may not be NULL, and some others, in any order.
    fn written(&mut self, table: &Table) -> Vec<usize> {
        let mut columns: Vec<usize> = (0..table.columns.len()).collect();
        if self.dice.percent(60) {
            return columns;
        }
        // Seldom one is left out that has to be there, and both refuse.
        let careless = self.dice.percent(5);
        columns.retain(|index| {
            let must = *index < table.key || !table.columns[*index].nullable;
            (must && !careless) || self.dice.percent(70)
        });
        if columns.is_empty() {
            columns.push(0);
        }
        let turn = self.dice.below(columns.len());
        columns.rotate_left(turn);
        columns
    }

    fn cell(&mut self, column: &Column) -> Tree {
        let nulls = match column.nullable {
            true => 15,
            false => usize::from(self.dice.percent(1)) * 100,
        };
        if !column.tame && column.nullable && self.dice.percent(10) {
            let scope = Scope {
                plain: true,
                ..Scope::default()
            };
            return self.value(&scope, column.ty, 2).tree;
        }
        let tame = column.tame || self.dice.percent(50);
        schema::literal(self.dice, column.ty, tame, nulls)
    }

    /// An INSERT of a query over a table with keys of the same types.
    pub(super) fn insert_query(&mut self, table: &Table) -> Tree {
        let keys = |table: &Table| table.key().map(|column| column.ty).collect::<Vec<_>>();
        let sources = self
            .tables
            .iter()
            .filter(|other| keys(other) == keys(table));
        let sources: Vec<&Table> = sources.collect();
        let source = self.dice.pick(&sources).clone();
        let alias = self.name("s");
        let scope = Scope {
            fields: fields_of(&source, &alias),
            ..Scope::default()
        };
        let shift = self.dice.between(0, 7);
        let columns: Vec<usize> = (0..table.columns.len()).collect();
        let mut values = Vec::new();
        for (index, column) in table.columns.iter().enumerate() {
            if index >= table.key {
                values.push(self.fitting(&scope, column));
                continue;
            }
            let name = &source.columns[index].name;
            values.push(match (column.ty, shift) {
                (Type::Int, 3..) => sql![format!("{alias}.{name} + {shift}")],
                _ => sql![format!("{alias}.{name}")],
            });
        }
        let filter = self.filter(&scope);
        sql![
            either("INSERT INTO ", "INSERT OR REPLACE INTO "),
            table.name.clone(),
            listed(table, &columns),
            "SELECT ",
            Tree::row(values.into_iter().enumerate().map(named)),
            format!(" FROM {} AS {alias}", source.name),
            filter
        ]
    }

    /// A value that a column can hold: as small as its others, and seldom NULL where that is refused.
    fn fitting(&mut self, scope: &Scope, column: &Column) -> Tree {
        let value = match column.tame {
            false => self.value(scope, column.ty, 2),
            true => self.small(scope, column.ty),
        };
        if column.nullable || self.dice.percent(2) {
            return value.tree;
        }
        let other = schema::literal(self.dice, column.ty, true, 0);
        sql!["COALESCE(", value.tree, ", ", other, ")"]
    }

    fn small(&mut self, scope: &Scope, ty: Type) -> Value {
        match ty {
            Type::Int => {
                let value = self.tame(scope, ty, 2);
                Value::new(sql!["(", value.tree, " % 97)"], ty, TAME)
            }
            Type::Real => {
                let value = self.leaf(scope, ty);
                match value.size <= TAME {
                    true => value,
                    false => Value::new(schema::literal(self.dice, ty, true, 6), ty, TAME),
                }
            }
            Type::Text => {
                let value = self.tame(scope, ty, 2);
                Value::new(sql!["substr(", value.tree, ", 1, 12)"], ty, TAME)
            }
            _ => self.value(scope, ty, 2),
        }
    }

    pub(super) fn update(&mut self, table: &Table) -> Tree {
        let alias = self.name("u");
        let mut scope = Scope {
            fields: fields_of(table, &alias),
            ..Scope::default()
        };
        let from = match self.dice.percent(25) {
            true => self.other_table(&mut scope),
            false => None,
        };
        let mut set = Vec::new();
        let changing = Scope {
            changed: Some(table.name.clone()),
            ..scope.clone()
        };
        for column in table.rest() {
            if self.dice.percent(40) || set.is_empty() {
                let value = self.fitting(&changing, column);
                set.push(sql![format!("{} = ", column.name), value]);
            }
        }
        let set = Tree::list(", ", set);
        let head = format!("UPDATE {} AS {alias} SET ", table.name);
        match from {
            Some((from, tie)) => {
                let more = match self.dice.percent(50) {
                    true => sql![" AND ", self.condition(&scope, 2)].optional(),
                    false => Tree::nothing(),
                };
                sql![head, set, format!(" FROM {from} WHERE {tie}"), more]
            }
            None => sql![head, set, self.which(&scope), self.returning(table)],
        }
    }

    /// Another table, of which every row of the scope meets one at most.
    fn other_table(&mut self, scope: &mut Scope) -> Option<(String, String)> {
        let others = self.tables.iter().filter(|other| other.key == 1);
        let others: Vec<&Table> = others.collect();
        if others.is_empty() {
            return None;
        }
        let other = self.dice.pick(&others).clone();
        let key = &other.columns[0];
        let ties = scope.fields.iter().filter(|field| field.ty == key.ty);
        let ties: Vec<String> = ties.map(|field| field.text.clone()).collect();
        if ties.is_empty() {
            return None;
        }
        let tie = ties[self.dice.below(ties.len())].clone();
        let alias = self.name("f");
        let on = format!("{alias}.{} = {tie}", key.name);
        scope.fields.extend(fields_of(&other, &alias));
        Some((format!("{} AS {alias}", other.name), on))
    }

    pub(super) fn delete(&mut self, table: &Table) -> Tree {
        let alias = self.name("x");
        let scope = Scope {
            fields: fields_of(table, &alias),
            ..Scope::default()
        };
        let head = format!("DELETE FROM {} AS {alias}", table.name);
        sql![head, self.which(&scope), self.returning(table)]
    }

    /// A WHERE of a change, which must not lose rows that it does not name.
    fn which(&mut self, scope: &Scope) -> Tree {
        let scope = &Scope {
            filters: true,
            ..scope.clone()
        };
        let never = [
            "FALSE",
            "NULL",
            "1 = 0",
            "NOT TRUE",
            "NULL AND TRUE",
            "1 IN (2, NULL)",
        ];
        match self.dice.weighted(&[50, 35, 10, 5]) {
            0 => sql![" WHERE ", self.condition(scope, 2)],
            1 => {
                // Few rows, so that tables do not run empty.
                let value = self.leaf(scope, Type::Int);
                let number = self.dice.between(0, 30);
                let more = self.condition(scope, 1);
                sql![
                    " WHERE ",
                    value.tree,
                    format!(" = {number}"),
                    sql![" AND ", more].optional()
                ]
            }
            2 => sql![format!(" WHERE {}", self.dice.pick(&never))],
            _ => sql![" WHERE ", self.subquery_condition(scope)],
        }
    }

    /// A statement that both must refuse.
    pub(super) fn wrong(&mut self, table: &Table) -> Tree {
        let name = &table.name;
        sql![match self.dice.below(6) {
            0 => "SELECT * FROM no_such_table".to_owned(),
            1 => format!("SELECT no_such_column FROM {name}"),
            2 => format!("DELETE FROM {name} WHERE no_such_column = 1"),
            3 => format!("UPDATE {name} SET no_such_column = 1"),
            4 => format!("SELECT FROM WHERE {name}"),
            _ => format!("INSERT INTO {name} (no_such_column) VALUES (1)"),
        }]
    }

    pub(super) fn insert(&mut self, table: &Table) -> Tree {
        match self.dice.percent(70) {
            true => self.insert_values(table, ROWS),
            false => self.insert_query(table),
        }
    }
}

/// A value with a name of its own: DataFusion takes no two alike.
fn named((index, value): (usize, Tree)) -> Tree {
    sql![value, format!(" AS o{index}")]
}

/// The list of columns, left out where it is that of the table.
fn listed(table: &Table, columns: &[usize]) -> String {
    if columns.iter().copied().eq(0..table.columns.len()) {
        return " ".to_owned();
    }
    let names = columns
        .iter()
        .map(|index| table.columns[*index].name.as_str());
    format!(" ({}) ", names.collect::<Vec<_>>().join(", "))
}
