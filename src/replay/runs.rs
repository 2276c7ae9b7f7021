//! Outcomes from runs of `bench` in which both models answered the same samples.

use super::{Hardware, Known, Outcomes, Score, Sides};
use crate::error::{Result, usage};
use crate::metrics::routing::First;
use crate::models::Identity;
use crate::record::{self, Run, TrialRecord};
use crate::router::{Estimator, PromptVariant, Tier};
use crate::trial::Attempt;
use std::collections::HashMap;
use std::path::PathBuf;

/// A model's first answer to the plain prompt of a sample.
pub(super) struct Answer<'a> {
    pub(super) right: bool,
    pub(super) attempt: &'a Attempt,
    pub(super) record: &'a TrialRecord,
}

/// What both models answered to the plain prompt of a sample.
pub(super) struct Pair<'a> {
    pub(super) run: &'a Run,
    pub(super) weak: Answer<'a>,
    pub(super) strong: Answer<'a>,
}

/// The rows of some runs, and what the reader must know.
pub(super) struct Paired<'a> {
    pub(super) rows: Vec<Pair<'a>>,
    /// The query of each row, by its number among the distinct ones.
    pub(super) query_of: Vec<u32>,
    pub(super) queries: u32,
    pub(super) notes: Vec<String>,
}

/// Reads runs. Each sample of a run that both models answered plainly is a row; samples that stand in several runs of a task
/// are one query.
pub fn read_runs(folders: &[PathBuf]) -> Result<Outcomes> {
    let runs = load(folders)?;
    let paired = pair(&runs, folders)?;
    Ok(outcomes(&runs, paired))
}

/// The runs of these folders, all of the same two models.
pub(super) fn load(folders: &[PathBuf]) -> Result<Vec<Run>> {
    let runs = folders.iter().map(|folder| record::read(folder)).collect::<Result<Vec<Run>>>()?;
    let Some(first) = runs.first() else { return Err(usage("name the folder of a run, or a table by --outcomes")) };
    let [weak, strong] = models(first);
    for (run, folder) in runs.iter().zip(folders) {
        let [other_weak, other_strong] = models(run);
        if !(weak.is(&other_weak) && strong.is(&other_strong)) {
            return Err(usage(format!(
                "{} holds {other_weak} and {other_strong}, the runs before it {weak} and {strong}: give runs of the same two \
                 models together",
                folder.display()
            )));
        }
    }
    Ok(runs)
}

/// The weak and the strong model.
pub(super) fn models(run: &Run) -> [Identity; 2] {
    [&run.header.slm, &run.header.llm].map(|info| Identity { name: info.model.clone(), sha256: info.sha256.clone() })
}

/// That a run ended early, and why: what is missing of it may be a selection.
fn cut_short(run: &Run) -> Option<String> {
    let header = &run.header;
    let why = match (&header.aborted, header.interrupted, &header.finished_at) {
        (Some(why), ..) => format!("gave up ({why})"),
        (None, true, _) => "was interrupted".to_owned(),
        (None, false, None) => "never finished: it was killed, or is still at work".to_owned(),
        (None, false, Some(_)) => return None,
    };
    Some(format!("The run {} {why}.", header.id))
}

/// The samples that both models answered plainly.
pub(super) fn pair<'a>(runs: &'a [Run], folders: &[PathBuf]) -> Result<Paired<'a>> {
    let mut rows: Vec<Pair> = Vec::new();
    let mut query_of = Vec::new();
    let mut queries: HashMap<(&str, &str), u32> = HashMap::new();
    let mut notes = Vec::new();
    for (run, folder) in runs.iter().zip(folders) {
        let (weak, strong) = (first_answers(run, Tier::Slm), first_answers(run, Tier::Llm));
        let mut skipped = 0;
        for sample in &run.header.samples {
            let key = |answers: &HashMap<&str, (usize, usize)>| {
                let &(trial, attempt) = answers.get(&**sample)?;
                let record = run.trials.get(trial)?;
                let right = record.attempts_correct.get(attempt).copied().flatten()?;
                Some(Answer { right, attempt: record.trial.attempts.get(attempt)?, record })
            };
            let (Some(weak), Some(strong)) = (key(&weak), key(&strong)) else {
                skipped += 1;
                continue;
            };
            let next = u32::try_from(queries.len()).unwrap_or(u32::MAX);
            query_of.push(*queries.entry((&run.header.task_sha256, sample)).or_insert(next));
            rows.push(Pair { run, weak, strong });
        }
        notes.extend(cut_short(run));
        if run.torn {
            notes.push(format!(
                "The last line of {} was torn by a crash and is left out.",
                folder.join("trials.jsonl").display()
            ));
        }
        if skipped > 0 {
            notes.push(format!(
                "{skipped} of {} samples of {} are left out: not both models answered them plainly, so the rest may be a \
                 selection.",
                run.header.samples.len(),
                folder.display()
            ));
        }
    }
    if rows.is_empty() {
        return Err(usage(
            "no sample was answered by both models in these runs: bench with `--collect both`, or with routers that ask both, \
             such as `--router slm-only,llm-first`",
        ));
    }
    let queries = u32::try_from(queries.len()).unwrap_or(u32::MAX);
    Ok(Paired { rows, query_of, queries, notes })
}

