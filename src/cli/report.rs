//! `report RUN`: the tables of a run, made again from its records.

use super::output;
use crate::error::{ExitStatus, Result, usage};
use crate::{metrics, record, report};
use clap::Args;
use clap::builder::FalseyValueParser;
use std::path::PathBuf;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The run's folder
    run: PathBuf,
    /// Where to write summary.json, summary.csv and summary.md [default: the run's folder]
    #[arg(short, long, value_name = "DIR", env = "ROUTERGYM_OUT")]
    out: Option<PathBuf>,
    /// Print summary.json on stdout instead of tables
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

pub(super) fn run(args: &ReportArgs) -> Result<ExitStatus> {
    let run = record::read(&args.run)?;
    if run.torn {
        output::note("the last line of trials.jsonl was torn by a crash and is left out");
    }
    if run.trials.is_empty() {
        return Err(usage(format!("{} holds no finished trial, so there is nothing to report", args.run.display())));
    }
    let summary = metrics::summarise(&run.header, &run.trials);
    report::write(args.out.as_deref().unwrap_or(&args.run), &run.header, &summary)?;
    print_summary(&run.header, &summary, args.json)?;
    Ok(ExitStatus::Done)
}

/// Prints a summary: one JSON object, or tables and the verdict.
pub(super) fn print_summary(header: &record::RunHeader, summary: &metrics::Summary, json: bool) -> Result<()> {
    if json {
        output::data(&serde_json::to_string(summary)?)?;
    } else {
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
        output::data(&format!("\nVerdict: {}\n", report::printable(&summary.verdict.text)))?;
    }
    Ok(())
}
