//! Makes a script that shows a difference as short as it can.
//!
//! Statements are dropped first, in large pieces and then one by one; then the statements that are
//! left are made smaller. Whatever still differs is kept.

use std::time::{Duration, Instant};

use super::run::{Difference, run};
use super::script::{Script, Step};

/// Scripts that are tried.
const TRIES: usize = 600;
/// How long that may take, but for the last of them: where a statement takes too long, so do its like.
const LONGEST: Duration = Duration::from_secs(300);

/// A script and the difference that it shows.
pub(super) struct Shrinker {
    pub(super) script: Script,
    pub(super) difference: Difference,
    tries: usize,
    since: Instant,
}

impl Shrinker {
    pub(super) fn new(script: Script, difference: Difference) -> Self {
        Self {
            script,
            difference,
            tries: 0,
            since: Instant::now(),
        }
    }

    fn is_done(&self) -> bool {
        self.tries >= TRIES || self.since.elapsed() >= LONGEST
    }

    /// Shrinks until nothing helps, or it was tried often or long enough.
    pub(super) async fn shrink(&mut self) {
        self.script.steps.truncate(self.difference.step + 1);
        loop {
            let before = self.script.steps.len();
            self.drop_steps().await;
            let smaller = self.shrink_statements().await;
            if (!smaller && before == self.script.steps.len()) || self.is_done() {
                return;
            }
        }
    }

    /// Whether the script with other steps differs; if so, it is the script.
    async fn try_steps(&mut self, steps: Vec<Step>) -> bool {
        if self.is_done() {
            return false;
        }
        self.tries += 1;
        let script = Script {
            steps,
            ..self.script.clone()
        };
        match run(&script).await {
            Ok(_) => false,
            Err(difference) if difference.class() != self.difference.class() => false,
            Err(difference) => {
                self.script = script;
                self.script.steps.truncate(difference.step + 1);
                self.difference = *difference;
                true
            }
        }
    }

    async fn drop_steps(&mut self) {
        let mut size = self.script.steps.len() / 2;
        while size > 0 {
            let mut start = 0;
            while start < self.script.steps.len() {
                let mut steps = self.script.steps.clone();
                let end = (start + size).min(steps.len());
                steps.drain(start..end);
                if !self.try_steps(steps).await {
                    start += size;
                }
            }
            size /= 2;
        }
    }

    async fn shrink_statements(&mut self) -> bool {
        let mut any = false;
        let mut place = self.script.steps.len();
        while place > 0 {
            place -= 1;
            while self.shrink_statement(place).await {
                any = true;
            }
        }
        any
    }

    async fn shrink_statement(&mut self, place: usize) -> bool {
        let Some(Step::Sql(tree)) = self.script.steps.get(place) else {
            return false;
        };
        for smaller in tree.smaller() {
            let mut steps = self.script.steps.clone();
            steps[place] = Step::Sql(smaller);
            if self.try_steps(steps).await {
                return true;
            }
        }
        false
    }
}
