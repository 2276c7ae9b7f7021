//! `trials.parquet`: a row for each trial, for notebooks and databases. Texts of prompts and answers stay in `trials.jsonl`.

use crate::clock::Component;
use crate::error::{Context, Error, Result};
use crate::metrics::{cause, is_escalated};
use crate::record::{self, RunHeader, TrialRecord};
use crate::report::name_of;
use crate::router::Tier;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows that are held before they are written.
const GROUP: usize = 65_536;

/// A column of values, some of them absent.
enum Values {
    Text(Vec<Option<ByteArray>>),
    Real(Vec<Option<f64>>),
    Whole(Vec<Option<i64>>),
    Truth(Vec<Option<bool>>),
}

/// One value.
enum Value {
    Text(Option<String>),
    Real(Option<f64>),
    Whole(Option<i64>),
    Truth(Option<bool>),
}

/// How a column is read from a record.
type Of<T> = Box<dyn Fn(&RunHeader, &TrialRecord) -> Option<T> + Sync>;

enum Read {
    Text(Of<String>),
    Real(Of<f64>),
    Whole(Of<i64>),
    Truth(Of<bool>),
}

struct Column {
    name: String,
    read: Read,
}

impl Column {
    fn value(&self, run: &RunHeader, trial: &TrialRecord) -> Value {
        match &self.read {
            Read::Text(of) => Value::Text(of(run, trial)),
            Read::Real(of) => Value::Real(of(run, trial)),
            Read::Whole(of) => Value::Whole(of(run, trial)),
            Read::Truth(of) => Value::Truth(of(run, trial)),
        }
    }

    fn empty(&self) -> Values {
        match &self.read {
            Read::Text(_) => Values::Text(Vec::new()),
            Read::Real(_) => Values::Real(Vec::new()),
            Read::Whole(_) => Values::Whole(Vec::new()),
            Read::Truth(_) => Values::Truth(Vec::new()),
        }
    }
}

fn columns() -> Vec<Column> {
    let mut all: Vec<Column> = Vec::new();
    let mut add = |name: &str, read: Read| all.push(Column { name: name.to_owned(), read });
    let some = |text: &str| Some(text.to_owned());
    add("run", Read::Text(Box::new(move |run, _| some(&run.id))));
    add("cell", Read::Text(Box::new(move |_, trial| some(&trial.cell))));
    add("router", Read::Text(Box::new(move |_, trial| some(trial.router.name()))));
    add("memory", Read::Text(Box::new(move |_, trial| some(trial.memory.name()))));
    add("contract", Read::Text(Box::new(move |_, trial| some(trial.contract.name()))));
    add("slm", Read::Text(Box::new(move |run, _| some(&run.slm.model))));
    add("llm", Read::Text(Box::new(move |run, _| some(&run.llm.model))));
    add("sample", Read::Text(Box::new(move |_, trial| some(&trial.sample))));
    add("gold_label", Read::Text(Box::new(|_, trial| trial.gold_label.clone())));
    add("difficulty", Read::Text(Box::new(|_, trial| trial.difficulty.clone())));
    add("outcome", Read::Text(Box::new(|_, trial| Some(name_of(&trial.trial.outcome)))));
    add("label", Read::Text(Box::new(|_, trial| trial.trial.prediction.label.clone())));
    add("label_correct", Read::Truth(Box::new(|_, trial| trial.scores.as_ref()?.label_correct)));
    add("groundedness", Read::Real(Box::new(|_, trial| trial.scores.as_ref()?.groundedness)));
    add("fact_recall", Read::Real(Box::new(|_, trial| trial.scores.as_ref()?.fact_recall)));
    add("citations_correct", Read::Truth(Box::new(|_, trial| trial.scores.as_ref()?.citations_correct)));
    add("needs_human_correct", Read::Truth(Box::new(|_, trial| trial.scores.as_ref()?.needs_human_correct)));
    add("escalated", Read::Truth(Box::new(|_, trial| Some(is_escalated(&trial.trial)))));
    add("llm_cause", Read::Text(Box::new(|_, trial| {
        let llm = trial.trial.attempts.iter().find(|attempt| attempt.tier == Tier::Llm)?;
        Some(cause(&llm.reason).to_owned())
    })));
    add("attempts", Read::Whole(Box::new(|_, trial| i64::try_from(trial.trial.attempts.len()).ok())));
    for (tier, name) in [(Tier::Slm, "slm"), (Tier::Llm, "llm")] {
        type Count = fn(&crate::engine::Usage) -> u64;
        let counts: [(&str, Count); 2] = [("input", |usage| usage.input_tokens), ("output", |usage| usage.output_tokens)];
        for (what, count) in counts {
            add(&format!("{name}_{what}_tokens"), Read::Whole(Box::new(move |_, trial| {
                let of_tier = trial.trial.attempts.iter().filter(|attempt| attempt.tier == tier);
                i64::try_from(of_tier.map(|attempt| count(&attempt.usage)).fold(0, u64::saturating_add)).ok()
            })));
        }
    }
    add("confidence", Read::Real(Box::new(|_, trial| {
        let slm = trial.trial.attempts.iter().find(|attempt| attempt.tier == Tier::Slm)?;
        slm.confidence.as_ref()?.value(crate::router::Estimator::default())
    })));
    add("latency_s", Read::Real(Box::new(|_, trial| {
        Some((trial.trial.wall_s - trial.trial.spans.get(Component::Scoring)).0)
    })));
    for component in Component::ALL {
        let name = format!("{}_s", component.name());
        add(&name, Read::Real(Box::new(move |_, trial| Some(trial.trial.spans.get(component).0))));
    }
    add("unaccounted_s", Read::Real(Box::new(|_, trial| Some(trial.unaccounted_s.0))));
    add("api_usd", Read::Real(Box::new(|_, trial| trial.cost.api_usd.map(|usd| usd.0))));
    add("hardware_usd", Read::Real(Box::new(|_, trial| trial.cost.hardware_usd.map(|usd| usd.0))));
    all
}

