//! Time and memory of an index of many passages: words for real, vectors of noise (an encoder would take hours).
//!
//!     cargo run --release --example memory_scale -- PASSAGES [FOLDER]
//!
//! With FOLDER the index is kept there: the second run loads it.

use routergym_local::clock::Clock;
use routergym_local::device::peak_memory;
use routergym_local::error::{Context, Result};
use routergym_local::memory::{Embed, Encoder, Kept, Opened, Retriever, RetrieverKind, Source, open_index};
use routergym_local::task::Article;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

const WIDTH: usize = 384;
const WORDS: u64 = 100;
const VOCABULARY: f64 = 200_000.0;

/// A vector of noise for each text, the same for the same text.
struct Noise;

impl Embed for Noise {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let of = |text: &&str| {
            let mut state = text.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
            let values: Vec<f32> = (0..WIDTH).map(|_| (next(&mut state) - 0.5) as f32).collect();
            let norm = values.iter().map(|x| x * x).sum::<f32>().sqrt();
            values.iter().map(|x| x / norm).collect()
        };
        Ok(texts.iter().map(of).collect())
    }
}

/// A number between 0 and 1.
fn next(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}

/// Words as rare as those of a language: the n-th is about 1 / n as frequent as the first.
fn text(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..WORDS).fold(String::new(), |mut text, _| {
        let _ = write!(text, "w{} ", VOCABULARY.powf(next(&mut state)) as u64);
        text
    })
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let passages: u64 = arguments.next().context("usage: memory_scale PASSAGES [FOLDER]")?.parse()?;
    let folder = arguments.next().map(PathBuf::from);
    let (clock, mut out) = (Clock::real(), std::io::stdout());
    let article = |n: u64| Article { id: format!("p{n}"), title: String::new(), text: text(n) };
    let articles = || Ok(((0..passages).map(article).collect(), Vec::new()));
    let source = Source { fingerprint: passages.to_string(), articles: &articles, most_words: 512 };
    let encoder = Some(Encoder { embed: &Noise, sha256: "noise" });
    let kinds = [RetrieverKind::Bm25, RetrieverKind::Dense, RetrieverKind::Hybrid];
    let kept = folder.as_deref().map(|folder| Kept { folder, fresh: false });
    let start = clock.now();
    let (index, opening) = open_index(&source, &kinds[..2], encoder, kept, &clock, &mut |_, _| ())?;
    let sum = |of: &dyn Fn(&Opened) -> f64| opening.parts.iter().map(of).sum::<f64>();
    writeln!(
        out,
        "{} passages in {:.2} s: loading {:.3} s, reading and indexing words {:.2} s, vectors {:.2} s",
        index.len(),
        clock.since(start).0,
        sum(&|part| part.load_s.0),
        sum(&|part| if part.is_of_vectors() { 0.0 } else { part.build_s.0 }),
        sum(&|part| if part.is_of_vectors() { part.build_s.0 } else { 0.0 })
    )?;
    for kind in &kinds[..2] {
        let retriever = Retriever::new(*kind, Arc::clone(&index), Some(Arc::new(Noise)));
        let mut times: Vec<f64> = Vec::new();
        for n in 0..51 {
            let query = text(passages + n).split(' ').take(8).collect::<Vec<_>>().join(" ");
            let vectors = retriever.embed(&[&query])?;
            let start = clock.now();
            let hits = retriever.search(&query, vectors.first().and_then(|vector| vector.as_deref()), 10)?;
            times.push(clock.since(start).0 * 1e3);
            assert!(hits.len() == 10 || passages < 10);
        }
        times.sort_by(f64::total_cmp);
        writeln!(out, "{}: {:.2} ms a search at the median, {:.2} ms at most", kind.name(), times[25], times[50])?;
    }
    if let Some(bytes) = peak_memory() {
        writeln!(out, "peak memory {:.2} GiB", bytes as f64 / f64::from(1 << 30))?;
    }
    Ok(())
}
