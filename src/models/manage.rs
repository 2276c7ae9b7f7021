//! What the `models` verb does beside fetching: list, verify, add, remove.

use super::fetch::try_lock;
use super::manifest::{Kind, Manifest, ModelFile, Source, is_model_name};
use super::obtain::files_of;
use super::place::{explain, make_folder, part_of};
use super::progress::Progress;
use super::sums::{Sum, Sums, VERIFIED, hash_file};
use super::{Entry, LocalModel, Store};
use crate::error::{Context, Result, bail, usage};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A known model and what of it is here.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The model.
    pub entry: Entry,
    /// Whether its files are here.
    pub state: CacheState,
    /// Where it is loaded from, when they are.
    pub path: Option<PathBuf>,
}

/// Whether a model's files are here. Only names and sizes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheState {
    /// All files are in the store.
    Cached,
    /// All files are at a path that the manifest names.
    InPlace,
    /// Some files, or an unfinished download.
    Partial,
    /// Nothing.
    Absent,
}

/// What a check of one file found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The file.
    pub path: PathBuf,
    /// The finding.
    pub check: FileCheck,
}

/// The finding about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileCheck {
    /// It has this sum, as it should.
    Right(String),
    /// It has another sum.
    Wrong {
        /// The sum it should have.
        expected: String,
        /// The sum it has.
        found: String,
    },
    /// No sum to compare with is known; this is the one it has.
    Unknown(String),
    /// It is not there.
    Missing,
}

impl FileCheck {
    /// Whether the file is there and nothing speaks against it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Right(_) | Self::Unknown(_))
    }
}

/// What the caller knows of a file that is added.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The family.
    pub architecture: String,
    /// What form the weights have.
    pub kind: Kind,
    /// Context length in tokens.
    pub context_length: u64,
    /// Number of weights.
    pub parameters: Option<u64>,
}

