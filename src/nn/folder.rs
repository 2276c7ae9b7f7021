//! A folder with a language model as the Hugging Face Hub keeps them: `config.json`, `tokenizer.json` and safetensors,
//! in one file or in the shards of an index.
//!
//! It is read into what a GGUF file is read into, so that the same decoder runs it: a [`Config`], a [`Source`] of tensors
//! under the decoder's names, and a [`Vocabulary`].

mod config;
mod header;
mod json;
mod names;
mod rope;
#[cfg(test)]
mod tests;
mod vocabulary;

use super::config::Config;
use super::source::Source;
use super::vocabulary::Vocabulary;
use crate::error::Result;
use json::Object;
use std::path::{Path, PathBuf};

/// Real configurations take a few kilobytes.
const LONGEST_CONFIG: u64 = 1 << 20;

/// The families as `model_type` tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Phi3,
    Gemma3,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Phi3 => "phi3",
            Self::Gemma3 => "gemma3",
        }
    }
}

/// Refuses a file of safetensors whose header is not right.
pub(crate) fn check_weights(path: &Path) -> Result<()> {
    header::Header::open(path).map(|_| ())
}

/// A folder whose configuration and headers have been read.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    file: Object,
    family: Family,
    config: Config,
    source: Source,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = Object::read(&path.join("config.json"), LONGEST_CONFIG)?;
        let family = config::family(&file)?;
        let source = names::source(path, family, config::layers(&file)?, config::tied(&file, family)?)?;
        let config = config::read(&file, family, &source)?;
        Ok(Self { path: path.to_owned(), file, family, config, source })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Where the tensors lie.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn architecture(&self) -> &'static str {
        self.family.name()
    }

    pub(crate) fn vocabulary(&self) -> Result<Vocabulary> {
        vocabulary::read(&self.path, &self.file, self.config.vocabulary)
    }

    /// Whether the folder has a chat template.
    pub(crate) fn has_template(&self) -> bool {
        vocabulary::template(&self.path).is_ok_and(|template| template.is_some())
    }
}
