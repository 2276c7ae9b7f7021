//! `serve --router`: the policy that answers, checked before anything is loaded.

use super::{Loader, ServeArgs};
use crate::cli::setup::is_url;
use crate::clock::Clock;
use crate::engine::{BatchedEngine, Engine, RemoteEngine, RemoteOptions, Secret, shown_address};
use crate::error::{Result, usage};
use crate::memory::Embed;
use crate::metrics::{self, Prices};
use crate::models::{ENCODER, Kind};
use crate::net::Network;
use crate::nn::SentenceEncoder;
use crate::record::{HardwarePrice, Price};
use crate::router::{self, MOST_REPAIRS, RouterKind, RouterParts, RouterSettings, RouterSpec, read_routers};
use crate::safety::SafetyPolicy;
use crate::serve::{Backend, Policy, Routed, StandIn, StandInOptions};
use crate::trial::Engines;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A policy that was checked.
pub(super) struct Plan {
    spec: RouterSpec,
    settings: RouterSettings,
    llm: Llm,
    price: Option<Price>,
    hardware: HardwarePrice,
}

/// Where the large model is.
enum Llm {
    Endpoint { url: String, model: String },
    StandIn(String),
}

/// What the arguments mean.
pub(super) fn plan(args: &ServeArgs, named: &str) -> Result<Plan> {
    if !(0.0..=1.0).contains(&args.threshold) {
        return Err(usage(format!("--threshold is a share between 0 and 1, not {}", args.threshold)));
    }
    if args.max_repairs > MOST_REPAIRS {
        return Err(usage(format!("--max-repairs is at most {MOST_REPAIRS}, not {}", args.max_repairs)));
    }
    let spec = strategy(named)?;
    let mut safety = SafetyPolicy::default();
    args.safety.iter().try_for_each(|text| safety.set_from_text(text))?;
    let settings = RouterSettings {
        confidence: args.confidence,
        threshold: args.threshold,
        max_repairs: args.max_repairs,
        safety,
        ..RouterSettings::default()
    };
    let llm = llm(args)?;
    let prices = Prices::built_in()?;
    let price = match (&args.price, &llm) {
        (Some(row), _) => prices.lookup(row).map(Some),
        (None, Llm::StandIn(_)) => prices.lookup(metrics::STAND_IN).map(Some),
        (None, Llm::Endpoint { model, .. }) => Ok(prices.find(model)),
    }?;
    let hardware = prices.hardware(args.hardware.as_deref(), args.hardware_usd_per_hour)?;
    Ok(Plan { spec, settings, llm, price, hardware })
}

