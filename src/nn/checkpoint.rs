//! The two forms in which a language model lies on disk, and what is wanted of either.

use super::config::Config;
use super::folder::Folder;
use super::gguf::Gguf;
use super::kernels::{Form, TILE};
use super::model::ModelInfo;
use super::source::{Source, TensorEntry, kind_name};
use super::vocabulary::{Vocabulary, has_template};
use crate::error::{Result, ensure};
use crate::units::Bytes;
use candle_core::quantized::GgmlDType;
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

    /// Refuses weights that take more than so much memory, before any of it is taken.
    pub(crate) fn fits(&self, memory: Option<u64>) -> Result<()> {
        let needed: u64 = self.source().tensors().values().map(packed_bytes).sum();
        ensure!(
            memory.is_none_or(|memory| needed <= memory),
            "{}: its weights take {} in memory, more than the {} that there are: take a smaller model, or one that is quantised \
             to fewer bits",
            self.source().path().display(),
            Bytes(needed),
            Bytes(memory.unwrap_or_default())
        );
        Ok(())
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

/// What a tensor takes when it is packed for the CPU (`linear.rs`).
pub(super) fn packed_bytes(tensor: &TensorEntry) -> u64 {
    let form = Form::of(tensor.kind);
    let form = form.or(matches!(tensor.kind, GgmlDType::Q2K | GgmlDType::Q3K).then_some(Form::Q8_0));
    match (form, &tensor.shape[..]) {
        (Some(form), &[rows, columns]) => form.packed_bytes(rows, columns),
        (None, &[rows, columns]) => (rows.next_multiple_of(TILE) * columns * size_of::<f32>()) as u64,
        _ => tensor.elements() * size_of::<f32>() as u64,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::{Family, Stored, write_checkpoint};

    #[test]
    fn weights_that_memory_cannot_hold_are_refused_before_they_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("large.gguf");
        write_checkpoint(&path, Family::Llama, Stored::Q8_0, 1).expect("written");
        let checkpoint = Checkpoint::open(&path).expect("a header");
        let needed: u64 = checkpoint.source().tensors().values().map(packed_bytes).sum();
        assert!(checkpoint.fits(None).is_ok() && checkpoint.fits(Some(needed)).is_ok());
        let error = checkpoint.fits(Some(needed - 1)).expect_err("too large").to_string();
        assert!(error.contains("large.gguf") && error.contains("take a smaller model"), "{error}");
    }
}
