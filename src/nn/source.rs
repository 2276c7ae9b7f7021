//! Where the weights of a model lie: tensors by the names that the decoder asks for, in one file or in several.
//!
//! GGUF files and folders of safetensors both come down to this; the decoder knows no other source.

use crate::clock::Clock;
use crate::error::{Context, Result, bail, ensure};
use crate::files;
use crate::units::Seconds;
use candle_core::quantized::GgmlDType;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What weights are made up of: as a number of half precision 1.06, of single precision or bfloat 0.0115, as codes any.
const MADE_UP: u8 = 0x3c;

/// The tensors of a model.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Whether tensors are made up in place of being read.
    made_up: bool,
    path: PathBuf,
    files: Vec<PathBuf>,
    file_bytes: u64,
    tensors: BTreeMap<String, TensorEntry>,
}

/// Where one tensor lies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorEntry {
    /// Rows first, as candle counts.
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: GgmlDType,
    /// Which of the files it lies in.
    pub(crate) file: usize,
    /// From the start of the file.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// What the decoder's weights have more than the stored ones: some checkpoints store a norm's distance from one.
    pub(crate) shift: f32,
    /// What the file calls it, where that is another name.
    pub(crate) stored_as: Option<String>,
}

impl TensorEntry {
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().map(|&d| d as u64).product()
    }
}

/// The name that users know a type of tensors by: candle writes `Q4K` where everyone else writes `Q4_K`.
pub(crate) fn kind_name(kind: GgmlDType) -> String {
    format!("{kind:?}").replace('K', "_K")
}

/// Checks that tensors, by their names, offsets and lengths in one file, do not overlap.
pub(crate) fn stand_apart<'a>(tensors: impl Iterator<Item = (&'a str, u64, u64)>) -> Result<()> {
    let mut ranges: Vec<_> = tensors.map(|(name, offset, bytes)| (offset, bytes, name)).collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if let [(start, bytes, name), (next, _, other)] = pair {
            ensure!(
                start + bytes <= *next,
                "tensors {name} and {other} overlap: the file is damaged; download it again"
            );
        }
    }
    Ok(())
}

impl Source {
    /// `path` is the model's file or folder, for messages.
    pub(crate) fn new(
        path: &Path,
        files: Vec<PathBuf>,
        file_bytes: u64,
        tensors: BTreeMap<String, TensorEntry>,
    ) -> Self {
        Self { made_up: false, path: path.to_owned(), files, file_bytes, tensors }
    }

    /// The same tensors with contents made up: nothing is read any more.
    pub(crate) fn made_up(&self) -> Self {
        Self { made_up: true, ..self.clone() }
    }

    /// How long reading all tensors would take, by the time that some bytes of the first file take.
    pub(crate) fn seconds_to_read(&self, bytes: usize, clock: &Clock) -> Result<Seconds> {
        let path = self.files.first().unwrap_or(&self.path);
        let attempt = || format!("reading {}", path.display());
        let mut file = files::open(path).with_context(attempt)?;
        let mut buffer = vec![0; 1 << 20];
        let (start, mut read) = (clock.now(), 0);
        while read < bytes {
            match file.read(&mut buffer).with_context(attempt)? {
                0 => break,
                more => read += more,
            }
        }
        let all: u64 = self.tensors.values().map(|tensor| tensor.bytes).sum();
        Ok(Seconds(clock.since(start).0 * all as f64 / read.max(1) as f64))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size of all files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub(crate) fn tensors(&self) -> &BTreeMap<String, TensorEntry> {
        &self.tensors
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<&TensorEntry> {
        self.tensors.get(name).with_context(|| {
            format!("{} lacks the tensor {name}: download it again, or take another model", self.path.display())
        })
    }

    /// A tensor of which a shape is expected.
    pub(crate) fn shaped(&self, name: &str, shape: &[usize]) -> Result<&TensorEntry> {
        let entry = self.tensor(name)?;
        if entry.shape != shape {
            bail!(
                "{}: tensor {} has the shape {:?}, not {shape:?}: download it again, or take another model",
                self.path.display(),
                entry.stored_as.as_deref().unwrap_or(name),
                entry.shape
            );
        }
        Ok(entry)
    }

    /// The bytes of one tensor. Each call opens the file anew, so that tensors can be read from several threads.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        let entry = self.tensor(name)?;
        self.read_at(name, entry, entry.offset, entry.bytes)
    }

    /// The bytes of some rows of a matrix.
    pub(crate) fn read_rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<u8>> {
        let entry = self.tensor(name)?;
        let row_bytes = entry.bytes / entry.shape.first().map_or(1, |&rows| rows as u64);
        self.read_at(name, entry, entry.offset + rows.start as u64 * row_bytes, rows.len() as u64 * row_bytes)
    }

    fn read_at(&self, name: &str, entry: &TensorEntry, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        if self.made_up {
            return Ok(vec![MADE_UP; usize::try_from(bytes)?]);
        }
        let path = self.files.get(entry.file).unwrap_or(&self.path);
        let attempt = || format!("reading tensor {} of {}", entry.stored_as.as_deref().unwrap_or(name), path.display());
        let mut file = files::open(path).with_context(attempt)?;
        file.seek(SeekFrom::Start(offset)).with_context(attempt)?;
        let mut data = vec![0; usize::try_from(bytes)?];
        file.read_exact(&mut data).with_context(attempt)?;
        Ok(data)
    }
}
