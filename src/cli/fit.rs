//! `fit`: learns a router from runs in which both models answered, and writes it as a file for `bench --router`.

use super::{Common, output};
use crate::error::{Context, ExitStatus, Result, usage};
use crate::memory::Embed;
use crate::models::{ENCODER, Kind, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice, SentenceEncoder};
use crate::record::{self, write_whole};
use crate::replay::fit::{Difference, Effect, Fit, FitKind, FitOptions, HeldOut, Part, Setting, Target, fit};
use crate::router::{Estimator, routers_text};
use crate::task;
use clap::Args;
use clap::builder::FalseyValueParser;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Arguments of `fit`.
#[derive(Debug, Clone, Args)]
pub(super) struct FitArgs {
    /// The folder of a run in which both models answered (`bench --collect both`); may be given several times
    #[arg(long = "run", value_name = "RUN", required = true, env = "ROUTERGYM_RUN")]
    runs: Vec<PathBuf>,
    /// What is learned
    #[arg(long, value_enum, env = "ROUTERGYM_FIT_KIND")]
    kind: FitKind,
    /// The file to write, for `bench --router`
    #[arg(short, long, value_name = "FILE.toml", env = "ROUTERGYM_FIT_OUT")]
    out: PathBuf,
    /// The router's name in tables [default: its kind]
    #[arg(long, env = "ROUTERGYM_NAME")]
    name: Option<String>,
    /// The task of the runs: a bundled one by name, or a folder with a task.toml [default: the bundled one of the runs' name]
    #[arg(long, env = "ROUTERGYM_TASK")]
    task: Option<String>,
    /// How the confidence of an answer is read (isotonic, cascade)
    #[arg(long, value_enum, default_value_t = Estimator::default(), env = "ROUTERGYM_CONFIDENCE")]
    confidence: Estimator,
    /// Target: quality at most so far below that of always asking the LLM, at the least price
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, env = "ROUTERGYM_MAX_LOSS")]
    max_loss: f64,
    /// Target instead: the best quality with at most this share of the queries for the LLM
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["budget", "max_loss"], env = "ROUTERGYM_ESCALATION")]
    escalation: Option<f64>,
    /// Target instead: the best quality for at most so many dollars for 1,000 queries
    #[arg(long, value_name = "USD", conflicts_with = "max_loss", env = "ROUTERGYM_BUDGET")]
    budget: Option<f64>,
    /// isotonic: the target shall hold in the mean over other samples exchangeable with these; the loss is then the share of
    /// queries kept and wrong
    #[arg(long, env = "ROUTERGYM_CONFORMAL", value_parser = FalseyValueParser::new())]
    conformal: bool,
    /// cascade: what a right answer is worth, in dollars [default: chosen for the target]
    #[arg(long, value_name = "USD", conflicts_with_all = ["budget", "max_loss", "escalation"], env = "ROUTERGYM_USD_PER_RIGHT_ANSWER")]
    usd_per_right_answer: Option<f64>,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs the verb.
pub(super) fn run(args: &FitArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    let options = options(args)?;
    let first = args.runs.first().context("no run was named")?;
    let task = match &args.task {
        Some(named) => named.clone(),
        None => record::read(first)?.header.task,
    };
    let task = task::load(&task::find(&task).with_context(|| {
        format!("the task of {} is not to be found by its name: name it by --task", first.display())
    })?)?;
    let encoder = if args.kind.reads_texts() {
        let local = Store::open(network)?.obtain(ENCODER, Kind::Encoder, common.quiet)?;
        let loaded = SentenceEncoder::load(&local.path, &Device::open(DeviceChoice::Cpu)?)?;
        if !common.quiet {
            output::note(&format!("embedding the queries with {ENCODER}"));
        }
        Some((loaded, local.sha256))
    } else {
        None
    };
    let embed = encoder.as_ref().map(|(encoder, sha256)| (encoder as &dyn Embed, sha256.as_str()));
    let found = fit(&args.runs, &task, &options, embed)?;
    write_whole(&args.out, routers_text(std::slice::from_ref(&found.router))?.as_bytes())?;
    if args.json {
        output::data(&serde_json::to_string(&found)?)?;
    } else {
        output::text(&shown(&found))?;
        output::text(&format!(
            "written to {0}; what it is worth, other samples tell: bench --router {0}",
            args.out.display()
        ))?;
    }
    Ok(ExitStatus::Done)
}

