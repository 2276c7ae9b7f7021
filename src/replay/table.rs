//! Outcomes from a table of comma-separated values.

use super::evaluate::CONTROLS;
use super::{Exclusion, Hardware, Known, Outcomes, Score, Sides};
use crate::error::{Error, Result, usage};
use crate::files;
use crate::metrics::routing::First;
use crate::router::Learner;
use csv::ByteRecord;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{BufReader, Read};
use std::path::Path;
use std::str::FromStr;

/// A larger table is not read, in bytes.
const LARGEST: u64 = 16 << 30;
/// Nor one of more rows.
const MOST_ROWS: usize = 50_000_000;
/// Problems that an error shows.
const SHOWN: usize = 20;
/// Columns that hold the query's text where the user names none, in order of preference.
const QUERY_COLUMNS: [&str; 5] = ["prompt", "query", "question", "input", "text"];
/// Columns that tell queries apart where there is no text.
const ID_COLUMNS: [&str; 4] = ["id", "query_id", "sample_id", "sample"];

/// A column, or a figure that holds for every row.
#[derive(Debug, Clone, PartialEq)]
pub enum Side {
    /// The same for every row.
    Number(f64),
    /// A column's name.
    Column(String),
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(Self::Number(number)),
            Ok(number) => Err(format!("{number} is no cost or time: it must be finite and not negative")),
            Err(_) => Ok(Self::Column(text.to_owned())),
        }
    }
}

/// Which columns of the table mean what.
#[derive(Debug, Clone, Default)]
pub struct TableSpec {
    /// Quality of the weak model.
    pub weak: String,
    /// Quality of the strong model.
    pub strong: String,
    /// Dollars of an answer of the weak and of the strong model. Without the weak one's it is its time at the machine's rate.
    pub cost: Option<(Option<Side>, Side)>,
    /// Seconds of an answer of the weak and of the strong model.
    pub latency: Option<(Side, Side)>,
    /// Dollars for an hour of the weak model's machine.
    pub hardware_usd_per_hour: Option<f64>,
    /// Scores that are known after the weak model's answer; with a leading `-`, high ones go to the strong model.
    pub scores: Vec<String>,
    /// Scores that are known before any call, written likewise.
    pub pre_scores: Vec<String>,
    /// The query's text or id.
    pub query: Option<String>,
    /// Whether the texts are kept.
    pub keep_texts: bool,
    /// What to leave out.
    pub exclude: Option<Exclusion>,
}

/// Reads a table. Anything that is no outcome is an error that lists the first such cells with their lines.
pub fn read_table(file: &Path, spec: &TableSpec) -> Result<Outcomes> {
    let opened = files::open(file).map_err(|error| usage(format!("reading recorded outcomes: {error:#}")))?;
    let length = opened.metadata().map_or(0, |metadata| metadata.len());
    if length > LARGEST {
        return Err(usage(format!("{} is {length} bytes large; at most {LARGEST} are read", file.display())));
    }
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).from_reader(BufReader::with_capacity(1 << 18, opened.take(LARGEST)));
    let header = reader.byte_headers().map_err(|error| usage(format!("cannot read {}: {error}", file.display())))?;
    let names = names(file, header)?;
    let columns = Columns::find(file, &names, spec)?;
    let mut rows = Rows::new(file, &columns, names.len(), spec);
    let mut record = ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => rows.add(&record, reader.position().line())?,
            Ok(false) => break,
            Err(error) => return Err(usage(format!("cannot read {} further: {error}", file.display()))),
        }
    }
    rows.finish(&names)
}

fn names(file: &Path, header: &ByteRecord) -> Result<Vec<String>> {
    let place = || format!("{}:1", file.display());
    let mut names = Vec::new();
    for (index, field) in header.iter().enumerate() {
        let field = if index == 0 { field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field) } else { field };
        let name = std::str::from_utf8(field)
            .map_err(|_| usage(format!("{}: the header is not valid UTF-8; save the file as UTF-8", place())))?;
        names.push(name.trim().to_owned());
    }
    if names.iter().all(String::is_empty) {
        return Err(usage(format!("{} is empty: a header and a row for each query are needed", file.display())));
    }
    Ok(names)
}

