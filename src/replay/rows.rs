//! Outcomes from rows that are in memory, for runs whose records are not: the same as [`read_runs`](super::read_runs) makes of
//! their folders.

use super::{Hardware, Known, Outcomes, Score, Sides};
use crate::metrics::routing::First;
use crate::metrics::statistics::Undefined;
use crate::metrics::{Answered, Rows};
use crate::record::RunHeader;
use std::collections::HashMap;

/// The outcomes of runs of the same two models; `headers` are those of the runs that `rows` were read from, in order.
pub fn outcomes_of_rows(headers: &[RunHeader], rows: &Rows) -> Result<Outcomes, Undefined> {
    let runs = rows.answered_by_both();
    let mut notes = Vec::new();
    let mut queries: HashMap<(&str, u32), u32> = HashMap::new();
    let mut query_of = Vec::new();
    let mut pairs: Vec<(Answered, Answered)> = Vec::new();
    for (header, run) in headers.iter().zip(&runs) {
        for &(sample, weak, strong) in &run.rows {
            let next = u32::try_from(queries.len()).unwrap_or(u32::MAX);
            query_of.push(*queries.entry((&header.task_sha256, sample)).or_insert(next));
            pairs.push((weak, strong));
        }
        let skipped = run.samples - run.rows.len();
        if skipped > 0 {
            notes.push(format!(
                "{skipped} of {} samples of {} are left out: not both models answered them plainly, so the rest may be a \
                 selection.",
                run.samples, header.id
            ));
        }
    }
    if pairs.is_empty() {
        return Err(Undefined("no sample was answered by both models to the plain prompt".into()));
    }
    if headers.iter().any(|header| header.llm_is_stand_in) {
        notes.push("The LLM is a stand-in on this machine: its latency is not that of a remote API.".to_owned());
    }
    let rates: Option<Vec<f64>> =
        headers.iter().map(|header| header.hardware_price.as_ref().map(|price| price.usd_per_hour)).collect();
    let rate = rates.filter(|rates| rates.iter().all(|rate| *rate == rates[0])).map(|rates| rates[0]);
    let strong_usd: Option<Vec<f64>> = pairs.iter().map(|(_, strong)| strong.api_usd).collect();
    let cost = rate.zip(strong_usd).map(|(rate, strong)| Sides {
        weak: pairs.iter().map(|(weak, _)| weak.total_s * rate / 3600.0).collect(),
        strong,
    });
    if cost.is_none() {
        notes.push("Not every answer has a price in these runs: a cost is a call of the strong model.".to_owned());
    }
    let hardware = rate.map(|usd_per_hour| Hardware { usd_per_hour, is_weak_cost: true });
    let quality = |right: bool| f64::from(u8::from(right));
    let score = |name: &str, place: usize| Score {
        name: name.to_owned(),
        values: pairs.iter().map(|(weak, _)| weak.confidence[place]).collect(),
        first: First::Low,
        known: Known::AfterWeak,
    };
    let (weak_model, strong_model) =
        headers.first().map_or(("", ""), |header| (&*header.slm.model, &*header.llm.model));
    Ok(Outcomes {
        weak_model: weak_model.to_owned(),
        strong_model: strong_model.to_owned(),
        weak: pairs.iter().map(|(weak, _)| quality(weak.right)).collect(),
        strong: pairs.iter().map(|(_, strong)| quality(strong.right)).collect(),
        hardware: hardware.filter(|_| cost.is_some()),
        cost,
        latency: Some(Sides {
            weak: pairs.iter().map(|(weak, _)| weak.total_s).collect(),
            strong: pairs.iter().map(|(_, strong)| strong.total_s).collect(),
        }),
        scores: vec![score("confidence", 0), score("confidence-mean", 1), score("confidence-min", 2)],
        queries: u32::try_from(queries.len()).unwrap_or(u32::MAX),
        query_of,
        texts: None,
        excluded: 0,
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;
    use crate::record::RunWriter;

    #[test]
    fn rows_give_the_outcomes_that_the_folder_gives() {
        let (header, trials) = example::run();
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut writer = RunWriter::create(&run, header.clone()).unwrap();
        for trial in &trials {
            writer.append(&RunWriter::line(trial).unwrap()).unwrap();
        }
        let read = super::super::read_runs(std::slice::from_ref(&run)).unwrap();
        let ours = outcomes_of_rows(std::slice::from_ref(&header), &Rows::of(&header, &trials)).unwrap();
        assert!(read.weak.len() >= 4, "{}", read.weak.len());
        // Confidences are not numbers here, which are equal to nothing.
        let bits = |outcomes: &Outcomes| -> Vec<Vec<u64>> {
            outcomes.scores.iter().map(|score| score.values.iter().map(|v| v.to_bits()).collect()).collect()
        };
        assert_eq!(bits(&ours), bits(&read));
        let plain = |outcomes: Outcomes| Outcomes { scores: Vec::new(), notes: Vec::new(), ..outcomes };
        assert_eq!(plain(ours.clone()), plain(read.clone()));
        assert_eq!(ours.notes.len(), read.notes.len());
        let nobody = outcomes_of_rows(std::slice::from_ref(&header), &Rows::of(&header, &[]));
        assert!(nobody.unwrap_err().0.contains("no sample"));
    }
}
