//! `bench`: the main job. Compares the routers on one task and says what was found.

use super::setup::{self, Resolved};
use super::sweep::{self, Sweep};
use super::{Common, output};
use crate::clock;
use crate::contract::ContractMode;
use crate::engine::Api;
use crate::error::{ExitStatus, Result, usage};
use crate::memory::{MemoryKind, RetrieverKind};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice};
use crate::record::RunWriter;
use crate::router::{ClassifierKind, Estimator};
use crate::task::Split;
use clap::Args;
use clap::builder::FalseyValueParser;
use std::path::PathBuf;

/// Whose answers a run is to hold for every sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Collect {
    /// Those of the SLM and of the LLM.
    Both,
}

/// Arguments of `bench`.
#[derive(Debug, Clone, Args)]
pub(super) struct BenchArgs {
    /// The task: a bundled one by name, or a folder with a task.toml
    #[arg(long, default_value = "helpdesk", env = "ROUTERGYM_TASK")]
    pub(super) task: String,
    /// The small model: a manifest's name or a path [default: qwen2.5-coder-0.5b-instruct]
    #[arg(long, env = "ROUTERGYM_SLM")]
    pub(super) slm: Option<String>,
    /// The large model: an endpoint's URL, the name of an [[llm]] of --config, or a model for a stand-in on this machine
    /// [default: OPENAI_BASE_URL or OPENAI_API_KEY where set, else a stand-in with qwen2.5-coder-1.5b-instruct]
    #[arg(long, env = "ROUTERGYM_LLM")]
    pub(super) llm: Option<String>,
    /// The model to ask the endpoint for
    #[arg(long, env = "ROUTERGYM_LLM_MODEL")]
    pub(super) llm_model: Option<String>,
    /// What the endpoint speaks [default: what its address tells]
    #[arg(long, value_enum, env = "ROUTERGYM_LLM_API")]
    pub(super) llm_api: Option<Api>,
    /// Name of the environment variable that holds the endpoint's key [default: OPENAI_API_KEY, or ANTHROPIC_API_KEY]
    #[arg(long, env = "ROUTERGYM_LLM_KEY_ENV")]
    pub(super) llm_key_env: Option<String>,
    /// Certificates in PEM form that the endpoint's may come from, beside those that the system trusts
    #[arg(long, value_name = "FILE", env = "ROUTERGYM_CA_FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// Write every exchange with the LLM to a new file, keys removed
    #[arg(long, value_name = "FILE", env = "ROUTERGYM_RECORD_CASSETTE", conflicts_with = "cassette")]
    pub(super) record_cassette: Option<PathBuf>,
    /// Take the LLM's answers, with their times, from such a file; no endpoint is called
    #[arg(long, value_name = "FILE", env = "ROUTERGYM_CASSETTE")]
    pub(super) cassette: Option<PathBuf>,
    /// The smallest pair that is real: SmolLM2-135M as the SLM, Qwen2.5-Coder-0.5B as the stand-in LLM
    #[arg(long, env = "ROUTERGYM_SMALL", value_parser = FalseyValueParser::new())]
    pub(super) small: bool,
    /// The routers to compare
    ///
    /// Each is a strategy by name (llm-first, slm-dominant, hybrid-specialist; the controls slm-only, llm-only, random) or a
    /// TOML file of [[router]] tables, such as `fit` writes: docs/routers.md
    #[arg(
        long = "router", value_name = "NAME|FILE.toml", value_delimiter = ',', env = "ROUTERGYM_ROUTER",
        default_values = ["llm-first", "slm-dominant", "hybrid-specialist"]
    )]
    pub(super) router: Vec<String>,
    /// Ask both models every sample, in place of --router: what `fit` and `replay` work on
    #[arg(long, value_enum, env = "ROUTERGYM_COLLECT")]
    pub(super) collect: Option<Collect>,
    /// The memory; several are compared [default: salience; none where the task has no knowledge base]
    #[arg(long, value_enum, value_delimiter = ',', env = "ROUTERGYM_MEMORY")]
    pub(super) memory: Vec<MemoryKind>,
    /// How the memory finds passages, or solved samples (dynamic, salience, episodic)
    #[arg(long, value_enum, default_value = "hybrid", env = "ROUTERGYM_RETRIEVER")]
    pub(super) retriever: RetrieverKind,
    /// How answers are held to the task's JSON Schema; several settings are compared
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["validate"], env = "ROUTERGYM_CONTRACT")]
    pub(super) contract: Vec<ContractMode>,
    /// How many samples each router answers; 0 for all
    #[arg(long, default_value_t = 24, env = "ROUTERGYM_LIMIT")]
    pub(super) limit: usize,
    /// The split that is scored
    #[arg(long, value_enum, default_value = "test", env = "ROUTERGYM_SPLIT")]
    pub(super) split: Split,
    /// Seed of every choice by chance
    #[arg(long, default_value_t = 0, env = "ROUTERGYM_SEED")]
    pub(super) seed: u64,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", env = "ROUTERGYM_DEVICE")]
    pub(super) device: DeviceChoice,
    /// Threads of the local engine [default: the machine's cores, as far as they are lent to this program]
    #[arg(long, env = "ROUTERGYM_THREADS")]
    pub(super) threads: Option<usize>,
    /// Memory that this program may have, such as 2GB or 512MiB: a smaller machine is emulated, and what cannot fit is refused before it
    /// is loaded, with what would
    #[arg(long, value_name = "SIZE", value_parser = super::memory::size, env = "ROUTERGYM_MEMORY_LIMIT")]
    pub(super) memory_limit: Option<u64>,
    /// How the confidence of an SLM's answer is read (`eval confidence` compares them)
    #[arg(long, value_enum, default_value_t = Estimator::default(), env = "ROUTERGYM_CONFIDENCE")]
    pub(super) confidence: Estimator,
    /// Confidence below which an SLM's answer is escalated, 0 to 1
    #[arg(long, default_value_t = 0.5, env = "ROUTERGYM_THRESHOLD")]
    pub(super) threshold: f64,
    /// Structured retries of an answer that breaks its contract
    #[arg(long, default_value_t = 2, env = "ROUTERGYM_MAX_REPAIRS")]
    pub(super) max_repairs: usize,
    /// hybrid-specialist: what its classifier of domains looks at (`eval classifier` measures each alone)
    #[arg(long, value_enum, default_value_t = ClassifierKind::default(), env = "ROUTERGYM_CLASSIFIER")]
    pub(super) classifier: ClassifierKind,
    /// llm-first: queries up to so many characters, with no safety finding, go to the SLM first [default: none do]
    #[arg(long, value_name = "CHARS", env = "ROUTERGYM_DOWNSHIFT")]
    pub(super) downshift: Option<usize>,
    /// What follows from a safety finding: NAME=ACTION, where NAME is personal_data, injection, risk or one type such as
    /// EMAIL_ADDRESS, and ACTION is allow, redact, escalate, keep-local, person or refuse; stands above the task's [safety]
    /// [default: personal_data=allow,injection=escalate,risk=escalate]
    #[arg(long, value_name = "NAME=ACTION", value_delimiter = ',', env = "ROUTERGYM_SAFETY")]
    pub(super) safety: Vec<String>,
    /// Passages, or solved samples, at most
    #[arg(long, default_value_t = 2, env = "ROUTERGYM_TOP_K")]
    pub(super) top_k: usize,
    /// Tokens of passages at most (salience, episodic)
    #[arg(long, default_value_t = 220, env = "ROUTERGYM_TOKEN_BUDGET")]
    pub(super) token_budget: usize,
    /// Relevance that a passage must reach (salience) [default: fitted on the train split]
    #[arg(long, env = "ROUTERGYM_GATE")]
    pub(super) gate: Option<f64>,
    /// Generated tokens of one call at most
    #[arg(long, default_value_t = 192, env = "ROUTERGYM_MAX_TOKENS")]
    pub(super) max_tokens: usize,
    /// 0 is greedy
    #[arg(long, default_value_t = 0.0, env = "ROUTERGYM_TEMPERATURE")]
    pub(super) temperature: f64,
    /// Whether computed prompt prefixes are reused
    #[arg(long, default_value = "on", value_parser = ["on", "off"], env = "ROUTERGYM_PREFIX_CACHE")]
    pub(super) prefix_cache: String,
    /// Whether local models guess tokens from the prompt and check several at once: faster, with the same result
    #[arg(long, default_value = "on", value_parser = ["on", "off"], env = "ROUTERGYM_PROMPT_LOOKUP")]
    pub(super) prompt_lookup: String,
    /// Row of the price table for the LLM's tokens [default: the endpoint's model; for the stand-in gpt-4.1]
    #[arg(long, value_name = "ROW", env = "ROUTERGYM_PRICE")]
    pub(super) price: Option<String>,
    /// Rows of prices that stand above the program's table: TOML as models/prices.toml, or LiteLLM's JSON
    #[arg(long, value_name = "FILE", env = "ROUTERGYM_PRICES")]
    pub(super) prices: Option<PathBuf>,
    /// Dollars that calls of the LLM may cost in this run: it stops before they would cost more [default: no limit]
    #[arg(long, value_name = "USD", env = "ROUTERGYM_MAX_COST_USD")]
    pub(super) max_cost_usd: Option<f64>,
    /// What this machine costs: a device by name (see models/devices.toml: laptop, raspberry-pi-5, …) or a TOML file with one such
    /// [[hardware]] table [default: a named row of the price table]
    #[arg(long, value_name = "NAME|FILE.toml", env = "ROUTERGYM_HARDWARE", conflicts_with = "hardware_usd_per_hour")]
    pub(super) hardware: Option<String>,
    /// What an hour of this machine costs, in dollars
    #[arg(long, value_name = "USD", env = "ROUTERGYM_HARDWARE_USD_PER_HOUR")]
    pub(super) hardware_usd_per_hour: Option<f64>,
    /// Power of this machine at work, in watts: for an estimate of its energy where no counter can be read
    #[arg(long, value_name = "WATTS", env = "ROUTERGYM_WATTS")]
    pub(super) watts: Option<f64>,
    /// Loss of accuracy that still counts as "not worse", 0 to 1
    #[arg(long, default_value_t = 0.05, env = "ROUTERGYM_MARGIN")]
    pub(super) margin: f64,
    /// Seconds that one call of the LLM may take
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS", env = "ROUTERGYM_TIMEOUT")]
    pub(super) timeout: f64,
    /// The run's folder [default: runs/<time>-<task>]
    #[arg(short, long, value_name = "DIR", env = "ROUTERGYM_OUT")]
    pub(super) out: Option<PathBuf>,
    /// Continue the run in the folder of --out: what is on disk is not made again, and the settings must be the same
    #[arg(long, env = "ROUTERGYM_RESUME", value_parser = FalseyValueParser::new())]
    pub(super) resume: bool,
    /// Continue the run in the folder of --out, and make its failed trials again
    #[arg(long, env = "ROUTERGYM_RETRY_ERRORS", value_parser = FalseyValueParser::new())]
    pub(super) retry_errors: bool,
    /// Say what would be done, and do nothing
    #[arg(long, env = "ROUTERGYM_DRY_RUN", value_parser = FalseyValueParser::new())]
    pub(super) dry_run: bool,
    /// Print summary.json on stdout instead of tables
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    pub(super) json: bool,
}

