//! What the arguments of `bench` mean: checked against one another and against the task, nothing loaded yet.

use super::bench::{BenchArgs, Collect};
use super::config;
use super::estimate::{estimate, most_calls};
use crate::clock::Clock;
use crate::engine::{Cassette, Engine, LlmSpec, Script, script_of, shown_address};
use crate::error::{Result, usage};
use crate::grid::{self, Axes, SamplesSpec};
use crate::memory::MemoryKind;
use crate::metrics::{self, Prices};
use crate::models::{ENCODER, Identity, Kind, Store};
use crate::net::Network;
use crate::record::{Cell, HardwarePrice, Price};
use crate::router::{MOST_REPAIRS, RouterKind, RouterSpec, read_routers};
use crate::task::{self, Sample, Split, Task};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DEFAULT_PAIR: (&str, &str) = ("qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct");
const SMALL_PAIR: (&str, &str) = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct");
const LONGEST_TIMEOUT_S: f64 = 86_400.0;
const ANTHROPIC: &str = "https://api.anthropic.com";
const OPENAI: &str = "https://api.openai.com/v1";

/// Where the LLM is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Llm {
    /// The user's endpoint, and its address as it is shown.
    Endpoint { spec: Box<LlmSpec>, shown: String },
    /// This program's own server on this machine, with this model.
    StandIn { model: String },
    /// Recorded answers; `stand_in` says whether those of this program's own server.
    Cassette { path: PathBuf, model: String, stand_in: bool },
    /// Answers by the rules of a file.
    Scripted { path: PathBuf, model: String },
}

impl Llm {
    /// The model's name.
    pub(super) fn model(&self) -> &str {
        match self {
            Self::Endpoint { spec, .. } => &spec.model,
            Self::StandIn { model } | Self::Cassette { model, .. } | Self::Scripted { model, .. } => model,
        }
    }
}

/// Where the SLM is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Slm {
    /// In this process, a model by its name or path.
    Model(String),
    /// Answers by the rules of a file.
    Scripted { path: PathBuf, model: String },
}

impl Slm {
    /// The model's name.
    pub(super) fn model(&self) -> &str {
        match self {
            Self::Model(model) | Self::Scripted { model, .. } => model,
        }
    }

    fn of(named: String, folder: &Path) -> Result<Self> {
        match script_of(&named) {
            None => Ok(Self::Model(named)),
            Some(path) => {
                let path = folder.join(path);
                let model = script_name(&path)?;
                Ok(Self::Scripted { path, model })
            }
        }
    }
}

/// The name of a scripted model, whose file must be one.
pub(super) fn script_name(path: &Path) -> Result<String> {
    Ok(Script::open(path, true, Clock::fake(), Arc::default())?.info().model)
}

/// What a grid asks for beyond what flags can say, for one pair of models.
#[derive(Clone)]
pub(super) struct Beyond {
    pub(super) task: Arc<Task>,
    pub(super) routers: Vec<RouterSpec>,
    pub(super) seeds: Vec<u64>,
    pub(super) repeats: u32,
    pub(super) samples: SamplesSpec,
    /// Endpoints beside those of the configuration.
    pub(super) llms: Vec<LlmSpec>,
    /// Where files are that are named without their whole path.
    pub(super) folder: PathBuf,
    /// Whether cells are named with their models.
    pub(super) named: [bool; 2],
}

/// What the user meant. Nothing is loaded yet but the task.
pub(super) struct Resolved {
    pub(super) args: BenchArgs,
    pub(super) network: Network,
    pub(super) task: Arc<Task>,
    pub(super) choice: SamplesSpec,
    pub(super) slm: Slm,
    pub(super) llm: Llm,
    pub(super) price: Option<Price>,
    pub(super) hardware: HardwarePrice,
    pub(super) routers: Vec<RouterSpec>,
    pub(super) cells: Vec<Cell>,
    /// What the reader must know of the strategies.
    pub(super) notes: Vec<String>,
}

