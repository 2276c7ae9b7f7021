//! Texts through the sentence encoder, with the time that it took: one side of scripts/speed_vs_encoder.
//!
//!     cargo run --release --example encode -- FOLDER TEXTS.json VECTORS
//!
//! FOLDER holds an encoder, TEXTS.json a list of texts. Their vectors go to VECTORS as single-precision numbers, one after the other; the
//! seconds are printed.

use routergym_local::clock::Clock;
use routergym_local::error::{Context, Result, bail};
use routergym_local::nn::{Device, DeviceChoice, SentenceEncoder};
use std::io::Write as _;
use std::path::Path;

/// Texts that are encoded before time counts.
const WARM_UP: usize = 16;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, texts, vectors] = arguments.as_slice() else { bail!("usage: encode FOLDER TEXTS.json VECTORS") };
    let file = std::fs::read(texts).with_context(|| format!("reading {texts}"))?;
    let texts: Vec<String> = serde_json::from_slice(&file).with_context(|| format!("reading {texts}"))?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let encoder = SentenceEncoder::load(Path::new(folder), &Device::open(DeviceChoice::Cpu)?)?;
    let clock = Clock::real();
    encoder.encode(&texts[..texts.len().min(WARM_UP)])?;
    let start = clock.now();
    let found = encoder.encode(&texts)?;
    let seconds = clock.since(start).0;
    let bytes: Vec<u8> = found.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    std::fs::write(vectors, bytes).with_context(|| format!("writing {vectors}"))?;
    writeln!(std::io::stdout(), "{seconds}")?;
    Ok(())
}
