//! Memories over a small knowledge base, with a bag of words for an encoder.

use super::text::words;
use super::*;
use crate::clock::Component;
use crate::error::ExitStatus;
use crate::task::{Article, Sample, Split, Target, Task};
use crate::units::Seconds;
use proptest::prelude::*;
use std::sync::Arc;

/// Words hashed to one of 64 axes. Moves the clock so that booked time can be seen.
pub(crate) struct Bag(Clock);

impl Embed for Bag {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        self.0.advance(Seconds(1.0));
        Ok(texts
            .iter()
            .map(|text| {
                let mut vector = vec![0.0_f32; 64];
                for word in words(text) {
                    let hash = word.bytes().fold(17_u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
                    vector[(hash % 64) as usize] += 1.0;
                }
                let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-9);
                vector.iter().map(|x| x / norm).collect()
            })
            .collect())
    }
}

pub(crate) fn bag() -> Arc<Bag> {
    Arc::new(Bag(Clock::fake()))
}

fn task() -> Task {
    let article = |id: &str, title: &str, text: &str| Article { id: id.into(), title: title.into(), text: text.into() };
    Task {
        name: "demo".into(),
        description: String::new(),
        dir: ".".into(),
        sha256: String::new(),
        labels: Vec::new(),
        samples: Vec::new(),
        articles: vec![
            article("kb-1", "Reset a password", "Open the portal and choose reset password."),
            article("kb-2", "Printer jams", "Open the rear tray and pull the paper out."),
            article("kb-3", "Order a monitor", "Managers order monitors in the purchase portal."),
            article("kb-4", "Reset a password", "Open the portal and choose reset password."),
        ],
        static_memory: Some("Articles: kb-1, kb-2.".into()),
        system_prompt: String::new(),
        examples_per_label: 0,
        schema: serde_json::Value::Null,
        schema_references: vec![],
        schema_formats: false,
        label_field: "category".into(),
        answer_field: None,
        citations_field: None,
        needs_human_field: None,
        specialists: Vec::new(),
    }
}

fn spec(kind: MemoryKind) -> MemorySpec {
    MemorySpec { kind, top_k: 3, token_budget: 1_000, gate: Some(0.3) }
}

fn count_words() -> Arc<dyn Fn(&str) -> usize + Send + Sync> {
    Arc::new(|text| text.split_whitespace().count())
}

fn recall(spec: &MemorySpec, task: &Task, input: &str) -> Retrieval {
    let memory = build(spec, task, Some(bag()), count_words()).expect("a memory");
    let query = Query { id: "q".into(), input: input.into() };
    memory.recall(&query, &Clock::fake(), &mut Spans::default()).expect("a retrieval")
}

fn ids(retrieval: &Retrieval) -> Vec<&str> {
    retrieval.passages.iter().map(|passage| passage.id.as_str()).collect()
}

#[test]
fn none_and_static_retrieve_nothing_and_static_has_its_text() {
    for kind in [MemoryKind::None, MemoryKind::Static] {
        let memory = build(&spec(kind), &task(), None, count_words()).expect("a memory");
        assert_eq!(memory.kind(), kind);
        assert_eq!(memory.fixed_text().is_some(), kind == MemoryKind::Static);
        assert_eq!(recall(&spec(kind), &task(), "password"), Retrieval::default());
    }
}

#[test]
fn dynamic_gives_the_best_passages_with_equals_by_id() {
    let found = recall(&spec(MemoryKind::Dynamic), &task(), "how do I reset my password");
    assert_eq!(ids(&found)[..2], ["kb-1", "kb-4"]);
    assert_eq!((found.passages.len(), found.candidates, found.gate), (3, 3, None));
    assert!(found.tokens > 10 && found.passages[0].score > found.passages[2].score);
}

#[test]
fn salience_drops_what_repeats_what_is_irrelevant_and_what_does_not_fit() {
    let found = recall(&spec(MemoryKind::Salience), &task(), "reset password");
    assert_eq!((ids(&found), found.candidates, found.gate), (vec!["kb-1"], 3, Some(0.3)));
    let nothing = recall(&spec(MemoryKind::Salience), &task(), "zebra crossing");
    assert_eq!((nothing.passages.len(), nothing.tokens), (0, 0));
    let poor = MemorySpec { token_budget: 5, ..spec(MemoryKind::Salience) };
    assert!(recall(&poor, &task(), "reset password").passages.is_empty());
}

#[test]
fn the_gate_is_fitted_on_the_train_split_alone() {
    let sample = |split, input: &str, article: &str| Sample {
        query: Query { id: input.into(), input: input.into() },
        target: Target { articles: Some(vec![article.into()]), ..Target::default() },
        split,
        difficulty: None,
        tags: Vec::new(),
    };
    let unfitted = MemorySpec { gate: None, ..spec(MemoryKind::Salience) };
    let mut task = task();
    task.samples = vec![sample(Split::Test, "printer jams", "kb-2"); 9];
    assert_eq!(recall(&unfitted, &task, "printer jams").gate, Some(0.35));
    task.samples = vec![sample(Split::Train, "printer jams", "kb-2"); 9];
    let gate = recall(&unfitted, &task, "printer jams").gate.expect("a gate");
    assert!(gate != 0.35);
    assert_eq!(ids(&recall(&unfitted, &task, "printer jams")), ["kb-2"]);
}

#[test]
fn the_time_of_a_recall_is_booked_on_memory() {
    let bag = bag();
    let memory = build(&spec(MemoryKind::Salience), &task(), Some(bag.clone()), count_words()).expect("a memory");
    let (query, mut spans) = (Query { id: "q".into(), input: "printer".into() }, Spans::default());
    memory.recall(&query, &bag.0, &mut spans).expect("a retrieval");
    assert_eq!((spans.get(Component::Memory), spans.total()), (Seconds(1.0), Seconds(1.0)));
}

#[test]
fn a_memory_that_cannot_work_is_a_usage_error() {
    let bare = Task { articles: Vec::new(), static_memory: None, ..task() };
    let wrong_gate = MemorySpec { gate: Some(f64::NAN), ..spec(MemoryKind::Salience) };
    let no_passages = MemorySpec { top_k: 0, ..spec(MemoryKind::Dynamic) };
    for (spec, task) in [
        (spec(MemoryKind::Dynamic), bare.clone()),
        (spec(MemoryKind::Static), bare),
        (wrong_gate, task()),
        (no_passages, task()),
    ] {
        let error = build(&spec, &task, Some(bag()), count_words()).err().expect("an error");
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage, "{error:#}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_query_keeps_to_the_limits(input: String, top_k in 1_usize..6, token_budget in 0_usize..40) {
        let limits = MemorySpec { top_k, token_budget, gate: Some(-1.0), kind: MemoryKind::Salience };
        let found = recall(&limits, &task(), &input);
        prop_assert!(found.passages.len() <= top_k && found.tokens <= token_budget);
    }
}
