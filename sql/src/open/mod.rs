//! What the text of a statement leaves open, and its tables tell.
//!
//! Purpose: a LIMIT that is a query is the number that it gives ([`limits`]); NATURAL joins are over the
//! columns that both sides have ([`natural`]); the name of a table that stands where a value does is its
//! row ([`whole_rows`]). Each is written out in the syntax tree before the statement is planned.
//!
//! Invariants: what is inside of a query is written out before what is around it; a statement that has
//! none of these is not changed, and costs one look. Non-goal: what the planner itself finds out.

mod limits;
mod natural;
mod whole_rows;

use std::collections::HashSet;
use std::ops::ControlFlow;

use arrow::datatypes::FieldRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, Query, SelectItem, Statement as SqlStatement, TableFactor, TableWithJoins, Visit,
    VisitMut, VisitorMut, WildcardAdditionalOptions, With,
};
use netabase_store::Error;

use crate::deadline::Deadline;
use crate::dml::select;
use crate::doubled;
use crate::engine::Engine;
use crate::error::invalid;
use crate::statement::ident_of;
use crate::syntax::{HiddenLists, is_deep, selects_of, shown};
use crate::withs::Withs;

pub(crate) use self::limits::{forget as forget_limits, refuse_in_view};
pub(crate) use self::whole_rows::may_name_rows;

/// The most places of a statement that are written out.
const MAX_PLACES: usize = 1000;

/// What the tables are looked at with.
pub(crate) struct Look<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) state: &'a SessionState,
    pub(crate) deadline: &'a Deadline,
}

/// Writes out what a statement leaves open.
pub(crate) async fn settle<T: VisitMut + Visit>(
    look: &Look<'_>,
    statement: &mut T,
) -> Result<(), Error> {
    limits::settle(look, statement).await?;
    natural::settle(look, statement).await?;
    whole_rows::count_rows(look, statement).await
}

/// The same for the query of a view, whose text has to say everything.
pub(crate) async fn settle_view(engine: &Engine, query: &mut Query) -> Result<(), Error> {
    let (state, deadline) = (engine.context().state(), engine.deadline());
    let look = Look {
        engine,
        state: &state,
        deadline: &deadline,
    };
    natural::settle(&look, query).await?;
    whole_rows::count_rows(&look, query).await?;
    if !may_name_rows(query) || is_deep(query) {
        return Ok(());
    }
    for _ in 0..MAX_PLACES {
        let statement = SqlStatement::Query(Box::new(query.clone()));
        let statement = Statement::Statement(Box::new(statement));
        let planning = async { Ok(doubled::plan(&state, statement, HiddenLists::default()).await) };
        let Err(error) = deadline.bound(planning).await? else {
            return Ok(());
        };
        if !whole_rows::settle(&look, query, &error).await? {
            return Ok(());
        }
    }
    Err(too_many())
}

/// Writes out the names of rows that a planning did not know; whether there were any.
pub(crate) async fn settle_rows<T: VisitMut + Visit>(
    look: &Look<'_>,
    statement: &mut T,
    error: &DataFusionError,
) -> Result<bool, Error> {
    whole_rows::settle(look, statement, error).await
}

fn too_many() -> Error {
    invalid(format!(
        "a statement in which more than {MAX_PLACES} names have to be written out: write some of them out"
    ))
}

/// The queries that WITH has named where the walk is.
#[derive(Default)]
struct Ctes {
    withs: Withs<Cte>,
    /// Whether one of the queries around has a recursive WITH.
    recursive: Vec<bool>,
}

impl Ctes {
    fn enter(&mut self, query: &Query) {
        let with = query.with.as_ref();
        let ctes = with.map(|with| with.cte_tables.as_slice());
        self.withs.enter(ctes.unwrap_or_default().iter().cloned());
        self.recursive.push(with.is_some_and(|with| with.recursive));
    }

    fn leave(&mut self) {
        self.withs.leave();
        self.recursive.pop();
    }

