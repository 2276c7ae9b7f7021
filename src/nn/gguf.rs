//! A bounded reader of GGUF headers.
//!
//! A header is outside input: every count in it is checked against the bytes that are left in the file, and against what
//! real files have, before anything is allocated for it; and every tensor must lie inside the file. Tensor data is read
//! later, by its range.

use super::source::{Source, TensorEntry, kind_name, stand_apart};
use crate::error::{Context, Result, bail, ensure};
use crate::files;
use candle_core::quantized::GgmlDType;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufReader, Read};
use std::path::Path;

/// The header of a GGUF file: its metadata and where its tensors lie.
#[derive(Debug)]
pub(crate) struct Gguf {
    metadata: BTreeMap<String, Value>,
    source: Source,
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
}

/// What helps where a header says something impossible.
pub(crate) const MEND: &str = "download it again, or convert the model again with a current converter";

const MAGIC: &[u8; 4] = b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;
/// A tensor entry takes at least a name length, a dimension count, one dimension, a type and an offset.
const SMALLEST_TENSOR_ENTRY: u64 = 8 + 4 + 8 + 4 + 8;
/// A metadata entry takes at least a key length, a type and one byte.
const SMALLEST_METADATA_ENTRY: u64 = 8 + 4 + 1;
/// Far above any real name; keeps error messages readable.
const LONGEST_NAME: u64 = 4096;
/// Real headers have some hundred entries of either kind.
const MOST_ENTRIES: u64 = 1 << 16;
/// The largest vocabularies have a quarter of a million tokens and half a million merges.
const MOST_ITEMS: u64 = 1 << 22;
/// Chat templates are the longest texts; they take some ten kilobytes.
const LONGEST_TEXT: u64 = 16 << 20;
/// What all metadata may take in memory: the largest vocabularies take about 40 MB.
const MOST_MEMORY: u64 = 256 << 20;
const LARGEST_ALIGNMENT: u64 = 1 << 20;

impl Gguf {
    /// Reads the header of a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let attempt = || format!("reading the GGUF header of {}", path.display());
        let file = files::open(path).with_context(attempt)?;
        let file_bytes = file.metadata().with_context(attempt)?.len();
        Self::parse(BufReader::with_capacity(1 << 16, file), file_bytes, path).with_context(attempt)
    }

    /// Reads a header from its bytes; `path` stands in errors and is where tensors are read later.
    pub(super) fn parse(reader: impl Read, file_bytes: u64, path: &Path) -> Result<Self> {
        let mut r = Cursor { reader, position: 0, end: file_bytes, memory_left: MOST_MEMORY };
        let magic: [u8; 4] = r.bytes().context("magic")?;
        ensure!(
            &magic == MAGIC,
            "this is not a GGUF file: it does not start with the letters GGUF; give the path of a .gguf file, or download it \
             again"
        );
        let version = r.u32().context("version")?;
        ensure!((2..=3).contains(&version), "GGUF version {version} is not supported: convert the file to version 3");
        let tensor_count = r.u64().context("tensor count")?;
        let metadata_count = r.u64().context("metadata count")?;
        r.fits(tensor_count, SMALLEST_TENSOR_ENTRY, MOST_ENTRIES).context("tensor count")?;
        r.fits(metadata_count, SMALLEST_METADATA_ENTRY, MOST_ENTRIES).context("metadata count")?;

        let mut metadata = BTreeMap::new();
        let mut before = "the counts".to_owned();
        for index in 0..metadata_count {
            // Where a length is wrong, what follows it is taken for a key.
            let key = r.text(LONGEST_NAME).with_context(|| format!("key of metadata entry {index}, after {before}"))?;
            before = format!("metadata {key}");
            let value = r.value().with_context(|| format!("metadata {key}"))?;
            ensure!(metadata.insert(key.clone(), value).is_none(), "metadata {key} is given twice");
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(&Value::Unsigned(a)) if a.is_power_of_two() && a <= LARGEST_ALIGNMENT => a,
            Some(other) => bail!(
                "metadata general.alignment is {other}; powers of two from 1 to {LARGEST_ALIGNMENT} are possible: {MEND}"
            ),
        };

        let mut tensors = BTreeMap::new();
        for index in 0..tensor_count {
            let name = r.text(LONGEST_NAME).with_context(|| format!("name of tensor {index}, after {before}"))?;
            before = format!("tensor {name}");
            let entry = r.tensor(alignment).with_context(|| format!("tensor {name}"))?;
            ensure!(tensors.insert(name.clone(), entry).is_none(), "tensor {name} is given twice");
        }
        let data_start = r.position.next_multiple_of(alignment);
        place_tensors(&mut tensors, data_start, file_bytes, alignment)?;
        Ok(Self { metadata, source: Source::new(path, vec![path.to_owned()], file_bytes, tensors) })
    }

    pub(crate) fn path(&self) -> &Path {
        self.source.path()
    }

    /// Where the tensors lie.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// A metadata value, where the file has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    fn typed<T>(&self, key: &str, what: &str, pick: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        match pick(value) {
            Some(picked) => Ok(Some(picked)),
            None => bail!("{}: metadata {key} is {value}, not {what}: {MEND}", self.path().display()),
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a non-negative integer", |value| match *value {
            Value::Unsigned(u) => usize::try_from(u).ok(),
            Value::Signed(i) => usize::try_from(i).ok(),
            _ => None,
        })
    }

    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a finite number", |value| match *value {
            Value::Float(f) if f.is_finite() => Some(f),
            Value::Unsigned(u) => Some(u as f64),
            Value::Signed(i) => Some(i as f64),
            _ => None,
        })
    }

    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", |value| if let Value::Bool(b) = value { Some(*b) } else { None })
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        match value {
            Value::Text(text) => Ok(Some(text)),
            _ => bail!("{}: metadata {key} is {value}, not a text: {MEND}", self.path().display()),
        }
    }

    /// Fails with the file and the key where a value is missing.
    pub(crate) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.with_context(|| format!("{} lacks the metadata {key}: {MEND}", self.path().display()))
    }
}

