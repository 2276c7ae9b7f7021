//! The knowledge base: a folder of Markdown or text files.

use super::Article;
use super::files::{self, Fingerprint};
use super::problem::Problems;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An article may not be larger, in bytes.
const LARGEST_ARTICLE: u64 = 256 << 10;
/// Files in a folder at most.
const MOST_FILES: usize = 100_000;
/// Folders within folders at most.
const DEEPEST: usize = 8;

/// Reads every `.md` and `.txt` file of a folder and the folders in it, sorted by id: the path within the folder without the
/// ending.
pub(super) fn read(folder: &Path, fingerprint: &mut Fingerprint, problems: &mut Problems) -> Vec<Article> {
    let mut found = Vec::new();
    collect(folder, 0, &mut found, problems);
    let mut by_id: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in found {
        let Some(id) = id_of(folder, &file) else {
            problems.push(&file, None, "the file's name is not valid UTF-8; rename it");
            continue;
        };
        if let Some(other) = by_id.get(&id) {
            let reason = format!("has the same id as {}; rename one of them", other.display());
            problems.push(&file, None, reason);
            continue;
        }
        by_id.insert(id, file);
    }
    if by_id.is_empty() && problems.total() == 0 {
        problems.push(folder, None, "holds no .md or .txt file; name another folder or leave [knowledge] out");
    }

    let mut articles = Vec::new();
    for (id, file) in by_id {
        let Some(content) = files::read_text(&file, LARGEST_ARTICLE, problems) else { continue };
        fingerprint.add(&format!("knowledge/{id}"), content.as_bytes());
        let (title, text) = split_title(&content);
        if text.is_empty() {
            problems.push(&file, None, "the article has no text below its title");
            continue;
        }
        articles.push(Article::new(id.clone(), title.unwrap_or(id), text));
    }
    articles
}

/// The id of the article in a file of a folder: its path there without the ending; `None` where that is not valid UTF-8.
pub(super) fn id_of(folder: &Path, file: &Path) -> Option<String> {
    let name = file.strip_prefix(folder).unwrap_or(file).with_extension("");
    name.to_str().map(|name| if cfg!(windows) { name.replace('\\', "/") } else { name.to_owned() })
}

pub(super) fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>, problems: &mut Problems) {
    if depth > DEEPEST {
        return problems.push(folder, None, format!("lies more than {DEEPEST} folders deep; move it up"));
    }
    let entries = match std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => return problems.push(folder, None, format!("cannot be read as a folder: {error}")),
    };
    let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = path.extension().and_then(|text| text.to_str()).unwrap_or_default().to_ascii_lowercase();
        if hidden {
            continue;
        }
        // A link to a folder could lead in a circle.
        if path.is_dir() && !path.is_symlink() {
            collect(&path, depth + 1, found, problems);
        } else if matches!(extension.as_str(), "md" | "txt") && !path.is_dir() {
            if found.len() == MOST_FILES {
                return problems.push(folder, None, format!("holds more than {MOST_FILES} articles"));
            }
            found.push(path);
        }
    }
}

/// The first heading of the first rank, and everything else. Lines in a fenced block are no headings.
pub(super) fn split_title(content: &str) -> (Option<String>, String) {
    let content = content.trim_start_matches('\u{feff}');
    let mut fenced = false;
    let mut start = 0;
    for line in content.split_inclusive('\n') {
        let trimmed = line.trim_end();
        if trimmed.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if !fenced
            && let Some(title) = trimmed.strip_prefix("# ").map(str::trim)
            && !title.is_empty()
        {
            let before = content.get(..start).unwrap_or_default().trim();
            let after = content.get(start + line.len()..).unwrap_or_default().trim();
            let text = if before.is_empty() { after.to_owned() } else { format!("{before}\n\n{after}") };
            return (Some(title.to_owned()), text.trim().to_owned());
        }
        start += line.len();
    }
    (None, content.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_first_heading_outside_code() {
        let titled = |text| split_title(text);
        assert_eq!(titled("# A b\n\ntext\n# c\n"), (Some("A b".into()), "text\n# c".into()));
        assert_eq!(titled("\u{feff}# A\r\ntext\r\n"), (Some("A".into()), "text".into()));
        assert_eq!(titled("```\n# no\n```\n# Yes\nx"), (Some("Yes".into()), "```\n# no\n```\n\nx".into()));
        assert_eq!(titled("plain\n## second\n"), (None, "plain\n## second".into()));
        assert_eq!(titled("# "), (None, "#".into()));
        assert_eq!(titled(""), (None, String::new()));
    }
}
