//! What the fuzz targets in `fuzz/` run, and the valid inputs that they start from.
//!
//! The readers take files from a stranger: whatever is in it, the outcome is a value or an error, without a panic and
//! without memory that the file only claims to need.

mod folder;

pub use folder::{fuzz_folder, fuzz_tokenizer_json};

use super::chat::Message;
use super::config::Config;
use super::gguf::Gguf;
use super::linear::{Embedding, load_vector};
use super::stream::TextStream;
use super::testing::{self, Family, HIDDEN};
use super::vocabulary::Vocabulary;
use crate::error::{Context, Result};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

/// Reads a GGUF file: its header, what it says of the model, and every tensor.
pub fn fuzz_gguf(bytes: &[u8]) {
    let _ = gguf(bytes);
}

fn gguf(bytes: &[u8]) -> Result<Config> {
    Gguf::parse(bytes, bytes.len() as u64, Path::new("fuzzed.gguf"))?;
    // Tensors are read from a file only; few inputs come this far.
    let mut kept = tempfile::NamedTempFile::new().context("a file for the fuzzed bytes")?;
    kept.write_all(bytes).context("writing the fuzzed bytes")?;
    let file = Gguf::open(kept.path())?;
    let config = Config::read(&file);
    let source = file.source();
    for (name, entry) in source.tensors() {
        assert_eq!(source.read(name)?.len() as u64, entry.bytes, "tensor {name} lies in the file");
        match entry.shape[..] {
            // All of it is packed, and the first and the last row are turned into numbers again.
            [rows, _] => {
                let ends = [0, u32::try_from(rows - 1)?];
                Embedding::load(source, name, &Device::Cpu)?.rows(&ends, None, &Device::Cpu)?;
            }
            [length] => {
                load_vector(source, name, length, &Device::Cpu)?;
            }
            _ => {}
        }
    }
    config
}

/// Reads a vocabulary and a chat template, and takes texts to tokens and back, by an input of `Records`.
pub fn fuzz_tokenizer(bytes: &[u8]) {
    let records = Records::new(bytes);
    let Ok(vocabulary) = records.vocabulary() else { return };
    let tokenizer = &vocabulary.tokenizer;
    let bound = tokenizer.vocabulary();
    assert!(vocabulary.start.iter().chain(&vocabulary.ends).all(|&id| (id as usize) < bound), "ids are tokens");
    for text in records.texts() {
        for special in [false, true] {
            let Ok(ids) = tokenizer.encode(&text, special) else { continue };
            assert!(ids.iter().all(|&id| (id as usize) < bound), "ids are tokens");
            let mut stream = TextStream::new(&["</s>".to_owned()]);
            for id in ids {
                if stream.push(&tokenizer.token_bytes(id)).stopped {
                    break;
                }
            }
            stream.finish();
        }
    }
    // Once: every rendering takes a thread of its own.
    if let Some(template) = &vocabulary.template {
        let _ = template.render(&[Message::new("system", "Be brief."), Message::new("user", "Which label?")]);
    }
}

/// Metadata of a vocabulary in a form that stays valid under most changes: records that each begin with a letter.
///
/// | record | what it holds |
/// |---|---|
/// | `m`, `p`, `c` | `tokenizer.ggml.model`, `.pre`, and the chat template |
/// | `t` | a token: its type as a digit and its score as a byte, either of them `-` for none, then its text |
/// | `g` | a merge |
/// | `i` | a letter for the token's name (`b`os, `e`os, eo`t`, eo`m`), then its id |
/// | `a`, `f` | whether a start token, a space is put first |
/// | `r` | any metadata: the length of its key, the key, its type, its value |
/// | `x` | a text to encode, beside that of all tokens together |
struct Records<'a> {
    metadata: BTreeMap<Vec<u8>, (u32, Vec<u8>)>,
    texts: Vec<&'a [u8]>,
    /// The texts of all tokens, one after the other.
    spoken: Vec<u8>,
}

/// Ends a record: no byte of a text in UTF-8.
const END: u8 = 0xff;
/// What stands for a type or a score that is left out.
const NONE: u8 = b'-';

