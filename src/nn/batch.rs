//! Continuous batching: sequences that are generated together, which come and go while the others go on.
//!
//! Each step is one pass over all weights. It computes the next tokens of the sequences that are being answered and, beside
//! them, a bounded part of the prompts that came in; so a long prompt holds nobody up for longer than such a part takes.

use super::LanguageModel;
use super::generate::{Generated, Prompt, Stop, Token};
use super::kernels::PAGE;
use super::logits::Logits;
use super::sequence::Sequence;
use crate::clock::{Clock, Moment};
use crate::error::{Context, Result};
use std::ops::ControlFlow;

/// The sequences that are generated together.
#[derive(Default)]
pub struct Batch {
    /// In the order in which they came in.
    sequences: Vec<Sequence>,
}

/// Prompts get this share of a step's rows at least, however many sequences are being answered.
const LEAST_SHARE_OF_PROMPTS: usize = 4;

impl Batch {
    /// How many sequences are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is nothing to compute.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Forgets all sequences, which is all that can be done after a failed step.
    pub fn clear(&mut self) {
        self.sequences.clear();
    }
}

/// What a step computes of a sequence.
enum Part {
    /// Nothing.
    Rest,
    /// So many tokens of its prompt; whether they are the last.
    Prompt(usize, bool),
    /// Its next tokens.
    Answer,
}

impl LanguageModel {
    /// Takes a prompt into a batch. `number` is what its tokens and its end are told by; its time counts from `since` on.
    pub fn admit(
        &mut self,
        batch: &mut Batch,
        number: usize,
        prompt: &Prompt<'_>,
        since: Moment,
        clock: &Clock,
    ) -> Result<()> {
        self.check(prompt.tokens)?;
        let sequence = Sequence::open(self, number, prompt, self.decoder.cache(), since, clock)?;
        batch.sequences.push(sequence);
        Ok(())
    }

    /// Computes the next tokens of all sequences of a batch. Returns those that came to their end, by their numbers, which
    /// leave the batch. An error of the whole is one of every sequence: the batch must then be cleared.
    pub fn step(
        &mut self,
        batch: &mut Batch,
        clock: &Clock,
        on_token: &mut dyn FnMut(usize, &Token) -> ControlFlow<()>,
    ) -> Result<Vec<(usize, Result<Generated>)>> {
        for sequence in &mut batch.sequences {
            if sequence.opening.is_some() && sequence.cancel.is_asked_for() {
                sequence.abandon(clock);
            }
        }
        let parts = self.parts(&mut batch.sequences)?;
        let mut next = Vec::new();
        let mut wanted = Vec::new();
        let mut first = 0;
        for (sequence, part) in batch.sequences.iter_mut().zip(&parts) {
            let (rows, count) = match part {
                Part::Rest => continue,
                Part::Prompt(count, last) => (if *last { count - 1..*count } else { 0..0 }, *count),
                Part::Answer => (sequence.rows(), sequence.rows().end),
            };
            wanted.extend(rows.map(|row| first + row));
            first += count;
            next.push(sequence.next(count));
        }
        let mut logits = match (next.is_empty(), wanted.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => self.decoder.forward(&mut next, &[]).map(|_| Vec::new())?,
            (false, false) => self.decoder.next(&mut next, &wanted)?,
        };
        drop(next);
        if wanted.len() > 1 {
            let each = batch.sequences.iter().zip(&parts).flat_map(|(sequence, part)| match part {
                Part::Rest | Part::Prompt(_, false) => std::iter::repeat_n(0, 0),
                Part::Prompt(_, true) => std::iter::repeat_n(sequence.leaders(), 1),
                Part::Answer => std::iter::repeat_n(sequence.leaders(), sequence.rows().len()),
            });
            Logits::lead(&mut logits, &each.collect::<Vec<_>>());
        }
        let mut logits = logits.into_iter();
        let mut failures = Vec::new();
        for (sequence, part) in batch.sequences.iter_mut().zip(&parts) {
            let went_on = match part {
                Part::Rest => Ok(()),
                Part::Prompt(_, false) => self.keep_whole_pages(sequence),
                Part::Prompt(_, true) => {
                    let logits = logits.next().context("a row of logits is missing")?;
                    logits.wait()?;
                    let opening = sequence.opening.take().context("a prompt is missing")?;
                    self.keep(sequence.scope.as_deref(), &opening.given, &sequence.cache)?;
                    sequence.begin(self, opening, &logits, clock, on_token)
                }
                Part::Answer => sequence.accept(self, &mut logits, clock, on_token),
            };
            // One whose logits are no numbers, say, is not the others' business.
            if let Err(error) = went_on {
                sequence.stop = Some(Stop::Cancelled);
                failures.push((sequence.number, error));
            }
        }
        self.take_out(batch, failures)
    }

