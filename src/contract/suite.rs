//! Other people's tests of JSON Schema: how far this program's verdicts agree with them.
//!
//! Read are folders in the layout of JSON-Schema-Test-Suite (`tests/<draft>/*.json`, with `remotes/` beside `tests/`), and
//! files of one JSON row to a line, `{"schema": …, "tests": [{"data": …, "valid": true}]}`.

use super::message::shorten;
use super::{Contract, ContractOptions};
use crate::error::{Context, Result, usage};
use jsonschema::Draft;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Schemas that may be referred to, by their addresses.
pub type Resources = Vec<(String, Value)>;

/// Bytes of one file of tests, or of one row, at most.
const LARGEST: u64 = 16 << 20;
/// Disagreements and refused schemas that are told one by one.
const MOST_TOLD: usize = 1_000;
/// Parts of the addresses of the drafts that are known.
const KNOWN_DRAFTS: [&str; 5] = ["/draft/2019-09/", "/draft/2020-12/", "/draft-04/", "/draft-06/", "/draft-07/"];
/// The address that the suite's remote schemas have.
const REMOTES: &str = "http://localhost:1234/";

/// A schema and the data that it is tried on.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Suite {
    /// What it is about.
    #[serde(default)]
    pub description: String,
    /// The schema.
    pub schema: Value,
    /// What it is tried on.
    #[serde(default)]
    pub tests: Vec<SuiteTest>,
    /// Where it stands: a file, and which of its suites.
    #[serde(skip)]
    pub place: String,
    /// The draft that is meant where the schema names none.
    #[serde(skip)]
    pub draft: Option<Draft>,
    /// Why it could not be read, where it could not.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// One instance, and whether it keeps the schema.
#[derive(Debug, Clone, Deserialize)]
pub struct SuiteTest {
    /// What it is about.
    #[serde(default)]
    pub description: String,
    /// The instance.
    pub data: Value,
    /// Whether it keeps the schema.
    pub valid: bool,
}

/// How far verdicts agree.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// Schemas.
    pub suites: usize,
    /// Instances.
    pub tests: usize,
    /// Instances on which both say the same.
    pub agree: usize,
    /// Instances on which they do not.
    pub disagree: usize,
    /// Instances of schemas that this program refuses.
    pub unsupported: usize,
    /// The first disagreements.
    pub disagreements: Vec<Disagreement>,
    /// The first refused schemas, with the reason.
    pub refused: Vec<RefusedSchema>,
}

/// An instance on which the verdicts differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// Where the suite stands.
    pub place: String,
    /// The suite's and the test's descriptions.
    pub test: String,
    /// What the suite says.
    pub expected: bool,
    /// What this program says.
    pub found: bool,
}

/// A schema that this program refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedSchema {
    /// Where the suite stands.
    pub place: String,
    /// The suite's description.
    pub suite: String,
    /// Why.
    pub reason: String,
    /// How many instances it has.
    pub tests: usize,
}

/// Tries every schema on its instances. `options` holds formats and the schemas that may be referred to.
#[must_use]
pub fn agreement(suites: &[Suite], options: &ContractOptions) -> Agreement {
    let mut found = Agreement { suites: suites.len(), ..Agreement::default() };
    for suite in suites {
        found.tests += suite.tests.len();
        let options = ContractOptions { draft: suite.draft, ..options.clone() };
        let contract = match &suite.unreadable {
            Some(reason) => Err(usage(reason.clone())),
            None => Contract::with_options("the schema", &suite.schema, &options),
        };
        let contract = match contract {
            Ok(contract) => contract,
            Err(error) => {
                found.unsupported += suite.tests.len();
                if found.refused.len() < MOST_TOLD {
                    found.refused.push(RefusedSchema {
                        place: suite.place.clone(),
                        suite: suite.description.clone(),
                        reason: format!("{error:#}"),
                        tests: suite.tests.len(),
                    });
                }
                continue;
            }
        };
        for (index, test) in suite.tests.iter().enumerate() {
            let Some(valid) = contract.accepts(&test.data) else {
                found.unsupported += 1;
                if found.refused.len() < MOST_TOLD {
                    found.refused.push(RefusedSchema {
                        place: suite.place.clone(),
                        suite: suite.description.clone(),
                        reason: format!(
                            "test {} is too large or nests too deep for this schema to be checked in bounded time",
                            index + 1
                        ),
                        tests: 1,
                    });
                }
                continue;
            };
            if valid == test.valid {
                found.agree += 1;
                continue;
            }
            found.disagree += 1;
            if found.disagreements.len() < MOST_TOLD {
                found.disagreements.push(Disagreement {
                    place: suite.place.clone(),
                    test: match (suite.description.as_str(), test.description.as_str()) {
                        ("", "") => format!("test {}: {}", index + 1, shorten(&test.data.to_string(), 80)),
                        (suite, test) => format!("{suite}: {test}"),
                    },
                    expected: test.valid,
                    found: valid,
                });
            }
        }
    }
    found
}

