//! Conditions: expressions that are true, false, or unknown.
//!
//! Where the dialects differ: `LIKE` is told to mind the case in SQLite; integers and reals are
//! compared with each other only where both are small, because SQLite compares them exactly and
//! DataFusion as floats; `IS UNKNOWN` is not SQLite's.

use super::expr::{Maker, Scope, Value};
use super::schema;
use super::tree::{Role, Tree, Type, sql};

const COMPARISONS: [&str; 6] = [" = ", " <> ", " < ", " <= ", " > ", " >= "];
const PATTERNS: [&str; 11] = [
    "a%", "%b", "%a%", "_", "__%", "a_c", "", "%", "k1%", "日%", "ab",
];

impl Maker<'_> {
    /// A condition of so many levels.
    pub(super) fn condition(&mut self, scope: &Scope, depth: usize) -> Tree {
        let tree = match depth {
            0 => self.simple_condition(scope, 0),
            _ => match self.dice.weighted(&[40, 18, 16, 8, 10, 8]) {
                0 => self.simple_condition(scope, depth - 1),
                kind @ (1 | 2) => {
                    let (a, b) = (
                        self.condition(scope, depth - 1),
                        self.condition(scope, depth - 1),
                    );
                    sql!["(", a, if kind == 1 { " AND " } else { " OR " }, b, ")"]
                }
                3 => sql!["(NOT ", self.condition(scope, depth - 1), ")"],
                4 if scope.filters && !scope.plain => self.subquery_condition(scope),
                4 => self.simple_condition(scope, depth - 1),
                _ => {
                    let test = [" IS TRUE", " IS NOT TRUE", " IS FALSE", " IS NOT FALSE"];
                    let test = self.dice.pick(&test);
                    sql!["(", self.condition(scope, depth - 1), test, ")"]
                }
            },
        };
        tree.role(Role::Value(Type::Bool))
    }

    fn simple_condition(&mut self, scope: &Scope, depth: usize) -> Tree {
        match self.dice.weighted(&[45, 10, 12, 10, 8, 8, 7]) {
            0 => self.comparison(scope, depth),
            1 => {
                let ty = self.any_type();
                let test = self.dice.pick(&[" IS NULL)", " IS NOT NULL)"]);
                sql!["(", self.value(scope, ty, depth).tree, test]
            }
            2 => self.in_list(scope, depth),
            3 => {
                let ty = [Type::Int, Type::Text, Type::Real][self.dice.below(3)];
                let value = self.value(scope, ty, depth);
                let (a, b) = (self.leaf(scope, ty), self.leaf(scope, ty));
                let not = self.dice.pick(&[" ", " NOT "]);
                sql![
                    "(", value.tree, not, "BETWEEN ", a.tree, " AND ", b.tree, ")"
                ]
            }
            4 => {
                let value = self.value(scope, Type::Text, depth);
                let not = self.dice.pick(&[" ", " NOT "]);
                let pattern = self.dice.pick(&PATTERNS);
                sql!["(", value.tree, format!("{not}LIKE '{pattern}')")]
            }
            5 => self.leaf(scope, Type::Bool).tree,
            _ => {
                let ty = self.any_type();
                let (a, b) = (self.value(scope, ty, depth), self.leaf(scope, ty));
                let test = self
                    .dice
                    .pick(&[" IS DISTINCT FROM ", " IS NOT DISTINCT FROM "]);
                sql!["(", a.tree, test, b.tree, ")"]
            }
        }
    }

    fn comparison(&mut self, scope: &Scope, depth: usize) -> Tree {
        let ty = self.any_type();
        let (a, b): (Value, Value) = match self.dice.percent(8) {
            true => (
                self.tame(scope, Type::Int, depth),
                self.tame(scope, Type::Real, 0),
            ),
            false => (
                self.value(scope, ty, depth),
                self.value(scope, ty, depth.min(1)),
            ),
        };
        let sign = self.dice.pick(&COMPARISONS);
        sql!["(", a.tree, sign, b.tree, ")"]
    }

    fn in_list(&mut self, scope: &Scope, depth: usize) -> Tree {
        let ty = [Type::Int, Type::Text, Type::Real][self.dice.weighted(&[50, 35, 15])];
        let value = self.value(scope, ty, depth);
        let mut items = Vec::new();
        for _ in 0..1 + self.dice.below(5) {
            items.push(match self.dice.percent(20) {
                true => sql!["NULL"],
                false => schema::literal(self.dice, ty, true, 0),
            });
        }
        let not = self.dice.pick(&[" IN (", " NOT IN ("]);
        sql!["(", value.tree, not, Tree::list(", ", items), "))"]
    }
}
