//! `speed`: prefill and decode of a local model, and how far they are from what the machine's memory allows.

use super::{Common, output, threads};
use crate::clock::Clock;
use crate::error::{Context, ExitStatus, Result, usage};
use crate::metrics::statistics::quantile;
use crate::models::{Kind, Store};
use crate::net::Network;
use crate::nn::{self, DecodeSamples, Device, DeviceChoice, LanguageModel, LoadOptions, SpeedPlan, SpeedSamples};
use crate::record;
use crate::units::{Bytes, Seconds};
use clap::Args;
use clap::builder::FalseyValueParser;
use serde::Serialize;
use serde_json::json;

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
    /// Tokens that a prompt shares with an earlier one, and tokens of its own, or none
    #[arg(long, default_value = "1400+64", value_name = "SHARED+OWN|none", value_parser = shared, env = "ROUTERGYM_SHARED")]
    shared: Shared,
    /// Where to run the model: auto, cpu, cuda, cuda:N or metal
    #[arg(long, env = "ROUTERGYM_DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// How many threads the model may use; by default the machine's cores, as far as they are lent to this program
    #[arg(long, env = "ROUTERGYM_THREADS", value_name = "N")]
    threads: Option<usize>,
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
    let local = Store::open(network)?.obtain(&args.model, Kind::Gguf, common.quiet)?;
    let device = Device::open(args.device)?;
    let start = clock.now();
    let mut model =
        LanguageModel::load(&local.path, &device, &LoadOptions { prefix_cache: false, ..LoadOptions::default() })
            .with_context(|| format!("cannot load {} from {}", local.name, local.path.display()))?;
    let load = clock.since(start);
    note(&format!("{} loaded in {:.2} s", local.name, load.0));

    let plan = SpeedPlan {
        prompts: once(&args.prompts),
        steps: args.steps,
        depths: once(&args.depths),
        batches: once(&args.batch),
        repeats: args.repeats,
        shared: args.shared.0,
    };
    model.check_speed(&plan)?;
    let needed = model.speed_cache_bytes(&plan) as u64;
    let machine = record::machine(device.name(), nn::threads());
    if let Some(memory) = machine.memory_bytes.filter(|&memory| device.is_cpu() && needed > memory / 10 * 8) {
        return Err(usage(format!(
            "the caches of these depths and batches take {}, more than four fifths of this machine's {}: ask for less",
            Bytes(needed),
            Bytes(memory)
        )));
    }
    let mut peak = None;
    let mut before_batches = || peak = record::peak_memory();
    let samples = model.measure_speed(&plan, &clock, &mut |step| note(step), &mut before_batches)?;
    let peak_batches = record::peak_memory();
    let (weights, operations) = (model.weight_bytes(), model.prefill_operations());
    drop(model);
    let gpu_peak = device.peak_memory()?;
    let (bandwidth, matmul) = if device.is_cpu() {
        (nn::memory_bandwidth(&clock)?, None)
    } else {
        (nn::copy_bandwidth(&device, &clock)?, Some(nn::matmul_rate(&device, &clock)?))
    };

    let report = Report {
        model: local.name,
        sha256: local.sha256,
        version: env!("CARGO_PKG_VERSION"),
        threads: nn::threads(),
        machine,
        gpu: device.model(),
        repeats: args.repeats,
        steps: args.steps,
        load_s: load,
        weight_bytes: weights,
        peak_rss_bytes: peak,
        peak_rss_with_batches_bytes: args.batch.iter().any(|&batch| batch > 1).then_some(peak_batches).flatten(),
        peak_gpu_bytes: gpu_peak,
        memory_bytes_per_s: bandwidth,
        matmul_flops_per_s: matmul,
        prefill: prefill(&samples, operations, matmul)?,
        decode: samples.decode.iter().map(|one| decode(one, args.steps, bandwidth)).collect::<Result<_>>()?,
        prefix_reuse: reuse(&plan, &samples)?,
    };
    if args.json { output::data(&report.json()?.to_string()) } else { output::text(&report.text()) }?;
    Ok(ExitStatus::Done)
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
    if let Some(&large) = args.batch.iter().find(|&&batch| batch > MOST_SEQUENCES) {
        return Err(usage(format!("--batch is at most {MOST_SEQUENCES} sequences, not {large}")));
    }
    Ok(())
}

