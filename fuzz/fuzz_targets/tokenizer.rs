//! The loader of vocabularies and chat templates, and what they do with a text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routergym_local::nn::fuzzing::fuzz_tokenizer;

fuzz_target!(|bytes: &[u8]| fuzz_tokenizer(bytes));