/// Where the columns stand.
struct Columns {
    weak: usize,
    strong: usize,
    cost: Option<(Place, Place)>,
    /// Whether the weak model's cost is its time at the machine's rate.
    cost_is_time: bool,
    latency: Option<(Place, Place)>,
    scores: Vec<(String, usize, First, Known)>,
    query: Option<usize>,
    /// Whether the query column holds texts, not only ids.
    has_texts: bool,
}

#[derive(Clone, Copy)]
enum Place {
    Number(f64),
    Column(usize),
    /// The weak model's seconds at this rate in dollars per second.
    TimeAt(f64),
}

impl Columns {
    fn find(file: &Path, names: &[String], spec: &TableSpec) -> Result<Self> {
        let find = |name: &str, flag: &str| -> Result<usize> {
            let mut found = names.iter().enumerate().filter(|(_, known)| *known == name.trim());
            match (found.next(), found.next()) {
                (Some((index, _)), None) => Ok(index),
                (Some(_), Some(_)) => {
                    Err(usage(format!("{}:1: the column {name:?} stands there twice", file.display())))
                }
                (None, _) => Err(usage(format!(
                    "{}:1: there is no column {name:?} ({flag}); the columns are: {}",
                    file.display(),
                    listed(names)
                ))),
            }
        };
        let place = |side: &Side, flag: &str| match side {
            Side::Number(number) => Ok(Place::Number(*number)),
            Side::Column(name) => find(name, flag).map(Place::Column),
        };
        let latency = match &spec.latency {
            Some((weak, strong)) => Some((place(weak, "--latency-weak")?, place(strong, "--latency-strong")?)),
            None => None,
        };
        let cost = match &spec.cost {
            None => None,
            Some((Some(weak), strong)) => Some((place(weak, "--cost-weak")?, place(strong, "--cost-strong")?)),
            Some((None, strong)) => match (spec.hardware_usd_per_hour, latency) {
                (Some(rate), Some(_)) => Some((Place::TimeAt(rate / 3600.0), place(strong, "--cost-strong")?)),
                _ => {
                    return Err(usage(
                        "the cost of the weak model is not known: give --cost-weak, or its time by --latency-weak and what its \
                         machine costs by --hardware-usd-per-hour",
                    ));
                }
            },
        };
        let mut scores: Vec<(String, usize, First, Known)> = Vec::new();
        let after = spec.scores.iter().map(|name| (name, "--score", Known::AfterWeak));
        let before = spec.pre_scores.iter().map(|name| (name, "--pre-score", Known::BeforeCall));
        for (given, flag, known) in after.chain(before) {
            let turned = given.strip_prefix('-').filter(|_| !names.iter().any(|name| name == given));
            let index = find(turned.unwrap_or(given), flag)?;
            let name = if is_reserved(given) { format!("score:{given}") } else { given.clone() };
            if scores.iter().any(|(other, ..)| *other == name) {
                return Err(usage(format!("the score {given:?} is given twice")));
            }
            scores.push((name, index, if turned.is_some() { First::High } else { First::Low }, known));
        }
        let (weak, strong) = (find(&spec.weak, "--weak")?, find(&spec.strong, "--strong")?);
        if weak == strong {
            return Err(usage("--weak and --strong name the same column: two models are needed"));
        }
        let query = match &spec.query {
            Some(name) => Some(find(name, "--query")?),
            None => usual(names, &[weak, strong], spec.exclude.is_some()),
        };
        if let (None, Some(exclude)) = (query, &spec.exclude) {
            return Err(usage(format!(
                "{}:1: no column is named as one that holds the query's text, to be looked up in {}: name it by --query; \
                 the columns are: {}",
                file.display(),
                exclude.name(),
                listed(names)
            )));
        }
        let is_text = |index: usize| spec.query.is_some() || is_one_of(&QUERY_COLUMNS, &names[index]);
        Ok(Self {
            weak,
            strong,
            cost_is_time: matches!(cost, Some((Place::TimeAt(_), _))),
            cost,
            latency,
            scores,
            query,
            has_texts: query.is_some_and(is_text),
        })
    }
}

/// Whether a policy has this name whatever the table holds.
fn is_reserved(name: &str) -> bool {
    CONTROLS.into_iter().chain(Learner::ALL.map(Learner::name)).any(|known| known == name)
}

