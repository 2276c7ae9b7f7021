//! The two forms in which a language model lies on disk, and what is wanted of either.

use super::config::Config;
use super::folder::Folder;
use super::gguf::Gguf;
use super::model::ModelInfo;
use super::source::{Source, TensorEntry, kind_name};
use super::vocabulary::{Vocabulary, has_template};
use crate::error::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// A model whose headers have been read.
pub(crate) enum Checkpoint {
    Gguf(Gguf),
    Folder(Box<Folder>),
}

impl Checkpoint {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(if path.is_dir() { Self::Folder(Box::new(Folder::open(path)?)) } else { Self::Gguf(Gguf::open(path)?) })
    }

    pub(crate) fn config(&self) -> Result<Config> {
        match self {
            Self::Gguf(file) => Config::read(file),
            Self::Folder(folder) => Ok(folder.config().clone()),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        match self {
            Self::Gguf(file) => file.source(),
            Self::Folder(folder) => folder.source(),
        }
    }

    pub(crate) fn vocabulary(&self) -> Result<Vocabulary> {
        match self {
            Self::Gguf(file) => Vocabulary::read(file),
            Self::Folder(folder) => folder.vocabulary(),
        }
    }

    /// What it says of itself.
    pub(crate) fn describe(&self, config: &Config) -> ModelInfo {
        let source = self.source();
        let (architecture, name, has_chat_template) = match self {
            Self::Gguf(file) => {
                let text = |key: &str| file.text(key).ok().flatten().map(str::to_owned);
                (text("general.architecture").unwrap_or_default(), text("general.name"), has_template(file))
            }
            Self::Folder(folder) => (folder.architecture().to_owned(), None, folder.has_template()),
        };
        let own_name = || {
            let name = if source.path().is_dir() { source.path().file_name() } else { source.path().file_stem() };
            name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        };
        ModelInfo {
            architecture,
            name: name.unwrap_or_else(own_name),
            context_length: config.context_length,
            vocabulary: config.vocabulary,
            layers: config.layers,
            parameters: source.tensors().values().map(TensorEntry::elements).sum(),
            tensor_types: tensor_types(source),
            file_bytes: source.file_bytes(),
            has_chat_template,
        }
    }
}

fn tensor_types(source: &Source) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for tensor in source.tensors().values() {
        *kinds.entry(kind_name(tensor.kind)).or_default() += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    kinds.iter().map(|(kind, count)| format!("{kind} x {count}")).collect::<Vec<_>>().join(", ")
}
