//! The index of some passages: built once, kept in a folder of the user's cache, and built anew only where something changed.

use super::Embed;
use super::chunk::cut;
use super::dense::{Built, Vectors};
use super::lexical::Bm25;
use super::store::{self, Key, Part};
use super::strings::Strings;
use super::terms::Analysis;
use crate::clock::Clock;
use crate::error::{Context, Result, ensure};
use crate::task::Article;
use crate::units::Seconds;
use std::path::{Path, PathBuf};

/// Passages, and what the retrievers that were asked for need of them.
#[derive(Debug, Default)]
pub struct Index {
    ids: Strings,
    titles: Strings,
    texts: Strings,
    /// What of the corpus could not be read.
    problems: Strings,
    lexical: Vec<Bm25>,
    vectors: Option<Vectors>,
}

/// Where passages come from.
pub struct Source<'a> {
    /// SHA-256 of everything that `articles` would read.
    pub fingerprint: String,
    /// Reads the articles, and says what of the corpus could not be read. It is not called where the index has them.
    pub articles: &'a dyn Fn() -> Result<(Vec<Article>, Vec<String>)>,
    /// Words of a passage at most.
    pub most_words: usize,
}

/// Where indexes are kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// The folder of this index alone.
    pub folder: &'a Path,
    /// Whether what is there already is left aside.
    pub fresh: bool,
}

/// The encoder of the passages.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    /// Turns texts into vectors.
    pub embed: &'a dyn Embed,
    /// SHA-256 of its weights: vectors of another encoder are of no use.
    pub sha256: &'a str,
}

/// What opening an index took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Opening {
    /// Time of loading what was kept.
    pub load_s: Seconds,
    /// Time of reading, cutting and indexing the words of passages that were not kept.
    pub lexical_s: Seconds,
    /// Time of the encoder and of what surrounds it.
    pub dense_s: Seconds,
    /// Windows of passages that went through the encoder.
    pub embedded: usize,
    /// Windows whose vectors an earlier index had.
    pub reused: usize,
    /// Whether anything was built.
    pub built: bool,
    /// What went wrong with the kept index, none of which is an error: the index is built anew.
    pub notes: Vec<String>,
}

/// Opens an index, from where it is kept if that holds what is wanted, and builds the rest. `tell` hears how many
/// passages are embedded.
pub(super) fn open(
    source: &Source<'_>,
    lexical: &[Analysis],
    encoder: Option<Encoder<'_>>,
    kept: Option<Kept<'_>>,
    clock: &Clock,
    tell: &mut dyn FnMut(usize),
) -> Result<(Index, Opening)> {
    let mut shelf = Shelf { kept, clock, opening: Opening::default() };
    let content = store::key(&[source.fingerprint.as_bytes(), &source.most_words.to_le_bytes()]);
    let mut index = shelf.passages(source, content)?;
    for &analysis in lexical {
        let built = shelf.lexical(&index, analysis, content)?;
        index.lexical.push(built);
    }
    if let Some(encoder) = encoder {
        index.vectors = Some(shelf.vectors(&index, encoder, content, tell)?);
    }
    Ok((index, shelf.opening))
}

/// The folder of an index, and what happens with it.
struct Shelf<'a> {
    kept: Option<Kept<'a>>,
    clock: &'a Clock,
    opening: Opening,
}

