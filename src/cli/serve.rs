//! `serve`: an OpenAI-compatible server over a local model, or over a routed policy.

mod policy;

use super::memory::{self, LEAST_CONTEXT, Room, Wanted};
use super::{output, threads};
use crate::clock::Clock;
use crate::engine::{BatchedEngine, LocalEngine, Secret};
use crate::error::{Context, ExitStatus, Result, anyhow, usage};
use crate::models::{Kind, LocalModel, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice, LanguageModel, SentenceEncoder};
use crate::router::Estimator;
use crate::serve::{Backend, Embeddings, GRACE, ServeOptions, serve};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Requests that are answered together, at most.
const MOST_PARALLEL: usize = 256;

/// Arguments of `serve`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ServeArgs {
    /// The model: the name of a manifest (see `models list`) or the path of a GGUF file or of a folder with safetensors.
    #[arg(long, env = "ROUTERGYM_MODEL", value_name = "NAME|PATH")]
    pub model: String,
    /// The address to listen on. Anything but this machine's loopback needs --api-key-env.
    #[arg(long, env = "ROUTERGYM_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// The port; 0 takes a free one.
    #[arg(long, env = "ROUTERGYM_PORT", default_value_t = 0)]
    pub port: u16,
    /// Where to run the model: auto, cpu, cuda, cuda:N or metal.
    #[arg(long, env = "ROUTERGYM_DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// The environment variable that holds the key which clients must send.
    #[arg(long, env = "ROUTERGYM_API_KEY_ENV", value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// How many threads the model may use; the machine's cores by default, as far as they are lent to this program.
    #[arg(long, env = "ROUTERGYM_THREADS", value_name = "N")]
    pub threads: Option<usize>,
    /// Memory that this program may have, such as 2GB or 512MiB: a smaller machine is emulated, and what cannot fit is refused before it
    /// is loaded, with what would
    #[arg(long, value_name = "SIZE", value_parser = super::memory::size, env = "ROUTERGYM_MEMORY_LIMIT")]
    pub memory_limit: Option<u64>,
    /// How many requests are answered together, in one pass a token.
    #[arg(long, env = "ROUTERGYM_PARALLEL", value_name = "N", default_value_t = 16)]
    pub parallel: usize,
    /// How many more requests may wait; those beyond get 429.
    #[arg(long, env = "ROUTERGYM_QUEUE", value_name = "N", default_value_t = 64)]
    pub queue: usize,
    /// Tokens of a prompt and its answer, where fewer than the model's context are enough.
    #[arg(long, env = "ROUTERGYM_CONTEXT", value_name = "TOKENS")]
    pub context: Option<usize>,
    /// A name by which clients may ask for the model beside its own; `*` is any name.
    #[arg(long, env = "ROUTERGYM_ALIAS", value_name = "NAME", value_delimiter = ',')]
    pub alias: Vec<String>,
    /// The sentence encoder for /v1/embeddings, such as all-minilm-l6-v2 [default: there are no embeddings]
    #[arg(long, env = "ROUTERGYM_EMBEDDINGS", value_name = "NAME|PATH")]
    pub embeddings: Option<String>,
    /// Whether computed prompt prefixes are reused: on or off.
    #[arg(long, default_value = "on", value_parser = ["on", "off"], env = "ROUTERGYM_PREFIX_CACHE")]
    pub prefix_cache: String,
    /// Whether tokens are guessed from the prompt and checked several at once (faster, with the same result): on or off.
    #[arg(long, default_value = "on", value_parser = ["on", "off"], env = "ROUTERGYM_PROMPT_LOOKUP")]
    pub prompt_lookup: String,
    /// Answer through a policy, with the model as its SLM: a strategy by name or a TOML file of one [[router]] table
    #[arg(long, env = "ROUTERGYM_ROUTER", value_name = "NAME|FILE.toml")]
    pub router: Option<String>,
    /// The policy's large model: an endpoint's URL, or a model for a stand-in on this machine
    #[arg(long, env = "ROUTERGYM_LLM", value_name = "URL|NAME")]
    pub llm: Option<String>,
    /// The model to ask the endpoint for
    #[arg(long, env = "ROUTERGYM_LLM_MODEL")]
    pub llm_model: Option<String>,
    /// Name of the environment variable that holds the endpoint's key
    #[arg(long, default_value = "OPENAI_API_KEY", env = "ROUTERGYM_LLM_KEY_ENV")]
    pub llm_key_env: String,
    /// How the policy reads the confidence of an SLM's answer
    #[arg(long, value_enum, default_value_t = Estimator::default(), env = "ROUTERGYM_CONFIDENCE")]
    pub confidence: Estimator,
    /// Confidence below which the policy escalates, 0 to 1
    #[arg(long, default_value_t = 0.5, env = "ROUTERGYM_THRESHOLD")]
    pub threshold: f64,
    /// Structured retries of an answer that breaks its schema
    #[arg(long, default_value_t = 2, env = "ROUTERGYM_MAX_REPAIRS")]
    pub max_repairs: usize,
    /// What the policy does about a safety finding, as in `bench`
    #[arg(long, value_name = "NAME=ACTION", value_delimiter = ',', env = "ROUTERGYM_SAFETY")]
    pub safety: Vec<String>,
    /// The property of the answers that holds the label, whose probability is then the confidence [default: all tokens count]
    #[arg(long, value_name = "NAME", env = "ROUTERGYM_LABEL_FIELD")]
    pub label_field: Option<String>,
    /// Tokens of a routed answer where the request gives no limit
    #[arg(long, default_value_t = 1024, env = "ROUTERGYM_MAX_TOKENS")]
    pub max_tokens: usize,
    /// Row of the price table for the LLM's tokens [default: the endpoint's model; for a stand-in gpt-4.1]
    #[arg(long, value_name = "ROW", env = "ROUTERGYM_PRICE")]
    pub price: Option<String>,
    /// What this machine costs: a device by name (see models/devices.toml: laptop, raspberry-pi-5, …) or a TOML file with one such
    /// [[hardware]] table [default: a named row of the price table]
    #[arg(long, value_name = "NAME|FILE.toml", env = "ROUTERGYM_HARDWARE", conflicts_with = "hardware_usd_per_hour")]
    pub hardware: Option<String>,
    /// What an hour of this machine costs, in dollars
    #[arg(long, value_name = "USD", env = "ROUTERGYM_HARDWARE_USD_PER_HOUR")]
    pub hardware_usd_per_hour: Option<f64>,
    /// Stop when standard input is closed; a parent process holds its other end.
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

