//! A bounded reader of safetensors headers.
//!
//! A header is outside input: its length is checked before it is read, and every tensor must have the bytes that its
//! shape and its type ask for, inside the file and apart from the others. The crate of that name wants the whole file in
//! memory, and its errors do not say which tensor is wrong; the format is one JSON object.

use crate::error::{Context, Result, bail, ensure};
use crate::files;
use crate::nn::source::stand_apart;
use candle_core::quantized::GgmlDType;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// The length of the header's length.
const PREFIX: u64 = 8;
/// A real header takes about a hundred bytes a tensor.
const LONGEST_HEADER: u64 = 8 << 20;
const METADATA: &str = "__metadata__";
/// What helps where a header is not what it has to be.
const MEND: &str = "the file is damaged; download it again";

/// What a file holds.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) file_bytes: u64,
    pub(super) tensors: BTreeMap<String, Stored>,
}

/// One tensor as the file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: String,
    /// From the start of the file.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Header {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let attempt = || format!("reading the safetensors header of {}", path.display());
        let file = files::open(path).with_context(attempt)?;
        let file_bytes = file.metadata().with_context(attempt)?.len();
        Self::parse(file, file_bytes).with_context(attempt)
    }

    pub(super) fn parse(mut reader: impl Read, file_bytes: u64) -> Result<Self> {
        let mut length = [0; PREFIX as usize];
        ensure!(
            file_bytes >= PREFIX && reader.read_exact(&mut length).is_ok(),
            "the file has {file_bytes} bytes, too few for a header: it is cut short; download it again"
        );
        let length = u64::from_le_bytes(length);
        ensure!(
            length <= LONGEST_HEADER.min(file_bytes - PREFIX),
            "the header claims {length} bytes of a file of {file_bytes} (at most {LONGEST_HEADER} are accepted): the file \
             is cut short, damaged or not a safetensors file; download it again"
        );
        let mut header = Vec::new();
        reader.take(length).read_to_end(&mut header).context("the header")?;
        ensure!(header.len() as u64 == length, "the file ends within its header: it is cut short; download it again");
        let entries = match serde_json::from_slice(&header) {
            Ok(Value::Object(entries)) => entries,
            Ok(_) => bail!("the header is not a JSON object: download the file again"),
            Err(error) => bail!("the header is not a JSON object: download the file again ({error})"),
        };

        let data = PREFIX + length;
        let mut tensors = BTreeMap::new();
        for (name, described) in entries.into_iter().filter(|(name, _)| name != METADATA) {
            let stored = Entry::read(&described)
                .and_then(|entry| place(entry, data, file_bytes))
                .with_context(|| format!("tensor {name}"))?;
            tensors.insert(name, stored);
        }
        stand_apart(tensors.iter().map(|(name, stored)| (name.as_str(), stored.offset, stored.bytes)))?;
        Ok(Self { file_bytes, tensors })
    }
}

impl Entry {
    fn read(described: &Value) -> Result<Self> {
        let numbers =
            |key: &str| -> Option<Vec<u64>> { described.get(key)?.as_array()?.iter().map(Value::as_u64).collect() };
        let Some(dtype) = described.get("dtype").and_then(Value::as_str) else {
            bail!("its dtype is missing or not a text: {MEND}")
        };
        let Some(shape) = numbers("shape") else {
            bail!("its shape is missing or not a list of whole numbers: {MEND}")
        };
        let offsets = numbers("data_offsets").unwrap_or_default();
        let [begin, end] = offsets[..] else { bail!("its data_offsets are missing or not two whole numbers: {MEND}") };
        Ok(Self { dtype: dtype.to_owned(), shape, data_offsets: (begin, end) })
    }
}

fn place(entry: Entry, data: u64, file_bytes: u64) -> Result<Stored> {
    let Entry { dtype, shape, data_offsets: (begin, end) } = entry;
    let room = file_bytes - data;
    ensure!(
        begin <= end && end <= room,
        "data_offsets are {begin} to {end}, but the file has {room} bytes of data: it is cut short or damaged; download \
         it again"
    );
    let elements = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size).filter(|&p| p <= 1 << 48));
    let Some(elements) = elements else { bail!("the shape {shape:?} is impossible: {MEND}") };
    let bytes = end - begin;
    if let Some(kind) = kind_of(&dtype) {
        ensure!(
            elements * kind.type_size() as u64 == bytes,
            "data_offsets span {bytes} bytes, but {elements} elements of type {dtype} take {}: {MEND}",
            elements * kind.type_size() as u64
        );
    }
    let shape = shape.into_iter().map(usize::try_from).collect::<Result<_, _>>()?;
    Ok(Stored { shape, dtype, offset: data + begin, bytes })
}

/// The types that can be loaded; one element of each is a block of its own.
pub(super) fn kind_of(dtype: &str) -> Option<GgmlDType> {
    match dtype {
        "F32" => Some(GgmlDType::F32),
        "F16" => Some(GgmlDType::F16),
        "BF16" => Some(GgmlDType::BF16),
        _ => None,
    }
}