/// The column that tells queries apart where the user names none.
fn usual(names: &[String], taken: &[usize], text_only: bool) -> Option<usize> {
    let ids: &[&str] = if text_only { &[] } else { &ID_COLUMNS };
    let free = |(index, _): &(usize, &String)| !taken.contains(index);
    QUERY_COLUMNS
        .iter()
        .chain(ids)
        .find_map(|usual| names.iter().enumerate().filter(free).find(|(_, name)| name.eq_ignore_ascii_case(usual)))
        .map(|(index, _)| index)
}

fn is_one_of(usual: &[&str], name: &str) -> bool {
    usual.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Rows as they are read.
struct Rows<'a> {
    file: &'a Path,
    columns: &'a Columns,
    width: usize,
    spec: &'a TableSpec,
    outcomes: Outcomes,
    numbers: HashMap<Vec<u8>, u32>,
    found: HashSet<String>,
    problems: Vec<String>,
    wrong: usize,
    seen: usize,
}

impl<'a> Rows<'a> {
    fn new(file: &'a Path, columns: &'a Columns, width: usize, spec: &'a TableSpec) -> Self {
        let sides = || Sides { weak: Vec::new(), strong: Vec::new() };
        let score = |(name, _, first, known): &(String, usize, First, Known)| Score {
            name: name.clone(),
            values: Vec::new(),
            first: *first,
            known: *known,
        };
        let outcomes = Outcomes {
            weak_model: spec.weak.clone(),
            strong_model: spec.strong.clone(),
            weak: Vec::new(),
            strong: Vec::new(),
            cost: columns.cost.map(|_| sides()),
            latency: columns.latency.map(|_| sides()),
            hardware: spec
                .hardware_usd_per_hour
                .map(|usd_per_hour| Hardware { usd_per_hour, is_weak_cost: columns.cost_is_time }),
            scores: columns.scores.iter().map(score).collect(),
            query_of: Vec::new(),
            queries: 0,
            texts: (spec.keep_texts && columns.has_texts).then(Vec::new),
            excluded: 0,
            notes: Vec::new(),
        };
        Self {
            file,
            columns,
            width,
            spec,
            outcomes,
            numbers: HashMap::new(),
            found: HashSet::new(),
            problems: Vec::new(),
            wrong: 0,
            seen: 0,
        }
    }

    fn add(&mut self, record: &ByteRecord, after: u64) -> Result<()> {
        self.seen += 1;
        if self.seen > MOST_ROWS {
            return Err(usage(format!("{} has more than the {MOST_ROWS} rows that are read", self.file.display())));
        }
        // The reader stands after the row: a row of several lines starts where it ends less the line breaks in it.
        let inner = record.as_slice().split(|&byte| byte == b'\n').count() as u64 - 1;
        let line = after.saturating_sub(inner + 1).max(record.position().map_or(0, csv::Position::line));
        if let Err(reason) = self.row(record) {
            self.wrong += 1;
            if self.problems.len() < SHOWN {
                self.problems.push(format!("{}:{line}: {reason}", self.file.display()));
            }
        }
        Ok(())
    }

    fn row(&mut self, record: &ByteRecord) -> std::result::Result<(), String> {
        if record.len() != self.width {
            return Err(format!(
                "the row has {} fields where the header has {}; put text that holds a comma or a quote in quotes",
                record.len(),
                self.width
            ));
        }
        let text = |index: usize| {
            std::str::from_utf8(record.get(index).unwrap_or_default())
                .map_err(|_| "a cell is not valid UTF-8; save the file as UTF-8".to_owned())
        };
        let query = self.columns.query.map(text).transpose()?;
        if let (Some(exclude), Some(query)) = (&self.spec.exclude, query)
            && exclude.holds(query)
        {
            self.found.insert(query.trim().to_owned());
            self.outcomes.excluded += 1;
            return Ok(());
        }
        let weak = quality(text(self.columns.weak)?, &self.spec.weak)?;
        let strong = quality(text(self.columns.strong)?, &self.spec.strong)?;
        let pair = |places: Option<(Place, Place)>, what: &str, seconds: f64| {
            let amount = |place: Place| match place {
                Place::Number(number) => Ok(number),
                Place::Column(index) => amount(text(index)?, what),
                Place::TimeAt(rate) => Ok(seconds * rate),
            };
            places.map(|(weak, strong)| Ok::<_, String>((amount(weak)?, amount(strong)?))).transpose()
        };
        let latency = pair(self.columns.latency, "latency", 0.0)?;
        let cost = pair(self.columns.cost, "cost", latency.map_or(0.0, |(weak, _)| weak))?;
        let scores = self.columns.scores.iter().map(|(name, index, ..)| score(text(*index)?, name));
        let scores = scores.collect::<std::result::Result<Vec<f64>, String>>()?;

        let out = &mut self.outcomes;
        for (sides, pair) in [(&mut out.cost, cost), (&mut out.latency, latency)] {
            if let (Some(sides), Some((weak, strong))) = (sides, pair) {
                sides.weak.push(weak);
                sides.strong.push(strong);
            }
        }
        for (score, value) in out.scores.iter_mut().zip(scores) {
            score.values.push(value);
        }
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let number = match query {
            Some(query) => *self.numbers.entry(query.trim().as_bytes().to_vec()).or_insert(next),
            None => u32::try_from(out.weak.len()).unwrap_or(u32::MAX),
        };
        if let (Some(texts), Some(query)) = (&mut out.texts, query) {
            texts.push(query.trim().to_owned());
        }
        out.query_of.push(number);
        out.weak.push(weak);
        out.strong.push(strong);
        Ok(())
    }

