//! Speed of a model: prefill and decode apart, with and without reuse of prefixes, beside the machine's memory bandwidth.
//!
//! Tokens are arbitrary and nothing ends a sequence early, as in other programs' benchmarks; choosing tokens and making text
//! of them is not part of a step here.

use super::cancel::Cancel;
use super::decoder::Next;
use super::generate::GenerateOptions;
use super::kernels::{Isa, PAGE, sum_of};
use super::kv::KvCache;
use super::sampler::log_sum_exp;
use super::{Device, LanguageModel, LoadOptions};
use crate::clock::Clock;
use crate::device::Meter;
use crate::error::{Context, Result, usage};
use crate::units::{Joules, Seconds};
use candle_core::{DType, Tensor};
use std::ops::ControlFlow;

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeedPlan {
    /// Lengths of prompts.
    pub prompts: Vec<usize>,
    /// Steps of a decode measurement.
    pub steps: usize,
    /// How many positions are cached when decoding begins.
    pub depths: Vec<usize>,
    /// How many sequences are decoded at once.
    pub batches: Vec<usize>,
    /// How often everything is measured, after a warm-up.
    pub repeats: usize,
    /// Tokens of a prompt that an earlier one shares, and tokens of its own; `None` measures no reuse.
    pub shared: Option<(usize, usize)>,
    /// Rounds go on for so long at least, as MLPerf asks of a scenario.
    pub min_duration: Seconds,
}

impl SpeedPlan {
    /// Pages of positions that are cached at once at most: by what has one sequence, and by the batches.
    #[must_use]
    pub fn pages(&self) -> (usize, usize) {
        let pages = |positions: usize| positions.div_ceil(PAGE);
        let longest = |values: &[usize]| values.iter().copied().max().unwrap_or(0);
        let deepest = longest(&self.depths).saturating_add(self.steps);
        let kept = if self.batches.contains(&1) { pages(deepest) } else { 0 };
        let prompt = pages(longest(&self.prompts)).saturating_add(kept);
        // The kept prompt, and what the next one and its token have of their own.
        let reused =
            self.shared.map_or(0, |(shared, own)| pages(shared.saturating_add(own)).saturating_add(pages(own) + 2));
        let batch = longest(&self.batches);
        let batches = if batch > 1 { batch.saturating_mul(pages(deepest) + 1) } else { 0 };
        (prompt.max(reused), batches)
    }
}

/// What some measurements took together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Energy by the machine's counters; `None` is "not measured".
    pub energy: Option<Joules>,
    /// Wall time.
    pub time: Seconds,
    /// Tokens of prompts, or generated.
    pub tokens: usize,
}

/// What was measured, each figure once for every repeat.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpeedSamples {
    /// For each length of prompt the time until the logits of its last position are there.
    pub prefill: Vec<(usize, Vec<Seconds>)>,
    /// The decoding.
    pub decode: Vec<DecodeSamples>,
    /// The reuse of prefixes.
    pub reuse: Option<ReuseSamples>,
    /// What all prompts took together, and all decoding of one sequence.
    pub spent: [Spent; 2],
    /// The first measurement once more when all else is done: a prompt of the first length.
    pub again: Vec<Seconds>,
}

/// Decoding of some sequences at a depth.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeSamples {
    /// Positions cached at the beginning.
    pub depth: usize,
    /// Sequences.
    pub batch: usize,
    /// Time of all steps.
    pub seconds: Vec<Seconds>,
    /// Bytes of weights, keys and values that a step reads, halfway through.
    pub bytes_per_step: u64,
}

/// Time to the first token of a prompt of which an earlier one computed a part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReuseSamples {
    /// Tokens that came from the earlier prompt.
    pub cached_tokens: usize,
    /// Without reuse.
    pub without: Vec<Seconds>,
    /// With reuse.
    pub with: Vec<Seconds>,
}

