//! One description of a decoder as data, filled from a GGUF header here and from a `config.json` in `folder/config.rs`.
//!
//! The decoder has no code for a family: what sets llama, mistral, qwen2, qwen3, phi3 and gemma3 apart stands here.

mod names;

use super::gguf::{Gguf, MEND, Value};
use crate::error::{Result, bail, ensure};

/// Everything that the decoder needs to know of an architecture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context_length: usize,
    pub(crate) norm_eps: f32,
    pub(crate) rope: Rope,
    /// Rope of the layers with a sliding window, where it differs.
    pub(crate) local_rope: Option<Rope>,
    pub(crate) window: Option<Window>,
    pub(crate) embedding_scale: Option<f64>,
    pub(crate) attention_scale: f64,
    pub(crate) activation: Activation,
    pub(crate) attention_softcap: Option<f64>,
    pub(crate) final_softcap: Option<f64>,
    pub(crate) qkv_bias: bool,
    pub(crate) qk_norm: bool,
    pub(crate) post_norms: bool,
    pub(crate) fused_qkv: bool,
    pub(crate) fused_gate_up: bool,
    pub(crate) tied_embeddings: bool,
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    /// Which elements of a head turn together: neighbours, or element i with element i + dims / 2. GGUF files of the
    /// llama family have their query and key rows permuted for the first.
    pub(crate) interleaved: bool,
    /// Leading elements of a head that are turned.
    pub(crate) dims: usize,
    pub(crate) base: f64,
    pub(crate) scaling: RopeScaling,
    /// What divides the frequencies, pair by pair.
    pub(crate) factors: Option<Factors>,
    /// What cosines and sines are multiplied by.
    pub(crate) magnitude: f64,
}

/// Where the factors of a rope's frequencies stand.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Factors {
    /// In the tensor of this name.
    Tensor(String),
    Values(Vec<f32>),
}

/// How positions beyond the training length are handled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RopeScaling {
    None,
    Linear { factor: f64 },
    Yarn { factor: f64, original_context: f64, fast: f64, slow: f64 },
}

/// Sliding-window attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// A position sees this many positions, itself included.
    pub(crate) size: usize,
    /// Which layers have the window; the others see everything.
    pub(crate) layers: Vec<bool>,
}