/// The rows as outcomes.
pub(super) fn outcomes(runs: &[Run], paired: Paired<'_>) -> Outcomes {
    let Paired { rows, query_of, queries, mut notes } = paired;
    if rows.iter().any(|row| row.run.header.llm_is_stand_in) {
        notes.push("The LLM is a stand-in on this machine: its latency is not that of a remote API.".to_owned());
    }
    let quality = |right: bool| f64::from(u8::from(right));
    let rates: Option<Vec<f64>> =
        runs.iter().map(|run| run.header.hardware_price.as_ref().map(|price| price.usd_per_hour)).collect();
    let rate = rates.filter(|rates| rates.iter().all(|rate| *rate == rates[0])).map(|rates| rates[0]);
    let strong_usd: Option<Vec<f64>> = rows.iter().map(|row| Some(row.strong.attempt.api_usd?.0)).collect();
    let cost = rate.zip(strong_usd).map(|(rate, strong)| Sides {
        weak: rows.iter().map(|row| row.weak.attempt.total_s.0 * rate / 3600.0).collect(),
        strong,
    });
    if cost.is_none() {
        notes.push("Not every answer has a price in these runs: a cost is a call of the strong model.".to_owned());
    }
    let hardware = rate.map(|usd_per_hour| Hardware { usd_per_hour, is_weak_cost: true });
    let of_first = |model: fn(&Run) -> &String| rows.first().map_or_else(String::new, |row| model(row.run).clone());
    Outcomes {
        weak_model: of_first(|run| &run.header.slm.model),
        strong_model: of_first(|run| &run.header.llm.model),
        weak: rows.iter().map(|row| quality(row.weak.right)).collect(),
        strong: rows.iter().map(|row| quality(row.strong.right)).collect(),
        hardware: hardware.filter(|_| cost.is_some()),
        cost,
        latency: Some(Sides {
            weak: rows.iter().map(|row| row.weak.attempt.total_s.0).collect(),
            strong: rows.iter().map(|row| row.strong.attempt.total_s.0).collect(),
        }),
        scores: scores(&rows),
        queries,
        query_of,
        texts: None,
        excluded: 0,
        notes,
    }
}

/// For each sample, where the first plain answer of a tier stands: trial and attempt. All cells of a run send the same plain
/// prompt where they share a memory, so the first one stands for them; memories are told apart by their first cell.
fn first_answers(run: &Run, tier: Tier) -> HashMap<&str, (usize, usize)> {
    let memory = run.header.cells.first().map(|cell| cell.memory);
    let mut answers = HashMap::new();
    for (trial, record) in run.trials.iter().enumerate().filter(|(_, record)| Some(record.memory) == memory) {
        if let Some(attempt) = first_plain(record, tier, &run.header.slm.model) {
            answers.entry(&*record.sample).or_insert((trial, attempt));
        }
    }
    answers
}

fn first_plain(record: &TrialRecord, tier: Tier, slm: &str) -> Option<usize> {
    let attempts = &record.trial.attempts;
    // A cascade's further models are of the SLM's tier; an endpoint may call its model by another name than was asked for.
    let made = |attempt: &Attempt| attempt.tier == tier && (tier == Tier::Llm || attempt.model == slm);
    let first = attempts.iter().position(|attempt| made(attempt) && attempt.failure.is_none())?;
    (attempts.get(first)?.variant == PromptVariant::Plain).then_some(first)
}

/// The confidence of the weak model's answers, by each reading that was recorded.
fn scores(rows: &[Pair]) -> Vec<Score> {
    let reading = |name: &str, read: &dyn Fn(&crate::trial::Confidence) -> f64| {
        let values = rows.iter().map(|row| row.weak.attempt.confidence.as_ref().map_or(f64::NAN, read)).collect();
        Score { name: name.to_owned(), values, first: First::Low, known: Known::AfterWeak }
    };
    vec![
        reading("confidence", &|confidence| confidence.value(Estimator::default()).unwrap_or(f64::NAN)),
        reading("confidence-mean", &|confidence| confidence.mean),
        reading("confidence-min", &|confidence| confidence.min),
    ]
}
