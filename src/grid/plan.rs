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

/// What the cells of one pair of models are crossed from.
#[derive(Debug, Clone, Copy)]
pub struct Axes<'a> {
    /// The strategies.
    pub routers: &'a [RouterSpec],
    /// The memories.
    pub memories: &'a [MemoryKind],
    /// The contract settings.
    pub contracts: &'a [ContractMode],
    /// The seeds.
    pub seeds: &'a [u64],
    /// How often each is measured.
    pub repeats: u32,
    /// The small model, and whether cells are named with it.
    pub slm: (&'a str, bool),
    /// The large model, and whether cells are named with it.
    pub llm: (&'a str, bool),
}

/// One cell for each combination, named so that names are unique. Those that begin their prompts alike stand together.
#[must_use]
pub fn cells(axes: &Axes<'_>) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for &memory in axes.memories {
        for &contract in axes.contracts {
            for &seed in axes.seeds {
                for repeat in 0..axes.repeats {
                    for spec in axes.routers {
                        let (router, variant) = (spec.kind, spec.name.clone());
                        let (slm, llm) = (axes.slm.0.to_owned(), axes.llm.0.to_owned());
                        let cell =
                            Cell { name: String::new(), router, variant, memory, contract, slm, llm, seed, repeat };
                        let name = name(&cell, axes);
                        if cells.iter().all(|cell| cell.name != name) {
                            cells.push(Cell { name, ..cell });
                        }
                    }
                }
            }
        }
    }
    cells
}

/// A cell's name: its router, memory and contract, and of the other axes those that have several values.
fn name(cell: &Cell, axes: &Axes<'_>) -> String {
    let mut parts = vec![cell.router_name().to_owned(), cell.memory.name().to_owned(), cell.contract.name().to_owned()];
    let mut add = |named: bool, part: String| parts.extend(named.then_some(part));
    add(axes.slm.1, cell.slm.clone());
    add(axes.llm.1, cell.llm.clone());
    add(axes.seeds.len() > 1, format!("seed-{}", cell.seed));
    add(axes.repeats > 1, format!("repeat-{}", cell.repeat + 1));
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::RouterKind;

    fn axes(routers: &[RouterSpec]) -> Axes<'_> {
        Axes {
            routers,
            memories: &[MemoryKind::None, MemoryKind::Salience],
            contracts: &[ContractMode::Validate],
            seeds: &[7],
            repeats: 1,
            slm: ("small", false),
            llm: ("large", false),
        }
    }

    fn names(axes: &Axes<'_>) -> Vec<String> {
        cells(axes).into_iter().map(|cell| cell.name).collect()
    }

    #[test]
    fn every_combination_is_one_cell_even_when_asked_for_twice() {
        let routers = [RouterKind::LlmFirst, RouterKind::SlmDominant, RouterKind::LlmFirst].map(RouterSpec::plain);
        assert_eq!(
            names(&axes(&routers)),
            [
                "llm-first/none/validate",
                "slm-dominant/none/validate",
                "llm-first/salience/validate",
                "slm-dominant/salience/validate"
            ]
        );
    }

    #[test]
    fn a_cell_is_named_with_the_axes_that_vary() {
        let routers = [RouterSpec::plain(RouterKind::SlmOnly)];
        let axes =
            Axes { seeds: &[1, 2], repeats: 2, slm: ("small", true), memories: &[MemoryKind::None], ..axes(&routers) };
        assert_eq!(
            names(&axes),
            [
                "slm-only/none/validate/small/seed-1/repeat-1",
                "slm-only/none/validate/small/seed-1/repeat-2",
                "slm-only/none/validate/small/seed-2/repeat-1",
                "slm-only/none/validate/small/seed-2/repeat-2",
            ]
        );
    }
}