impl Shelf<'_> {
    /// The passages: ids, titles, texts.
    fn passages(&mut self, source: &Source<'_>, content: Key) -> Result<Index> {
        let name = "passages";
        if let Some(index) = self.load(name, content, Key::default(), |part| {
            let mut strings = || Strings::from_parts(part.array()?, part.array()?);
            let (ids, titles, texts, problems) = (strings()?, strings()?, strings()?, strings()?);
            ensure!(ids.len() == texts.len() && titles.len() == texts.len(), "texts are missing");
            Ok(Index { ids, titles, texts, problems, ..Index::default() })
        }) {
            return Ok(index);
        }
        let start = self.clock.now();
        let (articles, problems) = (source.articles)()?;
        let mut index = Index::default();
        // One after another, so that the articles go as the passages come.
        for article in articles {
            index.push(&article, source.most_words);
        }
        index.problems = problems.iter().map(String::as_str).collect();
        self.opening.lexical_s += self.clock.since(start);
        let parts = [&index.ids, &index.titles, &index.texts, &index.problems].map(Strings::parts);
        let arrays: Vec<&[u8]> = parts.iter().flat_map(|(bytes, ends)| [*bytes, bytemuck::cast_slice(ends)]).collect();
        self.keep(name, content, Key::default(), &arrays);
        Ok(index)
    }

    fn lexical(&mut self, index: &Index, analysis: Analysis, content: Key) -> Result<Bm25> {
        let name = format!("words-{}", analysis.name());
        let passages = index.len();
        if let Some(found) = self.load(&name, content, Key::default(), |part| {
            let terms = Strings::from_parts(part.array()?, part.array()?)?;
            let found = Bm25::from_parts(analysis, terms, part.array()?, part.array()?, part.array()?, part.array()?)?;
            ensure!(found.lengths.len() == passages, "passages are missing");
            Ok(found)
        }) {
            return Ok(found);
        }
        let start = self.clock.now();
        let made =
            Bm25::new(analysis, index.titles.iter().zip(index.texts.iter())).context("indexing the passages' words")?;
        self.opening.lexical_s += self.clock.since(start);
        let (bytes, ends) = made.terms.parts();
        let arrays = [
            bytes,
            bytemuck::cast_slice(ends),
            bytemuck::cast_slice(&made.ends),
            bytemuck::cast_slice(&made.passages),
            bytemuck::cast_slice(&made.counts),
            bytemuck::cast_slice(&made.lengths),
        ];
        self.keep(&name, content, Key::default(), &arrays);
        Ok(made)
    }

    fn vectors(
        &mut self,
        index: &Index,
        encoder: Encoder<'_>,
        content: Key,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Vectors> {
        let name = "vectors";
        let of_encoder = store::key(&[encoder.sha256.as_bytes()]);
        let take = |part: &mut Part| -> Result<Vectors> {
            let width: Vec<u64> = part.array()?;
            let width = usize::try_from(width.first().copied().unwrap_or(0))?;
            Vectors::from_parts(width, part.array()?, part.array()?, part.array()?)
        };
        let passages = index.len();
        if let Some(found) = self.load(name, content, of_encoder, |part| {
            let found = take(part)?;
            ensure!(found.ends.len() == passages, "passages are missing");
            Ok(found)
        }) {
            return Ok(found);
        }
        // An index of other passages by the same encoder knows some of the texts.
        let known = self.any(name, of_encoder, take).unwrap_or_default();
        let start = self.clock.now();
        let (made, Built { embedded, reused }) =
            Vectors::build(&index.titles, &index.texts, &known, encoder.embed, tell)?;
        self.opening.dense_s += self.clock.since(start);
        self.opening.embedded = embedded;
        self.opening.reused = reused;
        let width = [made.width as u64];
        let arrays = [
            bytemuck::cast_slice(&width),
            bytemuck::cast_slice(&made.values),
            bytemuck::cast_slice(&made.ends),
            bytemuck::cast_slice(&made.hashes),
        ];
        self.keep(name, content, of_encoder, &arrays);
        Ok(made)
    }

    /// A part that was made of just this; `None` where there is none that is whole.
    fn load<T>(
        &mut self,
        name: &str,
        content: Key,
        encoder: Key,
        take: impl FnOnce(&mut Part) -> Result<T>,
    ) -> Option<T> {
        self.part(name, |part| part.content == content && part.encoder == encoder, take)
    }

    /// A part by this encoder, whatever its passages.
    fn any<T>(&mut self, name: &str, encoder: Key, take: impl FnOnce(&mut Part) -> Result<T>) -> Option<T> {
        self.part(name, |part| part.encoder == encoder, take)
    }

    fn part<T>(
        &mut self,
        name: &str,
        fits: impl FnOnce(&Part) -> bool,
        take: impl FnOnce(&mut Part) -> Result<T>,
    ) -> Option<T> {
        let path = self.path(name).filter(|_| self.kept.is_some_and(|kept| !kept.fresh))?;
        let start = self.clock.now();
        let taken = Part::open(&path).and_then(|part| part.filter(fits).map(|mut part| take(&mut part)).transpose());
        self.opening.load_s += self.clock.since(start);
        taken.unwrap_or_else(|error| {
            let note = format!("the index {} is of no use and is built anew: {error:#}", path.display());
            if !self.opening.notes.contains(&note) {
                self.opening.notes.push(note);
            }
            None
        })
    }

    /// Keeps a part for the next time. Where that fails, the next time builds it again.
    fn keep(&mut self, name: &str, content: Key, encoder: Key, arrays: &[&[u8]]) {
        self.opening.built = true;
        if let Some(path) = self.path(name)
            && let Err(error) = store::write(&path, content, encoder, arrays)
        {
            self.opening.notes.push(format!("the index is not kept and will be built again: {error:#}"));
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.kept.map(|kept| kept.folder.join(format!("{name}.bin")))
    }
}

impl Index {
    /// Adds the passages of an article.
    fn push(&mut self, article: &Article, most_words: usize) {
        for text in cut(&article.text, most_words) {
            self.ids.push(&article.id);
            self.titles.push(&article.title);
            self.texts.push(&text);
        }
    }

    /// How many passages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What of the corpus could not be read.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter()
    }

    /// The article's id of every passage.
    pub fn article_ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter()
    }

    /// A passage's id (its article's), title and text.
    #[must_use]
    pub fn passage(&self, index: usize) -> (&str, &str, &str) {
        (self.ids.get(index), self.titles.get(index), self.texts.get(index))
    }

    pub(super) fn id(&self, index: usize) -> &str {
        self.ids.get(index)
    }

    pub(super) fn lexical(&self, analysis: Analysis) -> Result<&Bm25> {
        let found = self.lexical.iter().find(|lexical| lexical.analysis == analysis);
        found.context("the index was opened without the words that this retriever searches")
    }

    pub(super) fn vectors(&self) -> Result<&Vectors> {
        self.vectors.as_ref().context("the index was opened without the vectors that this retriever searches")
    }
}

