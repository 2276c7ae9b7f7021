//! The sentence encoder gives the vectors that sentence-transformers gives (`scripts/fixtures/sentence_fixtures.py`).

use crate::support::weights;
use routergym_local::nn::{Device, DeviceChoice, SentenceEncoder};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Row {
    text: String,
    head: Vec<f64>,
    cosines: Vec<f64>,
}

#[test]
fn minilm_gives_the_vectors_of_sentence_transformers() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoder/all-minilm-l6-v2.json");
    let rows: Vec<Row> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let Some(weights) = weights("all-minilm-l6-v2", "model.safetensors") else { return };
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let encoder = SentenceEncoder::load(weights.parent().unwrap(), &device).unwrap();
    assert_eq!(encoder.dimensions(), 384);

    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let vectors = encoder.encode(&texts).unwrap();
    for (row, vector) in rows.iter().zip(&vectors) {
        for (&value, &wanted) in vector.iter().zip(&row.head) {
            // Were all 384 components so far away, the cosine of the two vectors would still be above 0.9999.
            assert!((f64::from(value) - wanted).abs() < 6e-4, "{:?}: {:?}, not {:?}", row.text, &vector[..8], row.head);
        }
        for (other, &wanted) in vectors.iter().zip(&row.cosines) {
            let cosine: f64 = vector.iter().zip(other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!((cosine - wanted).abs() < 8e-4, "{:?}: cosine {cosine}, not {wanted}", row.text);
        }
    }
}
