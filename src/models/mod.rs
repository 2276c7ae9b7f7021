//! Which models there are, where their weights come from, and how they get into the local cache.

use crate::error::Result;
use crate::net::Network;
use std::path::PathBuf;

/// Where models are kept and how they may be fetched.
#[derive(Debug, Clone)]
pub struct Store {
    /// The cache folder.
    pub folder: PathBuf,
    /// What may be reached.
    pub network: Network,
}

/// A model whose files are on this machine.
#[derive(Debug, Clone)]
pub struct LocalModel {
    /// The manifest's name, or the file's stem for a path.
    pub name: String,
    /// The weights: a GGUF file, or the folder of a sentence encoder.
    pub path: PathBuf,
    /// SHA-256 of the weights, in hexadecimal.
    pub sha256: String,
}

impl Store {
    /// The store of this user: `$ROUTERGYM_MODELS`, else `routergym-local/models` in the user's cache folder.
    pub fn open(_network: Network) -> Result<Self> {
        todo!()
    }

    /// Finds a model by a manifest's name or a path; fetches it when it is not in the cache, with progress on stderr
    /// unless `quiet`.
    pub fn obtain(&self, _name_or_path: &str, _quiet: bool) -> Result<LocalModel> {
        todo!()
    }
}
