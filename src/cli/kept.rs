//! Vectors of texts, kept for who asks for the same text again. A grid judges the same answer by the same passages in many cells.

use crate::error::Result;
use crate::memory::Embed;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Texts whose vectors are kept at most: some 60 MB of vectors of 384 numbers and their texts.
const MOST_KEPT: usize = 1 << 15;

/// An encoder that keeps what it computed last.
pub(super) struct KeptVectors {
    inner: Arc<dyn Embed>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    vectors: HashMap<Arc<str>, Vec<f32>>,
    order: VecDeque<Arc<str>>,
}

impl KeptVectors {
    pub(super) fn new(inner: Arc<dyn Embed>) -> Self {
        Self { inner, kept: Mutex::default() }
    }
}

impl Embed for KeptVectors {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut missing: Vec<&str> = texts.iter().copied().filter(|text| !kept.vectors.contains_key(*text)).collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            for (text, vector) in missing.iter().zip(self.inner.embed(&missing)?) {
                let text: Arc<str> = Arc::from(*text);
                kept.vectors.insert(Arc::clone(&text), vector);
                kept.order.push_back(text);
            }
        }
        let vectors = texts.iter().map(|text| kept.vectors.get(*text).cloned().unwrap_or_default()).collect();
        while kept.order.len() > MOST_KEPT {
            if let Some(oldest) = kept.order.pop_front() {
                kept.vectors.remove(&oldest);
            }
        }
        Ok(vectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting(AtomicUsize);

    impl Embed for Counting {
        fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
            self.0.fetch_add(texts.len(), Ordering::SeqCst);
            Ok(texts.iter().map(|text| vec![text.len() as f32]).collect())
        }
    }

    #[test]
    fn a_text_is_embedded_once_and_every_text_gets_its_own_vector() {
        let counting = Arc::new(Counting(AtomicUsize::new(0)));
        let kept = KeptVectors::new(Arc::clone(&counting) as Arc<dyn Embed>);
        assert_eq!(kept.embed(&["aa", "b", "aa"]).unwrap(), [[2.0], [1.0], [2.0]]);
        assert_eq!(kept.embed(&["b", "ccc"]).unwrap(), [[1.0], [3.0]]);
        assert_eq!(counting.0.load(Ordering::SeqCst), 3);
    }
}
