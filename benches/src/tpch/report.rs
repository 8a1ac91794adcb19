//! The figures of the queries.

use crate::Failure;
use crate::report::{Figure, geometric_mean, median, table};
use crate::tpch::loading::Loaded;
use crate::tpch::queries::Query;
use crate::tpch::rival::Rival;

/// A query with the seconds of each of its runs.
pub(crate) struct Timed {
    pub(crate) query: Query,
    pub(crate) ours: Vec<f64>,
    pub(crate) theirs: Vec<f64>,
}

impl Timed {
    pub(crate) fn new(query: Query) -> Self {
        Self {
            query,
            ours: Vec::new(),
            theirs: Vec::new(),
        }
    }

    fn ratio(&self) -> f64 {
        median(&self.ours) / median(&self.theirs)
    }
}

pub(crate) fn print(timed: &[Timed], loaded: &Loaded, rival: &Rival) -> Result<(), Failure> {
    eprint!("{}", people_table(timed, rival.name()));
    for figure in figures(timed, rival.name()) {
        figure.print()?;
    }
    for figure in load_figures(loaded, rival) {
        eprintln!("{} {:.2} {}", figure.bench, figure.value, figure.unit);
        figure.print()?;
    }
    Ok(())
}

/// Seconds of all queries, ours and theirs.
fn totals(timed: &[Timed]) -> (f64, f64) {
    let ours = timed.iter().map(|timed| median(&timed.ours)).sum();
    let theirs = timed.iter().map(|timed| median(&timed.theirs)).sum();
    (ours, theirs)
}

fn mean_ratio(timed: &[Timed]) -> f64 {
    geometric_mean(&timed.iter().map(Timed::ratio).collect::<Vec<_>>())
}

fn figures(timed: &[Timed], rival: &'static str) -> Vec<Figure> {
    let of = |timed: &Timed| {
        let bench = format!("tpch.{}", timed.query.name);
        Figure::seconds(bench, median(&timed.ours), (rival, median(&timed.theirs)))
    };
    let mut figures: Vec<Figure> = timed.iter().map(of).collect();
    figures.push(Figure::new("tpch.geomean", mean_ratio(timed), "ratio").against(rival, 1.0));
    let (ours, theirs) = totals(timed);
    figures.push(Figure::new("tpch.total", ours, "s").against(rival, theirs));
    figures
}

fn load_figures(loaded: &Loaded, rival: &Rival) -> Vec<Figure> {
    let of = |bench: &str, unit, value: fn(&Loaded) -> Option<f64>| {
        let figure = Figure::new(bench, value(loaded)?, unit);
        Some(match rival.loaded.as_ref().and_then(value) {
            Some(other) => figure.against(rival.name(), other),
            None => figure,
        })
    };
    let figures = [
        of("tpch.load", "s", |loaded| Some(loaded.seconds)),
        of("tpch.load_memory", "MB", |loaded| loaded.peak_mb),
        of("tpch.disk", "MB", |loaded| loaded.disk_mb),
    ];
    figures.into_iter().flatten().collect()
}

fn people_table(timed: &[Timed], rival: &str) -> String {
    let cells = |name: &str, ours: f64, theirs: f64, ratio: f64| {
        let milliseconds = |seconds: f64| format!("{:.1}", 1000.0 * seconds);
        let (ours, theirs) = (milliseconds(ours), milliseconds(theirs));
        vec![name.to_owned(), ours, theirs, format!("{ratio:.2}")]
    };
    let header = ["medians, ms", "netabase", rival, "ratio"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for timed in timed {
        let (ours, theirs) = (median(&timed.ours), median(&timed.theirs));
        rows.push(cells(&timed.query.name, ours, theirs, timed.ratio()));
    }
    let (ours, theirs) = totals(timed);
    rows.push(cells("total", ours, theirs, ours / theirs));
    let mean = format!("{:.2}", mean_ratio(timed));
    rows.push(vec![
        "geometric mean".to_owned(),
        String::new(),
        String::new(),
        mean,
    ]);
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpch::queries;

    #[test]
    fn figures_have_fixed_names() {
        let mut timed: Vec<Timed> = queries::chosen(&[1, 6])
            .unwrap()
            .into_iter()
            .map(Timed::new)
            .collect();
        timed[0].ours.push(2.0);
        timed[0].theirs.push(1.0);
        timed[1].ours.push(1.0);
        timed[1].theirs.push(2.0);
        let figures = figures(&timed, "duckdb");
        let names: Vec<&str> = figures.iter().map(|figure| figure.bench.as_str()).collect();
        assert_eq!(
            names,
            ["tpch.q01", "tpch.q06", "tpch.geomean", "tpch.total"]
        );
        let ratios: Vec<Option<f64>> = figures.iter().map(|figure| figure.ratio).collect();
        assert_eq!(ratios, [Some(2.0), Some(0.5), Some(1.0), Some(1.0)]);
    }
}
