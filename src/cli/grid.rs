//! `grid FILE.toml`: a sweep over routers, memories, contracts, models and seeds, each piece of its work done once.

mod plan;

use super::bench::BenchArgs;
use super::setup::{Beyond, Llm, Resolved, check_ranges, resolve_pair, script_name};
use super::sweep::{self, Sweep};
use super::{Common, output};
use crate::engine::script_of;
use crate::error::{Context, Error, ExitStatus, Result, UsageError, anyhow, usage};
use crate::grid::{GridSpec, SettingsSpec, Status, Step, place_of, read_grid, read_status, schema_text};
use crate::models::{Kind, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice};
use crate::record::{self, RunWriter};
use crate::router::{RouterKind, RouterSpec, read_routers};
use crate::task;
use clap::builder::FalseyValueParser;
use clap::{Args, Command, FromArgMatches, Subcommand};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shards at most.
const MOST_SHARDS: usize = 100_000;

/// Arguments of `grid`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct GridArgs {
    #[command(subcommand)]
    verb: Option<GridVerb>,
    /// The grid: docs/grid.md says what stands in it
    #[arg(required = true, value_name = "FILE.toml")]
    file: Option<PathBuf>,
    /// The run's folder; a run of this grid that stands in it is continued [default: runs/<name of the file>]
    #[arg(short, long, value_name = "DIR", env = "ROUTERGYM_OUT")]
    out: Option<PathBuf>,
    /// Continue the run in its folder, which is done without this flag too; with it, a folder without a run is refused
    #[arg(long, env = "ROUTERGYM_RESUME", value_parser = FalseyValueParser::new())]
    resume: bool,
    /// Continue, and make the trials that failed again
    #[arg(long, env = "ROUTERGYM_RETRY_ERRORS", value_parser = FalseyValueParser::new())]
    retry_errors: bool,
    /// Compute everything for every cell afresh
    #[arg(long, env = "ROUTERGYM_NO_SHARING", value_parser = FalseyValueParser::new())]
    no_sharing: bool,
    /// Run this part of the samples: 2/8 is the second of eight; `merge` puts them together
    #[arg(long, value_name = "I/N", value_parser = shard, env = "ROUTERGYM_SHARD")]
    shard: Option<(usize, usize)>,
    /// Say what would be done, and do nothing
    #[arg(long, env = "ROUTERGYM_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// With --dry-run: answer so many samples in all cells, in a folder that is removed, and estimate the rest by them
    #[arg(long, value_name = "SAMPLES", requires = "dry_run", env = "ROUTERGYM_CALIBRATE")]
    calibrate: Option<usize>,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", env = "ROUTERGYM_DEVICE")]
    device: DeviceChoice,
    /// Threads of the local engine [default: the machine's cores, as far as they are lent to this program]
    #[arg(long, env = "ROUTERGYM_THREADS")]
    threads: Option<usize>,
    /// Print summary.json on stdout instead of tables
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum GridVerb {
    /// Say how far a run is, also while another process works on it
    Status {
        /// The run's folder
        #[arg(value_name = "DIR")]
        run: PathBuf,
        /// One JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
    /// Print the JSON Schema of a grid's file, for editors
    Schema,
}

fn shard(text: &str) -> std::result::Result<(usize, usize), String> {
    let wrong = || format!("a shard is I/N with I from 1 to N, such as 2/8, and N up to {MOST_SHARDS}");
    let (index, of) = text.split_once('/').ok_or_else(wrong)?;
    match (index.parse(), of.parse()) {
        (Ok(index), Ok(of)) if (1..=of).contains(&index) && of <= MOST_SHARDS => Ok((index, of)),
        _ => Err(wrong()),
    }
}

/// Runs the verb.
pub(super) fn run(args: &GridArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    match &args.verb {
        Some(GridVerb::Status { run, json }) => return status(run, *json),
        Some(GridVerb::Schema) => {
            output::data(schema_text()?.trim_end())?;
            return Ok(ExitStatus::Done);
        }
        None => {}
    }
    let file = args.file.as_deref().context("name the file of a grid")?;
    let (mut sweep, left_out) = read(args, file, network)?;
    if args.dry_run {
        let there = RunWriter::is_there(&sweep.folder);
        if !there {
            RunWriter::check(&sweep.folder)?;
        }
        Device::open(args.device)?;
        let plan = plan::Planned::of(&mut sweep, left_out, args.calibrate, common)?;
        if args.json { output::data(&plan.json().to_string()) } else { output::text(&plan.text()) }?;
        return Ok(ExitStatus::Done);
    }
    if args.resume && !RunWriter::is_there(&sweep.folder) {
        return Err(usage(format!(
            "{} holds no run that could be continued; leave --resume out",
            sweep.folder.display()
        )));
    }
    sweep::run(&sweep, common)
}

/// A cell that is left out, and why.
pub(super) struct LeftOut {
    name: String,
    why: String,
}

/// From the file to what is to be run.
fn read(args: &GridArgs, file: &Path, network: Network) -> Result<(Sweep, Vec<LeftOut>)> {
    let (spec, text) = read_grid(file)?;
    let shown = file.display();
    let at = |place: &[Step<'_>], error: &Error| {
        let told = format!("{shown}:{}: {error:#}", place_of(&text, place));
        if error.downcast_ref::<UsageError>().is_some() { usage(told) } else { anyhow!("{told}") }
    };
    let folder = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
    let routers = routers(&spec, &folder, &at)?;
    let named = if folder.join(&spec.task).join("task.toml").exists() {
        folder.join(&spec.task)
    } else {
        task::find(&spec.task)?
    };
    let task = Arc::new(task::load(&named)?);
    let axes = &spec.axes;
    let beyond = Beyond {
        task,
        routers,
        seeds: axes.seeds.clone(),
        repeats: spec.repeats,
        samples: spec.samples.clone(),
        llms: spec.llm.clone(),
        folder: folder.clone(),
        named: [axes.slms.len() > 1, axes.llms.len() > 1],
    };
    let usual = usual(&spec, args, &folder)?;
    check_ranges(&usual).map_err(|error| at(&[Step::Key("settings")], &error))?;
    let store = Store::open(network)?;
    let (mut pairs, mut left_out): (Vec<Resolved>, Vec<LeftOut>) = (Vec::new(), Vec::new());
    for (i, slm) in axes.slms.iter().enumerate() {
        let place = [Step::Key("axes"), Step::Key("slms"), Step::At(i)];
        match script_of(slm) {
            None => store.check_name(slm, Kind::Gguf),
            Some(path) => script_name(&folder.join(path)).map(drop),
        }
        .map_err(|error| at(&place, &error))?;
        for (j, llm) in axes.llms.iter().enumerate() {
            let place = [Step::Key("axes"), Step::Key("llms"), Step::At(j)];
            let pair = BenchArgs { slm: Some(slm.clone()), llm: Some(llm.clone()), ..usual.clone() };
            let mut pair = resolve_pair(&pair, network, &beyond).map_err(|error| at(&place, &error))?;
            pair.check_models().map_err(|error| at(&place, &error))?;
            if spec.in_flight.is_some_and(|count| count > 1) && matches!(pair.llm, Llm::StandIn { .. }) {
                let told = usage(format!(
                    "`in_flight` above 1 needs an LLM behind an endpoint: the trials of {llm}, a stand-in on this machine, would slow \
                     one another down"
                ));
                return Err(at(&[Step::Key("in_flight")], &told));
            }
            let cells = std::mem::take(&mut pair.cells);
            for cell in cells {
                match spec.exclude.iter().find(|exclude| exclude.leaves_out(&cell, slm, llm)) {
                    None => pair.cells.push(cell),
                    Some(exclude) => left_out.push(LeftOut { name: cell.name, why: exclude.why().to_owned() }),
                }
            }
            // What no cell needs is not loaded.
            let used = |router: &RouterSpec| pair.cells.iter().any(|cell| cell.router_name() == router.name());
            pair.routers.retain(used);
            if !pair.cells.is_empty() {
                pairs.push(pair);
            }
        }
    }
    let place = [Step::Key("exclude"), Step::At(0)];
    if pairs.is_empty() {
        return Err(at(&place, &usage("every cell is left out by [[exclude]], so that nothing is to be done")));
    }
    let mut names: Vec<&str> = pairs.iter().flat_map(|pair| pair.cells.iter().map(|cell| cell.name.as_str())).collect();
    names.sort_unstable();
    let twice = names.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some(*one),
        _ => None,
    });
    if let Some(twice) = twice {
        let told = usage(format!(
            "two cells are called {twice:?}, so that their trials could not be told apart: two models or routers share a name"
        ));
        return Err(at(&[Step::Key("axes")], &told));
    }
    let stem = file.file_stem().map_or_else(|| "grid".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let usual_folder = || {
        let part = args.shard.map_or_else(String::new, |(index, of)| format!("-{index}-of-{of}"));
        PathBuf::from("runs").join(format!("{stem}{part}"))
    };
    let sweep = Sweep {
        pairs,
        grid: true,
        folder: args.out.clone().unwrap_or_else(usual_folder),
        resume: true,
        retry_errors: args.retry_errors,
        sharing: spec.sharing && !args.no_sharing,
        in_flight: spec.in_flight,
        shard: args.shard,
        only: None,
        max_hours: spec.limits.max_hours,
        max_cost_usd: spec.limits.max_cost_usd,
        device: args.device,
        threads: args.threads,
        json: args.json,
    };
    Ok((sweep, left_out))
}

