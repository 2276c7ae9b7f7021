//! Queries with people's judgement of what is relevant to them, in the layout of BEIR.

use super::problem::{Problem, Problems};
use super::{Query, Split, Task, rows};
use crate::error::{Context, Result, usage};
use crate::files;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// A line of judgements may not be longer, in bytes.
const LONGEST_LINE: u64 = 64 << 10;

/// The highest grade; known sets have grades up to 4.
const HIGHEST_GRADE: f64 = 65_535.0;

/// Queries, and for each the articles that were judged with their grades, above 0 where they are relevant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgements {
    /// The queries that have a relevant article, in the order of their file.
    pub queries: Vec<Judged>,
    /// Queries without a relevant article.
    pub unjudged: usize,
    /// Queries that have judgements and no text.
    pub unknown: usize,
    /// Bad rows, which are left out.
    pub problems: Vec<Problem>,
}

/// One query and its judgements.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The query.
    pub query: Query,
    /// Grades by article id; 0 is not relevant.
    pub grades: BTreeMap<String, u32>,
}

impl Judgements {
    /// Reads queries (JSON lines, CSV or TSV with `_id` and `text`) and judgements: lines of query id, article id and grade,
    /// separated by tabs or blanks, with or without a header; or of four columns, as TREC has them.
    pub fn read(queries: &Path, qrels: &Path) -> Result<Self> {
        let mut problems = Problems::default();
        let queries = read_queries(queries, &mut problems)?;
        let ids: HashSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
        let grades = read_grades(qrels, &ids, &mut problems)?;
        let mut found = Self::of(queries, grades);
        found.problems = problems.into_list();
        Ok(found)
    }

    /// The judgements that a task's gold article ids are.
    #[must_use]
    pub fn of_task(task: &Task, split: Split) -> Self {
        let mut grades: HashMap<String, BTreeMap<String, u32>> = HashMap::new();
        for sample in task.split(split) {
            let ids = sample.target.articles.iter().flatten();
            grades.insert(sample.query.id.clone(), ids.map(|id| (id.clone(), 1)).collect());
        }
        Self::of(task.split(split).map(|sample| sample.query.clone()).collect(), grades)
    }

    fn of(queries: Vec<Query>, mut grades: HashMap<String, BTreeMap<String, u32>>) -> Self {
        let mut found = Self::default();
        for query in queries {
            let grades = grades.remove(&query.id).unwrap_or_default();
            if grades.values().any(|&grade| grade > 0) {
                found.queries.push(Judged { query, grades });
            } else {
                found.unjudged += 1;
            }
        }
        found.unknown = grades.len();
        found
    }
}

fn read_queries(file: &Path, problems: &mut Problems) -> Result<Vec<Query>> {
    let (mut queries, mut seen) = (Vec::new(), HashSet::new());
    files::check(file).map_err(|error| usage(format!("the queries: {error:#}")))?;
    rows::read(file, &[("", "_id"), ("", "text")], problems, &mut |row, problems| {
        let read = || -> Result<Query, String> {
            let id = row.name("_id")?.ok_or_else(|| row.missing("", "_id"))?;
            let input = row.text("text")?.ok_or_else(|| row.missing("", "text"))?;
            Ok(Query { id, input })
        };
        match read() {
            Ok(query) if seen.insert(query.id.clone()) => queries.push(query),
            Ok(query) => {
                problems.push(
                    file,
                    Some(row.line),
                    format!("the id {:?} was there before; the first query of that id is kept", query.id),
                );
            }
            Err(reason) => problems.push(file, Some(row.line), reason),
        }
    });
    if queries.is_empty() {
        return Err(none(file, "query", std::mem::take(problems)));
    }
    Ok(queries)
}

fn none(file: &Path, what: &str, problems: Problems) -> crate::error::Error {
    let shown: Vec<String> = problems.into_list().iter().take(20).map(|problem| format!("\n  {problem}")).collect();
    usage(format!("{} has no {what} that can be read:{}", file.display(), shown.concat()))
}

