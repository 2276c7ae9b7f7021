//! `--memory-limit`: what of so much memory each model gets, and what would fit where one does not. It emulates a smaller machine: what
//! cannot fit is refused before it is loaded, and what is loaded keeps to its share.

use crate::device::{parse_bytes, peak_memory};
use crate::error::{Context, Result, usage};
use crate::models::{Kind, LocalModel, Store};
use crate::nn::{Anatomy, LoadOptions, MemoryNeed, PROGRAM_BYTES};
use crate::record::{MemoryUse, ModelMemory};
use crate::units::Bytes;
use serde::Serialize;
use std::path::Path;

/// Fewer tokens of context are of no use to a prompt with an answer.
pub(super) const LEAST_CONTEXT: u64 = 1024;
/// Bits that a packed weight takes at least: files of two and three bits are widened.
const FEWEST_BITS: f64 = 4.7;
/// Known models that a message lists.
const LISTED: usize = 3;

/// Reads the flag.
pub(super) fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text)
}

/// What `--watts` may be, of every verb.
pub(super) fn check_watts(watts: Option<f64>) -> Result<()> {
    match watts {
        Some(watts) if !watts.is_finite() || watts <= 0.0 => Err(usage("--watts is a power in watts, above 0")),
        _ => Ok(()),
    }
}

/// What a model may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// All of its own; `None` is not limited.
    pub(super) memory: Option<u64>,
    /// Tokens of context.
    pub(super) context: Option<usize>,
    /// For the prefixes that it keeps; `None` is the usual.
    pub(super) prefix_bytes: Option<usize>,
}

impl Room {
    /// How to load the model.
    pub(super) fn options(self, prefix_cache: bool, prompt_lookup: bool) -> LoadOptions {
        let usual = LoadOptions::default();
        LoadOptions {
            prefix_cache,
            prompt_lookup,
            context: self.context,
            memory: self.memory,
            prefix_cache_bytes: self.prefix_bytes.unwrap_or(usual.prefix_cache_bytes),
        }
    }
}

/// What a verb wants of its models.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// `--context`.
    pub(super) context: Option<usize>,
    /// Tokens that are cached together at least.
    pub(super) cached: u64,
    /// Whether prefixes are kept.
    pub(super) prefix_cache: bool,
    /// Bytes that stand beside the language models, such as the sentence encoder's.
    pub(super) beside: u64,
}

/// The memory that a model takes, by its headers.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Need {
    pub(super) model: String,
    #[serde(flatten)]
    pub(super) memory: MemoryNeed,
    #[serde(skip)]
    context: u64,
    #[serde(skip)]
    parameters: u64,
}

/// Reads the headers of a model.
pub(super) fn need(model: &LocalModel) -> Result<Need> {
    let anatomy = Anatomy::read(&model.path).with_context(|| format!("cannot read the headers of {}", model.name))?;
    Ok(Need {
        model: model.name.clone(),
        memory: anatomy.memory(),
        context: anatomy.context_length() as u64,
        parameters: anatomy.parameters(),
    })
}

/// Bytes of a sentence encoder in memory: no more than its files have.
pub(super) fn encoder_bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Divides a limit between models, in their order; refuses what cannot fit, before anything is loaded.
pub(super) fn divide(limit: Option<u64>, wanted: Wanted, needs: &[Need], store: &Store) -> Result<Vec<Room>> {
    let Some(limit) = limit else {
        return Ok(needs.iter().map(|_| Room { context: wanted.context, ..Room::default() }).collect());
    };
    let taken: u64 = PROGRAM_BYTES + wanted.beside + needs.iter().map(|need| need.memory.fixed()).sum::<u64>();
    let each = limit.saturating_sub(taken) / needs.len().max(1) as u64;
    needs
        .iter()
        .map(|need| {
            let asked = wanted.context.map_or(wanted.cached, |context| context as u64);
            let fitting = need.memory.fitting(need.memory.fixed() + each, 1);
            if taken > limit || fitting < asked {
                return Err(refusal(limit, wanted, taken, needs, need, asked, store));
            }
            // A sequence and the prefixes that are kept share what is left.
            let kept = if wanted.prefix_cache { fitting / 2 } else { fitting };
            let context = wanted.context.map_or(kept.max(asked), |_| asked).min(need.context);
            let pages = context.div_ceil(need.memory.page_tokens) * need.memory.page_tokens;
            let prefix = each.saturating_sub(pages * need.memory.kv_per_token);
            Ok(Room {
                memory: Some(need.memory.fixed() + each),
                context: Some(context as usize),
                prefix_bytes: Some(prefix as usize),
            })
        })
        .collect()
}

