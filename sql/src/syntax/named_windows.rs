//! Windows that build on those of a WINDOW clause.
//!
//! Idea: the planner knows a named window where `OVER w` stands in the list of a SELECT, and leaves the name out
//! of `OVER (w ORDER BY …)`; so what the name stands for is put in its place.
//!
//! Invariant: as in PostgreSQL, a window takes the PARTITION BY of the one that it builds on, and has a frame of its
//! own; what the two may not have together is refused. Non-goal: windows within windows, which are none.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, NamedWindowDefinition, NamedWindowExpr, Query, Select, SetExpr,
    VisitMut, WindowSpec, WindowType, visit_expressions,
};
use netabase_store::Error;

use super::outside::outside_queries;
use crate::error::{capacity, invalid};
use crate::statement::ident_of;

/// The expressions that may be copied in one SELECT.
const MAX_COPIED: usize = 100_000;

/// Writes out the windows of a SELECT.
#[inline(never)]
pub(super) fn expand(select: &mut Select) -> Result<(), Error> {
    let mut windows = Windows::of(&mut select.named_window)?;
    windows.put_in(&mut select.projection, false)?;
    windows.put_in(&mut select.qualify, true)?;
    match &mut select.distinct {
        Some(Distinct::On(by)) => windows.put_in(by, true),
        _ => Ok(()),
    }
}

/// The same for ORDER BY.
#[inline(never)]
pub(super) fn order(query: &mut Query) -> Result<(), Error> {
    match (query.body.as_mut(), &mut query.order_by) {
        (SetExpr::Select(select), Some(by)) => {
            Windows::of(&mut select.named_window)?.put_in(by, true)
        }
        _ => Ok(()),
    }
}

/// The windows that have names, none of which builds on another any more.
#[derive(Default)]
struct Windows {
    known: HashMap<String, WindowSpec>,
    copied: usize,
}

impl Windows {
    /// Each may build on those before it.
    fn of(definitions: &mut [NamedWindowDefinition]) -> Result<Self, Error> {
        let mut windows = Self::default();
        for NamedWindowDefinition(name, what) in definitions {
            let spec = match what {
                NamedWindowExpr::NamedWindow(other) => windows.find(other)?,
                NamedWindowExpr::WindowSpec(spec) => {
                    windows.extend(spec)?;
                    spec.clone()
                }
            };
            *what = NamedWindowExpr::WindowSpec(spec.clone());
            // The planner refuses the second of two.
            windows.known.entry(ident_of(name)).or_insert(spec);
        }
        Ok(windows)
    }

    fn find(&mut self, name: &Ident) -> Result<WindowSpec, Error> {
        let name = ident_of(name);
        let Some(spec) = self.known.get(&name) else {
            return Err(invalid(format!("window \"{name}\" does not exist")));
        };
        self.copied = self.copied.saturating_add(size_of(spec));
        match self.copied > MAX_COPIED {
            false => Ok(spec.clone()),
            true => Err(capacity(
                "the windows of a SELECT become too large when they are written out: put what they are over \
                 into a subquery",
            )),
        }
    }

    /// Makes a window one that builds on no other.
    fn extend(&mut self, spec: &mut WindowSpec) -> Result<(), Error> {
        let Some(name) = spec.window_name.take() else {
            return Ok(());
        };
        let base = self.find(&name)?;
        let name = ident_of(&name);
        if !spec.partition_by.is_empty() {
            return Err(invalid(format!(
                "a window that builds on window \"{name}\" has its PARTITION BY, and none of its own"
            )));
        }
        if !(spec.order_by.is_empty() || base.order_by.is_empty()) {
            return Err(invalid(format!(
                "window \"{name}\" has an ORDER BY already: a window that builds on it cannot have another"
            )));
        }
        if base.window_frame.is_some() {
            return Err(invalid(format!(
                "window \"{name}\" has a frame, so that no window can build on it: write OVER {name}, or leave \
                 its frame out"
            )));
        }
        spec.partition_by = base.partition_by;
        if spec.order_by.is_empty() {
            spec.order_by = base.order_by;
        }
        Ok(())
    }

    /// Writes out the windows in a part of a SELECT; the planner knows a mere name in its list alone.
    fn put_in(&mut self, part: &mut impl VisitMut, names: bool) -> Result<(), Error> {
        let mut done = Ok(());
        outside_queries(part, |expr| {
            if let Expr::Function(function) = expr
                && let Some(over) = &mut function.over
                && done.is_ok()
            {
                done = self.put(over, names);
            }
        });
        done
    }

    fn put(&mut self, over: &mut WindowType, names: bool) -> Result<(), Error> {
        match over {
            WindowType::WindowSpec(spec) => self.extend(spec)?,
            WindowType::NamedWindow(name) if names => {
                *over = WindowType::WindowSpec(self.find(name)?);
            }
            WindowType::NamedWindow(_) => {}
        }
        Ok(())
    }
}

/// The expressions of a window, and itself.
fn size_of(spec: &WindowSpec) -> usize {
    let mut size = 1_usize;
    let _: ControlFlow<()> = visit_expressions(spec, |_| {
        size += 1;
        ControlFlow::Continue(())
    });
    size
}
