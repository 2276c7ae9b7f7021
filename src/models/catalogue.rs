//! The models that are known by name: the manifests inside the program, and those that the user added.

use super::manifest::Manifest;
use crate::error::{Context, Error, Result, bail, usage};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::Path;

macro_rules! bundled {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../models/", $name, ".toml")))),*]
    };
}

/// The manifests inside the program: (name, text).
const BUNDLED: [(&str, &str); 14] = bundled![
    "smollm2-135m-instruct",
    "qwen2.5-coder-0.5b-instruct",
    "qwen2.5-coder-1.5b-instruct",
    "gemma-3-270m",
    "all-minilm-l6-v2",
    "phi-3-mini-4k-instruct",
    "phi-3-mini-4k-instruct-safetensors",
    "mistral-7b-instruct-v0.3",
    "mistral-7b-instruct-v0.3-safetensors",
    "llama-3.2-1b-instruct",
    "llama-3.2-3b-instruct",
    "qwen2.5-1.5b-instruct",
    "qwen3-1.7b",
    "gemma-3-1b-it",
];

/// A manifest is a page of text; a larger file is something else.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// Every model that is known by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
}

/// One known model.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its manifest.
    pub manifest: Manifest,
    /// Whether the manifest is part of the program, rather than added by the user.
    pub bundled: bool,
}

impl Catalogue {
    /// The bundled manifests and those in the folder `added` (which need not exist).
    pub fn load(added: &Path) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (name, text) in BUNDLED {
            let manifest = Manifest::parse(text, &format!("{name} (part of the program)"))?;
            entries.insert(name.to_owned(), Entry { manifest, bundled: true });
        }
        let folder = match std::fs::read_dir(added) {
            Ok(folder) => folder,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self { entries }),
            Err(error) => return Err(error).with_context(|| format!("reading the folder {}", added.display())),
        };
        for item in folder {
            let path = item.with_context(|| format!("reading the folder {}", added.display()))?.path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let manifest = read_manifest(&path)?;
            if path.file_stem().is_none_or(|stem| stem != manifest.name.as_str()) {
                return Err(usage(format!(
                    "the model manifest {} names the model `{}`: the file must be called {}.toml",
                    path.display(),
                    manifest.name,
                    manifest.name
                )));
            }
            if entries.contains_key(&manifest.name) {
                return Err(usage(format!(
                    "the model manifest {} takes the name of a model that the program brings: rename or remove it",
                    path.display()
                )));
            }
            entries.insert(manifest.name.clone(), Entry { manifest, bundled: false });
        }
        Ok(Self { entries })
    }

    /// All entries by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The entry of this name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The entry of this name; else an error that says which names are near.
    pub fn find(&self, name: &str) -> Result<&Entry> {
        self.get(name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> Error {
        let near = self.near(name);
        let hint = if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) };
        usage(format!(
            "there is no model `{name}`, and no file of that name: {hint}`routergym-local models list` shows all, \
             `routergym-local models add PATH` adds yours"
        ))
    }

    fn near(&self, name: &str) -> Vec<&str> {
        let wanted = name.to_lowercase();
        let mut ranked: Vec<(usize, &str)> = self
            .entries
            .keys()
            .filter_map(|known| {
                let contained = wanted.len() >= 3 && known.contains(&wanted);
                let distance = if contained { 1 } else { edit_distance(&wanted, known) };
                (distance <= 2 + known.len() / 6).then_some((distance, known.as_str()))
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().take(3).map(|(_, known)| known).collect()
    }
}

fn read_manifest(path: &Path) -> Result<Manifest> {
    let file = std::fs::File::open(path).with_context(|| format!("opening the model manifest {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(MANIFEST_LIMIT + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading the model manifest {}", path.display()))?;
    if bytes.len() as u64 > MANIFEST_LIMIT {
        bail!("the model manifest {} is larger than {MANIFEST_LIMIT} bytes: that is no manifest", path.display());
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| usage(format!("the model manifest {} is not UTF-8 text", path.display())))?;
    Manifest::parse(&text, &path.display().to_string())
}

/// Levenshtein's distance between two short names.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().take(200).enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = *cell;
            last = replaced.min(diagonal + 1).min(last + 1);
            *cell = last;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{Kind, Source};
    use super::*;

    fn bundled() -> Catalogue {
        Catalogue::load(Path::new("no such folder")).unwrap()
    }

    #[test]
    fn every_bundled_manifest_is_read_under_its_own_name_and_has_a_hub_source() {
        let catalogue = bundled();
        assert_eq!(catalogue.entries().count(), BUNDLED.len());
        for (name, _) in BUNDLED {
            let manifest = &catalogue.find(name).unwrap().manifest;
            assert_eq!(manifest.name, name);
            assert!(manifest.sources.iter().any(|source| matches!(source, Source::Hub { .. })), "{name}");
        }
    }

    #[test]
    fn the_five_models_of_the_tests_are_pinned_and_can_come_as_wheels() {
        let catalogue = bundled();
        for (name, bytes, kind) in [
            ("smollm2-135m-instruct", 98_362_432, Kind::Gguf),
            ("qwen2.5-coder-0.5b-instruct", 491_400_064, Kind::Gguf),
            ("qwen2.5-coder-1.5b-instruct", 1_117_320_768, Kind::Gguf),
            ("gemma-3-270m", 253_113_024, Kind::Gguf),
            ("all-minilm-l6-v2", 90_868_376 + 466_247 + 612 + 350 + 112 + 53 + 349 + 190, Kind::Encoder),
        ] {
            let manifest = &catalogue.find(name).unwrap().manifest;
            assert_eq!(manifest.bytes(), Some(bytes), "{name}");
            assert_eq!(manifest.kind, kind, "{name}");
            assert!(manifest.files.iter().all(|file| file.sha256.is_some()), "{name}");
            assert!(manifest.sources.iter().any(|source| matches!(source, Source::Wheel { .. })), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_near_ones() {
        let error = bundled().find("smollm2-135m-instuct").unwrap_err();
        assert_eq!(crate::error::ExitStatus::of(&error), crate::error::ExitStatus::Usage);
        let text = error.to_string();
        assert!(text.contains("did you mean smollm2-135m-instruct?") && text.contains("models list"), "{text}");
        assert!(bundled().find("phi").unwrap_err().to_string().contains("phi-3-mini-4k-instruct"));
        assert!(!bundled().find("zzzzzzzzzzzz").unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn edit_distance_counts_changes() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
    }

    #[test]
    fn an_added_manifest_must_carry_its_own_and_a_new_name() {
        let folder = tempfile::tempdir().unwrap();
        let text = BUNDLED[0].1;
        std::fs::write(folder.path().join("smollm2-135m-instruct.toml"), text).unwrap();
        assert!(Catalogue::load(folder.path()).unwrap_err().to_string().contains("takes the name"));
        std::fs::rename(folder.path().join("smollm2-135m-instruct.toml"), folder.path().join("other.toml")).unwrap();
        assert!(Catalogue::load(folder.path()).unwrap_err().to_string().contains("must be called"));
        std::fs::write(folder.path().join("other.toml"), [0xff, 0xfe]).unwrap();
        assert!(Catalogue::load(folder.path()).unwrap_err().to_string().contains("not UTF-8"));
    }
}