const MOST_SEQUENCES: usize = 256;

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    sha256: String,
    version: &'static str,
    threads: usize,
    machine: record::Machine,
    /// The GPU's name.
    gpu: Option<String>,
    repeats: usize,
    steps: usize,
    load_s: Seconds,
    weight_bytes: u64,
    /// Without the batches.
    peak_rss_bytes: Option<u64>,
    peak_rss_with_batches_bytes: Option<u64>,
    peak_gpu_bytes: Option<u64>,
    /// On the CPU what all threads read, on a GPU what a copy reads and writes.
    memory_bytes_per_s: f64,
    /// Of large matrices of half precision.
    matmul_flops_per_s: Option<f64>,
    prefill: Vec<Prefill>,
    decode: Vec<Decode>,
    prefix_reuse: Option<Reuse>,
}

#[derive(Debug, Serialize)]
struct Prefill {
    tokens: usize,
    /// The median, as in all that follows.
    tokens_per_s: f64,
    spread: Spread,
    /// Operations a second with weights over what the device does with large matrices; `None` where that was not measured.
    matmul_share: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Decode {
    depth: usize,
    batch: usize,
    /// Of all sequences together.
    tokens_per_s: f64,
    spread: Spread,
    bytes_per_token: f64,
    /// Bytes read in a second over what the device's memory gives.
    memory_share: f64,
}

/// The least and the largest of `n` measurements.
#[derive(Debug, Serialize)]
struct Spread {
    n: usize,
    min: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Reuse {
    shared: usize,
    own: usize,
    cached_tokens: usize,
    ttft_s_without: f64,
    ttft_s_without_spread: Spread,
    ttft_s_with: f64,
    ttft_s_with_spread: Spread,
    ratio: f64,
    n: usize,
}

fn rates(tokens: usize, seconds: &[Seconds]) -> Result<(f64, Spread)> {
    middle(seconds.iter().map(|time| tokens as f64 / time.0).collect())
}

/// The median and the spread.
fn middle(mut values: Vec<f64>) -> Result<(f64, Spread)> {
    values.sort_unstable_by(f64::total_cmp);
    let (min, max) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
    Ok((quantile(&values, 0.5)?, Spread { n: values.len(), min, max }))
}

fn prefill(samples: &SpeedSamples, operations: u64, matmul: Option<f64>) -> Result<Vec<Prefill>> {
    let one = |(tokens, seconds): &(usize, Vec<Seconds>)| {
        let (tokens_per_s, spread) = rates(*tokens, seconds)?;
        let matmul_share = matmul.map(|rate| operations as f64 * tokens_per_s / rate);
        Ok(Prefill { tokens: *tokens, tokens_per_s, spread, matmul_share })
    };
    samples.prefill.iter().map(one).collect()
}

fn decode(samples: &DecodeSamples, steps: usize, bandwidth: f64) -> Result<Decode> {
    let (tokens_per_s, spread) = rates(steps * samples.batch, &samples.seconds)?;
    let bytes_per_token = samples.bytes_per_step as f64 / samples.batch as f64;
    Ok(Decode {
        depth: samples.depth,
        batch: samples.batch,
        tokens_per_s,
        spread,
        bytes_per_token,
        memory_share: bytes_per_token * tokens_per_s / bandwidth,
    })
}

fn reuse(plan: &SpeedPlan, samples: &SpeedSamples) -> Result<Option<Reuse>> {
    let (Some((shared, own)), Some(reuse)) = (plan.shared, &samples.reuse) else { return Ok(None) };
    let of = |times: &[Seconds]| middle(times.iter().map(|time| time.0).collect());
    let ((without, without_spread), (with, with_spread)) = (of(&reuse.without)?, of(&reuse.with)?);
    Ok(Some(Reuse {
        shared,
        own,
        cached_tokens: reuse.cached_tokens,
        ttft_s_without: without,
        ttft_s_without_spread: without_spread,
        ttft_s_with: with,
        ttft_s_with_spread: with_spread,
        ratio: without / with,
        n: reuse.with.len(),
    }))
}

impl Report {
    /// The one object of `--json`: an absent figure is null, with the reason beside it.
    fn json(&self) -> Result<serde_json::Value> {
        let mut all = serde_json::to_value(self)?;
        let reasons = [
            ("peak_rss_bytes", "this system does not tell a process its peak memory"),
            ("peak_rss_with_batches_bytes", "no batch was asked for, or this system does not tell"),
            ("gpu", "the model did not run on an NVIDIA GPU"),
            ("peak_gpu_bytes", "the model did not run on an NVIDIA GPU"),
            ("matmul_flops_per_s", "measured on GPUs only"),
            ("prefix_reuse", "not asked for"),
        ];
        for (key, reason) in reasons {
            if all[key].is_null() {
                all[format!("{key}_reason")] = json!(reason);
            }
        }
        Ok(all)
    }

