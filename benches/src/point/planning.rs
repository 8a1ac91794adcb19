//! Statements whose planning takes longer than their work.

use crate::Failure;
use crate::report::{Figure, median};

use super::ours::Ours;

/// Tables of the join, and values of the list.
const TABLES: usize = 10;
const VALUES: usize = 10_000;

pub(super) fn measure(ours: &mut Ours, runs: usize) -> Result<(), Failure> {
    for table in 0..TABLES {
        let create = format!("CREATE TABLE j{table} (id BIGINT PRIMARY KEY, next BIGINT, v TEXT)");
        ours.timed(&create)?;
        let fill = format!("INSERT INTO j{table} VALUES (1, 2, 'a'), (2, 3, 'b'), (3, 1, 'c')");
        ours.timed(&fill)?;
    }
    let joins = (1..TABLES).map(|t| format!(" JOIN j{t} ON j{}.next = j{t}.id", t - 1));
    let joins: String = joins.collect();
    let join = format!("EXPLAIN SELECT count(*), max(j9.v) FROM j0{joins} WHERE j0.id = 1");
    print("point.plan_join10", ours, &join, runs)?;
    let values: Vec<String> = (0..VALUES).map(|value| (value * 97).to_string()).collect();
    let list = format!(
        "SELECT count(*) FROM points WHERE id IN ({})",
        values.join(", ")
    );
    print("point.in_10000", ours, &list, runs)
}

fn print(name: &str, ours: &mut Ours, text: &str, runs: usize) -> Result<(), Failure> {
    // The first one finds cold caches.
    ours.timed(text)?;
    let times = (0..runs).map(|_| Ok(ours.timed(text)?.1.as_secs_f64() * 1e3));
    let times = times.collect::<Result<Vec<f64>, Failure>>()?;
    let figure = Figure::new(name, median(&times), "ms");
    eprintln!("{name:<20} {:.1} ms", figure.value);
    Ok(figure.print()?)
}
