//! Routers learned from a run made in code: 120 queries of two kinds, of which the small model knows one.

use super::*;
use crate::metrics::example;
use crate::record::RunWriter;
use crate::router::{Decision, Evidence, Reason, RouterParts, RouterSettings, build, read_routers, routers_text};
use crate::task::Target as Gold;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

const N: usize = 120;

/// Near the first axis for printers, near the second for all else.
struct Axes;

impl Embed for Axes {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let of = |text: &&str| {
            let wobble = 0.02 * (text.len() % 7) as f32;
            let angle = if text.contains("printer") { 0.1 } else { 1.4 } + wobble;
            vec![angle.cos(), angle.sin()]
        };
        Ok(texts.iter().map(of).collect())
    }
}

/// Whether the small model knows the answer: one printer in ten, nine in ten of the others.
fn known(i: usize) -> bool {
    if is_printer(i) { i.is_multiple_of(30) } else { i % 10 != 7 }
}

fn is_printer(i: usize) -> bool {
    i.is_multiple_of(3)
}

fn text(i: usize) -> String {
    let what = if is_printer(i) { "printer" } else { "password" };
    format!("{what} trouble number {i}")
}

/// The task and a run over it; `first` is the number of the first query.
fn world(folder: &Path, first: usize) -> (Task, PathBuf) {
    world_of(folder, first, known, text)
}

/// The same where the small model knows other queries, or the texts are others.
fn world_of(folder: &Path, first: usize, known: impl Fn(usize) -> bool, text: fn(usize) -> String) -> (Task, PathBuf) {
    let place = folder.join("task");
    std::fs::create_dir_all(&place).unwrap();
    let rows = (first..first + N).fold("id,text,label,split\n".to_owned(), |mut rows, i| {
        let _ = writeln!(rows, "q{i},{},{},test", text(i), if i % 2 == 0 { "Access" } else { "Storage" });
        rows
    });
    std::fs::write(place.join("rows.csv"), rows).unwrap();
    std::fs::write(
        place.join("task.toml"),
        "name = \"made\"\n[data]\nfile = \"rows.csv\"\n[data.columns]\nid = \"id\"\ninput = \"text\"\ntarget = \"label\"\n\
         split = \"split\"\n",
    )
    .unwrap();
    let task = crate::task::load(&place).unwrap();
    let run = folder.join("run");
    let mut header = example::header();
    header.task_sha256.clone_from(&task.sha256);
    header.samples = (first..first + N).map(|i| format!("q{i}")).collect();
    header.cells = [RouterKind::SlmOnly, RouterKind::LlmOnly].map(example::cell).to_vec();
    let mut writer = RunWriter::create(&run, header.clone()).unwrap();
    for i in first..first + N {
        let gold = Gold { label: Some("Access".into()), ..Gold::default() };
        for (router, tier, right) in
            [(RouterKind::SlmOnly, Tier::Slm, known(i)), (RouterKind::LlmOnly, Tier::Llm, i % 20 != 11)]
        {
            let label = if right { "Access" } else { "Storage" };
            let mut attempt = example::attempt(tier, label, true, Reason::FirstChoice);
            // Sure where it is right, with some doubt either way.
            let sure = if right { 0.7 } else { 0.3 } + 0.003 * (i % 60) as f64;
            attempt.confidence = Some(Confidence {
                label: Some(sure),
                mean: sure,
                min: sure,
                quantile: sure,
                margin: None,
                entropy: None,
                probed: crate::trial::Probed::default(),
            });
            let record = example::record(router, &format!("q{i}"), example::trial(vec![attempt]), &gold, &header);
            writer.append(&RunWriter::line(&record).unwrap()).unwrap();
        }
    }
    (task, run)
}

fn options(kind: FitKind) -> FitOptions {
    FitOptions {
        kind,
        name: None,
        confidence: Estimator::LabelSpan,
        target: Target::Loss(0.05),
        conformal: false,
        usd_per_right_answer: None,
    }
}

fn learned(folder: &Path, options: &FitOptions) -> Result<Fit> {
    let (task, run) = world(folder, 0);
    fit(&[run], &task, options, Some((&Axes, "sum")))
}

