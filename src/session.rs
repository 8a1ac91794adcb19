//! Sessions: who needs a transaction or settings of their own opens one.
//!
//! Invariant: sessions share tables, memory and runtime with the database that they come from, and
//! nothing else. What a session has not committed is gone with it.

use std::sync::Arc;
use std::time::Instant;

use netabase_sql::Engine;
use netabase_store::Error;

use crate::answer::Answer;
use crate::database::Netabase;
use crate::prepared::Prepared;
use crate::watched::count_retries;

/// A session of a database. Clones are the same session.
#[derive(Debug, Clone)]
pub struct Session {
    database: Netabase,
    engine: Engine,
}

impl Netabase {
    /// Opens a session: with settings (`SET`), prepared statements and a transaction (`BEGIN`) of its
    /// own. Statements given to the database itself all belong to one session, so that tasks that
    /// share a handle share its transaction.
    #[must_use]
    pub fn session(&self) -> Session {
        Session {
            engine: self.inner().engine().session(),
            database: self.clone(),
        }
    }
}

impl Session {
    /// The database, and what runs the session's statements.
    pub(crate) fn parts(&self) -> (&Netabase, &Engine) {
        (&self.database, &self.engine)
    }

    /// Runs one statement, as [`Netabase::sql`] does.
    ///
    /// # Errors
    /// As [`Netabase::sql`].
    pub async fn sql(&self, text: &str) -> Result<Answer, Error> {
        let started = Instant::now();
        let call = self.engine.point(text);
        if let Some(answer) = self.database.at_once(call, started).await? {
            return Ok(answer);
        }
        let (engine, text) = (self.engine.clone(), text.to_owned());
        let work = move |inner| async move {
            let (output, retries) = count_retries(engine.sql(&text)).await;
            Ok(Answer::new(inner, output?, started, retries))
        };
        self.database.run(work).await
    }

    /// Prepares a statement, as [`Netabase::prepare`] does; it sees this session's transaction.
    ///
    /// # Errors
    /// As [`Netabase::prepare`].
    pub async fn prepare(&self, text: &str) -> Result<Prepared, Error> {
        self.database.prepare_in(self.engine.clone(), text).await
    }

    /// Runs statements one after the other, as [`Netabase::script`] does.
    ///
    /// # Errors
    /// As [`Netabase::script`].
    pub async fn script(&self, text: &str) -> Result<Vec<Answer>, Error> {
        let (engine, text) = (self.engine.clone(), text.to_owned());
        let work = move |inner| async move {
            let started = Instant::now();
            let (outputs, retries) = count_retries(engine.script(&text)).await;
            let answer = |output| Answer::new(Arc::clone(&inner), output, started, retries);
            Ok(outputs?.into_iter().map(answer).collect())
        };
        self.database.run(work).await
    }
}