/// Serves until SIGTERM or Ctrl-C, which is how a server is meant to end: the status is 0.
pub(super) fn run(args: &ServeArgs, network: Network, quiet: bool) -> Result<ExitStatus> {
    threads::check(args.threads)?;
    check(args)?;
    let plan = args.router.as_deref().map(|router| policy::plan(args, router)).transpose()?;
    threads::bound(args.threads)?;
    let options = ServeOptions {
        host: args.host.clone(),
        port: args.port,
        api_key: key(args.api_key_env.as_deref())?,
        queue: args.queue,
        aliases: args.alias.clone(),
        embeddings: args.embeddings.as_deref().map(|model| embeddings(args, model, network, quiet)).transpose()?,
        signals: true,
        exit_with_parent: args.exit_with_parent,
        ..ServeOptions::default()
    };
    let args = args.clone();
    let load = move || -> Result<Box<dyn Backend>> {
        let named = plan.iter().flat_map(policy::Plan::named_models);
        let locals = std::iter::once(args.model.clone()).chain(named).collect();
        let (store, device) = (Store::open(network)?, Device::open(args.device)?);
        let loader = Loader { store, device, args: &args, locals, quiet };
        let slm = loader.load(&args.model)?;
        match plan {
            None => Ok(Box::new(slm)),
            Some(plan) => plan.build(slm, &loader, network),
        }
    };
    serve(&options, load, announce, |answers| stopping(answers, quiet))?;
    Ok(ExitStatus::Done)
}

fn check(args: &ServeArgs) -> Result<()> {
    if !(1..=MOST_PARALLEL).contains(&args.parallel) {
        return Err(usage(format!("--parallel is between 1 and {MOST_PARALLEL}, not {}", args.parallel)));
    }
    for (flag, value) in [("--queue", args.queue), ("--max-tokens", args.max_tokens)] {
        if value == 0 {
            return Err(usage(format!("{flag} must be at least 1")));
        }
    }
    if args.context.is_some_and(|context| context < 2) {
        return Err(usage("--context must leave room for a prompt and a token of its answer: 2 or more"));
    }
    Ok(())
}

