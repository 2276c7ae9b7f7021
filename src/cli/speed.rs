//! `speed`: prefill and decode of a local model, and how far they are from what the machine's memory allows.

mod report;

use super::memory::{self, Wanted};
use super::{Common, output, threads};
use crate::clock::Clock;
use crate::device::{self, Energy, Meter, Roots, Watch};
use crate::error::{Context, ExitStatus, Result, usage};
use crate::models::{Kind, Store};
use crate::net::Network;
use crate::nn::{self, Device, DeviceChoice, LanguageModel, LoadOptions, SpeedPlan};
use crate::record;
use crate::units::{Bytes, Seconds};
use clap::Args;
use clap::builder::FalseyValueParser;
use report::{Facts, Memory, Report};
use std::sync::Arc;

/// Arguments of `speed`.
#[derive(Debug, Clone, Args)]
pub(super) struct SpeedArgs {
    /// The model: the name of a manifest (see `models list`) or a path.
    #[arg(long, env = "ROUTERGYM_MODEL", value_name = "NAME|PATH")]
    model: String,
    /// Lengths of the prompts, in tokens
    #[arg(
        short = 'p',
        long,
        value_delimiter = ',',
        default_value = "128,512,1500",
        value_name = "N,...",
        env = "ROUTERGYM_PROMPTS"
    )]
    prompts: Vec<usize>,
    /// Tokens to decode in each measurement
    #[arg(short = 'n', long, default_value_t = 64, value_name = "N", env = "ROUTERGYM_STEPS")]
    steps: usize,
    /// Depths to decode at: how many tokens are cached already
    #[arg(
        short = 'd',
        long,
        value_delimiter = ',',
        default_value = "0,512,1500",
        value_name = "N,...",
        env = "ROUTERGYM_DEPTHS"
    )]
    depths: Vec<usize>,
    /// How many sequences to decode at once; above 1 this is the offline scenario
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "N,...", env = "ROUTERGYM_BATCH")]
    batch: Vec<usize>,
    /// How often each figure is measured, after a warm-up
    #[arg(short = 'r', long, default_value_t = 5, value_name = "N", env = "ROUTERGYM_REPEATS")]
    repeats: usize,
    /// Rounds go on for so many seconds at least (MLPerf: 600), `-r` of them at least
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS", env = "ROUTERGYM_MIN_DURATION")]
    min_duration: f64,
    /// Power of this machine at work, in watts: for an estimate of its energy where no counter can be read
    #[arg(long, value_name = "WATTS", env = "ROUTERGYM_WATTS")]
    watts: Option<f64>,
    /// Tokens that a prompt shares with an earlier one, and tokens of its own, or none
    #[arg(long, default_value = "1400+64", value_name = "SHARED+OWN|none", value_parser = shared, env = "ROUTERGYM_SHARED")]
    shared: Shared,
    /// Where to run the model: auto, cpu, cuda, cuda:N or metal
    #[arg(long, env = "ROUTERGYM_DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// How many threads the model may use; by default the machine's cores, as far as they are lent to this program
    #[arg(long, env = "ROUTERGYM_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Memory that this program may have, such as 2GB or 512MiB: a smaller machine is emulated, and what cannot fit is refused before it
    /// is loaded, with what would
    #[arg(long, value_name = "SIZE", value_parser = super::memory::size, env = "ROUTERGYM_MEMORY_LIMIT")]
    memory_limit: Option<u64>,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Tokens shared and own, or nothing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shared(Option<(usize, usize)>);

fn shared(text: &str) -> Result<Shared, String> {
    let pair = text.split_once('+').and_then(|(shared, own)| Some((shared.parse().ok()?, own.parse().ok()?)));
    match (text, pair) {
        ("none", _) => Ok(Shared(None)),
        (_, Some((shared, own))) if shared > 0 && own > 0 => Ok(Shared(Some((shared, own)))),
        _ => Err("two numbers of tokens, such as 1400+64, or none".to_owned()),
    }
}

