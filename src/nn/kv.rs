//! The key-value cache of a sequence: written in place, cut short, copied out and in by blocks.

use super::kernels::{HeadCache, LANES};
use crate::error::{Result, ensure};
use candle_core::{DType, Device, Tensor};

/// Keys and values of one sequence.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<LayerKv>,
    length: usize,
    capacity: usize,
    shape: KvShape,
}

/// Keys and values of a range of positions.
#[derive(Debug, Clone)]
pub(crate) struct KvBlock {
    layers: Vec<LayerKv>,
    positions: usize,
}

/// Keys and values of one layer.
#[derive(Debug, Clone)]
pub(crate) enum LayerKv {
    Cpu(HeadCache),
    /// Each `[kv_heads, capacity, head_dim]`.
    Device {
        keys: Tensor,
        values: Tensor,
    },
}

/// What a cache must know of its model.
#[derive(Debug, Clone)]
pub(crate) struct KvShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) device: Device,
}

/// Capacities are multiples of this, so that growing is rare.
const STEP: usize = 256;

impl KvShape {
    /// Bytes that the keys and values of `positions` positions take.
    pub(crate) fn bytes(&self, positions: usize) -> usize {
        let width = if self.device.is_cpu() { self.head_dim.next_multiple_of(LANES) } else { self.head_dim };
        2 * self.layers * self.kv_heads * positions * width * size_of::<f32>()
    }

    fn empty_layer(&self) -> Result<LayerKv> {
        if self.device.is_cpu() {
            return Ok(LayerKv::Cpu(HeadCache::new(self.kv_heads, self.head_dim)));
        }
        Ok(LayerKv::Device { keys: self.zeros(0)?, values: self.zeros(0)? })
    }

    fn zeros(&self, capacity: usize) -> Result<Tensor> {
        Ok(Tensor::zeros((self.kv_heads, capacity, self.head_dim), DType::F32, &self.device)?)
    }
}

