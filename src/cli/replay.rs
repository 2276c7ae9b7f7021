//! `replay`: policies over recorded outcomes, no model called.

use super::{Common, output};
use crate::error::{Context, ExitStatus, Result, usage};
use crate::models::{ENCODER, Kind, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice, SentenceEncoder};
use crate::record::{write_json, write_whole};
use crate::replay::learned::cross_fitted;
use crate::replay::{Exclusion, Options, Outcomes, Replay, Side, TableSpec, read_runs, read_table, replay};
use crate::report;
use crate::router::Learner;
use clap::builder::{FalseyValueParser, PossibleValue};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Rows up to which routers learn from texts without being asked to: embedding takes about 10 ms a text and core.
const UNASKED_ROWS: usize = 5_000;
/// Rows up to which they can be asked to: every text is compared with every other.
const MOST_ROWS: usize = 50_000;
/// Resamples at most.
const MOST_DRAWS: usize = 100_000;

/// What learns from the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learn {
    By(Learner),
    /// Nothing does.
    None,
}

impl ValueEnum for Learn {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Learn; 4] =
            [Learn::By(Learner::Knn), Learn::By(Learner::Logistic), Learn::By(Learner::Mf), Learn::None];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::By(learner) => PossibleValue::new(learner.name()),
            Self::None => PossibleValue::new("none"),
        })
    }
}

/// Arguments of `replay`.
#[derive(Debug, Clone, Args)]
pub(super) struct ReplayArgs {
    /// Folders of runs in which both models answered the same samples
    #[arg(value_name = "RUN", required_unless_present = "outcomes", conflicts_with = "outcomes")]
    runs: Vec<PathBuf>,
    /// A table with a row for each query and a column for each model: true, false, or a quality from 0 to 1
    #[arg(long, value_name = "FILE.csv", requires = "weak", requires = "strong", env = "ROUTERGYM_OUTCOMES")]
    outcomes: Option<PathBuf>,
    /// The column of the weak model
    #[arg(long, value_name = "COL", requires = "outcomes", env = "ROUTERGYM_WEAK")]
    weak: Option<String>,
    /// The column of the strong model
    #[arg(long, value_name = "COL", requires = "outcomes", env = "ROUTERGYM_STRONG")]
    strong: Option<String>,
    /// Dollars of an answer of the weak model: a column, or one figure for all
    #[arg(long, value_name = "COL|USD", requires = "cost_strong", env = "ROUTERGYM_COST_WEAK")]
    cost_weak: Option<Side>,
    /// Dollars of an answer of the strong model [default: a cost is a call of the strong model]
    #[arg(long, value_name = "COL|USD", requires = "outcomes", env = "ROUTERGYM_COST_STRONG")]
    cost_strong: Option<Side>,
    /// Seconds of an answer of the weak model: a column, or one figure for all
    #[arg(long, value_name = "COL|S", requires = "latency_strong", env = "ROUTERGYM_LATENCY_WEAK")]
    latency_weak: Option<Side>,
    /// Seconds of an answer of the strong model
    #[arg(long, value_name = "COL|S", requires = "latency_weak", env = "ROUTERGYM_LATENCY_STRONG")]
    latency_strong: Option<Side>,
    /// What an hour of the weak model's machine costs, in dollars, for the break-even
    #[arg(long, value_name = "USD", requires = "outcomes", env = "ROUTERGYM_HARDWARE_USD_PER_HOUR")]
    hardware_usd_per_hour: Option<f64>,
    /// A column with the confidence in the weak model's answer, known after it: low ones go to the strong model, and both are
    /// paid; with `-` before the name, high ones go. May be given several times
    #[arg(long, value_name = "COL", requires = "outcomes", allow_hyphen_values = true, env = "ROUTERGYM_SCORE")]
    score: Vec<String>,
    /// As --score, for a score that is known before any call: only the chosen model is paid
    #[arg(long, value_name = "COL", requires = "outcomes", allow_hyphen_values = true, env = "ROUTERGYM_PRE_SCORE")]
    pre_score: Vec<String>,
    /// The column with the query's text: rows of the same query are drawn together, and routers can learn from it [default:
    /// prompt, query, question, input or text, else id, query_id, sample_id or sample]
    #[arg(long, value_name = "COL", requires = "outcomes", env = "ROUTERGYM_QUERY")]
    query: Option<String>,
    /// Routers that learn from the query's text, each row judged by what was fitted on others [default: all, where there is a
    /// text, the encoder is in the store, and there are at most 5000 rows]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "outcomes", env = "ROUTERGYM_LEARN")]
    learn: Vec<Learn>,
    /// JSON lines with the queries to leave out
    #[arg(
        long,
        value_name = "FILE.jsonl",
        requires = "exclude_field",
        requires = "outcomes",
        env = "ROUTERGYM_EXCLUDE"
    )]
    exclude: Option<PathBuf>,
    /// Their field with the query's text
    #[arg(long, value_name = "FIELD", requires = "exclude", env = "ROUTERGYM_EXCLUDE_FIELD")]
    exclude_field: Option<String>,
    /// Loss of quality that still counts as "not worse", 0 to 1
    #[arg(long, default_value_t = 0.05, env = "ROUTERGYM_MARGIN")]
    margin: f64,
    /// Bootstrap resamples behind each interval
    #[arg(long, default_value_t = 1000, value_name = "N", env = "ROUTERGYM_DRAWS")]
    draws: usize,
    /// Seed of the resamples
    #[arg(long, default_value_t = 0, env = "ROUTERGYM_SEED")]
    seed: u64,
    /// A folder for replay.json and curves.csv, which holds every threshold
    #[arg(short, long, value_name = "DIR", env = "ROUTERGYM_OUT")]
    out: Option<PathBuf>,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the verb.
