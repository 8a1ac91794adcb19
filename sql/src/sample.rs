//! TABLESAMPLE: some rows of a table, chosen by chance.
//!
//! Idea: a row of a table is chosen by a hash of a seed and its primary key. That is a condition like
//! any other, which the peers that hold the rows check, and gives the same rows for the same seed
//! wherever they lie. `REPEATABLE` gives the seed; otherwise each plan draws one. Rows of anything else
//! have no key, and are chosen by `random()`.
//!
//! Invariant: of a percentage, each row is in with that probability, whatever other rows are; of a
//! number of rows, exactly so many come, or all.
//! Non-goal: reading less. SYSTEM, which may take whole blocks elsewhere, is BERNOULLI here.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use datafusion::common::{Column, plan_err};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::functions::math::expr_fn::random;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, col, lit};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, TableFactor, TableSample, TableSampleKind, TableSampleSeed, TableSampleUnit,
    Value,
};

use crate::functions::SampleHash;
use crate::provider::ShardTable;

/// The column that rows without a key are sorted by.
const DRAWN: &str = "__sample";

/// Plans TABLESAMPLE.
#[derive(Debug)]
pub(crate) struct Sampler;

impl RelationPlanner for Sampler {
    fn plan_relation(
        &self,
        mut relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let sample = match &mut relation {
            TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. } => {
                sample.take()
            }
            _ => None,
        };
        let Some(
            TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample),
        ) = sample
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let (size, seed) = (Size::of(&sample)?, seed_of(sample.seed.as_ref())?);
        let input = context.plan(relation)?;
        let sampled = sampled(input, size, seed)?;
        let planned = PlannedRelation::new(sampled, None);
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

/// How many rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Size {
    /// This share of them, between 0 and 1.
    Share(f64),
    Rows(usize),
}

impl Size {
    fn of(sample: &TableSample) -> Result<Self> {
        if sample.bucket.is_some() || sample.offset.is_some() {
            return plan_err!(
                "TABLESAMPLE with BUCKET or OFFSET is not supported: write TABLESAMPLE BERNOULLI (10)"
            );
        }
        let Some(quantity) = &sample.quantity else {
            return plan_err!("TABLESAMPLE needs a size: write TABLESAMPLE BERNOULLI (10)");
        };
        let wrong = "TABLESAMPLE takes a percentage between 0 and 100, or a number of ROWS, not";
        let Some(text) = number(&quantity.value) else {
            return plan_err!("{wrong} {}", quantity.value);
        };
        if quantity.unit == Some(TableSampleUnit::Rows) {
            return match text.parse() {
                Ok(rows) => Ok(Self::Rows(rows)),
                Err(_) => plan_err!("{wrong} {text} ROWS"),
            };
        }
        match text.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Share(percent / 100.0)),
            _ => plan_err!("{wrong} {text}"),
        }
    }
}

fn number(value: &SqlExpr) -> Option<&str> {
    match value {
        SqlExpr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text),
            _ => None,
        },
        SqlExpr::Nested(inner) => number(inner),
        _ => None,
    }
}

fn seed_of(seed: Option<&TableSampleSeed>) -> Result<Option<i64>> {
    let Some(seed) = seed else {
        return Ok(None);
    };
    let number = match &seed.value.value {
        Value::Number(text, _) => text.parse::<i64>().ok(),
        _ => None,
    };
    match number {
        Some(number) => Ok(Some(number)),
        None => plan_err!("REPEATABLE takes a whole number, not {}", seed.value),
    }
}

/// The rows of a plan that are chosen.
fn sampled(input: LogicalPlan, size: Size, seed: Option<i64>) -> Result<LogicalPlan> {
    let place = match (key_of(&input)?, seed) {
        (Some(key), seed) => {
            let seed = seed.unwrap_or_else(by_chance);
            let args = std::iter::once(lit(seed)).chain(key).collect();
            Some(ScalarUDF::from(SampleHash::new()).call(args))
        }
        (None, None) => None,
        (None, Some(_)) => {
            return plan_err!(
                "REPEATABLE needs rows with a primary key: sample the table itself, and write the \
                 rest of the query around it"
            );
        }
    };
    let builder = LogicalPlanBuilder::from(input);
    match size {
        Size::Share(share) => {
            let chosen = match place {
                Some(place) => place.lt_eq(lit(greatest(share))),
                None => random().lt(lit(share)),
            };
            // No hash is below the least one.
            let chosen = if share > 0.0 { chosen } else { lit(false) };
            builder.filter(chosen)?.build()
        }
        Size::Rows(rows) => match place {
            Some(place) => first_by(builder, place, rows)?.build(),
            None => {
                let all = builder.schema().columns().into_iter().map(Expr::Column);
                let all: Vec<Expr> = all.collect();
                // As a column, so that it is drawn once for each row, and the sort has a row to sort.
                let drawn = random().alias(DRAWN);
                let drawn = std::iter::once(drawn).chain(all.iter().cloned());
                let drawn = builder.project(drawn.collect::<Vec<_>>())?;
                first_by(drawn, col(DRAWN), rows)?.project(all)?.build()
            }
        },
    }
}

/// The rows that come first by an expression.
fn first_by(builder: LogicalPlanBuilder, place: Expr, rows: usize) -> Result<LogicalPlanBuilder> {
    let sorted = builder.sort_with_limit([place.sort(true, false)], Some(rows))?;
    sorted.limit(0, Some(rows))
}

/// The greatest hash of those that are so large a share of all.
fn greatest(share: f64) -> u64 {
    // Two to the power of 64; what is beyond the last hash becomes the last one.
    (share * 18_446_744_073_709_551_616.0) as u64
}

fn by_chance() -> i64 {
    // Every one of them hashes with another key.
    RandomState::new().build_hasher().finish().cast_signed()
}

/// The primary key's columns in a plan that has a table's columns, in their order.
fn key_of(plan: &LogicalPlan) -> Result<Option<Vec<Expr>>> {
    let mut below = plan;
    let scan = loop {
        match below {
            LogicalPlan::SubqueryAlias(alias) => below = &alias.input,
            LogicalPlan::Projection(projection) => {
                let input = projection.input.schema();
                let same = projection.expr.iter().zip(input.columns());
                let renames = projection.expr.len() == input.fields().len()
                    && same
                        .into_iter()
                        .all(|(expr, column)| expr.clone().unalias().try_as_col() == Some(&column));
                if !renames {
                    return Ok(None);
                }
                below = &projection.input;
            }
            LogicalPlan::TableScan(scan) => break scan,
            _ => return Ok(None),
        }
    };
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<ShardTable>() else {
        return Ok(None);
    };
    // A key that nobody gave is not among the columns.
    let key = table.def().primary_key.iter();
    let column = |column: &usize| {
        let place = table.place_of(*column)?;
        let field = plan.schema().qualified_field(place);
        Some(Expr::Column(Column::from(field)))
    };
    Ok(key.map(column).collect())
}
