//! `eval grounding`: how far groundedness agrees with labels, and whether answers abstain where there is no answer.

use super::super::{Common, output, threads};
use crate::clock::Clock;
use crate::engine::{RemoteEngine, RemoteOptions, Secret};
use crate::error::{Context, ExitStatus, Result, usage};
use crate::metrics::grounding::{Agreement, Grounding, Judge, Nli, Row, Scorer, Support, agreement, read_rows};
use crate::metrics::significant;
use crate::models::{ENCODER, Kind, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice, Entailment, SentenceEncoder};
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Rows between two notes of progress.
const NOTED: usize = 50;

/// Arguments of `eval grounding`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct GroundingArgs {
    /// Rows {"contexts": [TEXT or {"text", "id", "title"}], "answer": TEXT, "label": 0..1, "answerable": true|false}, one to a
    /// line; label and answerable may be left out
    #[arg(long, value_name = "FILE.jsonl", env = "ROUTERGYM_FILE")]
    file: PathBuf,
    /// What judges the claims: words and the sentence encoder, a model at an endpoint, or a model of natural-language inference
    #[arg(long, default_value = "support", env = "ROUTERGYM_SCORER")]
    scorer: ScorerKind,
    /// The judge's OpenAI-compatible endpoint, such as <http://127.0.0.1:8080/v1>
    #[arg(long, value_name = "URL", required_if_eq("scorer", "judge"), env = "ROUTERGYM_JUDGE")]
    judge: Option<String>,
    /// The judge's model, as its endpoint knows it
    #[arg(long, value_name = "NAME", required_if_eq("scorer", "judge"), env = "ROUTERGYM_JUDGE_MODEL")]
    judge_model: Option<String>,
    /// The environment variable that holds the key of the judge's endpoint
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY", env = "ROUTERGYM_JUDGE_KEY_ENV")]
    judge_key_env: String,
    /// Seconds that one call of the judge may take, tries included
    #[arg(long, default_value_t = 120.0, value_name = "S", env = "ROUTERGYM_TIMEOUT")]
    timeout: f64,
    /// A folder with a BERT for natural-language inference: config.json (whose id2label names entailment, neutral and
    /// contradiction), tokenizer.json and model.safetensors
    #[arg(long, value_name = "DIR", required_if_eq("scorer", "nli"), env = "ROUTERGYM_NLI_MODEL")]
    nli_model: Option<PathBuf>,
    /// How many rows at most; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N", env = "ROUTERGYM_LIMIT")]
    limit: usize,
    /// A file to write every judgement to: each claim, its support and the passage that supports it best
    #[arg(short, long, value_name = "FILE.jsonl", env = "ROUTERGYM_OUT")]
    out: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", env = "ROUTERGYM_DEVICE")]
    device: DeviceChoice,
    /// Threads of the encoder [default: the machine's cores, as far as they are lent to this program]
    #[arg(long, value_name = "N", env = "ROUTERGYM_THREADS")]
    threads: Option<usize>,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScorerKind {
    /// Words, numbers, names, negations and sentence vectors
    Support,
    /// A model at an endpoint, with a fixed rubric
    Judge,
    /// A BERT for natural-language inference, run here on the processor
    Nli,
}

/// Runs what was asked for.
pub(in crate::cli) fn run(args: &GroundingArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    threads::check(args.threads)?;
    threads::bound(args.threads)?;
    let mut rows = read_rows(&args.file)?;
    if args.limit > 0 {
        rows.truncate(args.limit);
    }
    let scorer = scorer(args, network, common)?;
    let mut record = args.out.as_deref().map(create).transpose()?;
    let mut done = 0;
    let mut each = |row: &Row, judged: &Result<Option<Grounding>>| {
        done += 1;
        if !common.quiet && done % NOTED == 0 {
            output::note(&format!("{done} rows"));
        }
        record.as_mut().map_or(Ok(()), |record| write(record, row, judged))
    };
    let found = agreement(&rows, &*scorer, &mut each)?;
    if let Some(mut record) = record {
        record.flush().context("writing the judgements")?;
    }
    output::data(&if args.json { serde_json::to_string(&found)? } else { text(&found) })?;
    // Every row failed: nothing was measured.
    let failed = found.failures > 0 && found.failures + found.not_applicable == found.rows;
    Ok(if failed { ExitStatus::Failed } else { ExitStatus::Done })
}

