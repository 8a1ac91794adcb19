//! Aggregates that are told in terms of others: `percentile_disc`, `mode`, `json_agg` and the like.
//!
//! Idea: the values of a group are put into a list in their order, or into a text, and a function of this crate
//! finds in it what is asked for, or writes what is around it. What the user wrote keeps its place in the text, so
//! that errors point there. Invariant: FILTER, ORDER BY, DISTINCT and OVER mean what they do at other aggregates.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    OrderByExpr, OrderByOptions, Value,
};
use netabase_store::Error;

use super::others::as_json;
use crate::error::invalid;

/// An aggregate's call, taken apart.
struct Call {
    args: Vec<Expr>,
    distinct: Option<DuplicateTreatment>,
    order: Vec<OrderByExpr>,
    within: Vec<OrderByExpr>,
    rest: Function,
}

/// What an aggregate of these is made of; `None` if it is another function.
pub(super) fn made(function: &Function, name: &str) -> Result<Option<Expr>, Error> {
    let ours = matches!(
        name,
        "percentile_disc"
            | "quantile_disc"
            | "mode"
            | "json_agg"
            | "jsonb_agg"
            | "json_group_array"
            | "json_object_agg"
            | "jsonb_object_agg"
            | "json_group_object"
    );
    let Some(call) = ours.then(|| Call::of(function)).flatten() else {
        return Ok(None);
    };
    match name {
        "percentile_disc" => call.percentile().map(Some),
        "quantile_disc" => call.quantile().map(Some),
        "mode" => call.mode().map(Some),
        "json_agg" => call.array("to_json", ", ").map(Some),
        "jsonb_agg" => call.array("to_jsonb", ", ").map(Some),
        "json_group_array" => call.array("to_json", ",").map(Some),
        "json_object_agg" => call.object(("json_pair", ", "), ("{ ", " }")).map(Some),
        "json_group_object" => call.object(("json_member", ","), ("{", "}")).map(Some),
        _ => call.merged().map(Some),
    }
}

