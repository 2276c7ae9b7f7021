//! From a name or a path to a model whose files are here and right.

use super::fetch;
use super::manifest::{Kind, Manifest, ModelFile, Source};
use super::place::mismatch;
use super::progress::Progress;
use super::sums::{Sum, Sums, VERIFIED, hash_file, model_sum};
use super::{Catalogue, Identity, LocalModel, Store};
use crate::error::{Context, Error, Result, usage};
use crate::files;
use std::path::{Path, PathBuf};

impl Store {
    /// Brings a named model of whatever kind into the cache.
    pub fn pull(&self, name: &str, quiet: bool) -> Result<LocalModel> {
        let catalogue = self.catalogue()?;
        self.obtain_named(&catalogue.find(name)?.manifest, Progress::new(quiet))
    }

    /// Finds a model of a kind by a manifest's name or a path; fetches it when it is not in the cache, with progress on stderr
    /// unless `quiet`. Where [`Kind::Gguf`] is wanted, a language model of either form will do.
    pub fn obtain(&self, name_or_path: &str, wanted: Kind, quiet: bool) -> Result<LocalModel> {
        let progress = Progress::new(quiet);
        let catalogue = self.catalogue()?;
        if let Some(entry) = catalogue.get(name_or_path) {
            check_kind(&entry.manifest, wanted)?;
            return self.obtain_named(&entry.manifest, progress);
        }
        let path = Path::new(name_or_path);
        if path.exists() {
            return self.obtain_path(path, progress);
        }
        Err(unknown(&catalogue, name_or_path))
    }

    /// Refuses a name that no manifest has and that is no path either, and a model of another kind; fetches nothing.
    pub fn check_name(&self, name_or_path: &str, wanted: Kind) -> Result<()> {
        let catalogue = self.catalogue()?;
        match catalogue.get(name_or_path) {
            Some(entry) => check_kind(&entry.manifest, wanted),
            None if Path::new(name_or_path).exists() => Ok(()),
            None => Err(unknown(&catalogue, name_or_path)),
        }
    }

    /// Which model a name or a path stands for, without fetching it. The hash of its weights is the one that its manifest gives,
    /// else that of its files where they are here.
    pub fn identify(&self, name_or_path: &str) -> Result<Identity> {
        let catalogue = self.catalogue()?;
        if let Some(entry) = catalogue.get(name_or_path) {
            let sum = |file: &ModelFile| Some((file.name.clone(), file.sha256.clone()?));
            if let Some(sums) = entry.manifest.files.iter().map(sum).collect::<Option<Vec<_>>>() {
                return Ok(Identity { name: entry.manifest.name.clone(), sha256: Some(model_sum(&sums)) });
            }
        }
        let unknown = || Identity { name: name_or_path.to_owned(), sha256: None };
        let here = self.here(name_or_path)?;
        Ok(here.map_or_else(unknown, |model| Identity { name: model.name, sha256: Some(model.sha256) }))
    }

    fn obtain_named(&self, manifest: &Manifest, progress: Progress) -> Result<LocalModel> {
        let folder = self.model_folder(&manifest.name);
        if let Some(model) = ready(manifest, &folder, progress)? {
            return Ok(model);
        }
        if let Some(model) = self.used_in_place(manifest, progress)? {
            return Ok(model);
        }
        let _lock = fetch::lock(self, &manifest.name, progress)?;
        // Whoever held the lock may have fetched it meanwhile.
        if let Some(model) = ready(manifest, &folder, progress)? {
            return Ok(model);
        }
        fetch::fetch(self, manifest, &folder, progress)?;
        ready(manifest, &folder, progress)?
            .with_context(|| format!("the files of {} vanished while they were fetched", manifest.name))
    }

    /// The model, when one of its sources is a path at which its files lie.
    fn used_in_place(&self, manifest: &Manifest, progress: Progress) -> Result<Option<LocalModel>> {
        for source in &manifest.sources {
            let Source::Path { path } = source else { continue };
            let files: Vec<(&ModelFile, PathBuf)> =
                manifest.files.iter().map(|file| (file, manifest.place(file, path))).collect();
            if !files.iter().all(|(_, path)| path.is_file()) {
                continue;
            }
            let mut all = Vec::new();
            for (file, place) in &files {
                let found = self.sum_of_path(place, progress)?;
                if let Some(expected) = file.sha256.as_deref().filter(|expected| *expected != found) {
                    return Err(mismatch(place, expected, &found).context(format!(
                        "a file of the added model {} has changed; {}",
                        manifest.name,
                        manifest.mend()
                    )));
                }
                all.push((file.name.clone(), found));
            }
            let path = match files.as_slice() {
                [(_, only)] if !path.is_dir() => only.clone(),
                _ => path.clone(),
            };
            return Ok(Some(LocalModel { name: manifest.name.clone(), path, sha256: model_sum(&all) }));
        }
        Ok(None)
    }

    /// A GGUF file, or the folder of a language model or an encoder, as it lies.
    fn obtain_path(&self, path: &Path, progress: Progress) -> Result<LocalModel> {
        let path = std::fs::canonicalize(path).with_context(|| format!("looking at {}", path.display()))?;
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let mut all = Vec::new();
        for file in files_of(&path)? {
            let sum = self.sum_of_path(&file, progress)?;
            all.push((file.file_name().unwrap_or_default().to_string_lossy().into_owned(), sum));
        }
        Ok(LocalModel { name, sha256: model_sum(&all), path })
    }

