//! Pages of keys and values that earlier prompts computed.
//!
//! A position's keys and values depend on the tokens up to it and on nothing else, so that what a prompt computed can be
//! kept under its tokens and reused with results equal bit for bit. Pages form a tree: each is kept under its parent and
//! its own tokens, the last one of a prompt with as many as there were. A page can belong to a scope; then only that scope
//! finds it.

use super::kernels::PAGE;
use super::kv::KvPage;
use std::collections::{HashMap, HashSet};

/// The kept pages.
#[derive(Debug)]
pub(crate) struct PrefixStore {
    children: HashMap<Branch, Vec<Kept>>,
    /// How many pages are kept at most.
    limit: usize,
    pages: usize,
    next_id: u64,
    now: u64,
}

/// A place in the tree of pages: the beginning of all prompts, or a kept page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place(u64);

impl Place {
    const START: Self = Self(0);
}

/// Where pages are kept: after which place, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Branch {
    scope: Option<Box<str>>,
    parent: Place,
}

#[derive(Debug)]
struct Kept {
    place: Place,
    tokens: Box<[u32]>,
    page: KvPage,
    last_used: u64,
}

/// What is kept of the tokens asked for.
#[derive(Debug)]
struct Found {
    page: KvPage,
    /// How many of the tokens, from the first on, the page holds.
    positions: usize,
    /// Where to look for what follows; only whole pages are continued.
    place: Place,
}

impl PrefixStore {
    /// An empty store that keeps at most `limit` pages.
    pub(crate) fn new(limit: usize) -> Self {
        Self { children: HashMap::new(), limit, pages: 0, next_id: 1, now: 0 }
    }

    /// The page after `parent` that shares most tokens with these, everybody's or this scope's own.
    fn get(&mut self, scope: Option<&str>, parent: Place, tokens: &[u32]) -> Option<Found> {
        self.now += 1;
        let branches = [None, scope].map(|scope| Branch { scope: scope.map(Into::into), parent });
        let branches = if scope.is_some() { &branches[..] } else { &branches[..1] };
        let shared = |kept: &Kept| kept.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let mut best: Option<(&Branch, usize, usize)> = None;
        for branch in branches {
            for (index, kept) in self.children.get(branch).into_iter().flatten().enumerate() {
                let positions = shared(kept);
                if positions > best.map_or(0, |best| best.2) {
                    best = Some((branch, index, positions));
                }
            }
        }
        let (branch, index, positions) = best?;
        let kept = self.children.get_mut(branch)?.get_mut(index)?;
        kept.last_used = self.now;
        Some(Found { page: kept.page.clone(), positions, place: kept.place })
    }

    /// Keeps what a prompt computed: `page` gives the pages by their number. Pages that were not used for longest make room;
    /// where none can, the rest of the prompt is not kept.
    pub(crate) fn keep<E>(
        &mut self,
        scope: Option<&str>,
        tokens: &[u32],
        page: impl Fn(usize) -> Result<KvPage, E>,
    ) -> Result<(), E> {
        let mut place = Place::START;
        for (index, tokens) in tokens.chunks(PAGE).enumerate() {
            let known = self.get(scope, place, tokens).filter(|found| found.positions == tokens.len());
            let next = match known {
                Some(found) => Some(found.place),
                None => self.insert(scope, place, tokens, page(index)?),
            };
            let Some(next) = next else { break };
            place = next;
        }
        Ok(())
    }

    /// Keeps the page of these tokens and tells its place. `None` when it does not fit beside its own prefix.
    fn insert(&mut self, scope: Option<&str>, parent: Place, tokens: &[u32], page: KvPage) -> Option<Place> {
        self.now += 1;
        let branch = Branch { scope: scope.map(Into::into), parent };
        // The same page with more of it filled takes the place of one with less.
        let shorter =
            self.children.get_mut(&branch).into_iter().flatten().find(|kept| tokens.starts_with(&kept.tokens));
        if let Some(kept) = shorter {
            (kept.tokens, kept.page, kept.last_used) = (tokens.into(), page, self.now);
            return Some(kept.place);
        }
        while self.pages + 1 > self.limit {
            self.forget_oldest_leaf_except(parent)?;
        }
        let place = Place(self.next_id);
        self.next_id += 1;
        let kept = Kept { place, tokens: tokens.into(), page, last_used: self.now };
        self.children.entry(branch).or_default().push(kept);
        self.pages += 1;
        Some(place)
    }

