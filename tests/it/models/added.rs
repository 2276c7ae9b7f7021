//! Models that were added by path: what is said when their files change or go away.

use super::{HUB, World, payload, sha256};
use routergym_local::error::ExitStatus;
use routergym_local::models::{Facts, Kind};
use serde_json::{Value, json};
use std::path::PathBuf;

fn facts(kind: Kind) -> Facts {
    Facts { architecture: "llama".into(), kind, context_length: 64, parameters: None }
}

fn added_file(world: &World) -> PathBuf {
    let path = std::fs::canonicalize(world.folder.path()).unwrap().join("weights.gguf");
    std::fs::write(&path, "abc").unwrap();
    world.store.add(&path, Some("mine"), &facts(Kind::Gguf), true).unwrap();
    path
}

fn json_of(world: &World, arguments: &[&str]) -> (ExitStatus, Value) {
    let (status, text) = world.cli(arguments);
    (status.unwrap(), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}")))
}

#[test]
fn a_changed_folder_is_mended_by_commands_that_work() {
    let world = World::new("http://127.0.0.1:9");
    let folder = std::fs::canonicalize(world.folder.path()).unwrap().join("a folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    std::fs::write(folder.join("model.safetensors"), "abc").unwrap();
    world.store.add(&folder, Some("mine"), &facts(Kind::Safetensors), true).unwrap();
    std::fs::write(folder.join("model.safetensors"), "changed").unwrap();
    let again = format!("models add {} --name mine", folder.display());
    let error = world.obtain_error("mine");
    assert!(error.contains(&again) && error.contains("model.safetensors"), "{error}");
    let (status, text) = world.cli(&["verify", "mine"]);
    assert_eq!(status.unwrap(), ExitStatus::Failed);
    assert!(text.contains("WRONG") && text.contains(&again) && !text.contains("models pull"), "{text}");

    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    let missing = folder.join("model.safetensors").display().to_string();
    assert!(world.obtain_error("mine").contains(&format!("{missing} is not there")), "{}", world.obtain_error("mine"));
    assert!(world.cli(&["verify", "mine"]).1.contains(&format!("missing  {missing}")));
}

#[test]
fn an_added_file_that_was_moved_away_is_missed_where_it_was() {
    let world = World::new("http://127.0.0.1:9");
    let path = added_file(&world);
    std::fs::rename(&path, world.folder.path().join("elsewhere.gguf")).unwrap();
    for arguments in [&["verify"][..], &["verify", "mine"]] {
        let (status, text) = world.cli(arguments);
        assert_eq!(status.unwrap(), ExitStatus::Failed, "{text}");
        assert!(text.contains(&format!("mine: missing  {}\n", path.display())), "{text}");
        assert!(text.contains("models add PATH --name mine") && !text.contains("models pull"), "{text}");
    }
    let (_, text) = world.cli(&["inspect", "mine"]);
    assert!(text.contains("was moved or removed") && !text.contains("models pull"), "{text}");
    assert!(!world.cli(&["rm", "mine"]).1.contains("kept"));
}

#[test]
fn every_verb_that_prints_data_can_print_one_json_object() {
    let world = World::new("http://127.0.0.1:9");
    let (status, none) = json_of(&world, &["verify", "--json"]);
    assert_eq!((status, &none["ok"], &none["models"]), (ExitStatus::Done, &json!(true), &json!([])));
    let path = added_file(&world);
    let (status, right) = json_of(&world, &["verify", "--json"]);
    let row = json!({"path": path, "check": "right", "sha256": sha256(b"abc"), "expected_sha256": sha256(b"abc")});
    assert_eq!((status, &right["models"][0]["files"]), (ExitStatus::Done, &json!([row])));
    assert_eq!(right["models"][0]["mend"], Value::Null);
    std::fs::write(&path, "changed").unwrap();
    let (status, wrong) = json_of(&world, &["verify", "mine", "--json"]);
    let model = &wrong["models"][0];
    assert_eq!((status, &wrong["ok"], &model["ok"]), (ExitStatus::Failed, &json!(false), &json!(false)));
    assert_eq!((&model["files"][0]["check"], &model["name"]), (&json!("wrong"), &json!("mine")));
    assert!(model["mend"].as_str().unwrap().contains("models add"), "{model}");
    let (_, gone) = json_of(&world, &["rm", "mine", "--json"]);
    assert_eq!(
        (&gone["name"], &gone["kept"], gone["removed"].as_array().unwrap().len()),
        (&json!("mine"), &json!(path), 1)
    );

    let body = payload(1_000);
    world.manifest("tiny", &World::pinned(&body), HUB);
    std::fs::create_dir_all(world.file("tiny").parent().unwrap()).unwrap();
    std::fs::write(world.file("tiny"), &body).unwrap();
    let (_, pulled) = json_of(&world, &["pull", "tiny", "--json"]);
    let row = json!({"name": "tiny", "path": world.file("tiny"), "sha256": sha256(&body)});
    assert_eq!(pulled["models"], json!([row]));
}
