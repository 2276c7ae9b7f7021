//! The form of `task.toml`.

use super::problem::Problem;
use crate::error::toml_reason;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// `task.toml`. Paths are relative to its folder.
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
    /// What follows from safety findings: actions by the names of findings.
    #[serde(default)]
    pub safety: BTreeMap<String, String>,
}

/// `[data]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// One file with all samples; with `train`, `dev` and `test` absent. `.csv`, `.tsv` or `.jsonl`.
    pub file: Option<PathBuf>,
    /// A file with the train split only.
    pub train: Option<PathBuf>,
    /// A file with the dev split only.
    pub dev: Option<PathBuf>,
    /// A file with the test split only.
    pub test: Option<PathBuf>,
    /// The seed of the cut into splits, where the data names none.
    #[serde(default)]
    pub split_seed: u64,
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
    /// Whether the task's knowledge holds an answer.
    pub answerable: Option<String>,
    /// Difficulty.
    pub difficulty: Option<String>,
    /// Tags.
    pub tags: Option<String>,
    /// The split; where it is missing, a file of its own for each split, or a seeded stratified 25/25/50 cut.
    pub split: Option<String>,
}

impl ColumnSpec {
    /// Every column that the mapping names, with the key that names it.
    pub(super) fn named(&self) -> Vec<(&'static str, &str)> {
        let optional = [
            ("id", &self.id),
            ("articles", &self.articles),
            ("facts", &self.facts),
            ("answer", &self.answer),
            ("needs_human", &self.needs_human),
            ("answerable", &self.answerable),
            ("difficulty", &self.difficulty),
            ("tags", &self.tags),
            ("split", &self.split),
        ];
        let required = [("input", self.input.as_str()), ("target", self.target.as_str())];
        required
            .into_iter()
            .chain(optional.into_iter().filter_map(|(key, name)| Some((key, name.as_deref()?))))
            .collect()
    }
}

/// `[[label]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSpec {
    /// The exact text.
    pub name: Spanned<String>,
    /// One line for the prompt.
    #[serde(default)]
    pub description: String,
}

/// `[knowledge]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnowledgeSpec {
    /// A folder of Markdown or text files; with `file` absent.
    pub folder: Option<PathBuf>,
    /// A file with a row for each article, `_id` (or `id`), `title` (may be absent) and `text`: `.jsonl`, `.csv` or `.tsv`.
    pub file: Option<PathBuf>,
    /// A file with the text of the static memory, which becomes part of the system message; where it is missing, the ids and
    /// titles of the articles stand in the first user message.
    #[serde(rename = "static")]
    pub static_text: Option<PathBuf>,
}

/// `[prompt]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptSpec {
    /// The instruction of the system prompt.
    pub system: String,
    /// Worked examples for each label, from the train split; where it is missing, 1 if every label has a train row,
    /// else none.
    pub examples_per_label: Option<usize>,
}

/// `[answer]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerSpec {
    /// A JSON Schema file; where it is missing, an object with the properties named here.
    pub schema: Option<PathBuf>,
    /// Schema files that `$ref` may name, in the folder of `schema` or below it; no other file is read.
    pub references: Vec<PathBuf>,
    /// Whether `format` is asserted; else it is a note, as the draft has it.
    pub formats: bool,
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
        Self {
            schema: None,
            references: Vec::new(),
            formats: false,
            label: "category".to_owned(),
            answer: None,
            citations: None,
            needs_human: None,
        }
    }
}

/// `[[specialist]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialistSpec {
    /// The label that names the domain.
    pub domain: Spanned<String>,
    /// A model; the run's SLM where it is missing.
    pub model: Option<String>,
    /// Text added to the system prompt.
    pub prompt: Option<String>,
}

/// Reads the text of a `task.toml`; a problem carries the parser's own picture of the place.
pub(super) fn parse(file: &Path, text: &str) -> Result<TaskSpec, Problem> {
    toml::from_str(text).map_err(|error| Problem {
        file: file.to_owned(),
        line: error.span().map(|span| line_of(text, span.start)),
        reason: toml_reason(&error, text),
    })
}

/// The line, from 1, of a byte offset.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "name = \"t\"\n[data]\nfile = \"a.csv\"\n[data.columns]\ninput = \"x\"\ntarget = \"y\"\n";

    #[test]
    fn a_minimal_specification_has_sensible_defaults() {
        let spec = parse(Path::new("task.toml"), MINIMAL).unwrap();
        assert_eq!(spec.answer.label, "category");
        assert_eq!(spec.prompt.examples_per_label, None);
        assert_eq!(spec.data.columns.named(), [("input", "x"), ("target", "y")]);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_at_every_level() {
        for (extra, line, key) in [
            ("sepparator = \",\"\n", 7, "sepparator"),
            ("[prompt]\nsytem = \"\"\n", 8, "sytem"),
            ("[[label]]\nname = \"a\"\ndescr = \"b\"\n", 9, "descr"),
            ("[[specialist]]\ndomain = \"a\"\nmodle = \"b\"\n", 9, "modle"),
            ("[answer]\nshema = \"a\"\n", 8, "shema"),
            ("[knowledge]\nfolder = \"kb\"\ndepth = 1\n", 9, "depth"),
        ] {
            let problem = parse(Path::new("task.toml"), &format!("{MINIMAL}{extra}")).unwrap_err();
            assert_eq!(problem.line, Some(line), "{}", problem.reason);
            assert!(problem.reason.contains(key), "{}", problem.reason);
        }
    }

    #[test]
    fn a_wrong_type_is_shown_in_its_place() {
        let text = MINIMAL.replace("\"x\"", "3");
        let problem = parse(Path::new("task.toml"), &text).unwrap_err();
        assert_eq!(problem.line, Some(5));
        assert!(problem.reason.contains("input = 3"), "{}", problem.reason);
    }
}