impl Call {
    /// `None` if there is more in it than is read here, which the planner then refuses.
    fn of(function: &Function) -> Option<Self> {
        let FunctionArguments::List(list) = &function.args else {
            return None;
        };
        let args = list.args.iter().map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        });
        let order = match list.clauses.as_slice() {
            [] => Vec::new(),
            [FunctionArgumentClause::OrderBy(order)] => order.clone(),
            _ => return None,
        };
        Some(Self {
            args: args.collect::<Option<_>>()?,
            distinct: list.duplicate_treatment,
            order,
            within: function.within_group.clone(),
            rest: function.clone(),
        })
    }

    /// `percentile_disc(f) WITHIN GROUP (ORDER BY x)`.
    fn percentile(self) -> Result<Expr, Error> {
        let (Some(fraction), Some(order), 1, 1) = (
            self.args.first().cloned(),
            self.within.first().cloned(),
            self.args.len(),
            self.within.len(),
        ) else {
            return Err(invalid(
                "percentile_disc is called as percentile_disc(0.5) WITHIN GROUP (ORDER BY x)",
            ));
        };
        let ordered = self.ordered("percentile_disc", order)?;
        Ok(call("percentile_of_ordered", vec![ordered, fraction]))
    }

    /// `quantile_disc(x, f)`, as DuckDB has it.
    fn quantile(self) -> Result<Expr, Error> {
        let [value, fraction] = self.args.as_slice() else {
            return Err(invalid("quantile_disc is called as quantile_disc(x, 0.5)"));
        };
        let (order, fraction) = (by(value.clone()), fraction.clone());
        let ordered = self.ordered("quantile_disc", order)?;
        Ok(call("percentile_of_ordered", vec![ordered, fraction]))
    }

    /// `mode() WITHIN GROUP (ORDER BY x)`, or `mode(x)`.
    fn mode(self) -> Result<Expr, Error> {
        let order = match (self.args.as_slice(), self.within.as_slice()) {
            ([], [order]) => order.clone(),
            ([value], []) => by(value.clone()),
            _ => {
                return Err(invalid(
                    "mode is called as mode() WITHIN GROUP (ORDER BY x), or as mode(x)",
                ));
            }
        };
        Ok(call("mode_of_ordered", vec![self.ordered("mode", order)?]))
    }

    /// The list of a group's values in their order. The NULLs among them are passed over by what reads the list:
    /// a filter would have one copy more of the value here.
    fn ordered(self, name: &str, order: OrderByExpr) -> Result<Expr, Error> {
        if self.rest.over.is_some() || self.distinct.is_some() || !self.order.is_empty() {
            return Err(invalid(format!(
                "{name} takes no OVER, DISTINCT or second ORDER BY: compute it in a subquery with GROUP BY"
            )));
        }
        let value = order.expr.clone();
        Ok(aggregate(
            "array_agg",
            self.rest,
            (vec![value], None, vec![order]),
        ))
    }

    /// An array of all values, NULL among them.
    fn array(self, function: &str, comma: &str) -> Result<Expr, Error> {
        let [value] = self.args.as_slice() else {
            return Err(invalid(
                "an array of JSON is made of one value: json_agg(x)",
            ));
        };
        let value = call(function, vec![as_json(value)]);
        let value = call("coalesce", vec![value, text("null")]);
        self.joined((value, comma), ("[", "]"))
    }

    /// An object of all pairs. Arguments are computed before a filter keeps them out, and a key that is NULL fails
    /// there, so that the filter becomes a condition of the pair: a text that is NULL is not joined.
    fn object(mut self, (pair, comma): (&str, &str), around: (&str, &str)) -> Result<Expr, Error> {
        let mut pair = call(pair, self.pair()?);
        if let Some(filter) = self.rest.filter.take() {
            pair = Expr::Case {
                case_token: AttachedToken::empty(),
                end_token: AttachedToken::empty(),
                operand: None,
                conditions: vec![CaseWhen {
                    condition: *filter,
                    result: pair,
                }],
                else_result: None,
            };
        }
        self.joined((pair, comma), around)
    }

    fn pair(&self) -> Result<Vec<Expr>, Error> {
        match self.args.as_slice() {
            [key, value] => Ok(vec![key.clone(), as_json(value)]),
            _ => Err(invalid(
                "an object of JSON is made of a key and a value: json_object_agg(key, value)",
            )),
        }
    }

    fn joined(self, (part, comma): (Expr, &str), around: (&str, &str)) -> Result<Expr, Error> {
        if !self.within.is_empty() {
            return Err(invalid(
                "JSON is gathered without WITHIN GROUP: write json_agg(x ORDER BY y)",
            ));
        }
        let (distinct, order) = (self.distinct, self.order);
        let joined = aggregate(
            "string_agg",
            self.rest,
            (vec![part, text(comma)], distinct, order),
        );
        let begun = binary(text(around.0), BinaryOperator::StringConcat, joined);
        let ended = binary(begun, BinaryOperator::StringConcat, text(around.1));
        Ok(call("as_json", vec![ended]))
    }

    /// An object of all pairs, with each key once.
    fn merged(self) -> Result<Expr, Error> {
        let pair = self.pair()?;
        let mut parts = Vec::with_capacity(4);
        for (name, part) in ["k", "v"].into_iter().zip(pair) {
            parts.push(text(name));
            parts.push(match name {
                "v" => call("to_jsonb", vec![part]),
                _ => part,
            });
        }
        let pair = call("named_struct", parts);
        let (distinct, order) = (self.distinct, self.order);
        let pairs = aggregate("array_agg", self.rest, (vec![pair], distinct, order));
        Ok(call("jsonb_of_pairs", vec![pairs]))
    }
}

fn by(value: Expr) -> OrderByExpr {
    OrderByExpr {
        expr: value,
        options: OrderByOptions::default(),
        with_fill: None,
    }
}

pub(super) fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

type Gathered = (Vec<Expr>, Option<DuplicateTreatment>, Vec<OrderByExpr>);

/// A call of an aggregate with the FILTER and OVER of another.
fn aggregate(name: &str, rest: Function, (args, distinct, order): Gathered) -> Expr {
    let args = args.into_iter().map(FunctionArgExpr::Expr);
    let clauses = match order.is_empty() {
        true => Vec::new(),
        false => vec![FunctionArgumentClause::OrderBy(order)],
    };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: distinct,
            args: args.map(FunctionArg::Unnamed).collect(),
            clauses,
        }),
        within_group: Vec::new(),
        ..rest
    })
}

/// A call of a function.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(FunctionArgExpr::Expr);
    let args = args.map(FunctionArg::Unnamed).collect();
    call_of(ObjectName::from(vec![Ident::new(name)]), args)
}

/// The same, of a function and arguments as they are written.
pub(super) fn call_of(name: ObjectName, args: Vec<FunctionArg>) -> Expr {
    Expr::Function(Function {
        name,
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