impl KvCache {
    pub(crate) fn new(shape: KvShape) -> Self {
        Self { layers: Vec::new(), length: 0, capacity: 0, shape }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Forgets every position from `length` on.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Makes room for `positions` in total; what is cached stays.
    pub(crate) fn reserve(&mut self, positions: usize) -> Result<()> {
        if positions <= self.capacity {
            return Ok(());
        }
        let capacity = positions.max(self.capacity + self.capacity / 2).next_multiple_of(STEP);
        while self.layers.len() < self.shape.layers {
            self.layers.push(self.shape.empty_layer()?);
        }
        for layer in &mut self.layers {
            match layer {
                LayerKv::Cpu(heads) => heads.grow(capacity, self.length),
                LayerKv::Device { keys, values } => {
                    for old in [keys, values] {
                        let new = self.shape.zeros(capacity)?;
                        if self.length > 0 {
                            new.slice_set(&old.narrow(1, 0, self.length)?.contiguous()?, 1, 0)?;
                        }
                        *old = new;
                    }
                }
            }
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Writes the keys and values, each `[kv_heads, positions, head_dim]`, of the positions after the cached ones for one
    /// layer, and shows that layer. [`KvCache::advance`] makes them count when every layer has written.
    pub(crate) fn write(&mut self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<&LayerKv> {
        let end = self.length + keys.dim(1)?;
        ensure!(end <= self.capacity, "the key-value cache has no room for position {end}");
        let Some(kept) = self.layers.get_mut(layer) else { crate::error::bail!("the cache has no layer {layer}") };
        match kept {
            LayerKv::Cpu(heads) => {
                let (keys, values) = (keys.flatten_all()?.to_vec1()?, values.flatten_all()?.to_vec1()?);
                heads.write(&keys, &values, self.length);
            }
            LayerKv::Device { keys: kept_keys, values: kept_values } => {
                kept_keys.slice_set(keys, 1, self.length)?;
                kept_values.slice_set(values, 1, self.length)?;
            }
        }
        Ok(kept)
    }

    pub(crate) fn advance(&mut self, positions: usize) {
        self.length += positions;
    }

    /// A copy of a range of cached positions that begins at a multiple of sixteen.
    pub(crate) fn copy_out(&self, start: usize, positions: usize) -> Result<KvBlock> {
        ensure!(start + positions <= self.length, "positions up to {} are not cached", start + positions);
        ensure!(start.is_multiple_of(LANES), "a block cannot begin at position {start}");
        let layers = self.layers.iter().map(|layer| {
            Ok(match layer {
                LayerKv::Cpu(heads) => LayerKv::Cpu(heads.copy_out(start..start + positions)),
                // `force_contiguous` and not `contiguous`, which would share a range that happens to be the whole buffer.
                LayerKv::Device { keys, values } => LayerKv::Device {
                    keys: keys.narrow(1, start, positions)?.force_contiguous()?,
                    values: values.narrow(1, start, positions)?.force_contiguous()?,
                },
            })
        });
        Ok(KvBlock { layers: layers.collect::<Result<_>>()?, positions })
    }

    /// Appends a block of positions that an earlier sequence computed. The cache's length must be a multiple of sixteen.
    pub(crate) fn append(&mut self, block: &KvBlock) -> Result<()> {
        ensure!(self.length.is_multiple_of(LANES), "a block cannot follow {} positions", self.length);
        self.reserve(self.length + block.positions)?;
        for (layer, kept) in self.layers.iter_mut().zip(&block.layers) {
            match (layer, kept) {
                (LayerKv::Cpu(heads), LayerKv::Cpu(block)) => heads.put(block, self.length),
                (LayerKv::Device { keys, values }, LayerKv::Device { keys: new_keys, values: new_values }) => {
                    keys.slice_set(new_keys, 1, self.length)?;
                    values.slice_set(new_values, 1, self.length)?;
                }
                _ => crate::error::bail!("the block comes from a cache on another device"),
            }
        }
        self.advance(block.positions);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kernels::{Isa, Sight, attend};

    fn shape() -> KvShape {
        KvShape { layers: 2, kv_heads: 2, head_dim: 4, device: Device::Cpu }
    }

    /// Keys or values that tell their head, position and element.
    fn positions(from: usize, count: usize) -> Tensor {
        let data: Vec<f32> = (0..2)
            .flat_map(|head| {
                (from..from + count).flat_map(move |p| (0..4).map(move |d| (head * 1000 + p * 10 + d) as f32))
            })
            .collect();
        Tensor::from_vec(data, (2, count, 4), &Device::Cpu).expect("tensor")
    }

    fn extend_with(cache: &mut KvCache, new: &Tensor) {
        let count = new.dim(1).expect("positions");
        cache.reserve(cache.len() + count).expect("room");
        for layer in 0..2 {
            cache.write(layer, new, new).expect("written");
        }
        cache.advance(count);
    }

    fn extend(cache: &mut KvCache, count: usize) {
        extend_with(cache, &positions(cache.len(), count));
    }

    /// What a query sees of each position alone: a window of one gives that position's values.
    fn kept(cache: &KvCache) -> Vec<f32> {
        let LayerKv::Cpu(heads) = &cache.layers[1] else { panic!("the cache is on the CPU") };
        let see = |position| {
            let sight = Sight { rows: 1, position, window: Some(1), softcap: None };
            attend(Isa::best(), heads, &[1.0; 8], &sight)
        };
        (0..cache.len()).flat_map(see).collect()
    }

    fn expected(count: usize) -> Vec<f32> {
        (0..count)
            .flat_map(|p| (0..2).flat_map(move |head| (0..4).map(move |d| (head * 1000 + p * 10 + d) as f32)))
            .collect()
    }

    #[test]
    fn growing_keeps_what_is_cached() {
        let mut cache = KvCache::new(shape());
        extend(&mut cache, 3);
        extend(&mut cache, STEP);
        assert_eq!(kept(&cache), expected(STEP + 3));
    }

    #[test]
    fn truncated_positions_are_overwritten() {
        let mut cache = KvCache::new(shape());
        extend_with(&mut cache, &positions(500, 10));
        cache.truncate(0);
        extend(&mut cache, 6);
        assert_eq!((cache.len(), kept(&cache)), (6, expected(6)));
    }

    #[test]
    fn a_copied_block_appends_to_another_sequence_and_is_its_own() {
        let mut first = KvCache::new(shape());
        extend(&mut first, 40);
        let blocks = [first.copy_out(0, 16).expect("copy"), first.copy_out(16, 16).expect("copy")];
        assert!(first.copy_out(8, 16).is_err() && first.copy_out(32, 16).is_err());
        first.truncate(0);
        extend_with(&mut first, &positions(500, 40));
        let mut second = KvCache::new(shape());
        for block in &blocks {
            second.append(block).expect("appended");
        }
        extend(&mut second, 1);
        assert_eq!(kept(&second), expected(33));
        assert!(second.append(&blocks[0]).is_err(), "blocks stand at multiples of sixteen");
    }

    #[test]
    fn writing_past_the_capacity_is_an_error() {
        let mut cache = KvCache::new(shape());
        assert!(cache.write(0, &positions(0, 1), &positions(0, 1)).is_err());
    }
}