/// Types of GGUF values.
const BYTE: u32 = 0;
const UNSIGNED: u32 = 4;
const SIGNED: u32 = 5;
const FLOAT: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const LIST: u32 = 9;

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let (mut tokens, mut types, mut scores, mut merges) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut metadata = BTreeMap::new();
        let (mut texts, mut spoken) = (Vec::new(), Vec::new());
        let mut put = |key: &str, kind: u32, value: Vec<u8>| {
            metadata.insert(format!("tokenizer.{key}").into_bytes(), (kind, value));
        };
        let mut raw = Vec::new();
        for record in bytes.split(|&byte| byte == END) {
            match *record {
                [b'm', ref text @ ..] => put("ggml.model", TEXT, gguf_text(text)),
                [b'p', ref text @ ..] => put("ggml.pre", TEXT, gguf_text(text)),
                [b'c', ref text @ ..] => put("chat_template", TEXT, gguf_text(text)),
                [b'a', yes] => put("ggml.add_bos_token", BOOL, vec![yes & 1]),
                [b'f', yes] => put("ggml.add_space_prefix", BOOL, vec![yes & 1]),
                [b'i', name, ref id @ ..] => {
                    let name = match name {
                        b'b' => "bos",
                        b'e' => "eos",
                        b't' => "eot",
                        _ => "eom",
                    };
                    let mut bytes = id.to_vec();
                    bytes.resize(size_of::<u32>(), 0);
                    put(&format!("ggml.{name}_token_id"), UNSIGNED, bytes);
                }
                [b't', kind, score, ref text @ ..] => {
                    tokens.push(gguf_text(text));
                    if kind != NONE {
                        types.push((i32::from(kind) - i32::from(b'0')).to_le_bytes().to_vec());
                    }
                    if score != NONE {
                        let score = if score == b'N' { f32::NAN } else { -f32::from(score) };
                        scores.push(score.to_le_bytes().to_vec());
                    }
                    spoken.extend_from_slice(text);
                }
                [b'g', ref text @ ..] => merges.push(gguf_text(text)),
                [b'x', ref text @ ..] => texts.push(text),
                [b'r', length, ref rest @ ..] => {
                    if let Some((key, &[kind, ref value @ ..])) = rest.split_at_checked(length.into()) {
                        raw.push((key.to_vec(), (u32::from(kind), value.to_vec())));
                    }
                }
                _ => {}
            }
        }
        for (key, kind, items) in [
            ("ggml.tokens", TEXT, tokens),
            ("ggml.token_type", SIGNED, types),
            ("ggml.scores", FLOAT, scores),
            ("ggml.merges", TEXT, merges),
        ] {
            if !items.is_empty() {
                let head = kind.to_le_bytes().into_iter().chain((items.len() as u64).to_le_bytes());
                put(key, LIST, head.chain(items.into_iter().flatten()).collect());
            }
        }
        metadata.extend(raw);
        Self { metadata, texts, spoken }
    }

    /// The header of a GGUF file that has the metadata and no tensor.
    fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, (kind, value)) in &self.metadata {
            out.extend(gguf_text(key));
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        out
    }

    fn vocabulary(&self) -> Result<Vocabulary> {
        let header = self.header();
        Vocabulary::read(&Gguf::parse(&*header, header.len() as u64, Path::new("fuzzed.gguf"))?)
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.texts.iter().copied().chain([&*self.spoken]).map(|text| String::from_utf8_lossy(text).into_owned())
    }
}

fn gguf_text(text: &[u8]) -> Vec<u8> {
    (text.len() as u64).to_le_bytes().into_iter().chain(text.iter().copied()).collect()
}

/// Writes the inputs that the targets start from into a folder for each target below a folder.
pub fn write_seeds(folder: &Path) -> Result<()> {
    let sets = [
        ("gguf", gguf_seeds()?),
        ("tokenizer", tokenizer_seeds()),
        ("tokenizer_json", folder::tokenizer_json_seeds()),
        ("folder", folder::folder_seeds()?),
    ];
    for (target, seeds) in sets {
        let folder = folder.join(target);
        let attempt = || format!("writing seeds into {}", folder.display());
        fs::create_dir_all(&folder).with_context(attempt)?;
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes).with_context(attempt)?;
        }
    }
    Ok(())
}

const KINDS: [GgmlDType; 13] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

/// The header of each family's generated checkpoint, with so little of everything else that most changes hit the header.
fn gguf_seeds() -> Result<Vec<(String, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for (index, family) in Family::ALL.into_iter().enumerate() {
        let mut metadata = testing::metadata(family);
        for (key, value) in &mut metadata {
            match value {
                Value::Array(items) => items.truncate(2),
                // A model cannot have more layers than tensors.
                _ if key.ends_with(".block_count") => *value = Value::U32(1),
                _ => {}
            }
        }
        let numbers = [Value::U8(1), Value::I8(-1), Value::U16(2), Value::I16(-2), Value::I32(-3), Value::U64(4)];
        let numbers = numbers.into_iter().chain([Value::I64(-4), Value::F64(0.5)]).enumerate();
        metadata.extend(numbers.map(|(index, value)| (format!("number.{index}"), value)));
        let mut tensors = vec![("token_embd.weight".to_owned(), random(&[2, HIDDEN], GgmlDType::F32)?)];
        let kinds = KINDS.iter().skip(index).step_by(Family::ALL.len());
        for (&kind, part) in kinds.zip(["attn_output", "ffn_up", "ffn_down"]) {
            tensors.push((format!("blk.0.{part}.weight"), random(&[2, 256], kind)?));
        }
        tensors.push(("rope_freqs.weight".to_owned(), random(&[8], GgmlDType::F32)?));
        seeds.push((format!("{family:?}").to_lowercase(), written(&metadata, &tensors)?));
    }
    Ok(seeds)
}