impl LanguageModel {
    /// Measures what the plan asks for: first all that has one sequence, every figure once in each round, then the reuse of
    /// prefixes, with and without in turn, then the batches in rounds of their own. So within each of the three a machine that
    /// slows down does so for all. `before_batches` is called when all that has one sequence is done, so that its memory can be
    /// told apart.
    pub fn measure_speed(
        &mut self,
        plan: &SpeedPlan,
        clock: &Clock,
        meter: &Meter,
        progress: &mut dyn FnMut(&str),
        before_batches: &mut dyn FnMut(),
    ) -> Result<SpeedSamples> {
        self.check_speed(plan)?;
        let mut samples = SpeedSamples {
            prefill: plan.prompts.iter().map(|&tokens| (tokens, Vec::new())).collect(),
            ..SpeedSamples::default()
        };
        let (single, several): (Vec<usize>, Vec<usize>) = plan.batches.iter().partition(|&&batch| batch == 1);
        let deepest = plan.depths.iter().copied().max().unwrap_or(0);

        progress("warm-up");
        let (warm, _) = self.time_prefill(*plan.prompts.iter().min().unwrap_or(&64), 0, clock)?;
        self.time_decode(&[&warm], 0, plan.steps.min(4), clock)?;
        drop(warm);
        let own = if single.is_empty() { Vec::new() } else { self.fill(1, deepest, clock)? };
        let mut decode = self.blank(&single, plan);
        let (begin, mut round) = (clock.now(), 0);
        while round < plan.repeats || clock.since(begin).0 < plan.min_duration.0 {
            round += 1;
            progress(&format!("round {round} of {}", plan.repeats.max(round)));
            let before = meter.read();
            for (tokens, times) in &mut samples.prefill {
                let time = self.time_prefill(*tokens, round as u64, clock)?.1;
                samples.spent[0].add(time, *tokens);
                times.push(time);
            }
            let between = meter.read();
            self.time_all(&mut decode, &own, plan.steps, clock)?;
            let after = meter.read();
            for one in &decode {
                samples.spent[1].add(one.seconds.last().copied().unwrap_or_default(), plan.steps);
            }
            samples.spent[0].energy = Spent::more(samples.spent[0].energy, before, between);
            samples.spent[1].energy = Spent::more(samples.spent[1].energy, between, after);
        }
        drop(own);
        if let Some((shared, own)) = plan.shared {
            progress("reuse of prefixes");
            let kept = self.prefixes.take();
            let reuse = self.measure_reuse(shared, own, plan.repeats, clock);
            self.prefixes = kept;
            samples.reuse = Some(reuse?);
        }
        before_batches();
        samples.decode = decode;
        if let Some(&largest) = several.iter().max() {
            progress("filling the caches of the batch");
            let caches = self.fill(largest, deepest, clock)?;
            let mut decode = self.blank(&several, plan);
            let (begin, mut round) = (clock.now(), 0);
            while round < plan.repeats || clock.since(begin).0 < plan.min_duration.0 {
                round += 1;
                progress(&format!("batches, round {round} of {}", plan.repeats.max(round)));
                self.time_all(&mut decode, &caches, plan.steps, clock)?;
            }
            samples.decode.extend(decode);
        }
        if let Some(&first) = plan.prompts.first() {
            progress("the first measurement again");
            for round in 0..plan.repeats.min(MOST_AGAIN) {
                samples.again.push(self.time_prefill(first, 2000 + round as u64, clock)?.1);
            }
        }
        Ok(samples)
    }

    /// Refuses what does not fit the context.
    pub fn check_speed(&self, plan: &SpeedPlan) -> Result<()> {
        let context = self.info().context_length;
        let decoded = plan.depths.iter().max().map(|depth| ("a depth and its steps", depth.saturating_add(plan.steps)));
        let prompt = plan.prompts.iter().max().map(|&tokens| ("a prompt", tokens));
        let reused = plan.shared.map(|(shared, own)| ("a prompt with a shared beginning", shared.saturating_add(own)));
        for (what, tokens) in [decoded, prompt, reused].into_iter().flatten() {
            if tokens >= context {
                return Err(usage(format!(
                    "{what} of {tokens} tokens does not fit the context of {context} tokens of {} ({}): ask for fewer tokens, or \
                     take a model with a longer context",
                    self.info().name,
                    self.path().display()
                )));
            }
        }
        Ok(())
    }

    fn blank(&self, batches: &[usize], plan: &SpeedPlan) -> Vec<DecodeSamples> {
        let weights = self.decoder.weight_bytes();
        let all = batches.iter().flat_map(|&batch| plan.depths.iter().map(move |&depth| (batch, depth)));
        all.map(|(batch, depth)| DecodeSamples {
            depth,
            batch,
            seconds: Vec::new(),
            bytes_per_step: weights + batch as u64 * self.decoder.seen_bytes(depth + plan.steps / 2),
        })
        .collect()
    }

