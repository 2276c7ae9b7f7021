//! `compare RUN_A RUN_B`: what the second run changed.

use super::output;
use crate::error::{ExitStatus, Result, usage};
use crate::metrics::{Limit, Rows, RunComparison, compare, draft};
use crate::record::{self, RunHeader};
use crate::report::{self, Held, comparison_markdown, comparison_table, limit_sentences};
use clap::Args;
use clap::builder::FalseyValueParser;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The run to compare with
    #[arg(value_name = "RUN_A")]
    baseline: PathBuf,
    /// The run that is judged
    #[arg(value_name = "RUN_B")]
    candidate: PathBuf,
    /// Exit with 100 where METRIC of a policy gets worse by more than LIMIT, in its unit or in percent of RUN_A: accuracy=0.02,
    /// latency_p50_s=10%. The limit is held against the difference itself; the table says whether it is shown. May be given
    /// several times
    #[arg(long, value_name = "METRIC=LIMIT", value_delimiter = ',', env = "ROUTERGYM_FAIL_ON_REGRESSION")]
    fail_on_regression: Vec<Limit>,
    /// Markdown, for a pull request
    #[arg(long, conflicts_with = "json", env = "ROUTERGYM_MARKDOWN", value_parser = FalseyValueParser::new())]
    markdown: bool,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

pub(super) fn run(args: &CompareArgs) -> Result<ExitStatus> {
    let (first, second) = (read(&args.baseline)?, read(&args.candidate)?);
    if (&first.0.task, first.0.split) != (&second.0.task, second.0.split) {
        return Err(usage(format!(
            "{} is of the {} split of {}, {} of the {} split of {}: only runs of the same samples can be compared",
            args.baseline.display(),
            first.0.split.name(),
            first.0.task,
            args.candidate.display(),
            second.0.split.name(),
            second.0.task
        )));
    }
    let found = compare((&first.0, &first.1), (&second.0, &second.1));
    if found.changes.is_empty() {
        return Err(usage(format!(
            "the runs share no policy: the first has {}, the second {}",
            found.only_in_baseline.join(", "),
            found.only_in_candidate.join(", ")
        )));
    }
    let held = held(&args.fail_on_regression, &found)?;
    let exceeded = held.iter().any(|one| one.exceeded);
    show(args, &found, &held)?;
    Ok(if exceeded { ExitStatus::Threshold } else { ExitStatus::Done })
}

fn read(folder: &Path) -> Result<(RunHeader, Rows)> {
    let header = record::read_header(folder)?;
    let mut rows = Rows::default();
    rows.begin(&header);
    let slm = &header.slm.model;
    let torn = record::each_trial(folder, |trial, place| draft(&trial, place, slm), |draft| rows.take(draft))?;
    if torn {
        output::note(&format!(
            "the last line of {} was torn by a crash and is left out",
            folder.join("trials.jsonl").display()
        ));
    }
    Ok((header, rows))
}

/// Holds the limits against every policy. A limit that no policy can be held to would pass unnoticed.
fn held<'a>(limits: &'a [Limit], found: &'a RunComparison) -> Result<Vec<Held<'a>>> {
    let mut held = Vec::new();
    for limit in limits {
        let before = held.len();
        let of_metric = found.changes.iter().filter(|change| change.metric == limit.metric);
        held.extend(of_metric.filter_map(|change| Some(Held { limit, change, exceeded: limit.is_exceeded(change)? })));
        if held.len() == before {
            return Err(usage(format!(
                "{} cannot be held to a limit: no policy has it on samples that both runs answered",
                limit.metric
            )));
        }
    }
    Ok(held)
}

fn show(args: &CompareArgs, found: &RunComparison, held: &[Held<'_>]) -> Result<()> {
    if args.markdown {
        return output::data(comparison_markdown(found, held).trim_end());
    }
    if args.json {
        let mut value = serde_json::to_value(found)?;
        let limits = held.iter().map(|one| {
            json!({
                "metric": one.change.metric, "cell": one.change.cell, "limit": one.limit.most, "relative": one.limit.relative,
                "difference": one.change.difference, "exceeded": one.exceeded,
            })
        });
        value["limits"] = limits.collect();
        return output::data(&value.to_string());
    }
    output::data(report::render_terminal(&[comparison_table(found)], output::width()).trim_end())?;
    for sentence in limit_sentences(held) {
        output::data(&report::printable(&sentence))?;
    }
    Ok(())
}