fn written(metadata: &[(String, Value)], tensors: &[(String, QTensor)]) -> Result<Vec<u8>> {
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).context("writing a seed")?;
    Ok(file.into_inner())
}

fn random(shape: &[usize], kind: GgmlDType) -> Result<QTensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|index: usize| (index as f32).sin()).collect();
    Ok(QTensor::quantize(&Tensor::from_vec(values, shape, &Device::Cpu)?, kind)?)
}

/// The generated checkpoints' own vocabulary, and small ones of both kinds.
fn tokenizer_seeds() -> Vec<(String, Vec<u8>)> {
    let token = |text: &str, kind: char, score: char| format!("t{kind}{score}{text}").into_bytes();
    let text = |letter: char, text: &str| format!("{letter}{text}").into_bytes();
    let common = [
        text('c', testing::TEMPLATE),
        vec![b'i', b'e', 1],
        vec![b'i', b'b', 0],
        vec![b'a', 1],
        text('x', "We'll see the 12 bins.\n\n  <s>Then\u{e9} 日<|im_end|> "),
    ];
    let byte_level = |pre: &str, tokens: &[(String, i32)]| {
        let mut records = vec![text('m', "gpt2"), text('p', pre)];
        records.extend(tokens.iter().map(|(token, kind)| format!("t{kind}-{token}").into_bytes()));
        records.extend(testing::MERGES.iter().map(|merge| text('g', merge)));
        records.extend(common.iter().cloned());
        records.join(&END)
    };
    let generated = testing::vocabulary();
    let few: Vec<_> = generated.iter().filter(|(token, _)| "Ġthein <|im_end|>".contains(token.as_str())).collect();
    let few: Vec<_> = few.into_iter().cloned().collect();
    let mut seeds = vec![("generated".to_owned(), byte_level("qwen2", &generated))];
    let pres = ["gpt-2", "smollm", "default", "qwen2", "llama-bpe", "smaug-bpe", "tekken", "gpt-4o"];
    seeds.extend(pres.map(|pre| (format!("byte-level-{pre}"), byte_level(pre, &few))));

    let mut records = vec![text('m', "llama"), vec![b'f', 1]];
    records.extend(["<s>", "</s>", "<|placeholder1|>", "<|end|>"].map(|special| token(special, '3', '\0')));
    records.push(token("<tool>", '4', '\0'));
    records.push(token("<unk>", '2', '\0'));
    let words = ["\u{2581}the", "the", "th", "he", "\u{2581}t", "t", "h", "e", "\u{2581}", "\u{e9}"];
    records.extend(words.iter().zip('\u{1}'..).map(|(word, score)| token(word, '1', score)));
    records.extend((0..=u8::MAX).step_by(5).map(|byte| token(&format!("<0x{byte:02X}>"), '6', '\0')));
    records.extend(common);
    // A value of every type that the key is not meant to have.
    let raw =
        |key: &str, kind: u32, value: &[u8]| [&[b'r', key.len() as u8], key.as_bytes(), &[kind as u8], value].concat();
    let mut odd = records.clone();
    odd.push(text('c', "{{ '{:99}{}'.format(messages[0].content, '%9s' % 'a') }}"));
    odd.push(raw("tokenizer.ggml.eot_token_id", BYTE, &[2]));
    odd.push(raw("tokenizer.ggml.unused", LIST, &[&[0; 4], &2u64.to_le_bytes()[..], &[1, 2]].concat()));
    seeds.push(("sentence-piece".to_owned(), records.join(&END)));
    seeds.push(("sentence-piece-odd".to_owned(), odd.join(&END)));
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzing_starts_from_files_that_are_valid() {
        for (name, bytes) in gguf_seeds().unwrap() {
            let config = gguf(&bytes).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert_eq!(config.hidden, HIDDEN);
        }
    }

    #[test]
    fn fuzzing_starts_from_vocabularies_that_are_valid() {
        for (name, bytes) in tokenizer_seeds() {
            let vocabulary = Records::new(&bytes).vocabulary().unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert!(vocabulary.template.is_some() && vocabulary.start == Some(0) && !vocabulary.ends.is_empty());
            fuzz_tokenizer(&bytes);
        }
    }
}
