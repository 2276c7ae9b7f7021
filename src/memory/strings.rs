//! Many texts in one piece of memory: a million small allocations would cost more than the texts.

use crate::error::{Result, ensure};

/// Texts, one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Strings {
    bytes: String,
    /// Where each text ends.
    ends: Vec<u64>,
}

impl Strings {
    pub(super) fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len() as u64);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text at a place; empty past the end.
    pub(super) fn get(&self, index: usize) -> &str {
        let end_of = |index: usize| self.ends.get(index).map(|&end| end as usize);
        let start = index.checked_sub(1).map_or(Some(0), end_of);
        start.zip(end_of(index)).and_then(|(start, end)| self.bytes.get(start..end)).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The place of a text among sorted ones.
    pub(super) fn find_sorted(&self, text: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.get(middle).cmp(text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// The two parts that a file keeps.
    pub(super) fn parts(&self) -> (&[u8], &[u64]) {
        (self.bytes.as_bytes(), &self.ends)
    }

    /// From the two parts of a file, which are checked: valid UTF-8, ends in order and at borders of characters.
    pub(super) fn from_parts(bytes: Vec<u8>, ends: Vec<u64>) -> Result<Self> {
        let bytes = String::from_utf8(bytes).map_err(|_| crate::error::anyhow!("a text is not valid UTF-8"))?;
        ensure!(ends.is_sorted() && ends.last().copied().unwrap_or(0) == bytes.len() as u64, "texts end out of order");
        ensure!(ends.iter().all(|&end| bytes.is_char_boundary(end as usize)), "a text ends within a character");
        Ok(Self { bytes, ends })
    }
}

impl<'a> FromIterator<&'a str> for Strings {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut strings = Self::default();
        texts.into_iter().for_each(|text| strings.push(text));
        strings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn texts_come_back_from_their_parts(texts in prop::collection::vec(any::<String>(), 0..8)) {
            let strings: Strings = texts.iter().map(String::as_str).collect();
            let (bytes, ends) = strings.parts();
            let back = Strings::from_parts(bytes.to_vec(), ends.to_vec()).unwrap();
            prop_assert_eq!(back.iter().collect::<Vec<_>>(), texts.iter().map(String::as_str).collect::<Vec<_>>());
        }

        #[test]
        fn any_parts_are_taken_or_refused_without_panic(bytes: Vec<u8>, ends in prop::collection::vec(0_u64..20, 0..5)) {
            if let Ok(strings) = Strings::from_parts(bytes, ends) {
                prop_assert_eq!(strings.iter().count(), strings.len());
            }
        }
    }

    #[test]
    fn sorted_texts_are_found() {
        let strings: Strings = ["a", "b", "dd"].into_iter().collect();
        assert_eq!(
            ["a", "b", "dd", "c", ""].map(|text| strings.find_sorted(text)),
            [Some(0), Some(1), Some(2), None, None]
        );
        assert_eq!((strings.get(2), strings.get(3), Strings::default().get(0)), ("dd", "", ""));
    }
}
