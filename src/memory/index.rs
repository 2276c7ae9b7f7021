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
    /// Its parts, in the order in which they were opened.
    pub parts: Vec<Opened>,
    /// What went wrong with the kept index, none of which is an error: the index is built anew.
    pub notes: Vec<String>,
}

/// What opening one part of an index took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Opened {
    /// The part's name: `passages`, `words-plain`, `words-english` or `vectors`.
    pub name: String,
    /// Time of loading what was kept.
    pub load_s: Seconds,
    /// Time of building what was not.
    pub build_s: Seconds,
    /// Whether it was built.
    pub built: bool,
    /// Windows of passages that went through the encoder.
    pub embedded: usize,
    /// Windows whose vectors an earlier index had.
    pub reused: usize,
}

impl Opened {
    /// Whether the encoder gives it.
    #[must_use]
    pub fn is_of_vectors(&self) -> bool {
        self.name == VECTORS
    }
}

/// What the names of parts with words begin with; the analysis follows.
pub(super) const WORDS: &str = "words-";
/// The part that the encoder gives.
const VECTORS: &str = "vectors";
/// Seconds of embedding after which what there is so far is kept.
const KEEP_EVERY_S: f64 = 30.0;

/// Opens an index, from where it is kept if that holds what is wanted, and builds the rest. `tell` hears how many
/// passages are embedded, and how many there are.
pub(super) fn open(
    source: &Source<'_>,
    lexical: &[Analysis],
    encoder: Option<Encoder<'_>>,
    kept: Option<Kept<'_>>,
    clock: &Clock,
    tell: &mut dyn FnMut(usize, usize),
) -> Result<(Index, Opening)> {
    let mut shelf = Shelf { kept, clock, now: Opened::default(), opening: Opening::default() };
    let content = store::key(&[source.fingerprint.as_bytes(), &source.most_words.to_le_bytes()]);
    let mut index = shelf.passages(source, content)?;
    shelf.next();
    for &analysis in lexical {
        let built = shelf.lexical(&index, analysis, content)?;
        index.lexical.push(built);
        shelf.next();
    }
    if let Some(encoder) = encoder {
        index.vectors = Some(shelf.vectors(&index, encoder, content, tell)?);
        shelf.next();
    }
    Ok((index, shelf.opening))
}

/// The folder of an index, and what happens with it.
struct Shelf<'a> {
    kept: Option<Kept<'a>>,
    clock: &'a Clock,
    /// The part that is opened now.
    now: Opened,
    opening: Opening,
}

