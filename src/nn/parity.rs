//! Tests of the whole decoder: against an independent scalar implementation, against candle-transformers, and of what
//! must not change a result.

use super::config::Config;
use super::decoder::{Decoder, Next};
use super::gguf::Gguf;
use super::kernels::PAGE;
use super::prefill::CHUNK;
use super::testing::{self, Family, HEADS, HIDDEN, KV_HEADS, NORM_EPS, Stored, cosine, prompt, write_checkpoint};
use super::{Cancel, Device, DeviceChoice, GenerateOptions, Generated, LanguageModel, LoadOptions, Prompt, Stop};
use crate::clock::Clock;
use candle_core::Tensor;
use candle_core::quantized::gguf_file::Content;
use candle_transformers::models::{quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3};
use std::collections::HashMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const CPU: candle_core::Device = candle_core::Device::Cpu;

fn checkpoint(folder: &Path, family: Family, stored: Stored) -> PathBuf {
    let path = folder.join(format!("{family:?}-{stored:?}.gguf"));
    write_checkpoint(&path, family, stored, 11).expect("written");
    path
}

fn load(path: &Path, options: &LoadOptions) -> LanguageModel {
    LanguageModel::load(path, &Device::open(DeviceChoice::Cpu).expect("cpu"), options).expect("loaded")
}

/// A decoder written a second time: one position after the other, plain loops, weights dequantised by candle's reader.
struct Scalar {
    family: Family,
    weights: HashMap<String, (Vec<f32>, usize)>,
}

impl Scalar {
    fn open(path: &Path, family: Family) -> Self {
        let mut file = File::open(path).expect("open");
        let content = Content::read(&mut file).expect("header");
        let names: Vec<String> = content.tensor_infos.keys().cloned().collect();
        let weights = names.into_iter().map(|name| {
            let tensor = content.tensor(&mut file, &name, &CPU).and_then(|t| t.dequantize(&CPU)).expect("tensor");
            let width = *tensor.dims().last().expect("a dimension");
            (name, (tensor.flatten_all().and_then(|t| t.to_vec1()).expect("values"), width))
        });
        Self { family, weights: weights.collect() }
    }

    fn times(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let (weights, width) = &self.weights[name];
        assert_eq!(*width, x.len(), "{name}");
        weights.chunks(*width).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    }

    fn norm(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
        let factor = (mean + NORM_EPS).sqrt().recip();
        x.iter().zip(&self.weights[name].0).map(|(x, w)| x * factor * w).collect()
    }

