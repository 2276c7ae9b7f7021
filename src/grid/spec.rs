//! A grid as users write it down: a TOML file of axes, exclusions, samples and limits. Its JSON Schema, for editors, is
//! `docs/schemas/grid.schema.json`.

use crate::contract::ContractMode;
use crate::engine::{LlmSpec, check_llms};
use crate::error::{Context, Result, usage};
use crate::files;
use crate::memory::{MemoryKind, RetrieverKind};
use crate::record::Cell;
use crate::router::{ClassifierKind, Estimator, RouterKind, RouterSpec};
use crate::task::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Longer files are no grid; a fitted router inside one is megabytes.
const LONGEST_FILE: u64 = 256 << 20;
/// Repeats, and trials in flight, at most.
const MOST_REPEATS: u32 = 1000;
const MOST_IN_FLIGHT: usize = 1024;
/// A year, in hours.
const LONGEST_HOURS: f64 = 8766.0;

/// A grid.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GridSpec {
    /// The task: a bundled one by name, or a folder with a task.toml, from the folder of this file.
    #[serde(default = "helpdesk")]
    pub task: String,
    /// What is crossed with what.
    pub axes: AxesSpec,
    /// Cells to leave out.
    #[serde(default)]
    pub exclude: Vec<Exclude>,
    /// What is answered.
    #[serde(default)]
    pub samples: SamplesSpec,
    /// How often each cell is measured on each sample. A repeat computes everything afresh, so that it shows how far times vary;
    /// answers vary with the seeds.
    #[serde(default = "once")]
    pub repeats: u32,
    /// What the whole may take.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Whether what several cells need is computed once; --no-sharing turns it off.
    #[serde(default = "yes")]
    pub sharing: bool,
    /// Trials in flight, so that waits for a remote LLM overlap; work on this machine goes on one at a time all the same.
    /// Without it, 16 where the LLM is behind an endpoint, and 1 elsewhere.
    pub in_flight: Option<usize>,
    /// Settings of all cells.
    #[serde(default)]
    pub settings: SettingsSpec,
    /// Strategies with settings of their own, for `axes.routers` by their names.
    #[serde(default)]
    pub router: Vec<RouterSpec>,
    /// Endpoints, for `axes.llms` by their names.
    #[serde(default)]
    pub llm: Vec<LlmSpec>,
}

/// The axes: every value of each is combined with every value of the others.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AxesSpec {
    /// Strategies: by name, by the name of a `[[router]]` of this file, or a TOML file of `[[router]]` tables.
    pub routers: Vec<String>,
    /// Memories.
    #[serde(default = "no_memory")]
    pub memories: Vec<MemoryKind>,
    /// How answers are held to the task's JSON Schema.
    #[serde(default = "validate")]
    pub contracts: Vec<ContractMode>,
    /// Small models: a manifest's name, a path, or `scripted:FILE.toml`.
    pub slms: Vec<String>,
    /// Large models: the name of an `[[llm]]` of this file, a model for a stand-in on this machine, or `scripted:FILE.toml`.
    pub llms: Vec<String>,
    /// Seeds of everything that is drawn.
    #[serde(default = "seed_zero")]
    pub seeds: Vec<u64>,
}

/// Cells to leave out: those that agree with every key given.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exclude {
    /// Strategies by name.
    pub router: Option<OneOrMore<String>>,
    /// Memories.
    pub memory: Option<OneOrMore<MemoryKind>>,
    /// Contract settings.
    pub contract: Option<OneOrMore<ContractMode>>,
    /// Small models, as they stand on the axis.
    pub slm: Option<OneOrMore<String>>,
    /// Large models, as they stand on the axis.
    pub llm: Option<OneOrMore<String>>,
    /// Seeds.
    pub seed: Option<OneOrMore<u64>>,
    /// Why, for --dry-run.
    pub reason: Option<String>,
}

