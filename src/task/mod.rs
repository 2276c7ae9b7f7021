//! What is asked: a task's samples, its labels, prompts, knowledge and answer schema.
//!
//! A [`Sample`] is a [`Query`] and a [`Target`]. Everything that takes part in answering (memories, prompts, routers,
//! engines) receives the query; the target goes to scoring alone. The two are different types, so that a leak of the
//! gold label does not compile.

mod answer;
mod corpus;
mod data;
mod files;
mod find;
mod judged;
mod knowledge;
mod load;
mod problem;
mod rows;
mod spec;
mod split;

pub use corpus::Corpus;
pub use find::{bundled, find};
pub use judged::{Judged, Judgements};
pub use load::{check, load};
pub use problem::Problem;
pub use spec::TaskSpec;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is known of a sample before it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Unique within the task.
    pub id: String,
    /// The text to be answered.
    pub input: String,
}

/// What a right answer looks like. Only `metrics` reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The gold label.
    pub label: Option<String>,
    /// Ids of the articles that answer the query; `None` where the task has no such column.
    pub articles: Option<Vec<String>>,
    /// Facts that a right answer contains, each as its accepted spellings; `None` where the task has no such column.
    pub facts: Option<Vec<Vec<String>>>,
    /// Whether a person must act.
    pub needs_human: Option<bool>,
    /// Whether the task's knowledge holds an answer; where it does not, saying so is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answerable: Option<bool>,
    /// A reference answer.
    pub answer: Option<String>,
}

/// Which part of the data a sample belongs to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Examples in prompts, fitting of gates and classifiers.
    Train,
    /// Choice of thresholds.
    Dev,
    /// Scored.
    Test,
}

impl Split {
    /// Its name in data and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
        }
    }

    /// The split that a cell names; `validation` and `val` are dev.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "train" => Some(Self::Train),
            "dev" | "validation" | "val" => Some(Self::Dev),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}

/// One row of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// What may be seen while answering.
    pub query: Query,
    /// What a right answer looks like.
    pub target: Target,
    /// The part that this sample belongs to.
    pub split: Split,
    /// How hard the author found it, where the data says so.
    pub difficulty: Option<String>,
    /// Free tags, where the data has them.
    pub tags: Vec<String>,
}

/// The trial in which something was computed that others use too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The cell's name.
    pub cell: String,
    /// The sample's id.
    pub sample: String,
}

/// One label of a classification task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The exact text.
    pub name: String,
    /// One line that tells a model what belongs here; may be empty.
    pub description: String,
}

/// One article of the task's knowledge base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// Its file's path within the folder without the ending, or the id of its row.
    pub id: String,
    /// The first heading, or the title of its row; the id where there is none.
    pub title: String,
    /// The text below the title.
    pub text: String,
}

/// Characters of a title at most: every passage of the article carries it.
const LONGEST_TITLE: usize = 200;

impl Article {
    /// An article. What of its title is too long goes on in its text.
    fn new(id: String, title: String, text: String) -> Self {
        let Some((end, _)) = title.char_indices().nth(LONGEST_TITLE) else { return Self { id, title, text } };
        let (fits, _) = title.split_at(end);
        let (fits, rest) = title.split_at(fits.rfind(char::is_whitespace).filter(|&at| at > 0).unwrap_or(end));
        Self { id, title: fits.trim_end().to_owned(), text: format!("{}\n\n{text}", rest.trim()) }
    }
}

/// A specialist: who answers a domain in the hybrid-specialist strategy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specialist {
    /// The label that names the domain.
    pub domain: String,
    /// A model manifest's name or a path; `None` is the run's SLM.
    pub model: Option<String>,
    /// Text added to the system prompt.
    pub prompt: Option<String>,
}

/// A task, loaded and checked.
#[derive(Debug, Clone)]
pub struct Task {
    /// Short name.
    pub name: String,
    /// One sentence about it.
    pub description: String,
    /// The folder of `task.toml`.
    pub dir: PathBuf,
    /// SHA-256 over the specification, the data, the knowledge and the schemas, in hexadecimal.
    pub sha256: String,
    /// The label set, in the order of `task.toml`.
    pub labels: Vec<Label>,
    /// All samples, in file order.
    pub samples: Vec<Sample>,
    /// The knowledge base; empty where the task has none.
    pub articles: Vec<Article>,
    /// Fixed text of the static memory: the file that `task.toml` names, else the articles' ids and titles; `None`
    /// where the task has no knowledge base.
    pub static_memory: Option<String>,
    /// The instruction of the system prompt.
    pub system_prompt: String,
    /// Worked examples in the prompt for each label, taken from the train split.
    pub examples_per_label: usize,
    /// The answer's JSON Schema; where the task gives none, one generated from the label set.
    pub schema: serde_json::Value,
    /// The schemas that it may refer to, by their addresses.
    pub schema_references: Vec<(String, serde_json::Value)>,
    /// Whether `format` in it is asserted.
    pub schema_formats: bool,
    /// The schema's property that holds the label.
    pub label_field: String,
    /// The schema's property that holds the free-text answer, where there is one.
    pub answer_field: Option<String>,
    /// The schema's property that holds cited article ids, where there is one.
    pub citations_field: Option<String>,
    /// The schema's property that says whether a person must act, where there is one.
    pub needs_human_field: Option<String>,
    /// Who answers which domain.
    pub specialists: Vec<Specialist>,
    /// What follows from safety findings, by their names, as `safety::SafetyPolicy` reads it.
    pub safety: BTreeMap<String, String>,
}

impl Task {
    /// The samples of one split, in file order.
    pub fn split(&self, split: Split) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.split == split)
    }

    /// `limit` samples of a split, chosen by `seed` so that labels come in turn: the same seed gives the same choice.
    /// `None` takes all of them in file order.
    #[must_use]
    pub fn choose(&self, split: Split, limit: Option<usize>, seed: u64) -> Vec<&Sample> {
        split::choose(self, split, limit, seed)
    }

    /// `limit` samples of a split, chosen by `seed` whatever their labels; `None` takes all of them in file order.
    #[must_use]
    pub fn draw(&self, split: Split, limit: Option<usize>, seed: u64) -> Vec<&Sample> {
        split::draw(self, split, limit, seed)
    }

    /// The answer that a model should have given, in the task's answer form; `None` where the gold lacks a part that the
    /// schema requires.
    #[must_use]
    pub fn gold_answer(&self, target: &Target) -> Option<String> {
        answer::gold(self, target)
    }
}
