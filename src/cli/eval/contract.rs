//! `eval contract`: whether verdicts agree with other people's tests, and whether constrained answers keep their forms.

mod answers;

use super::super::{Common, output};
use crate::contract::suite::{Agreement, agreement, read_suites};
use crate::contract::{ContractOptions, read_forms};
use crate::error::{ExitStatus, Result};
use crate::net::Network;
use crate::nn::DeviceChoice;
use clap::Args;
use clap::builder::FalseyValueParser;
use std::path::PathBuf;

/// Arguments of `eval contract`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ContractArgs {
    /// Tests: a folder in the layout of JSON-Schema-Test-Suite, or a file with a row {"schema", "tests"} to a line
    #[arg(value_name = "PATH", required_unless_present_any = ["suite", "file", "schemas"])]
    path: Vec<PathBuf>,
    /// A folder of tests, as PATH
    #[arg(long, value_name = "DIR", env = "ROUTERGYM_SUITE")]
    suite: Option<PathBuf>,
    /// A file of rows, as PATH
    #[arg(long, value_name = "FILE", env = "ROUTERGYM_FILE")]
    file: Option<PathBuf>,
    /// Tests of what drafts leave open, too
    #[arg(long, env = "ROUTERGYM_OPTIONAL", value_parser = FalseyValueParser::new())]
    optional: bool,
    /// Whether `format` is asserted
    #[arg(long, env = "ROUTERGYM_FORMATS", value_parser = FalseyValueParser::new())]
    formats: bool,
    /// Instead of tests: let this model answer under the constraint of each row of --schemas
    #[arg(long, value_name = "NAME|PATH", requires = "schemas", env = "ROUTERGYM_MODEL")]
    model: Option<String>,
    /// What answers are held to, a row to a line: a "schema", a "regex", or a list of "choices" in an object
    #[arg(long, value_name = "FILE", requires = "model", env = "ROUTERGYM_SCHEMAS")]
    schemas: Option<PathBuf>,
    /// How many rows of --schemas at most; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N", env = "ROUTERGYM_LIMIT")]
    limit: usize,
    /// Generated tokens of one answer at most
    #[arg(long, default_value_t = 256, value_name = "N", env = "ROUTERGYM_MAX_TOKENS")]
    max_tokens: usize,
    /// 0 is greedy, 2 the most
    #[arg(long, default_value_t = 0.0, env = "ROUTERGYM_TEMPERATURE")]
    temperature: f64,
    /// Seed of the sampler
    #[arg(long, default_value_t = 0, env = "ROUTERGYM_SEED")]
    seed: u64,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", env = "ROUTERGYM_DEVICE")]
    device: DeviceChoice,
    /// Threads of the model [default: the machine's cores, as far as they are lent to this program]
    #[arg(long, value_name = "N", env = "ROUTERGYM_THREADS")]
    threads: Option<usize>,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs what was asked for.
pub(in crate::cli) fn run(args: &ContractArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    if let (Some(model), Some(schemas)) = (&args.model, &args.schemas) {
        return answers::run(args, model, &read_forms(schemas)?, network, common);
    }
    let mut suites = Vec::new();
    let mut options = ContractOptions { formats: args.formats, ..ContractOptions::default() };
    for path in args.path.iter().chain(&args.suite).chain(&args.file) {
        let (read, resources) = read_suites(path, args.optional)?;
        suites.extend(read);
        options.resources.extend(resources);
    }
    let found = agreement(&suites, &options);
    output::data(&if args.json { serde_json::to_string(&found)? } else { agreement_text(&found) })?;
    Ok(ExitStatus::Done)
}

fn agreement_text(found: &Agreement) -> String {
    let Agreement { suites, tests, agree, disagree, unsupported, disagreements, refused } = found;
    let mut lines = vec![format!(
        "{tests} tests of {suites} schemas: {agree} agree, {disagree} disagree, {unsupported} of schemas that are refused"
    )];
    let word = |valid: bool| if valid { "valid" } else { "not valid" };
    lines.extend(disagreements.iter().map(|one| {
        format!("disagree: {} ({}): expected {}, found {}", one.test, one.place, word(one.expected), word(one.found))
    }));
    lines.extend(
        refused
            .iter()
            .map(|one| format!("refused: {} ({}, {} tests): {}", one.suite, one.place, one.tests, one.reason)),
    );
    lines.join("\n")
}
