//! A corpus that belongs to no task: a folder of Markdown or text, or a file of rows. The file of rows may be a task's too.

use super::Article;
use super::files::{self, Fingerprint};
use super::knowledge::{collect, id_of, split_title};
use super::problem::{Problem, Problems};
use super::rows::{self, Row};
use crate::error::{Context, Result, usage};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A text file may not be larger, in bytes.
const LARGEST_TEXT: u64 = 16 << 20;
/// Articles at most.
const MOST_ARTICLES: usize = 4_000_000;
/// An id may not be longer, in bytes: every passage of the article carries it.
const LONGEST_ID: usize = 1024;
/// Names under which rows may carry their id, as they are looked for.
const IDS: [&str; 2] = ["_id", "id"];

/// Where a corpus is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Corpus {
    /// A folder of `.md` and `.txt` files, searched to a depth of eight; links to folders are not followed.
    Folder(PathBuf),
    /// One `.md` or `.txt` file.
    Text(PathBuf),
    /// A file with a row for each article: JSON lines, CSV or TSV, with `_id` (or `id`), `title` (may be absent) and `text`.
    Rows(PathBuf),
}

impl Corpus {
    /// The corpus at a path. A folder that holds a `corpus.jsonl` stands for it.
    pub fn at(path: &Path) -> Result<Self> {
        let beir = path.join("corpus.jsonl");
        if path.is_dir() {
            return Ok(if beir.is_file() { Self::Rows(beir) } else { Self::Folder(path.to_owned()) });
        }
        if !path.exists() {
            return Err(usage(format!("there is no corpus at {}: name a file or a folder", path.display())));
        }
        match extension(path).as_str() {
            "jsonl" | "ndjson" | "csv" | "tsv" => Ok(Self::Rows(path.to_owned())),
            "md" | "txt" => Ok(Self::Text(path.to_owned())),
            _ => Err(usage(format!(
                "the corpus {} is of an unknown kind: name a folder of .md and .txt files, or a .jsonl, .csv, .tsv, .md or .txt file",
                path.display()
            ))),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        let (Self::Folder(path) | Self::Text(path) | Self::Rows(path)) = self;
        path
    }

    /// SHA-256 over the names and bytes of all its files, in hexadecimal.
    pub fn fingerprint(&self) -> Result<String> {
        let mut fingerprint = Fingerprint::default();
        let files = match self {
            Self::Folder(folder) => {
                let mut found = Vec::new();
                collect(folder, 0, &mut found, &mut Problems::default());
                found
            }
            Self::Text(file) | Self::Rows(file) => vec![file.clone()],
        };
        for file in files {
            let name = file.strip_prefix(self.path()).unwrap_or(&file).to_string_lossy().into_owned();
            // What is no file is not read as an article either.
            if file.is_file() {
                fingerprint.add_file(&name, &file).with_context(|| format!("reading {}", file.display()))?;
            }
        }
        Ok(fingerprint.hexadecimal())
    }

    /// Reads the articles, and what is wrong with the rest: bad rows and files are left out, never the good ones beside them.
    /// A corpus without any good article is an error.
    pub fn read(&self) -> Result<(Vec<Article>, Vec<Problem>)> {
        let mut problems = Problems::default();
        let mut reader = Reader::default();
        match self {
            Self::Folder(folder) => {
                let mut found = Vec::new();
                collect(folder, 0, &mut found, &mut problems);
                if found.is_empty() {
                    problems.push(folder, None, "holds no .md or .txt file");
                }
                for file in found {
                    reader.text(&file, id_of(folder, &file), &mut problems);
                }
            }
            Self::Text(file) => {
                reader.text(file, id_of(file.parent().unwrap_or(file), file), &mut problems);
            }
            Self::Rows(file) => reader.rows(file, &mut problems),
        }
        if reader.articles.is_empty() {
            let all = problems.into_list();
            let shown: Vec<String> = all.iter().take(20).map(|problem| format!("\n  {problem}")).collect();
            return Err(usage(format!(
                "the corpus {} has no article that can be read:{}",
                self.path().display(),
                shown.concat()
            )));
        }
        Ok((reader.articles, problems.into_list()))
    }
}

/// The articles of a task's file of rows. A task is read whole or not at all: every bad row is a problem of it.
pub(super) fn read_rows(file: &Path, fingerprint: &mut Fingerprint, problems: &mut Problems) -> Vec<Article> {
    if !files::admit(file, files::LARGEST_DATA, problems) {
        return Vec::new();
    }
    if let Err(error) = fingerprint.add_file("knowledge", file) {
        problems.push(file, None, format!("cannot be read: {error}"));
        return Vec::new();
    }
    let before = problems.total();
    let mut reader = Reader::default();
    reader.rows(file, problems);
    if reader.articles.is_empty() && problems.total() == before {
        problems.push(file, None, "holds no article; name another file or leave [knowledge] out");
    }
    for article in &mut reader.articles {
        if article.title.is_empty() {
            article.title.clone_from(&article.id);
        }
    }
    reader.articles
}

#[derive(Default)]
struct Reader {
    articles: Vec<Article>,
    ids: HashSet<String>,
    full: bool,
}

impl Reader {
    /// A text file.
    fn text(&mut self, file: &Path, id: Option<String>, problems: &mut Problems) {
        let Some(id) = id else {
            return problems.push(file, None, "the file's name is not valid UTF-8; rename it");
        };
        let Some(content) = files::read_text(file, LARGEST_TEXT, problems) else { return };
        if content.contains('\0') {
            return problems.push(file, None, "is a binary file");
        }
        let (title, text) = split_title(&content);
        if text.is_empty() {
            return problems.push(file, None, "the article has no text below its title");
        }
        self.add(Article::new(id, title.unwrap_or_default(), text), file, None, problems);
    }