fn key(variable: Option<&str>) -> Result<Option<Secret>> {
    let Some(variable) = variable else { return Ok(None) };
    let missing =
        || usage(format!("--api-key-env names {variable}, which is not set; set it to the key of this server"));
    Secret::from_env(variable)?.ok_or_else(missing).map(Some)
}

fn embeddings(args: &ServeArgs, model: &str, network: Network, quiet: bool) -> Result<Arc<Embeddings>> {
    let local = Store::open(network)?.obtain(model, Kind::Encoder, quiet)?;
    let encoder = SentenceEncoder::load(&local.path, &Device::open(args.device)?)
        .with_context(|| format!("cannot load {} from {}", local.name, local.path.display()))?;
    Ok(Arc::new(Embeddings::new(local.name, encoder)))
}

/// Loads local models, all in the same way.
struct Loader<'a> {
    store: Store,
    device: Device,
    args: &'a ServeArgs,
    /// Every model that is loaded into this process.
    locals: Vec<String>,
    quiet: bool,
}

impl Loader<'_> {
    fn obtain(&self, model: &str, kind: Kind) -> Result<LocalModel> {
        self.store.obtain(model, kind, self.quiet)
    }

    fn load(&self, model: &str) -> Result<BatchedEngine> {
        let local = self.obtain(model, Kind::Gguf)?;
        let prefix_cache = self.args.prefix_cache == "on";
        let wanted = Wanted { context: self.args.context, cached: LEAST_CONTEXT, prefix_cache, beside: self.beside()? };
        let room = match self.args.memory_limit {
            Some(limit) => self.share(limit, wanted, model)?,
            None => Room { context: self.args.context, ..Room::default() },
        };
        let options = room.options(prefix_cache, self.args.prompt_lookup == "on");
        let loaded = LanguageModel::load(&local.path, &self.device, &options)
            .with_context(|| format!("cannot load {} from {}", local.name, local.path.display()))?;
        if !loaded.info().has_chat_template {
            self.note(&format!(
                "{} carries no chat template: every chat request will be refused; serve an instruction-tuned model",
                local.name
            ));
        }
        let (name, sha256) = (local.name, Some(local.sha256));
        LocalEngine::new(loaded, name, sha256, self.device.name(), Clock::real()).batched(self.args.parallel)
    }

    /// What of a limit one of the local models gets.
    fn share(&self, limit: u64, wanted: Wanted, model: &str) -> Result<Room> {
        let need = |name: &String| memory::need(&self.obtain(name, Kind::Gguf)?);
        let needs = self.locals.iter().map(need).collect::<Result<Vec<_>>>()?;
        let rooms = memory::divide(Some(limit), wanted, &needs, &self.store)?;
        let place = self.locals.iter().position(|name| name == model);
        place.and_then(|place| rooms.get(place).copied()).context("a model is loaded that nobody asked for")
    }

    /// Bytes of the sentence encoder, where there is one.
    fn beside(&self) -> Result<u64> {
        let Some(encoder) = &self.args.embeddings else { return Ok(0) };
        Ok(memory::encoder_bytes(&self.obtain(encoder, Kind::Encoder)?.path))
    }

    fn note(&self, text: &str) {
        if !self.quiet {
            output::note(text);
        }
    }

    /// Nothing interrupts a server's calls but their clients.
    fn never() -> Arc<AtomicBool> {
        Arc::default()
    }
}

/// The one line on standard output, which scripts and the parent of a stand-in wait for.
fn announce(address: SocketAddr) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}http://{address}", crate::serve::READY)
        .and_then(|()| out.flush())
        .map_err(|error| anyhow!("cannot print the server's address: {error}"))
}

/// Says why the server does not end at once.
fn stopping(answers: usize, quiet: bool) {
    if answers == 0 || quiet {
        return;
    }
    let plural = if answers == 1 { "" } else { "s" };
    output::note(&format!(
        "stopping: {answers} answer{plural} will be finished first, within {} s; press Ctrl-C again to end at once",
        GRACE.as_secs()
    ));
}
