//! What the judgements of components on a task share.

use super::super::Common;
use crate::clock::Clock;
use crate::engine::{Engine, LocalEngine, RemoteEngine, RemoteOptions, Secret};
use crate::error::{Context, Result, usage};
use crate::memory::{self, Embed, Memory, MemoryKind, MemoryParts, MemorySpec, RetrieverKind};
use crate::models::{ENCODER, Kind, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice, LanguageModel, LoadOptions, SentenceEncoder};
use crate::task::{self, Sample, Split, Task};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Which samples of which task.
#[derive(Debug, Clone, Args)]
pub(super) struct TaskArgs {
    /// The task: a bundled one by name, or a folder with a task.toml
    #[arg(long, default_value = "helpdesk", env = "ROUTERGYM_TASK")]
    pub(super) task: String,
    /// The split that is scored: test or dev
    #[arg(long, value_enum, default_value = "test", env = "ROUTERGYM_SPLIT")]
    pub(super) split: Split,
    /// How many samples are scored at most; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N", env = "ROUTERGYM_LIMIT")]
    pub(super) limit: usize,
    /// Seed of every choice by chance
    #[arg(long, default_value_t = 0, env = "ROUTERGYM_SEED")]
    pub(super) seed: u64,
}

impl TaskArgs {
    /// The task, loaded and checked.
    pub(super) fn load(&self) -> Result<Task> {
        if self.split == Split::Train {
            return Err(usage("--split train would score samples that were learnt from; use dev or test"));
        }
        task::load(&task::find(&self.task)?)
    }

    /// The samples to be scored: those with a gold label.
    pub(super) fn scored<'a>(&self, task: &'a Task) -> Result<Vec<&'a Sample>> {
        let scored = labelled_of(task, self.split, self.limit, self.seed);
        if scored.is_empty() {
            return Err(usage(format!("task {} has no labelled sample in its {} split", task.name, self.split.name())));
        }
        Ok(scored)
    }
}

/// Which model, and what stands beside the query in its prompt.
#[derive(Debug, Clone, Args)]
pub(super) struct ModelArgs {
    /// The model: a manifest's name, or a path
    #[arg(long, value_name = "NAME|PATH", env = "ROUTERGYM_MODEL")]
    pub(super) model: Option<String>,
    /// Instead of a model here: an endpoint's URL, with --llm-model
    #[arg(long, value_name = "URL", requires = "llm_model", conflicts_with = "model", env = "ROUTERGYM_LLM")]
    pub(super) llm: Option<String>,
    /// The model to ask the endpoint for
    #[arg(long, env = "ROUTERGYM_LLM_MODEL")]
    pub(super) llm_model: Option<String>,
    /// Name of the environment variable that holds the endpoint's key
    #[arg(long, default_value = "OPENAI_API_KEY", env = "ROUTERGYM_LLM_KEY_ENV")]
    pub(super) llm_key_env: String,
    /// The memory [default: as in `bench`, salience; none where the task has no knowledge base]
    #[arg(long, value_enum, env = "ROUTERGYM_MEMORY")]
    pub(super) memory: Option<MemoryKind>,
}

impl ModelArgs {
    /// Whether a model is named.
    pub(super) fn given(&self) -> bool {
        self.model.is_some() || self.llm.is_some()
    }

    /// The engine of the named model.
    pub(super) fn engine(
        &self,
        device: &Device,
        network: Network,
        common: &Common,
        clock: &Clock,
    ) -> Result<Arc<dyn Engine>> {
        if let (Some(url), Some(model)) = (&self.llm, &self.llm_model) {
            let mut options = RemoteOptions::new(url.clone(), model.clone());
            options.api_key = Secret::from_env(&self.llm_key_env)?;
            options.api_key_env.clone_from(&self.llm_key_env);
            return Ok(Arc::new(RemoteEngine::new(options, network, clock.clone(), Arc::new(AtomicBool::new(false)))?));
        }
        let name = self.model.as_deref().ok_or_else(|| {
            usage("name the model to judge: --model NAME|PATH for one on this machine, or --llm URL --llm-model NAME")
        })?;
        let local = Store::open(network)?.obtain(name, Kind::Gguf, common.quiet)?;
        let model = LanguageModel::load(&local.path, device, &LoadOptions::default())
            .with_context(|| format!("cannot load {} from {}", local.name, local.path.display()))?;
        if !model.info().has_chat_template {
            return Err(usage(format!(
                "{} carries no chat template, so the task's prompt cannot be put to it: use an instruction-tuned model",
                local.name
            )));
        }
        Ok(Arc::new(LocalEngine::new(model, local.name, Some(local.sha256), device.name(), clock.clone())))
    }