#[test]
fn what_is_held_out_is_seen_by_neither_learning_nor_choice() {
    // Every answer of the small model in one part becomes wrong: what was learned and chosen for that part stays.
    const PART: usize = 1;
    let mut touched = 0;
    for kind in FitKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let (task, run) = world(folder.path(), 0);
        let found = fit(&[run], &task, &options(kind), Some((&Axes, "sum"))).unwrap();
        let held_out = found.held_out.unwrap();
        assert_eq!(held_out.parts.iter().map(|part| part.n).collect::<Vec<_>>(), [N / 5; 5], "{kind:?}");
        let mean = |of: fn(&Effect) -> f64| held_out.parts.iter().map(|part| of(&part.effect)).sum::<f64>() / 5.0;
        assert!((mean(|effect| effect.quality) - held_out.effect.quality).abs() < 1e-12, "{kind:?}");
        assert!((mean(|effect| effect.llm_share) - held_out.effect.llm_share).abs() < 1e-12, "{kind:?}");
        let difference = held_out.less_llm.unwrap();
        assert!((difference.value - (held_out.effect.quality - found.strong)).abs() < 1e-12, "{kind:?}");
        assert!(difference.low < difference.value && difference.value < difference.high, "{kind:?}");

        let folder = tempfile::tempdir().unwrap();
        let (task, run) = world_of(folder.path(), 0, |i| known(i) && i % 5 != PART, text);
        let turned = fit(&[run], &task, &options(kind), Some((&Axes, "sum"))).unwrap().held_out.unwrap();
        assert_eq!(turned.parts[PART].setting, held_out.parts[PART].setting, "{kind:?}");
        // A router that looks before the call keeps what is wrong now; one that looks after it sees the lower confidence. One
        // that sends all of the part to the LLM is not touched.
        if held_out.parts[PART].effect.llm_share < 1.0 {
            assert_ne!(turned.parts[PART].effect, held_out.parts[PART].effect, "{kind:?}");
            touched += 1;
        }
    }
    assert!(touched > 0, "some router keeps some of the part");
}

#[test]
fn the_same_text_under_two_ids_is_on_one_side_and_counts_as_one_query() {
    // Each text stands in two rows, half of all rows apart.
    let twice = |i: usize| text(i % (N / 2));
    let folder = tempfile::tempdir().unwrap();
    let (task, run) = world_of(folder.path(), 0, |i| known(i % (N / 2)), twice);
    let found = fit(&[run], &task, &options(FitKind::Text(Learner::Knn)), Some((&Axes, "sum"))).unwrap();
    assert_eq!((found.n, found.queries), (N, (N / 2) as u32));
    assert_eq!(found.router.fitted.as_ref().unwrap().samples.len(), N / 2);
    assert_eq!(found.held_out.unwrap().less_llm, None, "the rows are no independent pairs");
    let (rows, outcomes) =
        recorded(&load(&[folder.path().join("run")]).unwrap(), &[folder.path().join("run")], &task, Some(&Axes))
            .unwrap();
    let of = |row: usize| crate::replay::learned::part_of(outcomes.query_of[row]);
    assert!((0..N / 2).all(|row| rows[row].query.input == rows[row + N / 2].query.input && of(row) == of(row + N / 2)));
}

#[test]
fn a_run_that_was_cut_short_is_told() {
    let told = |change: fn(&mut crate::record::RunHeader)| {
        let folder = tempfile::tempdir().unwrap();
        let (task, run) = world(folder.path(), 0);
        let path = run.join("run.json");
        let mut header = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut header);
        std::fs::write(&path, serde_json::to_vec(&header).unwrap()).unwrap();
        fit(&[run], &task, &options(FitKind::Isotonic), None).unwrap().notes.join(" ")
    };
    assert!(!told(|_| ()).contains("The run"));
    assert!(told(|header| header.interrupted = true).contains("The run 2025-11-24-example was interrupted."));
    assert!(told(|header| header.aborted = Some("no key".into())).contains("gave up (no key)."));
    assert!(told(|header| header.finished_at = None).contains("never finished"));
}

/// Whom a router asks first.
fn first(router: &dyn crate::router::Router, text: &str) -> Tier {
    let query = Query { id: "new".into(), input: text.into() };
    match router.decide(&query, Evidence { attempts: &[], findings: &[] }).unwrap() {
        Decision::Call { tier, .. } => tier,
        other => panic!("{other:?}"),
    }
}

fn built(spec: &RouterSpec) -> Box<dyn crate::router::Router> {
    let parts = RouterParts { embed: Some((Arc::new(Axes), "sum")), ..RouterParts::default() };
    build(spec, &RouterSettings::default(), parts).unwrap()
}

#[test]
fn what_is_learned_from_texts_sends_the_kind_that_the_small_model_does_not_know() {
    for kind in Learner::ALL.map(FitKind::Text) {
        let folder = tempfile::tempdir().unwrap();
        let found = learned(folder.path(), &options(kind)).unwrap();
        assert_eq!((found.n, found.queries), (N, N as u32));
        assert!(found.cross_fitted);
        assert!(found.beats_random.as_ref().unwrap().low > 0.0, "{kind:?}: {:?}", found.beats_random);
        assert!(found.effect.quality >= found.strong - 0.05, "{kind:?}: {:?}", found.effect);
        assert!(found.effect.llm_share < 0.5, "{kind:?}: {:?}", found.effect);
        let router = built(&found.router);
        assert_eq!(first(&*router, "the printer is out of ink"), Tier::Llm, "{kind:?}");
        assert_eq!(first(&*router, "I forgot my password"), Tier::Slm, "{kind:?}");
    }
}

