//! What of a run is on disk already.

use super::share::{Shared, identities};
use crate::error::Result;
use crate::record::{Place, RunHeader, TrialRecord, each_trial};
use crate::trial::Outcome;
use std::collections::HashMap;
use std::path::Path;

/// Which trials need not be made: a bit for each cell and sample.
#[derive(Debug, Clone, Default)]
pub struct Done {
    samples: usize,
    bits: Vec<u64>,
    count: usize,
    failed: usize,
    /// Dollars that were spent on the LLM, what was shared counted once.
    spent_usd: f64,
}

impl Done {
    /// Nothing of so many cells and samples.
    #[must_use]
    pub fn nothing(cells: usize, samples: usize) -> Self {
        Self { samples, bits: vec![0; (cells * samples).div_ceil(64)], ..Self::default() }
    }

    /// What a run's folder holds of the header's cells and samples. Failed trials count as done unless `retry` asks for them
    /// again. `shared` learns of the attempts.
    pub fn of(folder: &Path, header: &RunHeader, retry: bool, shared: Option<&Shared>) -> Result<Self> {
        let numbered =
            |names: Vec<&String>| -> HashMap<String, usize> { names.into_iter().cloned().zip(0..).collect() };
        let cells = numbered(header.cells.iter().map(|cell| &cell.name).collect());
        let samples = numbered(header.samples.iter().collect());
        let mut done = Self::nothing(cells.len(), samples.len());
        let make = |record: TrialRecord, place: Place| {
            let at = cells.get(&record.cell).zip(samples.get(&record.sample)).map(|(&cell, &sample)| (cell, sample));
            let identities: Vec<_> = if shared.is_some() { identities(&record).collect() } else { Vec::new() };
            (at, record.trial.outcome == Outcome::Failed, spent_usd(&record), identities, place)
        };
        each_trial(folder, make, |(at, failed, spent, identities, place)| {
            done.spent_usd += spent;
            if let Some(shared) = shared {
                shared.learn(identities.into_iter(), place);
            }
            if let Some((cell, sample)) = at {
                done.failed += usize::from(failed);
                if !(failed && retry) {
                    done.mark(cell, sample);
                }
            }
        })?;
        Ok(done)
    }

    fn mark(&mut self, cell: usize, sample: usize) {
        let place = cell * self.samples + sample;
        if let Some(word) = self.bits.get_mut(place / 64) {
            let bit = 1_u64 << (place % 64);
            self.count += usize::from(*word & bit == 0);
            *word |= bit;
        }
    }

    /// Whether a trial is done.
    #[must_use]
    pub fn has(&self, cell: usize, sample: usize) -> bool {
        let place = cell * self.samples + sample;
        self.bits.get(place / 64).is_some_and(|word| (word >> (place % 64)) & 1 == 1)
    }

    /// How many trials are done.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many of those on disk failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Dollars that the trials on disk spent on the LLM.
    #[must_use]
    pub fn spent_usd(&self) -> f64 {
        self.spent_usd
    }
}

/// What a trial spent on the LLM: its attempts that were computed for it, and not those that it shares.
#[must_use]
pub fn spent_usd(record: &TrialRecord) -> f64 {
    let own = record.trial.attempts.iter().filter(|attempt| attempt.shared_from.is_none());
    own.filter_map(|attempt| attempt.api_usd).map(|usd| usd.0).sum()
}

#[cfg(test)]
mod tests {
    use crate::metrics::example;
    use crate::record::{RunHeader, RunWriter, TrialRecord, read_at};
    use std::fs;

    fn run() -> (RunHeader, Vec<TrialRecord>) {
        example::run()
    }

    #[test]
    fn a_run_goes_on_after_a_torn_line_wherever_it_was_torn() {
        let (header, trials) = run();
        let folder = tempfile::tempdir().unwrap();
        let (path, lines) = (folder.path().join("trials.jsonl"), |n: usize| {
            trials[..n].iter().flat_map(|trial| RunWriter::line(trial).unwrap()).collect::<Vec<u8>>()
        });
        drop(RunWriter::create(folder.path(), header.clone()).unwrap());
        let (one, two) = (lines(1), lines(2));
        for cut in [one.len(), one.len() + 1, two.len() / 2 + one.len() / 2, two.len() - 2, two.len() - 1, two.len()] {
            fs::write(&path, &two[..cut]).unwrap();
            let (mut writer, torn) = RunWriter::resume(folder.path()).unwrap();
            let whole = if cut >= two.len() - 1 { two.clone() } else { one.clone() };
            assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
            assert_eq!(torn, if cut >= two.len() - 1 { 0 } else { (cut - one.len()) as u64 });
            let place = writer.append(&RunWriter::line(&trials[2]).unwrap()).unwrap();
            assert_eq!(place.offset, whole.len() as u64);
            assert_eq!(read_at(folder.path(), &[place]).unwrap(), [trials[2].clone()]);
            assert_eq!(writer.header(), &header);
        }
    }

    #[test]
    fn a_folder_with_a_run_is_not_begun_again_and_one_in_work_is_not_taken_up() {
        let (header, _) = run();
        let folder = tempfile::tempdir().unwrap();
        let writer = RunWriter::create(folder.path(), header.clone()).unwrap();
        let again = format!("{:#}", RunWriter::create(folder.path(), header).unwrap_err());
        assert!(again.contains("already holds a run") && again.contains("--resume"), "{again}");
        let held = format!("{:#}", RunWriter::resume(folder.path()).unwrap_err());
        assert!(held.contains("another process works on"), "{held}");
        drop(writer);
        assert!(RunWriter::resume(folder.path()).is_ok());
    }
}