/// The strategies of the axis.
fn routers(spec: &GridSpec, folder: &Path, at: &dyn Fn(&[Step<'_>], &Error) -> Error) -> Result<Vec<RouterSpec>> {
    let mut found: Vec<RouterSpec> = Vec::new();
    for (index, named) in spec.axes.routers.iter().enumerate() {
        let place = [Step::Key("axes"), Step::Key("routers"), Step::At(index)];
        let new = if let Some(router) = spec.router.iter().find(|router| router.name() == named) {
            vec![router.clone()]
        } else if let Some(kind) = RouterKind::of_name(named) {
            let router = RouterSpec::plain(kind);
            router.check().map_err(|error| at(&place, &error))?;
            vec![router]
        } else {
            read_routers(&folder.join(named)).map_err(|error| at(&place, &error))?
        };
        for router in new {
            if found.iter().any(|other| other.name() == router.name()) {
                let told = usage(format!(
                    "two routers are called {:?}, so that cells would overlap: give each a `name` of its own",
                    router.name()
                ));
                return Err(at(&place, &told));
            }
            found.push(router);
        }
    }
    Ok(found)
}

/// The flags of `bench` as this grid has them: what a flag's default is, and over it what the file sets.
fn usual(spec: &GridSpec, args: &GridArgs, folder: &Path) -> Result<BenchArgs> {
    // The environment speaks to `bench`; what this grid is stands in its file.
    let command = BenchArgs::augment_args(Command::new("grid").no_binary_name(true))
        .mut_args(|arg| arg.env(None::<&'static str>));
    let mut usual = command
        .try_get_matches_from(Vec::<String>::new())
        .and_then(|matches| BenchArgs::from_arg_matches(&matches))
        .map_err(|error| anyhow!("the defaults of the settings cannot be read: {error}"))?;
    let SettingsSpec {
        retriever,
        top_k,
        token_budget,
        gate,
        confidence,
        threshold,
        max_repairs,
        classifier,
        downshift,
        safety,
        max_tokens,
        temperature,
        prefix_cache,
        prompt_lookup,
        price,
        prices,
        hardware_usd_per_hour,
        margin,
        timeout,
    } = spec.settings.clone();
    let on_off = |on: bool| if on { "on" } else { "off" }.to_owned();
    set(&mut usual.retriever, retriever);
    set(&mut usual.top_k, top_k);
    set(&mut usual.token_budget, token_budget);
    set(&mut usual.confidence, confidence);
    set(&mut usual.threshold, threshold);
    set(&mut usual.max_repairs, max_repairs);
    set(&mut usual.classifier, classifier);
    set(&mut usual.safety, safety);
    set(&mut usual.max_tokens, max_tokens);
    set(&mut usual.temperature, temperature);
    set(&mut usual.prefix_cache, prefix_cache.map(on_off));
    set(&mut usual.prompt_lookup, prompt_lookup.map(on_off));
    set(&mut usual.margin, margin);
    set(&mut usual.timeout, timeout);
    (usual.gate, usual.downshift, usual.price, usual.hardware_usd_per_hour) =
        (gate, downshift, price, hardware_usd_per_hour);
    usual.prices = prices.map(|prices| folder.join(prices));
    usual.memory.clone_from(&spec.axes.memories);
    usual.contract.clone_from(&spec.axes.contracts);
    (usual.split, usual.seed) = (spec.samples.split, spec.axes.seeds.first().copied().unwrap_or_default());
    usual.max_cost_usd = spec.limits.max_cost_usd;
    (usual.device, usual.threads) = (args.device, args.threads);
    Ok(usual)
}

/// Sets what the file sets.
fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// How far a run is.
fn status(run: &Path, json: bool) -> Result<ExitStatus> {
    let mut status = read_status(run)?;
    // A process that was killed could not say so.
    if status.state == "running" && record::is_locked(run) == Some(false) {
        "dead".clone_into(&mut status.state);
    }
    if json {
        output::data(&serde_json::to_string(&status)?)?;
    } else {
        output::text(&status_text(run, &status))?;
    }
    Ok(ExitStatus::Done)
}

fn status_text(run: &Path, status: &Status) -> String {
    let state = match status.state.as_str() {
        "running" => format!("running (process {}, as of {})", status.process, status.updated_at),
        "dead" => format!(
            "its process {} ended without a word (last heard of {}): the same command continues it",
            status.process, status.updated_at
        ),
        "stopped" => format!("stopped: {}", status.why.as_deref().unwrap_or("no reason is given")),
        other => other.to_owned(),
    };
    let failures: Vec<_> = status.failures.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!(
        "{}: {state}\ntrials    {} of {} ({:.1} %), {:.2}/s{}\ncells     {} of {}\nattempts  {}, {} of them shared\nescalated {}\n\
         spent     {}\nfailed    {}",
        run.display(),
        status.done,
        status.trials,
        status.done as f64 / status.trials.max(1) as f64 * 100.0,
        status.trials_per_s,
        status.eta_s.map_or_else(String::new, |eta| format!(", ETA {eta:.0} s")),
        status.cells_done,
        status.cells,
        status.attempts,
        status.shared,
        status.escalated,
        status.spent_usd.map_or_else(|| "not priced".to_owned(), |usd| format!("{usd:.4} USD")),
        if failures.is_empty() { "none".to_owned() } else { failures.join(", ") }
    )
}