/// A value, or a list of them.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a value of the axis, or a list of such values")]
pub enum OneOrMore<T> {
    /// One.
    One(T),
    /// Several.
    More(Vec<T>),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplesSpec {
    /// The split that is scored: dev or test.
    #[serde(default = "test")]
    pub split: Split,
    /// How many samples; without it, all of the split.
    pub limit: Option<usize>,
    /// Whether labels come in turn; without it, samples are chosen whatever their label.
    #[serde(default = "yes")]
    pub stratified: bool,
    /// Seed of the choice.
    #[serde(default)]
    pub seed: u64,
}

/// What the whole may take. A run that reaches a limit stops in good order and is continued with --resume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// Hours of work of one call of the program.
    pub max_hours: Option<f64>,
    /// Dollars that the LLM's calls may cost in all, what is shared counted once.
    pub max_cost_usd: Option<f64>,
}

/// Settings of all cells; what is left out is as `bench` has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsSpec {
    /// How memories find passages, or solved samples.
    pub retriever: Option<RetrieverKind>,
    /// Passages, or solved samples, at most.
    pub top_k: Option<usize>,
    /// Tokens of passages at most (salience, episodic).
    pub token_budget: Option<usize>,
    /// Relevance that a passage must reach (salience); without it, fitted on the train split.
    pub gate: Option<f64>,
    /// How the confidence of an SLM's answer is read.
    pub confidence: Option<Estimator>,
    /// Confidence below which an SLM's answer is escalated, 0 to 1.
    pub threshold: Option<f64>,
    /// Structured retries of an answer that breaks its contract.
    pub max_repairs: Option<usize>,
    /// hybrid-specialist: what its classifier of domains looks at.
    pub classifier: Option<ClassifierKind>,
    /// llm-first: queries of at most so many characters go to the SLM first.
    pub downshift: Option<usize>,
    /// What follows from safety findings: NAME=ACTION, as `bench --safety` takes it.
    pub safety: Option<Vec<String>>,
    /// Generated tokens of one call at most.
    pub max_tokens: Option<usize>,
    /// 0 is greedy.
    pub temperature: Option<f64>,
    /// Whether computed prompt prefixes are reused.
    pub prefix_cache: Option<bool>,
    /// Whether local models guess tokens from the prompt.
    pub prompt_lookup: Option<bool>,
    /// Row of the price table for the LLM's tokens.
    pub price: Option<String>,
    /// Rows of prices that stand above the program's table, from the folder of this file.
    pub prices: Option<String>,
    /// What an hour of this machine costs, in dollars.
    pub hardware_usd_per_hour: Option<f64>,
    /// Loss of accuracy that still counts as "not worse", 0 to 1.
    pub margin: Option<f64>,
    /// Seconds that one call of the LLM may take.
    pub timeout: Option<f64>,
}

fn helpdesk() -> String {
    "helpdesk".to_owned()
}

fn once() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn test() -> Split {
    Split::Test
}

fn no_memory() -> Vec<MemoryKind> {
    vec![MemoryKind::None]
}

fn validate() -> Vec<ContractMode> {
    vec![ContractMode::Validate]
}

fn seed_zero() -> Vec<u64> {
    vec![0]
}

impl Default for SamplesSpec {
    fn default() -> Self {
        Self { split: test(), limit: None, stratified: true, seed: 0 }
    }
}

impl<T: PartialEq> OneOrMore<T> {
    /// The values.
    pub fn values(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::More(values) => values,
        }
    }

    fn holds(&self, value: &T) -> bool {
        self.values().contains(value)
    }
}

impl Exclude {
    /// Whether a cell agrees with every key. `slm` and `llm` are its models as they stand on the axes.
    #[must_use]
    pub fn leaves_out(&self, cell: &Cell, slm: &str, llm: &str) -> bool {
        fn agrees<T: PartialEq>(key: Option<&OneOrMore<T>>, value: &T) -> bool {
            key.is_none_or(|key| key.holds(value))
        }
        agrees(self.router.as_ref(), &cell.router_name().to_owned())
            && agrees(self.memory.as_ref(), &cell.memory)
            && agrees(self.contract.as_ref(), &cell.contract)
            && agrees(self.slm.as_ref(), &slm.to_owned())
            && agrees(self.llm.as_ref(), &llm.to_owned())
            && agrees(self.seed.as_ref(), &cell.seed)
    }

    /// Why it leaves cells out.
    #[must_use]
    pub fn why(&self) -> &str {
        self.reason.as_deref().unwrap_or("no reason is given")
    }
}