/// Reads a folder or a file of tests, and the schemas that a folder keeps to be referred to.
pub fn read_suites(path: &Path, optional: bool) -> Result<(Vec<Suite>, Resources)> {
    if !path.is_dir() {
        // A file of the suite's own is one list; one of rows has an object on each line.
        let is_list = path.extension().is_some_and(|extension| extension == "json") && begins_a_list(path);
        let suites =
            if is_list { read_file(path, path.file_name().map_or(path, Path::new))? } else { read_rows(path)? };
        return Ok((suites, if is_list { remotes(path)? } else { Vec::new() }));
    }
    let inner = path.join("tests");
    let root = if inner.is_dir() { inner } else { path.to_owned() };
    let mut suites = Vec::new();
    for file in json_files(&root)? {
        let relative = file.strip_prefix(&root).unwrap_or(&file);
        if optional || !relative.components().any(|part| part.as_os_str() == "optional") {
            suites.extend(read_file(&file, relative)?);
        }
    }
    if suites.is_empty() {
        return Err(usage(format!("there is no file of tests (*.json) in {}", path.display())));
    }
    Ok((suites, remotes(path)?))
}

/// The schemas of the folder `remotes`, which stands beside `tests`.
fn remotes(path: &Path) -> Result<Resources> {
    let Some(folder) = path.ancestors().take(3).map(|folder| folder.join("remotes")).find(|folder| folder.is_dir())
    else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for file in json_files(&folder)? {
        let schema: Value = read_json(&file)?;
        // Of other drafts the first and those to come are not known here.
        let draft = schema.get("$schema").and_then(Value::as_str).unwrap_or_default();
        if !draft.contains("json-schema.org/") || KNOWN_DRAFTS.iter().any(|known| draft.contains(known)) {
            let relative = file.strip_prefix(&folder).unwrap_or(&file).to_string_lossy().replace('\\', "/");
            found.push((format!("{REMOTES}{relative}"), schema));
        }
    }
    Ok(found)
}

fn begins_a_list(file: &Path) -> bool {
    let mut first = Vec::new();
    let read = File::open(file).and_then(|opened| opened.take(256).read_to_end(&mut first));
    read.is_ok() && first.trim_ascii_start().first() == Some(&b'[')
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("reading the folder {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading the folder {}", folder.display()))?;
            let kind = entry.file_type().with_context(|| format!("reading {}", entry.path().display()))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|extension| extension == "json") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let mut text = String::new();
    let opened = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    opened.take(LARGEST + 1).read_to_string(&mut text).with_context(|| format!("reading {}", file.display()))?;
    if text.len() as u64 > LARGEST {
        return Err(usage(format!("{} is longer than {LARGEST} bytes, more than is read of one file", file.display())));
    }
    serde_json::from_str(&text).map_err(|error| usage(format!("{} is not a file of tests: {error}", file.display())))
}

fn read_file(file: &Path, relative: &Path) -> Result<Vec<Suite>> {
    let mut suites: Vec<Suite> = read_json(file)?;
    let draft =
        relative.components().chain(file.components()).find_map(|part| draft(&part.as_os_str().to_string_lossy()));
    for (index, suite) in suites.iter_mut().enumerate() {
        suite.place = format!("{} #{index}", relative.display());
        match &draft {
            Some(Ok(draft)) => suite.draft = Some(*draft),
            Some(Err(reason)) => suite.unreadable = Some(reason.clone()),
            None => {}
        }
    }
    Ok(suites)
}

/// The draft that a folder of the suite is named for, or why its tests cannot be tried.
fn draft(folder: &str) -> Option<Result<Draft, String>> {
    Some(Ok(match folder {
        "draft4" => Draft::Draft4,
        "draft6" => Draft::Draft6,
        "draft7" => Draft::Draft7,
        "draft2019-09" => Draft::Draft201909,
        "draft2020-12" => Draft::Draft202012,
        "draft1" | "draft2" | "draft3" | "draft5" | "draft-next" => {
            return Some(Err(format!("{folder} is not supported: drafts 4, 6, 7, 2019-09 and 2020-12 are")));
        }
        _ => return None,
    }))
}

/// Reads rows of tests.
pub fn read_rows(file: &Path) -> Result<Vec<Suite>> {
    let row = "{\"schema\": …, \"tests\": [{\"data\": …, \"valid\": true}]}";
    let rows = read_lines(file, row, |suite: Suite| Ok(suite))?;
    let suite = |(place, read)| match read {
        Ok(suite) => Suite { place, ..suite },
        Err(reason) => Suite { place, unreadable: Some(reason), ..Suite::default() },
    };
    Ok(rows.into_iter().map(suite).collect())
}

