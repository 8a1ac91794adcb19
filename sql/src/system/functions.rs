//! `netabase.functions`.

use std::collections::BTreeMap;

use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Documentation, Volatility};

use super::Sources;
use super::rows::{Kind, Row, SystemTable, Value, column, optional};
use crate::functions::is_internal;

pub(super) const FUNCTIONS: SystemTable = SystemTable {
    name: "functions",
    comment: "The functions that a query may call",
    columns: &[
        column("name", Kind::Text, "The function"),
        column("kind", Kind::Text, "scalar, aggregate, window or table"),
        optional(
            "alias_of",
            Kind::Text,
            "The function that this is another name of",
        ),
        optional(
            "volatility",
            Kind::Text,
            "immutable, stable (within a statement) or volatile; NULL where it is not known",
        ),
        optional("syntax", Kind::Text, "How it is called"),
        optional("section", Kind::Text, "What it belongs to"),
        optional("description", Kind::Text, "What it does"),
    ],
    rows: functions,
};

/// A function under one of its names.
struct Named<'a> {
    kind: &'static str,
    /// Its own name.
    name: &'a str,
    volatility: Option<Volatility>,
    documentation: Option<&'a Documentation>,
}

fn functions(sources: &Sources, context: &TaskContext) -> Result<Vec<Row>> {
    let tables = table_functions(sources);
    // By name and kind, in this order.
    let mut rows: BTreeMap<(&str, &str), Row> = BTreeMap::new();
    let mut add = |called, named: Named<'_>| rows.insert((called, named.kind), row(called, &named));
    macro_rules! documented {
        ($kind:literal, $functions:expr) => {
            let known = $functions.iter().filter(|(called, _)| !is_internal(called));
            for (called, function) in known {
                add(
                    called.as_str(),
                    Named {
                        kind: $kind,
                        name: function.name(),
                        volatility: Some(function.signature().volatility),
                        documentation: function.documentation(),
                    },
                );
            }
        };
    }
    documented!("scalar", context.scalar_functions());
    documented!("aggregate", context.aggregate_functions());
    documented!("window", context.window_functions());
    documented!("scalar", context.higher_order_functions());
    for called in &tables {
        let named = Named {
            kind: "table",
            name: called,
            volatility: None,
            documentation: None,
        };
        add(called.as_str(), named);
    }
    Ok(rows.into_values().collect())
}

fn table_functions(sources: &Sources) -> Vec<String> {
    let session = sources.session.upgrade();
    let names = session.map(|session| session.read().table_functions().keys().cloned().collect());
    names.unwrap_or_default()
}

fn row(called: &str, function: &Named<'_>) -> Row {
    let alias_of = (called != function.name).then_some(function.name);
    let volatility = function.volatility.map(|volatility| match volatility {
        Volatility::Immutable => "immutable",
        Volatility::Stable => "stable",
        Volatility::Volatile => "volatile",
    });
    let documentation = function.documentation;
    let text = |of: fn(&Documentation) -> &str| -> Value { documentation.map(of).into() };
    vec![
        called.into(),
        function.kind.into(),
        alias_of.into(),
        volatility.into(),
        text(|d| d.syntax_example.as_str()),
        text(|d| d.doc_section.label),
        text(|d| d.description.as_str()),
    ]
}
