//! What stands in an expression itself, and not in a subquery of it, which has names of its own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, VisitMut, VisitorMut};

/// Changes the expressions of a part of a statement, the innermost first, but for those of queries in it.
pub(crate) fn outside_queries(part: &mut impl VisitMut, change: impl FnMut(&mut Expr)) {
    let mut walk = Outside { change, depth: 0 };
    // It never breaks.
    let _ = part.visit(&mut walk);
}

struct Outside<F> {
    change: F,
    depth: usize,
}

impl<F: FnMut(&mut Expr)> VisitorMut for Outside<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    #[inline(never)]
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            (self.change)(expr);
        }
        ControlFlow::Continue(())
    }
}