/// Runs the verb.
pub(super) fn run(args: &BenchArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    let resolved = setup::resolve(args, network)?;
    let folder = run_folder(args, &resolved);
    let continues = args.resume || args.retry_errors;
    if args.dry_run {
        resolved.check_models()?;
        if !(continues && RunWriter::is_there(&folder)) {
            RunWriter::check(&folder)?;
        }
        Device::open(args.device)?;
        if args.json { output::data(&resolved.plan().to_string()) } else { output::text(&resolved.plan_text()) }?;
        return Ok(ExitStatus::Done);
    }
    if continues && args.out.is_none() {
        return Err(usage(
            "--resume and --retry-errors need the folder of the run that they continue: name it with --out",
        ));
    }
    if continues && args.record_cassette.is_some() {
        return Err(usage(
            "a cassette is recorded from the beginning of a run on: leave --record-cassette out, or begin a new run",
        ));
    }
    sweep::run(
        &Sweep {
            pairs: vec![resolved],
            grid: false,
            folder,
            resume: continues,
            retry_errors: args.retry_errors,
            sharing: false,
            in_flight: None,
            shard: None,
            only: None,
            max_hours: None,
            max_cost_usd: args.max_cost_usd,
            device: args.device,
            threads: args.threads,
            json: args.json,
        },
        common,
    )
}

fn run_folder(args: &BenchArgs, resolved: &Resolved) -> PathBuf {
    args.out.clone().unwrap_or_else(|| {
        let time = clock::utc_string(clock::unix_time()).replace([':', '-'], "").replace('Z', "");
        PathBuf::from("runs").join(format!("{time}-{}", resolved.task.name))
    })
}
