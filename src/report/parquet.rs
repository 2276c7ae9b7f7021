//! `trials.parquet`: a row for each trial, flat columns, for programs that read tables. What it leaves out (prompts, answers of
//! other attempts, decisions) stands in `trials.jsonl`.

use crate::clock::Component;
use crate::engine::{Usage, UsageSource};
use crate::error::{Result, anyhow};
use crate::metrics::{cause, final_valid, first_valid, is_escalated};
use crate::record::{self, Cell, RunHeader, TrialRecord, write_whole_with};
use crate::report::name_of;
use crate::router::{Estimator, PromptVariant, Tier};
use crate::trial::Attempt;
use ::parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::Type;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a group: what is held in memory before it is written.
const GROUP_ROWS: usize = 50_000;

/// A trial with what it belongs to.
struct Row<'a> {
    run: &'a RunHeader,
    /// `None` for a trial of a cell that the header does not list.
    cell: Option<&'a Cell>,
    record: &'a TrialRecord,
}

/// What a column holds of a trial. `None` is null: not measured, or not applicable.
enum Read {
    Text(fn(&Row<'_>) -> Option<String>),
    Number(fn(&Row<'_>) -> Option<f64>),
    Count(fn(&Row<'_>) -> Option<i64>),
    Flag(fn(&Row<'_>) -> Option<bool>),
    /// Seconds of a component.
    Span(Component),
}

/// The values of a column in a group of rows.
enum Values {
    Text(Vec<Option<String>>),
    Number(Vec<Option<f64>>),
    Count(Vec<Option<i64>>),
    Flag(Vec<Option<bool>>),
}

/// Values of one row, in the order of the columns.
enum Value {
    Text(Option<String>),
    Number(Option<f64>),
    Count(Option<i64>),
    Flag(Option<bool>),
}

/// Writes the trials of runs, one group of rows after the other.
pub(super) fn write_parquet(path: &Path, folders: &[PathBuf], runs: &[RunHeader]) -> Result<()> {
    let columns = columns();
    write_whole_with(path, |file| {
        let schema = schema(&columns)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
        for (run, folder) in runs.iter().zip(folders) {
            write_run(&mut writer, &columns, run, folder)?;
        }
        writer.close()?;
        Ok(())
    })
}

fn write_run<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    columns: &[(String, Read)],
    run: &RunHeader,
    folder: &Path,
) -> Result<()> {
    let cells: HashMap<&str, &Cell> = run.cells.iter().map(|cell| (cell.name.as_str(), cell)).collect();
    let make = |record: TrialRecord, _| {
        let row = Row { run, cell: cells.get(record.cell.as_str()).copied(), record: &record };
        columns.iter().map(|(_, read)| read.of(&row)).collect::<Vec<_>>()
    };
    let mut group = Group::new(columns);
    let mut written = Ok(());
    record::each_trial(folder, make, |values| {
        group.push(values);
        if group.rows == GROUP_ROWS && written.is_ok() {
            written = std::mem::replace(&mut group, Group::new(columns)).write(writer);
        }
    })?;
    written?;
    group.write(writer)
}

/// Rows that wait to be written.
struct Group {
    columns: Vec<Values>,
    rows: usize,
}

impl Group {
    fn new(columns: &[(String, Read)]) -> Self {
        let columns = columns.iter().map(|(_, read)| match read {
            Read::Text(_) => Values::Text(Vec::new()),
            Read::Number(_) | Read::Span(_) => Values::Number(Vec::new()),
            Read::Count(_) => Values::Count(Vec::new()),
            Read::Flag(_) => Values::Flag(Vec::new()),
        });
        Self { columns: columns.collect(), rows: 0 }
    }

    fn push(&mut self, row: Vec<Value>) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            match (column, value) {
                (Values::Text(values), Value::Text(value)) => values.push(value),
                (Values::Number(values), Value::Number(value)) => values.push(value),
                (Values::Count(values), Value::Count(value)) => values.push(value),
                (Values::Flag(values), Value::Flag(value)) => values.push(value),
                // A column's values come from the one reader that also chose its kind.
                _ => {}
            }
        }
        self.rows += 1;
    }

    fn write<W: Write + Send>(self, writer: &mut SerializedFileWriter<W>) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = writer.next_row_group()?;
        for values in self.columns {
            let mut column = group.next_column()?.ok_or_else(|| anyhow!("the table has fewer columns than a row"))?;
            match (column.untyped(), values) {
                (ColumnWriter::ByteArrayColumnWriter(to), Values::Text(values)) => {
                    let (levels, values) = present(values);
                    let values: Vec<ByteArray> = values.into_iter().map(|text| text.into_bytes().into()).collect();
                    to.write_batch(&values, Some(&levels), None)?;
                }
                (ColumnWriter::DoubleColumnWriter(to), Values::Number(values)) => {
                    let (levels, values) = present(values);
                    to.write_batch(&values, Some(&levels), None)?;
                }
                (ColumnWriter::Int64ColumnWriter(to), Values::Count(values)) => {
                    let (levels, values) = present(values);
                    to.write_batch(&values, Some(&levels), None)?;
                }
                (ColumnWriter::BoolColumnWriter(to), Values::Flag(values)) => {
                    let (levels, values) = present(values);
                    to.write_batch(&values, Some(&levels), None)?;
                }
                _ => return Err(anyhow!("a column of the table has another type than its values")),
            }
            column.close()?;
        }
        group.close()?;
        Ok(())
    }
}

/// Which rows have a value, as Parquet's definition levels, and the values that are there.
fn present<T>(values: Vec<Option<T>>) -> (Vec<i16>, Vec<T>) {
    let levels = values.iter().map(|value| i16::from(value.is_some())).collect();
    (levels, values.into_iter().flatten().collect())
}

impl Read {
    fn of(&self, row: &Row<'_>) -> Value {
        match self {
            Self::Text(read) => Value::Text(read(row)),
            Self::Number(read) => Value::Number(read(row).filter(|value| value.is_finite())),
            Self::Count(read) => Value::Count(read(row)),
            Self::Flag(read) => Value::Flag(read(row)),
            Self::Span(component) => Value::Number(Some(row.record.trial.spans.get(*component).0)),
        }
    }

    fn physical(&self) -> Physical {
        match self {
            Self::Text(_) => Physical::BYTE_ARRAY,
            Self::Number(_) | Self::Span(_) => Physical::DOUBLE,
            Self::Count(_) => Physical::INT64,
            Self::Flag(_) => Physical::BOOLEAN,
        }
    }
}

fn schema(columns: &[(String, Read)]) -> std::result::Result<Arc<Type>, ParquetError> {
    let fields = columns.iter().map(|(name, read)| {
        let field = Type::primitive_type_builder(name, read.physical()).with_repetition(Repetition::OPTIONAL);
        let text = matches!(read, Read::Text(_));
        let field = if text { field.with_converted_type(ConvertedType::UTF8) } else { field };
        field.build().map(Arc::new)
    });
    let fields = fields.collect::<std::result::Result<Vec<_>, _>>()?;
    Type::group_type_builder("trial").with_fields(fields).build().map(Arc::new)
}

/// The columns, in their order. Names have their unit at their end, as everywhere in the records.
fn columns() -> Vec<(String, Read)> {
    let mut columns: Vec<(&str, Read)> = vec![
        ("run", Read::Text(|row| Some(row.run.id.clone()))),
        ("task", Read::Text(|row| Some(row.run.task.clone()))),
        ("cell", Read::Text(|row| Some(row.record.cell.clone()))),
        ("router", Read::Text(|row| Some(row.cell.map_or(row.record.router.name(), |cell| cell.router_name()).into()))),
        ("memory", Read::Text(|row| Some(row.record.memory.name().into()))),
        ("contract", Read::Text(|row| Some(row.record.contract.name().into()))),
        ("slm", Read::Text(|row| row.cell.map(|cell| cell.slm.clone()))),
        ("llm", Read::Text(|row| row.cell.map(|cell| cell.llm.clone()))),
        ("seed", Read::Count(|row| row.cell.and_then(|cell| i64::try_from(cell.seed).ok()))),
        ("sample", Read::Text(|row| Some(row.record.sample.clone()))),
        ("gold_label", Read::Text(|row| row.record.gold_label.clone())),
        ("difficulty", Read::Text(|row| row.record.difficulty.clone())),
        ("outcome", Read::Text(|row| Some(name_of(&row.record.trial.outcome)))),
        ("failure", Read::Text(|row| row.record.trial.failure.as_ref().map(|failure| name_of(&failure.kind)))),
        ("label", Read::Text(|row| row.record.trial.prediction.label.clone())),
        ("answer", Read::Text(|row| row.record.trial.prediction.answer.clone())),
        ("label_correct", Read::Flag(|row| row.record.scores.as_ref()?.label_correct)),
        ("fact_recall", Read::Number(|row| row.record.scores.as_ref()?.fact_recall)),
        ("groundedness", Read::Number(|row| row.record.scores.as_ref()?.groundedness)),
        ("citations_correct", Read::Flag(|row| row.record.scores.as_ref()?.citations_correct)),
        ("needs_human_correct", Read::Flag(|row| row.record.scores.as_ref()?.needs_human_correct)),
        ("schema_valid_first", Read::Flag(|row| first_valid(&row.record.trial))),
        ("schema_valid_final", Read::Flag(|row| final_valid(&row.record.trial))),
        ("escalated", Read::Flag(|row| Some(is_escalated(&row.record.trial)))),
        ("llm_cause", Read::Text(|row| attempts(row, Tier::Llm).next().map(|attempt| cause(&attempt.reason).into()))),
        ("confidence", Read::Number(|row| accepted(row)?.confidence.as_ref()?.value(Estimator::default()))),
        ("tier", Read::Text(|row| Some(name_of(&accepted(row)?.tier)))),
        ("model", Read::Text(|row| Some(accepted(row)?.model.clone()))),
        ("repairs", Read::Count(|row| Some(count(row, &is_repair)))),
        ("failed_calls", Read::Count(|row| Some(count(row, &|attempt| attempt.failure.is_some())))),
        ("slm_calls", Read::Count(|row| Some(count(row, &|attempt| attempt.tier == Tier::Slm)))),
        ("llm_calls", Read::Count(|row| Some(count(row, &|attempt| attempt.tier == Tier::Llm)))),
        ("slm_input_tokens", Read::Count(|row| tokens(row, Tier::Slm, |usage| usage.input_tokens))),
        ("slm_output_tokens", Read::Count(|row| tokens(row, Tier::Slm, |usage| usage.output_tokens))),
        ("slm_cached_tokens", Read::Count(|row| tokens(row, Tier::Slm, |usage| usage.cached_tokens))),
        ("llm_input_tokens", Read::Count(|row| tokens(row, Tier::Llm, |usage| usage.input_tokens))),
        ("llm_output_tokens", Read::Count(|row| tokens(row, Tier::Llm, |usage| usage.output_tokens))),
        ("llm_cached_tokens", Read::Count(|row| tokens(row, Tier::Llm, |usage| usage.cached_tokens))),
        ("passages", Read::Count(|row| i64::try_from(row.record.trial.retrieval.passages.len()).ok())),
        ("memory_tokens", Read::Count(|row| i64::try_from(row.record.trial.retrieval.tokens).ok())),
        ("api_usd", Read::Number(|row| row.record.cost.api_usd.map(|usd| usd.0))),
        ("hardware_usd", Read::Number(|row| row.record.cost.hardware_usd.map(|usd| usd.0))),
        // Scoring comes after the answer.
        (
            "latency_s",
            Read::Number(|row| Some((row.record.trial.wall_s - row.record.trial.spans.get(Component::Scoring)).0)),
        ),
        ("unaccounted_s", Read::Number(|row| Some(row.record.unaccounted_s.0))),
    ];
    let spans = Component::ALL.map(|component| (format!("{}_s", component.name()), Read::Span(component)));
    columns.drain(..).map(|(name, read)| (name.to_owned(), read)).chain(spans).collect()
}

fn accepted<'a>(row: &Row<'a>) -> Option<&'a Attempt> {
    row.record.trial.attempts.get(row.record.trial.accepted?)
}

fn attempts<'a>(row: &Row<'a>, tier: Tier) -> impl Iterator<Item = &'a Attempt> {
    row.record.trial.attempts.iter().filter(move |attempt| attempt.tier == tier)
}

