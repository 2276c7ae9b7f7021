//! Rules of the repository that are tests: who imports whom, what every file has, what none may have.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in the order in which they may import one another. `lib.rs` lists them in the same order.
const ROOMS: [&str; 23] = [
    "units", "clock", "error", "files", "net", "device", "nn", "models", "task", "contract", "memory", "safety",
    "router", "engine", "trial", "record", "metrics", "replay", "grid", "report", "serve", "cli", "main",
];
const LONGEST_FILE_LINES: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", ".git", "runs"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if extensions.iter().any(|extension| name.ends_with(extension)) {
                let text = fs::read_to_string(&path).unwrap_or_default();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no files below {}", folder.display());
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    files(&root().join("src"), &[".rs"])
}

fn room_of(path: &Path) -> String {
    let first = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Code without comments, so that prose may name what code may not.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms that a file names after `crate::`, those in `crate::{…}` included.
fn rooms_named(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (index, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && c.is_alphabetic() => {
                        named.push(word(&list[index..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            named.push(word(rest));
        }
    }
    named
}

#[test]
fn a_room_imports_only_rooms_above_it() {
    let position = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        if room == "lib" {
            continue;
        }
        let here = position(&room).unwrap_or_else(|| panic!("{} is in no known room", path.display()));
        for named in rooms_named(&code(&text)) {
            if position(&named).is_some_and(|there| there > here) {
                wrong.push(format!("{} imports {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that run up the rooms:\n{}", wrong.join("\n"));
}

#[test]
fn the_import_rule_sees_nested_lists() {
    assert_eq!(rooms_named("use crate::{record, nn::{Device, chat}, metrics};"), ["record", "nn", "metrics"]);
    assert_eq!(rooms_named("crate::engine::Usage::default()"), ["engine"]);
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not start with a module doc", path.display());
    }
}

#[test]
fn only_nn_names_candle() {
    for (path, text) in sources() {
        let named = code(&text).contains("candle");
        assert!(!named || room_of(&path) == "nn", "{} names candle", path.display());
    }
}

#[test]
fn only_the_remote_engine_and_the_downloader_open_connections() {
    for (path, text) in sources() {
        let opens = ["reqwest", "hf_hub", "TcpStream", "ureq"].iter().any(|name| code(&text).contains(name));
        let allowed = path.starts_with("src/engine") || path.starts_with("src/models");
        // Unit tests of the server may call it.
        let tests_only = code(&text).find("#[cfg(test)]").is_some_and(|at| {
            ["reqwest", "hf_hub", "TcpStream", "ureq"].iter().all(|name| !code(&text)[..at].contains(name))
        });
        assert!(!opens || allowed || tests_only, "{} opens connections", path.display());
    }
}

#[test]
fn nothing_that_answers_reads_the_target_of_what_is_scored() {
    // These read the targets of the train split, to fit a gate and to show worked examples.
    let fitting = ["src/memory/build.rs", "src/trial/prompt.rs"];
    for (path, text) in sources() {
        let room = room_of(&path);
        if path.ends_with("tests.rs") {
            continue;
        }
        if ["memory", "safety", "router", "engine", "contract", "serve", "trial"].contains(&room.as_str()) {
            let code = code(&text);
            let before_tests = code.split("#[cfg(test)]").next().unwrap_or_default();
            let reads = ["target.", ".target", "Target", "Sample"].iter().any(|mark| before_tests.contains(mark));
            if fitting.iter().any(|allowed| path == Path::new(allowed)) {
                let splits = before_tests.matches(".split(Split::").count();
                let train = before_tests.matches(".split(Split::Train)").count();
                assert!(reads && splits == train && !before_tests.contains(".samples"), "{}", path.display());
            } else {
                assert!(!reads, "{} reads a target", path.display());
            }
        }
    }
}

#[test]
fn nothing_is_left_behind() {
    // Written in two parts, so that a search for leftovers does not find the list of what is searched for.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("_GOES", "_HERE"),
        concat!("XX", "X"),
        concat!("#[ig", "nore"),
    ];
    let pages = files(&root(), &[".md"]);
    for (path, text) in sources().into_iter().chain(files(&root().join("tests"), &[".rs"])).chain(pages) {
        if path.ends_with("tidy.rs") {
            continue;
        }
        for mark in marks {
            assert!(!text.contains(mark), "{} holds {mark}", path.display());
        }
    }
}

#[test]
fn files_stay_readable_in_one_sitting() {
    for (path, text) in sources().into_iter().chain(files(&root().join("tests"), &[".rs"])) {
        let lines = text.lines().count();
        assert!(lines <= LONGEST_FILE_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_file_names_a_package_registry_or_a_path_of_one_machine() {
    let hosts =
        [concat!("crates", ".io"), concat!("pypi", ".org"), concat!("npmjs", ".com"), concat!("deb.debian", ".org")];
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let kinds = [".rs", ".toml", ".md", ".py", ".sh", ".mjs", ".json", ".jsonl"];
    for (path, text) in files(&root(), &kinds) {
        for mark in hosts.iter().chain(&places) {
            assert!(!text.contains(mark), "{} names {mark}", path.display());
        }
    }
}