    /// A page is worthless without those before it, so only pages that none continues are given up.
    fn forget_oldest_leaf_except(&mut self, spared: Place) -> Option<()> {
        let parents: HashSet<Place> = self.children.keys().map(|branch| branch.parent).collect();
        let leaves = self.children.iter().flat_map(|(branch, kept)| kept.iter().map(move |kept| (branch, kept)));
        let (branch, place) = leaves
            .filter(|(_, kept)| kept.place != spared && !parents.contains(&kept.place))
            .min_by_key(|(_, kept)| kept.last_used)
            .map(|(branch, kept)| (branch.clone(), kept.place))?;
        let left = self.children.get_mut(&branch)?;
        left.retain(|kept| kept.place != place);
        if left.is_empty() {
            self.children.remove(&branch);
        }
        self.pages -= 1;
        Some(())
    }

    /// Walks the tree along a prompt: the pages to append, and how many positions of each.
    pub(crate) fn walk(&mut self, scope: Option<&str>, tokens: &[u32]) -> Vec<(KvPage, usize)> {
        let mut found = Vec::new();
        let mut place = Place::START;
        for tokens in tokens.chunks(PAGE) {
            let Some(next) = self.get(scope, place, tokens) else { break };
            found.push((next.page, next.positions));
            if next.positions < PAGE {
                break;
            }
            place = next.place;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernels::{Page, PageShape};
    use std::sync::Arc;

    fn page() -> KvPage {
        KvPage::Cpu(Arc::new(Page::new(PageShape { layers: 1, kv_heads: 1, head_dim: 2 })))
    }

    fn found(store: &mut PrefixStore, scope: Option<&str>, parent: Place, tokens: &[u32]) -> Option<(Place, usize)> {
        store.get(scope, parent, tokens).map(|found| (found.place, found.positions))
    }

    #[test]
    fn a_page_is_found_only_after_the_tokens_it_followed_and_as_far_as_they_agree() {
        let mut store = PrefixStore::new(10);
        let first = store.insert(None, Place::START, &[1, 2], page()).expect("kept");
        let second = store.insert(None, first, &[3, 4, 5], page()).expect("kept");
        let third = store.insert(None, first, &[3, 4, 9, 9], page()).expect("kept");
        assert_eq!(found(&mut store, None, first, &[3, 4, 5, 6]), Some((second, 3)));
        assert_eq!(found(&mut store, None, first, &[3, 4, 9, 1]), Some((third, 3)));
        assert_eq!(found(&mut store, None, first, &[3, 7]), Some((second, 1)));
        assert_eq!(found(&mut store, None, Place::START, &[3, 4]), None);
        assert_eq!(found(&mut store, None, second, &[3, 4]), None);
    }

    #[test]
    fn a_page_that_is_filled_further_replaces_itself() {
        let mut store = PrefixStore::new(1);
        let place = store.insert(None, Place::START, &[1, 2], page()).expect("kept");
        assert_eq!(store.insert(None, Place::START, &[1, 2, 3], page()), Some(place));
        assert_eq!(found(&mut store, None, Place::START, &[1, 2, 3, 4]), Some((place, 3)));
        assert_eq!(store.pages, 1);
    }

    #[test]
    fn the_page_unused_for_longest_goes_first_but_never_one_that_is_continued() {
        let mut store = PrefixStore::new(3);
        let root = store.insert(None, Place::START, &[1], page()).expect("kept");
        store.insert(None, root, &[2], page()).expect("kept");
        store.insert(None, root, &[3], page()).expect("kept");
        assert!(store.get(None, root, &[2]).is_some());
        store.insert(None, root, &[4], page()).expect("kept");
        assert!(store.get(None, root, &[3]).is_none(), "unused for longest");
        assert!(store.get(None, root, &[2]).is_some() && store.get(None, Place::START, &[1]).is_some());
    }

    #[test]
    fn a_scope_finds_its_own_pages_and_everybodys() {
        let mut store = PrefixStore::new(10);
        let shared = store.insert(None, Place::START, &[1], page()).expect("kept");
        let own = store.insert(Some("a"), shared, &[2], page()).expect("kept");
        assert_eq!(found(&mut store, Some("a"), Place::START, &[1]), Some((shared, 1)));
        assert_eq!(found(&mut store, Some("a"), shared, &[2]), Some((own, 1)));
        assert!(store.get(Some("b"), shared, &[2]).is_none() && store.get(None, shared, &[2]).is_none());
    }

    #[test]
    fn the_limit_holds() {
        let mut store = PrefixStore::new(2);
        let mut parent = Place::START;
        for token in 0..2 {
            parent = store.insert(None, parent, &[token], page()).expect("kept");
        }
        assert_eq!(store.insert(None, parent, &[9], page()), None, "its own prefix must not go");
        assert_eq!(store.pages, 2);
        assert_eq!(PrefixStore::new(0).insert(None, Place::START, &[9], page()), None);
    }
}
