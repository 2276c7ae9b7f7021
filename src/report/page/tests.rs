//! Tests of the page as text; scripts/test-page opens it in a browser.

use super::*;
use crate::metrics::example;
use crate::record::{RunHeader, TrialRecord, write_json};
use crate::report::collect;
use crate::router::RouterKind;
use serde_json::Value;
use std::path::PathBuf;

fn reported(header: &RunHeader, trials: &[TrialRecord]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    collect(&[written(folder.path().join("run"), header, trials)]).unwrap()
}

fn written(folder: PathBuf, header: &RunHeader, trials: &[TrialRecord]) -> PathBuf {
    std::fs::create_dir_all(&folder).unwrap();
    write_json(&folder.join("run.json"), header).unwrap();
    let lines: String = trials.iter().map(|trial| serde_json::to_string(trial).unwrap() + "\n").collect();
    std::fs::write(folder.join("trials.jsonl"), lines).unwrap();
    folder
}

fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").expect("data");
    serde_json::from_str(rest.split_once("</script>").expect("its end").0).expect("JSON")
}

/// Every number of a summary that a figure has.
fn values(value: &Value, found: &mut Vec<f64>) {
    match value {
        Value::Object(map) => {
            if map.contains_key("n")
                && let Some(number) = map.get("value").and_then(Value::as_f64)
            {
                found.push(number);
            }
            map.values().for_each(|value| values(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| values(value, found)),
        _ => {}
    }
}

#[test]
fn the_page_reaches_no_address_and_lets_no_other_script_run() {
    let (header, trials) = example::run();
    let page = page(&reported(&header, &trials)).unwrap();
    for mark in [
        "src=",
        "url(",
        "@import",
        "<link",
        "<iframe",
        "<img",
        "style=\"",
        "javascript:",
        " onclick",
        "fetch(",
        "innerHTML",
    ] {
        assert!(!page.contains(mark), "{mark}");
    }
    let targets = page.match_indices("href=\"").map(|(at, mark)| &page[at + mark.len()..]);
    assert!(targets.clone().count() > 10 && targets.into_iter().all(|target| target.starts_with('#')));
    assert!(page.contains(&format!("script-src 'sha256-{}'", hash(SCRIPT))), "the policy names the script");
    for (start, end, text) in [("<style>", "</style>", STYLE), ("<script>", "</script>", SCRIPT)] {
        let inner = page.split_once(start).and_then(|(_, rest)| rest.split_once(end)).expect("an element").0;
        assert_eq!(inner, text, "what is hashed is what stands there");
    }
    assert_eq!(hash(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

#[test]
fn the_page_has_every_part_once_and_its_contents_lead_there() {
    let (header, trials) = example::run();
    let page = page(&reported(&header, &trials)).unwrap();
    for (place, _) in CONTENTS {
        assert_eq!(page.matches(&format!("id=\"{place}\"")).count(), 1, "{place}");
        assert_eq!(page.matches(&format!("href=\"#{place}\"")).count(), 1, "{place}");
    }
    let ids: Vec<&str> =
        page.match_indices(" id=\"").map(|(at, _)| page[at + 5..].split('"').next().unwrap()).collect();
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "an id stands twice");
    assert!(page.contains("This run does not decide it") && page.contains("Cannot tell"));
}

#[test]
fn numbers_are_those_of_the_summary_to_the_last_digit() {
    let (header, trials) = example::run();
    let report = reported(&header, &trials);
    let page = page(&report).unwrap();
    assert_eq!(data(&page)["summary"], serde_json::to_value(&report.summary).unwrap());
    let shown: Vec<f64> = page
        .match_indices("data-value=\"")
        .filter_map(|(at, mark)| page[at + mark.len()..].split('"').next()?.parse().ok())
        .collect();
    for policy in &report.summary.policies {
        let figures = [&policy.accuracy, &policy.intervals.latency_p50_s, &policy.intervals.latency_p95_s];
        let others =
            [&policy.intervals.llm_call_rate, &policy.intervals.escalation_rate, &policy.intervals.schema_valid_first];
        for figure in figures.into_iter().chain(others) {
            assert!(shown.contains(&figure.value.expect("a value")), "{figure:?}");
        }
    }
    let mut all = Vec::new();
    values(&data(&page)["summary"], &mut all);
    assert!(all.len() > 20, "{}", all.len());
}

#[test]
fn the_threshold_shows_what_replay_computes() {
    let (header, mut trials) = example::run();
    for (i, record) in trials.iter_mut().enumerate() {
        for attempt in &mut record.trial.attempts {
            let sure = 0.3 + 0.1 * (i % 6) as f64;
            attempt.confidence = Some(crate::trial::Confidence {
                label: Some(sure),
                mean: sure,
                min: sure,
                quantile: sure,
                margin: None,
                entropy: None,
                probed: crate::trial::Probed::default(),
            });
        }
    }
    let report = reported(&header, &trials);
    let shown = data(&page(&report).unwrap());
    let replay = report.replay.as_ref().unwrap();
    let policy = replay.policies.iter().find(|policy| policy.name == "confidence").unwrap();
    let stops = shown["threshold"][0]["stops"].as_array().unwrap();
    assert_eq!(stops.len(), policy.points.len());
    for (stop, point) in stops.iter().zip(&policy.points) {
        let raw = |name: &str| stop["shown"][name][1].as_f64();
        assert_eq!(raw("threshold"), point.threshold);
        assert_eq!(
            (raw("sent"), raw("quality"), raw("cost")),
            (Some(point.strong_share), Some(point.quality), Some(point.cost))
        );
        assert_eq!(stop["at"].as_array().unwrap().len(), 4);
    }
}

/// HTML, a script, an end of the data's element, right-to-left marks, emoji, template syntax.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\" onclick=\"alert(3)' {{ 7*7 }} \
                       \u{202e}txet\u{202c} שלום \u{1f4a5}\u{2028}";

fn poison(value: &mut Value, key: &str) {
    // Names by which records are found and values of enumerations stay what they are.
    const KEPT: [&str; 22] = [
        "cell",
        "router",
        "memory",
        "contract",
        "outcome",
        "tier",
        "variant",
        "kind",
        "usage_source",
        "stop",
        "extraction",
        "split",
        "sample",
        "name",
        "format",
        "samples",
        "started_at",
        "type",
        "certainty",
        "id",
        "held",
        "rule",
    ];
    match value {
        Value::String(text) if !KEPT.contains(&key) => text.push_str(HOSTILE),
        Value::Array(all) if !KEPT.contains(&key) => all.iter_mut().for_each(|value| poison(value, key)),
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| poison(value, &key.clone())),
        _ => {}
    }
}

fn poisoned<T: serde::Serialize + serde::de::DeserializeOwned>(of: &T) -> T {
    let mut value = serde_json::to_value(of).unwrap();
    poison(&mut value, "");
    serde_json::from_value(value).unwrap()
}

#[test]
fn nothing_in_any_field_becomes_part_of_the_page() {
    let (header, trials) = example::run();
    let mut header: RunHeader = poisoned(&header);
    header.id = HOSTILE.into();
    header.samples = header.samples.iter().map(|sample| format!("{sample}{HOSTILE}")).collect();
    header.cells.iter_mut().for_each(|cell| cell.name.push_str(HOSTILE));
    let trials: Vec<TrialRecord> = trials
        .iter()
        .map(|trial| {
            let mut trial: TrialRecord = poisoned(trial);
            trial.cell.push_str(HOSTILE);
            trial.sample.push_str(HOSTILE);
            trial
        })
        .collect();
    let report = reported(&header, &trials);
    assert_eq!(report.trials, trials.len());
    let page = page(&report).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)"), "the texts are there");
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("<img") && !page.contains("\" onclick=\"") && !page.contains('\u{2028}'));
    let visible = page.split_once("<script type=").unwrap().0;
    assert!(!visible.contains(['\u{202e}', '\u{202c}']), "text that turns what stands around it");
    assert!(visible.contains("{{ 7*7 }}") && visible.contains("\u{1f4a5}"));
    assert!(data(&page)["gallery"].as_array().is_some_and(|all| !all.is_empty()));
}

#[test]
fn runs_in_which_little_or_nothing_was_measured_make_a_page_that_says_so() {
    let (header, trials) = example::run();
    let page_of = |header: &RunHeader, trials: &[TrialRecord]| page(&reported(header, trials)).unwrap();
    let nothing = page_of(&header, &[]);
    assert!(nothing.contains("holds no finished trial") && nothing.contains("No trial was recorded."), "{nothing}");
    let mut bare = header.clone();
    bare.cells.clear();
    assert!(page_of(&bare, &[]).contains("No policy was run."));
    assert!(
        page_of(&header, &trials[..1]).contains("1 trials") || page_of(&header, &trials[..1]).contains("All 1 trials.")
    );
    let mut failed = trials.clone();
    failed.iter_mut().for_each(example::fail);
    let failed = page_of(&header, &failed);
    assert!(failed.contains("No latency was measured.") && failed.contains("no connection"), "{failed}");
    let mut unpriced = header.clone();
    (unpriced.llm_price, unpriced.hardware_price, unpriced.machine.memory_bytes) = (None, None, None);
    let mut bare = trials.clone();
    for record in &mut bare {
        record.cost = crate::record::Cost::default();
        record.trial.attempts.iter_mut().for_each(|attempt| attempt.ttft_s = None);
    }
    let unpriced = page_of(&unpriced, &bare);
    assert!(unpriced.contains("Cost cannot be shown.") && unpriced.contains("not measured"), "{unpriced}");
}

#[test]
fn runs_of_several_seeds_stand_in_one_page_and_other_tasks_are_refused() {
    let (header, trials) = example::run();
    let folder = tempfile::tempdir().unwrap();
    let mut second = header.clone();
    (second.id, second.seed) = ("another".into(), 8);
    second.cells.iter_mut().for_each(|cell| cell.seed = 8);
    let runs = [written(folder.path().join("a"), &header, &trials), written(folder.path().join("b"), &second, &trials)];
    let report = collect(&runs).unwrap();
    assert_eq!((report.summary.policies.len(), report.trials, report.details.seeds.len()), (6, 36, 3));
    assert_eq!(report.summary.policies[3].cell, "llm-first/salience/validate/seed-8");
    let page = page(&report).unwrap();
    assert!(page.contains("Where another comes from") && page.contains("Between seeds"), "{page}");
    assert_eq!(report.summary.policies[0].accuracy, report.summary.policies[3].accuracy);
    let mut other = header.clone();
    other.task_sha256 = "cd".repeat(32);
    let runs = [runs[0].clone(), written(folder.path().join("c"), &other, &trials)];
    let error = collect(&runs).unwrap_err();
    assert!(format!("{error:#}").contains("task's content"), "{error:#}");
    assert!(super::super::default_folder(&runs).is_err());
}

#[test]
fn a_page_of_many_policies_and_trials_stays_small() {
    let (mut header, trials) = example::run();
    let mut all = Vec::new();
    header.samples = (0..300).map(|i| format!("sample {i}")).collect();
    let of_router: Vec<&TrialRecord> =
        trials.iter().filter(|record| record.router == RouterKind::SlmDominant).collect();
    header.cells = (0..12)
        .map(|i| {
            let mut cell = example::cell(RouterKind::SlmDominant);
            (cell.name, cell.seed) = (format!("slm-dominant/salience/validate/{i}"), i);
            cell
        })
        .collect();
    for (i, sample) in header.samples.iter().enumerate() {
        for cell in &header.cells {
            let mut record = TrialRecord {
                cell: cell.name.clone(),
                sample: sample.clone(),
                ..of_router[i % of_router.len()].clone()
            };
            record.trial.attempts.iter_mut().for_each(|attempt| attempt.completion = Some("long ".repeat(2000)));
            record.scores.as_mut().unwrap().label_correct = Some(!(i as u64 + cell.seed).is_multiple_of(3));
            all.push(record);
        }
    }
    let page = page(&reported(&header, &all)).unwrap();
    assert!(page.len() < 1_900_000, "{} bytes", page.len());
}

/// Charts are drawn to the same text everywhere. `ROUTERGYM_BLESS=1` writes what is drawn now.
#[test]
fn charts_are_drawn_to_the_same_text() {
    let (header, trials) = example::run();
    let report = reported(&header, &trials);
    let names = names(&report);
    let view = View { report: &report, names: &names, order: order(&report) };
    let drawn = [
        ("cost", cost::scatters(&view)),
        ("latency", latency::latency(&view)),
        ("routing", parts::routing(&view)),
        ("verdict", serde_json::to_value(verdict::verdict(&view)).unwrap()["chart"].as_str().unwrap().to_owned()),
    ];
    for (name, text) in drawn {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/page/{name}.html"));
        let text = text.replace("><", ">\n<") + "\n";
        if std::env::var_os("ROUTERGYM_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(kept == text, "{name} is drawn otherwise than in {}:\n{text}", path.display());
    }
}
