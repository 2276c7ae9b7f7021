//! Accuracy by what kind of sample it is.

use crate::metrics::figure::Figure;
use crate::metrics::row::Rows;
use crate::metrics::summary::CellTrials;
use crate::router::Tier;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Kinds of a slice at most; the rarest are put together.
const MOST_VALUES: usize = 20;

/// The samples cut into kinds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slice {
    /// By what: `category`, `length`, `difficulty`.
    pub by: String,
    /// The kinds, the most frequent first; lengths and difficulties in their own order.
    pub values: Vec<SliceValue>,
    /// What the reader must know, or why there are none.
    pub note: String,
}

/// One kind of sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SliceValue {
    /// Its name.
    pub value: String,
    /// Samples of it.
    pub samples: usize,
    /// Accuracy of each policy on them.
    pub accuracy: Vec<Figure>,
}

pub(super) fn slices(rows: &Rows, cells: &[CellTrials<'_>]) -> Vec<Slice> {
    let mut labels: HashMap<u32, u32> = HashMap::new();
    let mut difficulties: HashMap<u32, u32> = HashMap::new();
    for row in cells.iter().flat_map(|cell| &cell.trials) {
        labels.extend(row.label.map(|label| (row.sample, label)));
        difficulties.extend(row.difficulty.map(|difficulty| (row.sample, difficulty)));
    }
    let category = |sample: u32| labels.get(&sample).map(|&label| rows.labels.name(label).to_owned());
    let difficulty = |sample: u32| difficulties.get(&sample).map(|&of| rows.difficulties.name(of).to_owned());
    let (lengths, bounds) = lengths(cells);
    let length = |sample: u32| lengths.get(&sample).map(|&third| THIRDS[third].to_owned());
    let mut found = vec![
        slice("category", cells, &category, "The gold label of the sample."),
        slice("length", cells, &length, &bounds),
        slice("difficulty", cells, &difficulty, "As the task says."),
    ];
    for (slice, missing) in found.iter_mut().zip([
        "The records name no gold labels.",
        "No model's first prompt was counted in tokens, or all are equally long.",
        "The task says nothing of difficulty; a column named in task.toml does.",
    ]) {
        if slice.values.is_empty() {
            missing.clone_into(&mut slice.note);
        }
    }
    if let Some(length) = found.get_mut(1) {
        length.values.sort_by_key(|value| THIRDS.iter().position(|third| *third == value.value));
    }
    found
}

const THIRDS: [&str; 3] = ["short", "middle", "long"];

/// The third of the lengths that each sample lies in, and what bounds them. A sample's length is that of its plain prompt without
/// what the memory added, by the small model's tokenizer where it was asked, else by the large one's.
fn lengths(cells: &[CellTrials<'_>]) -> (HashMap<u32, usize>, String) {
    let mut tokens: [BTreeMap<u32, u64>; 2] = Default::default();
    for row in cells.iter().flat_map(|cell| &cell.trials) {
        for (all, tier) in tokens.iter_mut().zip([Tier::Slm, Tier::Llm]) {
            if let Some(count) = row.first(tier).and_then(|first| first.prompt_tokens) {
                all.entry(row.sample).or_insert(count);
            }
        }
    }
    // Two tokenizers are two measures: the one that knows more samples is taken for all.
    let [slm, llm] = tokens;
    let all = if llm.len() > slm.len() { llm } else { slm };
    let mut sorted: Vec<u64> = all.values().copied().collect();
    sorted.sort_unstable();
    if sorted.first() == sorted.last() {
        return (HashMap::new(), String::new());
    }
    let at = |third: usize| sorted[(sorted.len() * third / 3).min(sorted.len() - 1)];
    let (first, second) = (at(1), at(2));
    let third = |tokens: u64| if tokens < first { 0 } else { usize::from(tokens >= second) + 1 };
    let note = format!(
        "Thirds by the tokens of the prompt without what the memory added: short is below {first}, long from {second} up."
    );
    (all.into_iter().map(|(sample, tokens)| (sample, third(tokens))).collect(), note)
}

fn slice(by: &str, cells: &[CellTrials<'_>], kind: &dyn Fn(u32) -> Option<String>, note: &str) -> Slice {
    let mut names: BTreeMap<String, Vec<Vec<bool>>> = BTreeMap::new();
    let mut samples: BTreeMap<String, std::collections::HashSet<u32>> = BTreeMap::new();
    for (i, cell) in cells.iter().enumerate() {
        for row in cell.scored() {
            let (Some(value), Some(right)) = (kind(row.sample), row.label_correct) else { continue };
            samples.entry(value.clone()).or_default().insert(row.sample);
            names.entry(value).or_insert_with(|| vec![Vec::new(); cells.len()])[i].push(right);
        }
    }
    let mut values: Vec<(String, usize, Vec<Vec<bool>>)> =
        names.into_iter().map(|(value, right)| (value.clone(), samples[&value].len(), right)).collect();
    values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut note = note.to_owned();
    if values.len() > MOST_VALUES {
        let rest = values.split_off(MOST_VALUES - 1);
        note = format!("{note} The {} rarest kinds are put together.", rest.len());
        let mut right = vec![Vec::new(); cells.len()];
        for (_, _, of) in &rest {
            right.iter_mut().zip(of).for_each(|(all, of)| all.extend(of));
        }
        values.push(("all others".into(), rest.iter().map(|(_, count, _)| count).sum(), right));
    }
    let values = values
        .into_iter()
        .map(|(value, samples, right)| SliceValue {
            value,
            samples,
            accuracy: right.iter().map(|right| Figure::share(right, "no sample of this kind was scored")).collect(),
        })
        .collect();
    Slice { by: by.into(), values, note }
}