pub(super) fn run(args: &ReplayArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    check(args)?;
    let mut outcomes = match &args.outcomes {
        Some(file) => read_table(file, &spec(args)?)?,
        None => read_runs(&args.runs)?,
    };
    learn(args, &mut outcomes, network, common)?;
    let options = Options { margin: args.margin, draws: args.draws, seed: args.seed };
    let found = replay(&outcomes, &options).map_err(|reason| usage(format!("nothing can be replayed: {reason}")))?;
    if let Some(folder) = &args.out {
        write(folder, &found)?;
    }
    show(&found, args.json)?;
    Ok(ExitStatus::Done)
}

fn check(args: &ReplayArgs) -> Result<()> {
    if !(0.0..=1.0).contains(&args.margin) {
        return Err(usage(format!("--margin is a loss of quality between 0 and 1, not {}", args.margin)));
    }
    if !(100..=MOST_DRAWS).contains(&args.draws) {
        return Err(usage(format!(
            "--draws lies between 100, below which the ends of an interval are noise, and {MOST_DRAWS}, not {}",
            args.draws
        )));
    }
    match args.hardware_usd_per_hour {
        Some(rate) if !rate.is_finite() || rate < 0.0 => {
            Err(usage(format!("--hardware-usd-per-hour is an amount of dollars that is not negative, not {rate}")))
        }
        _ => Ok(()),
    }
}

fn spec(args: &ReplayArgs) -> Result<TableSpec> {
    let exclude = match (&args.exclude, &args.exclude_field) {
        (Some(file), Some(field)) => Some(Exclusion::read(file, field)?),
        _ => None,
    };
    Ok(TableSpec {
        weak: args.weak.clone().unwrap_or_default(),
        strong: args.strong.clone().unwrap_or_default(),
        cost: args.cost_strong.clone().map(|strong| (args.cost_weak.clone(), strong)),
        latency: args.latency_weak.clone().zip(args.latency_strong.clone()),
        hardware_usd_per_hour: args.hardware_usd_per_hour,
        scores: args.score.clone(),
        pre_scores: args.pre_score.clone(),
        query: args.query.clone(),
        keep_texts: !args.learn.contains(&Learn::None),
        exclude,
    })
}

/// Adds the scores of the routers that learn, or a note that says why they are not there.
fn learn(args: &ReplayArgs, outcomes: &mut Outcomes, network: Network, common: &Common) -> Result<()> {
    let asked = !args.learn.is_empty();
    if args.learn.contains(&Learn::None) {
        return Ok(());
    }
    let Some(texts) = outcomes.texts.take() else {
        if asked {
            return Err(usage(
                "routers that learn need the query's text: name its column by --query, or leave out --learn",
            ));
        }
        return Ok(());
    };
    if texts.len() > if asked { MOST_ROWS } else { UNASKED_ROWS } {
        if asked {
            return Err(usage(format!(
                "routers learn from at most {MOST_ROWS} rows, not {}: leave out --learn",
                texts.len()
            )));
        }
        let note = format!(
            "No router learned from the texts: {} rows are many; --learn {} asks for it.",
            texts.len(),
            Learner::ALL.map(Learner::name).join(",")
        );
        outcomes.notes.push(note);
        return Ok(());
    }
    let store = Store::open(network)?;
    let encoder = match (asked, store.here(ENCODER)?) {
        (_, Some(encoder)) => encoder,
        (true, None) => store.obtain(ENCODER, Kind::Encoder, common.quiet)?,
        (false, None) => {
            let note = format!(
                "No router learned from the texts: {ENCODER} is not in the store; `models pull {ENCODER}` gets it."
            );
            outcomes.notes.push(note);
            return Ok(());
        }
    };
    if !common.quiet {
        output::note(&format!("embedding {} texts with {ENCODER}", texts.len()));
    }
    let encoder = SentenceEncoder::load(&encoder.path, &Device::open(DeviceChoice::Cpu)?)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = encoder.encode(&texts).context("embedding the queries' texts")?;
    for learner in Learner::ALL {
        if asked && !args.learn.contains(&Learn::By(learner)) {
            continue;
        }
        match cross_fitted(learner, &vectors, outcomes) {
            Ok(score) => outcomes.scores.push(score),
            Err(reason) => outcomes.notes.push(format!("{} is undefined because {reason}.", learner.name())),
        }
    }
    Ok(())
}

fn show(found: &Replay, json: bool) -> Result<()> {
    if json {
        return output::data(&serde_json::to_string(found)?);
    }
    output::data(&report::render_terminal(&report::replay_tables(found), output::width()))?;
    output::data(&format!("\nVerdict: {}\n", report::printable(&found.verdict.text)))
}

fn write(folder: &Path, found: &Replay) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating the folder {}", folder.display()))?;
    write_json(&folder.join("replay.json"), found)?;
    write_whole(&folder.join("curves.csv"), report::replay_curves(found)?.as_bytes())
}