    /// Whether each name means one query, which does not read itself.
    fn are_plain(&self) -> bool {
        !self.recursive.contains(&true) && self.with().is_ok()
    }

    /// All of them as one WITH. Fails if two of one WITH have one name; those of WITHs around have others (`syntax`).
    fn with(&self) -> Result<Option<With>, Error> {
        let (mut names, mut ctes) = (HashSet::new(), Vec::new());
        for cte in self.withs.known() {
            let name = ident_of(&cte.alias.name);
            if !names.insert(name.clone()) {
                return Err(invalid(format!("WITH names \"{name}\" twice")));
            }
            ctes.push(cte.clone());
        }
        Ok((!ctes.is_empty()).then(|| With {
            with_token: AttachedToken::empty(),
            recursive: self.recursive.contains(&true),
            cte_tables: ctes,
        }))
    }
}

/// Walks through the queries of a statement, the innermost first, with what each sees of WITH.
struct Walk<F> {
    ctes: Ctes,
    /// Whether these are of interest: they have to be copied.
    keeps: bool,
    visit: F,
}

impl<B, F: FnMut(&mut Query, &Ctes) -> ControlFlow<B>> VisitorMut for Walk<F> {
    type Break = B;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<B> {
        if self.keeps {
            self.ctes.enter(query);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<B> {
        let visited = (self.visit)(query, &self.ctes);
        if self.keeps {
            self.ctes.leave();
        }
        visited
    }
}

/// The first thing that is found in a query of a statement, which is not changed by looking.
fn find_in<T: VisitMut + Visit, B>(
    statement: &mut T,
    mut look: impl FnMut(&mut Query, &Ctes) -> Option<B>,
) -> Result<Option<B>, Error> {
    if put_in(statement, |query| look(query, &Ctes::default())).is_none() {
        return Ok(None);
    }
    if is_deep(statement) {
        return Err(invalid(
            "a statement with so many UNIONs cannot have a query as a LIMIT, a NATURAL join or the name of a \
             table as a value: write a number, USING, or the columns",
        ));
    }
    Ok(first_in(statement, true, look))
}

/// Changes the first query of a statement for which there is something to be done; what was.
fn put_in<T: VisitMut, B>(
    statement: &mut T,
    mut put: impl FnMut(&mut Query) -> Option<B>,
) -> Option<B> {
    first_in(statement, false, |query, _| put(query))
}

fn first_in<T: VisitMut, B>(
    statement: &mut T,
    keeps: bool,
    mut visit: impl FnMut(&mut Query, &Ctes) -> Option<B>,
) -> Option<B> {
    let mut walk = Walk {
        ctes: Ctes::default(),
        keeps,
        visit: |query: &mut Query, ctes: &Ctes| match visit(query, ctes) {
            Some(found) => ControlFlow::Break(found),
            None => ControlFlow::Continue(()),
        },
    };
    match statement.visit(&mut walk) {
        ControlFlow::Break(found) => Some(found),
        ControlFlow::Continue(()) => None,
    }
}

/// The columns of a source in FROM, or why it cannot be planned by itself.
async fn columns_of(
    look: &Look<'_>,
    source: &TableFactor,
    with: Option<With>,
) -> Result<Result<Vec<FieldRef>, DataFusionError>, Error> {
    let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
    let from = TableWithJoins {
        relation: source.clone(),
        joins: Vec::new(),
    };
    let mut query = select(vec![all], vec![from], None)?;
    query.with = with;
    let statement = Statement::Statement(Box::new(SqlStatement::Query(Box::new(query))));
    let planning = async { Ok(doubled::plan(look.state, statement, HiddenLists::default()).await) };
    let plan = match look.deadline.bound(planning).await? {
        Ok(plan) => plan,
        Err(error) => return Ok(Err(error)),
    };
    let fields = plan.schema().fields().iter();
    let named = fields.map(|field| {
        let name = shown(field.name()).to_owned();
        field.as_ref().clone().with_name(name).into()
    });
    Ok(Ok(named.collect()))
}