    /// The memory of the prompts.
    pub(super) fn memory(
        &self,
        task: &Task,
        engine: &Arc<dyn Engine>,
        device: &Device,
        network: Network,
        common: &Common,
        clock: &Clock,
    ) -> Result<Arc<dyn Memory>> {
        let usual = if task.articles.is_empty() { MemoryKind::None } else { MemoryKind::Salience };
        let kind = self.memory.unwrap_or(usual);
        let embed: Option<Arc<dyn Embed>> = match kind {
            MemoryKind::None | MemoryKind::Static => None,
            MemoryKind::Dynamic | MemoryKind::Salience | MemoryKind::Episodic => {
                Some(Arc::new(encoder(device, network, common)?))
            }
        };
        let counter = Arc::clone(engine);
        let parts = MemoryParts {
            embed,
            // A task's knowledge is embedded anew: no index is kept.
            encoder_sha256: String::new(),
            count_tokens: Arc::new(move |messages| {
                counter.prompt_tokens(messages).unwrap_or_else(|| memory::about_tokens(messages))
            }),
            indexes: None,
            clock: clock.clone(),
        };
        let spec = MemorySpec { kind, retriever: RetrieverKind::Hybrid, top_k: 2, token_budget: 220, gate: None };
        Ok(Arc::from(memory::build(&spec, task, &parts, &mut |_| ())?))
    }
}

/// The sentence encoder, loaded.
pub(super) fn encoder(device: &Device, network: Network, common: &Common) -> Result<SentenceEncoder> {
    let model = Store::open(network)?.obtain(ENCODER, Kind::Encoder, common.quiet)?;
    SentenceEncoder::load(&model.path, device)
}

/// Where models run.
#[derive(Debug, Clone, Args)]
pub(super) struct MachineArgs {
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", env = "ROUTERGYM_DEVICE")]
    device: DeviceChoice,
    /// Threads [default: the machine's cores, as far as they are lent to this program]
    #[arg(long, value_name = "N", env = "ROUTERGYM_THREADS")]
    threads: Option<usize>,
}

impl MachineArgs {
    /// The device, with the threads bound.
    pub(super) fn open(&self) -> Result<Device> {
        super::super::threads::check(self.threads)?;
        super::super::threads::bound(self.threads)?;
        Device::open(self.device)
    }
}

/// Samples of a split with a gold label; of all of them `limit`, labels in turn, where it is not 0.
pub(super) fn labelled_of(task: &Task, split: Split, limit: usize, seed: u64) -> Vec<&Sample> {
    let samples = task.choose(split, (limit > 0).then_some(limit), seed);
    samples.into_iter().filter(|sample| sample.target.label.is_some()).collect()
}

/// The labelled texts of the train split, `most` of each label where it is not 0.
pub(super) fn labelled(task: &Task, most: usize) -> Vec<(String, String)> {
    let mut of_label: BTreeMap<&str, usize> = BTreeMap::new();
    let mut pairs = Vec::new();
    for sample in task.split(Split::Train) {
        let Some(label) = &sample.target.label else { continue };
        let count = of_label.entry(label).or_default();
        *count += 1;
        if most == 0 || *count <= most {
            pairs.push((sample.query.input.clone(), label.clone()));
        }
    }
    pairs
}

/// Mean over the labels that were given or should have been of the harmonic mean of precision and recall; `pairs` are
/// (given, gold).
pub(super) fn macro_f1(pairs: &[(&str, &str)]) -> f64 {
    let labels: BTreeSet<&str> = pairs.iter().flat_map(|&(given, gold)| [given, gold]).collect();
    let f1 = |label: &&str| {
        let count = |of: &dyn Fn(&(&str, &str)) -> bool| pairs.iter().filter(|pair| of(pair)).count() as f64;
        let both = count(&|(given, gold)| given == label && gold == label);
        2.0 * both / (count(&|(given, _)| given == label) + count(&|(_, gold)| gold == label))
    };
    labels.iter().map(f1).sum::<f64>() / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macro_f1_weighs_labels_alike() {
        // Precision and recall of a: 2/3 and 1; of b: 1 and 1/2.
        let pairs = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b")];
        assert!((macro_f1(&pairs) - f64::midpoint(0.8, 2.0 / 3.0)).abs() < 1e-12);
    }
}
