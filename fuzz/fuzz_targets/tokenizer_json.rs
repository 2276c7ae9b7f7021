//! The reader of `tokenizer.json` files, and what it does with a text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routergym_local::nn::fuzzing::fuzz_tokenizer_json;
use std::sync::Once;

fuzz_target!(|bytes: &[u8]| {
    // The fuzzer ends at any panic, also at one that is caught: those of other packages are, and become errors. One that is
    // not caught ends it all the same.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let end = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.location().is_some_and(|place| place.file().contains("registry")) {
                end(panic);
            }
        }));
    });
    fuzz_tokenizer_json(bytes);
});
