//! What several tests need: the program as a user runs it, the model store, a task in a temporary folder.

use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};

/// The program, with no configuration of the caller's environment.
pub(crate) fn program() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("routergym-local"));
    for (name, _) in std::env::vars() {
        let kept = ["ROUTERGYM_MODELS"].contains(&name.as_str());
        if (name.starts_with("ROUTERGYM_") || name.starts_with("OPENAI_") || name.starts_with("HF_")) && !kept {
            command.env_remove(name);
        }
    }
    command
}

/// A file of the model store. Where it is missing: panics when `ROUTERGYM_REQUIRE_WEIGHTS=1`, else says so and gives
/// `None`, and the test ends there.
pub(crate) fn weights(model: &str, file: &str) -> Option<PathBuf> {
    let store = std::env::var_os("ROUTERGYM_MODELS")
        .map(PathBuf::from)
        .or_else(|| dirs::cache_dir().map(|cache| cache.join("routergym-local/models")))?;
    let path = store.join(model).join(file);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("ROUTERGYM_REQUIRE_WEIGHTS").is_ok_and(|value| value == "1");
    assert!(!required, "{} is missing: run scripts/test, which fetches it", path.display());
    eprintln!("skipped: {} is not in the model store; scripts/test fetches it", path.display());
    None
}

/// Data of other people that lies beside the checkout on some machines; `None`, said so, where it is absent.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not on this machine", path.display());
    None
}

/// Writes files below a folder, making what folders they need.
pub(crate) fn write_files(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Puts other bytes in the place of the first of these in a file; as many, so that what comes after stays where it is.
pub(crate) fn patch(path: &Path, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the bytes are in the file");
    bytes[at..at + to.len()].copy_from_slice(to);
    fs::write(path, bytes).unwrap();
}

/// Standard output of a finished command as text.
pub(crate) fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error of a finished command as text.
pub(crate) fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
