//! The text of the 22 queries, with the specification's parameters for validation.

use crate::Failure;

/// One of them. The first line of its file lists the columns that it orders by.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) name: String,
    pub(crate) text: &'static str,
    /// Columns of the ORDER BY, from 0; none when the query has no order.
    pub(crate) order: Vec<usize>,
}

macro_rules! files {
    ($($number:literal),*) => {
        [$(include_str!(concat!("../../queries/q", $number, ".sql"))),*]
    };
}

const FILES: [&str; 22] = files![
    "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19", "20", "21", "22"
];

/// The queries with these numbers, in this order; all of them when none is given.
pub(crate) fn chosen(numbers: &[usize]) -> Result<Vec<Query>, Failure> {
    let all: Vec<usize> = (1..=FILES.len()).collect();
    let numbers = if numbers.is_empty() { &all } else { numbers };
    numbers.iter().map(|number| query(*number)).collect()
}

fn query(number: usize) -> Result<Query, Failure> {
    let file = number.checked_sub(1).and_then(|index| FILES.get(index));
    let file = file.ok_or_else(|| format!("there is no query {number}: give 1 to 22"))?;
    let (order, text) = file
        .strip_prefix("-- order:")
        .and_then(|rest| rest.split_once('\n'))
        .ok_or_else(|| format!("query {number} does not say what it orders by"))?;
    let column = |word: &str| word.parse::<usize>().ok()?.checked_sub(1);
    let order: Option<Vec<usize>> = order.split_whitespace().map(column).collect();
    Ok(Query {
        name: format!("q{number:02}"),
        text,
        order: order.ok_or_else(|| format!("the order of query {number} is not read"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_is_read_and_says_its_order() {
        let queries = chosen(&[]).unwrap();
        assert_eq!(queries.len(), 22);
        for query in queries {
            let ordered = query.text.contains("\norder by\n");
            assert_eq!(ordered, !query.order.is_empty(), "{}", query.name);
            assert!(!query.text.contains(';') && !query.text.contains("--"));
        }
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        assert!(chosen(&[0]).is_err() && chosen(&[23]).is_err());
        assert_eq!(chosen(&[18, 1]).unwrap()[0].name, "q18");
    }
}