/// The folder of the index of `corpus`: one of its own below `folder`.
#[must_use]
pub fn index_folder(folder: &Path, corpus: &Path) -> PathBuf {
    let corpus = std::fs::canonicalize(corpus).unwrap_or_else(|_| corpus.to_owned());
    let key = store::key(&[corpus.as_os_str().as_encoded_bytes()]);
    let name = key.iter().take(8).fold(0_u64, |name, &byte| name << 8 | u64::from(byte));
    folder.join(format!("{name:016x}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::bag;
    use super::*;
    use std::cell::Cell;

    fn articles(texts: &[&str]) -> Vec<Article> {
        let named =
            |(n, text): (usize, &&str)| Article { id: format!("a{n}"), title: String::new(), text: (*text).into() };
        texts.iter().enumerate().map(named).collect()
    }

    fn opened(texts: &[&str], folder: Option<&Path>, encoder: &str) -> (Index, Opening, usize) {
        let (bag, reads) = (bag(), Cell::new(0));
        let read = || {
            reads.set(reads.get() + 1);
            Ok((articles(texts), vec!["a problem".to_owned()]))
        };
        let source = Source { fingerprint: texts.join("\n"), articles: &read, most_words: 100 };
        let encoder = Encoder { embed: &*bag, sha256: encoder };
        let kept = folder.map(|folder| Kept { folder, fresh: false });
        let (index, opening) =
            open(&source, &[Analysis::Plain, Analysis::English], Some(encoder), kept, &Clock::real(), &mut |_| ())
                .expect("opened");
        (index, opening, reads.get())
    }

    fn same(a: &Index, b: &Index) -> bool {
        let all = |index: &Index| [&index.ids, &index.titles, &index.texts, &index.problems].map(Strings::clone);
        (all(a), &a.lexical, &a.vectors) == (all(b), &b.lexical, &b.vectors)
    }

    #[test]
    fn an_index_is_loaded_as_it_was_built_without_reading_the_corpus() {
        let folder = tempfile::tempdir().expect("folder");
        let texts = ["the red printer", "a blue monitor"];
        let (built, opening, reads) = opened(&texts, Some(folder.path()), "one");
        assert_eq!((opening.built, opening.embedded, reads), (true, 2, 1));
        let (loaded, opening, reads) = opened(&texts, Some(folder.path()), "one");
        assert_eq!((opening.built, opening.embedded, reads, &*opening.notes), (false, 0, 0, &[][..]));
        assert!(same(&built, &loaded));
        assert!(same(&built, &opened(&texts, None, "one").0));
    }

    #[test]
    fn only_what_changed_is_embedded_again_and_another_encoder_begins_anew() {
        let folder = tempfile::tempdir().expect("folder");
        opened(&["one text", "two texts", "three texts"], Some(folder.path()), "one");
        let (_, opening, _) = opened(&["one text", "another text", "three texts"], Some(folder.path()), "one");
        assert_eq!((opening.built, opening.embedded, opening.reused), (true, 1, 2));
        let (_, opening, _) = opened(&["one text", "another text", "three texts"], Some(folder.path()), "two");
        assert_eq!((opening.embedded, opening.reused), (3, 0));
    }

    #[test]
    fn a_damaged_index_is_built_anew_and_the_user_is_told() {
        let folder = tempfile::tempdir().expect("folder");
        let texts = ["the red printer", "a blue monitor"];
        let (built, ..) = opened(&texts, Some(folder.path()), "one");
        for entry in std::fs::read_dir(folder.path()).expect("folder").map(|entry| entry.expect("file").path()) {
            let whole = std::fs::read(&entry).expect("read");
            std::fs::write(&entry, &whole[..whole.len() - 3]).expect("written");
            let (again, opening, _) = opened(&texts, Some(folder.path()), "one");
            assert!(same(&built, &again) && opening.notes.len() == 1, "{:?}", opening.notes);
            assert!(opening.notes[0].contains("is built anew"), "{:?}", opening.notes);
            assert_eq!(std::fs::read(&entry).expect("read"), whole);
        }
    }

    #[test]
    fn an_index_that_cannot_be_kept_works_all_the_same() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "no folder").expect("written");
        let (index, opening, _) = opened(&["a text"], Some(&file.join("index")), "one");
        assert_eq!(index.len(), 1);
        assert!(opening.notes.iter().any(|note| note.contains("is not kept")), "{:?}", opening.notes);
    }
}
