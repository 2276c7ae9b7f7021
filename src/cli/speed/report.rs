//! What `speed` prints.

use crate::device::{self, EnergySource, Steadiness};
use crate::error::Result;
use crate::metrics::statistics::quantile;
use crate::nn::{DecodeSamples, MemoryNeed, SpeedPlan, SpeedSamples, Spent};
use crate::record;
use crate::units::{Bytes, Seconds};
use serde::Serialize;
use serde_json::json;

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
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
    memory: Memory,
    /// On the CPU what all threads read, on a GPU what a copy reads and writes.
    memory_bytes_per_s: f64,
    /// Of large matrices of half precision.
    matmul_flops_per_s: Option<f64>,
    prefill: Vec<Prefill>,
    decode: Vec<Decode>,
    prefix_reuse: Option<Reuse>,
    energy: Energy,
    steadiness: Steadiness,
    drift: Drift,
    /// Seconds that rounds had to go on for at least.
    min_duration_s: Seconds,
}

/// What the headers say beforehand, beside what was measured (`peak_rss_bytes`).
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub(super) limit_bytes: Option<u64>,
    pub(super) weight_bytes: u64,
    pub(super) vocabulary_bytes: u64,
    pub(super) activation_bytes: u64,
    pub(super) kv_bytes_per_token: u64,
    /// Tokens that are cached at once at most, before the batches.
    pub(super) cached_tokens: u64,
    pub(super) predicted_peak_bytes: u64,
    /// Predicted over measured.
    pub(super) predicted_over_measured: Option<f64>,
}

impl Memory {
    /// `pages` are those of what has one sequence.
    pub(super) fn of(need: &MemoryNeed, limit: Option<u64>, pages: u64, peak: Option<u64>) -> Self {
        let predicted = crate::nn::PROGRAM_BYTES + need.total(pages * need.page_tokens, 1);
        Self {
            limit_bytes: limit,
            weight_bytes: need.weights,
            vocabulary_bytes: need.vocabulary,
            activation_bytes: need.activations,
            kv_bytes_per_token: need.kv_per_token,
            cached_tokens: pages * need.page_tokens,
            predicted_peak_bytes: predicted,
            predicted_over_measured: peak.map(|peak| predicted as f64 / peak as f64),
        }
    }
}

/// Joules a token, by the machine's counters, all of the machine's and those above its rest.
#[derive(Debug, Serialize)]
struct Energy {
    source: EnergySource,
    joules_per_prompt_token: Option<f64>,
    joules_per_prompt_token_above_idle: Option<f64>,
    joules_per_output_token: Option<f64>,
    joules_per_output_token_above_idle: Option<f64>,
}

impl Energy {
    fn of(source: EnergySource, spent: [Spent; 2]) -> Self {
        let tokens = |spent: Spent| (spent.tokens > 0).then_some(spent.tokens as f64);
        // An estimate is of the time that the model worked.
        let joules = |spent: Spent| match source.given_watts {
            Some(watts) => Some(watts * spent.time.0),
            None => spent.energy.map(|joules| joules.0),
        };
        let all = |spent: Spent| Some(joules(spent)? / tokens(spent)?);
        let above = |spent: Spent| {
            let idle = source.idle_watts.filter(|_| source.given_watts.is_none())?;
            Some((joules(spent)? - idle * spent.time.0) / tokens(spent)?)
        };
        let [prompts, decoding] = spent;
        Self {
            joules_per_prompt_token: all(prompts),
            joules_per_prompt_token_above_idle: above(prompts),
            joules_per_output_token: all(decoding),
            joules_per_output_token_above_idle: above(decoding),
            source,
        }
    }
}

/// The first measurement, and the same once more when all else was done.
#[derive(Debug, Serialize)]
struct Drift {
    prompt_tokens: Option<usize>,
    first_s: Option<f64>,
    again_s: Option<f64>,
    /// How much longer it took at the end, as a share.
    share: Option<f64>,
    /// Rounds at the beginning that were still warming up: their times stand in the medians.
    warm_up_rounds: usize,
}

