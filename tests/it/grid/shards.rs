//! Parts of the samples run anywhere, and put together.

use super::{GRID, done, folder, grid, outputs, refused, trials};
use crate::support::{program, stderr, stdout, write_files};
use std::fs;
use std::path::Path;
use std::process::Output;

fn merge(folder: &Path, shards: &[&str], out: &str) -> Output {
    program().current_dir(folder).arg("merge").args(shards).args(["--out", out, "--json"]).output().unwrap()
}

#[test]
fn shards_put_together_are_the_whole_whatever_their_order_and_how_often() {
    let folder = folder(GRID);
    let whole = done(&grid(folder.path(), "whole", &[]));
    for shard in ["1", "2", "3"] {
        let part = format!("{shard}/3");
        done(&grid(folder.path(), &format!("shard-{shard}"), &["--shard", &part]));
        assert_eq!(trials(&folder.path().join(format!("shard-{shard}"))).len(), 96);
    }
    let missing = merge(folder.path(), &["shard-3", "shard-1"], "merged");
    assert_eq!(missing.status.code(), Some(1), "{}", stderr(&missing));
    assert!(stderr(&missing).contains("of these shards nothing is there: 2/3"), "{}", stderr(&missing));
    // What is there already may be among the parts, and a shard may be named twice.
    let merged = done(&merge(folder.path(), &["merged", "shard-2", "shard-1"], "merged"));
    let bytes = fs::read(folder.path().join("merged/trials.jsonl")).unwrap();
    assert_eq!(outputs(&trials(&folder.path().join("merged"))), outputs(&trials(&folder.path().join("whole"))));
    for key in ["samples", "models_alone"] {
        assert_eq!(merged[key], whole[key], "{key}");
    }
    let accuracies = |summary: &serde_json::Value| -> Vec<serde_json::Value> {
        summary["policies"].as_array().unwrap().iter().map(|policy| policy["accuracy"].clone()).collect()
    };
    assert_eq!(accuracies(&merged), accuracies(&whole));
    done(&merge(folder.path(), &["shard-2", "shard-3", "shard-1"], "merged"));
    assert_eq!(fs::read(folder.path().join("merged/trials.jsonl")).unwrap(), bytes);
    let report = program().current_dir(folder.path()).args(["report", "merged"]).output().unwrap();
    assert_eq!(report.status.code(), Some(0), "{}", stderr(&report));
    assert!(stdout(&report).contains("What each axis does"), "{}", stdout(&report));
}

#[test]
fn what_does_not_belong_together_is_not_put_together() {
    let folder = folder(GRID);
    done(&grid(folder.path(), "a", &["--shard", "1/2"]));
    done(&grid(folder.path(), "again", &["--shard", "1/2"]));
    done(&grid(folder.path(), "of-three", &["--shard", "2/3"]));
    write_files(folder.path(), &[("grid.toml", &format!("{GRID}[settings]\nthreshold = 0.75\n"))]);
    done(&grid(folder.path(), "other", &["--shard", "2/2"]));
    refused(&merge(folder.path(), &["a", "other"], "m"), &["different runs", "threshold"]);
    refused(&merge(folder.path(), &["a", "of-three"], "m"), &["different runs", "one is of 2 shards, the other of 3"]);
    refused(&merge(folder.path(), &["a", "again"], "m"), &["different trials of one cell and sample"]);
    refused(&merge(folder.path(), &["a", "nowhere"], "m"), &["holds no run"]);
    refused(&merge(folder.path(), &["a"], "other"), &["itself a shard"]);
    assert!(!folder.path().join("m").exists());
    let wrong = grid(folder.path(), "x", &["--shard", "3/2"]);
    refused(&wrong, &["a shard is I/N"]);
}

#[test]
fn a_shard_that_lost_its_end_says_what_is_missing() {
    let folder = folder(GRID);
    for shard in ["1", "2"] {
        done(&grid(folder.path(), &format!("shard-{shard}"), &["--shard", &format!("{shard}/2")]));
    }
    let path = folder.path().join("shard-2/trials.jsonl");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - bytes.len() / 3]).unwrap();
    let output = merge(folder.path(), &["shard-1", "shard-2"], "merged");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("of 144 trials of the shard 2/2 are missing"), "{}", stderr(&output));
    // The shard goes on where it stands, and nothing is missing any more.
    done(&grid(folder.path(), "shard-2", &["--shard", "2/2"]));
    done(&merge(folder.path(), &["shard-1", "shard-2"], "merged"));
}
