//! `report RUN…`: the tables and the page of runs, made again from their records.

use super::output;
use crate::error::{ExitStatus, Result};
use crate::report::{self, Format, Report};
use clap::Args;
use clap::builder::FalseyValueParser;
use std::path::PathBuf;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Folders of runs: one, or several of the same task, split and models, such as those of several seeds
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where to write the files [default: the run's folder]
    #[arg(short, long, value_name = "DIR", env = "ROUTERGYM_OUT")]
    out: Option<PathBuf>,
    /// What to write: report.html, summary.md, summary.csv, summary.json, trials.parquet
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["json", "csv", "md", "html"], env = "ROUTERGYM_FORMAT")]
    format: Vec<Format>,
    /// Print summary.json on stdout instead of tables
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

pub(super) fn run(args: &ReportArgs) -> Result<ExitStatus> {
    let folder = match &args.out {
        Some(out) => out,
        None => report::default_folder(&args.runs)?,
    };
    let found = report::collect(&args.runs)?;
    if found.torn {
        output::note("the last line of trials.jsonl was torn by a crash and is left out");
    }
    if found.trials == 0 {
        output::note("there is no finished trial: the report says what is missing");
    }
    report::write(folder, &found, &args.format)?;
    print_summary(&found, args.json)?;
    Ok(ExitStatus::Done)
}

/// Prints a report's summary: one JSON object, or tables and the verdict.
pub(super) fn print_summary(found: &Report, json: bool) -> Result<()> {
    let (header, summary) = (&found.header, &found.summary);
    if json {
        return output::data(&serde_json::to_string(summary)?);
    }
    let models = format!(
        "{}: {} samples of the {} split. SLM {} ({}), LLM {} ({}){}.\n",
        summary.task,
        summary.samples,
        summary.split.name(),
        header.slm.model,
        header.slm.place,
        header.llm.model,
        header.llm.place,
        if header.llm_is_stand_in { ", a stand-in on this machine" } else { "" },
    );
    output::data(&report::printable(models.trim_end()))?;
    output::data(&report::render_terminal(&report::tables(summary), output::width()))?;
    if let Ok(replay) = &found.replay {
        for line in report::threshold_lines(replay) {
            output::data(&line)?;
        }
    }
    output::data(&format!("\nVerdict: {}\n", report::printable(&summary.verdict.text)))
}
