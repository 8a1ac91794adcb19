//! `SELECT 2024 AS year … GROUP BY year`.
//!
//! Idea: the planner puts the constant in the place of its name, and then takes it for the position of a column. A cast
//! to the type that it has is no position. Invariant: values and types stay what they are.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, GroupByExpr, Ident, Select, SelectItem, UnaryOperator, Value,
};

use crate::statement::ident_of;

/// Lets constants that GROUP BY names not be positions.
pub(super) fn keep_named(select: &mut Select) {
    let GroupByExpr::Expressions(groups, _) = &select.group_by else {
        return;
    };
    let names: Vec<String> = groups.iter().flat_map(names_in).map(ident_of).collect();
    for item in &mut select.projection {
        if let SelectItem::ExprWithAlias { expr, alias } = item
            && names.contains(&ident_of(alias))
            && is_position(expr)
        {
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(expr.clone()),
                data_type: DataType::BigInt(None),
                array: false,
                format: None,
            };
        }
    }
}

/// The names in what rows are grouped by.
fn names_in(group: &Expr) -> Vec<&Ident> {
    match group {
        Expr::Identifier(name) => vec![name],
        Expr::Nested(inner) => names_in(inner),
        Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) => {
            sets.iter().flatten().flat_map(names_in).collect()
        }
        Expr::Tuple(parts) => parts.iter().flat_map(names_in).collect(),
        _ => Vec::new(),
    }
}

/// Whether the planner takes a constant for a position: whole numbers of 64 bits.
fn is_position(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => {
            matches!(&value.value, Value::Number(text, _) if text.parse::<i64>().is_ok())
        }
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => is_position(expr),
        Expr::Nested(inner) => is_position(inner),
        _ => false,
    }
}
