//! From the cells of a run to what their trials use: memories, prompts and routers.

use super::bench::BenchArgs;
use super::setup::Resolved;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::error::{Context, Result};
use crate::grid::CellParts;
use crate::memory::{self, Embed, Memory, MemoryParts, MemorySpec};
use crate::router::{self, ClassifierKind, DomainClassifier, RouterKind, RouterParts, RouterSettings};
use crate::safety::SafetyPolicy;
use crate::task::{Label, Specialist, Split, Task};
use crate::trial::PromptBuilder;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Train samples of each label that the domain classifier learns from, at most: embedding thousands would hold up the
/// start for minutes.
const CLASSIFIER_EXAMPLES: usize = 64;

/// A memory, and the prompts that hold its fixed text.
pub(super) struct Recollection {
    pub(super) memory: Arc<dyn Memory>,
    pub(super) prompts: Arc<PromptBuilder>,
}

/// The folder below which indexes are kept; `None` where the user has no cache folder.
pub(super) fn index_store() -> Option<PathBuf> {
    let set = std::env::var_os("ROUTERGYM_INDEX").filter(|value| !value.is_empty()).map(PathBuf::from);
    set.or_else(|| dirs::cache_dir().map(|caches| caches.join("routergym-local").join("indexes")))
}

/// The memories of the run's cells, by name.
pub(super) fn recollect(
    resolved: &Resolved,
    embed: Option<&(Arc<dyn Embed>, &str)>,
    slm: &Arc<dyn Engine>,
    clock: &Clock,
    note: impl Fn(&str),
) -> Result<BTreeMap<&'static str, Recollection>> {
    let args = &resolved.args;
    let counter = Arc::clone(slm);
    let parts = MemoryParts {
        embed: embed.map(|(embed, _)| Arc::clone(embed)),
        encoder_sha256: embed.map(|(_, sha256)| (*sha256).to_owned()).unwrap_or_default(),
        count_tokens: Arc::new(move |messages| {
            counter.prompt_tokens(messages).unwrap_or_else(|| memory::about_tokens(messages))
        }),
        indexes: index_store(),
        clock: clock.clone(),
    };
    let mut found = BTreeMap::new();
    for kind in resolved.cells.iter().map(|cell| cell.memory) {
        if !found.contains_key(kind.name()) {
            let spec = MemorySpec {
                kind,
                retriever: args.retriever,
                top_k: args.top_k,
                token_budget: args.token_budget,
                gate: args.gate,
            };
            let memory = memory::build(&spec, &resolved.task, &parts, &mut |text| note(text))?;
            let memory: Arc<dyn Memory> = Arc::from(memory);
            let prompts = Arc::new(PromptBuilder::new(&resolved.task, memory.fixed_text()));
            found.insert(kind.name(), Recollection { memory, prompts });
        }
    }
    Ok(found)
}

pub(super) fn build_cells(
    resolved: &Resolved,
    embed: Option<&(Arc<dyn Embed>, &str)>,
    memories: &BTreeMap<&'static str, Recollection>,
) -> Result<Vec<CellParts>> {
    let args = &resolved.args;
    let task = &resolved.task;
    let settings = router_settings(args, task)?;
    let specialists = used_specialists(task, |_| ());
    // Trained once for each kind, however many cells use it.
    let mut classifiers: BTreeMap<String, Arc<DomainClassifier>> = BTreeMap::new();
    let mut cells = Vec::new();
    for cell in &resolved.cells {
        let spec = resolved.routers.iter().find(|router| router.name() == cell.router_name());
        let spec = spec.context("a cell names a router that was not read")?;
        let own = spec.settings(&settings);
        let classifier = match spec.kind {
            RouterKind::HybridSpecialist => {
                let (embed, _) = embed.context("hybrid-specialist needs the sentence encoder")?;
                let kind = format!("{:?}", own.classifier);
                let known = classifiers.get(&kind).cloned();
                let trained = known.map_or_else(|| classifier(task, own.classifier, embed).map(Arc::new), Ok)?;
                classifiers.insert(kind, Arc::clone(&trained));
                Some(trained)
            }
            _ => None,
        };
        let embed = embed.map(|(embed, sha256)| (Arc::clone(embed), *sha256));
        let parts = RouterParts { specialists: &specialists, classifier, embed, seed: cell.seed };
        let Recollection { memory, prompts } =
            memories.get(cell.memory.name()).context("a cell names a memory that was not built")?;
        cells.push(CellParts {
            cell: cell.clone(),
            router: router::build(spec, &settings, parts)?,
            confidence: own.confidence,
            memory: Arc::clone(memory),
            prompts: Arc::clone(prompts),
        });
    }
    Ok(cells)
}

/// The routers' settings; the safety policy among them, the task's with the flags over it, is the trial's too.
pub(super) fn router_settings(args: &BenchArgs, task: &Task) -> Result<RouterSettings> {
    let mut safety = SafetyPolicy::of_task(task)?;
    args.safety.iter().try_for_each(|text| safety.set_from_text(text))?;
    Ok(RouterSettings {
        confidence: args.confidence,
        threshold: args.threshold,
        max_repairs: args.max_repairs,
        safety,
        downshift_max_chars: args.downshift,
        classifier: args.classifier,
        ..RouterSettings::default()
    })
}

/// The task's specialists. Where it names none, the SLM with the task's own prompt is the specialist of every domain that
/// the classifier can learn: a table of labels alone can then be benched under every router, and the user is told.
pub(super) fn used_specialists(task: &Task, note: impl Fn(&str)) -> Vec<Specialist> {
    if !task.specialists.is_empty() {
        return task.specialists.clone();
    }
    note(
        "task.toml names no specialist: hybrid-specialist gives each domain that its classifier is sure of to the SLM",
    );
    let taught =
        |label: &&Label| task.split(Split::Train).any(|sample| sample.target.label.as_ref() == Some(&label.name));
    let of = |label: &Label| Specialist { domain: label.name.clone(), model: None, prompt: None };
    task.labels.iter().filter(taught).map(of).collect()
}

/// The classifier of the domains, trained on the train split alone.
fn classifier(task: &Task, kind: ClassifierKind, embed: &Arc<dyn Embed>) -> Result<DomainClassifier> {
    let mut of_label: BTreeMap<&str, usize> = BTreeMap::new();
    let mut examples: Vec<(String, String)> = Vec::new();
    for sample in task.split(Split::Train) {
        let Some(label) = &sample.target.label else { continue };
        let count = of_label.entry(label).or_default();
        *count += 1;
        if *count <= CLASSIFIER_EXAMPLES {
            examples.push((sample.query.input.clone(), label.clone()));
        }
    }
    DomainClassifier::train(kind, &examples, Arc::clone(embed))
        .context("training the domain classifier of hybrid-specialist on the train split")
}
