//! From a specification to a memory.

use super::chunk::chunks;
use super::gate;
use super::recall::{Dynamic, Fixed, Nothing, Salience};
use super::retriever::Retriever;
use super::{Embed, Memory, MemoryKind};
use crate::error::{Context, Result, usage};
use crate::task::{Split, Task};
use std::sync::Arc;

/// Queries of the train split that the gate is fitted on, at most; they are taken evenly from the whole split.
const FIT_LIMIT: usize = 512;

/// How the memory is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct MemorySpec {
    /// Which.
    pub kind: MemoryKind,
    /// Passages at most.
    pub top_k: usize,
    /// Tokens of passages at most (salience).
    pub token_budget: usize,
    /// The relevance gate as a cosine (salience); `None` fits it on the train split, where the task has gold article
    /// ids, and else takes 0.35.
    pub gate: Option<f64>,
}

/// Builds a memory over a task's knowledge. `count_tokens` counts with the model's own tokenizer.
pub fn build(
    spec: &MemorySpec,
    task: &Task,
    embed: Option<Arc<dyn Embed>>,
    count_tokens: Arc<dyn Fn(&str) -> usize + Send + Sync>,
) -> Result<Box<dyn Memory>> {
    let retriever = || -> Result<Retriever> {
        check(spec, task)?;
        let embed = embed.context("building a retrieving memory without a sentence encoder")?;
        Retriever::new(chunks(&task.articles), embed, &*count_tokens)
            .with_context(|| format!("indexing the knowledge base of task {}", task.name))
    };
    Ok(match spec.kind {
        MemoryKind::None => Box::new(Nothing),
        MemoryKind::Static => Box::new(Fixed(task.static_memory.clone().ok_or_else(|| {
            usage(format!(
                "the static memory needs a text, and task {} has none; name one as `static` under [knowledge] in \
                 task.toml, or choose another memory",
                task.name
            ))
        })?)),
        MemoryKind::Dynamic => Box::new(Dynamic { retriever: retriever()?, top_k: spec.top_k }),
        MemoryKind::Salience => {
            let retriever = retriever()?;
            let gate = match spec.gate {
                Some(gate) => gate,
                None => fit(&retriever, task, spec.top_k)?.unwrap_or(gate::DEFAULT_GATE),
            };
            Box::new(Salience { retriever, top_k: spec.top_k, token_budget: spec.token_budget, gate })
        }
    })
}

fn check(spec: &MemorySpec, task: &Task) -> Result<()> {
    if task.articles.is_empty() {
        return Err(usage(format!(
            "the memory retrieves from a knowledge base, and task {} has none; name a folder under [knowledge] in \
             task.toml, or choose the memory none or static",
            task.name
        )));
    }
    if spec.top_k == 0 {
        return Err(usage("the memory may take 0 passages; ask for at least 1, or choose the memory none"));
    }
    if let Some(gate) = spec.gate.filter(|gate| !(-1.0..=1.0).contains(gate)) {
        return Err(usage(format!("the memory's gate is {gate}, but a cosine lies between -1 and 1")));
    }
    Ok(())
}

/// The gate by the train split's gold article ids. Only this reads targets, before any query is answered.
fn fit(retriever: &Retriever, task: &Task, top_k: usize) -> Result<Option<f64>> {
    let judged: Vec<(&str, &[String])> = task
        .split(Split::Train)
        .filter_map(|sample| Some((sample.query.input.as_str(), sample.target.articles.as_deref()?)))
        .collect();
    let step = judged.len().div_ceil(FIT_LIMIT).max(1);
    let (queries, gold): (Vec<&str>, Vec<&[String]>) = judged.into_iter().step_by(step).unzip();
    let found = retriever.search_all(&queries, top_k).context("fitting the memory's gate on the train split")?;
    let candidates: Vec<(f64, bool)> = found
        .iter()
        .zip(gold)
        .flat_map(|(hits, gold)| hits.iter().map(|hit| (hit.cosine, gold.contains(&hit.chunk.id))))
        .collect();
    Ok(gate::fit(&candidates))
}