    fn rotate(&self, head: &mut [f32], position: usize, base: f32) {
        let (half, dims) = (head.len() / 2, head.len() as f32);
        for pair in 0..half {
            let angle = position as f32 * base.powf(-2.0 * pair as f32 / dims);
            let neighbours = matches!(self.family, Family::Llama | Family::Mistral);
            let (i, j) = if neighbours { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
            let (a, b) = (head[i], head[j]);
            head[i] = a * angle.cos() - b * angle.sin();
            head[j] = a * angle.sin() + b * angle.cos();
        }
    }

    #[expect(clippy::many_single_char_names, reason = "the names of the formulas")]
    fn logits(&self, tokens: &[u32]) -> Vec<f32> {
        let family = self.family;
        let dim = family.head_dim();
        let (embedding, _) = &self.weights["token_embd.weight"];
        let mut cache = vec![(Vec::<Vec<f32>>::new(), Vec::<Vec<f32>>::new()); family.layers()];
        let mut last = Vec::new();
        for (position, &token) in tokens.iter().enumerate() {
            let mut x = embedding[token as usize * HIDDEN..][..HIDDEN].to_vec();
            if family == Family::Gemma3 {
                x = x.iter().map(|x| x * (HIDDEN as f32).sqrt()).collect();
            }
            for (layer, (keys, values)) in cache.iter_mut().enumerate() {
                let name = |part: &str| format!("blk.{layer}.{part}");
                let is_global = family == Family::Gemma3 && layer % 6 == 5;
                let window = if is_global { None } else { family.window() };
                let base = if family == Family::Gemma3 && !is_global { 10_000.0 } else { family.rope_base() };

                let h = self.norm(&name("attn_norm.weight"), &x);
                let (mut q, mut k, mut v);
                if family == Family::Phi3 {
                    q = self.times(&name("attn_qkv.weight"), &h);
                    k = q.split_off(HEADS * dim);
                    v = k.split_off(KV_HEADS * dim);
                } else {
                    q = self.times(&name("attn_q.weight"), &h);
                    k = self.times(&name("attn_k.weight"), &h);
                    v = self.times(&name("attn_v.weight"), &h);
                }
                if family == Family::Qwen2 {
                    for (values, part) in [(&mut q, "attn_q.bias"), (&mut k, "attn_k.bias"), (&mut v, "attn_v.bias")] {
                        values.iter_mut().zip(&self.weights[&name(part)].0).for_each(|(v, b)| *v += b);
                    }
                }
                for (values, part) in [(&mut q, "attn_q_norm.weight"), (&mut k, "attn_k_norm.weight")] {
                    for head in values.chunks_mut(dim) {
                        if matches!(family, Family::Qwen3 | Family::Gemma3) {
                            head.copy_from_slice(&self.norm(&name(part), head));
                        }
                        self.rotate(head, position, base);
                    }
                }
                keys.push(k);
                values.push(v);
                let oldest = window.map_or(0, |window| (position + 1).saturating_sub(window));
                let mut mixed = vec![0.0; HEADS * dim];
                for head in 0..HEADS {
                    let at = head / (HEADS / KV_HEADS) * dim;
                    let query = &q[head * dim..][..dim];
                    let scores: Vec<f32> = (oldest..=position)
                        .map(|p| {
                            query.iter().zip(&keys[p][at..]).map(|(q, k)| q * k).sum::<f32>() / (dim as f32).sqrt()
                        })
                        .collect();
                    let highest = scores.iter().copied().fold(f32::MIN, f32::max);
                    let total: f32 = scores.iter().map(|s| (s - highest).exp()).sum();
                    for (p, score) in (oldest..).zip(scores) {
                        let share = (score - highest).exp() / total;
                        for (out, v) in mixed[head * dim..][..dim].iter_mut().zip(&values[p][at..]) {
                            *out += share * v;
                        }
                    }
                }
                let mut attended = self.times(&name("attn_output.weight"), &mixed);
                if family == Family::Gemma3 {
                    attended = self.norm(&name("post_attention_norm.weight"), &attended);
                }
                x.iter_mut().zip(attended).for_each(|(x, a)| *x += a);

                let h = self.norm(&name("ffn_norm.weight"), &x);
                let mut up = self.times(&name("ffn_up.weight"), &h);
                let gate = if family == Family::Phi3 {
                    let real_up = up.split_off(testing::FEED_FORWARD);
                    std::mem::replace(&mut up, real_up)
                } else {
                    self.times(&name("ffn_gate.weight"), &h)
                };
                let inner: Vec<f32> = gate
                    .iter()
                    .zip(&up)
                    .map(|(&g, &u)| {
                        let active = if family == Family::Gemma3 {
                            let z = (2.0 / std::f32::consts::PI).sqrt() * (g + 0.044715 * g.powi(3));
                            0.5 * g * (1.0 + z.tanh())
                        } else {
                            g / (1.0 + (-g).exp())
                        };
                        active * u
                    })
                    .collect();
                let mut out = self.times(&name("ffn_down.weight"), &inner);
                if family == Family::Gemma3 {
                    out = self.norm(&name("post_ffw_norm.weight"), &out);
                }
                x.iter_mut().zip(out).for_each(|(x, o)| *x += o);
            }
            last = x;
        }
        let output = if self.weights.contains_key("output.weight") { "output.weight" } else { "token_embd.weight" };
        self.times(output, &self.norm("output_norm.weight", &last))
    }
}

fn candle_logits(path: &Path, family: Family, tokens: &[u32]) -> Option<Vec<f32>> {
    let mut file = File::open(path).expect("open");
    let content = Content::read(&mut file).expect("header");
    let input = Tensor::new(tokens, &CPU).and_then(|t| t.unsqueeze(0)).expect("input");
    let logits =
        match family {
            Family::Llama | Family::Mistral => quantized_llama::ModelWeights::from_gguf(content, &mut file, &CPU)
                .and_then(|mut m| m.forward(&input, 0)),
            Family::Qwen2 => quantized_qwen2::ModelWeights::from_gguf(content, &mut file, &CPU)
                .and_then(|mut m| m.forward(&input, 0)),
            Family::Qwen3 => quantized_qwen3::ModelWeights::from_gguf(content, &mut file, &CPU)
                .and_then(|mut m| m.forward(&input, 0)),
            Family::Phi3 => quantized_phi3::ModelWeights::from_gguf(false, content, &mut file, &CPU)
                .and_then(|mut m| m.forward(&input, 0)),
            // Its activation and its mask are wrong; the scalar implementation stands in.
            Family::Gemma3 => return None,
        };
    Some(logits.and_then(|t| t.flatten_all()?.to_vec1()).expect("logits"))
}

#[test]
fn every_family_agrees_with_a_scalar_implementation() {
    let folder = tempfile::tempdir().expect("folder");
    for family in Family::ALL {
        for stored in [Stored::F32, Stored::Q8_0, Stored::Q5_0, Stored::Q4_1] {
            let path = checkpoint(folder.path(), family, stored);
            let mut model = load(&path, &LoadOptions::default());
            let tokens = prompt(if stored == Stored::F32 { CHUNK + 45 } else { 40 });
            let (ours, scalar) = (model.logits(&tokens).expect("logits"), Scalar::open(&path, family).logits(&tokens));
            let cosine = cosine(&ours, &scalar);
            // Quantised matrices round their inputs too, to eight bits.
            let least = if stored == Stored::F32 { 1.0 - 1e-9 } else { 0.999 };
            assert!(cosine >= least, "{family:?} {stored:?}: cosine {cosine}");
        }
    }
}

#[test]
fn logits_agree_with_candle_transformers() {
    let folder = tempfile::tempdir().expect("folder");
    for family in Family::ALL {
        for (stored, least) in [(Stored::F32, 0.999_999), (Stored::Q8_0, 0.999)] {
            let path = checkpoint(folder.path(), family, stored);
            let tokens = prompt(50);
            let Some(theirs) = candle_logits(&path, family, &tokens) else { continue };
            let ours = load(&path, &LoadOptions::default()).logits(&tokens).expect("logits");
            let cosine = cosine(&ours, &theirs);
            assert!(cosine >= least, "{family:?} {stored:?}: cosine {cosine}");
        }
    }
}

#[test]
fn a_prompt_in_blocks_gives_what_its_tokens_give_one_by_one() {
    let folder = tempfile::tempdir().expect("folder");
    for family in Family::ALL {
        let path = checkpoint(folder.path(), family, Stored::Q8_0);
        let tokens = prompt(CHUNK + 30);
        let blocks = load(&path, &LoadOptions::default()).logits(&tokens).expect("logits");
        let file = Gguf::open(&path).expect("header");
        let config = Config::read(&file).expect("config");
        let decoder = Decoder::load(config, file.source(), &CPU).expect("loaded");
        let mut cache = decoder.cache();
        let mut last = None;
        for &token in &tokens {
            let x = decoder.forward(&mut [Next { tokens: &[token], cache: &mut cache }], &[0]).expect("forward");
            last = decoder.logits(&x).expect("logits").pop();
        }
        assert!(
            bits(blocks) == bits(last.expect("tokens").whole().expect("logits").into_owned()),
            "{family:?}: logits differ"
        );
    }
}

fn options(max_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_tokens, top_logprobs: 3, seed: 1, ..GenerateOptions::default() }
}