    fn rows(&mut self, file: &Path, problems: &mut Problems) {
        let names = match extension(file).as_str() {
            "csv" | "tsv" => header(file),
            _ => Vec::new(),
        };
        let has = |name: &str| names.iter().any(|known| known == name);
        let id = if has("id") && !has("_id") { "id" } else { "_id" };
        let mut columns = vec![("", id), ("", "text")];
        if has("title") {
            columns.push(("", "title"));
        }
        rows::read(file, &columns, problems, &mut |row, problems| match article(&row) {
            Ok(article) => self.add(article, file, Some(row.line), problems),
            Err(reason) => problems.push(file, Some(row.line), reason),
        });
    }

    fn add(&mut self, article: Article, file: &Path, line: Option<usize>, problems: &mut Problems) {
        if self.articles.len() == MOST_ARTICLES {
            if !self.full {
                problems.push(file, line, format!("holds more than {MOST_ARTICLES} articles; the rest is left out"));
            }
            self.full = true;
        } else if self.ids.insert(article.id.clone()) {
            self.articles.push(article);
        } else {
            let reason = format!("the id {:?} was there before; the first article of that id is kept", article.id);
            problems.push(file, line, reason);
        }
    }
}

fn article(row: &Row) -> Result<Article, String> {
    let mut id = None;
    for name in IDS {
        id = id.or(row.name(name)?);
    }
    let id = id.ok_or_else(|| row.missing("", IDS[0]))?;
    if id.len() > LONGEST_ID {
        return Err(format!("the id has {} bytes; at most {LONGEST_ID} are possible", id.len()));
    }
    let text = row.text("text")?.ok_or_else(|| row.missing("", "text"))?;
    Ok(Article::new(id, row.name("title")?.unwrap_or_default(), text))
}

/// The names of a table's columns; none where it cannot be read, which is told when its rows are read.
fn header(file: &Path) -> Vec<String> {
    let delimiter = if extension(file) == "tsv" { b'\t' } else { b',' };
    let read = || -> Option<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_path(file).ok()?;
        let names = reader.headers().ok()?.iter();
        Some(names.map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect())
    };
    if file.is_file() { read().unwrap_or_default() } else { Vec::new() }
}