/// Turns offsets from the data's start into offsets from the file's start, and checks that tensors lie inside the file, apart
/// from each other, and one behind the other: where a type or a shape is damaged, a tensor may take less than it did, and what
/// is read as its numbers are others. So the format has no room between tensors but for their alignment.
fn place_tensors(
    tensors: &mut BTreeMap<String, TensorEntry>,
    data_start: u64,
    file_bytes: u64,
    alignment: u64,
) -> Result<()> {
    for (name, entry) in tensors.iter_mut() {
        let range =
            data_start.checked_add(entry.offset).and_then(|start| Some((start, start.checked_add(entry.bytes)?)));
        match range {
            Some((start, end)) if end <= file_bytes => entry.offset = start,
            _ => bail!(
                "tensor {name} ({} bytes at offset {}) reaches past the end of the file ({file_bytes} bytes): the file \
                 is cut short or damaged; download it again",
                entry.bytes,
                entry.offset,
            ),
        }
    }
    stand_apart(tensors.iter().map(|(name, entry)| (name.as_str(), entry.offset, entry.bytes)))?;
    let mut ranges: Vec<_> = tensors.iter().map(|(name, entry)| (entry.offset, entry.bytes, name)).collect();
    ranges.sort_unstable();
    let (mut end, mut before) = (data_start, None);
    let belong = |bytes: u64, before: Option<&String>| {
        let behind =
            before.map_or_else(|| "before the first tensor".to_owned(), |name| format!("behind tensor {name}"));
        format!("{bytes} bytes {behind} belong to no tensor, so that a type, a shape or an offset is wrong: {MEND}")
    };
    for (offset, bytes, name) in ranges {
        // No tensor reaches past the end of the file, so these sums stay within it.
        let expected = end.next_multiple_of(alignment);
        ensure!(offset >= expected, "tensor {name} begins within the alignment of the one before it: {MEND}");
        ensure!(offset == expected, "{}", belong(offset - end, before));
        (end, before) = (offset + bytes, Some(name));
    }
    let rest = file_bytes.saturating_sub(end);
    ensure!(before.is_none() || rest < alignment, "{}", belong(rest, before));
    Ok(())
}

/// As it stands in an error: never a whole list.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 40;
        match self {
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Text(text) if text.chars().count() > LONGEST => write!(f, "a text of {} bytes", text.len()),
            // With its control characters escaped.
            Self::Text(text) => write!(f, "the text {text:?}"),
            Self::Integers(items) => write!(f, "a list of {} integers", items.len()),
            Self::Floats(items) => write!(f, "a list of {} numbers", items.len()),
            Self::Texts(items) => write!(f, "a list of {} texts", items.len()),
        }
    }
}

struct Cursor<R> {
    reader: R,
    position: u64,
    end: u64,
    /// How much more memory the metadata may take.
    memory_left: u64,
}