/// Checks the arguments against one another and against the task.
pub(super) fn resolve(args: &BenchArgs, network: Network) -> Result<Resolved> {
    check_ranges(args)?;
    let beyond = Beyond {
        routers: choose_routers(args)?,
        task: Arc::new(task::load(&task::find(&args.task)?)?),
        seeds: vec![args.seed],
        repeats: 1,
        samples: SamplesSpec {
            split: args.split,
            limit: (args.limit > 0).then_some(args.limit),
            stratified: true,
            seed: args.seed,
        },
        llms: Vec::new(),
        folder: PathBuf::new(),
        named: [false; 2],
    };
    resolve_pair(args, network, &beyond)
}

/// The same for one pair of models of a grid.
pub(super) fn resolve_pair(args: &BenchArgs, network: Network, beyond: &Beyond) -> Result<Resolved> {
    check_ranges(args)?;
    let Beyond { task, routers, samples: choice, .. } = beyond.clone();
    super::cells::router_settings(args, &task)?;
    let pair = if args.small { SMALL_PAIR } else { DEFAULT_PAIR };
    let slm = Slm::of(args.slm.clone().unwrap_or_else(|| pair.0.to_owned()), &beyond.folder)?;
    let llm = choose_llm(args, pair.1, beyond)?;
    let prices = args.prices.as_deref().map_or_else(Prices::built_in, Prices::with_file)?;
    let price = choose_price(args, &llm, &prices)?;
    if args.max_cost_usd.is_some() && price.is_none() {
        return Err(usage(format!(
            "--max-cost-usd cannot be held to: {} is not priced; choose a row with --price, or give rows with --prices",
            llm.model()
        )));
    }
    let hardware = prices.hardware(args.hardware.as_deref(), args.hardware_usd_per_hour)?;
    // A task without a knowledge base has nothing to retrieve from, whatever the usual default is.
    let usual = if task.articles.is_empty() { MemoryKind::None } else { MemoryKind::Salience };
    let memories = if args.memory.is_empty() { vec![usual] } else { args.memory.clone() };
    let cells = grid::cells(&Axes {
        routers: &routers,
        memories: &memories,
        contracts: &args.contract,
        seeds: &beyond.seeds,
        repeats: beyond.repeats,
        slm: (slm.model(), beyond.named[0]),
        llm: (llm.model(), beyond.named[1]),
    });
    let (args, notes) = (args.clone(), Vec::new());
    let mut resolved = Resolved { args, network, task, choice, slm, llm, price, hardware, routers, cells, notes };
    resolved.check_fitted()?;
    Ok(resolved)
}

/// The strategies: by name, from files, or the two that `--collect both` means.
fn choose_routers(args: &BenchArgs) -> Result<Vec<RouterSpec>> {
    if args.collect == Some(Collect::Both) {
        return Ok([RouterKind::SlmOnly, RouterKind::LlmOnly].map(RouterSpec::plain).to_vec());
    }
    let mut routers: Vec<RouterSpec> = Vec::new();
    for named in &args.router {
        if let Some(kind) = RouterKind::of_name(named) {
            let router = RouterSpec::plain(kind);
            router.check()?;
            // Asked for twice by name is one router; two that share a name and differ are a mistake.
            match routers.iter().find(|other| other.name() == router.name()) {
                None => routers.push(router),
                Some(other) if *other == router => {}
                Some(_) => {
                    return Err(usage(format!("two routers are called {named:?}: give the one of the file a `name`")));
                }
            }
            continue;
        }
        let path = Path::new(named);
        if path.extension().is_none_or(|extension| extension != "toml") {
            let known: Vec<_> = RouterKind::ALL.iter().map(|kind| kind.name()).collect();
            return Err(usage(format!(
                "--router {named:?} is neither a strategy ({}) nor a .toml file with [[router]] tables",
                known.join(", ")
            )));
        }
        for router in read_routers(path)? {
            if routers.iter().any(|other| other.name() == router.name()) {
                return Err(usage(format!(
                    "two routers are called {:?}: give each [[router]] of {named} a `name` of its own",
                    router.name()
                )));
            }
            routers.push(router);
        }
    }
    Ok(routers)
}

