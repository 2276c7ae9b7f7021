//! `query "SELECT …" RUN…`: SQL over the trials of runs.

use super::output;
use crate::error::{ExitStatus, Result};
use crate::report;
use clap::Args;
use clap::builder::FalseyValueParser;
use std::path::PathBuf;

/// Arguments of `query`.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// A query over the table `trials`, which has a row for each trial and the columns of trials.parquet
    sql: String,
    /// Folders of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Print one JSON object with the columns and the rows
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

pub(super) fn run(args: &QueryArgs) -> Result<ExitStatus> {
    let found = report::query(&args.sql, &args.runs)?;
    if args.json {
        output::data(&serde_json::to_string(&found)?)?;
    } else {
        output::data(report::render_terminal(&[found.table()], output::width()).trim_end())?;
    }
    Ok(ExitStatus::Done)
}
