//! A run that is killed at any moment loses nothing and doubles nothing.

use super::{folder, outputs, trials};
use crate::support::write_files;
use routergym_local::clock::Clock;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Kills in all.
const KILLS: usize = 50;

fn start(folder: &Path, out: &str) -> Child {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("routergym-local"));
    command.current_dir(folder).args(["grid", "grid.toml", "--quiet", "--json", "--out", out]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(folder: &Path, out: &str) {
    let output = start(folder, out).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Whole lines on disk.
fn lines(run: &Path) -> usize {
    fs::read(run.join("trials.jsonl"))
        .map_or(0, |bytes| bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")).count())
}

#[test]
fn fifty_kills_at_random_moments_lose_no_trial_and_double_none() {
    for in_flight in [1, 4] {
        let grid = super::GRID.replace("limit = 12", "limit = 60");
        let folder = folder(&format!("in_flight = {in_flight}\n{grid}"));
        write_files(folder.path(), &[("large.toml", &format!("first_token_ms = 1\n{}", super::LARGE))]);
        let clock = Clock::real();
        let start_of_whole = clock.now();
        finish(folder.path(), "whole");
        // The moments lie within what a whole run takes on this machine, its start included.
        let whole_us = ((clock.since(start_of_whole).0 * 0.8e6) as u64).max(50_000);
        let whole = outputs(&trials(&folder.path().join("whole")));
        assert_eq!(whole.len(), 1440);

        // Xorshift: moments that are spread and the same in every run, as far as the machine is.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64 + in_flight;
        let (mut kills, mut amid, mut number) = (0, 0, 0);
        while kills < KILLS / 2 {
            number += 1;
            let (out, mut before) = (format!("killed-{number}"), 0);
            let run = folder.path().join(&out);
            loop {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let mut child = start(folder.path(), &out);
                std::thread::sleep(Duration::from_micros(state % whole_us));
                let over = child.try_wait().unwrap();
                child.kill().unwrap();
                let status = child.wait().unwrap();
                if over.is_some() || status.success() || kills == KILLS / 2 {
                    break;
                }
                kills += 1;
                let after = lines(&run);
                assert!(after >= before, "what was on disk is gone");
                amid += usize::from(after > before);
                before = after;
            }
            finish(folder.path(), &out);
            assert!(outputs(&trials(&run)) == whole, "the run {out} is another than the whole one");
        }
        assert!(amid >= KILLS / 10, "{amid} of {kills} kills came while trials were written");
    }
}

#[test]
fn a_second_process_on_a_run_is_told_who_works_on_it() {
    let folder = folder(super::GRID);
    write_files(folder.path(), &[("large.toml", &format!("first_token_ms = 2000\n{}", super::LARGE))]);
    let mut first = start(folder.path(), "run");
    let run = folder.path().join("run");
    for _ in 0..500 {
        if run.join("run.json").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = super::grid(folder.path(), "run", &[]);
    super::refused(&second, &["another process works on run", &format!("process {} on ", first.id())]);
    let shown = crate::support::program().current_dir(folder.path()).args(["grid", "status", "run"]).output().unwrap();
    assert!(crate::support::stdout(&shown).contains("running"), "{}", crate::support::stdout(&shown));
    first.kill().unwrap();
    first.wait().unwrap();
    let shown = crate::support::program().current_dir(folder.path()).args(["grid", "status", "run"]).output().unwrap();
    assert!(crate::support::stdout(&shown).contains("ended without a word"), "{}", crate::support::stdout(&shown));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_ends_a_run_with_an_error_and_loses_nothing_of_it() {
    // A limit on the size of files stands for the disk: a write beyond it fails, in the middle of a line.
    let folder = folder(super::GRID);
    let program = assert_cmd::cargo::cargo_bin!("routergym-local");
    let script = format!(
        "trap '' XFSZ; ulimit -f 300; exec {:?} grid grid.toml --quiet --json --out run",
        program.display().to_string()
    );
    let output = Command::new("bash").current_dir(folder.path()).args(["-c", &script]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("is the disk full?") && told.contains("--resume"), "{told}");
    let kept = trials(&folder.path().join("run"));
    assert!(!kept.is_empty() && kept.len() < 288, "{}", kept.len());
    finish(folder.path(), "run");
    assert_eq!(outputs(&trials(&folder.path().join("run"))).len(), 288);
}
