//! A build with SQL.

use super::Answer;
use crate::error::{Context, Result, usage};
use crate::record;
use crate::report::parquet::write_parquet;
use datafusion::common::ScalarValue;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Memory that a query may use, in bytes; beyond it works on disk where it can, and is refused where it cannot.
const MEMORY: usize = 1 << 30;

/// Answers a query over the trials of runs.
pub fn query(sql: &str, runs: &[PathBuf]) -> Result<Answer> {
    let headers = runs.iter().map(|run| record::read_header(run)).collect::<Result<Vec<_>>>()?;
    let place = tempfile::tempdir().context("making a folder for the table of the trials")?;
    let path = place.path().join("trials.parquet");
    write_parquet(&path, runs, &headers)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the query")?;
    runtime.block_on(answer(sql, &path))
}

async fn answer(sql: &str, trials: &Path) -> Result<Answer> {
    let environment =
        RuntimeEnvBuilder::new().with_memory_limit(MEMORY, 1.0).build_arc().context("starting the query")?;
    let context = SessionContext::new_with_config_rt(SessionConfig::new(), environment);
    let table = trials.to_str().context("the folder for temporary files has a name that is not UTF-8")?;
    context.register_parquet("trials", table, ParquetReadOptions::default()).await.context("reading the trials")?;
    let only_queries = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let refused = |error| {
        usage(format!(
            "the query cannot be answered: {error}; the one table is `trials`, docs/reading-a-report.md lists its columns"
        ))
    };
    let frame = context.sql_with_options(sql, only_queries).await.map_err(refused)?;
    let columns: Vec<String> = frame.schema().fields().iter().map(|field| field.name().clone()).collect();
    let frame = frame.limit(0, Some(Answer::MOST_ROWS + 1)).map_err(refused)?;
    let batches = frame.collect().await.map_err(refused)?;
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| ScalarValue::try_from_array(column, row).map(value));
            rows.push(values.collect::<std::result::Result<Vec<_>, _>>()?);
        }
    }
    let cut = rows.len() > Answer::MOST_ROWS;
    rows.truncate(Answer::MOST_ROWS);
    Ok(Answer { columns, rows, cut })
}

fn value(scalar: ScalarValue) -> Value {
    if scalar.is_null() {
        return Value::Null;
    }
    match scalar {
        ScalarValue::Boolean(Some(flag)) => flag.into(),
        ScalarValue::Int32(Some(number)) => number.into(),
        ScalarValue::Int64(Some(number)) => number.into(),
        ScalarValue::UInt64(Some(number)) => number.into(),
        ScalarValue::Float64(Some(number)) => number.into(),
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            text.into()
        }
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;
    use crate::record::write_json;
    use serde_json::json;

    fn run() -> (tempfile::TempDir, Vec<PathBuf>) {
        let (header, trials) = example::run();
        let folder = tempfile::tempdir().unwrap();
        write_json(&folder.path().join("run.json"), &header).unwrap();
        let lines: String = trials.iter().map(|trial| serde_json::to_string(trial).unwrap() + "\n").collect();
        std::fs::write(folder.path().join("trials.jsonl"), lines).unwrap();
        let runs = vec![folder.path().to_owned()];
        (folder, runs)
    }

    #[test]
    fn a_query_counts_groups_and_averages_what_the_records_say() {
        let (_folder, runs) = run();
        let (_, trials) = example::run();
        let sql = "SELECT cell, count(*) AS n, avg(CAST(label_correct AS INT)) AS accuracy FROM trials GROUP BY cell ORDER BY cell";
        let found = query(sql, &runs).unwrap();
        assert_eq!(found.columns, ["cell", "n", "accuracy"]);
        for row in &found.rows {
            let of_cell: Vec<_> = trials.iter().filter(|trial| row[0] == json!(trial.cell)).collect();
            let right: Vec<f64> = of_cell
                .iter()
                .filter_map(|trial| trial.scores.as_ref()?.label_correct.map(|right| f64::from(u8::from(right))))
                .collect();
            assert_eq!(row[1], json!(of_cell.len()));
            assert_eq!(row[2], json!(right.iter().sum::<f64>() / right.len() as f64));
        }
        assert!(!found.cut);
    }

    #[test]
    fn nothing_but_the_trials_can_be_read_and_nothing_written() {
        let (folder, runs) = run();
        let file = folder.path().join("out.csv");
        for sql in [
            format!("COPY trials TO '{}'", file.display()),
            format!("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{}'", file.display()),
            format!("SELECT * FROM '{}'", folder.path().join("trials.jsonl").display()),
            "INSERT INTO trials VALUES (1)".to_owned(),
            "SET datafusion.execution.batch_size = 1".to_owned(),
            "SELECT nothing FROM trials".to_owned(),
            "SELEC 1".to_owned(),
            String::new(),
        ] {
            let error = query(&sql, &runs).unwrap_err();
            assert!(format!("{error:#}").contains("cannot be answered"), "{sql}: {error:#}");
        }
        assert!(!file.exists());
    }
}
