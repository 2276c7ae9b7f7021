//! Pieces of the page: paragraphs, tables, keys. Whatever text they are given is escaped here.

use super::svg::{escape, is_direction};
use crate::report::{Align, Cell, Column, Table};
use std::fmt::Write as _;

/// A text of a run's as it may stand in the page.
pub(super) fn text(text: &str) -> String {
    escape(&text.chars().filter(|c| !is_direction(*c)).collect::<String>())
}

/// A sentence in which what stands between backquotes is shown as what is typed.
fn sentence(sentence: &str) -> String {
    let parts: Vec<String> = text(sentence).split('`').map(ToOwned::to_owned).collect();
    if parts.len().is_multiple_of(2) {
        return parts.join("`");
    }
    let typed = |(place, part): (usize, &String)| {
        if place.is_multiple_of(2) { part.clone() } else { format!("<code>{part}</code>") }
    };
    parts.iter().enumerate().map(typed).collect()
}

/// The sentence that says what a part shows.
pub(super) fn say(shown: &str) -> String {
    format!("<p class=\"say\">{}</p>", sentence(shown))
}

/// What a reader of the figures must know.
pub(super) fn note(shown: &str) -> String {
    format!("<p class=\"note\">{}</p>", sentence(shown))
}

/// What is not there, and how to get it.
pub(super) fn missing(what: &str, how: &str) -> String {
    format!("<p class=\"missing\"><b>{}</b> {}</p>", sentence(what), sentence(how))
}

/// A chart with what it shows.
pub(super) fn figure(chart: &str, key: &str, caption: &str) -> String {
    format!("<figure>{chart}{key}<figcaption>{}</figcaption></figure>", sentence(caption))
}

/// The key of a chart: classes of marks and what they stand for.
pub(super) fn key<'a>(entries: impl IntoIterator<Item = (String, &'a str)>) -> String {
    let item = |(class, name): (String, &str)| format!("<li><i class=\"{class}\"></i><bdi>{}</bdi></li>", text(name));
    let items: String = entries.into_iter().map(item).collect();
    if items.is_empty() { items } else { format!("<ul class=\"key\">{items}</ul>") }
}

/// A heading of the third level.
pub(super) fn heading(title: &str) -> String {
    format!("<h3>{}</h3>", text(title))
}

/// Something that is opened when it is wanted.
pub(super) fn folded(summary: &str, inner: &str) -> String {
    format!("<details><summary>{}</summary>{inner}</details>", text(summary))
}

/// A table whose first column names its rows. Whatever is wider than the page scrolls within.
pub(super) fn table(table: &Table, class: &str) -> String {
    let notes: String = table.notes.iter().map(|one| note(one)).collect();
    format!("{}{notes}", grid(&table.title, &table.columns, &table.rows, class, ""))
}

/// The grid of a table. `id` is written as given, where it is not empty.
pub(super) fn grid(title: &str, columns: &[Column], rows: &[Vec<Cell>], class: &str, id: &str) -> String {
    let mut out = format!("<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{}\">", text(title));
    let id = if id.is_empty() { String::new() } else { format!(" id=\"{id}\"") };
    let _ = write!(out, "<table class=\"{class}\"{id}><thead><tr>");
    for column in columns {
        let side = if column.align == Align::Left { " class=\"left\"" } else { "" };
        let _ = write!(out, "<th scope=\"col\"{side}>{}</th>", text(&column.heading()));
    }
    out += "</tr></thead><tbody>";
    for row in rows {
        out += "<tr>";
        for (i, (cell, column)) in row.iter().zip(columns).enumerate() {
            let name = if i == 0 { "th scope=\"row\"" } else { "td" };
            let side = if column.align == Align::Left { " class=\"left\"" } else { "" };
            let raw = cell.raw.as_ref().map_or_else(String::new, |raw| format!(" data-value=\"{}\"", text(raw)));
            let detail = |detail: &String| format!("<small><bdi>{}</bdi></small>", text(detail));
            let details: String = cell.details.iter().map(detail).collect();
            let end = if i == 0 { "th" } else { "td" };
            let _ = write!(out, "<{name}{side}{raw}><bdi>{}</bdi>{details}</{end}>", text(&cell.text));
        }
        out += "</tr>";
    }
    out + "</tbody></table></div>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_shown_as_such_and_a_lone_backquote_stays() {
        assert_eq!(sentence("Run `bench <X>` now."), "Run <code>bench &lt;X&gt;</code> now.");
        assert_eq!(sentence("a ` b"), "a ` b");
    }

    #[test]
    fn cells_of_a_table_are_escaped_and_carry_their_digits() {
        let columns = [Column::new("policy", Align::Left, None), Column::new("x", Align::Right, Some("s"))];
        let rows = [vec![Cell::new("<img src=x>\u{202e}"), Cell::new("0.33").raw(1.0 / 3.0).with("[0–1]")]];
        let shown = grid("t", &columns, &rows, "", "");
        assert!(shown.contains("<bdi>&lt;img src=x&gt;</bdi>"), "{shown}");
        let cell = "<td data-value=\"0.3333333333333333\"><bdi>0.33</bdi><small><bdi>[0–1]</bdi></small></td>";
        assert!(shown.contains(cell), "{shown}");
    }
}
