//! Texts of the engine below in the words of SQL.
//!
//! Purpose: what DataFusion and Arrow say about a statement speaks of their types, plans and
//! signatures. Here it becomes one sentence about the statement, with what the statement calls it.
//!
//! Invariant: a text that is not known is passed on, with its types named as in SQL. What stands
//! between single quotes is the user's and stays as it is.

use crate::blame::What;
use crate::sql_types::in_sql;
use crate::syntax::shown_escaped;

/// A sentence, and what it is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) what: What,
    pub(crate) name: String,
}

impl Said {
    fn plain(text: impl Into<String>) -> Self {
        Self::about(What::Other, "", text)
    }

    fn about(what: What, name: &str, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            what,
            name: name.to_owned(),
        }
    }
}

/// Whoever knows a text.
type Rule = fn(&str) -> Option<Said>;

const RULES: [Rule; 8] = [
    names, values, operators, calls, queries, subqueries, lists, settings,
];

/// The sentence for a text.
pub(crate) fn said(text: &str) -> Said {
    if let Some(said) = RULES.iter().find_map(|rule| rule(text)) {
        return said;
    }
    Said::plain(plainly(text))
}

/// As sentences are written here: from a small letter on, without a full stop.
fn plainly(text: &str) -> String {
    let text = in_sql(text.trim_end_matches('.'));
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second))
            if first.is_ascii_uppercase() && second.is_ascii_lowercase() =>
        {
            format!("{}{}", first.to_ascii_lowercase(), &text[1..])
        }
        _ => text,
    }
}

/// What is between two parts of a text, the first of which it begins with.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (found, _) = text.strip_prefix(before)?.split_once(after)?;
    Some(found)
}

/// The three parts that four constants leave of a text.
fn two<'a>(text: &'a str, before: &str, middle: &str, after: &str) -> Option<(&'a str, &'a str)> {
    let (first, rest) = text.strip_prefix(before)?.split_once(middle)?;
    Some((first, rest.strip_suffix(after)?))
}

fn names(text: &str) -> Option<Said> {
    for before in [
        "not supported: Unsupported ast node in sqltorel: ",
        "not supported: Unsupported ast node ",
        "not supported: Unsupported JOIN operator ",
    ] {
        if let Some(node) = text.strip_prefix(before) {
            // What follows the name is how the parser keeps it.
            let name = node.split(|letter: char| !letter.is_alphanumeric()).next();
            let name = name.unwrap_or(node).to_ascii_uppercase();
            return Some(Said::plain(format!("{name} is not supported")));
        }
    }
    if let Some(name) = text.strip_prefix("not supported: Unsupported SQL type ") {
        return Some(Said::about(
            What::Type,
            &name.to_lowercase(),
            format!("type \"{}\" does not exist", name.to_lowercase()),
        ));
    }
    if let Some(name) = between(text, "table function '", "' not found") {
        let text = format!("table function \"{name}\" does not exist");
        return Some(Said::about(What::Function, name, text));
    }
    if let Some(name) = between(text, "Prepared statement '", "' does not exist") {
        let text = format!("there is no prepared statement \"{name}\"; PREPARE it first");
        return Some(Said::about(What::Name, name, text));
    }
    if let Some(name) = text.strip_prefix("Invalid qualifier ") {
        let text = format!("there is no table \"{name}\" in FROM");
        return Some(Said::about(What::Name, name, text));
    }
    if let Some(name) = between(text, "The window ", " is not defined") {
        let text = format!("there is no window \"{name}\"; add WINDOW {name} AS (…)");
        return Some(Said::about(What::Name, name, text));
    }
    if let Some(name) = between(text, "WITH query name \"", "\" specified more than once") {
        let name = shown_escaped(name);
        return Some(Said::plain(format!("WITH names \"{name}\" twice")));
    }
    if let Some(said) = same_names(text) {
        return Some(said);
    }
    let ambiguous = text.strip_prefix("Ambiguous reference to unqualified field ");
    ambiguous.map(|name| {
        let name = name.replace('"', "");
        let text = format!("column \"{name}\" is ambiguous: write its table and a dot before it");
        Said::about(What::Name, &name, text)
    })
}