fn generate(model: &mut LanguageModel, tokens: &[u32], options: &GenerateOptions) -> Generated {
    model.generate(tokens, options, &Clock::fake(), &mut |_| ControlFlow::Continue(())).expect("generated")
}

fn bits(logits: Vec<f32>) -> Vec<u32> {
    logits.into_iter().map(f32::to_bits).collect()
}

#[test]
fn results_are_equal_bit_for_bit_with_the_prefix_cache_on_off_hit_and_missed() {
    let folder = tempfile::tempdir().expect("folder");
    for family in Family::ALL {
        let path = checkpoint(folder.path(), family, Stored::Q8_0);
        let mut on = load(&path, &LoadOptions::default());
        let mut off = load(&path, &LoadOptions { prefix_cache: false, ..LoadOptions::default() });
        // Room for two pages only: pages come and go.
        let prefix_cache_bytes = 2 * on.decoder.cache().shape().pages.page_bytes();
        let mut tight = load(&path, &LoadOptions { prefix_cache: true, prefix_cache_bytes, ..LoadOptions::default() });
        let base = prompt(3 * PAGE + 17);
        let mut forked = base.clone();
        forked[2 * PAGE + 3] = 7;
        let first = base[..PAGE + 40].to_vec();
        let continued: Vec<u32> =
            first.iter().copied().chain(generate(&mut off, &first, &options(40)).tokens.iter().map(|t| t.id)).collect();
        // What the third column tells is how much an earlier prompt and its answer have in common with this one.
        let cases: [(&[u32], usize); 8] = [
            (&base, 0),
            (&base, base.len() - 1),
            (&base[..2 * PAGE], 2 * PAGE - 1),
            (&base[..=2 * PAGE], 2 * PAGE),
            (&forked, 2 * PAGE + 3),
            (&first, PAGE + 39),
            (&first[..10], 9),
            (&continued, PAGE + 40),
        ];
        for (tokens, least) in cases {
            let expected = generate(&mut off, tokens, &options(3));
            let cached = generate(&mut on, tokens, &options(3));
            let evicting = generate(&mut tight, tokens, &options(3));
            assert_eq!(expected.cached_tokens, 0);
            assert!((least..tokens.len()).contains(&cached.cached_tokens), "{family:?}: {}", cached.cached_tokens);
            assert_eq!(expected.tokens, cached.tokens, "{family:?}");
            assert_eq!(expected.tokens, evicting.tokens, "{family:?}");
            let logits = |model: &mut LanguageModel| bits(model.logits(tokens).expect("logits"));
            let expected = logits(&mut off);
            assert!(expected == logits(&mut on) && expected == logits(&mut tight), "{family:?}: logits differ");
        }
    }
}

