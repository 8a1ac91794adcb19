//! Figures out: JSON lines for programs, a table for people.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

/// One figure, as a line of JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) bench: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// The contender that `ratio` compares with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) against: Option<&'static str>,
    /// This value divided by the other's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
}

impl Figure {
    /// A time, compared with another's.
    pub(crate) fn seconds(bench: String, value: f64, against: (&'static str, f64)) -> Self {
        Self {
            bench,
            value: rounded(value, 6),
            unit: "s",
            against: Some(against.0),
            ratio: Some(rounded(value / against.1, 3)),
        }
    }

    /// A value that is compared with nothing yet.
    pub(crate) fn new(bench: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            bench: bench.into(),
            value: rounded(value, 6),
            unit,
            against: None,
            ratio: None,
        }
    }

    /// The same value beside another's; a ratio needs one that is not zero.
    pub(crate) fn against(mut self, name: &'static str, other: f64) -> Self {
        self.against = Some(name);
        self.ratio = (other != 0.0).then(|| rounded(self.value / other, 3));
        self
    }

    /// A speed without a competitor.
    pub(crate) fn rows_per_second(bench: String, rows: u64, time: Duration) -> Self {
        Self {
            bench,
            value: rounded(rows as f64 / time.as_secs_f64(), 0),
            unit: "rows/s",
            against: None,
            ratio: None,
        }
    }

    pub(crate) fn print(&self) -> Result<(), serde_json::Error> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// The middle of the measurements; between two middle ones, halfway. Zero of none.
pub(crate) fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

/// The geometric mean: what to say about ratios. Zero of none.
pub(crate) fn geometric_mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let logarithms: f64 = values.iter().map(|value| value.ln()).sum();
    (logarithms / values.len() as f64).exp()
}

/// Lays rows out under a header: the first column to the left, the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Writing to a String cannot fail.
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_keys_in_order() {
        let figure = Figure::seconds(
            "spine.one_peer".to_owned(),
            0.021,
            ("datafusion-parquet", 0.023),
        );
        assert_eq!(
            serde_json::to_string(&figure).unwrap(),
            r#"{"bench":"spine.one_peer","value":0.021,"unit":"s","against":"datafusion-parquet","ratio":0.913}"#
        );
        let figure = Figure::rows_per_second("spine.load".to_owned(), 10, Duration::from_secs(4));
        assert_eq!(
            serde_json::to_string(&figure).unwrap(),
            r#"{"bench":"spine.load","value":3.0,"unit":"rows/s"}"#
        );
    }

    #[test]
    fn the_median_does_not_mind_outliers() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 900.0, 2.0]), 3.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn twice_and_half_are_one_in_the_geometric_mean() {
        assert!((geometric_mean(&[2.0, 0.5]) - 1.0).abs() < 1e-12);
        assert!((geometric_mean(&[1.0, 10.0, 100.0]) - 10.0).abs() < 1e-9);
        assert_eq!(geometric_mean(&[]), 0.0);
    }

    #[test]
    fn a_value_is_put_beside_anothers() {
        let figure = Figure::new("store.scan", 30.0, "rows/s").against("sled", 20.0);
        assert_eq!(
            serde_json::to_string(&figure).unwrap(),
            r#"{"bench":"store.scan","value":30.0,"unit":"rows/s","against":"sled","ratio":1.5}"#
        );
        assert_eq!(Figure::new("x", 1.0, "s").against("other", 0.0).ratio, None);
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".to_owned(), "10".to_owned()],
            vec!["long".to_owned(), "1".to_owned()],
        ];
        assert_eq!(table(&rows), "a     10\nlong   1\n");
    }
}