/// Two columns of one name.
fn same_names(text: &str) -> Option<Said> {
    let twice = text
        .strip_prefix("Schema contains duplicate qualified field name ")
        .or_else(|| text.strip_prefix("Schema contains duplicate unqualified field name "));
    if let Some(name) = twice {
        let name = name.replace('"', "");
        return Some(Said::plain(match name.contains('.') {
            true => {
                format!("column \"{name}\" is there twice: give the tables different names with AS")
            }
            false => format!("column \"{name}\" is there twice"),
        }));
    }
    let (_, rest) = text.split_once("require unique expression names but the expression \"")?;
    let (one, rest) = rest.split_once("\" at position ")?;
    let (_, rest) = rest.split_once(" and \"")?;
    let (other, _) = rest.split_once("\" at position ")?;
    Some(Said::plain(format!(
        "the columns {} and {} have the same name: give one of them another with AS",
        in_sql(one),
        in_sql(other)
    )))
}

fn values(text: &str) -> Option<Said> {
    let wrong = |value: &str, kind: &str, why: &str| {
        Said::about(
            What::Value,
            value,
            format!("'{value}' is not a valid {}{why}", in_sql(kind)),
        )
    };
    let too_large = |value: &str, kind: &str| {
        let digits = value.strip_prefix('-').unwrap_or(value);
        let is_number = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        kind.starts_with("Decimal") && is_number && digits.matches('.').count() < 2
    };
    if let Some((value, kind)) = two(text, "Cannot cast string '", "' to value of ", " type")
        && too_large(value, kind)
    {
        let text = format!("{value} is too large for a {}", in_sql(kind));
        return Some(Said::about(What::Value, value, text));
    }
    if let Some((value, kind)) = two(text, "Cannot cast string '", "' to value of ", " type")
        .or_else(|| two(text, "Cannot cast value '", "' to value of ", " type"))
    {
        return Some(wrong(value, kind, ""));
    }
    if let Some((value, why)) = two(text, "Error parsing timestamp from '", "': ", "") {
        return Some(wrong(value, "TIMESTAMP", &format!(": {why}")));
    }
    if let Some(value) = between(text, "Invalid input syntax for type interval: \"", "\"") {
        return Some(wrong(value, "INTERVAL", ""));
    }
    if let Some((value, kind)) = two(text, "Can't cast value ", " to type ", "") {
        let text = format!("{value} is out of range for {}", in_sql(kind));
        return Some(Said::about(What::Value, value, text));
    }
    if let Some((value, rest)) = text.split_once(" is too large to store in a Decimal")
        && let Some((_, rest)) = rest.split_once(" of precision ")
        && let Some((digits, most)) = rest.split_once(". Max is ")
    {
        let text = format!("{value} does not fit into {digits} digits; the largest is {most}");
        return Some(Said::about(What::Value, value, text));
    }
    if let Some((value, rest)) = text.split_once(" is too small to store in a Decimal")
        && let Some((_, rest)) = rest.split_once(" of precision ")
        && let Some((digits, least)) = rest.split_once(". Min is ")
    {
        let text = format!("{value} does not fit into {digits} digits; the smallest is {least}");
        return Some(Said::about(What::Value, value, text));
    }
    other_values(text)
}

/// What else values may be.
fn other_values(text: &str) -> Option<Said> {
    if let Some((from, to)) = two(text, "not supported: Unsupported CAST from ", " to ", "") {
        let (from, to) = (in_sql(from), in_sql(to));
        return Some(Said::plain(format!("{from} cannot be cast to {to}")));
    }
    if let Some(why) = text.strip_prefix("Encountered non UTF-8 data: ") {
        return Some(Said::plain(format!(
            "the bytes are no text in UTF-8: {why}"
        )));
    }
    if let Some((_, why)) = text.split_once("regex parse error:") {
        let (pattern, why) = why.rsplit_once("error: ").unwrap_or(("", why));
        // Below the pattern a caret shows the place.
        let pattern = pattern.trim_end_matches([' ', '^']).trim();
        let text = format!("'{pattern}' is not a valid regular expression: {why}");
        return Some(Said::about(What::Value, pattern, text));
    }
    if text.starts_with("Divide by zero") {
        return Some(Said::plain("division by zero"));
    }
    if text.starts_with("Overflow happened on: ") || text.starts_with("Arithmetic overflow: ") {
        let (_, what) = text.split_once(": ")?;
        let what = what.trim_start_matches("Overflow happened on: ");
        return Some(Said::plain(format!("the result is out of range: {what}")));
    }
    None
}

