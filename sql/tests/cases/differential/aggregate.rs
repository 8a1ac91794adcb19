//! Aggregates, groups and windows.
//!
//! Where the dialects differ: sums and averages are of tame numbers alone; a group's expressions are
//! the same text wherever they stand, because SQLite takes any column beside them; the rows of a
//! window that counts rows are in an order that tells all of them apart. DataFusion has no default
//! frame for an order of bytes.

use super::expr::{Field, Maker, Scope, Value};
use super::query::Query;
use super::schema;
use super::tree::{Dialect, Tree, Type, sql};

/// The largest count or number of a rank.
const COUNT: f64 = 1000.0;
/// How often the largest number may be in a sum.
const ADDENDS: f64 = 100_000.0;

impl Maker<'_> {
    pub(super) fn grouped(&mut self, depth: usize) -> Query {
        let (from, scope) = self.from(depth);
        let plain = Scope {
            plain: true,
            ..scope.clone()
        };
        let mut keys = Vec::new();
        for _ in 0..self.dice.weighted(&[25, 50, 25]) {
            let ty = self.any_type();
            let key = self.value(&plain, ty, 1);
            let text = key.tree.text(Dialect::Ours);
            if !is_number(&text) {
                keys.push(field(text, &key));
            }
        }
        let aggregates = (0..1 + self.dice.below(3)).map(|_| self.aggregate(&plain));
        let aggregates: Vec<Value> = aggregates.collect();
        let having = match self.dice.percent(35) {
            true => {
                let inner = aggregates
                    .iter()
                    .map(|value| field(value.tree.text(Dialect::Ours), value));
                let scope = Scope {
                    fields: keys.iter().cloned().chain(inner).collect(),
                    plain: true,
                    ..Scope::default()
                };
                sql![" HAVING ", self.condition(&scope, 1)].optional()
            }
            false => Tree::nothing(),
        };
        let texts: Vec<String> = keys.iter().map(|key| key.text.clone()).collect();
        let group = match texts.is_empty() {
            true => String::new(),
            false => format!(" GROUP BY {}", texts.join(", ")),
        };
        let keys = keys
            .into_iter()
            .map(|key| (sql![key.text], key.ty, key.size));
        let values = aggregates.into_iter().map(|v| (v.tree, v.ty, v.size));
        let (items, columns) = self.items(keys.chain(values));
        let filter = self.filter(&scope);
        let tree = sql!["SELECT ", items, " FROM ", from, filter, group, having];
        Query { tree, columns }
    }

    fn aggregate(&mut self, scope: &Scope) -> Value {
        let (call, ty, size) = match self.dice.weighted(&[15, 15, 20, 12, 30, 8]) {
            0 => ("count(*)".to_owned(), Type::Int, COUNT),
            1 => {
                let ty = self.any_type();
                let of = self.value(scope, ty, 1);
                (call("count", &of, self.distinct()), Type::Int, COUNT)
            }
            2 => {
                let ty = [Type::Int, Type::Real][self.dice.below(2)];
                let of = self.tame(scope, ty, 1);
                (call("sum", &of, self.distinct()), ty, of.size * ADDENDS)
            }
            3 => {
                let ty = [Type::Int, Type::Real][self.dice.below(2)];
                let of = self.tame(scope, ty, 1);
                let call = call("avg", &of, self.distinct());
                (format!("({call} + 0.0)"), Type::Real, f64::INFINITY)
            }
            4 => {
                let ty = [Type::Int, Type::Text, Type::Real][self.dice.below(3)];
                let of = self.value(scope, ty, 1);
                let name = self.dice.pick(&["min", "max"]);
                (call(name, &of, ""), ty, of.size)
            }
            _ => {
                let of = self.value(scope, Type::Text, 1).tree.text(Dialect::Ours);
                let call = format!("string_agg({of}, '-' ORDER BY {of} NULLS FIRST)");
                (call, Type::Text, f64::INFINITY)
            }
        };
        if self.dice.percent(15) && !call.starts_with('(') {
            let filter = self.condition(scope, 1).text(Dialect::Ours);
            let tree = sql![format!("{call} FILTER (WHERE {filter})")];
            return Value::new(tree, ty, size);
        }
        Value::new(sql![call], ty, size)
    }

    fn distinct(&mut self) -> &'static str {
        self.dice.pick(&["", "", "DISTINCT "])
    }

    pub(super) fn windowed(&mut self, depth: usize) -> Query {
        let (from, scope) = self.from(depth);
        let mut values = Vec::new();
        for _ in 0..1 + self.dice.below(2) {
            let ty = self.any_type();
            values.push(self.leaf(&scope, ty));
        }
        for _ in 0..1 + self.dice.below(2) {
            values.push(self.window(&scope));
        }
        let values: Vec<_> = values.into_iter().map(|v| (v.tree, v.ty, v.size)).collect();
        let (items, columns) = self.items(values.into_iter());
        let filter = self.filter(&scope);
        let tree = sql!["SELECT ", items, " FROM ", from, filter];
        Query { tree, columns }
    }

    fn window(&mut self, scope: &Scope) -> Value {
        let plain = Scope {
            plain: true,
            ..scope.clone()
        };
        let ranks = ["rank()", "dense_rank()"];
        let partition = self.partition(&plain);
        match (&scope.key, self.dice.weighted(&[30, 25, 45])) {
            (Some(key), 0) => {
                let order = self.window_order(&plain, key);
                let (call, ty, size) = self.placed(&plain);
                let tree = sql![call, " OVER (", partition, " ORDER BY ", order, ")"];
                Value::new(tree, ty, size)
            }
            (_, 1) => {
                let order = self.window_order(&plain, &[]);
                let call = self.dice.pick(&ranks);
                let tree = sql![call, " OVER (", partition, " ORDER BY ", order, ")"];
                Value::new(tree, Type::Int, COUNT)
            }
            (key, _) => {
                let of = self.window_aggregate(&plain);
                let key = key.clone().unwrap_or_default();
                let (order, frame) = self.frame(&plain, &key);
                let tree = sql![of.tree, " OVER (", partition, order, frame, ")"];
                Value::new(tree, of.ty, of.size)
            }
        }
    }

    fn partition(&mut self, scope: &Scope) -> Tree {
        if self.dice.percent(45) {
            return Tree::nothing();
        }
        let ty = self.any_type();
        sql!["PARTITION BY ", self.value(scope, ty, 1).tree].optional()
    }

    /// An order of some value and then of the key.
    fn window_order(&mut self, scope: &Scope, key: &[String]) -> String {
        let ty = [Type::Int, Type::Text, Type::Real, Type::Bool][self.dice.below(4)];
        let first = self.value(scope, ty, 1).tree.text(Dialect::Ours);
        let way = self.dice.pick(&[" ASC", " DESC"]);
        let nulls = self.dice.pick(&[" NULLS FIRST", " NULLS LAST"]);
        let mut order = vec![format!("{first}{way}{nulls}")];
        order.extend(key.iter().map(|key| format!("{key} NULLS FIRST")));
        order.join(", ")
    }

    /// A function of a row's place.
    fn placed(&mut self, scope: &Scope) -> (String, Type, f64) {
        let ty = [Type::Int, Type::Text, Type::Real][self.dice.below(3)];
        let of = self.leaf(scope, ty);
        let text = of.tree.text(Dialect::Ours);
        let offset = self.dice.below(3);
        match self.dice.below(7) {
            0 => ("row_number()".to_owned(), Type::Int, COUNT),
            1 => (format!("lag({text}, {offset})"), ty, of.size),
            2 => (format!("lead({text}, {offset})"), ty, of.size),
            3 => (format!("first_value({text})"), ty, of.size),
            4 => (format!("last_value({text})"), ty, of.size),
            5 => (format!("nth_value({text}, {})", offset + 1), ty, of.size),
            _ => (format!("ntile({})", offset + 1), Type::Int, COUNT),
        }
    }

    fn window_aggregate(&mut self, scope: &Scope) -> Value {
        let ty = [Type::Int, Type::Real][self.dice.below(2)];
        let of = self.tame(scope, ty, 1);
        let (ty, size) = (of.ty, of.size);
        match self.dice.below(5) {
            0 => Value::new(sql!["count(*)"], Type::Int, COUNT),
            1 => Value::new(sql!["count(", of.tree, ")"], Type::Int, COUNT),
            2 => Value::new(sql!["sum(", of.tree, ")"], ty, size * ADDENDS),
            3 => Value::new(sql!["min(", of.tree, ")"], ty, size),
            _ => Value::new(sql!["max(", of.tree, ")"], ty, size),
        }
    }

    /// The order and the frame of an aggregate over a window.
    fn frame(&mut self, scope: &Scope, key: &[String]) -> (String, String) {
        let bounds = [
            "UNBOUNDED PRECEDING AND CURRENT ROW",
            "2 PRECEDING AND 1 FOLLOWING",
            "CURRENT ROW AND UNBOUNDED FOLLOWING",
            "3 PRECEDING AND 1 PRECEDING",
            "1 FOLLOWING AND 3 FOLLOWING",
            "UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
        ];
        let bounds = self.dice.pick(&bounds);
        match self.dice.weighted(&[25, 25, 30, 10, 10]) {
            0 => (String::new(), String::new()),
            2 if !key.is_empty() => {
                let order = self.window_order(scope, key);
                (
                    format!(" ORDER BY {order}"),
                    format!(" ROWS BETWEEN {bounds}"),
                )
            }
            3 => {
                let order = self.window_order(scope, &[]);
                (
                    format!(" ORDER BY {order}"),
                    format!(" GROUPS BETWEEN {bounds}"),
                )
            }
            4 => {
                let order = self.tame(scope, Type::Int, 1).tree.text(Dialect::Ours);
                let order = format!(" ORDER BY {order} NULLS FIRST");
                (order, format!(" RANGE BETWEEN {bounds}"))
            }
            _ => {
                let order = self.window_order(scope, &[]);
                (format!(" ORDER BY {order}"), String::new())
            }
        }
    }
}

/// Whether it is a whole number alone, in parentheses or with signs. SQLite reads some of these as the place of
/// a column in the SELECT, PostgreSQL all of them, of which it refuses the large ones.
fn is_number(text: &str) -> bool {
    let sign = |c: char| matches!(c, '(' | ')' | '-' | ' ');
    text.trim_matches(sign).parse::<u64>().is_ok()
}

fn call(name: &str, of: &Value, distinct: &str) -> String {
    format!("{name}({distinct}{})", of.tree.text(Dialect::Ours))
}

fn field(text: String, value: &Value) -> Field {
    let (ty, size) = (value.ty, value.size.max(schema::TAME));
    Field { text, ty, size }
}