fn scorer(args: &GroundingArgs, network: Network, common: &Common) -> Result<Box<dyn Scorer>> {
    Ok(match args.scorer {
        ScorerKind::Support => {
            let local = Store::open(network)?.obtain(ENCODER, Kind::Encoder, common.quiet)?;
            let encoder = SentenceEncoder::load(&local.path, &Device::open(args.device)?)?;
            Box::new(Support::new(Arc::new(encoder)))
        }
        ScorerKind::Judge => Box::new(judge(args, network)?),
        ScorerKind::Nli => Box::new(nli(args)?),
    })
}

fn judge(args: &GroundingArgs, network: Network) -> Result<Judge> {
    let (Some(url), Some(model)) = (&args.judge, &args.judge_model) else {
        return Err(usage("--scorer judge needs --judge URL and --judge-model NAME"));
    };
    if !(args.timeout.is_finite() && args.timeout > 0.0 && args.timeout <= 86_400.0) {
        return Err(usage(format!("--timeout {} is no number of seconds from above 0 to a day", args.timeout)));
    }
    let mut options = RemoteOptions::new(url, model);
    options.api_key = Secret::from_env(&args.judge_key_env)?;
    options.api_key_env.clone_from(&args.judge_key_env);
    options.logprobs = false;
    options.timeouts.total = Duration::from_secs_f64(args.timeout);
    options.timeouts.first_byte = Duration::from_secs_f64(args.timeout);
    Ok(Judge(Arc::new(RemoteEngine::new(options, network, Clock::real(), Arc::default())?)))
}

fn nli(args: &GroundingArgs) -> Result<Nli> {
    let Some(folder) = &args.nli_model else { return Err(usage("--scorer nli needs --nli-model DIR")) };
    if !matches!(args.device, DeviceChoice::Auto | DeviceChoice::Cpu) {
        return Err(usage("--scorer nli runs on the processor: leave --device out"));
    }
    let model = Entailment::load(folder).map_err(|error| usage(format!("--nli-model: {error:#}")))?;
    Ok(Nli(Arc::new(model)))
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create_new(path)
        .map_err(|error| usage(format!("cannot create {}: {error}; give --out another name", path.display())))?;
    Ok(BufWriter::new(file))
}

fn write(record: &mut BufWriter<File>, row: &Row, judged: &Result<Option<Grounding>>) -> Result<()> {
    let line = match judged {
        Ok(grounding) => json!({"place": row.place, "label": row.label, "grounding": grounding}),
        Err(error) => {
            json!({"place": row.place, "label": row.label, "grounding": null, "failure": format!("{error:#}")})
        }
    };
    writeln!(record, "{line}").context("writing a judgement")
}

fn text(found: &Agreement) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), |value| significant(value, 3));
    let bounded = |name: &str, value: Option<f64>| match found.intervals.get(name) {
        Some(bounds) => format!("{} [{}, {}]", number(value), significant(bounds.low, 3), significant(bounds.high, 3)),
        None => number(value),
    };
    let mut lines = vec![
        format!(
            "{} rows, scorer {}: {} scored against labels, {} not applicable ({} of them without contexts), {} without a label, {} failures",
            found.rows,
            found.scorer,
            found.n,
            found.not_applicable,
            found.without_contexts,
            found.without_label,
            found.failures
        ),
        format!(
            "AUROC {}, Spearman {}, Pearson {} (95 % intervals); mean share of supported claims {}",
            bounded("auroc", found.auroc),
            bounded("spearman", found.spearman),
            bounded("pearson", found.pearson),
            number(found.mean_share)
        ),
        format!(
            "threshold {} from {} rows; on the other {}: F1 {}, accuracy {}",
            number(found.threshold.value),
            found.threshold.train,
            found.threshold.test,
            number(found.threshold.f1),
            number(found.threshold.accuracy)
        ),
        format!(
            "abstention: {} of {} answers abstain; of {} rows that say whether they are answerable {} are not: precision {}, recall {}, F1 {}",
            found.abstention.abstained_of_all,
            found.rows,
            found.abstention.n,
            found.abstention.unanswerable,
            number(found.abstention.precision),
            number(found.abstention.recall),
            number(found.abstention.f1)
        ),
    ];
    lines.extend(found.not_available.iter().map(|(name, reason)| format!("not available: {name}: {reason}")));
    lines.extend(found.failed.iter().map(|failed| format!("failed: {}: {}", failed.place, failed.reason)));
    lines.join("\n")
}