fn refusal(
    limit: u64,
    wanted: Wanted,
    taken: u64,
    needs: &[Need],
    need: &Need,
    asked: u64,
    store: &Store,
) -> crate::error::Error {
    let MemoryNeed { weights, vocabulary, activations, kv_per_token, .. } = need.memory;
    let others = taken - need.memory.fixed();
    let total = taken.saturating_add(asked.saturating_mul(kv_per_token));
    let mut mend = Vec::new();
    let left = limit.saturating_sub(taken) / needs.len().max(1) as u64;
    let fitting = need.memory.fitting(need.memory.fixed() + left, 1);
    if taken <= limit && fitting >= 64 && wanted.context.is_some() {
        mend.push(format!("with --context {fitting} it would fit"));
    }
    let for_weights = limit.saturating_sub(others + vocabulary + activations + asked.min(LEAST_CONTEXT) * kv_per_token);
    let bits = for_weights as f64 * 8.0 / need.parameters.max(1) as f64;
    let has = weights as f64 * 8.0 / need.parameters.max(1) as f64;
    if bits >= FEWEST_BITS && has > bits {
        mend.push(format!(
            "a file of it quantised to {bits:.1} bits a weight or fewer, such as Q4_0 or Q4_K, would fit"
        ));
    }
    let smaller = smaller_models(limit.saturating_sub(others), store);
    match smaller.as_slice() {
        [] => mend.push("none of the known models would".to_owned()),
        names => mend.push(format!("of the known models {} would", names.join(", "))),
    }
    usage(format!(
        "--memory-limit {} does not hold {}: {} for its weights, {} for vocabulary and results, {} for {asked} tokens of {} each, and {} \
         beside it make {}; {}",
        Bytes(limit),
        need.model,
        Bytes(weights),
        Bytes(vocabulary + activations),
        Bytes(asked.saturating_mul(kv_per_token)),
        Bytes(kv_per_token),
        Bytes(others),
        Bytes(total),
        mend.join("; ")
    ))
}

/// The largest of the known models that so much memory holds, by the sizes of their files.
fn smaller_models(memory: u64, store: &Store) -> Vec<String> {
    let Ok(catalogue) = store.catalogue() else { return Vec::new() };
    let beside = 96 << 20;
    let mut fitting: Vec<(u64, String)> = catalogue
        .entries()
        .filter(|entry| entry.manifest.kind == Kind::Gguf)
        .filter_map(|entry| Some((entry.manifest.bytes()?, entry.manifest.name.clone())))
        .filter(|(bytes, _)| bytes + bytes / 10 + beside <= memory)
        .collect();
    fitting.sort_by(|a, b| b.cmp(a));
    fitting.into_iter().take(LISTED).map(|(_, name)| name).collect()
}

/// What stands in a run's header.
pub(super) fn recorded(limit: Option<u64>, beside: u64, needs: &[Need], rooms: &[Room]) -> MemoryUse {
    let model = |(need, room): (&Need, &Room)| ModelMemory {
        model: need.model.clone(),
        weight_bytes: need.memory.weights,
        kv_bytes_per_token: need.memory.kv_per_token,
        context: room.context,
    };
    MemoryUse {
        limit_bytes: limit,
        predicted_bytes: PROGRAM_BYTES + beside + needs.iter().map(|need| need.memory.fixed()).sum::<u64>(),
        loaded_rss_bytes: peak_memory(),
        peak_rss_bytes: None,
        models: needs.iter().zip(rooms).map(model).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;
    use crate::net::Network;

    fn need(weights: u64) -> Need {
        let memory =
            MemoryNeed { weights, vocabulary: 10 << 20, activations: 6 << 20, kv_per_token: 1 << 10, page_tokens: 64 };
        Need { model: "mine".into(), memory, context: 32_768, parameters: weights }
    }

    fn store() -> Store {
        Store::open(Network::new(true)).expect("a store")
    }

    const WANTED: Wanted = Wanted { context: None, cached: LEAST_CONTEXT, prefix_cache: true, beside: 0 };

    #[test]
    fn a_limit_is_shared_out_and_never_exceeded() {
        let needs = [need(100 << 20), need(50 << 20)];
        let limit = PROGRAM_BYTES + (100 << 20) + (50 << 20) + 2 * (16 << 20) + (64 << 20);
        let rooms = divide(Some(limit), WANTED, &needs, &store()).expect("it fits");
        let all: u64 = rooms.iter().filter_map(|room| room.memory).sum();
        assert!(all + PROGRAM_BYTES <= limit);
        for (room, need) in rooms.iter().zip(&needs) {
            let kv = room.context.unwrap() as u64 * need.memory.kv_per_token;
            assert_eq!(room.context, Some(16_384));
            assert!(need.memory.fixed() + kv + room.prefix_bytes.unwrap() as u64 <= room.memory.unwrap());
        }
        let free = divide(None, WANTED, &needs, &store()).expect("no limit");
        assert_eq!(free, [Room::default(); 2]);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_what_would() {
        let large = [need(1 << 30)];
        let tight = PROGRAM_BYTES + large[0].memory.fixed() + (2 << 20);
        let wanted = Wanted { context: Some(8192), ..WANTED };
        let error = divide(Some(tight), wanted, &large, &store()).expect_err("too many tokens");
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        let text = error.to_string();
        assert!(text.contains("with --context 2048 it would fit") && text.contains("does not hold mine"), "{text}");
        assert!(divide(Some(tight), Wanted { context: Some(2048), ..WANTED }, &large, &store()).is_ok());
        let text = divide(Some(900 << 20), WANTED, &large, &store()).expect_err("too large").to_string();
        assert!(text.contains("bits a weight or fewer") && text.contains("qwen2.5-coder-0.5b-instruct"), "{text}");
        let text = divide(Some(30 << 20), WANTED, &large, &store()).expect_err("too large").to_string();
        assert!(text.contains("none of the known models"), "{text}");
    }
}
