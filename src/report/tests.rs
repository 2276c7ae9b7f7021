//! Tests of what a summary looks like.

use super::*;
use crate::metrics::{AbstentionUse, Summary, example, summarise};
use crate::record::RunHeader;
use crate::router::RouterKind;

fn summary() -> (RunHeader, Summary) {
    let (header, trials) = example::run();
    let summary = summarise(&header, &trials);
    (header, summary)
}

fn longest_line(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn the_comparison_stands_on_a_wide_terminal_as_policies_in_rows() {
    let (_, summary) = summary();
    let expected = "\
Policies on helpdesk (test)
───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 policy              n      accuracy        schema        schema   grounded    escalation   latency p50   latency p95       API per    machine per
                                       valid first   valid final                     rate           (s)           (s)     1,000 ($)      1,000 ($)
═══════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════════
 llm-first           6          0.83          1.00          1.00        n/a          0.00          2.25          2.25          2.80              0
 salience/validate       [0.44–0.97]   [0.61–1.00]   [0.61–1.00]              [0.00–0.39]   [2.25–2.25]   [2.25–2.25]   [2.80–2.80]          [0–0]
───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 slm-dominant        6          0.83          0.83          1.00        n/a          0.33          1.25          4.00         0.933           1.17
";
    let shown = render_terminal(&tables(&summary)[..1], 160);
    assert!(shown.starts_with(expected), "{shown}");
    assert!(shown.contains("Not available for every policy: groundedness (no passages were injected)."), "{shown}");
}

#[test]
fn the_comparison_stands_on_its_side_on_a_narrower_terminal() {
    let (_, summary) = summary();
    let shown = render_terminal(&tables(&summary)[..1], 100);
    let accuracy = " accuracy                 0.83 [0.44–0.97]    0.83 [0.44–0.97]     0.83 [0.44–0.97]\n";
    assert!(shown.contains(accuracy), "{shown}");
    assert!(
        shown.contains(" API per 1,000 ($)        2.80 [2.80–2.80]      0.933 [0–1.87]       0.933 [0–1.87]\n"),
        "{shown}"
    );
}

#[test]
fn abstention_stands_beside_groundedness_where_the_task_says_what_can_be_answered() {
    let (_, mut summary) = summary();
    let names =
        |summary: &Summary| tables(summary)[0].columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    assert!(!names(&summary).iter().any(|name| name.starts_with("abstained")));
    let used = AbstentionUse { n: 6, unanswerable: 2, abstained_on_unanswerable: 1, ..AbstentionUse::default() };
    summary.policies[0].abstention = Some(used);
    let table = &tables(&summary)[0];
    let at = names(&summary).iter().position(|name| name == "grounded").expect("a column");
    assert_eq!(names(&summary)[at + 1..at + 3], ["abstained rightly", "abstained wrongly"]);
    let shown = |row: usize| [at + 1, at + 2].map(|column| table.rows[row][column].text.clone());
    assert_eq!((shown(0), shown(1)), (["1 of 2", "0 of 4"].map(String::from), ["n/a", "n/a"].map(String::from)));
    assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
}

#[test]
fn every_table_fits_the_width_it_is_given() {
    let (_, summary) = summary();
    for width in [60, 80, 100, 120, 160, 200] {
        let shown = render_terminal(&tables(&summary), width);
        assert!(longest_line(&shown) <= width, "{width}:\n{shown}");
    }
    assert!(!render_terminal(&tables(&summary), 0).is_empty());
}

#[test]
fn nothing_that_is_named_by_others_can_steer_a_terminal_or_a_page() {
    let (mut header, mut trials) = example::run();
    let nasty = "x\u{1b}[31m|<script>\n`y`";
    header.llm.model = nasty.into();
    header.task = nasty.into();
    header.id = nasty.into();
    for cell in &mut header.cells {
        cell.name = format!("{nasty}/{}", cell.router.name());
        cell.llm = nasty.into();
    }
    for record in &mut trials {
        record.cell = format!("{nasty}/{}", record.router.name());
    }
    let summary = summarise(&header, &trials);
    let shown = render_terminal(&tables(&summary), 160);
    let page = render_markdown(&summary, &header);
    for text in [&shown, &page] {
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    assert!(!page.contains("<script>") && page.contains("x \\[31m\\|&lt;script&gt; \\`y\\`"), "{page}");
    assert_grids_are_even(&page);
}

fn assert_grids_are_even(page: &str) {
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = page.lines().collect();
    let mut grids = 0;
    for pair in lines.windows(2) {
        if pair[0].starts_with('|') && pair[1].starts_with('|') {
            assert_eq!(bars(pair[0]), bars(pair[1]), "{}\n{}", pair[0], pair[1]);
            grids += 1;
        }
    }
    assert!(grids > 4, "{page}");
}

#[test]
fn the_page_holds_the_verdict_the_tables_the_definitions_and_the_provenance() {
    let (header, summary) = summary();
    let page = render_markdown(&summary, &header);
    for part in [
        "# 2025-11-24-example",
        "**Cannot tell",
        "## Policies on helpdesk (test)",
        "| llm-first salience/validate | 6 | 0.83 \\[0.44–0.97\\] |",
        "## Where the time goes",
        "## Each model alone",
        "## Against llm-first, sample by sample",
        "| slm-dominant/salience/validate | 0.000 |",
        "## What the figures mean",
        "## Where this comes from",
        "row gpt-4.1 of 2025-04-14",
        "a stand-in on the same machine",
    ] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    assert_grids_are_even(&page);
}

#[test]
fn every_figure_of_the_csv_is_that_of_the_summary_to_the_last_digit() {
    let (_, summary) = summary();
    let text = render_csv(&summary).unwrap();
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().unwrap().clone();
    assert!(heads.iter().all(|head| head.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')));
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    let field = |row: usize, name: &str| rows[row].get(heads.iter().position(|head| head == name).unwrap()).unwrap();
    for (row, policy) in summary.policies.iter().enumerate() {
        let number = |name: &str| field(row, name).parse::<f64>().ok();
        assert_eq!(field(row, "router"), policy.router.name());
        assert_eq!(number("accuracy"), policy.accuracy.value);
        assert_eq!(number("accuracy_low"), policy.accuracy.low);
        assert_eq!(number("groundedness"), None);
        assert_eq!(number("latency_p95_s"), policy.latency_s.p95);
        assert_eq!(number("api_usd_per_1000"), policy.cost_usd_per_1000.api);
    }
    assert_eq!(field(1, "llm_causes"), "contract_failure=1; low_confidence=1");
    assert!(field(0, "not_available").contains("groundedness=no passages were injected"));
}

#[test]
fn a_cell_without_figures_says_why_in_every_form() {
    let (header, mut trials) = example::run();
    trials.iter_mut().filter(|record| record.router == RouterKind::SlmDominant).for_each(example::fail);
    let summary = summarise(&header, &trials);
    let shown = render_terminal(&tables(&summary), 160);
    assert!(shown.contains("+6 failed") && shown.contains("connect 6"), "{shown}");
    assert!(shown.contains("all 6 trials failed for reasons outside the models"), "{shown}");
    assert!(render_markdown(&summary, &header).contains("cannot be compared: slm-dominant: all 6 trials failed"));
    assert!(render_csv(&summary).unwrap().contains("all 6 trials failed"));
}

#[test]
fn a_run_without_trials_and_one_without_cells_still_make_a_page() {
    let (mut header, _) = example::run();
    let summary = summarise(&header, &[]);
    assert!(render_terminal(&tables(&summary), 120).contains("n/a"));
    header.cells.clear();
    let summary = summarise(&header, &[]);
    assert!(render_terminal(&tables(&summary), 120).contains("Policies on helpdesk"));
    assert!(render_markdown(&summary, &header).contains("was not run"));
    assert_eq!(render_csv(&summary).unwrap(), "");
}

#[test]
fn an_unpriced_run_shows_no_zero() {
    let (mut header, mut trials) = example::run();
    header.llm_price = None;
    header.hardware_price = None;
    for record in &mut trials {
        record.cost = crate::record::Cost::default();
    }
    let summary = summarise(&header, &trials);
    let costs = tables(&summary)[0].rows.iter().flat_map(|row| row.iter().rev().take(2)).cloned().collect::<Vec<_>>();
    assert!(costs.iter().all(|cell| cell.text == "n/a"), "{costs:?}");
    assert!(render_markdown(&summary, &header).contains("- price of the machine: not priced"));
}

#[test]
fn a_figure_with_its_own_n_shows_it() {
    let (header, mut trials) = example::run();
    trials[0].scores.as_mut().unwrap().groundedness = Some(0.5);
    trials[1].scores.as_mut().unwrap().groundedness = Some(1.0);
    let table = &tables(&summarise(&header, &trials))[0];
    assert_eq!(table.rows[0][5].line(), "0.75 [0.50–1.00] n=2");
}

#[test]
fn the_quality_table_stands_only_where_a_task_has_such_gold() {
    let (header, mut trials) = example::run();
    assert_eq!(tables(&summarise(&header, &trials)).len(), 8);
    for record in &mut trials {
        record.scores.as_mut().unwrap().fact_recall = Some(0.5);
    }
    let tables = tables(&summarise(&header, &trials));
    assert_eq!(tables.len(), 9);
    let heads: Vec<_> = tables[1].columns.iter().map(Column::heading).collect();
    assert_eq!(heads, ["policy", "required facts found"]);
    assert_eq!(tables[1].rows[0][1].line(), "0.50 [0.50–0.50]");
}

#[test]
fn the_files_of_a_run_are_written_whole_and_replace_older_ones() {
    let (header, trials) = example::run();
    let summary = summarise(&header, &trials);
    let run = tempfile::tempdir().unwrap();
    let mut writer = crate::record::RunWriter::create(&run.path().join("run"), header).unwrap();
    for trial in &trials {
        writer.append(&crate::record::RunWriter::line(trial).unwrap()).unwrap();
    }
    let report = collect(&[run.path().join("run")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("summary.json"), "old").unwrap();
    write(folder.path(), &report, &Format::DEFAULT).unwrap();
    let text = std::fs::read_to_string(folder.path().join("summary.json")).unwrap();
    assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["report.html", "summary.csv", "summary.json", "summary.md"]);
    let error = write(&folder.path().join("summary.json"), &report, &Format::DEFAULT).unwrap_err();
    assert!(format!("{error:#}").contains("summary.json"), "{error:#}");
}