impl Shelf<'_> {
    /// Goes on to the next part.
    fn next(&mut self) {
        self.opening.parts.push(std::mem::take(&mut self.now));
    }

    /// The passages: ids, titles, texts.
    fn passages(&mut self, source: &Source<'_>, content: Key) -> Result<Index> {
        "passages".clone_into(&mut self.now.name);
        if let Some(index) = self.load(content, Key::default(), |part| {
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
        self.now.build_s = self.clock.since(start);
        let parts = [&index.ids, &index.titles, &index.texts, &index.problems].map(Strings::parts);
        let arrays: Vec<&[u8]> = parts.iter().flat_map(|(bytes, ends)| [*bytes, bytemuck::cast_slice(ends)]).collect();
        self.keep(content, Key::default(), &arrays);
        Ok(index)
    }

    fn lexical(&mut self, index: &Index, analysis: Analysis, content: Key) -> Result<Bm25> {
        self.now.name = format!("{WORDS}{}", analysis.name());
        let passages = index.len();
        if let Some(found) = self.load(content, Key::default(), |part| {
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
        self.now.build_s = self.clock.since(start);
        let (bytes, ends) = made.terms.parts();
        let arrays = [
            bytes,
            bytemuck::cast_slice(ends),
            bytemuck::cast_slice(&made.ends),
            bytemuck::cast_slice(&made.passages),
            bytemuck::cast_slice(&made.counts),
            bytemuck::cast_slice(&made.lengths),
        ];
        self.keep(content, Key::default(), &arrays);
        Ok(made)
    }

    fn vectors(
        &mut self,
        index: &Index,
        encoder: Encoder<'_>,
        content: Key,
        tell: &mut dyn FnMut(usize, usize),
    ) -> Result<Vectors> {
        VECTORS.clone_into(&mut self.now.name);
        let of_encoder = store::key(&[encoder.sha256.as_bytes()]);
        let take = |part: &mut Part| -> Result<Vectors> {
            let width: Vec<u64> = part.array()?;
            let width = usize::try_from(width.first().copied().unwrap_or(0))?;
            Vectors::from_parts(width, part.array()?, part.array()?, part.array()?)
        };
        let passages = index.len();
        if let Some(found) = self.load(content, of_encoder, |part| {
            let found = take(part)?;
            ensure!(found.ends.len() == passages, "passages are missing");
            Ok(found)
        }) {
            return Ok(found);
        }
        // An index of other passages by the same encoder knows some of the texts.
        let known = self.any(of_encoder, take).unwrap_or_default();
        let start = self.clock.now();
        let (path, mut kept_at) = (self.path(), start);
        let mut progress = |made: &Vectors, done: usize| {
            tell(done, passages);
            // An interrupted build goes on from what is kept here, as from an index of other passages.
            if let Some(path) = &path
                && self.clock.since(kept_at).0 >= KEEP_EVERY_S
                && made.hashes.len() >= known.hashes.len()
            {
                kept_at = self.clock.now();
                // Where that fails it fails at the end too, and is told then.
                let _ = store::write(path, Key::default(), of_encoder, &arrays(&[made.width as u64], made));
            }
        };
        let (made, Built { embedded, reused }) =
            Vectors::build(&index.titles, &index.texts, &known, encoder.embed, &mut progress)?;
        self.now.build_s = self.clock.since(start);
        (self.now.embedded, self.now.reused) = (embedded, reused);
        self.keep(content, of_encoder, &arrays(&[made.width as u64], &made));
        Ok(made)
    }

    /// A part that was made of just this; `None` where there is none that is whole.
    fn load<T>(&mut self, content: Key, encoder: Key, take: impl FnOnce(&mut Part) -> Result<T>) -> Option<T> {
        self.part(|part| part.content == content && part.encoder == encoder, take)
    }

    /// A part by this encoder, whatever its passages.
    fn any<T>(&mut self, encoder: Key, take: impl FnOnce(&mut Part) -> Result<T>) -> Option<T> {
        self.part(|part| part.encoder == encoder, take)
    }

    fn part<T>(&mut self, fits: impl FnOnce(&Part) -> bool, take: impl FnOnce(&mut Part) -> Result<T>) -> Option<T> {
        let path = self.path().filter(|_| self.kept.is_some_and(|kept| !kept.fresh))?;
        let start = self.clock.now();
        let taken = Part::open(&path).and_then(|part| part.filter(fits).map(|mut part| take(&mut part)).transpose());
        self.now.load_s += self.clock.since(start);
        taken.unwrap_or_else(|error| {
            let note = format!("the index {} is of no use and is built anew: {error:#}", path.display());
            if !self.opening.notes.contains(&note) {
                self.opening.notes.push(note);
            }
            None
        })
    }

    /// Keeps a part for the next time. Where that fails, the next time builds it again.
    fn keep(&mut self, content: Key, encoder: Key, arrays: &[&[u8]]) {
        self.now.built = true;
        if let Some(path) = self.path()
            && let Err(error) = store::write(&path, content, encoder, arrays)
        {
            self.opening.notes.push(format!("the index is not kept and will be built again: {error:#}"));
        }
    }

    /// The file of the part that is opened now.
    fn path(&self) -> Option<PathBuf> {
        self.kept.map(|kept| kept.folder.join(format!("{}.bin", self.now.name)))
    }
}

/// The arrays of vectors as a file keeps them.
fn arrays<'a>(width: &'a [u64; 1], vectors: &'a Vectors) -> [&'a [u8]; 4] {
    [
        bytemuck::cast_slice(width),
        bytemuck::cast_slice(&vectors.values),
        bytemuck::cast_slice(&vectors.ends),
        bytemuck::cast_slice(&vectors.hashes),
    ]
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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
            open(&source, &[Analysis::Plain, Analysis::English], Some(encoder), kept, &Clock::real(), &mut |_, _| ())
                .expect("opened");
        (index, opening, reads.get())
    }

    /// Whether anything was built, windows embedded and windows reused.
    fn took(opening: &Opening) -> (bool, usize, usize) {
        let sum = |of: fn(&Opened) -> usize| opening.parts.iter().map(of).sum();
        (opening.parts.iter().any(|part| part.built), sum(|part| part.embedded), sum(|part| part.reused))
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
        assert_eq!((took(&opening), reads), ((true, 2, 0), 1));
        let (loaded, opening, reads) = opened(&texts, Some(folder.path()), "one");
        assert_eq!((took(&opening), reads, &*opening.notes), ((false, 0, 0), 0, &[][..]));
        assert!(same(&built, &loaded));
        assert!(same(&built, &opened(&texts, None, "one").0));
    }

    #[test]
    fn only_what_changed_is_embedded_again_and_another_encoder_begins_anew() {
        let folder = tempfile::tempdir().expect("folder");
        opened(&["one text", "two texts", "three texts"], Some(folder.path()), "one");
        let (_, opening, _) = opened(&["one text", "another text", "three texts"], Some(folder.path()), "one");
        assert_eq!(took(&opening), (true, 1, 2));
        let (_, opening, _) = opened(&["one text", "another text", "three texts"], Some(folder.path()), "two");
        assert_eq!(took(&opening), (true, 3, 0));
    }

    /// Takes a minute for each batch, and fails after so many.
    struct Slow(Clock, AtomicUsize);

    impl Embed for Slow {
        fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
            if texts.is_empty() {
                return Ok(Vec::new());
            }
            self.0.advance(Seconds(60.0));
            let left = self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            left.map_err(|_| crate::error::anyhow!("interrupted"))?;
            Ok(vec![vec![1.0, 0.0]; texts.len()])
        }
    }

    #[test]
    fn an_interrupted_build_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("folder");
        let texts: Vec<String> = (0..600).map(|n| format!("text {n}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let read = || Ok((articles(&texts), Vec::new()));
        let source = Source { fingerprint: "one".into(), articles: &read, most_words: 100 };
        let build = |batches: usize, told: &mut Vec<(usize, usize)>| {
            let slow = Slow(Clock::fake(), AtomicUsize::new(batches));
            let encoder = Encoder { embed: &slow, sha256: "slow" };
            let kept = Some(Kept { folder: folder.path(), fresh: false });
            open(&source, &[], Some(encoder), kept, &slow.0, &mut |done, all| told.push((done, all)))
        };
        let mut told = Vec::new();
        assert!(build(3, &mut told).is_err());
        assert_eq!(told.last(), Some(&(384, 600)));
        let (index, opening) = build(2, &mut told).expect("the rest");
        assert_eq!((index.len(), took(&opening)), (600, (true, 216, 384)));
        assert_eq!(took(&build(0, &mut told).expect("loaded").1), (false, 0, 0));
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
