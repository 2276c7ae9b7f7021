//! The command line: arguments, what they resolve to, what is printed, and the exit status.
//!
//! Data goes to stdout, progress and notes to stderr. This room is the only one that prints.

mod bench;
mod cells;
mod compare;
mod config;
mod configuration;
mod doctor;
mod estimate;
mod eval;
mod fit;
mod grid;
mod interrupt;
mod kept;
mod memory;
mod merge;
pub mod models;
mod output;
mod prepare;
mod progress;
mod pulse;
mod query;
mod replay;
mod report;
mod serve;
mod setup;
mod speed;
mod sweep;
mod tasks;
mod threads;

use crate::error::{Error, ExitStatus, Result};
use crate::net::Network;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Measures whether small language models on this machine can take over work that is sent to a remote LLM.
#[derive(Debug, Parser)]
#[command(
    name = "routergym-local",
    version,
    after_help = "Exit status: 0 done, 1 the run failed (a damaged model file too), 2 wrong usage, configuration or data of a task, 100 a regression beyond its limit (`compare`), 130 interrupted (`serve`: 0).\n\
                  Every flag has an environment variable; flag over environment over --config file over default."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Clone, Args)]
struct Common {
    /// Reach nothing but this machine's loopback (HF_HUB_OFFLINE=1 does the same)
    #[arg(long, global = true, env = "ROUTERGYM_OFFLINE", value_parser = FalseyValueParser::new())]
    offline: bool,
    /// No progress and no notes
    #[arg(short, long, global = true, env = "ROUTERGYM_QUIET", conflicts_with = "verbose", value_parser = FalseyValueParser::new())]
    quiet: bool,
    /// Say more on stderr: every trial as it ends
    #[arg(short, long, global = true, env = "ROUTERGYM_VERBOSE", value_parser = FalseyValueParser::new())]
    verbose: bool,
    /// A TOML file with the flags of a verb, such as `[bench]` and `limit = 24`
    #[arg(long, global = true, value_name = "FILE", env = "ROUTERGYM_CONFIG")]
    config: Option<PathBuf>,
}

impl Common {
    fn network(&self) -> Network {
        let hub_offline = std::env::var("HF_HUB_OFFLINE")
            .is_ok_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        Network::new(self.offline || hub_offline)
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compare the routers on one task: tables, a verdict, and a folder with every output
    #[command(allow_negative_numbers = true)]
    Bench(Box<bench::BenchArgs>),
    /// Sweep over routers, memories, contracts, models and seeds, and do each piece of the work once
    Grid(Box<grid::GridArgs>),
    /// Put the shards of a grid together
    Merge(merge::MergeArgs),
    /// Make the tables and the page of runs again from their records
    Report(report::ReportArgs),
    /// Answer a SELECT over the trials of runs, in builds with the feature `sql`
    Query(query::QueryArgs),
    /// Say what a second run changed, worst first; fail beyond limits
    Compare(compare::CompareArgs),
    /// Put every policy through recorded outcomes of two models, at every threshold, and call none
    #[command(allow_negative_numbers = true)]
    Replay(Box<replay::ReplayArgs>),
    /// Learn a router from runs in which both models answered, and write it as a file for `bench --router`
    Fit(fit::FitArgs),
    /// List, fetch, verify and inspect models
    Models(models::ModelsArgs),
    /// List, show and check tasks
    Tasks(tasks::TasksArgs),
    /// Serve a local model over an OpenAI-compatible HTTP interface
    ///
    /// Ctrl-C or SIGTERM ends the server once the answers under way are finished, after 10 s at the latest; a second one
    /// ends it at once. The exit status is 0 either way.
    Serve(Box<serve::ServeArgs>),
    /// Measure prefill and decode of a local model
    Speed(speed::SpeedArgs),
    /// Judge one component alone, on labelled data
    Eval(eval::EvalArgs),
    /// Say what this machine and this build offer
    Doctor(doctor::DoctorArgs),
}

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    let status = parse().and_then(|cli| dispatch(&cli)).unwrap_or_else(|error| explain(&error));
    std::process::ExitCode::from(status as u8)
}

fn parse() -> Result<Cli> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let command = config::with_defaults(<Cli as clap::CommandFactory>::command(), &arguments)?;
    // clap prints its own errors and help, and exits with 2 or 0.
    let matches = command.get_matches_from(arguments);
    <Cli as clap::FromArgMatches>::from_arg_matches(&matches).map_err(|error| error.exit())
}

fn dispatch(cli: &Cli) -> Result<ExitStatus> {
    let network = cli.common.network();
    match &cli.verb {
        Verb::Bench(args) => bench::run(args, network, &cli.common),
        Verb::Grid(args) => grid::run(args, network, &cli.common),
        Verb::Merge(args) => merge::run(args, cli.common.quiet),
        Verb::Report(args) => report::run(args),
        Verb::Query(args) => query::run(args),
        Verb::Compare(args) => compare::run(args),
        Verb::Replay(args) => replay::run(args, network, &cli.common),
        Verb::Fit(args) => fit::run(args, network, &cli.common),
        Verb::Models(args) => models::run(args, network, cli.common.quiet),
        Verb::Tasks(args) => tasks::run(args),
        Verb::Serve(args) => serve::run(args, network, cli.common.quiet),
        Verb::Speed(args) => speed::run(args, network, &cli.common),
        Verb::Eval(args) => eval::run(args, network, &cli.common),
        Verb::Doctor(args) => doctor::run(args, network),
    }
}

/// Prints an error chain once, on one place, and tells the exit status.
fn explain(error: &Error) -> ExitStatus {
    output::note(&format!("error: {error:#}"));
    ExitStatus::of(error)
}
