//! The key-value cache of a sequence: pages that sequences share until one of them writes.

use super::kernels::{PAGE, Page, PageShape};
use crate::error::{Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// Keys and values of one sequence.
#[derive(Debug)]
pub(crate) struct KvCache {
    shape: KvShape,
    length: usize,
    store: Store,
    /// Whether the last page holds values of positions that are not counted.
    stale: bool,
}

#[derive(Debug)]
enum Store {
    Cpu(Vec<Arc<Page>>),
    /// For each layer the keys of all heads, then the values of all heads, each head's `[capacity, head_dim]`; nothing where
    /// there is no room yet.
    Device(Option<Tensor>),
}

/// Keys and values of up to [`PAGE`] positions, to be put into other caches. Cloning copies nothing.
#[derive(Debug, Clone)]
pub(crate) enum KvPage {
    Cpu(Arc<Page>),
    Device(Tensor),
}

/// What a cache must know of its model.
#[derive(Debug, Clone)]
pub(crate) struct KvShape {
    pub(crate) pages: PageShape,
    pub(crate) device: Device,
}

/// On a device capacities are multiples of this, so that growing is rare.
const STEP: usize = 256;

impl KvCache {
    /// An empty cache.
    pub(crate) fn new(shape: KvShape) -> Self {
        let store = if shape.device.is_cpu() { Store::Cpu(Vec::new()) } else { Store::Device(None) };
        Self { shape, length: 0, store, stale: false }
    }

    /// A cache that keeps tensors, as on a device, wherever they are.
    #[cfg(test)]
    pub(crate) fn of_tensors(shape: KvShape) -> Self {
        Self { shape, length: 0, store: Store::Device(None), stale: false }
    }

    /// Positions cached.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Forgets every position from `length` on.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.stale |= length < self.length;
        self.length = self.length.min(length);
        if let Store::Cpu(pages) = &mut self.store {
            pages.truncate(self.length.div_ceil(PAGE));
        }
    }

    /// A second sequence with the same past. On the CPU they share their pages, and each copies the last one when it
    /// writes to it.
    pub(crate) fn fork(&self) -> Result<Self> {
        let store = match &self.store {
            Store::Cpu(pages) => Store::Cpu(pages.clone()),
            Store::Device(kept) => Store::Device(kept.as_ref().map(Tensor::copy).transpose()?),
        };
        Ok(Self { shape: self.shape.clone(), length: self.length, store, stale: self.stale })
    }

    /// Makes room for `positions` positions in total, all those past the cached ones this sequence's own.
    pub(crate) fn reserve(&mut self, positions: usize) -> Result<()> {
        match &mut self.store {
            Store::Cpu(pages) => {
                for (index, page) in pages.iter_mut().enumerate().skip(self.length / PAGE) {
                    if self.stale {
                        Arc::make_mut(page).clear_from(self.length.saturating_sub(index * PAGE));
                    } else {
                        Arc::make_mut(page);
                    }
                }
                self.stale = false;
                while pages.len() * PAGE < positions {
                    pages.push(Arc::new(Page::new(self.shape.pages)));
                }
            }
            Store::Device(kept) => {
                let capacity = kept.as_ref().map_or(Ok(0), |kept| kept.dim(1))?;
                if positions <= capacity {
                    return Ok(());
                }
                let PageShape { layers, kv_heads, head_dim } = self.shape.pages;
                let larger = positions.max(capacity + capacity / 2).next_multiple_of(STEP);
                let new = Tensor::zeros((2 * layers * kv_heads, larger, head_dim), DType::F32, &self.shape.device)?;
                if let Some(old) = kept.as_ref().filter(|_| self.length > 0) {
                    new.slice_set(&old.narrow(1, 0, self.length)?.contiguous()?, 1, 0)?;
                }
                *kept = Some(new);
            }
        }
        Ok(())
    }

    /// On the CPU: all pages.
    pub(crate) fn pages(&self) -> Option<&[Arc<Page>]> {
        match &self.store {
            Store::Cpu(pages) => Some(pages),
            Store::Device(_) => None,
        }
    }

    /// On the CPU: the pages that positions past the cached ones are written to, the first position at
    /// `self.len() % PAGE`. After [`KvCache::reserve`] no other sequence shares them.
    pub(crate) fn open_pages(&mut self) -> Option<&mut [Arc<Page>]> {
        match &mut self.store {
            Store::Cpu(pages) => pages.get_mut(self.length / PAGE..),
            Store::Device(_) => None,
        }
    }

    /// On a device: writes the keys and values, each `[kv_heads, positions, head_dim]`, of the positions after the cached
    /// ones for one layer. [`KvCache::advance`] makes them count when every layer has written.
    pub(crate) fn write(&self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<()> {
        let (kept_keys, kept_values) = self.layer(layer)?;
        kept_keys.slice_set(keys, 1, self.length)?;
        kept_values.slice_set(values, 1, self.length)?;
        Ok(())
    }

    /// On a device: all keys and values, where there is room for any.
    #[cfg(feature = "cuda")]
    pub(crate) fn kept(&self) -> Option<&Tensor> {
        match &self.store {
            Store::Device(kept) => kept.as_ref(),
            Store::Cpu(_) => None,
        }
    }

    /// On a device: the keys and the values of a layer, each `[kv_heads, capacity, head_dim]`.
    pub(crate) fn layer(&self, layer: usize) -> Result<(Tensor, Tensor)> {
        let Store::Device(Some(kept)) = &self.store else { bail!("the cache has no room on a device") };
        let PageShape { layers, kv_heads, .. } = self.shape.pages;
        ensure!(layer < layers, "the cache has no layer {layer}");
        let part = |index: usize| kept.narrow(0, index * kv_heads, kv_heads);
        Ok((part(2 * layer)?, part(2 * layer + 1)?))
    }

    /// Counts positions that every layer has written.
    pub(crate) fn advance(&mut self, positions: usize) {
        self.length += positions;
    }

    /// The positions from a multiple of [`PAGE`] on, as many as are cached of that page.
    pub(crate) fn page(&self, index: usize) -> Result<KvPage> {
        let (start, count) = (index * PAGE, PAGE.min(self.length.saturating_sub(index * PAGE)));
        ensure!(count > 0, "position {start} is not cached");
        Ok(match &self.store {
            Store::Cpu(pages) => KvPage::Cpu(Arc::clone(&pages[index])),
            Store::Device(None) => bail!("position {start} is not cached"),
            // `force_contiguous` and not `contiguous`, which would share a range that happens to be the whole buffer.
            Store::Device(Some(kept)) => KvPage::Device(kept.narrow(1, start, count)?.force_contiguous()?),
        })
    }

    /// Appends the first `positions` positions of a page that another sequence computed after the same tokens. The cache's
    /// length must be a multiple of [`PAGE`].
    pub(crate) fn append(&mut self, page: &KvPage, positions: usize) -> Result<()> {
        ensure!(self.length.is_multiple_of(PAGE), "a page cannot follow {} positions", self.length);
        if matches!(self.store, Store::Device(_)) {
            self.reserve(self.length + positions)?;
        }
        match (&mut self.store, page) {
            (Store::Cpu(pages), KvPage::Cpu(page)) => {
                pages.truncate(self.length / PAGE);
                pages.push(Arc::clone(page));
                self.stale = positions < PAGE;
            }
            (Store::Device(Some(kept)), KvPage::Device(page)) => {
                kept.slice_set(&page.narrow(1, 0, positions)?.contiguous()?, 1, self.length)?;
            }
            _ => bail!("the page comes from a cache on another device"),
        }
        self.advance(positions);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernels::{Isa, Rows, Sight, attend};

    const SHAPE: PageShape = PageShape { layers: 2, kv_heads: 2, head_dim: 4 };

    fn cache() -> KvCache {
        KvCache::new(KvShape { pages: SHAPE, device: Device::Cpu })
    }

    /// Appends positions whose keys and values tell their head, `name` and element.
    fn extend(cache: &mut KvCache, names: std::ops::Range<usize>) {
        cache.reserve(cache.len() + names.len()).expect("room");
        for name in names {
            let place = cache.len() % PAGE;
            let page = Arc::get_mut(&mut cache.open_pages().expect("on the CPU")[0]).expect("its own");
            for (layer, head) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let value: Vec<f32> = (0..4).map(|d| (head * 1000 + name * 10 + d) as f32).collect();
                page.write(layer, head, place, &value, &value);
            }
            cache.advance(1);
        }
    }

    /// What a query sees of each position alone: a window of one gives that position's values.
    fn kept(cache: &KvCache) -> Vec<f32> {
        let pages = cache.pages().expect("on the CPU");
        let see = |position| {
            let sight = Sight { rows: 1, position, window: Some(1), softcap: None };
            attend(Isa::best(), SHAPE, 1, &[Rows { pages, sight }], &[1.0; 8], 2)
        };
        (0..cache.len()).flat_map(see).collect()
    }

    fn expected(names: impl IntoIterator<Item = usize>) -> Vec<f32> {
        let position = |name| (0..2).flat_map(move |head| (0..4).map(move |d| (head * 1000 + name * 10 + d) as f32));
        names.into_iter().flat_map(position).collect()
    }

    #[test]
    fn growing_keeps_what_is_cached() {
        let mut cache = cache();
        extend(&mut cache, 0..3);
        extend(&mut cache, 3..2 * PAGE + 3);
        assert_eq!(kept(&cache), expected(0..2 * PAGE + 3));
    }

    #[test]
    fn truncated_positions_are_overwritten() {
        let mut cache = cache();
        extend(&mut cache, 500..500 + PAGE + 10);
        cache.truncate(PAGE + 2);
        extend(&mut cache, 0..6);
        assert_eq!(kept(&cache), expected((500..502 + PAGE).chain(0..6)));
    }

    #[test]
    fn what_is_no_number_and_was_truncated_reaches_no_result() {
        let mut cache = cache();
        extend(&mut cache, 0..3);
        cache.reserve(5).expect("room");
        for place in 3..5 {
            let page = Arc::get_mut(&mut cache.open_pages().expect("on the CPU")[0]).expect("its own");
            (0..2).for_each(|head| page.write(1, head, place, &[1.0; 4], &[f32::NAN; 4]));
        }
        cache.advance(2);
        let kept_page = cache.page(0).expect("kept");
        cache.truncate(3);
        let mut other = self::cache();
        other.append(&kept_page, 3).expect("appended");
        for cache in [&mut cache, &mut other] {
            extend(cache, 7..8);
            let sight = Sight { rows: 1, position: 3, window: None, softcap: None };
            let rows = [Rows { pages: cache.pages().expect("on the CPU"), sight }];
            assert!(attend(Isa::best(), SHAPE, 1, &rows, &[1.0; 8], 2).iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn a_fork_shares_the_past_and_has_a_future_of_its_own() {
        let mut first = cache();
        extend(&mut first, 0..PAGE + 5);
        let mut second = first.fork().expect("forked");
        extend(&mut first, 100..103);
        extend(&mut second, 200..202);
        assert_eq!(kept(&first), expected((0..PAGE + 5).chain(100..103)));
        assert_eq!(kept(&second), expected((0..PAGE + 5).chain(200..202)));
        let shared = |index: usize| Arc::ptr_eq(&first.pages().unwrap()[index], &second.pages().unwrap()[index]);
        assert!(shared(0) && !shared(1), "only what was written to is copied");
    }

    #[test]
    fn a_page_is_appended_in_part_and_stays_what_it_was() {
        let mut first = cache();
        extend(&mut first, 0..PAGE + 20);
        let pages = [first.page(0).expect("whole"), first.page(1).expect("in part")];
        assert!(first.page(2).is_err());
        let mut second = cache();
        second.append(&pages[0], PAGE).expect("appended");
        second.append(&pages[1], 7).expect("appended");
        assert!(second.append(&pages[1], 7).is_err(), "pages stand at multiples of their size");
        extend(&mut second, 300..310);
        extend(&mut first, 400..401);
        assert_eq!(kept(&second), expected((0..PAGE + 7).chain(300..310)));
        assert_eq!(kept(&first), expected((0..PAGE + 20).chain(400..401)));
    }
}