/// The JSON Schema of a grid's file, as it is published.
pub fn schema_text() -> Result<String> {
    let schema = schemars::schema_for!(GridSpec);
    let mut text = serde_json::to_string_pretty(&schema).context("writing the schema of a grid")?;
    text.push('\n');
    Ok(text)
}

/// Reads a grid, checked by itself: what it names is looked for later.
pub fn read_grid(path: &Path) -> Result<(GridSpec, String)> {
    let shown = path.display();
    let bytes =
        files::read(path, LONGEST_FILE).map_err(|error| usage(format!("cannot read the grid {shown}: {error:#}")))?;
    let text = String::from_utf8(bytes).map_err(|_| usage(format!("the grid {shown} is no UTF-8 text")))?;
    let mut grid: GridSpec = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(&text, span.start));
        usage(format!("{shown}:{line}: {}", error.message()))
    })?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    check_llms(&mut grid.llm, folder, &shown.to_string())?;
    grid.check(&|place: &[Step<'_>], what: &str| usage(format!("{shown}:{}: {what}", place_of(&text, place))))?;
    Ok((grid, text))
}

/// A step into a file.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// Of a table.
    Key(&'a str),
    /// Of an array.
    At(usize),
}

/// The line on which something stands; that of the nearest thing around it where it does not.
#[must_use]
pub fn place_of(text: &str, steps: &[Step<'_>]) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 1 };
    let mut start = 0;
    let mut at: Option<&DeValue<'_>> = None;
    for step in steps {
        let next = match (step, at) {
            (Step::Key(key), None) => {
                table.get_ref().iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
            }
            (Step::Key(key), Some(DeValue::Table(table))) => {
                table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
            }
            (Step::At(index), Some(DeValue::Array(array))) => array.get(*index),
            _ => None,
        };
        let Some(value) = next else { break };
        start = value.span().start;
        at = Some(value.get_ref());
    }
    line_at(text, start)
}

fn line_at(text: &str, at: usize) -> usize {
    text.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
}

/// Makes the error of a place.
type Wrong<'a> = dyn Fn(&[Step<'_>], &str) -> crate::error::Error + 'a;

impl GridSpec {
    fn check(&self, wrong: &Wrong<'_>) -> Result<()> {
        use Step::{At, Key};
        let axes = &self.axes;
        axis("routers", &axes.routers, wrong)?;
        axis("memories", &axes.memories.iter().map(|memory| memory.name()).collect::<Vec<_>>(), wrong)?;
        axis("contracts", &axes.contracts.iter().map(|contract| contract.name()).collect::<Vec<_>>(), wrong)?;
        axis("slms", &axes.slms, wrong)?;
        axis("llms", &axes.llms, wrong)?;
        axis("seeds", &axes.seeds, wrong)?;
        for (index, router) in self.router.iter().enumerate() {
            let place = [Key("router"), At(index)];
            router.check().map_err(|error| wrong(&place, &format!("{error:#}")))?;
            if self.router[..index].iter().any(|other| other.name() == router.name()) {
                return Err(wrong(
                    &place,
                    &format!("two [[router]] tables are called {:?}; give each its own `name`", router.name()),
                ));
            }
        }
        for (index, named) in axes.routers.iter().enumerate() {
            let known = self.router.iter().any(|router| router.name() == named)
                || RouterKind::of_name(named).is_some()
                || is_file(named);
            if !known {
                let names: Vec<_> = RouterKind::ALL.iter().map(|kind| kind.name()).collect();
                return Err(wrong(
                    &[Key("axes"), Key("routers"), At(index)],
                    &format!(
                        "{named:?} is neither a strategy ({}), nor the name of a [[router]] of this file, nor a .toml file of \
                         [[router]] tables",
                        names.join(", ")
                    ),
                ));
            }
        }
        for (index, exclude) in self.exclude.iter().enumerate() {
            self.check_exclude(index, exclude, wrong)?;
        }
        if self.samples.split == Split::Train {
            return Err(wrong(
                &[Key("samples"), Key("split")],
                "the train split is not scored: its right answers stand in prompts and trained the gate; use dev or test",
            ));
        }
        if self.samples.limit == Some(0) {
            return Err(wrong(&[Key("samples"), Key("limit")], "`limit` is at least 1; leave it out for all samples"));
        }
        if self.repeats == 0 || self.repeats > MOST_REPEATS {
            return Err(wrong(&[Key("repeats")], &format!("`repeats` is between 1 and {MOST_REPEATS}")));
        }
        if self.in_flight.is_some_and(|count| count == 0 || count > MOST_IN_FLIGHT) {
            return Err(wrong(&[Key("in_flight")], &format!("`in_flight` is between 1 and {MOST_IN_FLIGHT}")));
        }
        if self.limits.max_hours.is_some_and(|hours| !(hours > 0.0 && hours <= LONGEST_HOURS)) {
            return Err(wrong(&[Key("limits"), Key("max_hours")], "`max_hours` is above 0 and at most 8766, a year"));
        }
        if self.limits.max_cost_usd.is_some_and(|usd| !(usd.is_finite() && usd > 0.0)) {
            return Err(wrong(
                &[Key("limits"), Key("max_cost_usd")],
                "`max_cost_usd` is a number of dollars above 0; a grid that may cost nothing has no [[llm]] on its axis `llms`",
            ));
        }
        Ok(())
    }