    /// What to compute in this step: the next tokens of every answer, and of prompts as much as the step has room for.
    fn parts(&mut self, sequences: &mut [Sequence]) -> Result<Vec<Part>> {
        let alone = sequences.len() == 1;
        let mut answers = 0;
        for sequence in sequences.iter_mut().filter(|sequence| sequence.opening.is_none() && sequence.stop.is_none()) {
            sequence.prepare(self.prompt_lookup && alone);
            answers += sequence.rows().end;
        }
        let longest = sequences.iter().filter_map(|sequence| sequence.opening.as_ref()).map(|o| o.given.len()).max();
        let chunk = self.chunk(longest.unwrap_or(0));
        let mut room = chunk.saturating_sub(answers).max(chunk / LEAST_SHARE_OF_PROMPTS);
        let mut parts = Vec::with_capacity(sequences.len());
        for index in 0..sequences.len() {
            let (earlier, rest) = sequences.split_at_mut(index);
            let Some(sequence) = rest.first_mut() else { break };
            let is_opening = sequence.opening.is_some();
            parts.push(match (&sequence.stop, is_opening) {
                (Some(_), _) => Part::Rest,
                (None, false) => Part::Answer,
                (None, true) if room == 0 || self.waits(sequence, earlier) => Part::Rest,
                (None, true) => {
                    self.recall(sequence)?;
                    let left = sequence.left();
                    let count = left.min(room);
                    room -= count;
                    Part::Prompt(count, count == left)
                }
            });
        }
        Ok(parts)
    }

    /// Whether most of a prompt is just being computed for another one, and can be taken from there soon.
    fn waits(&self, sequence: &Sequence, earlier: &[Sequence]) -> bool {
        let Some(own) = sequence.opening.as_ref().filter(|own| !own.begun && self.prefixes.is_some()) else {
            return false;
        };
        let of_use = |other: &Sequence| other.scope.is_none() || other.scope == sequence.scope;
        earlier.iter().filter(|other| of_use(other)).any(|other| {
            other.opening.as_ref().is_some_and(|opening| {
                let shared = own.given.iter().zip(&opening.given).take_while(|(a, b)| a == b).count();
                shared > other.cache.len() && (shared >= PAGE || 2 * shared > own.given.len())
            })
        })
    }

    /// Takes what is kept of a prompt.
    fn recall(&mut self, sequence: &mut Sequence) -> Result<()> {
        let Some(opening) = sequence.opening.as_mut().filter(|opening| !opening.begun) else { return Ok(()) };
        opening.begun = true;
        if let Some(store) = &mut self.prefixes {
            // The last token is always computed: its logits are what was asked for.
            let before_last = &opening.given[..opening.given.len() - 1];
            for (page, positions) in store.walk(sequence.scope.as_deref(), before_last) {
                sequence.cache.append(&page, positions)?;
            }
        }
        sequence.cached_tokens = sequence.cache.len().min(sequence.all.len());
        sequence.cache.reserve(opening.given.len())
    }

