//! The Hugging Face Hub as a source, through the hf-hub crate and its shared cache.
//!
//! hf-hub sets no time limits of its own. So a short request of ours asks first whether the file can be had at all, and
//! the transfer runs on a thread that is given up when nothing arrives any more; what has arrived stays in the hub's
//! cache, where the next try goes on.

use super::manifest::{Manifest, ModelFile};
use super::place::{adopt, check_size, mismatch};
use super::progress::Progress;
use super::sums::hash_file;
use crate::error::{Context, Result, anyhow, bail, usage};
use crate::net::Network;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use reqwest::{StatusCode, Url, header};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// Polls without a byte after which a transfer counts as dead: one minute.
const STALLED_POLLS: u32 = 600;
const RETRIES: usize = 3;

/// How the hub is reached, and where its cache is.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Its address, `$HF_ENDPOINT` or the public one.
    pub endpoint: String,
    /// The cache that all programs that use the hub share: `$HF_HUB_CACHE`, else `hub` in `$HF_HOME`, else in the user's
    /// cache folder.
    pub cache: PathBuf,
    /// `$HF_TOKEN`, else the token that the hub's own login left beside the cache.
    pub token: Option<String>,
}

impl Hub {
    /// As the environment variables say; `fallback` is the cache folder of a user who has no home.
    #[must_use]
    pub fn from_env(fallback: &Path) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let home = set("HF_HOME").map(PathBuf::from).or_else(|| {
            let caches = set("XDG_CACHE_HOME").map(PathBuf::from);
            caches.or_else(|| Some(dirs::home_dir()?.join(".cache"))).map(|caches| caches.join("huggingface"))
        });
        let cache = set("HF_HUB_CACHE")
            .map(PathBuf::from)
            .or_else(|| home.map(|home| home.join("hub")))
            .unwrap_or_else(|| fallback.join("hub"));
        let cache = std::path::absolute(&cache).unwrap_or(cache);
        let token = set("HF_TOKEN").or_else(|| Cache::new(cache.clone()).token());
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            cache,
            token: token.map(|token| token.trim().to_owned()),
        }
    }
}

/// One repository at one revision.
pub(super) struct HubSource<'a> {
    pub(super) hub: &'a Hub,
    pub(super) network: Network,
    pub(super) repo: &'a str,
    pub(super) revision: Option<&'a str>,
    pub(super) paths: &'a [String],
}

/// What a download is checked against.
#[derive(Debug, Clone)]
struct Wanted {
    url: String,
    repo: Repo,
    path: String,
    file: ModelFile,
}

/// A file in the hub's cache.
struct Arrived {
    path: PathBuf,
    /// The sum that the hub itself gives, where it gives one.
    hub_sum: Option<String>,
}

impl HubSource<'_> {
    /// Fetches the file of this index in the manifest to `target`; returns its sum, checked.
    pub(super) fn fetch(
        &self,
        manifest: &Manifest,
        file: &ModelFile,
        target: &Path,
        progress: Progress,
    ) -> Result<String> {
        let index = manifest.files.iter().position(|other| other.name == file.name).unwrap_or_default();
        let path = self.paths.get(index).unwrap_or(&file.name).clone();
        let revision = self.revision.unwrap_or("main");
        let repo = Repo::with_revision(self.repo.to_owned(), RepoType::Model, revision.to_owned());

        if let Some(cached) = self.cached(&repo, revision, &path) {
            match take(&cached, file, None, target, progress) {
                Ok(sum) => return Ok(sum),
                Err(error) if self.network.is_offline() => return Err(error.context("in the hub's cache")),
                Err(error) => progress.note(&format!("the hub's cache is of no use: {error:#}; downloading anew")),
            }
        }

        let endpoint = self.endpoint()?;
        let host = endpoint.host_str().unwrap_or_default().to_owned();
        self.network.permit(&host, &format!("download {} from the hub", file.name))?;
        let url = format!("{}/{}/resolve/{revision}/{path}", endpoint.as_str().trim_end_matches('/'), self.repo);
        let wanted = Wanted { url, repo, path, file: file.clone() };
        let arrived = self.download(wanted, progress)?;
        take(&arrived.path, file, arrived.hub_sum.as_deref(), target, progress)
    }

    fn endpoint(&self) -> Result<Url> {
        Url::parse(&self.hub.endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
            .ok_or_else(|| {
                usage(format!("HF_ENDPOINT is `{}`: it must be an http:// or https:// address", self.hub.endpoint))
            })
    }

    /// The file in the hub's cache. A commit needs no reference: its snapshot carries its name.
    fn cached(&self, repo: &Repo, revision: &str, path: &str) -> Option<PathBuf> {
        let cache = Cache::new(self.hub.cache.clone()).repo(repo.clone());
        cache.get(path).or_else(|| Some(cache.pointer_path(revision).join(path)).filter(|found| found.exists()))
    }

    /// Runs the transfer on a thread of its own and watches its bytes.
    fn download(&self, wanted: Wanted, progress: Progress) -> Result<Arrived> {
        let bar = progress.bytes(wanted.file.bytes, &format!("{} from the hub", wanted.file.name));
        let counter = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = channel();
        let (hub, network, count) = (self.hub.clone(), self.network, Arc::clone(&counter));
        std::thread::Builder::new()
            .name("hub download".to_owned())
            .spawn(move || {
                // The watcher may have given up; then nobody wants the result.
                let _ = sender.send(transfer(&hub, network, &wanted, count));
            })
            .context("starting the download thread")?;
        let (mut last, mut idle) = (0, 0);
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => bail!("the hub's client failed in an unforeseen way"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = counter.load(Ordering::Relaxed);
            bar.set(now);
            idle = if now == last { idle + 1 } else { 0 };
            last = now;
            if idle > STALLED_POLLS {
                bail!("nothing arrived for {} s; what did is kept for the next try", STALLED_POLLS / 10);
            }
        }
    }
}

