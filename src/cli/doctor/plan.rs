//! `doctor --plan`: whether models fit this machine, and how fast they would be.

use super::DoctorArgs;
use crate::clock::Clock;
use crate::device;
use crate::error::{Result, usage};
use crate::models::{Kind, Store};
use crate::nn::{Anatomy, Device, Forecast, MemoryNeed, PROGRAM_BYTES, memory_bandwidth};
use crate::units::Bytes;
use serde_json::{Value, json};

/// Share of the memory up to which a model fits with ease.
const EASY: f64 = 0.8;

/// What was found of one model.
pub(super) struct Planned {
    model: String,
    need: Need,
    /// `None` where nobody tells.
    total_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    fit: Fit,
    forecast: Result<Forecast, String>,
}

/// What it takes: by its headers, or by the size that its manifest tells.
enum Need {
    Known(MemoryNeed),
    File(Option<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Easy,
    Tight,
    TooLarge,
    Unknown,
}

impl Fit {
    fn of(total: u64, memory: Option<u64>) -> Self {
        match memory {
            None => Self::Unknown,
            Some(memory) if total > memory => Self::TooLarge,
            Some(memory) if total as f64 > memory as f64 * EASY => Self::Tight,
            Some(_) => Self::Easy,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Easy => "fits",
            Self::Tight => "tight",
            Self::TooLarge => "does not fit",
            Self::Unknown => "not known",
        }
    }
}

pub(super) fn check(args: &DoctorArgs) -> Result<()> {
    for (flag, value) in [("--prompt-tokens", args.prompt_tokens), ("--context", args.context)] {
        if value == 0 {
            return Err(usage(format!("{flag} must be at least 1")));
        }
    }
    if args.prompt_tokens > args.context {
        return Err(usage(format!(
            "--prompt-tokens {} are more than the context of {} tokens: ask for fewer, or give a longer --context",
            args.prompt_tokens, args.context
        )));
    }
    Ok(())
}

/// Looks at every model of the plan.
pub(super) fn plans(args: &DoctorArgs, store: &Store, clock: &Clock) -> Result<Vec<Planned>> {
    if args.plan.is_empty() {
        return Ok(Vec::new());
    }
    let device = Device::open(args.device)?;
    args.plan.iter().map(|name| plan(name, args, store, &device, clock)).collect()
}

fn plan(name: &str, args: &DoctorArgs, store: &Store, device: &Device, clock: &Clock) -> Result<Planned> {
    let memory_bytes = args.memory_limit.or_else(device::memory);
    let Some(local) = store.here(name)? else {
        store.check_name(name, Kind::Gguf)?;
        return absent(name, store.look_up(name)?.entry.manifest.bytes(), memory_bytes, clock);
    };
    let anatomy = Anatomy::read(&local.path)?;
    let need = anatomy.memory();
    let context = args.context.min(anatomy.context_length());
    let total_bytes = PROGRAM_BYTES + need.total(context as u64, 1);
    let fit = Fit::of(total_bytes, memory_bytes);
    let forecast = if args.prompt_tokens + 64 > anatomy.context_length() {
        Err(format!("not timed: its context of {} tokens does not hold the prompt", anatomy.context_length()))
    } else if fit == Fit::TooLarge {
        Err("not timed, since it does not fit".to_owned())
    } else {
        Ok(anatomy.forecast(device, args.prompt_tokens, clock)?)
    };
    Ok(Planned {
        model: local.name,
        need: Need::Known(need),
        total_bytes: Some(total_bytes),
        memory_bytes,
        fit,
        forecast,
    })
}

/// What can be said of a model that is not here, by the size that its manifest tells.
fn absent(name: &str, bytes: Option<u64>, memory_bytes: Option<u64>, clock: &Clock) -> Result<Planned> {
    let total_bytes = bytes.map(|bytes| PROGRAM_BYTES + bytes);
    let bound = match bytes {
        Some(bytes) => {
            format!("by the memory's bandwidth {:.0} tokens/s at most", memory_bandwidth(clock)? / bytes.max(1) as f64)
        }
        None => "and its manifest does not tell its size".to_owned(),
    };
    Ok(Planned {
        model: name.to_owned(),
        need: Need::File(bytes),
        total_bytes,
        memory_bytes,
        fit: total_bytes.map_or(Fit::Unknown, |total| Fit::of(total, memory_bytes)),
        forecast: Err(format!("not timed, since its file is not here (`models pull {name}`): {bound}")),
    })
}

impl Planned {
    pub(super) fn json(&self) -> Value {
        let need = match &self.need {
            Need::Known(need) => json!(need),
            Need::File(bytes) => json!({ "file_bytes": bytes }),
        };
        let forecast = self.forecast.as_ref().ok();
        json!({
            "model": self.model, "fit": self.fit.name(), "total_bytes": self.total_bytes, "memory_bytes": self.memory_bytes,
            "memory": need, "load_s": forecast.map(|it| it.load_s), "ttft_s": forecast.map(|it| it.ttft_s),
            "prompt_tokens": forecast.map(|it| it.prompt_tokens),
            "decode_tokens_per_s": forecast.map(|it| it.decode_tokens_per_s),
            "layers_timed": forecast.map(|it| it.layers.0), "layers": forecast.map(|it| it.layers.1),
            "reason": self.forecast.as_ref().err(),
        })
    }
}

pub(super) fn text(args: &DoctorArgs, plans: &[Planned]) -> Vec<String> {
    if plans.is_empty() {
        return Vec::new();
    }
    let width = plans.iter().map(|plan| plan.model.chars().count()).max().unwrap_or(0).max("model".len());
    let limit = args.memory_limit.map_or_else(String::new, |limit| {
        format!(", on a machine of {} (emulated: the system does not enforce it)", Bytes(limit))
    });
    let mut lines = vec![
        String::new(),
        format!("Plan for a prompt of {} tokens in a context of {}{limit}", args.prompt_tokens, args.context),
        format!(
            "{:<width$}  {:<12} {:>10} {:>10} {:>9} {:>9} {:>13} {:>10}",
            "model", "memory", "in all", "weights", "load (s)", "TTFT (s)", "decode (tok/s)", "KV/token"
        ),
    ];
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "–".to_owned(), |bytes| Bytes(bytes).to_string());
    for plan in plans {
        let (weights, kv) = match &plan.need {
            Need::Known(need) => (Some(need.weights), Bytes(need.kv_per_token).to_string()),
            Need::File(bytes) => (*bytes, "–".to_owned()),
        };
        let (load, ttft, decode) = match &plan.forecast {
            Ok(it) => {
                (format!("{:.2}", it.load_s.0), format!("{:.3}", it.ttft_s.0), format!("{:.1}", it.decode_tokens_per_s))
            }
            Err(_) => ("–".to_owned(), "–".to_owned(), "–".to_owned()),
        };
        lines.push(format!(
            "{:<width$}  {:<12} {:>10} {:>10} {load:>9} {ttft:>9} {decode:>14} {kv:>10}",
            plan.model,
            plan.fit.name(),
            bytes(plan.total_bytes),
            bytes(weights),
        ));
    }
    for plan in plans {
        if let Err(why) = &plan.forecast {
            lines.push(format!("{}: {why}", plan.model));
        }
    }
    lines.push(
        "Predicted: layers of each model's shapes, with weights made up, were timed here just now; `speed` measures the model itself."
            .to_owned(),
    );
    lines
}