fn extension(path: &Path) -> String {
    path.extension().and_then(|text| text.to_str()).unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn corpus(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, content).expect("written");
        }
        folder
    }

    fn read(path: &Path) -> (Vec<(String, String, String)>, Vec<String>) {
        let (articles, problems) = Corpus::at(path).expect("a corpus").read().expect("read");
        let parts = articles.into_iter().map(|article| (article.id, article.title, article.text)).collect();
        let told = |problem: Problem| {
            let name = problem.file.strip_prefix(path).ok().and_then(Path::to_str).unwrap_or_default().to_owned();
            format!("{name}:{}: {}", problem.line.unwrap_or(0), problem.reason)
        };
        (parts, problems.into_iter().map(told).collect())
    }

    fn triple(id: &str, title: &str, text: &str) -> (String, String, String) {
        (id.into(), title.into(), text.into())
    }

    #[test]
    fn a_folder_is_read_in_depth_and_what_is_no_text_is_reported() {
        let folder = corpus(&[
            ("b.md", b"# Bee\n\nText of b."),
            ("deep/er/b.txt", b"No title."),
            ("image.md", b"\x89PNG\r\n\x1a\n\0\0"),
            ("zero.txt", b"a\0b"),
            ("empty.md", b"# Only a title\n"),
            ("other.pdf", b"not read"),
        ]);
        let (articles, problems) = read(folder.path());
        assert_eq!(articles, [triple("b", "Bee", "Text of b."), triple("deep/er/b", "", "No title.")]);
        assert_eq!(problems.len(), 3, "{problems:?}");
        for (problem, said) in problems.iter().zip([
            "empty.md:0: the article has no text",
            "image.md:1: the line is not valid UTF-8",
            "zero.txt:0: is a binary file",
        ]) {
            assert!(problem.starts_with(said), "{problem}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_to_folders_are_not_followed_and_pipes_not_waited_for() {
        let folder = corpus(&[("a.md", b"Text.")]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("circle")).expect("linked");
        let pipe = folder.path().join("pipe.md");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let (articles, problems) = read(folder.path());
        assert_eq!((articles.len(), problems), (1, vec!["pipe.md:0: is not a file".to_owned()]));
        assert!(Corpus::at(folder.path()).expect("a corpus").fingerprint().is_ok());
    }

    #[test]
    fn rows_are_read_from_json_lines_and_tables_and_bad_ones_are_told_with_their_lines() {
        let rows = "{\"_id\": \"a\", \"title\": \"T\", \"text\": \"one\", \"more\": 1}\n\n{\"_id\": 7, \"text\": \"two\"}\n{\"_id\": \"a\", \"text\": \"three\"}\n{\"_id\": \"b\"}\nno json\n{\"_id\": \"c\", \"text\": [1]}\n";
        let folder = corpus(&[
            ("rows.jsonl", rows.as_bytes()),
            ("rows.csv", b"id,text,title\na,one,T\nb,,T\n"),
            ("bare.tsv", b"_id\ttext\nx\ty\n"),
        ]);
        let (articles, problems) = read(&folder.path().join("rows.jsonl"));
        assert_eq!(articles, [triple("a", "T", "one"), triple("7", "", "two")]);
        let lines: Vec<&str> = problems.iter().map(|problem| problem.split(':').nth(1).expect("a line")).collect();
        assert_eq!(lines, ["4", "5", "6", "7"], "{problems:?}");
        let (articles, problems) = read(&folder.path().join("rows.csv"));
        assert_eq!((articles, problems.len()), (vec![triple("a", "T", "one")], 1));
        assert_eq!(read(&folder.path().join("bare.tsv")).0, [triple("x", "", "y")]);
    }

    #[test]
    fn rows_after_a_line_that_is_too_long_are_read() {
        let row = |id: &str, text: &str| format!("{{\"_id\": {id:?}, \"text\": {text:?}}}\n");
        let rows = row("a", "one") + &row("b", &"x".repeat(9 << 20)) + &row("c", "three");
        let folder = corpus(&[("rows.jsonl", rows.as_bytes())]);
        let (articles, problems) = read(&folder.path().join("rows.jsonl"));
        assert_eq!(articles, [triple("a", "", "one"), triple("c", "", "three")]);
        assert_eq!(problems, [":2: the line is longer than 8 MiB and is left out"]);
    }

    #[test]
    fn a_corpus_without_a_good_article_is_an_error_that_says_why() {
        let folder = corpus(&[("rows.csv", b"id,body\na,b\n"), ("sub/keep.pdf", b"")]);
        for (path, said) in [
            (folder.path().join("rows.csv"), "no column \"text\"; the header has: \"id\", \"body\""),
            (folder.path().join("sub"), "holds no .md or .txt file"),
        ] {
            let error = Corpus::at(&path).expect("a corpus").read().expect_err("nothing to read").to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(Corpus::at(&folder.path().join("none")).is_err());
        assert!(Corpus::at(&folder.path().join("sub/keep.pdf")).is_err());
    }

    #[test]
    fn a_long_title_goes_on_in_the_text_and_a_row_with_a_long_id_is_left_out() {
        let long = "word ".repeat(100);
        let row = |id: &str| format!("{{\"_id\": {id:?}, \"title\": {long:?}, \"text\": \"end\"}}\n");
        let rows = row("a") + &row(&"x".repeat(2000));
        let folder = corpus(&[("a.md", format!("# {long}\nend").as_bytes()), ("rows.jsonl", rows.as_bytes())]);
        for name in ["a.md", "rows.jsonl"] {
            let (articles, problems) = read(&folder.path().join(name));
            let (_, title, text) = &articles[0];
            assert!(title.len() <= 200 && title.ends_with("word"), "{title:?}");
            assert_eq!(format!("{title} {}", text.replace("\n\n", " ")), format!("{long}end"));
            assert_eq!((articles.len(), problems.len()), (1, usize::from(name == "rows.jsonl")), "{problems:?}");
        }
    }

    #[test]
    fn a_fingerprint_follows_names_and_contents() {
        let of =
            |files: &[(&str, &[u8])]| Corpus::at(corpus(files).path()).expect("a corpus").fingerprint().expect("read");
        assert_eq!(of(&[("a.md", b"x")]), of(&[("a.md", b"x"), ("b.pdf", b"y")]));
        assert_ne!(of(&[("a.md", b"x")]), of(&[("a.md", b"y")]));
        assert_ne!(of(&[("a.md", b"x")]), of(&[("b.md", b"x")]));
    }
}
