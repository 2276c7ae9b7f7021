//! What is one attempt and what is another, and who computes it.

use super::*;
use crate::clock::Component;
use crate::engine::{EngineInfo, FailureKind, Reply, ScriptedEngine};
use crate::metrics::example;
use crate::nn::Rule;
use crate::record::RunWriter;
use std::sync::atomic::{AtomicUsize, Ordering};

fn request(text: &str) -> Request {
    Request {
        messages: vec![Message::new("user", text)],
        max_tokens: 8,
        temperature: 0.0,
        seed: 0,
        top_logprobs: 0,
        cache_scope: Some("a cell".to_owned()),
        grammar: None,
    }
}

fn origin(cell: &str) -> Origin {
    Origin { cell: cell.to_owned(), sample: "s".to_owned() }
}

fn viewed(inner: &Arc<dyn Engine>, shared: &Arc<Shared>, clock: &Clock, cell: &str, repeat: u32) -> Arc<dyn Engine> {
    let engines = Engines { slm: Arc::clone(inner), llm: Arc::clone(inner), named: std::collections::BTreeMap::new() };
    let baton = Arc::new(Baton::none());
    let view = View { shared: Some(Arc::clone(shared)), baton: &baton, clock, repeat, origin: origin(cell) };
    view.engines(&engines).slm
}

/// An engine that answers with the number of its call, in three seconds.
fn counting(clock: &Clock, fails: usize) -> Arc<ScriptedEngine> {
    let mut calls = 0;
    Arc::new(ScriptedEngine::function("m", clock.clone(), move |_| {
        calls += 1;
        if calls <= fails {
            return Err(EngineError::new(FailureKind::Local, "down"));
        }
        Ok(Reply::new(format!("answer {calls}"), -0.5).local_time(Seconds(1.0), Seconds(2.0)))
    }))
}

#[test]
fn what_two_cells_ask_is_computed_once_and_takes_both_the_same_time() {
    let (clock, shared) = (Clock::fake(), Arc::new(Shared::new(Path::new("nowhere"))));
    let scripted = counting(&clock, 0);
    let inner: Arc<dyn Engine> = scripted.clone();
    let ask = |cell: &str| {
        let start = clock.now();
        let completion = viewed(&inner, &shared, &clock, cell, 0).complete(&request("q")).unwrap();
        assert!((clock.since(start).0 - 3.0).abs() < 1e-9, "{cell}: {:?}", clock.since(start));
        completion
    };
    let (first, second) = (ask("one"), ask("two"));
    assert_eq!((first.shared_from.clone(), second.shared_from.clone()), (None, Some(origin("one"))));
    assert_eq!(Completion { shared_from: None, ..second }, first);
    assert_eq!(first.timing.spans.get(Component::Decode), Seconds(2.0));
    assert_eq!(ask("one").shared_from, None, "a trial that is made again takes nothing from another");
    let asked = scripted.requests();
    assert_eq!(asked.len(), 1);
    assert_ne!(asked[0].cache_scope, request("q").cache_scope, "no cell keeps the prompt for itself");
}

#[test]
fn a_failure_is_not_shared() {
    let (clock, shared) = (Clock::fake(), Arc::new(Shared::new(Path::new("nowhere"))));
    let inner: Arc<dyn Engine> = counting(&clock, 1);
    assert!(viewed(&inner, &shared, &clock, "one", 0).complete(&request("q")).is_err());
    let second = viewed(&inner, &shared, &clock, "two", 0).complete(&request("q")).unwrap();
    assert_eq!((second.text.as_str(), second.shared_from), ("answer 2", None));
}