impl Drift {
    fn of(samples: &SpeedSamples) -> Self {
        let median = |times: &[Seconds]| quantile(&sorted(times.iter().map(|time| time.0).collect()), 0.5).ok();
        let first = samples.prefill.first();
        let first_s = first.and_then(|(_, times)| median(times));
        let again_s = median(&samples.again);
        let rounds: Vec<f64> = first.map_or_else(Vec::new, |(_, times)| times.iter().map(|time| time.0).collect());
        Self {
            prompt_tokens: first.map(|first| first.0),
            first_s,
            again_s,
            share: first_s.zip(again_s).and_then(|(first, again)| device::drift(first, again)),
            warm_up_rounds: device::warm_up(&rounds),
        }
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// What a report is made of beside the samples.
pub(super) struct Facts {
    pub(super) model: String,
    pub(super) sha256: String,
    pub(super) machine: record::Machine,
    pub(super) gpu: Option<String>,
    pub(super) load: Seconds,
    pub(super) weights: u64,
    pub(super) operations: u64,
    pub(super) peak: Option<u64>,
    pub(super) peak_batches: Option<u64>,
    pub(super) peak_gpu: Option<u64>,
    pub(super) memory: Memory,
    pub(super) bandwidth: f64,
    pub(super) matmul: Option<f64>,
    pub(super) energy: EnergySource,
    pub(super) steadiness: Steadiness,
}

impl Report {
    /// Works the samples out.
    pub(super) fn new(facts: Facts, plan: &SpeedPlan, samples: &SpeedSamples) -> Result<Self> {
        let Facts { bandwidth, matmul, .. } = facts;
        Ok(Self {
            model: facts.model,
            sha256: facts.sha256,
            version: env!("CARGO_PKG_VERSION"),
            threads: facts.machine.threads,
            machine: facts.machine,
            gpu: facts.gpu,
            repeats: plan.repeats,
            steps: plan.steps,
            load_s: facts.load,
            weight_bytes: facts.weights,
            peak_rss_bytes: facts.peak,
            peak_rss_with_batches_bytes: facts.peak_batches,
            peak_gpu_bytes: facts.peak_gpu,
            memory: facts.memory,
            memory_bytes_per_s: bandwidth,
            matmul_flops_per_s: matmul,
            prefill: prefill(samples, facts.operations, matmul)?,
            decode: samples.decode.iter().map(|one| decode(one, plan.steps, bandwidth)).collect::<Result<_>>()?,
            prefix_reuse: reuse(plan, samples)?,
            energy: Energy::of(facts.energy, samples.spent),
            steadiness: facts.steadiness,
            drift: Drift::of(samples),
            min_duration_s: plan.min_duration,
        })
    }
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
    /// As MLPerf names them: one sequence at a time is `single-stream`, several at once `offline`.
    scenario: &'static str,
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
    /// How many lie far outside of the others; they stand in the median all the same.
    outliers: usize,
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
    let outliers = device::outliers(&values).len();
    let (min, max) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
    Ok((quantile(&values, 0.5)?, Spread { n: values.len(), min, max, outliers }))
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
        scenario: if samples.batch == 1 { "single-stream" } else { "offline" },
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
    pub(super) fn json(&self) -> Result<serde_json::Value> {
        let mut all = serde_json::to_value(self)?;
        let reasons = [
            ("peak_rss_bytes", "this system does not tell a process its peak memory"),
            ("peak_rss_with_batches_bytes", "no batch was asked for, or this system does not tell"),
            ("gpu", "the model did not run on an NVIDIA GPU"),
            ("peak_gpu_bytes", "the model did not run on an NVIDIA GPU"),
            ("matmul_flops_per_s", "measured on GPUs only"),
            ("prefix_reuse", "not asked for"),
        ];
        let energy = &self.energy.source;
        if energy.basis.is_none() {
            all["energy"]["reason"] = json!(energy.reason);
        }
        for (key, reason) in reasons {
            if all[key].is_null() {
                all[format!("{key}_reason")] = json!(reason);
            }
        }
        Ok(all)
    }

    pub(super) fn text(&self) -> String {
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
            self.memory_line(),
            self.energy_line(),
            format!(
                "medians of {} rounds, slowest to fastest in brackets",
                self.prefill.first().map_or(self.repeats, |one| one.spread.n)
            ),
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
        lines.extend(self.trust());
        lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
    }
}

impl Report {
    fn memory_line(&self) -> String {
        let memory = &self.memory;
        let beside = memory
            .predicted_over_measured
            .map_or_else(String::new, |share| format!(", {share:.2} x the measured peak"));
        let limit = memory.limit_bytes.map_or_else(String::new, |limit| {
            format!("; --memory-limit {} is emulated: checked before loading, not enforced by the system", Bytes(limit))
        });
        format!(
            "predicted from the headers: {} ({} of keys and values a token, {} tokens){beside}{limit}",
            Bytes(memory.predicted_peak_bytes),
            Bytes(memory.kv_bytes_per_token),
            memory.cached_tokens
        )
    }

    fn energy_line(&self) -> String {
        let energy = &self.energy;
        let joules = |value: Option<f64>| {
            value.map_or_else(|| "not measured".to_owned(), |joules| crate::units::Joules(joules).to_string())
        };
        match energy.source.basis {
            None => {
                format!("energy not measured: {}", energy.source.reason.as_deref().unwrap_or("no reason was given"))
            }
            Some(basis) => format!(
                "energy {}: {} a token of a prompt, {} a token of decoding; above the machine at rest{} {} and {}",
                if basis == device::Basis::Measured { "measured" } else { "estimated from --watts, not measured" },
                joules(energy.joules_per_prompt_token),
                joules(energy.joules_per_output_token),
                energy.source.idle_watts.map_or_else(String::new, |watts| format!(" ({watts:.1} W)")),
                joules(energy.joules_per_prompt_token_above_idle),
                joules(energy.joules_per_output_token_above_idle),
            ),
        }
    }

    /// Whether the figures can be trusted.
    fn trust(&self) -> Vec<String> {
        let drift = &self.drift;
        let mut lines = vec![String::new()];
        if let (Some(share), Some(first), Some(again)) = (drift.share, drift.first_s, drift.again_s) {
            lines.push(format!(
                "drift: the first measurement again at the end took {again:.4} s and not {first:.4}: {:+.1} %",
                share * 100.0
            ));
        }
        if drift.warm_up_rounds > 0 {
            lines.push(format!("warm-up: the first {} rounds were still slower than the rest", drift.warm_up_rounds));
        }
        lines.extend(self.steadiness.notes.iter().map(|note| format!("beware: {note}")));
        lines
    }
}

impl Spread {
    fn text(&self) -> String {
        let marks = if self.outliers > 0 { format!(" {} far off", self.outliers) } else { String::new() };
        format!("[{:.1}, {:.1}]{marks}", self.min, self.max)
    }

    fn seconds(&self) -> String {
        format!("[{:.3}, {:.3}]", self.min, self.max)
    }
}