impl Plan {
    /// The local models that the strategy names beside the server's own.
    pub(super) fn named_models(&self) -> Vec<String> {
        let mut names: Vec<String> = self.spec.named_models().map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// One strategy, by name or from a file that holds no other.
fn strategy(named: &str) -> Result<RouterSpec> {
    let spec = if let Some(kind) = RouterKind::of_name(named) {
        let spec = RouterSpec::plain(kind);
        spec.check()?;
        spec
    } else {
        let path = Path::new(named);
        if path.extension().is_none_or(|extension| extension != "toml") {
            let known: Vec<_> = RouterKind::ALL.iter().map(|kind| kind.name()).collect();
            return Err(usage(format!(
                "--router {named:?} is neither a strategy ({}) nor a .toml file with a [[router]] table",
                known.join(", ")
            )));
        }
        let mut routers = read_routers(path)?;
        if routers.len() > 1 {
            let names: Vec<_> = routers.iter().map(RouterSpec::name).collect();
            return Err(usage(format!(
                "{named} holds {} routers ({}), and a server answers through one: leave the others out of the file",
                routers.len(),
                names.join(", ")
            )));
        }
        routers.remove(0)
    };
    if spec.kind == RouterKind::HybridSpecialist {
        return Err(usage(
            "hybrid-specialist tells domains apart by a task's train split, and a server has no task: serve another strategy",
        ));
    }
    Ok(spec)
}

fn llm(args: &ServeArgs) -> Result<Llm> {
    let Some(named) = &args.llm else {
        return Err(usage(
            "a policy needs its large model: --llm URL --llm-model NAME, or --llm NAME for a stand-in on this machine",
        ));
    };
    if !is_url(named) {
        return Ok(Llm::StandIn(named.clone()));
    }
    // Checked before anything else is said of it: an address may hold a password.
    let shown = shown_address(named)?;
    let model = args
        .llm_model
        .clone()
        .ok_or_else(|| usage(format!("the endpoint {shown} must be told which model to use: add --llm-model NAME")))?;
    Ok(Llm::Endpoint { url: named.clone(), model })
}

impl Plan {
    /// Loads what the policy needs beside its small model.
    pub(super) fn build(self, slm: BatchedEngine, loader: &Loader<'_>, network: Network) -> Result<Box<dyn Backend>> {
        let args = loader.args;
        let mut named: BTreeMap<String, Arc<dyn Engine>> = BTreeMap::new();
        for name in self.spec.named_models() {
            loader.note(&format!("loading {name}"));
            named.insert(name.to_owned(), Arc::new(loader.load(name)?));
        }
        let embed: Option<(Arc<dyn Embed>, String)> = match self.spec.kind {
            RouterKind::Knn | RouterKind::Logistic | RouterKind::Mf | RouterKind::CascadeRouting => {
                let encoder = loader.obtain(ENCODER, Kind::Encoder)?;
                Some((Arc::new(SentenceEncoder::load(&encoder.path, &loader.device)?), encoder.sha256))
            }
            _ => None,
        };
        let parts = RouterParts {
            embed: embed.as_ref().map(|(embed, sha256)| (Arc::clone(embed), sha256.as_str())),
            ..RouterParts::default()
        };
        let router = router::build(&self.spec, &self.settings, parts)?;
        let (llm, stand_in) = self.connect(loader, network)?;
        let slm: Arc<dyn Engine> = Arc::new(slm);
        self.check_fitted(&*slm, &*llm)?;
        let policy = Policy {
            name: self.spec.name().to_owned(),
            router,
            confidence: self.spec.settings(&self.settings).confidence,
            safety: self.settings.safety.clone(),
            label_field: args.label_field.clone(),
            max_tokens: args.max_tokens,
            price: self.price,
            hardware: Some(self.hardware),
        };
        let engines = Engines { slm, llm, named };
        let routed = Routed::new(policy, engines, args.parallel, Clock::real())?;
        Ok(Box::new(match stand_in {
            Some(stand_in) => routed.beside(stand_in),
            None => routed,
        }))
    }

    fn connect(&self, loader: &Loader<'_>, network: Network) -> Result<(Arc<dyn Engine>, Option<StandIn>)> {
        let args = loader.args;
        let (mut options, stand_in) = match &self.llm {
            Llm::Endpoint { url, model } => {
                let mut options = RemoteOptions::new(url.clone(), model.clone());
                options.api_key = Secret::from_env(&args.llm_key_env)?;
                options.api_key_env.clone_from(&args.llm_key_env);
                (options, None)
            }
            Llm::StandIn(model) => {
                loader.note(&format!("{model} on this machine stands in for the LLM, over HTTP"));
                let child = StandIn::start(&StandInOptions {
                    device: Some(args.device.to_string()),
                    threads: args.threads,
                    prefix_cache: args.prefix_cache == "on",
                    prompt_lookup: args.prompt_lookup == "on",
                    offline: network.is_offline(),
                    ..StandInOptions::new(model)
                })?;
                (RemoteOptions::new(child.base_url(), model.clone()), Some(child))
            }
        };
        options.stand_in = stand_in.is_some();
        let engine = RemoteEngine::new(options, network, Clock::real(), Loader::never())?;
        Ok((Arc::new(engine), stand_in))
    }

    /// Refuses a router that was fitted to the answers of other models: their prices and confidences are not those of these.
    fn check_fitted(&self, slm: &dyn Engine, llm: &dyn Engine) -> Result<()> {
        let Some(fitted) = &self.spec.fitted else { return Ok(()) };
        let here = [slm.info().model, llm.info().model];
        if [&fitted.slm, &fitted.llm] == [&here[0], &here[1]] {
            return Ok(());
        }
        Err(usage(format!(
            "the router {:?} was fitted to answers of {} and {}, not of {} and {}: fit it to a run of these",
            self.spec.name(),
            fitted.slm,
            fitted.llm,
            here[0],
            here[1]
        )))
    }
}
