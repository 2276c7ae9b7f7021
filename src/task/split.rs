//! Which sample belongs to which split, and which samples are taken: by hash, never by position, so that neither the
//! order of a file nor a random generator's version changes the choice.

use super::{Sample, Split, Task};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Cuts samples 25/25/50 into train, dev and test, label by label.
///
/// What does not divide goes to the test split first, then to train: the smallest label is still scored, and shown as an
/// example if it can be.
pub(super) fn cut(samples: &mut [Sample], seed: u64) {
    let mut by_label: BTreeMap<Option<String>, Vec<&mut Sample>> = BTreeMap::new();
    for sample in samples {
        by_label.entry(sample.target.label.clone()).or_default().push(sample);
    }
    for members in by_label.values_mut() {
        members.sort_by_cached_key(|sample| (rank(seed, "cut", &sample.query.id), sample.query.id.clone()));
        let count = members.len();
        let train = (count / 2).div_ceil(2);
        let dev = count / 2 - train;
        for (place, sample) in members.iter_mut().enumerate() {
            sample.split = match place {
                _ if place < train => Split::Train,
                _ if place < train + dev => Split::Dev,
                _ => Split::Test,
            };
        }
    }
}

/// The samples of a split, labels in turn. A larger limit continues the choice of a smaller one.
pub(super) fn choose(task: &Task, split: Split, limit: Option<usize>, seed: u64) -> Vec<&Sample> {
    let Some(limit) = limit else { return task.split(split).collect() };
    let mut by_label: BTreeMap<Option<&str>, Vec<&Sample>> = BTreeMap::new();
    for sample in task.split(split) {
        by_label.entry(sample.target.label.as_deref()).or_default().push(sample);
    }
    let mut queues: Vec<_> = by_label.into_iter().collect();
    queues.sort_by_cached_key(|(label, _)| rank(seed, "label", label.unwrap_or_default()));
    for (_, queue) in &mut queues {
        queue.sort_by_cached_key(|sample| (rank(seed, "sample", &sample.query.id), &sample.query.id));
    }
    let rounds = queues.iter().map(|(_, queue)| queue.len()).max().unwrap_or(0);
    (0..rounds)
        .flat_map(|round| queues.iter().filter_map(move |(_, queue)| queue.get(round).copied()))
        .take(limit)
        .collect()
}

/// The samples of a split, whatever their labels. A larger limit continues the choice of a smaller one.
pub(super) fn draw(task: &Task, split: Split, limit: Option<usize>, seed: u64) -> Vec<&Sample> {
    let mut all: Vec<&Sample> = task.split(split).collect();
    if let Some(limit) = limit {
        all.sort_by_cached_key(|sample| (rank(seed, "sample", &sample.query.id), &sample.query.id));
        all.truncate(limit);
    }
    all
}