    fn text(&self) -> String {
        let absent = || "not measured".to_owned();
        let bytes = |bytes: Option<u64>| bytes.map_or_else(absent, |bytes| Bytes(bytes).to_string());
        let bandwidth = format!("{:.1} GB/s", self.memory_bytes_per_s / 1e9);
        let mut lines = vec![
            match &self.gpu {
                None => format!("{} on {}, {} threads", self.model, self.machine.device, self.threads),
                Some(gpu) => format!("{} on {} ({gpu})", self.model, self.machine.device),
            },
            match self.matmul_flops_per_s {
                None => {
                    format!("machine {}, {} cores, memory read at {bandwidth}", self.machine.cpu, self.machine.cores)
                }
                Some(rate) => format!(
                    "machine {}, {} cores; the device copies at {bandwidth}, read and written, and multiplies in half precision \
                     at {:.0} TFLOP/s",
                    self.machine.cpu,
                    self.machine.cores,
                    rate / 1e12
                ),
            },
            format!(
                "loaded in {:.2} s; weights {}; peak memory {}{}{}",
                self.load_s.0,
                Bytes(self.weight_bytes),
                bytes(self.peak_rss_bytes),
                self.peak_rss_with_batches_bytes
                    .map_or_else(String::new, |peak| format!(", with batches {}", Bytes(peak))),
                self.peak_gpu_bytes.map_or_else(String::new, |peak| format!(", of the GPU {}", Bytes(peak)))
            ),
            format!("medians of {} rounds, slowest to fastest in brackets", self.repeats),
            String::new(),
            format!(
                "{:<10}{:>8}{:>8}{:>12}  {:<22}{:>14}{:>10}",
                "",
                "tokens",
                "batch",
                "tokens/s",
                "",
                "MB/token",
                if self.gpu.is_some() { "of device" } else { "of memory" }
            ),
        ];
        for one in &self.prefill {
            lines.push(format!(
                "{:<10}{:>8}{:>8}{:>12.1}  {:<22}{:>14}{:>10}",
                "prefill",
                one.tokens,
                1,
                one.tokens_per_s,
                one.spread.text(),
                "",
                one.matmul_share.map_or_else(String::new, |share| format!("{:.1} %", 100.0 * share)),
            ));
        }
        for one in &self.decode {
            let share = format!("{:.0} %", 100.0 * one.memory_share);
            lines.push(format!(
                "{:<10}{:>8}{:>8}{:>12.1}  {:<22}{:>14.1}{share:>10}",
                "decode",
                format!("at {}", one.depth),
                one.batch,
                one.tokens_per_s,
                one.spread.text(),
                one.bytes_per_token / 1e6,
            ));
        }
        if let Some(reuse) = &self.prefix_reuse {
            lines.push(String::new());
            lines.push(format!(
                "first token of a prompt of {} tokens: {:.3} s {}; where {} of them were computed before: {:.3} s {}, {:.1} x sooner",
                reuse.shared + reuse.own,
                reuse.ttft_s_without,
                reuse.ttft_s_without_spread.seconds(),
                reuse.cached_tokens,
                reuse.ttft_s_with,
                reuse.ttft_s_with_spread.seconds(),
                reuse.ratio
            ));
        }
        lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
    }
}

impl Spread {
    fn text(&self) -> String {
        format!("[{:.1}, {:.1}]", self.min, self.max)
    }

    fn seconds(&self) -> String {
        format!("[{:.3}, {:.3}]", self.min, self.max)
    }
}