impl Store {
    /// Every known model, by name.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let catalogue = self.catalogue()?;
        Ok(catalogue.entries().map(|entry| self.look_at(entry)).collect())
    }

    /// One known model.
    pub fn look_up(&self, name: &str) -> Result<Listed> {
        let catalogue = self.catalogue()?;
        Ok(self.look_at(catalogue.find(name)?))
    }

    fn look_at(&self, entry: &Entry) -> Listed {
        let manifest = &entry.manifest;
        let folder = self.model_folder(&manifest.name);
        let whole = |file: &ModelFile| {
            let length = std::fs::metadata(folder.join(&file.name)).ok().filter(std::fs::Metadata::is_file);
            length.is_some_and(|metadata| file.bytes.is_none_or(|bytes| bytes == metadata.len()))
        };
        let in_place = manifest.sources.iter().find_map(|source| match source {
            Source::Path { path } if path.exists() => Some(path.clone()),
            _ => None,
        });
        let begun = |file: &ModelFile| {
            let target = folder.join(&file.name);
            target.exists() || part_of(&target).exists()
        };
        let (state, path) = if manifest.files.iter().all(whole) {
            (CacheState::Cached, Some(Self::weights(&folder, manifest)))
        } else if in_place.is_some() {
            (CacheState::InPlace, in_place)
        } else if manifest.files.iter().any(begun) || folder.join("wheels").exists() {
            (CacheState::Partial, None)
        } else {
            (CacheState::Absent, None)
        };
        Listed { entry: entry.clone(), state, path }
    }

    /// Hashes the files of a model anew and compares with the manifest's sums, or with those of the first download.
    pub fn verify(&self, name: &str, quiet: bool) -> Result<Vec<Checked>> {
        let listed = self.look_up(name)?;
        let manifest = &listed.entry.manifest;
        let progress = Progress::new(quiet);
        // A model that was added lies where its manifest says, or is missing there.
        let own_place = match listed.state {
            CacheState::Cached => None,
            CacheState::InPlace => listed.path.as_deref(),
            CacheState::Partial | CacheState::Absent => manifest.added_from(),
        };
        let folder = self.model_folder(name);
        let note = folder.join(VERIFIED);
        let mut sums = if own_place.is_some() { Sums::default() } else { Sums::read(&note) };
        let mut all = Vec::new();
        for file in &manifest.files {
            let path = own_place.map_or_else(|| folder.join(&file.name), |place| manifest.place(file, place));
            let check = check(file, &path, &sums, progress)?;
            match &check {
                // A fresh look is noted, so that a file that was only touched is not hashed at every start.
                FileCheck::Right(sum) => {
                    let source =
                        sums.get(&file.name).map_or("found in the store", |sum| sum.source.as_str()).to_owned();
                    sums.set(&file.name, Sum::of(&path, sum.clone(), &source)?);
                }
                // A wrong file must not be believed again because of an old note; a first-use sum must stay.
                FileCheck::Wrong { .. } if file.sha256.is_some() => sums.forget(&file.name),
                _ => {}
            }
            all.push(Checked { path, check });
        }
        if own_place.is_none() && folder.is_dir() {
            // A store that cannot be written can still be verified.
            let _ = sums.write(&note);
        }
        Ok(all)
    }

    /// Registers a file or a folder of the user's by a manifest; nothing is copied.
    pub fn add(&self, path: &Path, name: Option<&str>, facts: &Facts, quiet: bool) -> Result<Manifest> {
        let path =
            std::fs::canonicalize(path).map_err(|error| usage(format!("cannot add {}: {error}", path.display())))?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => name_from(&path),
        };
        if !is_model_name(&name) {
            return Err(usage(format!("`{name}` is no model name: give one with --name, of a-z, 0-9, `.`, `_`, `-`")));
        }
        let catalogue = self.catalogue()?;
        if let Some(entry) = catalogue.get(&name) {
            let mend = if entry.bundled { "choose another with --name" } else { "remove it first with `models rm`" };
            return Err(usage(format!("there is a model {name} already: {mend}")));
        }
        let progress = Progress::new(quiet);
        let mut files = Vec::new();
        for file in files_of(&path)? {
            let bytes = std::fs::metadata(&file).with_context(|| format!("looking at {}", file.display()))?.len();
            let sha256 = self.sum_of_path(&file, progress)?;
            let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let plain_name = plain(&file_name);
            if path.is_dir() && plain_name != file_name {
                return Err(usage(format!("cannot add {}: the file name `{file_name}` is not plain", path.display())));
            }
            files.push(ModelFile { name: plain_name, bytes: Some(bytes), sha256: Some(sha256) });
        }
        let manifest = Manifest {
            name: name.clone(),
            architecture: facts.architecture.clone(),
            kind: facts.kind,
            licence: "not stated".to_owned(),
            context_length: facts.context_length,
            parameters: facts.parameters,
            files,
            sources: vec![Source::Path { path }],
        };
        let text = toml::to_string(&manifest).context("writing the manifest")?;
        // Whatever cannot be read again must not be written: it would break every later start.
        Manifest::parse(&text, &format!("for {name}"))?;
        let folder = self.manifests();
        make_folder(&folder)?;
        let target = folder.join(format!("{name}.toml"));
        let part = part_of(&target);
        std::fs::write(&part, text).map_err(|error| explain(error, "write", &part))?;
        std::fs::rename(&part, &target).map_err(|error| explain(error, "write", &target))?;
        Ok(manifest)
    }

    /// Removes what the store holds of a model: its folder, and the manifest of one that was added. Files outside the
    /// store stay. Returns what was removed.
    pub fn remove(&self, name: &str) -> Result<Vec<PathBuf>> {
        if !is_model_name(name) {
            return Err(usage(format!(
                "`{name}` is no model name; only what is in the store can be removed, by the name that `models list` shows"
            )));
        }
        let catalogue = self.catalogue()?;
        let entry = catalogue.find(name)?;
        let Some(_lock) = try_lock(self, name)? else {
            bail!("cannot remove {name}: another process is fetching it");
        };
        let mut removed = Vec::new();
        let folder = self.model_folder(name);
        match std::fs::symlink_metadata(&folder) {
            Ok(metadata) if metadata.is_symlink() => {
                bail!("{} is a link to a place outside the store: remove it yourself", folder.display())
            }
            Ok(_) => {
                std::fs::remove_dir_all(&folder).map_err(|error| explain(error, "remove", &folder))?;
                removed.push(folder);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(explain(error, "look at", &folder)),
        }
        if !entry.bundled {
            let manifest = self.manifests().join(format!("{name}.toml"));
            std::fs::remove_file(&manifest).map_err(|error| explain(error, "remove", &manifest))?;
            removed.push(manifest);
        }
        Ok(removed)
    }

    /// A model that is here, without fetching; `None` when it would have to be fetched.
    pub fn here(&self, name_or_path: &str) -> Result<Option<LocalModel>> {
        let catalogue = self.catalogue()?;
        match catalogue.get(name_or_path) {
            Some(entry) if matches!(self.look_at(entry).state, CacheState::Absent | CacheState::Partial) => Ok(None),
            Some(entry) => self.obtain(name_or_path, entry.manifest.kind, true).map(Some),
            None => self.obtain(name_or_path, Kind::Gguf, true).map(Some),
        }
    }
}

fn check(file: &ModelFile, path: &Path, sums: &Sums, progress: Progress) -> Result<FileCheck> {
    if !path.is_file() {
        return Ok(FileCheck::Missing);
    }
    let found = hash_file(path, progress)?;
    Ok(match file.sha256.as_deref().or(sums.get(&file.name).map(|sum| sum.sha256.as_str())) {
        None => FileCheck::Unknown(found),
        Some(expected) if expected == found => FileCheck::Right(found),
        Some(expected) => FileCheck::Wrong { expected: expected.to_owned(), found },
    })
}

fn name_from(path: &Path) -> String {
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let name = name.unwrap_or_default().to_string_lossy().to_lowercase();
    plain(&name).trim_matches(['.', '_', '-', '+']).replace('+', "-")
}

/// A name with everything that a manifest does not take replaced by `-`.
fn plain(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-+".contains(c) { c } else { '-' }).collect();
    name.trim_start_matches('.').to_owned()
}