impl Window {
    /// A window in all layers, or in all but every so many.
    pub(crate) fn new(size: usize, layers: usize, global_every: Option<usize>) -> Self {
        let global = |layer: usize| global_every.is_some_and(|every| (layer + 1).is_multiple_of(every));
        Self { size, layers: (0..layers).map(|layer| !global(layer)).collect() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    GeluTanh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Llama,
    Qwen2,
    Qwen3,
    Phi3,
    Gemma3,
}

impl Config {
    /// Reads the description of the model in a file.
    pub(crate) fn read(file: &Gguf) -> Result<Self> {
        let architecture = file.required("general.architecture", file.text("general.architecture")?)?;
        let family = match architecture {
            "llama" | "mistral" | "mistral3" => Family::Llama,
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            "phi3" => Family::Phi3,
            "gemma3" => Family::Gemma3,
            other => bail!(
                "{}: metadata general.architecture is {}; supported are llama, mistral, qwen2, qwen3, phi3 and gemma3: take \
                 another model",
                file.path().display(),
                Value::Text(other.to_owned())
            ),
        };
        let config = Reader { file, architecture, family }.read()?;
        names::check(&config, family, file.source())?;
        Ok(config)
    }

    /// Whether a layer attends to a window only.
    pub(crate) fn window_of(&self, layer: usize) -> Option<usize> {
        let window = self.window.as_ref()?;
        window.layers.get(layer).copied().unwrap_or(false).then_some(window.size)
    }
}

/// No size in a model's description is larger.
const LARGEST_SIZE: usize = 1 << 24;

/// Whether a number can be what the mean of squares is kept from being zero by. In single precision, as it is used.
pub(crate) fn is_norm_eps(eps: f32) -> bool {
    eps > 0.0 && eps < 1.0
}

struct Reader<'a> {
    file: &'a Gguf,
    architecture: &'a str,
    family: Family,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A size that may be absent; converters write 0 for what does not apply.
    fn size(&self, name: &str) -> Result<Option<usize>> {
        let key = self.key(name);
        let value = self.file.integer(&key)?.filter(|&v| v > 0);
        ensure!(
            value.is_none_or(|v| v <= LARGEST_SIZE),
            "{}: metadata {key} is {}; at most {LARGEST_SIZE} is possible: {MEND}",
            self.file.path().display(),
            value.unwrap_or_default()
        );
        Ok(value)
    }

    fn needed(&self, name: &str) -> Result<usize> {
        let (key, size) = (self.key(name), self.size(name)?);
        ensure!(
            size.is_some() || self.file.get(&key).is_none(),
            "{}: metadata {key} is 0; at least 1 is needed: {MEND}",
            self.file.path().display()
        );
        self.file.required(&key, size)
    }

    fn float(&self, name: &str) -> Result<Option<f64>> {
        self.file.float(&self.key(name))
    }

    /// A number above 0 that may be absent; converters write 0 for what does not apply.
    fn positive(&self, name: &str) -> Result<Option<f64>> {
        let number = self.float(name)?;
        ensure!(
            number.is_none_or(|n| n >= 0.0),
            "{}: metadata {} is {}; numbers above 0 are possible: {MEND}",
            self.file.path().display(),
            self.key(name),
            number.unwrap_or_default()
        );
        Ok(number.filter(|&n| n > 0.0))
    }

    /// Refuses what would change the results and is not computed here.
    fn refuse_unsupported(&self) -> Result<()> {
        let path = self.file.path().display();
        for name in [
            "attention.scale",
            "attention.temperature_scale",
            "attention.clamp_kqv",
            "embedding_scale",
            "residual_scale",
            "logit_scale",
            "rope.scaling.yarn_log_multiplier",
        ] {
            let number = self.float(name)?.filter(|&n| n != 0.0);
            ensure!(
                number.is_none(),
                "{path}: metadata {} is {}, and this program does not compute what it stands for: results would be wrong; take \
                 another model",
                self.key(name),
                number.unwrap_or_default()
            );
        }
        let causal = self.key("attention.causal");
        ensure!(
            self.file.boolean(&causal)?.unwrap_or(true),
            "{path}: metadata {causal} is false: this is no model that generates text; take another model"
        );
        Ok(())
    }

    fn any_layer_has(&self, part: &str) -> bool {
        let of_layer = |name: &String| names::in_layer(name).is_some_and(|(_, there)| there == part);
        self.file.source().tensors().keys().any(of_layer)
    }

    fn has(&self, tensor: &str) -> bool {
        self.file.source().tensors().contains_key(tensor)
    }

    fn read(&self) -> Result<Config> {
        let path = self.file.path().display();
        let hidden = self.needed("embedding_length")?;
        let heads = self.needed("attention.head_count")?;
        let kv_heads = self.size("attention.head_count_kv")?.unwrap_or(heads);
        let head_dim = self.size("attention.key_length")?.unwrap_or(hidden / heads);
        let layers = self.layers()?;
        ensure!(
            heads.is_multiple_of(kv_heads),
            "{path}: metadata {} is {heads} and {} is {kv_heads}: heads do not divide into key-value heads; {MEND}",
            self.key("attention.head_count"),
            self.key("attention.head_count_kv")
        );
        ensure!(
            head_dim > 0 && head_dim.is_multiple_of(2),
            "{path}: heads of {head_dim} elements, by the metadata {} or by {} over {}, are impossible, for elements turn \
             in pairs; {MEND}",
            self.key("attention.key_length"),
            self.key("embedding_length"),
            self.key("attention.head_count")
        );
        ensure!(
            self.size("attention.value_length")?.is_none_or(|v| v == head_dim),
            "{path}: by the metadata {} values have another length than keys ({head_dim}), which is not supported; take \
             another model",
            self.key("attention.value_length")
        );
        ensure!(
            self.size("expert_count")?.is_none(),
            "{path}: by the metadata {} this is a mixture of experts, which is not supported; use a dense model",
            self.key("expert_count")
        );
        let [vocabulary, width] = self.file.source().tensor("token_embd.weight")?.shape[..] else {
            bail!("{path}: tensor token_embd.weight is not a matrix: {MEND}")
        };
        ensure!(
            width == hidden,
            "{path}: tensor token_embd.weight has rows of {width}, but metadata {} is {hidden}: {MEND}",
            self.key("embedding_length")
        );
        // Where a model has more rows than tokens, converters write a name for each of the others. A row without one could be
        // chosen, and no text would come of it.
        if let Some(Value::Texts(tokens)) = self.file.get("tokenizer.ggml.tokens") {
            ensure!(
                tokens.len() == vocabulary,
                "{path}: tokenizer.ggml.tokens has {} entries, but token_embd.weight has {vocabulary} rows: {MEND}",
                tokens.len()
            );
        }
        let (named, key) = (self.size("vocab_size")?, self.key("vocab_size"));
        ensure!(
            named.is_none_or(|size| size == vocabulary),
            "{path}: metadata {key} is {}, but token_embd.weight has {vocabulary} rows: {MEND}",
            named.unwrap_or_default()
        );
        self.refuse_unsupported()?;
        let mut config = Config {
            layers,
            hidden,
            feed_forward: self.needed("feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context_length: self.needed("context_length")?,
            norm_eps: self.norm_eps()?,
            rope: self.rope(head_dim)?,
            local_rope: None,
            window: self.size("attention.sliding_window")?.map(|size| Window::new(size, layers, None)),
            embedding_scale: None,
            attention_scale: 1.0 / (head_dim as f64).sqrt(),
            activation: Activation::Silu,
            attention_softcap: self.positive("attn_logit_softcapping")?,
            final_softcap: self.positive("final_logit_softcapping")?,
            // What one layer has, all must have: the decoder asks for it in each of them.
            qkv_bias: self.family == Family::Qwen2 || self.any_layer_has("attn_q.bias"),
            qk_norm: matches!(self.family, Family::Qwen3 | Family::Gemma3),
            post_norms: self.family == Family::Gemma3,
            fused_qkv: self.any_layer_has("attn_qkv.weight"),
            fused_gate_up: self.family == Family::Phi3,
            tied_embeddings: !self.has("output.weight"),
        };
        match self.family {
            Family::Phi3 => self.phi3(&mut config)?,
            Family::Gemma3 => self.gemma3(&mut config)?,
            Family::Llama | Family::Qwen2 | Family::Qwen3 => {}
        }
        Ok(config)
    }

    /// The number of layers, which tensors must not go beyond: without the last layers the results would be wrong
    /// unnoticed.
    fn layers(&self) -> Result<usize> {
        let layers = self.needed("block_count")?;
        let (path, key, tensors) = (self.file.path().display(), self.key("block_count"), self.file.source().tensors());
        ensure!(
            layers <= tensors.len(),
            "{path}: metadata {key} is {layers}, but the file has only {} tensors: {MEND}",
            tensors.len()
        );
        if let Some(beyond) = tensors.keys().find(|name| names::in_layer(name).is_some_and(|(at, _)| at >= layers)) {
            bail!(
                "{path}: metadata {key} is {layers}, but there is a tensor {beyond}, of a layer beyond: loading the others \
                 only would give wrong results; {MEND}"
            );
        }
        Ok(layers)
    }

    fn norm_eps(&self) -> Result<f32> {
        let key = self.key("attention.layer_norm_rms_epsilon");
        let eps = self.file.required(&key, self.file.float(&key)?)?;
        ensure!(
            is_norm_eps(eps as f32),
            "{}: metadata {key} is {eps}; numbers between 0 and 1 are possible: {MEND}",
            self.file.path().display()
        );
        Ok(eps as f32)
    }

    fn rope(&self, head_dim: usize) -> Result<Rope> {
        let path = self.file.path().display();
        let dims = self.size("rope.dimension_count")?.unwrap_or(head_dim);
        ensure!(
            dims <= head_dim && dims.is_multiple_of(2),
            "{path}: metadata {} is {dims}; an even number up to {head_dim}, the elements of a head, is possible: {MEND}",
            self.key("rope.dimension_count")
        );
        let factor_key = self.key("rope.scaling.factor");
        let factor = self.positive("rope.scaling.factor")?;
        let mut magnitude = self.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let kind = self.file.text(&self.key("rope.scaling.type"))?;
        let scaling = match (kind, factor) {
            (None | Some("linear"), Some(factor)) if factor != 1.0 => RopeScaling::Linear { factor },
            (Some("yarn"), None) => bail!(
                "{path}: metadata {} is yarn, but {factor_key} is missing or 0: without it longer texts would give wrong \
                 results; {MEND}",
                self.key("rope.scaling.type")
            ),
            (Some("yarn"), Some(factor)) if factor > 1.0 => {
                magnitude *= 0.1 * factor.ln() + 1.0;
                RopeScaling::Yarn {
                    factor,
                    original_context: self.needed("rope.scaling.original_context_length")? as f64,
                    fast: self.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                    slow: self.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                }
            }
            // "longrope" and llama 3's scaling act through factor tensors.
            (None | Some("none" | "linear" | "yarn" | "longrope"), _) => RopeScaling::None,
            (Some(other), _) => bail!(
                "{path}: metadata {} is {}; none, linear, yarn and longrope are supported: take another model",
                self.key("rope.scaling.type"),
                Value::Text(other.to_owned())
            ),
        };
        let base_key = self.key("rope.freq_base");
        // The first models of the llama family are older than the key, and their files lack it.
        let usual = (self.architecture == "llama").then_some(10_000.0);
        let base = self.file.required(&base_key, self.file.float(&base_key)?.or(usual))?;
        ensure!(base >= 1.0, "{path}: metadata {base_key} is {base}; numbers from 1 on are possible: {MEND}");
        Ok(Rope {
            interleaved: self.family == Family::Llama,
            dims,
            base,
            scaling,
            factors: self.has("rope_freqs.weight").then(|| Factors::Tensor("rope_freqs.weight".to_owned())),
            magnitude,
        })
    }

    /// Long-context phi3 files carry two sets of factors, for prompts below and above the original context. Switching
    /// between them would change the keys of positions already computed, so that a prefix could not be reused: the
    /// short set and the original context are used throughout.
    fn phi3(&self, config: &mut Config) -> Result<()> {
        if self.has("rope_factors_short.weight") {
            config.rope.factors = Some(Factors::Tensor("rope_factors_short.weight".to_owned()));
            let original = self.needed("rope.scaling.original_context_length")?;
            config.context_length = config.context_length.min(original);
        }
        // A window as long as the context hides nothing.
        config.window = config.window.take().filter(|window| window.size < config.context_length);
        Ok(())
    }

    fn gemma3(&self, config: &mut Config) -> Result<()> {
        const LOCAL_ROPE_BASE: f64 = 10_000.0;
        const GLOBAL_EVERY: usize = 6;
        /// Only the largest model divides by another length than the head's.
        const LAYERS_OF_27B: usize = 62;

        self.needed("attention.sliding_window")?;
        config.activation = Activation::GeluTanh;
        config.embedding_scale = Some((config.hidden as f64).sqrt());
        if config.layers == LAYERS_OF_27B {
            config.attention_scale = ((config.hidden / config.heads) as f64).sqrt().recip();
        }
        if let Some(window) = &mut config.window {
            let key = self.key("attention.sliding_window_pattern");
            *window = match self.file.get(&key) {
                None => Window::new(window.size, config.layers, Some(GLOBAL_EVERY)),
                // One flag a layer, true where it has the window.
                Some(Value::Integers(flags)) => {
                    ensure!(
                        flags.len() == config.layers && flags.iter().all(|flag| matches!(flag, 0 | 1)),
                        "{}: metadata {key} is a list of {} integers; {} flags are possible, one for each layer: {MEND}",
                        self.file.path().display(),
                        flags.len(),
                        config.layers
                    );
                    Window { size: window.size, layers: flags.iter().map(|&flag| flag == 1).collect() }
                }
                Some(_) => {
                    let every = self.needed("attention.sliding_window_pattern")?;
                    Window::new(window.size, config.layers, Some(every))
                }
            };
        }
        let local_base = match self.positive("rope.local.freq_base")? {
            Some(base) => Some(base),
            None => self.positive("rope.freq_base_swa")?,
        };
        config.local_rope = Some(Rope {
            base: local_base.unwrap_or(LOCAL_ROPE_BASE),
            scaling: RopeScaling::None,
            ..config.rope.clone()
        });
        Ok(())
    }
}

impl Rope {
    /// The angle that each pair turns by from one position to the next. `factors` are the values that
    /// [`Rope::factors`] stands for.
    pub(crate) fn frequencies(&self, factors: Option<&[f32]>) -> Vec<f64> {
        let dims = self.dims as f64;
        (0..self.dims / 2)
            .map(|pair| {
                let plain = self.base.powf(-2.0 * pair as f64 / dims);
                let scaled = match self.scaling {
                    RopeScaling::None => plain,
                    RopeScaling::Linear { factor } => plain / factor,
                    RopeScaling::Yarn { factor, original_context, fast, slow } => {
                        // Pairs that turn often within the original context keep their frequency, those that never
                        // complete a turn are interpolated, and a ramp joins them.
                        let pair_at = |turns: f64| {
                            dims * (original_context / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.base.ln())
                        };
                        let low = pair_at(fast).floor().max(0.0);
                        let high = pair_at(slow).ceil().min(dims - 1.0);
                        let ramp = ((pair as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                        plain / factor * ramp + plain * (1.0 - ramp)
                    }
                };
                scaled / f64::from(factors.and_then(|f| f.get(pair)).copied().unwrap_or(1.0))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