    /// Keeps what is computed of a prompt, so that others that begin alike need not wait for its end.
    fn keep_whole_pages(&mut self, sequence: &Sequence) -> Result<()> {
        let Some(opening) = &sequence.opening else { return Ok(()) };
        let whole = sequence.cache.len() / PAGE * PAGE;
        match &mut self.prefixes {
            Some(store) => {
                store.keep(sequence.scope.as_deref(), &opening.given[..whole], |index| sequence.cache.page(index))
            }
            None => Ok(()),
        }
    }

    fn take_out(
        &mut self,
        batch: &mut Batch,
        mut failures: Vec<(usize, crate::error::Error)>,
    ) -> Result<Vec<(usize, Result<Generated>)>> {
        let all = std::mem::take(&mut batch.sequences);
        let (ended, going): (Vec<_>, Vec<_>) = all.into_iter().partition(|sequence| sequence.stop.is_some());
        batch.sequences = going;
        let mut finished = Vec::with_capacity(ended.len());
        for mut sequence in ended {
            let number = sequence.number;
            if let Some(at) = failures.iter().position(|failure| failure.0 == number) {
                finished.push((number, Err(failures.swap_remove(at).1)));
                continue;
            }
            // Forced tokens are computed before they are told, and a stop text or the caller may end the answer among them.
            sequence.cache.truncate(sequence.cache.len().min(sequence.all.len()));
            // What was generated may be the beginning of the next prompt, as in a conversation.
            self.keep(sequence.scope.as_deref(), &sequence.all, &sequence.cache)?;
            finished.push((number, Ok(sequence.finish())));
        }
        Ok(finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::{Family, Stored, prompt, write_checkpoint};
    use crate::nn::{Cancel, Device, DeviceChoice, GenerateOptions, LoadOptions};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn model(options: &LoadOptions) -> (tempfile::TempDir, LanguageModel) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.gguf");
        write_checkpoint(&path, Family::Qwen2, Stored::Q8_0, 3).expect("written");
        let device = Device::open(DeviceChoice::Cpu).expect("cpu");
        let model = LanguageModel::load(&path, &device, options).expect("loaded");
        (folder, model)
    }

    fn options(number: usize) -> GenerateOptions {
        GenerateOptions {
            max_tokens: 3 + 7 * (number % 4),
            temperature: 0.5 * (number % 3) as f64,
            seed: number as u64,
            top_logprobs: number % 2,
            ..GenerateOptions::default()
        }
    }

    #[test]
    fn who_comes_while_others_are_answered_gets_what_it_would_get_alone() {
        let lengths = [400, 3, 130, 64, 1, 250, 129, 30, 520, 7];
        // Some begin alike, so that one waits for what another computes.
        let prompts: Vec<Vec<u32>> = lengths
            .iter()
            .enumerate()
            .map(|(number, &length)| if number % 2 == 0 { prompt(length) } else { prompt(length + 1)[1..].to_vec() })
            .collect();
        let (_folder, mut alone) = model(&LoadOptions { prefix_cache: false, ..LoadOptions::default() });
        let expected: Vec<Generated> = prompts
            .iter()
            .enumerate()
            .map(|(number, tokens)| {
                alone
                    .generate(tokens, &options(number), &Clock::fake(), &mut |_| ControlFlow::Continue(()))
                    .expect("alone")
            })
            .collect();
        for (every, prefix_cache) in [(1, true), (3, true), (2, false), (11, true)] {
            let (_folder, mut model) = model(&LoadOptions { prefix_cache, ..LoadOptions::default() });
            let clock = Clock::fake();
            let mut batch = Batch::default();
            let mut found = BTreeMap::new();
            let mut shown = vec![0; prompts.len()];
            let mut come = 0;
            for step in 0.. {
                if step % every == 0 && come < prompts.len() {
                    let own = options(come);
                    let asked = Prompt { tokens: &prompts[come], options: &own };
                    model.admit(&mut batch, come, &asked, clock.now(), &clock).expect("admitted");
                    come += 1;
                }
                let ended = model.step(&mut batch, &clock, &mut |number, _| {
                    shown[number] += 1;
                    ControlFlow::Continue(())
                });
                found.extend(ended.expect("a step").into_iter().map(|(number, one)| (number, one.expect("an answer"))));
                if found.len() == prompts.len() {
                    break;
                }
                assert!(step < 2000, "it does not end");
            }
            for (number, expected) in expected.iter().enumerate() {
                let found = &found[&number];
                assert_eq!((&expected.tokens, expected.stop), (&found.tokens, found.stop), "{number} of every {every}");
                assert_eq!(shown[number], expected.tokens.len());
            }
        }
    }

    #[test]
    fn a_long_prompt_holds_an_answer_up_for_a_part_of_it_at_a_time() {
        let (_folder, mut model) = model(&LoadOptions::default());
        let clock = Clock::fake();
        let mut batch = Batch::default();
        let own = GenerateOptions { max_tokens: 60, ..GenerateOptions::default() };
        let short = prompt(5);
        model.admit(&mut batch, 0, &Prompt { tokens: &short, options: &own }, clock.now(), &clock).expect("admitted");
        let step = |model: &mut LanguageModel, batch: &mut Batch| {
            let mut told = Vec::new();
            let ended = model.step(batch, &clock, &mut |number, _| {
                told.push(number);
                ControlFlow::Continue(())
            });
            assert!(ended.expect("a step").into_iter().all(|(_, one)| one.is_ok()));
            told
        };
        assert_eq!(step(&mut model, &mut batch), [0]);
        let long = prompt(1000);
        model.admit(&mut batch, 1, &Prompt { tokens: &long, options: &own }, clock.now(), &clock).expect("admitted");
        let mut steps = 0;
        loop {
            let told = step(&mut model, &mut batch);
            assert!(told.contains(&0), "the answer goes on in every step");
            steps += 1;
            if told.contains(&1) {
                break;
            }
        }
        assert!((8..=10).contains(&steps), "{steps} parts of about {}", model.chunk(1000));
    }

    #[test]
    fn who_is_not_waited_for_leaves_and_the_others_stay() {
        let (_folder, mut model) = model(&LoadOptions::default());
        let clock = Clock::fake();
        let gone = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&gone);
        let leaving = GenerateOptions {
            max_tokens: 9,
            cancel: Cancel::when(move || flag.load(Ordering::Relaxed)),
            ..GenerateOptions::default()
        };
        let (first, second) = (prompt(700), prompt(4));
        let mut batch = Batch::default();
        for (number, tokens) in [&first, &second].into_iter().enumerate() {
            let asked = Prompt { tokens, options: &leaving };
            model.admit(&mut batch, number, &asked, clock.now(), &clock).expect("admitted");
        }
        let go = |model: &mut LanguageModel, batch: &mut Batch| {
            model.step(batch, &clock, &mut |_, _| ControlFlow::Continue(())).expect("a step")
        };
        assert!(go(&mut model, &mut batch).is_empty());
        gone.store(true, Ordering::Relaxed);
        let ended = go(&mut model, &mut batch);
        let stops: Vec<_> = ended.iter().map(|(number, one)| (*number, one.as_ref().expect("ended").stop)).collect();
        assert!(stops.contains(&(0, Stop::Cancelled)), "{stops:?}");
        let wrong = GenerateOptions { temperature: -1.0, ..GenerateOptions::default() };
        let asked = Prompt { tokens: &second, options: &wrong };
        assert!(model.admit(&mut batch, 7, &asked, clock.now(), &clock).is_err());
        assert!(model.admit(&mut batch, 8, &Prompt { tokens: &[], options: &leaving }, clock.now(), &clock).is_err());
    }
}
