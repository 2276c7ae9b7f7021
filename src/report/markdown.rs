//! `summary.md`: the verdict, the tables, what each figure means, and where it all comes from.

use super::{Align, Table, name_of, printable, tables};
use crate::device::Basis;
use crate::engine::EngineInfo;
use crate::metrics::{Summary, significant, statistics};
use crate::record::RunHeader;
use crate::units::Bytes;
use std::fmt::Write as _;

/// The whole page.
#[must_use]
pub fn render_markdown(summary: &Summary, header: &RunHeader) -> String {
    let mut page = format!("# {}\n\n**{}**\n", escaped(&summary.run), escaped(&summary.verdict.text));
    for table in tables(summary) {
        let _ = write!(page, "\n## {}\n\n{}", escaped(&table.title), grid(&table));
        for note in &table.notes {
            let _ = write!(page, "\n{}\n", escaped(note));
        }
    }
    page + &comparisons(summary) + &definitions(summary) + &provenance(header)
}

pub(super) fn grid(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let heads = table.columns.iter().map(|column| escaped(&column.heading())).collect();
    let rules = table.columns.iter().map(|c| if c.align == Align::Right { "---:" } else { "---" }.into()).collect();
    let rows = table.rows.iter().map(|row| line(row.iter().map(|cell| escaped(&cell.line())).collect()));
    line(heads) + &line(rules) + &rows.collect::<String>()
}

fn comparisons(summary: &Summary) -> String {
    if summary.verdict.comparisons.is_empty() {
        return String::new();
    }
    let reference = escaped(&summary.verdict.reference);
    let mut text = format!("\n## Against {reference}, sample by sample\n\n");
    let _ = write!(
        text,
        "| policy | difference in accuracy | 95 % interval | one-sided 95 % lower bound | n | only this right | only \
         {reference} right | McNemar p | not worse by more than the margin |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n"
    );
    for comparison in &summary.verdict.comparisons {
        let name = escaped(&comparison.cell);
        let Some(d) = &comparison.difference else {
            let reason = comparison.reason.as_deref().map(escaped).unwrap_or_default();
            let _ = writeln!(text, "| {name} | n/a | n/a | n/a | 0 | n/a | n/a | n/a | cannot be compared: {reason} |");
            continue;
        };
        let passes = if comparison.non_inferior == Some(true) { "shown" } else { "not shown" };
        let _ = writeln!(
            text,
            "| {name} | {:.3} | {:.3} to {:.3} | {:.3} | {} | {} | {} | {:.3} | {passes} |",
            d.value, d.low, d.high, d.lower_bound, d.n, d.only_first, d.only_second, d.p_value
        );
    }
    text
}

fn definitions(summary: &Summary) -> String {
    let margin = summary.verdict.margin;
    let draws = statistics::DRAWS;
    format!(
        "
## What the figures mean

- **n**: trials that are scored. A trial that failed for reasons outside the models (network, key, overflow, interruption)
  is counted as failed and never scored; a trial that ended with a broken contract is scored as wrong.
- **accuracy**: share of scored trials whose label is exactly the gold label.
- **schema valid first, final**: share of scored trials whose first answer, and whose accepted answer, keeps the JSON
  Schema. It is observed where contracts are off, too.
- **grounded**: share of the answer's claims that the injected passages support, averaged over answers with passages and
  claims.
- **escalation rate**: share of scored trials that the LLM took over from the SLM, after its answer or for a safety
  finding. A strategy that gives a query to the LLM to begin with escalates nothing; how often the LLM was called stands
  beside its causes.
- **latency**: wall time of a trial, scoring excluded; quantiles by linear interpolation (type 7). No 99th percentile under
  100 trials.
- **API per 1,000**: tokens of every call of the LLM, repairs and failed calls included, at the price below; times 1,000.
- **machine per 1,000**: time that this machine worked on a trial, waiting for the network excluded, at the hourly rate
  below, and its electricity where tariff and energy are known; times 1,000.
- **energy**: what the machine's counters counted over a scored trial, without loading, warming up and scoring; above idle is that
  minus the power of the loaded machine at rest over the same time.
- **required facts found**: share of the facts of which an accepted spelling stands in the answer as whole words.
- **citations right**: at least one article is cited and all cited ones are gold; where the gold names none, none is cited.
- **intervals**: 95 %. Shares: Wilson score. Means and quantiles: percentile bootstrap over trials, {draws} draws, fixed
  seed. Differences: over the samples that both answered, the wider of paired bootstrap and Tango's score interval.
- **verdict**: a policy can replace llm-first when the one-sided 95 % lower bound of the difference in accuracy lies above
  −{margin}; among those that pass, the cheapest is named. Each policy is tested alone, with no adjustment for their number.
"
    )
}