    /// The sum of a file outside the store, computed again only when the file has changed.
    pub(super) fn sum_of_path(&self, path: &Path, progress: Progress) -> Result<String> {
        let key = path.display().to_string();
        let note = self.paths_note();
        if let Some(sum) = Sums::read(&note).get(&key).filter(|sum| sum.is_current(path)) {
            return Ok(sum.sha256.clone());
        }
        let sha256 = hash_file(path, progress)?;
        let sum = Sum::of(path, sha256.clone(), "a path")?;
        let mut sums = Sums::read(&note);
        sums.retain_existing();
        sums.set(&key, sum);
        // A store that cannot be written only means that the file is hashed again next time.
        let _ = sums.write(&note);
        Ok(sha256)
    }
}

/// What to say of a name that is none, or of a path where nothing is.
fn unknown(catalogue: &Catalogue, name_or_path: &str) -> Error {
    let path = Path::new(name_or_path);
    let looks_like_a_path = path.is_absolute()
        || name_or_path.contains(std::path::MAIN_SEPARATOR)
        || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    if looks_like_a_path {
        return usage(format!(
            "there is no model file {}: give the path of a GGUF file or of a model's folder, or a name that \
             `routergym-local models list` shows",
            path.display()
        ));
    }
    catalogue.find(name_or_path).err().unwrap_or_else(|| usage("no such model"))
}

/// Refuses a model that could not be loaded for what it is wanted for, before anything is fetched.
fn check_kind(manifest: &Manifest, wanted: Kind) -> Result<()> {
    let name = &manifest.name;
    match (manifest.kind, wanted) {
        (kind, wanted) if kind == wanted => Ok(()),
        (Kind::Encoder, _) => Err(usage(format!("{name} is a sentence encoder: it cannot generate text"))),
        // Both are language models, and are run alike.
        (Kind::Safetensors, Kind::Gguf) => Ok(()),
        (_, Kind::Encoder) => Err(usage(format!("{name} is a language model, not a sentence encoder"))),
        _ => Err(usage(format!("{name} is stored in a form that cannot be used here"))),
    }
}

/// The model, when all its files are in `folder`; an error when one of them is not what it should be.
fn ready(manifest: &Manifest, folder: &Path, progress: Progress) -> Result<Option<LocalModel>> {
    if !manifest.files.iter().all(|file| folder.join(&file.name).is_file()) {
        return Ok(None);
    }
    let note = folder.join(VERIFIED);
    let mut sums = Sums::read(&note);
    let mut all = Vec::new();
    let mut fresh = false;
    for file in &manifest.files {
        let path = folder.join(&file.name);
        let (sum, hashed) = check_file(file, &path, &sums, "found in the store", progress).with_context(|| {
            format!(
                "the cached model {name} is not what it should be; `routergym-local models verify {name}` checks \
                 it again, `routergym-local models rm {name}` and `routergym-local models pull {name}` replace it",
                name = manifest.name
            )
        })?;
        all.push((file.name.clone(), sum.sha256.clone()));
        if hashed {
            sums.set(&file.name, sum);
            fresh = true;
        }
    }
    if fresh {
        // A store that can be read but not written still works; it is only slower at every start.
        let _ = sums.write(&note);
    }
    let sha256 = model_sum(&all);
    Ok(Some(LocalModel { name: manifest.name.clone(), path: Store::weights(folder, manifest), sha256 }))
}

/// What a folder's loaders read beside the weights.
const BESIDE_WEIGHTS: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
];

/// The files that make up the model at `path`: the GGUF file itself, or all that is read of a folder.
pub(super) fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        files::check(path)?;
        return Ok(vec![path.to_owned()]);
    }
    let items = std::fs::read_dir(path).with_context(|| format!("reading the folder {}", path.display()))?;
    let mut found: Vec<PathBuf> = items
        .filter_map(|item| Some(item.ok()?.path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    found.sort();
    if found.is_empty() || !files::exists(&path.join("config.json"))? {
        return Err(usage(format!(
            "the folder {} is no model: it needs a config.json and a .safetensors file (for a GGUF file, give the path \
             of the file itself)",
            path.display()
        )));
    }
    for name in BESIDE_WEIGHTS {
        let file = path.join(name);
        if files::exists(&file)? {
            found.push(file);
        }
    }
    found.iter().try_for_each(|file| files::check(file))?;
    Ok(found)
}

/// The sum of a file in the store, believed or computed, and whether it was computed; an error when it is the wrong one.
pub(super) fn check_file(
    file: &ModelFile,
    path: &Path,
    sums: &Sums,
    source: &str,
    progress: Progress,
) -> Result<(Sum, bool)> {
    let noted = sums.get(&file.name);
    // A manifest that gives a sum has the last word; else the sum of the first download has it.
    let expected = file.sha256.as_deref().or(noted.map(|sum| sum.sha256.as_str()));
    if let Some(sum) = noted.filter(|sum| Some(sum.sha256.as_str()) == expected && sum.is_current(path)) {
        return Ok((sum.clone(), false));
    }
    let found = hash_file(path, progress)?;
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(mismatch(path, expected, &found));
    }
    if expected.is_none() {
        Progress::warn(&format!("no sum is known of {}: trusting it as found, sha256 {found}", path.display()));
    }
    let source = noted.map_or(source, |sum| sum.source.as_str());
    Ok((Sum::of(path, found, source)?, true))
}
