//! `merge SHARD… -o DIR`: the shards of a run, put together, with the tables of the whole.

use super::{output, report as report_verb};
use crate::error::{ExitStatus, Result};
use crate::grid;
use crate::report::{self, Format};
use clap::Args;
use clap::builder::FalseyValueParser;
use std::path::PathBuf;

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// Folders of shards, as `grid --shard` made them; a merged run may be among them
    #[arg(required = true, value_name = "SHARD")]
    shards: Vec<PathBuf>,
    /// The folder of the whole; an earlier merge of the same run in it is replaced
    #[arg(short, long, value_name = "DIR", env = "ROUTERGYM_OUT")]
    out: PathBuf,
    /// Print summary.json on stdout instead of tables
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the verb: status 1 where something is missing, the figures of the rest are there all the same.
pub(super) fn run(args: &MergeArgs, quiet: bool) -> Result<ExitStatus> {
    let merged = grid::merge(&args.shards, &args.out)?;
    let found = report::collect(std::slice::from_ref(&args.out))?;
    report::write(&args.out, &found, &Format::DEFAULT)?;
    report_verb::print_summary(&found, args.json)?;
    if !quiet {
        let repeated = match merged.repeated {
            0 => String::new(),
            count => format!("; {count} of them stood in several shards, and are the same there"),
        };
        output::note(&format!("{} trials are in {}{repeated}", merged.trials, args.out.display()));
    }
    for what in &merged.missing {
        output::note(&format!("missing: {what}"));
    }
    Ok(if merged.missing.is_empty() { ExitStatus::Done } else { ExitStatus::Failed })
}
