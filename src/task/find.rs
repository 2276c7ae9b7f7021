//! Where tasks are: in a folder that the user names, or bundled with the program.

use crate::error::{Result, usage};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The environment variable that names folders of tasks.
const VARIABLE: &str = "ROUTERGYM_DATASETS";

/// The folder of a task: a path to it (or to its `task.toml`), or else the name of a bundled task.
///
/// Bundled tasks are looked for in the folders of `$ROUTERGYM_DATASETS`, in `./datasets`, in `datasets` beside the
/// program and each folder above it, and in `datasets` of the source that the program was built from.
pub fn find(name_or_dir: &str) -> Result<PathBuf> {
    find_in(name_or_dir, &folders())
}

/// The names and folders of all bundled tasks; of two with one name, the first that [`find`] would find.
pub fn bundled() -> Vec<(String, PathBuf)> {
    bundled_in(&folders())
}

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = match std::env::var_os(VARIABLE) {
        Some(value) => std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => Vec::new(),
    };
    folders.push(PathBuf::from("datasets"));
    if let Ok(program) = std::env::current_exe() {
        folders.extend(program.ancestors().skip(1).map(|folder| folder.join("datasets")));
    }
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets"));
    let mut distinct: Vec<PathBuf> = Vec::new();
    for folder in folders {
        if !distinct.contains(&folder) {
            distinct.push(folder);
        }
    }
    distinct
}

fn find_in(name_or_dir: &str, folders: &[PathBuf]) -> Result<PathBuf> {
    let path = Path::new(name_or_dir);
    if path.join("task.toml").is_file() {
        return Ok(path.to_owned());
    }
    if path.extension() == Some(OsStr::new("toml")) && path.is_file() {
        return Ok(path.to_owned());
    }
    let is_name = path.file_name() == Some(path.as_os_str());
    if !is_name {
        return Err(usage(format!("there is no task at {name_or_dir}: name a folder that holds a task.toml")));
    }
    if let Some(folder) =
        folders.iter().map(|folder| folder.join(path)).find(|folder| folder.join("task.toml").is_file())
    {
        return Ok(folder);
    }
    let looked: Vec<String> = folders.iter().map(|folder| format!("\n  {}", folder.join(path).display())).collect();
    Err(usage(format!(
        "there is no task {name_or_dir:?}: no task.toml in the folder ./{name_or_dir}, nor in{}\nname a folder, or set \
         ${VARIABLE} to the folder that holds the tasks",
        looked.concat()
    )))
}

fn bundled_in(folders: &[PathBuf]) -> Vec<(String, PathBuf)> {
    let mut tasks: Vec<(String, PathBuf)> = Vec::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut found: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.join("task.toml").is_file()).collect();
        found.sort();
        for path in found {
            let Some(name) = path.file_name().and_then(OsStr::to_str).map(str::to_owned) else { continue };
            if !tasks.iter().any(|(known, _)| *known == name) {
                tasks.push((name, path));
            }
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_tasks(names: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::create_dir(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join("task.toml"), "").unwrap();
        }
        root
    }

    #[test]
    fn the_first_folder_that_holds_a_name_wins() {
        let (first, second) = (with_tasks(&["b"]), with_tasks(&["a", "b"]));
        let folders = [first.path().to_owned(), second.path().to_owned()];
        assert_eq!(find_in("b", &folders).unwrap(), first.path().join("b"));
        assert_eq!(find_in("a", &folders).unwrap(), second.path().join("a"));
        let names: Vec<String> = bundled_in(&folders).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "a"]);
    }

    #[test]
    fn a_path_needs_no_search() {
        let root = with_tasks(&["a"]);
        let dir = root.path().join("a");
        assert_eq!(find_in(dir.to_str().unwrap(), &[]).unwrap(), dir);
        let file = dir.join("task.toml");
        assert_eq!(find_in(file.to_str().unwrap(), &[]).unwrap(), file);
    }

    #[test]
    fn a_miss_says_where_it_looked() {
        let text = find_in("nothing-here", &[PathBuf::from("/x/datasets")]).unwrap_err().to_string();
        assert!(text.contains("/x/datasets/nothing-here") && text.contains(VARIABLE), "{text}");
        let text = find_in("./nothing/here", &[]).unwrap_err().to_string();
        assert!(text.contains("./nothing/here"), "{text}");
    }

    #[test]
    fn the_source_folder_is_the_last_resort() {
        assert_eq!(folders().last().unwrap(), &Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets"));
    }
}
