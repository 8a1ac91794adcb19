//! Queries.
//!
//! Where the dialects differ: NULLs are ordered as each query says, because the defaults differ;
//! a LIMIT cuts an order of all columns, so that which rows are left is known; `INTERSECT ALL` and
//! `EXCEPT ALL` are not SQLite's, and neither are parentheses around a part of a set operation.

use super::expr::{Field, Maker, Named, Scope};
use super::relation::derived;
use super::schema;
use super::tree::{Part, Role, Tree, Type, sql};

/// A query and its columns, by the names that it gives them.
pub(super) struct Query {
    pub(super) tree: Tree,
    pub(super) columns: Vec<Field>,
}

impl Maker<'_> {
    /// A query as a statement of its own.
    pub(super) fn statement(&mut self) -> Tree {
        self.named.truncate(self.views);
        let with = match self.dice.weighted(&[80, 12, 8]) {
            1 => self.with(),
            2 => self.with_recursive(),
            _ => Tree::nothing(),
        };
        let query = self.query(None, 2);
        let order = match self.dice.percent(35) {
            true => self.order(query.columns.len()),
            false => Tree::nothing(),
        };
        sql![with, query.tree, order]
    }

    /// A view, and what it can be read as.
    pub(super) fn view(&mut self, name: String) -> (Tree, Named) {
        self.named.truncate(self.views);
        let Query { tree, columns } = self.query(None, 1);
        let tree = sql![
            format!("CREATE VIEW {name} AS "),
            Part::Apart("WITH apart AS MATERIALIZED ("),
            tree,
            Part::Apart(") SELECT * FROM apart")
        ];
        (tree, Named { name, columns })
    }

    fn with(&mut self) -> Tree {
        let mut parts = Vec::new();
        for _ in 0..1 + self.dice.below(2) {
            let query = self.query(None, 1);
            let name = self.name("c");
            parts.push(sql![format!("{name} AS ("), query.tree, ")"]);
            let columns = query.columns;
            self.named.push(Named { name, columns });
        }
        sql!["WITH ", Tree::row(parts), " "]
    }

    /// A recursion that ends after some rounds.
    fn with_recursive(&mut self) -> Tree {
        let name = self.name("r");
        let columns: Vec<Field> = ["n", "v"]
            .map(|text| Field {
                text: text.to_owned(),
                ty: Type::Int,
                size: schema::TAME_KEY,
            })
            .to_vec();
        let mut scope = derived(&name, &columns);
        scope.plain = true;
        let last = self.dice.between(1, 12);
        let start = match self.dice.percent(50) {
            true => sql!["SELECT 1, ", schema::literal(self.dice, Type::Int, true, 0)],
            false => {
                let (from, scope) = self.from(0);
                let value = self.tame(&scope, Type::Int, 0);
                sql![
                    "SELECT 1, CAST((",
                    value.tree,
                    " % 10) AS BIGINT) FROM ",
                    from
                ]
            }
        };
        let step = self.tame(&scope, Type::Int, 2);
        let tree = sql![
            format!("WITH RECURSIVE {name}(n, v) AS ("),
            start,
            format!(" UNION ALL SELECT {name}.n + 1, "),
            step.tree,
            format!(" % 100 FROM {name} WHERE {name}.n < {last}) "),
        ];
        self.named.push(Named { name, columns });
        tree
    }

    /// A query, of these types if any are wanted.
    pub(super) fn query(&mut self, wanted: Option<&[Type]>, depth: usize) -> Query {
        let kinds: [usize; 4] = match (wanted, depth) {
            (Some(_), _) => [100, 0, 0, 0],
            (None, 0) => [60, 25, 15, 0],
            _ => [45, 25, 15, 12],
        };
        match self.dice.weighted(&kinds) {
            0 => self.select(wanted, depth),
            1 => self.grouped(depth),
            2 => self.windowed(depth),
            _ => self.set_operation(depth),
        }
    }

    fn select(&mut self, wanted: Option<&[Type]>, depth: usize) -> Query {
        let (from, scope) = self.from(depth);
        let types = match wanted {
            Some(types) => types.to_vec(),
            None => (0..1 + self.dice.below(4))
                .map(|_| self.any_type())
                .collect(),
        };
        let values = types.into_iter().map(|ty| self.value(&scope, ty, depth));
        let values: Vec<_> = values.collect();
        let (items, columns) = self.items(values.into_iter().map(|v| (v.tree, v.ty, v.size)));
        let distinct = self.dice.weighted(&[85, 15]);
        let distinct = ["SELECT ", "SELECT DISTINCT "][distinct];
        let filter = self.filter(&scope);
        let mut tree = sql![distinct, items, " FROM ", from, filter];
        if wanted.is_none() && depth == 0 && self.dice.percent(15) {
            // Inside of another query: cut to some rows.
            let count = columns.len();
            tree = sql![tree, self.order(count).role(Role::Fixed)];
        }
        Query { tree, columns }
    }

    /// A WHERE, mostly.
    pub(super) fn filter(&mut self, scope: &Scope) -> Tree {
        let scope = Scope {
            filters: true,
            ..scope.clone()
        };
        match self.dice.percent(70) {
            true => sql![" WHERE ", self.condition(&scope, 2)].optional(),
            false => Tree::nothing(),
        }
    }

    /// The list of a SELECT, and the columns that it gives.
    pub(super) fn items(
        &mut self,
        values: impl Iterator<Item = (Tree, Type, f64)>,
    ) -> (Tree, Vec<Field>) {
        let (mut items, mut columns) = (Vec::new(), Vec::new());
        for (tree, ty, size) in values {
            let text = self.name("o");
            items.push(sql![tree, format!(" AS {text}")]);
            columns.push(Field { text, ty, size });
        }
        (Tree::list(", ", items), columns)
    }

    /// An order of all columns, and perhaps a LIMIT.
    fn order(&mut self, columns: usize) -> Tree {
        let first = self.dice.below(columns);
        let places = (0..columns).map(|index| {
            let place = (index + first) % columns + 1;
            let way = self.dice.pick(&[" ASC", " DESC"]);
            let nulls = self.dice.pick(&[" NULLS FIRST", " NULLS LAST"]);
            format!("{place}{way}{nulls}")
        });
        let places = places.collect::<Vec<_>>().join(", ");
        let limit = match self.dice.weighted(&[40, 40, 20]) {
            1 => sql![format!(" LIMIT {}", self.dice.below(12))],
            2 => {
                let (limit, offset) = (self.dice.below(12), self.dice.below(6));
                sql![
                    format!(" LIMIT {limit}"),
                    sql![format!(" OFFSET {offset}")].optional()
                ]
            }
            _ => Tree::nothing(),
        };
        sql![format!(" ORDER BY {places}"), limit.optional()].role(Role::Order)
    }

    fn set_operation(&mut self, depth: usize) -> Query {
        let types: Vec<Type> = (0..1 + self.dice.below(3))
            .map(|_| self.any_type())
            .collect();
        let mut first = self.select(Some(&types), depth - 1);
        let all = [" UNION ALL ", " UNION ", " INTERSECT ", " EXCEPT "];
        let operation = all[self.dice.weighted(&[30, 25, 22, 23])];
        let more = if operation == " UNION ALL " { 2 } else { 1 };
        for _ in 0..1 + self.dice.below(more) {
            let next = self.select(Some(&types), depth - 1);
            for (column, other) in first.columns.iter_mut().zip(&next.columns) {
                column.size = column.size.max(other.size);
            }
            first.tree = sql![first.tree, sql![operation, next.tree].optional()];
        }
        first
    }
}