    /// A key that names what no axis has would leave out nothing, which is never meant.
    fn check_exclude(&self, index: usize, exclude: &Exclude, wrong: &Wrong<'_>) -> Result<()> {
        use Step::{At, Key};
        let axes = &self.axes;
        let place = |key| [Key("exclude"), At(index), Key(key)];
        let Exclude { router, memory, contract, slm, llm, seed, reason: _ } = exclude;
        if router.is_none()
            && memory.is_none()
            && contract.is_none()
            && slm.is_none()
            && llm.is_none()
            && seed.is_none()
        {
            return Err(wrong(&place(""), "this [[exclude]] names no axis, so it would leave out every cell"));
        }
        let absent = |key: &str, value: &dyn Display, axis: &str| {
            wrong(
                &place_key(index, key),
                &format!("{value} is not on the axis `{axis}`, so that nothing would be left out"),
            )
        };
        // Routers that come from a file are known once it is read.
        let from_file = axes.routers.iter().any(|named| is_file(named));
        if let Some(value) =
            router.iter().flat_map(OneOrMore::values).find(|value| !from_file && !axes.routers.contains(value))
        {
            return Err(absent("router", value, "routers"));
        }
        if let Some(value) = memory.iter().flat_map(OneOrMore::values).find(|value| !axes.memories.contains(value)) {
            return Err(absent("memory", &value.name(), "memories"));
        }
        if let Some(value) = contract.iter().flat_map(OneOrMore::values).find(|value| !axes.contracts.contains(value)) {
            return Err(absent("contract", &value.name(), "contracts"));
        }
        if let Some(value) = slm.iter().flat_map(OneOrMore::values).find(|value| !axes.slms.contains(value)) {
            return Err(absent("slm", value, "slms"));
        }
        if let Some(value) = llm.iter().flat_map(OneOrMore::values).find(|value| !axes.llms.contains(value)) {
            return Err(absent("llm", value, "llms"));
        }
        if let Some(value) = seed.iter().flat_map(OneOrMore::values).find(|value| !axes.seeds.contains(value)) {
            return Err(absent("seed", value, "seeds"));
        }
        Ok(())
    }
}

fn place_key(index: usize, key: &str) -> [Step<'_>; 3] {
    [Step::Key("exclude"), Step::At(index), Step::Key(key)]
}

/// Whether a router's name is that of a file.
fn is_file(named: &str) -> bool {
    Path::new(named).extension().is_some_and(|extension| extension == "toml")
}