/// A number that depends on nothing but its arguments.
fn rank(seed: u64, purpose: &str, name: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(purpose)
        .chain_update([0])
        .chain_update(name)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Query, Target};
    use proptest::prelude::*;

    fn sample(id: usize, label: &str) -> Sample {
        Sample {
            query: Query { id: format!("s{id}"), input: String::new() },
            target: Target { label: Some(label.to_owned()), ..Target::default() },
            split: Split::Test,
            difficulty: None,
            tags: Vec::new(),
        }
    }

    fn task(samples: Vec<Sample>) -> Task {
        Task {
            name: String::new(),
            description: String::new(),
            dir: std::path::PathBuf::new(),
            sha256: String::new(),
            labels: Vec::new(),
            samples,
            articles: Vec::new(),
            static_memory: None,
            system_prompt: String::new(),
            examples_per_label: 0,
            schema: serde_json::Value::Null,
            schema_references: vec![],
            schema_formats: false,
            label_field: String::new(),
            answer_field: None,
            citations_field: None,
            needs_human_field: None,
            specialists: Vec::new(),
            safety: std::collections::BTreeMap::new(),
        }
    }

    fn ids(samples: &[&Sample]) -> Vec<String> {
        samples.iter().map(|sample| sample.query.id.clone()).collect()
    }

    fn splits(samples: &[Sample]) -> BTreeMap<String, Split> {
        samples.iter().map(|sample| (sample.query.id.clone(), sample.split)).collect()
    }

    #[test]
    fn a_cut_is_25_25_50_in_every_label() {
        let mut samples: Vec<Sample> = (0..120).map(|i| sample(i, ["a", "b", "c"][i % 3])).collect();
        cut(&mut samples, 7);
        for label in ["a", "b", "c"] {
            let of =
                |split| samples.iter().filter(|s| s.target.label.as_deref() == Some(label) && s.split == split).count();
            assert_eq!((of(Split::Train), of(Split::Dev), of(Split::Test)), (10, 10, 20));
        }
    }

    #[test]
    fn small_labels_are_scored_first_then_shown_then_tuned_on() {
        for (count, expected) in
            [(1, (0, 0, 1)), (2, (1, 0, 1)), (3, (1, 0, 2)), (4, (1, 1, 2)), (5, (1, 1, 3)), (7, (2, 1, 4))]
        {
            let mut samples: Vec<Sample> = (0..count).map(|i| sample(i, "a")).collect();
            cut(&mut samples, 0);
            let of = |split| samples.iter().filter(|s| s.split == split).count();
            assert_eq!((of(Split::Train), of(Split::Dev), of(Split::Test)), expected);
        }
    }

    #[test]
    fn neither_cut_nor_choice_depends_on_the_order_of_the_file() {
        let mut samples: Vec<Sample> = (0..100).map(|i| sample(i, ["a", "b", "c"][i % 3])).collect();
        let mut reversed: Vec<Sample> = samples.iter().rev().cloned().collect();
        cut(&mut samples, 3);
        cut(&mut reversed, 3);
        assert_eq!(splits(&samples), splits(&reversed));
        let (a, b) = (task(samples), task(reversed));
        assert_eq!(ids(&choose(&a, Split::Test, Some(20), 1)), ids(&choose(&b, Split::Test, Some(20), 1)));
    }

    #[test]
    fn the_seed_matters() {
        let mut samples: Vec<Sample> = (0..100).map(|i| sample(i, "a")).collect();
        let mut again = samples.clone();
        cut(&mut samples, 1);
        cut(&mut again, 2);
        assert_ne!(splits(&samples), splits(&again));
        let task = task(samples);
        assert_ne!(ids(&choose(&task, Split::Test, Some(10), 1)), ids(&choose(&task, Split::Test, Some(10), 2)));
    }

    #[test]
    fn twenty_four_of_eight_labels_are_three_of_each_in_turn() {
        let labels = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let task = task((0..256).map(|i| sample(i, labels[i % 8])).collect());
        let chosen = choose(&task, Split::Test, Some(24), 42);
        let order: Vec<_> = chosen.iter().map(|s| s.target.label.clone()).collect();
        for round in order.chunks(8) {
            let mut round = round.to_vec();
            round.sort();
            assert_eq!(round, labels.map(|l| Some(l.to_owned())));
        }
        assert_eq!(order.len(), 24);
    }

    #[test]
    fn no_limit_is_everything_in_file_order() {
        let task = task((0..10).map(|i| sample(i, "a")).collect());
        let chosen = choose(&task, Split::Test, None, 42);
        assert_eq!(ids(&chosen), (0..10).map(|i| format!("s{i}")).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_choice_has_no_repeats_and_begins_every_larger_choice(
            labels in prop::collection::vec(0..4usize, 0..60), limit in 0..70usize, seed: u64,
        ) {
            let names = ["a", "b", "c", "d"];
            let task = task(labels.iter().enumerate().map(|(i, l)| sample(i, names[*l])).collect());
            let chosen = ids(&choose(&task, Split::Test, Some(limit), seed));
            prop_assert_eq!(chosen.len(), limit.min(labels.len()));
            let distinct: std::collections::BTreeSet<_> = chosen.iter().collect();
            prop_assert_eq!(distinct.len(), chosen.len());
            let larger = ids(&choose(&task, Split::Test, Some(limit + 3), seed));
            prop_assert_eq!(&larger[..chosen.len()], &chosen[..]);
        }
    }
}