    fn finish(mut self, names: &[String]) -> Result<Outcomes> {
        if self.wrong > 0 {
            return Err(self.into_error());
        }
        let rows = self.outcomes.weak.len();
        if let Some(exclude) = &self.spec.exclude {
            let column = self.columns.query.map_or("", |index| &names[index]);
            if self.found.is_empty() {
                return Err(usage(format!(
                    "no row of {} is excluded: none of the {} texts in {} stands in the column {column:?}; name the column by \
                     --query or the field by --exclude-field",
                    self.file.display(),
                    exclude.len(),
                    exclude.name()
                )));
            }
            let absent = exclude.len() - self.found.len();
            if absent > 0 {
                let note = format!("{absent} of the {} texts in {} stand in no row.", exclude.len(), exclude.name());
                self.outcomes.notes.push(note);
            }
        }
        if rows == 0 {
            return Err(usage(format!("{} holds no row to judge", self.file.display())));
        }
        self.outcomes.queries = if self.columns.query.is_some() {
            u32::try_from(self.numbers.len()).unwrap_or(u32::MAX)
        } else {
            u32::try_from(rows).unwrap_or(u32::MAX)
        };
        Ok(self.outcomes)
    }

    fn into_error(self) -> Error {
        let mut text = format!("{} has {} rows that are no outcomes:\n  ", self.file.display(), self.wrong);
        text.push_str(&self.problems.join("\n  "));
        if self.wrong > self.problems.len() {
            let _ = write!(text, "\n  and {} more", self.wrong - self.problems.len());
        }
        usage(text)
    }
}

/// Right or wrong, or a quality between.
fn quality(cell: &str, column: &str) -> std::result::Result<f64, String> {
    let cell = cell.trim();
    if cell.eq_ignore_ascii_case("true") {
        return Ok(1.0);
    }
    if cell.eq_ignore_ascii_case("false") {
        return Ok(0.0);
    }
    match cell.parse::<f64>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => Ok(quality),
        _ => {
            Err(format!("{} in the column {column:?} is no outcome: true, false or a quality from 0 to 1", shown(cell)))
        }
    }
}

fn amount(cell: &str, what: &str) -> std::result::Result<f64, String> {
    match cell.trim().parse::<f64>() {
        Ok(amount) if amount.is_finite() && amount >= 0.0 => Ok(amount),
        _ => Err(format!("{} is no {what}: a finite number that is not negative", shown(cell))),
    }
}

/// A score; an empty cell is none, and what is made of it is undefined.
fn score(cell: &str, column: &str) -> std::result::Result<f64, String> {
    match cell.trim() {
        "" => Ok(f64::NAN),
        text => text.parse().map_err(|_| format!("{} in the column {column:?} is no score: a number", shown(text))),
    }
}

fn shown(cell: &str) -> String {
    let short: String = cell.chars().take(40).collect();
    if short.len() < cell.len() { format!("{short:?}…") } else { format!("{short:?}") }
}

fn listed(names: &[String]) -> String {
    const MOST: usize = 40;
    let mut text = names.iter().take(MOST).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        let _ = write!(text, " and {} more", names.len() - MOST);
    }
    text
}