/// Refuses an empty axis, and values that stand on it twice: their cells would be the same.
fn axis<T: PartialEq + Display>(name: &str, values: &[T], wrong: &Wrong<'_>) -> Result<()> {
    let place = [Step::Key("axes"), Step::Key(name)];
    if values.is_empty() {
        return Err(wrong(
            &place,
            &format!("the axis `{name}` is empty, so that there is no cell; give at least one value"),
        ));
    }
    match values.iter().enumerate().find(|(index, value)| values[..*index].contains(value)) {
        Some((index, value)) => Err(wrong(
            &[place[0], place[1], Step::At(index)],
            &format!("the axis `{name}` holds {value} twice, so that cells would overlap; keep one"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;
    use proptest::prelude::*;

    const AXES: &str = "[axes]\nrouters = ['llm-first', 'slm-only']\nslms = ['a']\nllms = ['b']\n";

    fn read(text: &str) -> Result<GridSpec> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("grid.toml"), text).unwrap();
        read_grid(&folder.path().join("grid.toml")).map(|(grid, _)| grid)
    }

    #[test]
    fn a_grid_of_three_axes_has_the_defaults_of_the_rest() {
        let grid = read(AXES).unwrap();
        assert_eq!((grid.task.as_str(), grid.repeats, grid.sharing), ("helpdesk", 1, true));
        assert_eq!((grid.axes.memories, grid.axes.seeds), (vec![MemoryKind::None], vec![0]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_line() {
        for (text, line, told) in [
            ("colour = 1\n".to_owned() + AXES, 1, "unknown field `colour`"),
            (AXES.replace("'slm-only'", "'slm-olny'"), 2, "\"slm-olny\" is neither a strategy"),
            (AXES.replace("'slm-only'", "'llm-first'"), 2, "`routers` holds llm-first twice"),
            (AXES.replace("['a']", "[]"), 3, "the axis `slms` is empty"),
            (format!("{AXES}memories = ['none', 'dynamics']\n"), 5, "unknown variant `dynamics`"),
            (format!("{AXES}seeds = [1, 2, 1]\n"), 5, "`seeds` holds 1 twice"),
            (format!("{AXES}[[exclude]]\nreason = 'none'\n"), 5, "names no axis"),
            (format!("{AXES}[[exclude]]\nslm = 'c'\n"), 6, "c is not on the axis `slms`"),
            (format!("{AXES}[[exclude]]\nmemory = ['static']\n"), 6, "static is not on the axis `memories`"),
            (format!("{AXES}[[exclude]]\nseed = 'x'\n"), 6, "a value of the axis"),
            (format!("{AXES}[samples]\nlimit = 0\n"), 6, "`limit` is at least 1"),
            (format!("{AXES}[samples]\nsplit = 'train'\n"), 6, "not scored"),
            (format!("{AXES}[limits]\nmax_hours = 0\n"), 6, "`max_hours`"),
            (format!("{AXES}[limits]\nmax_cost_usd = -1.0\n"), 6, "`max_cost_usd`"),
            (format!("repeats = 0\n{AXES}"), 1, "`repeats`"),
            (format!("{AXES}[[router]]\nkind = 'random'\nname = 'r'\nshare = 2.0\n"), 5, "`share`"),
            (format!("{AXES}[settings]\ntemprature = 1\n"), 6, "unknown field `temprature`"),
            ("[axes\n".to_owned(), 1, ""),
        ] {
            let error = read(&text).unwrap_err();
            let shown = format!("{error:#}");
            assert!(
                shown.contains(&format!("grid.toml:{line}: ")) && shown.contains(told),
                "{told:?} in line {line}: {shown}"
            );
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage, "{shown}");
        }
    }

    #[test]
    fn a_cell_is_left_out_where_it_agrees_with_every_key() {
        let grid = read(&format!("{AXES}seeds = [1, 2]\n[[exclude]]\nrouter = 'llm-first'\nseed = [2]\n")).unwrap();
        let cell = |router, seed| Cell { router, seed, ..crate::metrics::example::cell(router) };
        let out = |router, seed| grid.exclude[0].leaves_out(&cell(router, seed), "a", "b");
        assert!(out(RouterKind::LlmFirst, 2) && !out(RouterKind::LlmFirst, 1) && !out(RouterKind::SlmOnly, 2));
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in "(\\[axes\\]\n)?[a-z\\[\\]=\"',.0-9 \n]{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn a_place_is_a_line_of_the_text(text in "[a-z\\[\\]=\"'0-9\n]{0,80}", index in 0..4_usize) {
            let line = place_of(&text, &[Step::Key("axes"), Step::Key("a"), Step::At(index)]);
            prop_assert!(line >= 1 && line <= text.matches('\n').count() + 1);
        }
    }
}