fn operators(text: &str) -> Option<Said> {
    let cast = |operation: &str| {
        let text = format!("there is no {}: CAST one of the sides", in_sql(operation));
        Said::plain(text)
    };
    if let Some(operation) = between(
        text,
        "Cannot coerce arithmetic expression ",
        " to valid types",
    ) {
        return Some(cast(operation));
    }
    for kind in [
        "argument type for comparison",
        "string type for string concat",
    ] {
        let before = format!("Cannot infer common {kind} operation ");
        if let Some(operation) = text.strip_prefix(&before) {
            return Some(cast(operation));
        }
    }
    if let Some(operation) =
        text.strip_prefix("Cannot infer common argument type for logical boolean operation ")
    {
        let operation = in_sql(operation);
        return Some(Said::plain(format!(
            "AND and OR take BOOLEAN on both sides, not {operation}"
        )));
    }
    if let Some((condition, kind)) = two(
        text,
        "Cannot create filter with non-boolean predicate '",
        "' returning ",
        "",
    ) {
        let (condition, kind) = (in_sql(condition), in_sql(kind));
        let text = format!(
            "the condition {condition} is {kind} and not BOOLEAN: compare it with something"
        );
        return Some(Said::about(What::Name, &condition, text));
    }
    None
}

/// Functions with arguments that they do not take.
fn calls(text: &str) -> Option<Said> {
    if let Some(kind) = between(text, "Cannot access field at argument 1: type ", " is not ") {
        return Some(Said::plain(format!(
            "a value of type {} has no fields; where \"a.b\" is meant to be a column of a table around this query, give \
             that table a name with AS that no column has",
            in_sql(kind)
        )));
    }
    let name = [
        ("Internal error: Function '", "' failed to match"),
        ("Function '", "' expects"),
        ("Function '", "' user-defined coercion failed"),
        ("Function '", "' requires"),
        ("Function '", "' failed to match"),
        (
            "Failed to coerce arguments to satisfy a call to '",
            "' function",
        ),
        ("'", "' does not support zero arguments"),
    ];
    let name = name
        .iter()
        .find_map(|(before, after)| between(text, before, after));
    let given = text.split_once("argument types '").and_then(|(_, rest)| {
        let (call, _) = rest.split_once("'.")?;
        let (name, arguments) = call.split_once('(')?;
        Some((name, arguments.strip_suffix(')')?))
    });
    let name = name.or(given.map(|(name, _)| name))?;
    let mut said = match (given, text.split_once("(DataType: ")) {
        (Some((_, "")), _) => format!("function \"{name}\" takes arguments"),
        (Some((_, given)), _) => format!("function \"{name}\" does not take ({})", in_sql(given)),
        (None, Some((_, rest))) => {
            let kind = rest.split_once(").").map_or(rest, |(kind, _)| kind);
            format!("function \"{name}\" does not take {}", in_sql(kind))
        }
        _ => format!("function \"{name}\" does not take these arguments"),
    };
    if let Some((_, candidates)) = text.split_once("Candidate functions: ")
        && !candidates.contains("UserDefined")
    {
        said.push_str(&format!("; there is {}", in_sql(candidates)));
    } else if let Some((given, wanted)) = numbers(text) {
        said = format!("function \"{name}\" takes {wanted} arguments, not {given}");
    }
    Some(Said::about(What::Call, name, said))
}

/// How many arguments were given and wanted, where only their number was wrong.
fn numbers(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once("' expects ")?;
    let (wanted, rest) = rest.split_once(" arguments but received ")?;
    let given = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    (!text.contains("requires")).then_some((given, wanted))
}