/// What `--temperature` may be, of every verb.
pub(super) fn check_temperature(temperature: f64) -> Result<()> {
    if !(0.0..=2.0).contains(&temperature) {
        return Err(usage(format!("--temperature is between 0 (greedy) and 2, not {temperature}")));
    }
    Ok(())
}

pub(super) fn check_ranges(args: &BenchArgs) -> Result<()> {
    for (flag, value) in [("--threshold", args.threshold), ("--margin", args.margin)] {
        if !(0.0..=1.0).contains(&value) {
            return Err(usage(format!("{flag} is a share between 0 and 1, not {value}")));
        }
    }
    check_temperature(args.temperature)?;
    super::memory::check_watts(args.watts)?;
    if args.max_cost_usd.is_some_and(|usd| !usd.is_finite() || usd < 0.0) {
        return Err(usage("--max-cost-usd is a number of dollars, 0 or more"));
    }
    if !(args.timeout > 0.0 && args.timeout <= LONGEST_TIMEOUT_S) {
        return Err(usage(format!("--timeout is a number of seconds above 0 and up to {LONGEST_TIMEOUT_S}, a day")));
    }
    if let Some(gate) = args.gate.filter(|gate| !(-1.0..=1.0).contains(gate)) {
        return Err(usage(format!("--gate is a relevance between -1 and 1, not {gate}")));
    }
    if args.split == Split::Train {
        return Err(usage(
            "--split train would score samples whose right answers stand in the prompt's examples and trained the gate and \
             the classifier; use dev or test",
        ));
    }
    if args.max_repairs > MOST_REPAIRS {
        return Err(usage(format!("--max-repairs is at most {MOST_REPAIRS}, not {}", args.max_repairs)));
    }
    super::threads::check(args.threads)?;
    for (flag, value) in [("--max-tokens", args.max_tokens), ("--top-k", args.top_k)] {
        if value == 0 {
            return Err(usage(format!("{flag} must be at least 1")));
        }
    }
    Ok(())
}

fn choose_llm(args: &BenchArgs, stand_in: &str, beyond: &Beyond) -> Result<Llm> {
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(path) = &args.cassette {
        let (engine, stand_in) = Cassette::open(path)?.engine(args.llm_model.as_deref())?;
        return Ok(Llm::Cassette { path: path.clone(), model: engine.model, stand_in });
    }
    let url = match &args.llm {
        Some(named) if is_url(named) => named.clone(),
        Some(named) => {
            if let Some(path) = script_of(named) {
                let path = beyond.folder.join(path);
                let model = script_name(&path)?;
                return Ok(Llm::Scripted { path, model });
            }
            let listed = beyond.llms.iter().cloned().chain(config::llms()?).find(|spec| spec.name == *named);
            return match listed {
                Some(spec) => endpoint(args, spec),
                None => Ok(Llm::StandIn { model: named.clone() }),
            };
        }
        None if args.small => return Ok(Llm::StandIn { model: stand_in.to_owned() }),
        None => match (environment("OPENAI_BASE_URL"), environment("OPENAI_API_KEY")) {
            (Some(url), _) => url,
            (None, Some(_)) => OPENAI.to_owned(),
            // Many have this key set for other programs; who names a model of it means it.
            (None, None) if args.llm_model.is_some() && environment("ANTHROPIC_API_KEY").is_some() => {
                environment("ANTHROPIC_BASE_URL").unwrap_or_else(|| ANTHROPIC.to_owned())
            }
            (None, None) => return Ok(Llm::StandIn { model: stand_in.to_owned() }),
        },
    };
    // Checked before anything else is said of it: an address may hold a password.
    let shown = shown_address(&url)?;
    let model = args.llm_model.clone().ok_or_else(|| {
        usage(format!(
            "the endpoint {shown} must be told which model to use: add --llm-model NAME, or choose a stand-in on \
                       this machine with --llm {stand_in}"
        ))
    })?;
    endpoint(args, LlmSpec::at(url, model))
}

