//! Statements that are run many times with other values.
//!
//! Purpose: [`Prepared`] is parsed and checked once; a statement about one key then takes a few
//! microseconds, on the caller's thread. Invariant: it follows changes of the tables, and fails like
//! [`Netabase::sql`] does once the database is closed.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use netabase_sql::Engine;
use netabase_store::Error;

use crate::answer::Answer;
use crate::database::Netabase;
use crate::watched::count_retries;

/// A statement with parameters `$1`, `$2` and so on; made by [`Netabase::prepare`]. Cheap to clone.
#[derive(Clone)]
pub struct Prepared {
    database: Netabase,
    statement: Arc<netabase_sql::Prepared>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.statement.fmt(f)
    }
}

impl Netabase {
    /// Prepares a query, an INSERT, an UPDATE or a DELETE, in which `$1`, `$2` … stand for values.
    ///
    /// ```
    /// # async fn example() -> Result<(), netabase::Error> {
    /// let db = netabase::Netabase::in_memory().await?;
    /// db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)").await?;
    /// let insert = db.prepare("INSERT INTO t VALUES ($1, $2)").await?;
    /// insert.bind(1_i64).bind("one").query().await?;
    /// let select = db.prepare("SELECT name FROM t WHERE id = $1").await?;
    /// println!("{}", select.bind(1_i64).query().await?.show().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`sql`](Self::sql), and `InvalidInput` for other statements and for parameters that are not
    /// `$1` to `$n`.
    pub async fn prepare(&self, text: &str) -> Result<Prepared, Error> {
        self.prepare_in(self.inner().engine().clone(), text).await
    }

    /// Prepares a statement of a session.
    pub(crate) async fn prepare_in(&self, engine: Engine, text: &str) -> Result<Prepared, Error> {
        let text = text.to_owned();
        let prepare = move |_| async move { engine.prepare(&text).await };
        Ok(Prepared {
            statement: Arc::new(self.run(prepare).await?),
            database: self.clone(),
        })
    }
}

impl Prepared {
    /// The types of the parameters in order, as the tables were when they were last looked at; `None`
    /// where the statement takes any.
    #[must_use]
    pub fn types(&self) -> Arc<[Option<DataType>]> {
        self.statement.types()
    }

    /// Begins a list of values with the first parameter's.
    pub fn bind(&self, value: impl Into<ScalarValue>) -> Bound<'_> {
        let bound = Bound {
            statement: self,
            values: Vec::with_capacity(self.types().len()),
        };
        bound.bind(value)
    }

    /// Runs the statement with these values, one for each parameter.
    ///
    /// # Errors
    /// As [`Netabase::sql`], and `InvalidInput` if the values are more or fewer, or one does not fit its
    /// parameter's type without loss.
    pub async fn query(&self, values: &[ScalarValue]) -> Result<Answer, Error> {
        let started = Instant::now();
        let call = self.statement.point(values)?;
        if let Some(answer) = self.database.at_once(call, started).await? {
            return Ok(answer);
        }
        let (statement, values) = (Arc::clone(&self.statement), values.to_vec());
        let run = move |inner| async move {
            let (output, retries) = count_retries(statement.run(&values)).await;
            Ok(Answer::new(inner, output?, started, retries))
        };
        self.database.run(run).await
    }
}

/// A prepared statement and the values for its first parameters.
#[derive(Debug, Clone)]
#[must_use = "it does nothing until it is run"]
pub struct Bound<'a> {
    statement: &'a Prepared,
    values: Vec<ScalarValue>,
}

impl Bound<'_> {
    /// Adds the next parameter's value.
    pub fn bind(mut self, value: impl Into<ScalarValue>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs the statement.
    ///
    /// # Errors
    /// As [`Prepared::query`].
    pub async fn query(self) -> Result<Answer, Error> {
        self.statement.query(&self.values).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use netabase_store::ErrorKind;

    /// Statements about one key need no runtime at all: any executor will do.
    #[test]
    fn point_statements_run_on_any_executor() {
        let folder = tempfile::tempdir().unwrap();
        let run = async {
            let db = Netabase::embedded(folder.path()).await?;
            db.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT)")
                .await?;
            let insert = db.prepare("INSERT INTO t VALUES ($1, $2)").await?;
            let written = insert.bind(1_i64).bind("one").query().await?;
            assert_eq!(written.receipt().map(|receipt| receipt.rows), Some(1));
            assert!(written.coverage().is_complete());
            let select = db.prepare("SELECT v FROM t WHERE id = $1").await?;
            for (id, rows) in [(1_i64, 1), (2, 0)] {
                let answer = select.bind(id).query().await?;
                assert!(
                    answer
                        .plan_text()
                        .is_some_and(|text| text.contains("PointLookup"))
                );
                let answer = answer.collect().await?;
                assert_eq!(answer.num_rows(), rows);
                assert!(answer.coverage().is_complete());
                assert_eq!(answer.coverage().rows, rows as u64);
                assert_eq!(answer.coverage().peers, [db.peer_id()]);
            }
            db.sql("CREATE INDEX by_v ON t (v)").await?;
            let search = db.prepare("SELECT id FROM t WHERE v = $1").await?;
            for (value, rows) in [("one", 1), ("two", 0)] {
                let answer = search.bind(value).query().await?.collect().await?;
                assert_eq!(answer.num_rows(), rows);
                assert!(answer.coverage().is_complete());
            }
            let deleted = db.sql("DELETE FROM t WHERE id = 1").await?;
            assert_eq!(deleted.receipt().map(|receipt| receipt.rows), Some(1));
            db.close().await?;
            for failed in [
                select.bind(1_i64).query().await,
                db.sql("SELECT v FROM t WHERE id = 1").await,
                insert.bind(2_i64).bind("two").query().await,
            ] {
                assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
            }
            Ok::<_, Error>(())
        };
        futures::executor::block_on(run).unwrap();
    }
}