#[test]
fn guesses_change_no_token_however_many_are_accepted() {
    let folder = tempfile::tempdir().expect("folder");
    let mut accepted = 0;
    for family in Family::ALL {
        let path = checkpoint(folder.path(), family, Stored::Q8_0);
        let mut plain = load(&path, &LoadOptions { prompt_lookup: false, ..LoadOptions::default() });
        let mut guessing = load(&path, &LoadOptions::default());
        let base = prompt(PAGE - 5);
        // What greedy generation says once it says again where its own answer stands in the prompt.
        let answer: Vec<u32> = generate(&mut plain, &base, &options(30)).tokens.iter().map(|token| token.id).collect();
        let echoing = [&base[..], &answer, &base].concat();
        for (tokens, temperature) in [(&base, 0.0), (&echoing, 0.0), (&echoing, 0.7)] {
            for max_tokens in [1, 7, 40] {
                let settings = GenerateOptions { temperature, ..options(max_tokens) };
                let expected = generate(&mut plain, tokens, &settings);
                let found = generate(&mut guessing, tokens, &settings);
                assert_eq!((&expected.tokens, expected.stop), (&found.tokens, found.stop), "{family:?}");
                assert_eq!((expected.drafted_tokens, expected.accepted_tokens), (0, 0));
                assert!(found.accepted_tokens <= found.drafted_tokens && found.accepted_tokens < found.tokens.len());
                accepted += found.accepted_tokens;
            }
        }
    }
    assert!(accepted > 0, "no guess was ever right: nothing was tested");
}