    fn time_all(
        &mut self,
        decode: &mut [DecodeSamples],
        caches: &[KvCache],
        steps: usize,
        clock: &Clock,
    ) -> Result<()> {
        for samples in decode {
            let caches: Vec<&KvCache> = caches.iter().take(samples.batch).collect();
            samples.seconds.push(self.time_decode(&caches, samples.depth, steps, clock)?);
        }
        Ok(())
    }

    /// Caches of sequences that share nothing.
    fn fill(&self, count: usize, depth: usize, clock: &Clock) -> Result<Vec<KvCache>> {
        (0..count)
            .map(|index| {
                if depth == 0 {
                    return Ok(self.decoder.cache());
                }
                Ok(self.time_prefill(depth, 1000 + index as u64, clock)?.0)
            })
            .collect()
    }

    pub(super) fn time_prefill(&self, tokens: usize, seed: u64, clock: &Clock) -> Result<(KvCache, Seconds)> {
        let prompt = self.arbitrary(tokens, seed);
        let start = clock.now();
        let mut cache = self.decoder.cache();
        let logits = self.compute(&prompt, &mut cache, &Cancel::default())?.context("nobody cancelled it")?;
        logits.wait()?;
        let time = clock.since(start);
        // Speed of numbers that are none would be a figure all the same.
        log_sum_exp(&logits.whole()?).with_context(|| format!("measuring {}", self.path().display()))?;
        Ok((cache, time))
    }

    pub(super) fn time_decode(
        &self,
        caches: &[&KvCache],
        depth: usize,
        steps: usize,
        clock: &Clock,
    ) -> Result<Seconds> {
        let mut caches = caches.iter().map(|cache| cache.fork()).collect::<Result<Vec<_>>>()?;
        for cache in &mut caches {
            cache.truncate(depth);
            cache.reserve(depth + steps)?;
        }
        let tokens = self.arbitrary(caches.len() * steps, 77);
        let rows: Vec<usize> = (0..caches.len()).collect();
        let start = clock.now();
        for tokens in tokens.chunks(caches.len()) {
            let mut next: Vec<Next<'_>> =
                caches.iter_mut().zip(tokens.chunks(1)).map(|(cache, tokens)| Next { tokens, cache }).collect();
            if let Some(logits) = self.decoder.next(&mut next, &rows)?.first() {
                logits.wait()?;
            }
        }
        Ok(clock.since(start))
    }

    fn measure_reuse(&mut self, shared: usize, own: usize, repeats: usize, clock: &Clock) -> Result<ReuseSamples> {
        let mut samples = ReuseSamples::default();
        let beginning = self.arbitrary(shared, 5);
        let prompt = |ending: Vec<u32>| beginning.iter().copied().chain(ending).collect::<Vec<u32>>();
        let earlier = prompt(self.arbitrary(own, 99));
        let options = GenerateOptions { max_tokens: 1, ..GenerateOptions::default() };
        let first_token = |model: &mut Self, prompt: &[u32]| -> Result<(usize, Seconds)> {
            let start = clock.now();
            let generated = model.generate(prompt, &options, clock, &mut |_| ControlFlow::Break(()))?;
            Ok((generated.cached_tokens, clock.since(start)))
        };
        for round in 0..repeats as u64 {
            let prompt = prompt(self.arbitrary(own, 100 + round));
            self.prefixes = None;
            samples.without.push(first_token(self, &prompt)?.1);
            self.prefixes = Some(self.prefix_store(LoadOptions::default().prefix_cache_bytes));
            first_token(self, &earlier)?;
            let (cached, time) = first_token(self, &prompt)?;
            samples.cached_tokens = cached;
            samples.with.push(time);
        }
        Ok(samples)
    }

    /// Token ids without a meaning, the same for a seed.
    fn arbitrary(&self, count: usize, seed: u64) -> Vec<u32> {
        let vocabulary = self.info().vocabulary.max(1) as u64;
        let mix = |i: u64| (i ^ (seed << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..count as u64).map(|i| ((mix(i) ^ mix(i) >> 29) % vocabulary) as u32).collect()
    }
}

impl Spent {
    fn add(&mut self, time: Seconds, tokens: usize) {
        (self.time, self.tokens) = (self.time + time, self.tokens + tokens);
    }