/// An endpoint, with what the flags say of it above what its table says.
fn endpoint(args: &BenchArgs, mut spec: LlmSpec) -> Result<Llm> {
    let shown = shown_address(&spec.url)?;
    spec.model = args.llm_model.clone().unwrap_or(spec.model);
    spec.api = args.llm_api.or(spec.api);
    spec.ca_file = args.ca_file.clone().or(spec.ca_file);
    if let Some(variable) = &args.llm_key_env {
        (spec.api_key_env, spec.api_key_file) = (Some(variable.clone()), None);
    }
    Ok(Llm::Endpoint { spec: Box::new(spec), shown })
}

pub(super) fn is_url(text: &str) -> bool {
    // Of whatever kind: the endpoint's own check says which are usable.
    text.contains("://")
}

/// The price of the LLM's tokens. An endpoint's model without a row is "not priced".
fn choose_price(args: &BenchArgs, llm: &Llm, prices: &Prices) -> Result<Option<Price>> {
    let of_table = match llm {
        Llm::Endpoint { spec, .. } => spec.price.as_ref(),
        Llm::StandIn { .. } | Llm::Cassette { .. } | Llm::Scripted { .. } => None,
    };
    match (args.price.as_ref().or(of_table), llm) {
        (Some(row), _) => prices.lookup(row).map(Some),
        (None, Llm::StandIn { .. } | Llm::Cassette { stand_in: true, .. } | Llm::Scripted { .. }) => {
            prices.lookup(metrics::STAND_IN).map(Some)
        }
        (None, Llm::Endpoint { .. } | Llm::Cassette { .. }) => Ok(prices.find(llm.model())),
    }
}

/// The models that a strategy asks under several names: the later ones cost more and know no more.
fn asked_twice(router: &RouterSpec, store: &Store, slm: &Identity, llm: &Identity) -> Result<Vec<String>> {
    let mut asked: Vec<(Identity, Vec<&str>)> = Vec::new();
    for name in router.model_names() {
        let model = match name {
            "slm" => slm.clone(),
            "llm" => llm.clone(),
            other => store.identify(other)?,
        };
        match asked.iter_mut().find(|(known, _)| known.is(&model)) {
            Some((_, names)) => names.push(name),
            None => asked.push((model, vec![name])),
        }
    }
    let twice = asked.into_iter().filter(|(_, names)| names.len() > 1);
    let told = |(model, names): (Identity, Vec<&str>)| {
        format!(
            "the router {:?} asks one model under several names: {} are all {model}",
            router.name(),
            names.join(", ")
        )
    };
    Ok(twice.map(told).collect())
}

impl Resolved {
    /// The samples to be answered.
    pub(super) fn samples(&self) -> Vec<&Sample> {
        let SamplesSpec { split, limit, stratified, seed } = self.choice;
        if stratified { self.task.choose(split, limit, seed) } else { self.task.draw(split, limit, seed) }
    }

    /// What would be done.
    pub(super) fn plan(&self) -> Value {
        let estimate = estimate(self);
        json!({
            "task": self.task.name, "split": self.choice.split, "samples": self.samples().len(), "slm": self.slm.model(),
            "llm": self.llm.model(), "llm_is_stand_in": self.is_stand_in(), "price": self.price,
            "cells": self.cells, "trials": self.samples().len() * self.cells.len(),
            "llm_calls": {"low": estimate.calls.0, "high": estimate.calls.1},
            "cost_usd": estimate.usd.map(|(low, high)| json!({"low": low, "high": high})),
            "cost_usd_reason": estimate.usd.is_none().then_some("not priced"),
            "max_cost_usd": self.args.max_cost_usd, "notes": self.notes,
        })
    }

    /// Refuses models that are neither known by name nor there as files, without fetching any.
    pub(super) fn check_models(&self) -> Result<()> {
        let store = Store::open(self.network)?;
        if let Slm::Model(slm) = &self.slm {
            store.check_name(slm, Kind::Gguf)?;
        }
        for model in self.named_models() {
            store.check_name(&model, Kind::Gguf)?;
        }
        match &self.llm {
            Llm::StandIn { model } => store.check_name(model, Kind::Gguf),
            Llm::Endpoint { .. } | Llm::Cassette { .. } | Llm::Scripted { .. } => Ok(()),
        }
    }

