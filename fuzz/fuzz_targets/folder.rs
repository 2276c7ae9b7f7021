//! The reader of folders of safetensors: the configuration, the header, every tensor, the settings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routergym_local::nn::fuzzing::fuzz_folder;

fuzz_target!(|bytes: &[u8]| fuzz_folder(bytes));
