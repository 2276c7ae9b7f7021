//! Where the tests find real weights.

use std::path::PathBuf;

/// A file of the model store, or none (with a message) where it is missing and may be.
pub(crate) fn find(manifest: &str, file: &str) -> Option<PathBuf> {
    let store = std::env::var_os("ROUTERGYM_MODELS")
        .map(PathBuf::from)
        .or_else(|| dirs::cache_dir().map(|cache| cache.join("routergym-local").join("models")))?;
    let path = store.join(manifest).join(file);
    if path.is_file() {
        return Some(path);
    }
    let required = std::env::var_os("ROUTERGYM_REQUIRE_WEIGHTS").is_some_and(|value| value == "1");
    assert!(!required, "{} is missing and ROUTERGYM_REQUIRE_WEIGHTS=1 requires it", path.display());
    eprintln!("skipped: {} is missing; `scripts/test` pulls it", path.display());
    None
}