/// Reads judgements. A first line without a number is a header, unless it names one of the queries.
fn read_grades(
    file: &Path,
    ids: &HashSet<&str>,
    problems: &mut Problems,
) -> Result<HashMap<String, BTreeMap<String, u32>>> {
    files::check(file).map_err(|error| usage(format!("the judgements: {error:#}")))?;
    let mut reader = BufReader::new(files::open(file)?);
    let mut grades: HashMap<String, BTreeMap<String, u32>> = HashMap::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes);
        if read.with_context(|| format!("reading {}", file.display()))? == 0 {
            break;
        }
        if bytes.len() as u64 > LONGEST_LINE {
            problems.push(file, Some(line), "the line is longer than 64 KiB and is left out");
            rows::skip_line(&mut reader, &bytes).with_context(|| format!("reading {}", file.display()))?;
            continue;
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            problems.push(file, Some(line), "the line is not valid UTF-8; save the file as UTF-8");
            continue;
        };
        let text = text.trim_start_matches('\u{feff}').trim_end();
        // Ids may hold blanks where tabs separate them.
        let fields: Vec<&str> = if text.contains('\t') {
            text.split('\t').map(str::trim).collect()
        } else {
            text.split_whitespace().collect()
        };
        let (query, article, grade) = match fields.as_slice() {
            [] | [""] => continue,
            [query, article, grade] | [query, _, article, grade] => (*query, *article, *grade),
            _ => {
                problems.push(
                    file,
                    Some(line),
                    format!("has {} fields; query id, article id and grade are wanted", fields.len()),
                );
                continue;
            }
        };
        match grade.parse::<f64>() {
            Ok(number) if number.fract() == 0.0 && number.abs() <= HIGHEST_GRADE => {
                // Some sets mark spam with a negative grade: not relevant.
                let number = number.max(0.0) as u32;
                let known = *grades.entry(query.to_owned()).or_default().entry(article.to_owned()).or_insert(number);
                if known != number {
                    let reason = format!(
                        "{query:?} and {article:?} had the grade {known} before; the first grade is kept, not {number}"
                    );
                    problems.push(file, Some(line), reason);
                }
            }
            Ok(number) if number.fract() == 0.0 => {
                problems.push(file, Some(line), format!("the grade {grade} is higher than {HIGHEST_GRADE}"));
            }
            Err(_) if line == 1 && !ids.contains(query) => {}
            _ => problems.push(file, Some(line), format!("the grade {grade:?} is not a whole number")),
        }
    }
    if grades.is_empty() {
        return Err(none(file, "judgement", std::mem::take(problems)));
    }
    Ok(grades)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(queries: &str, qrels: &[u8]) -> Result<Judgements> {
        let folder = tempfile::tempdir().expect("folder");
        let (one, two) = (folder.path().join("queries.jsonl"), folder.path().join("qrels.tsv"));
        std::fs::write(&one, queries).expect("written");
        std::fs::write(&two, qrels).expect("written");
        Judgements::read(&one, &two)
    }

    const QUERIES: &str = "{\"_id\": \"q1\", \"text\": \"one\"}\n{\"_id\": \"q2\", \"text\": \"two\"}\n{\"_id\": \"q1\", \"text\": \"x\"}\n{\"_id\": \"q3\", \"text\": \" \"}\n";

    #[test]
    fn judgements_are_read_with_and_without_a_header_in_three_and_four_columns() {
        for qrels in
            ["query-id\tcorpus-id\tscore\nq1\td 1\t2\nq2\td2\t0\nq9\td2\t1\n", "q1 0 d_1 2\nq2 0 d2 -1\nq9 0 d2 1\n"]
        {
            let found = read(QUERIES, qrels.as_bytes()).expect("read");
            assert_eq!((found.queries.len(), found.unjudged, found.unknown), (1, 1, 1));
            assert_eq!(found.queries[0].query.input, "one");
            assert_eq!(found.queries[0].grades.values().collect::<Vec<_>>(), [&2]);
            let lines: Vec<_> = found.problems.iter().map(|problem| problem.line.expect("a line")).collect();
            assert_eq!(lines, [3, 4]);
        }
    }

    #[test]
    fn bad_lines_are_told_with_their_reason_and_good_ones_kept() {
        let found =
            read(QUERIES, b"q1\td1\t1\nq1\td2\nq1\td3\tmany\nq1\td4\t0.5\n\xff\xfe\t\t\nq1\td5\t1\n").expect("read");
        assert_eq!(found.queries[0].grades.len(), 2);
        let told: Vec<String> =
            found.problems.iter().skip(2).map(|p| format!("{}: {}", p.line.unwrap_or(0), p.reason)).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].starts_with("2: has 2 fields") && told[1].contains("\"many\"") && told[2].contains("\"0.5\""));
    }

    #[test]
    fn files_without_anything_to_judge_are_usage_errors() {
        for (queries, qrels, said) in [
            ("", "q1\td1\t1\n", "has no query"),
            ("{\"_id\": 1}\n", "q1\td1\t1\n", "no key \"text\""),
            (QUERIES, "", "has no judgement"),
            (QUERIES, "a\tb\n", "has no judgement"),
        ] {
            let error = read(queries, qrels.as_bytes()).expect_err("nothing there");
            assert_eq!(crate::error::ExitStatus::of(&error), crate::error::ExitStatus::Usage);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn a_second_grade_a_grade_out_of_range_and_a_long_line_are_told_and_the_rest_is_read() {
        let long = "x".repeat(70_000);
        let qrels = format!("q1\td1\t1x\nq1\td1\t1\nq1\td1\t0\nq1\td1\t1\n{long}\nq1\td2\t99999\nq2\td2\t1\n");
        let found = read(QUERIES, qrels.as_bytes()).expect("read");
        assert_eq!(found.queries.len(), 2);
        assert_eq!(found.queries[0].grades.values().collect::<Vec<_>>(), [&1]);
        let told: Vec<String> =
            found.problems.iter().skip(2).map(|p| format!("{}: {}", p.line.unwrap_or(0), p.reason)).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        for (told, said) in told.iter().zip([
            "1: the grade \"1x\" is not a whole number",
            "3: \"q1\" and \"d1\" had the grade 1 before",
            "5: the line is longer than 64 KiB",
            "6: the grade 99999 is higher than 65535",
        ]) {
            assert!(told.starts_with(said), "{told}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(qrels: Vec<u8>) {
            let _ = read(QUERIES, &qrels);
        }
    }
}