fn queries(text: &str) -> Option<Said> {
    if let Some((_, rest)) = text.split_once("column \"")
        && let Some((column, _)) = rest.split_once("\" must appear in the GROUP BY clause")
    {
        let column = in_sql(column);
        let text = format!(
            "column \"{column}\" must be in GROUP BY or within an aggregate function, such as max"
        );
        return Some(Said::about(What::Other, &column, text));
    }
    if let Some(what) =
        text.strip_prefix("not supported: Physical plan does not support logical expression ")
    {
        return Some(Said::plain(match what.split('(').next() {
            Some("AggregateFunction") => {
                "an aggregate function is not allowed here: compute it in a subquery"
            }
            Some("WindowFunction") => {
                "a window function is not allowed here: compute it in a subquery, and use its column"
            }
            _ => "this expression is not supported here",
        }));
    }
    if text.starts_with("Aggregate function calls cannot be nested") {
        return Some(Said::plain(
            "aggregate functions cannot be nested: compute the inner one in a subquery",
        ));
    }
    if text.starts_with("Aggregate function calls cannot contain window") {
        return Some(Said::plain(
            "an aggregate function cannot hold a window function: compute that in a subquery",
        ));
    }
    if text.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        return Some(Said::plain(
            "aggregate functions are not allowed in WHERE: use HAVING",
        ));
    }
    None
}

fn subqueries(text: &str) -> Option<Said> {
    if let Some(columns) =
        text.strip_prefix("Too many columns! The subquery should only return one column: ")
    {
        let columns = in_sql(columns);
        return Some(Said::plain(format!(
            "the subquery must give one column, not {columns}"
        )));
    }
    if let Some(name) = between(text, "Placeholder '", "' was not provided") {
        let text = format!(
            "there is no value for {name}: give one with PREPARE and EXECUTE, or as a parameter"
        );
        return Some(Said::plain(text));
    }
    if text.starts_with("Unsupported interval argument")
        || text.contains("Unsupported interval arg")
    {
        return Some(Said::plain(
            "INTERVAL takes a text or a number, such as INTERVAL '1 day'",
        ));
    }
    if text.starts_with("Scalar subquery returned more than one row") {
        return Some(Said::plain(
            "the subquery gives several rows where one value is wanted: add LIMIT 1, or an aggregate",
        ));
    }
    if text.starts_with("join condition should not be empty") {
        return Some(Said::plain(
            "the join has no condition: add ON or USING, or write CROSS JOIN",
        ));
    }
    let (columns, names) = two(
        text,
        "Source table contains ",
        " columns but only ",
        " names given as column alias",
    )?;
    Some(Said::plain(format!(
        "{names} names are given to {columns} columns"
    )))
}

fn lists(text: &str) -> Option<Said> {
    if let Some(rest) = text.strip_prefix("Inconsistent data length across values list: got ") {
        let (given, rest) = rest.split_once(" values in row ")?;
        let (row, wanted) = rest.split_once(" but expected ")?;
        let row = row.parse::<u64>().ok()? + 1;
        let text = format!("row {row} of VALUES has {given} values, but {wanted} are expected");
        return Some(Said::plain(text));
    }
    let rest = text.strip_prefix("Inconsistent data type across values list at row ")?;
    let (row, rest) = rest.split_once(" column ")?;
    let (column, rest) = rest.split_once(". Was ")?;
    let (first, other) = rest.split_once(" but found ")?;
    let (row, column) = (
        row.parse::<u64>().ok()? + 1,
        column.parse::<u64>().ok()? + 1,
    );
    let (first, other) = (in_sql(first), in_sql(other));
    Some(Said::plain(format!(
        "column {column} of VALUES is {first}, but {other} in row {row}: CAST one of them"
    )))
}

fn settings(text: &str) -> Option<Said> {
    let name = between(text, "Config value \"", "\" not found on")
        .or_else(|| between(text, "could not find config namespace for key \"", "\""))
        .or_else(|| between(text, "Could not find config namespace \"", "\""))
        .or_else(|| between(text, "'", "' is not a variable which can be viewed"));
    if let Some(name) = name {
        let text = format!("setting \"{name}\" does not exist");
        return Some(Said::about(What::Setting, name, text));
    }
    text.ends_with("invalid digit found in string")
        .then(|| Said::plain("the value of the setting is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_texts_name_types_as_sql_does() {
        let said = said("Something needs Utf8View and Int64(5).");
        assert_eq!(said.text, "something needs TEXT and 5");
    }

    #[test]
    fn what_the_user_wrote_stays() {
        let text = "Cannot cast string 'Int64' to value of Int32 type";
        let said = said(text);
        assert_eq!(said.text, "'Int64' is not a valid INT");
        assert_eq!((said.what, said.name.as_str()), (What::Value, "Int64"));
    }
}