fn is_repair(attempt: &Attempt) -> bool {
    matches!(attempt.variant, PromptVariant::Repair { .. })
}

fn count(row: &Row<'_>, of: &dyn Fn(&Attempt) -> bool) -> i64 {
    let counted = row.record.trial.attempts.iter().filter(|attempt| of(attempt)).count();
    i64::try_from(counted).unwrap_or(i64::MAX)
}

/// Tokens of a tier's calls; null where a call was not counted.
fn tokens(row: &Row<'_>, tier: Tier, of: fn(&Usage) -> u64) -> Option<i64> {
    let mut sum = 0_u64;
    for attempt in attempts(row, tier).filter(|attempt| attempt.failure.is_none()) {
        if attempt.usage_source == UsageSource::Missing {
            return None;
        }
        sum = sum.saturating_add(of(&attempt.usage));
    }
    i64::try_from(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    use ::parquet::record::Field;
    use std::fs::File;

    /// The rows of a file, each as its named fields.
    fn rows(path: &Path) -> Vec<HashMap<String, Field>> {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        rows.map(|row| row.unwrap().into_columns().into_iter().collect()).collect()
    }

    #[test]
    fn a_row_holds_what_the_record_says_and_null_where_it_says_nothing() {
        let (header, mut trials) = example::run();
        let folder = tempfile::tempdir().unwrap();
        if let Some(scores) = trials[1].scores.as_mut() {
            scores.groundedness = Some(0.25);
            scores.label_correct = Some(false);
        }
        trials[2].cost.api_usd = None;
        let lines: String = trials.iter().map(|trial| serde_json::to_string(trial).unwrap() + "\n").collect();
        std::fs::write(folder.path().join("trials.jsonl"), lines).unwrap();
        let path = folder.path().join("trials.parquet");
        write_parquet(&path, &[folder.path().to_owned()], std::slice::from_ref(&header)).unwrap();
        let rows = rows(&path);
        assert_eq!(rows.len(), trials.len());
        for (row, trial) in rows.iter().zip(&trials) {
            assert_eq!(row["cell"], Field::Str(trial.cell.clone()));
            assert_eq!(row["sample"], Field::Str(trial.sample.clone()));
            assert_eq!(row["slm_calls"], Field::Long(count_tier(trial, Tier::Slm)));
            let latency = trial.trial.wall_s - trial.trial.spans.get(Component::Scoring);
            assert_eq!(row["latency_s"], Field::Double(latency.0));
            assert_eq!(row["prefill_s"], Field::Double(trial.trial.spans.get(Component::Prefill).0));
        }
        assert_eq!(rows[1]["groundedness"], Field::Double(0.25));
        assert_eq!(rows[1]["label_correct"], Field::Bool(false));
        assert_eq!(rows[0]["groundedness"], Field::Null);
        assert_eq!(rows[2]["api_usd"], Field::Null);
    }

    fn count_tier(trial: &TrialRecord, tier: Tier) -> i64 {
        trial.trial.attempts.iter().filter(|attempt| attempt.tier == tier).count() as i64
    }

    #[test]
    fn more_rows_than_a_group_holds_are_all_written() {
        let (header, trials) = example::run();
        let columns = columns();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("many.parquet");
        let values = || {
            let row = Row { run: &header, cell: header.cells.first(), record: &trials[0] };
            columns.iter().map(|(_, read)| read.of(&row)).collect::<Vec<_>>()
        };
        write_whole_with(&path, |file| {
            let mut writer = SerializedFileWriter::new(file, schema(&columns)?, Arc::new(WriterProperties::default()))?;
            for size in [3, 0, 2] {
                let mut group = Group::new(&columns);
                (0..size).for_each(|_| group.push(values()));
                group.write(&mut writer)?;
            }
            writer.close()?;
            Ok(())
        })
        .unwrap();
        assert_eq!(rows(&path).len(), 5);
    }
}
