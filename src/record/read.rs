//! Reading a run back.

use super::{FORMAT, RunHeader, TrialRecord};
use crate::error::{Context, Error, Result, usage};
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Longer lines are not trials of this program.
const LONGEST_LINE_BYTES: u64 = 64 << 20;
/// A header is no larger.
const LARGEST_HEADER_BYTES: u64 = 256 << 20;
/// Lines are parsed in blocks of at most so many bytes, or of one line: what is parsed and not yet used is bounded.
const BLOCK_BYTES: usize = 8 << 20;

/// A run read from its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The header.
    pub header: RunHeader,
    /// The trials, in the order of work.
    pub trials: Vec<TrialRecord>,
    /// Whether the last line was torn by a crash and left out.
    pub torn: bool,
}

/// Where a record stands in its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Byte at which its line begins.
    pub offset: u64,
    /// Bytes of its line.
    pub length: u32,
}

/// Reads `run.json` and `trials.jsonl` of a run's folder.
pub fn read(folder: &Path) -> Result<Run> {
    let header = read_header(folder)?;
    let mut trials = Vec::new();
    let torn = each_trial(folder, |trial, _| trial, |trial| trials.push(trial))?;
    Ok(Run { header, trials, torn })
}

/// Reads `run.json` of a run's folder.
pub fn read_header(folder: &Path) -> Result<RunHeader> {
    let path = folder.join("run.json");
    let mut text = String::new();
    File::open(&path).and_then(|file| file.take(LARGEST_HEADER_BYTES).read_to_string(&mut text)).map_err(|error| {
        usage(format!("{} holds no run: cannot read {}: {error}", folder.display(), path.display()))
    })?;
    parse_header(&text).with_context(|| format!("reading {}", path.display()))
}

/// Goes through `trials.jsonl` of a run's folder: `make` turns each trial into what is wanted of it, on several threads;
/// `take` gets that in the order of work. So a run of any size is read in little memory. Tells whether the last line was torn
/// by a crash and left out.
pub fn each_trial<T: Send>(
    folder: &Path,
    make: impl Fn(TrialRecord, Place) -> T + Sync,
    mut take: impl FnMut(T),
) -> Result<bool> {
    let path = folder.join("trials.jsonl");
    let file = File::open(&path).map_err(|error| {
        usage(format!("{} holds no whole run: cannot read {}: {error}", folder.display(), path.display()))
    })?;
    parse_trials(BufReader::with_capacity(1 << 20, file), &make, &mut take)
        .with_context(|| format!("reading {}", path.display()))
}

/// Reads single trials again, in the order of their places given.
pub fn read_at(folder: &Path, places: &[Place]) -> Result<Vec<TrialRecord>> {
    let path = folder.join("trials.jsonl");
    let mut file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let mut one = |place: &Place| -> Result<TrialRecord> {
        file.seek(SeekFrom::Start(place.offset))?;
        let mut line = Vec::new();
        (&mut file).take(u64::from(place.length)).read_to_end(&mut line)?;
        Ok(serde_json::from_slice(&line)?)
    };
    places
        .iter()
        .map(|place| {
            one(place).with_context(|| format!("reading byte {} of {}: did it change?", place.offset, path.display()))
        })
        .collect()
}

fn parse_header(text: &str) -> Result<RunHeader> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| usage(format!("it is not the header of a run: {error}")))?;
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    match format {
        Some(format) if format <= u64::from(FORMAT) => {}
        Some(format) => {
            return Err(usage(format!(
                "its format is {format} and this program reads up to {FORMAT}: use a newer routergym-local"
            )));
        }
        None => return Err(usage("it has no format number, so it is not the header of a run")),
    }
    serde_json::from_value(value).map_err(|error| usage(format!("it is not the header of a run: {error}")))
}

/// A line of the file.
struct Line {
    number: usize,
    offset: u64,
    bytes: Vec<u8>,
}

fn parse_trials<T: Send>(
    mut reader: impl BufRead,
    make: &(impl Fn(TrialRecord, Place) -> T + Sync),
    take: &mut impl FnMut(T),
) -> Result<bool> {
    let (mut number, mut offset) = (0, 0);
    loop {
        let (mut block, mut size) = (Vec::new(), 0);
        while size < BLOCK_BYTES {
            let mut bytes = Vec::new();
            (&mut reader).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            number += 1;
            let length = bytes.len();
            block.push(Line { number, offset, bytes });
            offset += length as u64;
            size += length;
        }
        if block.is_empty() {
            return Ok(false);
        }
        let parsed: Vec<Result<Option<T>>> = block.into_par_iter().map(|line| parse(line, make)).collect();
        for made in parsed {
            match made? {
                Some(made) => take(made),
                None => return Ok(true),
            }
        }
    }
}

/// What becomes of a line; `None` where it is the torn end of the file.
fn parse<T>(line: Line, make: &impl Fn(TrialRecord, Place) -> T) -> Result<Option<T>> {
    let Line { number, offset, bytes } = line;
    if bytes.len() as u64 == LONGEST_LINE_BYTES {
        return Err(usage(format!(
            "line {number} is longer than {} MiB, so it is not a trial",
            LONGEST_LINE_BYTES >> 20
        )));
    }
    // No line is longer than four bytes can count.
    let place = Place { offset, length: bytes.len() as u32 };
    match serde_json::from_slice(&bytes) {
        Ok(trial) => Ok(Some(make(trial, place))),
        // Only a line without its end can be torn; a whole line that does not parse is damage.
        Err(_) if bytes.last() != Some(&b'\n') => Ok(None),
        Err(error) => Err(not_a_trial(number, &error)),
    }
}

fn not_a_trial(number: usize, error: &serde_json::Error) -> Error {
    usage(format!("line {number} is not a trial: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8]) -> Result<(usize, bool)> {
        let mut count = 0;
        let torn = parse_trials(text, &|_, _| (), &mut |()| count += 1)?;
        Ok((count, torn))
    }

    #[test]
    fn a_torn_end_is_left_out_and_damage_within_is_an_error_that_names_its_line() {
        assert_eq!(parsed(b"").unwrap(), (0, false));
        assert_eq!(parsed(b"{\"cell\": \"x").unwrap(), (0, true));
        let error = parsed(b"{\"cell\": \"x\n{}\n").unwrap_err();
        assert!(format!("{error:#}").contains("line 1 is not a trial"), "{error:#}");
    }

    #[test]
    fn a_line_without_an_end_is_refused_and_not_taken_for_a_torn_one() {
        let endless = vec![b' '; (LONGEST_LINE_BYTES + 1) as usize];
        let error = parsed(&endless).unwrap_err();
        assert!(format!("{error:#}").contains("line 1 is longer than 64 MiB"), "{error:#}");
    }
}
