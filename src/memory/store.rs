//! The files of an index: parts of plain arrays behind a header that says what they were made of.
//!
//! A file is a magic number, the key of its content, the key of the encoder, the length and CRC-32 of every array, a CRC-32 of
//! this header, and the arrays, in the byte order of the machine. It is input like any other: sizes are held against the
//! file's own before anything is allocated, sums are checked, and whoever takes the arrays checks what they say.

use crate::error::{Context, Result, anyhow, bail, ensure};
use crate::files;
use bytemuck::Pod;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

/// Read on a machine of the other byte order, it is another number.
const MAGIC: u64 = 0x5247_4d45_4d49_4458;
/// Raised with every change of what a part holds, or of how texts are cut and analysed.
const VERSION: u64 = 3;
/// Bytes that one thread reads and sums at a time.
const PIECE: usize = 4 << 20;
/// Arrays of a part at most.
const MOST_ARRAYS: u64 = 16;

/// What something was made of: a SHA-256.
pub(super) type Key = [u8; 32];

/// The key of some named things.
pub(super) fn key(things: &[&[u8]]) -> Key {
    let mut hasher = Sha256::new();
    hasher.update(VERSION.to_le_bytes());
    for thing in things {
        hasher.update((thing.len() as u64).to_le_bytes());
        hasher.update(thing);
    }
    hasher.finalize().into()
}

/// Writes a part whole or not at all.
pub(super) fn write(path: &Path, content: Key, encoder: Key, arrays: &[&[u8]]) -> Result<()> {
    let folder = path.parent().context("an index file without a folder")?;
    let attempt = || format!("writing the index {}", path.display());
    fs::create_dir_all(folder).with_context(attempt)?;
    let mut header = Vec::new();
    header.extend(MAGIC.to_ne_bytes());
    header.extend(content);
    header.extend(encoder);
    header.extend((arrays.len() as u64).to_ne_bytes());
    for array in arrays {
        header.extend((array.len() as u64).to_ne_bytes());
        header.extend(u64::from(crc32fast::hash(array)).to_ne_bytes());
    }
    header.extend(u64::from(crc32fast::hash(&header)).to_ne_bytes());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(attempt)?;
    let mut out = BufWriter::new(&mut file);
    out.write_all(&header).with_context(attempt)?;
    for array in arrays {
        out.write_all(array).with_context(attempt)?;
    }
    out.flush().with_context(attempt)?;
    drop(out);
    file.persist(path).map_err(|error| anyhow!(error.error)).with_context(attempt)?;
    Ok(())
}

/// A part that is open for reading.
pub(super) struct Part {
    file: File,
    /// The key of what it was made of.
    pub(super) content: Key,
    /// The key of the encoder.
    pub(super) encoder: Key,
    /// Length and sum of the arrays that are not read yet, the next one last.
    arrays: Vec<(u64, u64)>,
    /// Where the next array begins.
    at: u64,
}

impl Part {
    /// Opens a part and reads its header; `None` where there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        if !files::exists(path)? {
            return Ok(None);
        }
        let mut file = files::open(path)?;
        let mut header = Vec::new();
        let mut number = |file: &mut File| -> Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact(&mut bytes).context("it is cut short")?;
            header.extend(bytes);
            Ok(u64::from_ne_bytes(bytes))
        };
        ensure!(number(&mut file)? == MAGIC, "it is no index of this program and machine");
        let mut read_key = || -> Result<Key> {
            let mut key = Key::default();
            for part in key.chunks_exact_mut(8) {
                part.copy_from_slice(&number(&mut file)?.to_ne_bytes());
            }
            Ok(key)
        };
        let (content, encoder) = (read_key()?, read_key()?);
        let count = number(&mut file)?;
        ensure!(count <= MOST_ARRAYS, "it says that it has {count} arrays");
        let mut arrays = Vec::new();
        for _ in 0..count {
            arrays.push((number(&mut file)?, number(&mut file)?));
        }
        let sum = u64::from(crc32fast::hash(&header));
        let mut last = [0; 8];
        file.read_exact(&mut last).context("it is cut short")?;
        ensure!(u64::from_ne_bytes(last) == sum, "its header is damaged");
        let promised = arrays.iter().try_fold(header.len() as u64 + 8, |sum, (length, _)| sum.checked_add(*length));
        ensure!(promised == Some(file.metadata()?.len()), "its length is not what its header says");
        arrays.reverse();
        Ok(Some(Self { file, content, encoder, arrays, at: header.len() as u64 + 8 }))
    }

    /// The next array.
    pub(super) fn array<T: Pod>(&mut self) -> Result<Vec<T>> {
        let Some((length, sum)) = self.arrays.pop() else { bail!("an array is missing") };
        let count = length / size_of::<T>() as u64;
        ensure!(count * size_of::<T>() as u64 == length, "an array is cut short");
        let mut values = vec![T::zeroed(); usize::try_from(count)?];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
        // In pieces side by side: most of the time goes into giving memory to the process, piece by piece.
        let pieces = bytes.par_chunks_mut(PIECE).enumerate().map(|(index, piece)| {
            read_at(&self.file, piece, self.at + (index * PIECE) as u64)?;
            let mut sum = crc32fast::Hasher::new();
            sum.update(piece);
            Ok(sum)
        });
        let pieces: Vec<crc32fast::Hasher> = pieces.collect::<io::Result<_>>().context("it is cut short")?;
        let mut whole = crc32fast::Hasher::new();
        for piece in &pieces {
            whole.combine(piece);
        }
        ensure!(u64::from(whole.finalize()) == sum, "its sums are wrong: it is damaged");
        self.at += length;
        Ok(values)
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[count..];
        at += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("index").join("part");
        let numbers = [1_u32, 2, 3];
        write(&path, key(&[b"a"]), key(&[b"b"]), &[bytemuck::cast_slice(&numbers), b"text", b""]).expect("written");
        (folder, path)
    }

    fn read(path: &Path) -> Result<(Vec<u32>, Vec<u8>, Vec<f32>)> {
        let mut part = Part::open(path)?.context("there")?;
        Ok((part.array()?, part.array()?, part.array()?))
    }

    #[test]
    fn a_part_comes_back_as_it_was_written() {
        let (_folder, path) = part();
        let opened = Part::open(&path).expect("opened").expect("there");
        assert_eq!((opened.content, opened.encoder), (key(&[b"a"]), key(&[b"b"])));
        assert_eq!(read(&path).expect("read"), (vec![1, 2, 3], b"text".to_vec(), vec![]));
        assert!(Part::open(&path.with_file_name("other")).expect("looked").is_none());
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_found() {
        let (_folder, path) = part();
        let whole = fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, &damaged).expect("written");
            // Keys are held against what is wanted; the header's sum covers them all the same.
            assert!(read(&path).is_err(), "byte {at}");
            fs::write(&path, &whole[..at]).expect("written");
            assert!(read(&path).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn keys_differ_where_things_do() {
        let keys = [key(&[b"ab"]), key(&[b"a", b"b"]), key(&[b"b"]), key(&[])];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
    }
}