/// Measures and prints.
pub(super) fn run(args: &SpeedArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    threads::check(args.threads)?;
    check(args)?;
    threads::bound(args.threads)?;
    let note = |text: &str| {
        if !common.quiet {
            output::note(text);
        }
    };
    let clock = Clock::real();
    let store = Store::open(network)?;
    let local = store.obtain(&args.model, Kind::Gguf, common.quiet)?;
    let device = Device::open(args.device)?;
    let plan = plan(args);
    let need = memory::need(&local)?;
    let (pages, batches) = plan.pages();
    let tokens = pages.max(batches).saturating_mul(need.memory.page_tokens as usize);
    let all = Wanted { cached: tokens as u64, prefix_cache: false, beside: 0, context: None };
    memory::divide(args.memory_limit, all, std::slice::from_ref(&need), &store)?;
    let start = clock.now();
    let mut model =
        LanguageModel::load(&local.path, &device, &LoadOptions { prefix_cache: false, ..LoadOptions::default() })
            .with_context(|| format!("cannot load {} from {}", local.name, local.path.display()))?;
    let load = clock.since(start);
    note(&format!("{} loaded in {:.2} s", local.name, load.0));

    model.check_speed(&plan)?;
    let machine = record::machine(device.name(), nn::threads());
    let needed = (tokens as u64).saturating_mul(need.memory.kv_per_token);
    if let Some(memory) = machine.memory_bytes.filter(|&memory| device.is_cpu() && needed > memory / 10 * 8) {
        return Err(usage(format!(
            "the caches of these depths and batches take {}, more than four fifths of this machine's {}: ask for less",
            Bytes(needed),
            Bytes(memory)
        )));
    }
    let gpu = (!device.is_cpu()).then(|| device.name());
    let meter = Arc::new(Meter::open(&Roots::of_machine(), gpu.as_deref()));
    let energy = Energy::start(Arc::clone(&meter), args.watts, &clock);
    let watch = Watch::start(&Roots::of_machine());
    let mut peak = None;
    let mut before_batches = || peak = device::peak_memory();
    let samples = model.measure_speed(&plan, &clock, &meter, &mut |step| note(step), &mut before_batches)?;
    let steadiness = watch.end();
    let peak_batches = device::peak_memory();
    let (weights, operations) = (model.weight_bytes(), model.prefill_operations());
    drop(model);
    let gpu_peak = device.peak_memory()?;
    let (bandwidth, matmul) = if device.is_cpu() {
        (nn::memory_bandwidth(&clock)?, None)
    } else {
        (nn::copy_bandwidth(&device, &clock)?, Some(nn::matmul_rate(&device, &clock)?))
    };
    let facts = Facts {
        memory: Memory::of(&need.memory, args.memory_limit, pages as u64, peak),
        model: local.name,
        sha256: local.sha256,
        machine,
        gpu: device.model(),
        load,
        weights,
        operations,
        peak,
        peak_batches: args.batch.iter().any(|&batch| batch > 1).then_some(peak_batches).flatten(),
        peak_gpu: gpu_peak,
        bandwidth,
        matmul,
        energy: energy.source(),
        steadiness,
    };
    let report = Report::new(facts, &plan, &samples)?;
    if args.json { output::data(&report.json()?.to_string()) } else { output::text(&report.text()) }?;
    Ok(ExitStatus::Done)
}

fn plan(args: &SpeedArgs) -> SpeedPlan {
    SpeedPlan {
        prompts: once(&args.prompts),
        steps: args.steps,
        depths: once(&args.depths),
        batches: once(&args.batch),
        repeats: args.repeats,
        shared: args.shared.0,
        min_duration: Seconds(args.min_duration),
    }
}

/// Each value the first time that it is given.
fn once(values: &[usize]) -> Vec<usize> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(value) {
            seen.push(*value);
        }
    }
    seen
}

fn check(args: &SpeedArgs) -> Result<()> {
    let positive = |name: &str, values: &[usize]| {
        if values.is_empty() || values.contains(&0) {
            return Err(usage(format!("{name} takes numbers above 0")));
        }
        Ok(())
    };
    positive("-p", &args.prompts)?;
    positive("-n", &[args.steps])?;
    positive("--batch", &args.batch)?;
    positive("-r", &[args.repeats])?;
    if !(0.0..=LONGEST_DURATION_S).contains(&args.min_duration) {
        return Err(usage(format!("--min-duration is a number of seconds from 0 to {LONGEST_DURATION_S}, a day")));
    }
    memory::check_watts(args.watts)?;
    if let Some(&large) = args.batch.iter().find(|&&batch| batch > MOST_SEQUENCES) {
        return Err(usage(format!("--batch is at most {MOST_SEQUENCES} sequences, not {large}")));
    }
    Ok(())
}

const MOST_SEQUENCES: usize = 256;
const LONGEST_DURATION_S: f64 = 86_400.0;