#[test]
fn an_attempt_is_told_from_others_by_all_that_its_answer_hangs_on_and_nothing_else() {
    let (clock, shared) = (Clock::fake(), Arc::new(Shared::new(Path::new("nowhere"))));
    let engine = |model: &str| -> Arc<dyn Engine> { Arc::new(ScriptedEngine::queue(model, clock.clone(), [])) };
    let of = |inner: Arc<dyn Engine>, repeat: u32, request: &Request| {
        let baton = Arc::new(Baton::none());
        let origin = Arc::new(origin("c"));
        let shared = Some(Arc::clone(&shared));
        Viewed { inner, shared, baton, clock: clock.clone(), repeat, origin }.identity(request)
    };
    let plain = of(engine("m"), 0, &request("q"));
    let grammar = Some(Arc::new(Grammar::new(Rule::Choice(vec!["yes".to_owned()]))));
    let warm = |seed| Request { temperature: 0.5, seed, ..request("q") };
    let remote: Arc<dyn Engine> = Arc::new(ScriptedEngine::queue("m", clock.clone(), []).remote());
    let mut different = vec![
        plain,
        of(engine("other"), 0, &request("q")),
        of(remote, 0, &request("q")),
        of(engine("m"), 1, &request("q")),
        of(engine("m"), 0, &request("r")),
        of(engine("m"), 0, &Request { max_tokens: 9, ..request("q") }),
        of(engine("m"), 0, &Request { grammar, ..request("q") }),
        of(engine("m"), 0, &Request { top_logprobs: 1, ..request("q") }),
        of(engine("m"), 0, &Request { messages: vec![Message::new("system", "q")], ..request("q") }),
        of(engine("m"), 0, &Request { messages: vec![Message::new("use", "rq")], ..request("q") }),
        of(engine("m"), 0, &warm(1)),
        of(engine("m"), 0, &warm(2)),
    ];
    let count = different.len();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), count);
    let same = Request { seed: 7, cache_scope: None, ..request("q") };
    assert_eq!(
        of(engine("m"), 0, &same),
        plain,
        "greedy generation hangs on no seed, and nothing on who keeps the prompt"
    );
}

#[test]
fn an_attempt_that_is_on_disk_alone_is_read_from_its_record() {
    let (header, mut trials) = example::run();
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RunWriter::create(folder.path(), header).unwrap();
    let identity: Identity = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
    let record = &mut trials[0];
    record.trial.attempts[0].identity = Some(format!("{identity:032x}"));
    let place = writer.append(&RunWriter::line(record).unwrap()).unwrap();
    let shared = Shared::new(folder.path());
    shared.learn(identities(record), place);
    let clock = Clock::fake();
    let kept = shared.find(identity, &Baton::none(), &clock).expect("it is on disk");
    let attempt = &record.trial.attempts[0];
    assert_eq!((Some(&kept.0.text), kept.0.usage), (attempt.completion.as_ref(), attempt.usage));
    assert_eq!(kept.0.timing.total_s, attempt.total_s);
    assert_eq!(kept.1, Origin { cell: record.cell.clone(), sample: record.sample.clone() });
    assert!(shared.find(identity + 1, &Baton::none(), &clock).is_none());
}

/// An engine that takes real time, so that others come meanwhile.
struct Slow(AtomicUsize);

impl Engine for Slow {
    fn info(&self) -> EngineInfo {
        EngineInfo { model: "slow".into(), place: "test".into(), sha256: None, context_length: None }
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(60));
        ScriptedEngine::queue("slow", Clock::fake(), [Ok(Reply::new("yes", -0.5))]).complete(request)
    }

    fn prompt_tokens(&self, _messages: &[Message]) -> Option<usize> {
        None
    }
}

#[test]
fn who_comes_while_an_attempt_is_computed_waits_for_it() {
    let (slow, shared) = (Arc::new(Slow(AtomicUsize::new(0))), Arc::new(Shared::new(Path::new("nowhere"))));
    let inner: Arc<dyn Engine> = slow.clone();
    std::thread::scope(|scope| {
        for cell in ["one", "two", "three", "four"] {
            let (inner, shared) = (&inner, &shared);
            scope.spawn(move || {
                let clock = Clock::skipping();
                assert_eq!(viewed(inner, shared, &clock, cell, 0).complete(&request("q")).unwrap().text, "yes");
            });
        }
    });
    assert_eq!(slow.0.load(Ordering::SeqCst), 1);
}
