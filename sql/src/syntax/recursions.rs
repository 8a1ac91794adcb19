//! Casts in what a WITH RECURSIVE goes on with.
//!
//! Idea: the planner casts what follows to the types of what a recursion begins with, and `mended::recursions` refuses
//! such casts that cut values off. A cast that is written out may cut: it is written twice, so that the outer one
//! changes nothing.

use datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, SelectItem, SetExpr, SetOperator, Value,
};

/// Tells the casts of recursive queries from those of the planner.
pub(super) fn keep_casts(query: &mut Query) {
    let with = query.with.iter_mut().filter(|with| with.recursive);
    for definition in with.flat_map(|with| &mut with.cte_tables) {
        if let SetExpr::SetOperation {
            op: SetOperator::Union,
            right,
            ..
        } = definition.query.body.as_mut()
        {
            keep_all(right);
        }
    }
}

fn keep_all(body: &mut SetExpr) {
    match body {
        SetExpr::Query(query) => keep_all(&mut query.body),
        // The casts of distinct rows are never the outermost ones, and what orders them has to be among them.
        SetExpr::Select(select) if select.distinct.is_none() => keep_in(select),
        SetExpr::SetOperation { left, right, .. } => {
            keep_all(left);
            keep_all(right);
        }
        _ => {}
    }
}

fn keep_in(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) = item {
            let value = std::mem::replace(expr, Expr::value(Value::Null));
            *expr = cast_twice(value);
        }
    }
}

/// A cast within one to the same type; everything else as it is.
pub(crate) fn cast_twice(value: Expr) -> Expr {
    match value {
        Expr::Nested(inner) => cast_twice(*inner),
        Expr::Cast {
            kind,
            expr,
            data_type,
            array,
            format,
        } => {
            let once = Expr::Cast {
                kind: kind.clone(),
                expr,
                data_type: data_type.clone(),
                array,
                format,
            };
            Expr::Cast {
                kind,
                expr: Box::new(Expr::Nested(Box::new(once))),
                data_type,
                array,
                format: None,
            }
        }
        other => other,
    }
}
