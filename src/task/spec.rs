//! The form of `task.toml`.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `task.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Short name.
    pub name: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// The data.
    pub data: DataSpec,
    /// The label set; where it is missing, the distinct targets of the data in alphabetical order.
    #[serde(default)]
    pub label: Vec<LabelSpec>,
    /// The knowledge base.
    pub knowledge: Option<KnowledgeSpec>,
    /// The prompts.
    #[serde(default)]
    pub prompt: PromptSpec,
    /// The answer's schema.
    #[serde(default)]
    pub answer: AnswerSpec,
    /// Specialists.
    #[serde(default)]
    pub specialist: Vec<SpecialistSpec>,
}

/// `[data]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// One file with all samples; with `train`, `dev` and `test` absent. `.csv` or `.jsonl`.
    pub file: Option<PathBuf>,
    /// A file with the train split only.
    pub train: Option<PathBuf>,
    /// A file with the dev split only.
    pub dev: Option<PathBuf>,
    /// A file with the test split only.
    pub test: Option<PathBuf>,
    /// Which columns hold what.
    pub columns: ColumnSpec,
}

/// `[data.columns]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// The id; row numbers where it is missing.
    pub id: Option<String>,
    /// The text.
    pub input: String,
    /// The gold label.
    pub target: String,
    /// Gold article ids: a JSON array, or ids separated by `;` in CSV.
    pub articles: Option<String>,
    /// Facts: a JSON array of arrays of spellings.
    pub facts: Option<String>,
    /// Reference answer.
    pub answer: Option<String>,
    /// Whether a person must act.
    pub needs_human: Option<String>,
    /// Difficulty.
    pub difficulty: Option<String>,
    /// Tags.
    pub tags: Option<String>,
    /// The split; where it is missing, a file of its own for each split, or a seeded stratified 25/25/50 cut.
    pub split: Option<String>,
}

/// `[[label]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSpec {
    /// The exact text.
    pub name: String,
    /// One line for the prompt.
    #[serde(default)]
    pub description: String,
}

/// `[knowledge]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnowledgeSpec {
    /// A folder of Markdown or text files.
    pub folder: PathBuf,
    /// Text of the static memory; where it is missing, the list of article ids and titles.
    #[serde(rename = "static")]
    pub static_text: Option<PathBuf>,
}

/// `[prompt]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptSpec {
    /// The instruction of the system prompt.
    pub system: String,
    /// Worked examples for each label, from the train split.
    pub examples_per_label: usize,
}

impl Default for PromptSpec {
    fn default() -> Self {
        Self { system: String::new(), examples_per_label: 1 }
    }
}

/// `[answer]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerSpec {
    /// A JSON Schema file; where it is missing, an object with the label alone.
    pub schema: Option<PathBuf>,
    /// The property that holds the label.
    pub label: String,
    /// The property that holds the free-text answer.
    pub answer: Option<String>,
    /// The property that holds the cited article ids.
    pub citations: Option<String>,
    /// The property that says whether a person must act.
    pub needs_human: Option<String>,
}

impl Default for AnswerSpec {
    fn default() -> Self {
        Self { schema: None, label: "category".to_owned(), answer: None, citations: None, needs_human: None }
    }
}

/// `[[specialist]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialistSpec {
    /// The label that names the domain.
    pub domain: String,
    /// A model; the run's SLM where it is missing.
    pub model: Option<String>,
    /// Text added to the system prompt.
    pub prompt: Option<String>,
}

/// Unused columns of a row, kept as metadata.
pub type Metadata = BTreeMap<String, serde_json::Value>;
