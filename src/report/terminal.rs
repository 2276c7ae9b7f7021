//! Tables on a terminal: plain text without colour, within a width.

use super::{Align, Cell, Table, printable};
use crate::replay::Replay;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ContentArrangement};

/// The narrowest width that is laid out for; a narrower terminal wraps lines itself.
const MIN_WIDTH: usize = 40;

/// Shows tables within `width` columns. A table that is too wide is turned on its side where that makes it narrower, and
/// wrapped within its cells where that is not enough.
#[must_use]
pub fn render_terminal(tables: &[Table], width: usize) -> String {
    let width = width.max(MIN_WIDTH);
    tables.iter().map(|table| one(table, width)).collect::<Vec<_>>().join("\n")
}

/// A row of bars, one for each figure, between the smallest and the largest of them; nothing where there is no number.
#[must_use]
pub fn sparkline(figures: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let numbers = || figures.iter().copied().filter(|figure| figure.is_finite());
    let (low, high) = (numbers().fold(f64::INFINITY, f64::min), numbers().fold(f64::NEG_INFINITY, f64::max));
    let bar = |figure: f64| match (figure - low) / (high - low) {
        part if part.is_finite() => BARS[((part * 8.0) as usize).min(7)],
        _ => BARS[0],
    };
    numbers().map(bar).collect()
}

/// What becomes of the share right as more and more goes to the large model, a line for each recorded score.
#[must_use]
pub fn threshold_lines(replay: &Replay) -> Vec<String> {
    let scores = replay.policies.iter().filter(|policy| !policy.control && policy.points.len() > 2);
    let lines: Vec<String> = scores
        .map(|policy| {
            let quality: Vec<f64> = policy.points.iter().map(|point| point.quality).collect();
            let (first, last) = (quality.first().copied().unwrap_or(0.0), quality.last().copied().unwrap_or(0.0));
            let name: String = printable(&policy.name).chars().take(24).collect();
            format!("  {name:<24} {first:.2} {} {last:.2}", sparkline(&quality))
        })
        .collect();
    if lines.is_empty() {
        return lines;
    }
    let head = format!("Share right as ever more of {} samples goes to the large model, by score", replay.n);
    std::iter::once(head).chain(lines).collect()
}

fn one(table: &Table, width: usize) -> String {
    let mut chosen = fitting(table, width);
    chosen.set_content_arrangement(ContentArrangement::Dynamic);
    chosen.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    let mut text = format!("{}\n{}\n", printable(&table.title), chosen.trim_fmt());
    for note in &table.notes {
        text.push_str(&wrapped(&printable(note), width, "  "));
        text.push('\n');
    }
    text
}

/// The first of these that fits: as it is, on its side with one line a cell, on its side; else the narrowest.
fn fitting(table: &Table, width: usize) -> comfy_table::Table {
    let turned = table.transposed();
    let mut flat = turned.clone();
    for cell in flat.rows.iter_mut().flatten() {
        *cell = Cell { text: cell.line(), ..Cell::default() };
    }
    let layouts = [layout(table), layout(&flat), layout(&turned)];
    let narrowest = layouts.iter().map(|layout| layout.width).min().unwrap_or(0);
    let limit = width.max(narrowest);
    let [first, ..] = &layouts;
    layouts.iter().find(|layout| layout.width <= limit).unwrap_or(first).table.clone()
}

struct Layout {
    table: comfy_table::Table,
    /// Columns that it takes without wrapping.
    width: usize,
}

fn layout(table: &Table) -> Layout {
    let mut out = comfy_table::Table::new();
    out.force_no_tty();
    out.load_style(UTF8_HORIZONTAL_ONLY);
    // Cells of several lines need a line between rows; rows of single lines read better without.
    if table.rows.iter().flatten().all(|cell| cell.details.is_empty()) {
        out.style_mut().row_separator = comfy_table::LineStyle::none();
    }
    let heads: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let lines = table.rows.iter().filter_map(|row| row.get(i)).flat_map(lines_of);
            let room = lines.map(|line| line.chars().count()).max().unwrap_or(0);
            wrapped(&column.heading(), room, "")
        })
        .collect();
    out.set_header(heads);
    for row in &table.rows {
        out.add_row(row.iter().map(|cell| lines_of(cell).collect::<Vec<_>>().join("\n")));
    }
    for (i, column) in table.columns.iter().enumerate() {
        if let (Some(out), Align::Right) = (out.column_mut(i), column.align) {
            out.set_cell_alignment(CellAlignment::Right);
        }
    }
    let width = out.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    Layout { table: out, width }
}

fn lines_of(cell: &Cell) -> impl Iterator<Item = String> {
    std::iter::once(cell.text.clone()).chain(cell.details.iter().cloned())
}

/// Breaks a text between words so that no line is wider than `width` or its longest word; every line starts with `indent`.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_has_a_bar_for_each_number() {
        assert_eq!(sparkline(&[0.0, 0.5, 1.0]), "▁▅█");
        assert_eq!(sparkline(&[0.3, 0.3]), "▁▁");
        assert_eq!(sparkline(&[f64::NAN]), "");
    }
}