    /// The models beyond the two that a strategy asks: those of specialists and of cascades.
    pub(super) fn named_models(&self) -> BTreeSet<String> {
        let hybrid = self.routers.iter().any(|router| router.kind == RouterKind::HybridSpecialist);
        let of_task = self.task.specialists.iter().filter(|_| hybrid).filter_map(|one| one.model.clone());
        let of_routers = self.routers.iter().flat_map(RouterSpec::named_models).map(str::to_owned);
        of_task.chain(of_routers).collect()
    }

    /// Refuses to score a sample under a router that was fitted on it, and routers that were fitted to other models than these,
    /// by what is known before any is fetched or loaded; notes where a strategy asks one model under several names.
    fn check_fitted(&mut self) -> Result<()> {
        let samples = self.samples();
        for router in &self.routers {
            let Some(fitted) = &router.fitted else { continue };
            let known = fitted.known(samples.iter().map(|sample| sample.query.input.as_str()));
            if known > 0 {
                return Err(usage(format!(
                    "the router {:?} was fitted on {known} of the {} samples that would be scored, which would flatter it: \
                     score another split, or fit it on other samples",
                    router.name(),
                    samples.len()
                )));
            }
        }
        if self.routers.iter().all(|router| router.fitted.is_none() && router.models.is_none()) {
            return Ok(());
        }
        let store = Store::open(self.network)?;
        let nameless = |name: &str| Identity { name: name.to_owned(), sha256: None };
        let slm = match &self.slm {
            Slm::Model(slm) => store.identify(slm)?,
            Slm::Scripted { model, .. } => nameless(model),
        };
        let llm = match &self.llm {
            Llm::Endpoint { .. } | Llm::Cassette { .. } | Llm::Scripted { .. } => nameless(self.llm.model()),
            Llm::StandIn { model } => Identity { name: model.clone(), ..store.identify(model)? },
        };
        let encoder = store.identify(ENCODER)?.sha256;
        let mut notes = Vec::new();
        for router in &self.routers {
            if let Some(fitted) = &router.fitted {
                fitted.check_run(router.name(), &slm, &llm, encoder.as_deref())?;
            }
            notes.extend(asked_twice(router, &store, &slm, &llm)?);
        }
        self.notes = notes;
        Ok(())
    }

    /// Whether the LLM is, or was when it was recorded, this program's own stand-in.
    pub(super) fn is_stand_in(&self) -> bool {
        matches!(self.llm, Llm::StandIn { .. } | Llm::Cassette { stand_in: true, .. })
    }

    /// What would be done, in words.
    pub(super) fn plan_text(&self) -> String {
        let samples = self.samples().len();
        let cells = self.cells.len();
        let llm = match &self.llm {
            Llm::Endpoint { shown, spec } => format!("{} at {shown}", spec.model),
            Llm::StandIn { model } => format!("{model}, a stand-in on this machine"),
            Llm::Cassette { path, model, .. } => format!("{model}, from the cassette {}", path.display()),
            Llm::Scripted { path, model } => format!("{model}, by the rules of {}", path.display()),
        };
        let most = self.routers.iter().map(|router| most_calls(self, router)).max().unwrap_or_default();
        let names: Vec<_> = self.cells.iter().map(|cell| format!("  {}", cell.name)).collect();
        let mut text = format!(
            "task     {} ({samples} samples of the {} split)\nSLM      {}\nLLM      {llm}\nprice    {}\ncells    {cells}\n{}\n\
             trials   {}, each with 1 to {most} model calls\n{}",
            self.task.name,
            self.choice.split.name(),
            self.slm.model(),
            self.price
                .as_ref()
                .map_or("not priced".to_owned(), |price| format!("{} as of {}", price.name, price.as_of)),
            names.join("\n"),
            samples * cells,
            estimate(self),
        );
        for note in &self.notes {
            text.push_str("\nnote     ");
            text.push_str(note);
        }
        text
    }
}