fn options(args: &FitArgs) -> Result<FitOptions> {
    if args.out.extension().is_none_or(|extension| extension != "toml") {
        return Err(usage(format!("-o {} must end in .toml, by which `bench --router` knows it", args.out.display())));
    }
    if let Some(folder) = args.out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(usage(format!("-o {}: there is no folder {}", args.out.display(), folder.display())));
    }
    for (flag, value) in [("--max-loss", Some(args.max_loss)), ("--escalation", args.escalation)] {
        if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
            return Err(usage(format!("{flag} is a share between 0 and 1, not {value}")));
        }
    }
    let positive = [("--budget", args.budget), ("--usd-per-right-answer", args.usd_per_right_answer)];
    for (flag, value) in positive {
        if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
            return Err(usage(format!("{flag} is an amount of dollars above 0, not {value}")));
        }
    }
    if args.conformal && args.kind != FitKind::Isotonic {
        return Err(usage("--conformal belongs to --kind isotonic: the others have no such guarantee"));
    }
    if args.usd_per_right_answer.is_some() && args.kind != FitKind::Cascade {
        return Err(usage("--usd-per-right-answer belongs to --kind cascade"));
    }
    let target = match (args.escalation, args.budget) {
        (Some(share), _) => Target::Share(share),
        (None, Some(usd)) => Target::Budget(usd),
        (None, None) => Target::Loss(args.max_loss),
    };
    Ok(FitOptions {
        kind: args.kind,
        name: args.name.clone(),
        confidence: args.confidence,
        target,
        conformal: args.conformal,
        usd_per_right_answer: args.usd_per_right_answer,
    })
}

fn shown(found: &Fit) -> String {
    let Setting { key, value } = found.setting;
    let mut text = format!(
        "router   {}\nlearned  from {} answers of both models to {} queries; quality {:.3} (SLM) and {:.3} (LLM)\n\
         target   {}\nsetting  {key} = {value:.4}\n",
        found.name, found.n, found.queries, found.weak, found.strong, found.target
    );
    let on = if found.cross_fitted {
        "on rows it did not learn from, on which the setting was chosen"
    } else {
        "on the rows it was chosen on, which flatters it"
    };
    let _ = writeln!(text, "effect   {} ({on})", led(&found.effect));
    match &found.held_out {
        Some(held_out) => text.push_str(&shown_held_out(found, held_out)),
        None => {
            let _ = writeln!(text, "held out {}", found.held_out_reason.as_deref().unwrap_or_default());
        }
    }
    if let Some(beats) = &found.beats_random {
        let _ = writeln!(
            text,
            "random   {} (APGR {:+.3} beside it, 95 % interval {:+.3} to {:+.3})",
            beats.text, beats.apgr_difference, beats.low, beats.high
        );
    }
    for note in &found.notes {
        let _ = writeln!(text, "note     {note}");
    }
    text.trim_end().to_owned()
}

fn led(effect: &Effect) -> String {
    let usd = effect.usd_per_1000.map_or("not priced".to_owned(), |usd| format!("${usd:.3} per 1,000"));
    format!("quality {:.3}, {:.1} % of the queries for the LLM, {usd}", effect.quality, 100.0 * effect.llm_share)
}

/// Where the same way of fitting leads on queries that it has not seen, and how far that differs from part to part.
fn shown_held_out(found: &Fit, held_out: &HeldOut) -> String {
    let span = |of: fn(&Part) -> f64| {
        let values = || held_out.parts.iter().map(of);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    };
    let (low, high) = span(|part| part.setting);
    let (worst, best) = span(|part| part.effect.quality);
    let (least, most) = span(|part| part.effect.llm_share);
    let mut text = format!(
        "held out {} (learned and chosen on other queries, in {} parts)\n         from part to part: {} {low:.4} to {high:.4}, quality \
         {worst:.3} to {best:.3}, {:.0} to {:.0} % for the LLM\n",
        led(&held_out.effect),
        held_out.parts.len(),
        found.setting.key,
        100.0 * least,
        100.0 * most
    );
    if let Some(Difference { value, low, high }) = held_out.less_llm {
        let _ =
            writeln!(text, "         {value:+.3} beside always asking the LLM, 95 % interval {low:+.3} to {high:+.3}");
    }
    if !held_out.target_met {
        text.push_str("         the target is not met there: choosing the setting flattered it\n");
    }
    text
}