#[test]
fn guesses_change_no_end_and_nothing_that_is_streamed_or_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let path = checkpoint(folder.path(), Family::Llama, Stored::Q8_0);
    let mut plain = load(&path, &LoadOptions { prompt_lookup: false, ..LoadOptions::default() });
    let mut guessing = load(&path, &LoadOptions::default());
    let base = prompt(PAGE - 5);
    // A third model, for what two are to be compared by must not be kept by one of them.
    let mut other = load(&path, &LoadOptions::default());
    let answer = generate(&mut other, &base, &options(30));
    let ids: Vec<u32> = answer.tokens.iter().map(|token| token.id).collect();
    let echoing = [&base[..], &ids, &base].concat();
    // A stop text that ends within the answer, the end of the context, and a caller that has seen enough.
    let said = generate(&mut other, &echoing, &options(30));
    let stop: String = said.tokens.iter().skip(4).take(3).map(|token| token.text.as_str()).collect();
    let stopping = GenerateOptions { stop: vec![stop.clone()], ..options(30) };
    let mut accepted = 0;
    for (settings, enough) in [(&stopping, usize::MAX), (&options(30), 3), (&options(30), 6), (&options(6), usize::MAX)]
    {
        let run = |model: &mut LanguageModel| {
            let mut streamed = Vec::new();
            let generated = model.generate(&echoing, settings, &Clock::fake(), &mut |token| {
                streamed.push(token.clone());
                if streamed.len() == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            (generated.expect("generated"), streamed)
        };
        let ((expected, expected_stream), (found, stream)) = (run(&mut plain), run(&mut guessing));
        assert_eq!((&expected.tokens, &expected.text, expected.stop), (&found.tokens, &found.text, found.stop));
        assert_eq!(expected_stream, stream);
        accepted += found.accepted_tokens;
        // What is kept of it is reused alike.
        let longer =
            [&echoing[..], &expected.tokens.iter().map(|token| token.id).collect::<Vec<_>>(), &[1, 2]].concat();
        let (expected, found) =
            (generate(&mut plain, &longer, &options(2)), generate(&mut guessing, &longer, &options(2)));
        assert_eq!((expected.tokens, expected.cached_tokens), (found.tokens, found.cached_tokens));
    }
    assert!(accepted > 0 && !stop.is_empty(), "no guess was ever right: nothing was tested");
}

#[test]
fn what_was_held_back_is_not_lost_when_the_caller_has_seen_enough() {
    let folder = tempfile::tempdir().expect("folder");
    let mut model = load(&checkpoint(folder.path(), Family::Llama, Stored::F32), &LoadOptions::default());
    let text = generate(&mut model, &prompt(9), &options(6)).text;
    // The whole answer might be the beginning of this.
    let settings = GenerateOptions { stop: vec![format!("{text}!")], ..options(50) };
    let mut seen = 0;
    let cut = model.generate(&prompt(9), &settings, &Clock::fake(), &mut |_| {
        seen += 1;
        if seen == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let cut = cut.expect("generated");
    assert!(!cut.text.is_empty() && text.starts_with(&cut.text), "{:?} of {text:?}", cut.text);
}

#[test]
fn sequences_of_a_batch_are_what_each_is_alone() {
    let folder = tempfile::tempdir().expect("folder");
    for family in Family::ALL {
        let path = checkpoint(folder.path(), family, Stored::Q8_0);
        let prompts: Vec<Vec<u32>> = [3, PAGE + 1, 40, 1, 2 * PAGE].map(prompt).into();
        let settings: Vec<GenerateOptions> = (0..prompts.len())
            .map(|i| GenerateOptions { temperature: 0.4 * i as f64, seed: i as u64, ..options(5 + 7 * (i % 3)) })
            .collect();
        let alone: Vec<Generated> = prompts
            .iter()
            .zip(&settings)
            .map(|(tokens, options)| generate(&mut load(&path, &LoadOptions::default()), tokens, options))
            .collect();
        let all: Vec<Prompt<'_>> =
            prompts.iter().zip(&settings).map(|(tokens, options)| Prompt { tokens, options }).collect();
        for batch in [1, 2, 5, 8] {
            let mut model = load(&path, &LoadOptions::default());
            let mut seen = vec![0; prompts.len()];
            let together = model.generate_all(&all, batch, &Clock::fake(), &mut |index, _| {
                seen[index] += 1;
                ControlFlow::Continue(())
            });
            for ((alone, together), seen) in alone.iter().zip(together.expect("generated")).zip(seen) {
                assert_eq!((&alone.tokens, alone.stop, seen), (&together.tokens, together.stop, alone.tokens.len()));
            }
        }
    }
}

#[test]
fn continuations_have_the_probabilities_that_generation_gives_their_tokens() {
    let folder = tempfile::tempdir().expect("folder");
    for family in Family::ALL {
        let path = checkpoint(folder.path(), family, Stored::Q8_0);
        let mut model = load(&path, &LoadOptions::default());
        let tokens = prompt(PAGE + 9);
        let generated = generate(&mut model, &tokens, &options(6));
        let answer: Vec<u32> = generated.tokens.iter().map(|token| token.id).collect();
        let long = prompt(90);
        let set = [answer.clone(), vec![5], long.clone(), answer[..2].to_vec()];
        let scored = model.score(&tokens, &set, None, &Cancel::default()).expect("scored");
        assert_eq!(scored.cached_tokens, tokens.len() - 1);
        let expected: Vec<f64> = generated.tokens.iter().map(|token| token.logprob).collect();
        assert_eq!(scored.logprobs[0], expected, "{family:?}");
        assert_eq!(scored.logprobs[3], expected[..2], "{family:?}");
        assert_eq!((scored.logprobs[1].len(), scored.logprobs[2].len()), (1, 90));
        let whole: Vec<u32> = tokens.iter().chain(&long).copied().collect();
        assert_eq!(model.logprobs(&whole).expect("logprobs")[tokens.len() - 1..], scored.logprobs[2], "{family:?}");
        assert!(model.score(&tokens, &[Vec::new()], None, &Cancel::default()).is_err());
        assert!(model.score(&tokens, &[vec![1_000_000]], None, &Cancel::default()).is_err());
    }
}

#[test]
fn every_family_generates_text_and_times_prefill_and_decode() {
    let folder = tempfile::tempdir().expect("folder");
    for family in Family::ALL {
        let path = checkpoint(folder.path(), family, Stored::Q4_1);
        let mut model = load(&path, &LoadOptions::default());
        assert_eq!(model.info().architecture, family.architecture());
        assert_eq!(*model.info(), LanguageModel::inspect(&path).expect("inspected"));
        let mut streamed = String::new();
        let clock = Clock::fake();
        let generated = model
            .generate(&prompt(20), &options(12), &clock, &mut |token| {
                streamed.push_str(&token.text);
                clock.advance(crate::units::Seconds(1.0));
                ControlFlow::Continue(())
            })
            .expect("generated");
        assert_eq!(generated.text, streamed);
        assert_eq!(generated.decode.0, generated.tokens.len() as f64);
        assert!(generated.tokens.iter().all(|t| t.logprob < 0.0 && t.top.len() == 3 && t.top[0].1 >= t.logprob));
        assert_eq!(generated.tokens.len() == 12, generated.stop == Stop::MaxTokens);
    }
}

#[test]
fn generation_can_be_cancelled_and_overflow_is_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let mut model = load(&checkpoint(folder.path(), Family::Llama, Stored::F32), &LoadOptions::default());
    let mut seen = 0;
    let generated = model
        .generate(&prompt(5), &options(50), &Clock::fake(), &mut |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect("generated");
    assert_eq!((generated.stop, generated.tokens.len()), (Stop::Cancelled, 3));
    let error = model.logits(&prompt(testing::CONTEXT)).expect_err("too long").to_string();
    assert!(error.contains("32768 tokens"), "{error}");
    assert!(model.logits(&[]).is_err());
    assert!(model.logits(&[1_000_000]).expect_err("unknown").to_string().contains("not in the vocabulary"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    #[test]
    fn a_damaged_file_never_panics(changes in proptest::collection::vec((0usize..9000, 0u8..), 1..6), cut in 0usize..400_000) {
        let folder = tempfile::tempdir().expect("folder");
        let path = checkpoint(folder.path(), Family::Qwen3, Stored::Q8_0);
        let mut bytes = std::fs::read(&path).expect("read");
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut.max(9000));
        std::fs::write(&path, bytes).expect("written");
        if LanguageModel::inspect(&path).is_ok() {
            let _ = Gguf::open(&path).and_then(|file| Decoder::load(Config::read(&file)?, file.source(), &CPU));
        }
    }
}
