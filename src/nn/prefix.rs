//! A bounded store of prompt blocks, so that a prefix that prompts share is computed once.
//!
//! Prompts are computed in blocks at fixed positions. The keys and values of a whole block depend only on the tokens up
//! to its end, so a block can be kept under these tokens and reused with results equal bit for bit. Blocks form a tree:
//! each is kept under its parent and its own tokens. A block can belong to a scope; then only that scope finds it.

use super::kv::KvBlock;
use std::collections::HashMap;
use std::sync::Arc;

/// Tokens in a block.
pub(crate) const BLOCK: usize = 128;

/// The kept blocks.
#[derive(Debug)]
pub(crate) struct PrefixStore {
    blocks: HashMap<Key, Kept>,
    limit: usize,
    bytes: usize,
    next_id: u64,
    now: u64,
}

/// A place in the tree of blocks: the beginning of all prompts, or a kept block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(u64);

impl Place {
    pub(crate) const START: Self = Self(0);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    scope: Option<Box<str>>,
    parent: Place,
    tokens: Box<[u32]>,
}

#[derive(Debug)]
struct Kept {
    place: Place,
    block: Arc<KvBlock>,
    bytes: usize,
    last_used: u64,
}

impl PrefixStore {
    /// An empty store that keeps at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { blocks: HashMap::new(), limit, bytes: 0, next_id: 1, now: 0 }
    }

    /// The block of these tokens after `parent`, and its place: everybody's, or this scope's own.
    pub(crate) fn get(&mut self, scope: Option<&str>, parent: Place, tokens: &[u32]) -> Option<(Place, Arc<KvBlock>)> {
        self.now += 1;
        let mut key = Key { scope: None, parent, tokens: tokens.into() };
        if !self.blocks.contains_key(&key) {
            key.scope = Some(scope?.into());
        }
        let kept = self.blocks.get_mut(&key)?;
        kept.last_used = self.now;
        Some((kept.place, Arc::clone(&kept.block)))
    }

    /// Keeps a block of `bytes` bytes; blocks that were not used for longest make room for it. `None` when it does not
    /// fit beside its own prefix.
    pub(crate) fn insert(
        &mut self,
        scope: Option<&str>,
        parent: Place,
        tokens: &[u32],
        block: KvBlock,
        bytes: usize,
    ) -> Option<Place> {
        if bytes > self.limit {
            return None;
        }
        while self.bytes + bytes > self.limit {
            let oldest = self.oldest_leaf_except(parent)?;
            if let Some(gone) = self.blocks.remove(&oldest) {
                self.bytes -= gone.bytes;
            }
        }
        self.now += 1;
        let place = Place(self.next_id);
        self.next_id += 1;
        let kept = Kept { place, block: Arc::new(block), bytes, last_used: self.now };
        if let Some(replaced) =
            self.blocks.insert(Key { scope: scope.map(Into::into), parent, tokens: tokens.into() }, kept)
        {
            self.bytes -= replaced.bytes;
        }
        self.bytes += bytes;
        Some(place)
    }

    /// A block is worthless without those before it, so only blocks that none continues are given up.
    fn oldest_leaf_except(&self, spared: Place) -> Option<Key> {
        let parents: std::collections::HashSet<Place> = self.blocks.keys().map(|key| key.parent).collect();
        self.blocks
            .iter()
            .filter(|(_, kept)| kept.place != spared && !parents.contains(&kept.place))
            .min_by_key(|(_, kept)| kept.last_used)
            .map(|(key, _)| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kv::{KvCache, KvShape};
    use candle_core::Device;

    fn block() -> KvBlock {
        let cache = KvCache::new(KvShape { layers: 0, kv_heads: 1, head_dim: 2, device: Device::Cpu });
        cache.copy_out(0, 0).expect("an empty block")
    }

    #[test]
    fn a_block_is_found_only_after_the_tokens_it_followed() {
        let mut store = PrefixStore::new(100);
        let first = store.insert(None, Place::START, &[1, 2], block(), 10).expect("kept");
        let second = store.insert(None, first, &[3, 4], block(), 10).expect("kept");
        assert_eq!(store.get(None, first, &[3, 4]).map(|found| found.0), Some(second));
        assert!(store.get(None, Place::START, &[3, 4]).is_none());
        assert!(store.get(None, second, &[3, 4]).is_none());
    }

    #[test]
    fn the_block_unused_for_longest_goes_first_but_never_one_that_is_continued() {
        let mut store = PrefixStore::new(30);
        let root = store.insert(None, Place::START, &[1], block(), 10).expect("kept");
        store.insert(None, root, &[2], block(), 10).expect("kept");
        store.insert(None, root, &[3], block(), 10).expect("kept");
        assert!(store.get(None, root, &[2]).is_some());
        store.insert(None, root, &[4], block(), 10).expect("kept");
        assert!(store.get(None, root, &[3]).is_none(), "unused for longest");
        assert!(store.get(None, root, &[2]).is_some() && store.get(None, Place::START, &[1]).is_some());
    }

    #[test]
    fn a_scope_finds_its_own_blocks_and_everybodys() {
        let mut store = PrefixStore::new(100);
        let shared = store.insert(None, Place::START, &[1], block(), 10).expect("kept");
        let own = store.insert(Some("a"), shared, &[2], block(), 10).expect("kept");
        assert_eq!(store.get(Some("a"), Place::START, &[1]).map(|found| found.0), Some(shared));
        assert_eq!(store.get(Some("a"), shared, &[2]).map(|found| found.0), Some(own));
        assert!(store.get(Some("b"), shared, &[2]).is_none() && store.get(None, shared, &[2]).is_none());
    }

    #[test]
    fn the_limit_holds() {
        let mut store = PrefixStore::new(25);
        let mut parent = Place::START;
        for token in 0..2 {
            parent = store.insert(None, parent, &[token], block(), 10).expect("kept");
        }
        assert_eq!(store.insert(None, parent, &[9], block(), 10), None, "its own prefix must not go");
        assert_eq!(store.insert(None, Place::START, &[9], block(), 26), None);
        assert!(store.bytes <= 25);
    }
}