/// What the lines of a file of JSON say, or why they cannot be used, beside where they stand. Empty lines are skipped; `row`
/// shows what one looks like.
pub(super) fn read_lines<T: DeserializeOwned, R>(
    file: &Path,
    row: &str,
    mut take: impl FnMut(T) -> Result<R, String>,
) -> Result<Vec<(String, Result<R, String>)>> {
    let attempt = || format!("reading {}", file.display());
    let opened = File::open(file).map_err(|error| usage(format!("{}: {error}", attempt())))?;
    if !opened.metadata().with_context(attempt)?.is_file() {
        return Err(usage(format!("{} is not a file", file.display())));
    }
    let mut reader = BufReader::new(opened);
    let mut rows = Vec::new();
    for number in 1.. {
        let mut line = Vec::new();
        let read = (&mut reader).take(LARGEST).read_until(b'\n', &mut line).with_context(attempt)?;
        if read == 0 {
            break;
        }
        if read as u64 == LARGEST && !line.ends_with(b"\n") {
            reader.skip_until(b'\n').with_context(attempt)?;
            let reason = format!("{} line {number} is longer than {LARGEST} bytes", file.display());
            rows.push((format!("line {number}"), Err(reason)));
            continue;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let content = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line);
        let read = serde_json::from_slice::<T>(content).map_err(|error| error.to_string()).and_then(&mut take);
        let read = read.map_err(|reason| format!("{} line {number} is not a row {row}: {reason}", file.display()));
        rows.push((format!("line {number}"), read));
    }
    // One bad row is told among the verdicts; where no row can be read, the file is another.
    match rows.first() {
        None => Err(usage(format!("{} has no row", file.display()))),
        Some((_, Err(reason))) if rows.iter().all(|(_, read)| read.is_err()) => Err(usage(reason.clone())),
        Some(_) => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<Vec<Suite>> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), text)?;
        read_rows(file.path())
    }

    #[test]
    fn agreement_disagreement_and_refusal_are_counted_apart() {
        let suites = rows(
            "{\"schema\": {\"type\": \"integer\"}, \"tests\": [{\"data\": 1, \"valid\": true}, {\"data\": \"x\", \"valid\": true}]}\n\n\
             {\"schema\": {\"$ref\": \"http://example.com/x\"}, \"tests\": [{\"data\": 1, \"valid\": true}]}\n",
        )
        .expect("rows");
        let found = agreement(&suites, &ContractOptions::default());
        assert_eq!((found.suites, found.tests, found.agree, found.disagree, found.unsupported), (2, 3, 1, 1, 1));
        assert!(found.disagreements[0].expected && !found.disagreements[0].found);
        assert!(found.refused[0].reason.contains("example.com") && found.refused[0].place == "line 3");
    }

    #[test]
    fn a_test_that_is_too_much_work_is_told_with_its_reason() {
        let again = "{\"$ref\": \"#/$defs/s\"}";
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        let row = format!(
            "{{\"schema\": {{\"$defs\": {{\"s\": {{\"allOf\": [{{\"items\": {again}}}, {{\"items\": {again}}}]}}}}, \"$ref\": \"#/$defs/s\"}}, \
             \"tests\": [{{\"data\": [1], \"valid\": true}}, {{\"data\": {deep}, \"valid\": true}}]}}"
        );
        let found = agreement(&rows(&row).expect("a row"), &ContractOptions::default());
        assert_eq!((found.agree, found.unsupported), (1, 1));
        assert!(found.refused[0].reason.starts_with("test 2 is too large or nests too deep"), "{:?}", found.refused);
    }

    #[test]
    fn a_row_that_is_too_long_is_told_and_those_after_it_are_read() {
        let long = " ".repeat(LARGEST as usize + 5);
        let row = "{\"schema\": true, \"tests\": [{\"data\": 1, \"valid\": true}]}";
        let found = agreement(&rows(&format!("{long}{row}\n{row}\n")).expect("a row"), &ContractOptions::default());
        assert_eq!((found.suites, found.agree, found.refused.len()), (2, 1, 1));
        assert!(found.refused[0].reason.contains("line 1 is longer"), "{:?}", found.refused);
    }

    #[test]
    fn tests_of_a_draft_that_is_not_supported_are_told_and_not_judged() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = r#"[{"description": "d", "schema": {"type": "any"}, "tests": [{"data": 1, "valid": true}]}]"#;
        for draft in ["draft3", "draft7"] {
            let tests = folder.path().join("tests").join(draft);
            fs::create_dir_all(&tests).expect("a folder");
            fs::write(tests.join("type.json"), one.replace("any", "integer")).expect("a file");
        }
        let (suites, _) = read_suites(folder.path(), false).expect("two files");
        let found = agreement(&suites, &ContractOptions::default());
        assert_eq!((found.agree, found.unsupported), (1, 1));
        assert!(found.refused[0].reason.contains("draft3 is not supported"), "{:?}", found.refused);
    }

    #[test]
    fn a_row_that_is_none_is_named_by_its_line() {
        let found =
            agreement(&rows("{\"schema\": true}\n{\"no\": 1}\n").expect("one row"), &ContractOptions::default());
        assert!(found.refused[0].reason.contains("line 2"), "{:?}", found.refused);
        assert!(rows("{\"no\": 1}\n").is_err());
        assert!(rows("").is_err());
    }
}