impl<R: Read> Cursor<R> {
    fn left(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    fn fits(&self, count: u64, smallest: u64, most: u64) -> Result<()> {
        let left = self.left();
        ensure!(
            count.checked_mul(smallest).is_some_and(|needed| needed <= left),
            "the file claims {count} of them, which cannot fit in the {left} bytes that are left: it is cut short or \
             damaged; download it again"
        );
        ensure!(
            count <= most,
            "the file claims {count} of them; more than {most} are not accepted, and no real file has them: it is \
             damaged; download it again"
        );
        Ok(())
    }

    fn take_memory(&mut self, count: u64, bytes: usize) -> Result<()> {
        let needed = count.saturating_mul(bytes as u64);
        match self.memory_left.checked_sub(needed) {
            Some(left) => self.memory_left = left,
            None => bail!(
                "with it the metadata would take more than the {MOST_MEMORY} bytes that are accepted: the file is \
                 damaged; download it again"
            ),
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let wanted = buffer.len() as u64;
        if wanted > self.left() || self.reader.read_exact(buffer).is_err() {
            bail!(
                "the file ends at byte {} while {wanted} more bytes are needed: it is cut short; download it again",
                self.end
            );
        }
        self.position += wanted;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn text(&mut self, longest: u64) -> Result<String> {
        let length = self.u64()?;
        ensure!(
            length <= longest,
            "a text of {length} bytes is longer than the {longest} that are allowed here: the file is damaged; download it \
             again"
        );
        self.fits(length, 1, longest).context("length of a text")?;
        self.take_memory(length, 1)?;
        let mut buffer = vec![0; usize::try_from(length)?];
        self.fill(&mut buffer)?;
        // Vocabularies of some converters hold tokens that are not UTF-8; they must not make the file unreadable.
        Ok(String::from_utf8(buffer).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    fn value(&mut self) -> Result<Value> {
        let kind = self.u32()?;
        Ok(match kind {
            0 | 2 | 4 | 10 => Value::Unsigned(self.integer(kind)? as u64),
            1 | 3 | 5 | 11 => Value::Signed(self.integer(kind)?),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            7 => Value::Bool(self.integer(0)? != 0),
            8 => Value::Text(self.text(LONGEST_TEXT)?),
            9 => self.array()?,
            other => bail!("unknown value type {other}"),
        })
    }

    /// An integer of a GGUF type, its bits in an `i64`.
    fn integer(&mut self, kind: u32) -> Result<i64> {
        Ok(match kind {
            0 | 7 => i64::from(u8::from_le_bytes(self.bytes()?)),
            1 => i64::from(i8::from_le_bytes(self.bytes()?)),
            2 => i64::from(u16::from_le_bytes(self.bytes()?)),
            3 => i64::from(i16::from_le_bytes(self.bytes()?)),
            4 => i64::from(u32::from_le_bytes(self.bytes()?)),
            5 => i64::from(i32::from_le_bytes(self.bytes()?)),
            _ => i64::from_le_bytes(self.bytes()?),
        })
    }

    fn array(&mut self) -> Result<Value> {
        let kind = self.u32()?;
        let count = self.u64()?;
        let smallest = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            other => bail!("arrays of value type {other} are not supported"),
        };
        self.fits(count, smallest, MOST_ITEMS).context("length of an array")?;
        let bytes = match kind {
            6 | 12 => size_of::<f32>(),
            8 => size_of::<String>(),
            _ => size_of::<i64>(),
        };
        self.take_memory(count, bytes)?;
        // Items are pushed one by one: memory grows with what was read, not with what is claimed.
        Ok(match kind {
            6 => Value::Floats((0..count).map(|_| Ok(f32::from_le_bytes(self.bytes()?))).collect::<Result<_>>()?),
            12 => {
                Value::Floats((0..count).map(|_| Ok(f64::from_le_bytes(self.bytes()?) as f32)).collect::<Result<_>>()?)
            }
            8 => Value::Texts((0..count).map(|_| self.text(LONGEST_TEXT)).collect::<Result<_>>()?),
            _ => Value::Integers((0..count).map(|_| self.integer(kind)).collect::<Result<_>>()?),
        })
    }

    fn tensor(&mut self, alignment: u64) -> Result<TensorEntry> {
        let rank = self.u32().context("number of dimensions")?;
        ensure!((1..=4).contains(&rank), "it has {rank} dimensions; 1 to 4 are possible");
        let mut shape = Vec::with_capacity(4);
        let mut elements = 1u64;
        for _ in 0..rank {
            let size = self.u64().context("dimensions")?;
            elements = match elements.checked_mul(size) {
                Some(product) if size > 0 && product <= 1 << 48 => product,
                _ => bail!("a dimension of {size} is impossible"),
            };
            shape.push(usize::try_from(size)?);
        }
        let kind = tensor_kind(self.u32().context("type")?)?;
        let offset = self.u64().context("offset")?;
        ensure!(offset.is_multiple_of(alignment), "its offset {offset} is not a multiple of {alignment}");
        let block = kind.block_size();
        let row = shape.first().copied().unwrap_or(1);
        ensure!(
            row.is_multiple_of(block),
            "its rows of {row} do not divide into the blocks of {block} of type {}",
            kind_name(kind)
        );
        shape.reverse();
        let bytes = elements / block as u64 * kind.type_size() as u64;
        Ok(TensorEntry { shape, kind, file: 0, offset, bytes, shift: 0.0, stored_as: None })
    }
}

fn tensor_kind(code: u32) -> Result<GgmlDType> {
    Ok(match code {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        other => bail!(
            "its type has the number {other}, which is not supported: use a file quantised as Q4_0, Q4_1, Q5_0, Q5_1, \
             Q8_0, Q2_K to Q6_K, F16, BF16 or F32"
        ),
    })
}

#[cfg(test)]
mod tests;
