//! From figures to tables.
//!
//! [`collect()`] reads runs and has their figures made. [`tables`] lays a [`crate::metrics::Summary`] out once, as [`Table`]s;
//! [`render_terminal`] and [`render_markdown`] show them, [`render_csv`] flattens the summary for other programs, [`page()`] makes
//! the page that a person reads, [`write()`] leaves all of it in a folder. Nothing here computes a figure.

mod axes;
mod calls;
mod collect;
mod compare;
mod csv;
mod machine;
mod markdown;
mod page;
mod parquet;
mod query;
mod replay;
mod tables;
mod terminal;
mod write;

pub use collect::{Report, collect, collect_with, default_folder};
pub use compare::{Held, comparison_markdown, comparison_table, limit_sentences};
pub use csv::{render_csv, replay_curves};
pub use markdown::render_markdown;
pub use page::page;
pub use query::{Answer, query};
pub use replay::replay_tables;
pub use tables::tables;
pub use terminal::{render_terminal, sparkline, threshold_lines};
pub use write::{Format, write};

use serde::Serialize;

/// A table, whatever it is shown on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows; each has as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
    /// What the reader must know, one sentence each.
    pub notes: Vec<String>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How its cells are aligned.
    pub align: Align,
    /// The unit of its numbers, where they have one.
    pub unit: Option<String>,
}

/// How the cells of a column are aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A cell: what is read first, and below or beside it what qualifies it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The figure or the name.
    pub text: String,
    /// Its interval, its n or the like.
    pub details: Vec<String>,
    /// The figure with all its digits, where it is one: what other programs read and tables are sorted by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

impl Column {
    fn new(name: &str, align: Align, unit: Option<&str>) -> Self {
        Self { name: printable(name), align, unit: unit.map(ToString::to_string) }
    }

    /// The name with its unit: `latency p50 (s)`.
    #[must_use]
    pub fn heading(&self) -> String {
        self.unit.as_ref().map_or_else(|| self.name.clone(), |unit| format!("{} ({unit})", self.name))
    }
}

impl Cell {
    fn new(text: impl AsRef<str>) -> Self {
        Self { text: printable(text.as_ref()), details: Vec::new(), raw: None }
    }

    fn raw(mut self, value: f64) -> Self {
        self.raw = Some(value.to_string());
        self
    }

    fn with(mut self, detail: impl AsRef<str>) -> Self {
        self.details.push(printable(detail.as_ref()));
        self
    }

    /// All of it on one line.
    #[must_use]
    pub fn line(&self) -> String {
        [&self.text]
            .into_iter()
            .chain(&self.details)
            .filter(|part| !part.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

impl Table {
    /// The same table with rows and columns exchanged; the first column becomes the heading.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let Some((first, others)) = self.columns.split_first() else { return self.clone() };
        let heads = self.rows.iter().map(|row| row.first().map(Cell::line).unwrap_or_default());
        let columns = std::iter::once(Column::new(&first.name, Align::Left, None))
            .chain(heads.map(|head| Column { name: head, align: Align::Right, unit: None }))
            .collect();
        let rows = others
            .iter()
            .enumerate()
            .map(|(i, column)| {
                let cells = self.rows.iter().map(|row| row.get(i + 1).cloned().unwrap_or_default());
                std::iter::once(Cell::new(column.heading())).chain(cells).collect()
            })
            .collect();
        Self { columns, rows, ..self.clone() }
    }
}

/// A text without control characters: names come from files and endpoints, and none of them may steer a terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The name that a record gives to a value of an enumeration.
fn name_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
