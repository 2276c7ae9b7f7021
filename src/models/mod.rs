//! Which models there are, where their weights come from, and how they get into the local cache.
//!
//! A [`Catalogue`] knows models by name: their manifests say what files they have, with sizes and sums, and where these
//! come from. A [`Store`] is the cache folder: one folder a model, and in it the files and a note of their sums
//! (`verified.json`). [`Store::obtain`] is what everybody else calls: a name or a path becomes a [`LocalModel`] whose
//! files are here and have the right sums, fetched if need be.
//!
//! A file appears under its name only when it is whole and right; until then it is called `NAME.part`, and what was
//! downloaded waits in `wheels/` or in the hub's own cache, so that the next try goes on from there.

mod catalogue;
mod fetch;
mod hub;
mod manage;
mod manifest;
mod obtain;
mod place;
mod progress;
mod sums;
mod wheel;

pub use catalogue::{Catalogue, Entry};
pub use hub::Hub;
pub use manage::{CacheState, Checked, Facts, FileCheck, Listed};
pub use manifest::{Join, Kind, Manifest, ModelFile, Source};

use crate::error::{Context, Result};
use crate::net::Network;
use std::fmt;
use std::path::{Path, PathBuf};

/// The manifest's name of the sentence encoder that memories, classifiers and routers look through.
pub const ENCODER: &str = "all-minilm-l6-v2";

/// Where models are kept and how they may be fetched.
#[derive(Debug, Clone)]
pub struct Store {
    /// The cache folder.
    pub folder: PathBuf,
    /// What may be reached.
    pub network: Network,
    /// How the Hugging Face Hub is reached.
    pub hub: Hub,
    /// The Python that runs pip: `$ROUTERGYM_PYTHON`, else `python3`.
    pub python: PathBuf,
}

/// A model whose files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalModel {
    /// The manifest's name, or the file's stem for a path.
    pub name: String,
    /// The weights: a GGUF file, or the folder of a language model or a sentence encoder.
    pub path: PathBuf,
    /// SHA-256 of the weights, in hexadecimal.
    pub sha256: String,
}

/// Which model it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The manifest's name, the file's stem, or what an endpoint calls it.
    pub name: String,
    /// SHA-256 of the weights in hexadecimal, where they are known.
    pub sha256: Option<String>,
}

impl Identity {
    /// Whether both are the same model: the hashes of their weights tell where both are known, else their names.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (&self.sha256, &other.sha256) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.name == other.name,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sha256 {
            // Enough of it to tell two files apart.
            Some(sum) => write!(f, "{} ({}…)", self.name, sum.get(..12).unwrap_or(sum)),
            None => write!(f, "{}", self.name),
        }
    }
}

impl Store {
    /// The store of this user: `$ROUTERGYM_MODELS`, else `routergym-local/models` in the user's cache folder.
    pub fn open(network: Network) -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = set("ROUTERGYM_MODELS")
            .map(PathBuf::from)
            .or_else(|| dirs::cache_dir().map(|caches| caches.join("routergym-local").join("models")))
            .context("this user has no cache folder to keep models in: set ROUTERGYM_MODELS to a folder")?;
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let hub_offline = set("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "true", "yes", "on"].iter().any(|on| value.eq_ignore_ascii_case(on)));
        Ok(Self {
            hub: Hub::from_env(&folder),
            python: set("ROUTERGYM_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from),
            network: Network::new(network.is_offline() || hub_offline),
            folder,
        })
    }

    /// The models that are known by name here.
    pub fn catalogue(&self) -> Result<Catalogue> {
        Catalogue::load(&self.manifests())
    }

    /// The folder of one model.
    fn model_folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder of the manifests that the user added.
    fn manifests(&self) -> PathBuf {
        self.folder.join("manifests")
    }

    /// The note of the sums of files that lie outside the store.
    fn paths_note(&self) -> PathBuf {
        self.folder.join("paths.json")
    }

    /// Where a model is loaded from: its only file, or its folder.
    fn weights(folder: &Path, manifest: &Manifest) -> PathBuf {
        match (manifest.kind, manifest.files.first()) {
            (Kind::Gguf, Some(file)) => folder.join(&file.name),
            _ => folder.to_owned(),
        }
    }
}