fn provenance(header: &RunHeader) -> String {
    let mut text = "\n## Where this comes from\n\n".to_string();
    for (name, value) in origins(header) {
        let _ = writeln!(text, "- {name}: {}", escaped(&value));
    }
    text += "\nEvery figure is made from `run.json` and `trials.jsonl` in this folder, which hold the raw outputs.\n";
    text
}

/// Where a run comes from: names and values.
pub(super) fn origins(header: &RunHeader) -> Vec<(&'static str, String)> {
    let mut items = Vec::new();
    let mut item = |name: &'static str, value: String| items.push((name, value));
    item("command", header.command.join(" "));
    item("program", format!("routergym-local {}, record format {}", header.version, header.format));
    let end = header.finished_at.as_deref().unwrap_or("not finished");
    let cut = if header.interrupted { ", interrupted" } else { "" };
    item("time", format!("{} to {end}{cut}", header.started_at));
    item(
        "task",
        format!(
            "{}, split {}, {} samples, {} labels, SHA-256 {}",
            header.task,
            name_of(&header.split),
            header.samples.len(),
            header.labels,
            header.task_sha256
        ),
    );
    item("SLM", engine(&header.slm));
    let stand_in = if header.llm_is_stand_in { " (a stand-in on the same machine)" } else { "" };
    item("LLM", format!("{}{stand_in}", engine(&header.llm)));
    item(
        "price of the LLM's tokens",
        header.llm_price.as_ref().map_or("not priced".into(), |price| {
            let cached = price
                .cached_input_usd_per_million
                .map_or("billed as input".into(), |usd| format!("${usd} per million"));
            format!(
                "row {} of {}: ${} per million input tokens, ${} output, cached input {cached}",
                price.name, price.as_of, price.input_usd_per_million, price.output_usd_per_million
            )
        }),
    );
    item(
        "price of the machine",
        header.hardware_price.as_ref().map_or("not priced".into(), |price| {
            format!("row {}: ${} per hour; {}", price.name, price.usd_per_hour, price.basis)
        }),
    );
    item("energy", energy(header));
    let machine = &header.machine;
    item(
        "machine",
        format!(
            "{}, {} cores, {}, {}; SLM on {} with {} threads{}",
            machine.cpu,
            machine.cores,
            machine.memory_bytes.map_or_else(|| "memory not measured".to_owned(), |bytes| Bytes(bytes).to_string()),
            machine.os,
            machine.device,
            machine.threads,
            machine.cpu_quota.map_or_else(String::new, |quota| format!(
                ", of whose time a quota lends {quota:.2} processors' worth"
            ))
        ),
    );
    item("memory", memory(header));
    item("seed", header.seed.to_string());
    item("settings", header.settings.to_string());
    items
}

fn memory(header: &RunHeader) -> String {
    let Some(memory) = &header.memory else { return "not measured: the run recorded none".to_owned() };
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "not measured".to_owned(), |bytes| Bytes(bytes).to_string());
    let limit = memory.limit_bytes.map_or_else(String::new, |limit| {
        format!("limit {} (emulated: checked before loading, not enforced by the system); ", Bytes(limit))
    });
    let models = memory.models.iter().map(|model| {
        format!(
            "{}: weights {}, {} a token of context",
            model.model,
            Bytes(model.weight_bytes),
            Bytes(model.kv_bytes_per_token)
        )
    });
    format!(
        "{limit}{} when all was loaded ({} predicted), {} at most; {}",
        bytes(memory.loaded_rss_bytes),
        Bytes(memory.predicted_bytes),
        bytes(memory.peak_rss_bytes),
        models.collect::<Vec<_>>().join("; ")
    )
}

fn energy(header: &RunHeader) -> String {
    let source = &header.energy;
    let idle = source.idle_watts.map_or(String::new(), |watts| format!("; at rest {} W", significant(watts, 3)));
    let reason = source.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
    match source.basis {
        Some(Basis::Measured) => format!("measured with {}{idle}{reason}", source.counters.join(", ")),
        Some(Basis::Estimated) => {
            format!(
                "estimated from {} W, which were given; not measured{reason}",
                source.given_watts.unwrap_or_default()
            )
        }
        None => format!("not measured{reason}"),
    }
}

fn engine(info: &EngineInfo) -> String {
    let sha256 = info.sha256.as_ref().map_or(String::new(), |sha256| format!(", SHA-256 {sha256}"));
    let context = info.context_length.map_or(String::new(), |tokens| format!(", context {tokens} tokens"));
    format!("{}, {}{context}{sha256}", info.model, info.place)
}

/// Text that Markdown and HTML leave as it is.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '\\' | '[' | ']' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