    /// What was counted so far with what came between two readings; nothing once a reading is missing.
    fn more(sum: Option<Joules>, before: Option<Joules>, after: Option<Joules>) -> Option<Joules> {
        Some(sum.unwrap_or_default() + (after? - before?))
    }
}

/// How often the first measurement is taken again, at most.
const MOST_AGAIN: usize = 5;

/// Bytes that are copied on a device for [`copy_bandwidth`], more than its caches hold.
const COPIED: usize = 1 << 30;
/// Rows and columns of the matrices that [`matmul_rate`] multiplies.
const SIDE: usize = 8192;

/// How many bytes a second a device moves when it copies, those read and those written counted.
pub fn copy_bandwidth(device: &Device, clock: &Clock) -> Result<f64> {
    let from = Tensor::ones(COPIED / size_of::<f32>(), DType::F32, &device.0)?;
    let time = fastest(device, clock, &mut || from.copy())?;
    Ok(2.0 * COPIED as f64 / time.0)
}

/// How many floating-point operations a second a device does when it multiplies large matrices in half precision.
pub fn matmul_rate(device: &Device, clock: &Clock) -> Result<f64> {
    let random = || Tensor::randn(0.0f32, 1.0, (SIDE, SIDE), &device.0)?.to_dtype(DType::F16);
    let (a, b) = (random()?, random()?);
    let time = fastest(device, clock, &mut || a.matmul(&b))?;
    Ok(2.0 * (SIDE as f64).powi(3) / time.0)
}

fn fastest(device: &Device, clock: &Clock, step: &mut dyn FnMut() -> candle_core::Result<Tensor>) -> Result<Seconds> {
    let mut times = Vec::with_capacity(READINGS);
    // The first warms up.
    for _ in 0..=READINGS {
        device.0.synchronize()?;
        let start = clock.now();
        step()?;
        device.0.synchronize()?;
        times.push(clock.since(start));
    }
    let fastest = times.into_iter().skip(1).min_by(|a, b| a.0.total_cmp(&b.0));
    fastest.filter(|time| time.0 > 0.0).context("a probe of the device took no time that can be measured")
}

/// Bytes of memory that are read for [`memory_bandwidth`], far more than caches hold.
const READ: usize = 512 << 20;
/// How often they are read; the fastest time counts.
const READINGS: usize = 5;

/// How many bytes a second all threads of the engine together read from memory.
pub fn memory_bandwidth(clock: &Clock) -> Result<f64> {
    let words = vec![1u64; READ / size_of::<u64>()];
    let isa = Isa::best();
    let mut best: Option<Seconds> = None;
    for _ in 0..READINGS {
        let start = clock.now();
        let total = sum_of(isa, &words);
        let time = clock.since(start);
        if std::hint::black_box(total) == words.len() as u64 && best.is_none_or(|best| time.0 < best.0) {
            best = Some(time);
        }
    }
    let time = best.filter(|time| time.0 > 0.0).context("reading memory took no time that can be measured")?;
    Ok(READ as f64 / time.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::DeviceChoice;
    use crate::nn::testing::{Family, Stored, write_checkpoint};

    fn model() -> (tempfile::TempDir, LanguageModel) {
        model_of(Family::Qwen2)
    }

    fn model_of(family: Family) -> (tempfile::TempDir, LanguageModel) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.gguf");
        write_checkpoint(&path, family, Stored::Q8_0, 3).expect("written");
        let device = Device::open(DeviceChoice::Cpu).expect("cpu");
        (folder, LanguageModel::load(&path, &device, &LoadOptions::default()).expect("loaded"))
    }

    fn meter() -> Meter {
        Meter::none("a test counts no energy")
    }

    fn plan() -> SpeedPlan {
        SpeedPlan {
            prompts: vec![16, 70],
            steps: 3,
            depths: vec![0, 65],
            batches: vec![1, 3],
            repeats: 2,
            shared: Some((100, 20)),
            min_duration: Seconds::ZERO,
        }
    }

    #[test]
    fn everything_asked_for_is_measured_in_every_round() {
        let (_folder, mut model) = model();
        let mut notes = 0;
        let mut between = 0;
        let samples = model
            .measure_speed(&plan(), &Clock::real(), &meter(), &mut |_| notes += 1, &mut || between += 1)
            .expect("measured");
        assert!(notes > 0 && between == 1);
        assert_eq!(samples.prefill.iter().map(|p| (p.0, p.1.len())).collect::<Vec<_>>(), [(16, 2), (70, 2)]);
        let cells: Vec<_> = samples.decode.iter().map(|d| (d.batch, d.depth, d.seconds.len())).collect();
        assert_eq!(cells, [(1, 0, 2), (1, 65, 2), (3, 0, 2), (3, 65, 2)]);
        let reuse = samples.reuse.expect("measured");
        assert_eq!((reuse.cached_tokens, reuse.without.len(), reuse.with.len()), (100, 2, 2));
        let bytes: Vec<u64> = samples.decode.iter().map(|d| d.bytes_per_step).collect();
        // 65 positions of 3 layers, keys and values, 2 heads of 16 numbers of 4 bytes.
        assert_eq!((bytes[1] - bytes[0], bytes[3] - bytes[2]), (65 * 768, 3 * 65 * 768));
    }

    #[test]
    fn rounds_go_on_for_the_least_duration_and_the_first_is_measured_again() {
        let (_folder, mut model) = model();
        let plan = SpeedPlan { batches: vec![1], shared: None, min_duration: Seconds(3.5), repeats: 1, ..plan() };
        // A second passes with every round, and none otherwise.
        let clock = Clock::fake();
        let mut pass = |_: &str| clock.advance(Seconds(1.0));
        let samples = model.measure_speed(&plan, &clock, &meter(), &mut pass, &mut || ()).expect("measured");
        assert_eq!((samples.prefill[0].1.len(), samples.again.len()), (4, 1));
        let [prompts, decoding] = samples.spent;
        assert_eq!(prompts.tokens, samples.prefill[0].1.len() * (16 + 70));
        assert_eq!(decoding.tokens, samples.prefill[0].1.len() * 2 * 3);
        assert!(prompts.energy.is_none(), "nothing was counted");
    }

    #[test]
    fn the_pages_of_a_plan_are_those_that_are_held_at_once() {
        let plan = SpeedPlan { prompts: vec![128, 65], depths: vec![0, 100], steps: 20, shared: None, ..plan() };
        // The deepest and the longest; three sequences and a page that each copies.
        assert_eq!(plan.pages(), (2 + 2, 3 * (2 + 1)));
        // Two pages of a kept prompt, one of the next one's own, and two that its tokens begin.
        let reused = SpeedPlan { batches: vec![1], shared: Some((100, 20)), ..plan };
        assert_eq!(reused.pages(), (2 + 1 + 2, 0));
    }

    #[test]
    fn layers_with_a_window_read_no_more_than_it() {
        let (_folder, model) = model_of(Family::Gemma3);
        // Six of seven layers see 20 positions; keys and values, 2 heads of 32 numbers of 4 bytes.
        assert_eq!(model.decoder.seen_bytes(10), 7 * 10 * 512);
        assert_eq!(model.decoder.seen_bytes(100), (6 * 20 + 100) * 512);
    }

    #[test]
    fn what_does_not_fit_the_context_is_refused_before_anything_is_measured() {
        let (_folder, mut model) = model();
        for plan in [
            SpeedPlan { prompts: vec![40_000], ..plan() },
            SpeedPlan { depths: vec![32_766], ..plan() },
            SpeedPlan { shared: Some((32_000, 900)), ..plan() },
            SpeedPlan { depths: vec![usize::MAX], ..plan() },
            SpeedPlan { shared: Some((usize::MAX, 1)), ..plan() },
        ] {
            let error =
                model.measure_speed(&plan, &Clock::real(), &meter(), &mut |_| (), &mut || ()).expect_err("too long");
            let error = error.to_string();
            assert!(error.contains("context of 32768") && error.contains("model.gguf"), "{error}");
        }
    }

    #[test]
    fn damaged_weights_have_no_speed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.gguf");
        write_checkpoint(&path, Family::Llama, Stored::F32, 3).expect("written");
        let mut bytes = std::fs::read(&path).expect("read");
        let end = bytes.len() - 64;
        bytes[end..].fill(0xff);
        std::fs::write(&path, bytes).expect("written");
        let device = Device::open(DeviceChoice::Cpu).expect("cpu");
        let mut model = LanguageModel::load(&path, &device, &LoadOptions::default()).expect("loaded");
        let error =
            model.measure_speed(&plan(), &Clock::real(), &meter(), &mut |_| (), &mut || ()).expect_err("no numbers");
        let error = format!("{error:#}");
        assert!(error.contains("model.gguf") && error.contains("its weights are damaged"), "{error}");
    }

    #[test]
    fn memory_is_read_at_some_speed() {
        assert!(memory_bandwidth(&Clock::real()).expect("measured") > 1e8);
    }
}
