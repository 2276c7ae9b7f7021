//! The reader of GGUF files: headers, the description of the model, and every tensor.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routergym_local::nn::fuzzing::fuzz_gguf;

fuzz_target!(|bytes: &[u8]| fuzz_gguf(bytes));