#[test]
fn a_calibrated_threshold_keeps_sure_answers() {
    let folder = tempfile::tempdir().unwrap();
    let found = learned(folder.path(), &options(FitKind::Isotonic)).unwrap();
    assert_eq!(found.router.kind, RouterKind::SlmDominant);
    let curve = found.router.fitted.as_ref().unwrap().calibration.as_ref().unwrap();
    assert!(curve.apply(0.3) < 0.1 && curve.apply(0.8) > 0.9, "{curve:?}");
    assert!(!found.cross_fitted);
    assert!(found.effect.quality >= found.strong - 0.05 && found.effect.llm_share < 0.6, "{:?}", found.effect);
    // Nothing is kept and wrong where the target allows nothing, and the conformal rule asks for one more.
    let strict = FitOptions { target: Target::Loss(0.02), conformal: true, ..options(FitKind::Isotonic) };
    let folder = tempfile::tempdir().unwrap();
    let strict = learned(folder.path(), &strict).unwrap();
    assert!(strict.effect.llm_share >= found.effect.llm_share, "{:?}", strict.effect);
    assert!(strict.target.starts_with("conformal: in the mean over other samples"), "{}", strict.target);
}

#[test]
fn cascade_routing_learns_what_both_models_are_good_for() {
    let folder = tempfile::tempdir().unwrap();
    let found = learned(folder.path(), &options(FitKind::Cascade)).unwrap();
    assert!(found.effect.quality >= found.strong - 0.05, "{:?}", found.effect);
    assert!(found.effect.llm_share < 0.9, "{:?}", found.effect);
    let fitted = found.router.fitted.as_ref().unwrap();
    assert_eq!(fitted.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["slm", "llm"]);
    assert!((fitted.models[0].usd - 0.001).abs() < 1e-9 && (fitted.models[1].usd - 0.0028).abs() < 1e-9);
    assert_eq!(first(&*built(&found.router), "I forgot my password"), Tier::Slm);
    let given = FitOptions { usd_per_right_answer: Some(0.02), ..options(FitKind::Cascade) };
    let folder = tempfile::tempdir().unwrap();
    let setting = learned(folder.path(), &given).unwrap().setting;
    assert_eq!((setting.key, setting.value), ("usd_per_right_answer", 0.02));
}

#[test]
fn the_file_knows_its_samples_and_is_read_back_as_it_was_written() {
    for kind in FitKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let named = FitOptions { name: Some("mine".into()), ..options(kind) };
        let found = learned(folder.path(), &named).unwrap();
        let fitted = found.router.fitted.as_ref().unwrap();
        assert_eq!(fitted.known([&*text(5), "password trouble number 500"]), 1);
        let file = folder.path().join("router.toml");
        std::fs::write(&file, routers_text(std::slice::from_ref(&found.router)).unwrap()).unwrap();
        assert_eq!(read_routers(&file).unwrap(), [found.router], "{kind:?}");
    }
}

#[test]
fn a_run_that_teaches_nothing_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (task, run) = world(folder.path(), 0);
    let refused = |task: &Task, options: &FitOptions| {
        format!("{:#}", fit(std::slice::from_ref(&run), task, options, Some((&Axes, "sum"))).unwrap_err())
    };
    let other = tempfile::tempdir().unwrap();
    let (another, _) = world(other.path(), 1000);
    assert!(refused(&another, &options(FitKind::Text(Learner::Knn))).contains("another version of it"));
    let unread = FitOptions { confidence: Estimator::SelfConsistency, ..options(FitKind::Isotonic) };
    assert!(refused(&task, &unread).contains("no confidence by self_consistency"));
    let unprovable = FitOptions { target: Target::Loss(0.0), conformal: true, ..options(FitKind::Isotonic) };
    assert!(refused(&task, &unprovable).contains("no threshold on 120 queries proves this"));
    let twice = format!(
        "{:#}",
        fit(&[run.clone(), run.clone()], &task, &options(FitKind::Text(Learner::Knn)), Some((&Axes, "sum")))
            .unwrap_err()
    );
    assert!(twice.contains("is given twice"), "{twice}");
    let poor = FitOptions { target: Target::Budget(0.001), ..options(FitKind::Text(Learner::Logistic)) };
    assert!(refused(&task, &poor).contains("no setting meets the target"));
}
