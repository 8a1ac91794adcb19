//! Casts in what a WITH RECURSIVE goes on with.
//!
//! Idea: the planner casts what follows to the types of what a recursion begins with, and `mended::recursions` refuses
//! such casts that cut values off. A cast that is written out may cut: it is written twice, so that the outer one
//! changes nothing.

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, SelectItem, SetExpr, SetOperator};

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
        SetExpr::Select(select) => keep_in(select),
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
            keep(expr);
        }
    }
}

fn keep(value: &mut Expr) {
    match value {
        Expr::Nested(inner) => keep(inner),
        Expr::Cast {
            kind,
            expr,
            data_type,
            array,
            format,
        } => {
            let is_kept =
                matches!(expr.as_ref(), Expr::Cast { data_type: own, .. } if own == data_type);
            if !is_kept {
                let (kind, data_type) = (kind.clone(), data_type.clone());
                let (array, format) = (*array, format.clone());
                let once = Box::new(value.clone());
                *value = Expr::Cast {
                    kind,
                    expr: once,
                    data_type,
                    array,
                    format,
                };
            }
        }
        _ => {}
    }
}
