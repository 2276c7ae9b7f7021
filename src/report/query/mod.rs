//! SQL over the trials of runs, by DataFusion, in builds that have it (the feature `sql`).
//!
//! The one table is `trials`, the rows of `trials.parquet`. Nothing else can be read, and nothing written: a statement must be
//! a query.

#[cfg(not(feature = "sql"))]
mod disabled;
#[cfg(feature = "sql")]
mod enabled;

#[cfg(not(feature = "sql"))]
pub use disabled::query;
#[cfg(feature = "sql")]
pub use enabled::query;

use super::{Align, Cell, Column, Table};
use crate::metrics::significant;
use serde::Serialize;
use serde_json::Value;

/// What a query found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its rows, in the order of the query; null is what is not measured or does not apply.
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more rows than are given.
    pub cut: bool,
}

impl Answer {
    /// Most rows that are given.
    pub const MOST_ROWS: usize = 100_000;

    /// The rows as a table, numbers with six significant digits.
    #[must_use]
    pub fn table(&self) -> Table {
        let shown = |value: &Value| match value {
            Value::Null => "–".to_owned(),
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_f64() => {
                number.as_f64().map_or_else(|| number.to_string(), |value| significant(value, 6))
            }
            other => other.to_string(),
        };
        let is_number =
            |at: usize| self.rows.iter().all(|row| row.get(at).is_some_and(|v| v.is_number() || v.is_null()));
        let align = |at: usize| if is_number(at) { Align::Right } else { Align::Left };
        let columns = self.columns.iter().enumerate().map(|(at, name)| Column::new(name, align(at), None));
        let rows = self.rows.iter().map(|row| row.iter().map(|value| Cell::new(shown(value))).collect());
        let more = format!("There are more: only the first {} rows are given.", Self::MOST_ROWS);
        Table {
            title: format!("{} rows", self.rows.len()),
            columns: columns.collect(),
            rows: rows.collect(),
            notes: self.cut.then_some(more).into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_shows_numbers_on_the_right_and_nothing_as_a_dash() {
        let rows = vec![vec![json!("a"), json!(1), json!(0.123_456_789)], vec![json!("b"), Value::Null, json!(2.0)]];
        let answer = Answer { columns: ["x", "y", "z"].map(str::to_owned).into(), rows, cut: true };
        let table = answer.table();
        assert_eq!(
            table.columns.iter().map(|c| c.align).collect::<Vec<_>>(),
            [Align::Left, Align::Right, Align::Right]
        );
        let texts: Vec<Vec<&str>> =
            table.rows.iter().map(|row| row.iter().map(|c| c.text.as_str()).collect()).collect();
        assert_eq!(texts, [["a", "1", "0.123457"], ["b", "–", "2.00000"]]);
        assert!(table.notes[0].contains("100000"), "{:?}", table.notes);
    }
}