/// Writes the trials of some runs.
pub(super) fn write_trials(path: &Path, folders: &[PathBuf], runs: &[RunHeader]) -> Result<()> {
    let columns = columns();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder).with_context(|| format!("creating {}", path.display()))?;
    let mut sink = Sink::new(file.reopen().context("opening the new file")?, &columns)?;
    for (folder, run) in folders.iter().zip(runs) {
        let make = |trial: TrialRecord, _| columns.iter().map(|column| column.value(run, &trial)).collect::<Vec<_>>();
        let mut failed: Option<Error> = None;
        record::each_trial(folder, make, |row| {
            if failed.is_none() {
                failed = sink.add(row).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(error.context(format!("writing {}", path.display())));
        }
    }
    sink.finish().with_context(|| format!("writing {}: is the disk full?", path.display()))?;
    file.persist(path).with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

struct Sink {
    writer: SerializedFileWriter<File>,
    held: Vec<Values>,
    rows: usize,
}

impl Sink {
    fn new(file: File, columns: &[Column]) -> Result<Self> {
        let held: Vec<Values> = columns.iter().map(Column::empty).collect();
        let named = columns.iter().zip(&held);
        let fields = named.map(|(column, values)| field(&column.name, values)).collect::<Result<Vec<_>>>()?;
        let schema = Type::group_type_builder("trial").with_fields(fields).build()?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        Ok(Self { writer, held, rows: 0 })
    }

    fn add(&mut self, row: Vec<Value>) -> Result<()> {
        for (held, value) in self.held.iter_mut().zip(row) {
            match (held, value) {
                (Values::Text(all), Value::Text(one)) => all.push(one.map(|text| ByteArray::from(text.into_bytes()))),
                (Values::Real(all), Value::Real(one)) => all.push(one),
                (Values::Whole(all), Value::Whole(one)) => all.push(one),
                (Values::Truth(all), Value::Truth(one)) => all.push(one),
                // Every column reads values of one kind.
                _ => {}
            }
        }
        self.rows += 1;
        if self.rows >= GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for values in &mut self.held {
            let Some(mut column) = group.next_column()? else { break };
            match values {
                Values::Text(all) => write::<ByteArrayType>(&mut column, all)?,
                Values::Real(all) => write::<DoubleType>(&mut column, all)?,
                Values::Whole(all) => write::<Int64Type>(&mut column, all)?,
                Values::Truth(all) => write::<BoolType>(&mut column, all)?,
            }
            column.close()?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if self.rows > 0 {
            self.flush()?;
        }
        self.writer.close()?;
        Ok(())
    }
}

fn write<T: parquet::data_type::DataType>(
    column: &mut parquet::file::writer::SerializedColumnWriter<'_>,
    all: &mut Vec<Option<T::T>>,
) -> Result<()> {
    let levels: Vec<i16> = all.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<T::T> = all.drain(..).flatten().collect();
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    Ok(())
}

fn field(name: &str, values: &Values) -> Result<Arc<Type>> {
    let (physical, logical) = match values {
        Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Values::Real(_) => (Physical::DOUBLE, None),
        Values::Whole(_) => (Physical::INT64, None),
        Values::Truth(_) => (Physical::BOOLEAN, None),
    };
    let field = Type::primitive_type_builder(name, physical)
        .with_logical_type(logical)
        .with_repetition(Repetition::OPTIONAL)
        .build()?;
    Ok(Arc::new(field))
}
