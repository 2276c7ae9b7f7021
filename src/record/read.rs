//! Reading a run back.

use super::{FORMAT, RunHeader, TrialRecord};
use crate::error::{Context, Result, usage};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Longer lines are not trials of this program.
const LONGEST_LINE_BYTES: u64 = 64 << 20;

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

/// Reads `run.json` and `trials.jsonl` of a run's folder.
pub fn read(folder: &Path) -> Result<Run> {
    let path = folder.join("run.json");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        usage(format!("{} holds no run: cannot read {}: {error}", folder.display(), path.display()))
    })?;
    let header: RunHeader = parse_header(&text).with_context(|| format!("reading {}", path.display()))?;
    let path = folder.join("trials.jsonl");
    let file = File::open(&path).map_err(|error| {
        usage(format!("{} holds no whole run: cannot read {}: {error}", folder.display(), path.display()))
    })?;
    let (trials, torn) = parse_trials(BufReader::new(file)).with_context(|| format!("reading {}", path.display()))?;
    Ok(Run { header, trials, torn })
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

fn parse_trials(mut reader: impl BufRead) -> Result<(Vec<TrialRecord>, bool)> {
    let mut trials = Vec::new();
    for number in 1.. {
        let mut line = Vec::new();
        let read = (&mut reader).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(trial) => trials.push(trial),
            // Only a line without its end can be torn; a whole line that does not parse is damage.
            Err(_) if line.last() != Some(&b'\n') => return Ok((trials, true)),
            Err(error) => return Err(usage(format!("line {number} is not a trial: {error}"))),
        }
    }
    Ok((trials, false))
}
