//! What is known about shapes of statements.
//!
//! Idea: two generations of a map; what is found in the older one moves to the younger, and when that is
//! full, the older one goes. So what is used stays, and nothing has to be kept in order. Invariant: a
//! plan is used only with the very definition it was made of: a table that was changed, or dropped and
//! made again, has another one.

use std::sync::Arc;

use hashbrown::HashMap;
use netabase_store::TableDef;
use parking_lot::Mutex;

use super::plan::Plan;
use super::syntax::PointStatement;

/// Shapes in one generation.
const MAX_SHAPES: usize = 1024;

/// A definition, and its plan if there is one.
type Planned = (Arc<TableDef>, Option<Arc<Plan>>);

/// A shape, as far as it is known.
#[derive(Debug)]
pub(crate) struct Known {
    /// `None`: it is none of ours.
    statement: Option<PointStatement>,
    /// The last plan, or that there is none, and the definition it is for.
    planned: Mutex<Option<Planned>>,
}

impl Known {
    pub(super) fn new(statement: Option<PointStatement>) -> Self {
        Self {
            statement,
            planned: Mutex::default(),
        }
    }

    pub(super) fn statement(&self) -> Option<&PointStatement> {
        self.statement.as_ref()
    }

    /// The plan for a definition, made if the last one was for another.
    pub(super) fn plan(
        &self,
        def: &Arc<TableDef>,
        make: impl FnOnce() -> Option<Plan>,
    ) -> Option<Arc<Plan>> {
        let mut planned = self.planned.lock();
        if let Some((of, plan)) = planned.as_ref()
            && Arc::ptr_eq(of, def)
        {
            return plan.clone();
        }
        let plan = make().map(Arc::new);
        *planned = Some((Arc::clone(def), plan.clone()));
        plan
    }
}

/// The shapes that were seen lately.
#[derive(Debug, Default)]
pub(crate) struct PointCache(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Box<str>, Arc<Known>>,
    old: HashMap<Box<str>, Arc<Known>>,
}

impl PointCache {
    pub(super) fn get(&self, shape: &str) -> Option<Arc<Known>> {
        let mut generations = self.0.lock();
        if let Some(known) = generations.young.get(shape) {
            return Some(Arc::clone(known));
        }
        let (shape, known) = generations.old.remove_entry(shape)?;
        generations.add(shape, Arc::clone(&known));
        Some(known)
    }

    pub(super) fn put(&self, shape: &str, known: &Arc<Known>) {
        self.0.lock().add(shape.into(), Arc::clone(known));
    }
}

impl Generations {
    fn add(&mut self, shape: Box<str>, known: Arc<Known>) {
        if self.young.len() >= MAX_SHAPES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(shape, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let cache = PointCache::default();
        let known = Arc::new(Known::new(None));
        cache.put("used", &known);
        for number in 0..5 * MAX_SHAPES {
            cache.put(&number.to_string(), &known);
            assert!(cache.get("used").is_some(), "{number}");
        }
        assert!(cache.get("0").is_none());
        let generations = cache.0.lock();
        assert!(generations.young.len() <= MAX_SHAPES);
        assert!(generations.old.len() <= MAX_SHAPES);
    }
}
