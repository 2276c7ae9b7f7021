//! The cells of a run.

use crate::contract::ContractMode;
use crate::memory::{Memory, MemoryKind};
use crate::record::Cell;
use crate::router::{Estimator, Router, RouterSpec};
use crate::trial::PromptBuilder;

/// A cell with the parts that its trials use.
pub struct CellParts {
    /// What is recorded of it.
    pub cell: Cell,
    /// Its strategy.
    pub router: Box<dyn Router>,
    /// How it reads the confidence of an SLM's answer.
    pub confidence: Estimator,
    /// Its memory.
    pub memory: std::sync::Arc<dyn Memory>,
    /// Its prompts.
    pub prompts: std::sync::Arc<PromptBuilder>,
}

/// One cell for each combination, named so that names are unique.
#[must_use]
pub fn cells(
    routers: &[RouterSpec],
    memories: &[MemoryKind],
    contracts: &[ContractMode],
    slm: &str,
    llm: &str,
    seed: u64,
) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for &memory in memories {
        for &contract in contracts {
            for spec in routers {
                let name = format!("{}/{}/{}", spec.name(), memory.name(), contract.name());
                if cells.iter().all(|cell| cell.name != name) {
                    let (router, variant) = (spec.kind, spec.name.clone());
                    cells.push(Cell {
                        name,
                        router,
                        variant,
                        memory,
                        contract,
                        slm: slm.into(),
                        llm: llm.into(),
                        seed,
                    });
                }
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::RouterKind;

    #[test]
    fn every_combination_is_one_cell_even_when_asked_for_twice() {
        let routers = [RouterKind::LlmFirst, RouterKind::SlmDominant, RouterKind::LlmFirst].map(RouterSpec::plain);
        let made =
            cells(&routers, &[MemoryKind::None, MemoryKind::Salience], &[ContractMode::Validate], "small", "large", 7);
        let names: Vec<_> = made.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "llm-first/none/validate",
                "slm-dominant/none/validate",
                "llm-first/salience/validate",
                "slm-dominant/salience/validate"
            ]
        );
    }
}
