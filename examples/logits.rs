//! Logits, greedy continuations and log-probabilities of a model file, for comparison with other implementations
//! (`scripts/parity`).
//!
//!     cargo run --release --example logits -- MODEL.gguf REQUEST.json OUT [DEVICE]
//!
//! The request is `{"prompts": [text, ...], "steps": N, "text": text, "context": N}`. Written are `OUT.json`, with the token
//! ids and the greedy continuation of each prompt and the log-probability of each token of the text (but the first) in
//! windows of `context` tokens, and `OUT.logits`, the logits of the last position of each prompt as little-endian floats.

use routergym_local::clock::Clock;
use routergym_local::nn::{Device, DeviceChoice, GenerateOptions, LanguageModel, LoadOptions};
use serde::Deserialize;
use serde_json::json;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Request {
    prompts: Vec<String>,
    steps: usize,
    text: String,
    context: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, request, out, device) = match arguments.as_slice() {
        [model, request, out] => (model, request, out, DeviceChoice::Cpu),
        [model, request, out, device] => (model, request, out, device.parse()?),
        _ => return Err("usage: logits MODEL.gguf REQUEST.json OUT [DEVICE]".into()),
    };
    let out = PathBuf::from(out);
    let request: Request = serde_json::from_slice(&std::fs::read(request)?)?;
    let mut model = LanguageModel::load(Path::new(model), &Device::open(device)?, &LoadOptions::default())?;
    let options = GenerateOptions { max_tokens: request.steps, ..GenerateOptions::default() };
    let mut logits = std::io::BufWriter::new(std::fs::File::create(out.with_extension("logits"))?);
    let mut prompts = Vec::new();
    for prompt in &request.prompts {
        let tokens = model.tokenize(prompt)?;
        for logit in model.logits(&tokens)? {
            logits.write_all(&logit.to_le_bytes())?;
        }
        let generated = model.generate(&tokens, &options, &Clock::real(), &mut |_| ControlFlow::Continue(()))?;
        let continuation: Vec<u32> = generated.tokens.iter().map(|token| token.id).collect();
        prompts.push(json!({ "tokens": tokens, "continuation": continuation }));
    }
    logits.flush()?;
    let text = model.tokenize(&request.text)?;
    let mut logprobs = Vec::new();
    for window in text.chunks(request.context).filter(|window| window.len() > 1) {
        logprobs.extend(model.logprobs(window)?);
    }
    let all = json!({ "prompts": prompts, "text": text, "logprobs": logprobs });
    std::fs::write(out.with_extension("json"), serde_json::to_vec(&all)?)?;
    Ok(())
}
