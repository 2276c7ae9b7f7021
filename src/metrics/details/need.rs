//! Whom a policy sent to the LLM, and who needed it.

use crate::memory::MemoryKind;
use crate::metrics::alone::first_answers;
use crate::metrics::summary::CellTrials;
use crate::router::Tier;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Routed against needed. Needed is judged by each model's own first answer to the plain prompt under the same memory, from
/// whichever policy asked for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Queries in which the LLM was not called.
    pub kept: Needed,
    /// Queries in which it was.
    pub sent: Needed,
    /// Why it was called first, by cause.
    pub causes: BTreeMap<String, usize>,
    /// Of these the calls that took a query over from the SLM.
    pub escalated: BTreeMap<String, usize>,
}

/// Queries by what they needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// The SLM's own answer is right.
    pub slm_enough: usize,
    /// The SLM's is wrong and the LLM's is right.
    pub llm_needed: usize,
    /// Both are wrong.
    pub neither: usize,
    /// A model was not asked plainly, so that it cannot be told.
    pub unknown: usize,
}

impl Needed {
    /// All of them.
    #[must_use]
    pub fn total(self) -> usize {
        self.slm_enough + self.llm_needed + self.neither + self.unknown
    }
}

/// Both models' own answers under each memory of a run, for each pair of models.
pub(super) struct Answers {
    of: HashMap<Key, [HashMap<u32, bool>; 2]>,
}

/// The memory and the models that answered.
type Key = (MemoryKind, String, String);

fn key(cell: &CellTrials<'_>) -> Key {
    (cell.cell.memory, cell.cell.slm.clone(), cell.cell.llm.clone())
}

impl Answers {
    pub(super) fn of(cells: &[CellTrials<'_>]) -> Self {
        let mut of = HashMap::new();
        for cell in cells {
            let alike = || cells.iter().filter(|other| key(other) == key(cell));
            of.entry(key(cell)).or_insert_with(|| [Tier::Slm, Tier::Llm].map(|tier| first_answers(tier, alike())));
        }
        Self { of }
    }
}

pub(super) fn need(cell: &CellTrials<'_>, answers: &Answers) -> Need {
    let Some([slm, llm]) = answers.of.get(&key(cell)) else { return Need::default() };
    let mut found = Need::default();
    for row in cell.scored() {
        let side = if row.llm_cause.is_some() { &mut found.sent } else { &mut found.kept };
        let place = match (slm.get(&row.sample), llm.get(&row.sample)) {
            (Some(true), _) => &mut side.slm_enough,
            (Some(false), Some(true)) => &mut side.llm_needed,
            (Some(false), Some(false)) => &mut side.neither,
            _ => &mut side.unknown,
        };
        *place += 1;
        if let Some(cause) = row.llm_cause {
            *found.causes.entry(cause.to_owned()).or_default() += 1;
            if row.escalated {
                *found.escalated.entry(cause.to_owned()).or_default() += 1;
            }
        }
    }
    found
}