/// Asks whether the file can be had, and then has hf-hub download it into the hub's cache.
fn transfer(hub: &Hub, network: Network, wanted: &Wanted, counter: Arc<AtomicU64>) -> Result<Arrived> {
    probe(hub, network, wanted)?;
    let failed = |error: ApiError| anyhow!("downloading {} failed: {error}", wanted.path);
    let api = ApiBuilder::from_cache(Cache::new(hub.cache.clone()))
        .with_endpoint(hub.endpoint.trim_end_matches('/').to_owned())
        .with_token(hub.token.clone())
        .with_retries(RETRIES)
        .with_progress(false)
        .with_user_agent("routergym-local", env!("CARGO_PKG_VERSION"))
        .build()
        .map_err(failed)?;
    let metadata = api.metadata(&wanted.url).map_err(failed)?;
    check_size(&wanted.file, metadata.size() as u64, &format!("{} on the hub", wanted.path))?;
    // Large files carry their SHA-256 as their tag: a wrong one is known before a byte is transferred.
    let hub_sum = Some(metadata.etag()).filter(|tag| tag.len() == 64 && tag.chars().all(|c| c.is_ascii_hexdigit()));
    if let (Some(expected), Some(found)) = (&wanted.file.sha256, hub_sum)
        && expected != found
    {
        bail!("{} on the hub is another file: expected sha256 {expected}, the hub gives {found}", wanted.path);
    }
    let cache = Cache::new(hub.cache.clone()).repo(wanted.repo.clone());
    let blob = cache.blob_path(metadata.etag());
    // hf-hub asks for the bytes after a part file, and a server refuses to send those after the last one.
    let part = blob.with_extension("part");
    if std::fs::metadata(&part).is_ok_and(|part| part.len() >= metadata.size() as u64) {
        super::place::remove_if_there(&part)?;
    }
    let path =
        api.repo(wanted.repo.clone()).download_with_progress(&wanted.path, Counter(counter)).map_err(|error| {
            match error {
                ApiError::IoError(error) => super::place::explain(error, "write into the hub's cache", &hub.cache),
                other => failed(other),
            }
        })?;
    Ok(Arrived { path, hub_sum: hub_sum.map(str::to_owned) })
}

/// A short request that finds out, within seconds, what hf-hub would not say or would wait for.
fn probe(hub: &Hub, network: Network, wanted: &Wanted) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the network runtime")?;
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(ANSWER_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("starting the HTTP client")?;
    let mut request = client.head(&wanted.url);
    if let Some(token) = &hub.token {
        request = request.bearer_auth(token);
    }
    let response = runtime.block_on(async { request.send().await }).map_err(|error| {
        let host = error.url().and_then(Url::host_str).unwrap_or("the hub").to_owned();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        anyhow!("cannot reach {host}: {cause}")
    })?;
    let repo = wanted.repo.url();
    match response.status() {
        status if status.is_success() => Ok(()),
        status if status.is_redirection() => {
            let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            match Url::parse(to).ok().as_ref().and_then(Url::host_str) {
                Some(host) => network.permit(host, &format!("follow the hub to where it keeps {}", wanted.path)),
                None => Ok(()),
            }
        }
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => bail!(
            "the hub answers {} for {repo}: it is gated, private or absent; accept its licence on the hub's page and \
             set HF_TOKEN to a token of that account{}",
            status.as_u16(),
            if hub.token.is_some() { " (the token that is set was refused)" } else { "" }
        ),
        StatusCode::NOT_FOUND => {
            bail!("the hub has no file {} in {repo} at revision {}", wanted.path, wanted.repo.revision())
        }
        status => bail!("the hub answers {status} for {}", wanted.path),
    }
}

/// Hashes a file of the hub's cache and takes it over when it is right.
fn take(cached: &Path, file: &ModelFile, hub_sum: Option<&str>, target: &Path, progress: Progress) -> Result<String> {
    let cached = std::fs::canonicalize(cached).with_context(|| format!("looking at {}", cached.display()))?;
    let found = hash_file(&cached, progress)?;
    if let Some(expected) = hub_sum.filter(|expected| *expected != found) {
        // Not what the hub itself says it is: a broken transfer, which nobody should find in the shared cache.
        super::place::remove_if_there(&cached)?;
        return Err(mismatch(&cached, expected, &found).context("the transfer was damaged"));
    }
    if let Some(expected) = file.sha256.as_deref().filter(|expected| *expected != found) {
        return Err(mismatch(&cached, expected, &found));
    }
    adopt(&cached, target)?;
    Ok(found)
}

/// Counts the bytes of a transfer for the watcher.
struct Counter(Arc<AtomicU64>);

impl hf_hub::api::Progress for Counter {
    fn init(&mut self, _size: usize, _filename: &str) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn update(&mut self, size: usize) {
        self.0.fetch_add(size as u64, Ordering::Relaxed);
    }

    fn finish(&mut self) {}
}
