//! The key-value cache: per layer one tensor of keys and one of values, written in place.

use crate::error::{Result, ensure};
use candle_core::{DType, Device, Tensor};

/// Keys and values of one sequence, every layer `[kv_heads, capacity, head_dim]`.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<LayerKv>,
    length: usize,
    capacity: usize,
    shape: KvShape,
}

/// Keys and values of a range of positions, every layer `[kv_heads, positions, head_dim]`.
#[derive(Debug, Clone)]
pub(crate) struct KvBlock {
    layers: Vec<LayerKv>,
    positions: usize,
}

#[derive(Debug, Clone)]
struct LayerKv {
    keys: Tensor,
    values: Tensor,
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
        2 * self.layers * self.kv_heads * positions * self.head_dim * size_of::<f32>()
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
        let mut layers = Vec::new();
        for index in 0..self.shape.layers {
            let (keys, values) = (self.shape.zeros(capacity)?, self.shape.zeros(capacity)?);
            if let Some(old) = self.layers.get(index).filter(|_| self.length > 0) {
                keys.slice_set(&old.keys.narrow(1, 0, self.length)?.contiguous()?, 1, 0)?;
                values.slice_set(&old.values.narrow(1, 0, self.length)?.contiguous()?, 1, 0)?;
            }
            layers.push(LayerKv { keys, values });
        }
        (self.layers, self.capacity) = (layers, capacity);
        Ok(())
    }

    /// Writes the keys and values of the positions after the cached ones for one layer, and returns that layer's keys and
    /// values from position `first` to the last one written. [`KvCache::advance`] makes them count when every layer has
    /// written.
    pub(crate) fn write(&self, layer: usize, keys: &Tensor, values: &Tensor, first: usize) -> Result<(Tensor, Tensor)> {
        let end = self.length + keys.dim(1)?;
        ensure!(end <= self.capacity && first < end, "the key-value cache has no room for position {end}");
        let Some(kept) = self.layers.get(layer) else { crate::error::bail!("the cache has no layer {layer}") };
        kept.keys.slice_set(keys, 1, self.length)?;
        kept.values.slice_set(values, 1, self.length)?;
        Ok((kept.keys.narrow(1, first, end - first)?, kept.values.narrow(1, first, end - first)?))
    }

    pub(crate) fn advance(&mut self, positions: usize) {
        self.length += positions;
    }

    /// A copy of a range of cached positions.
    pub(crate) fn copy_out(&self, start: usize, positions: usize) -> Result<KvBlock> {
        ensure!(start + positions <= self.length, "positions up to {} are not cached", start + positions);
        let layers = self.layers.iter().map(|layer| {
            // `copy` and not `contiguous`, which would share a range that happens to be the whole buffer.
            let keys = layer.keys.narrow(1, start, positions)?.force_contiguous()?;
            let values = layer.values.narrow(1, start, positions)?.force_contiguous()?;
            Ok(LayerKv { keys, values })
        });
        Ok(KvBlock { layers: layers.collect::<Result<_>>()?, positions })
    }

    /// Appends a block of positions that an earlier sequence computed.
    pub(crate) fn append(&mut self, block: &KvBlock) -> Result<()> {
        self.reserve(self.length + block.positions)?;
        for (layer, kept) in self.layers.iter().zip(&block.layers) {
            layer.keys.slice_set(&kept.keys, 1, self.length)?;
            layer.values.slice_set(&kept.values, 1, self.length)?;
        }
        self.advance(block.positions);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> KvShape {
        KvShape { layers: 2, kv_heads: 2, head_dim: 4, device: Device::Cpu }
    }

    fn positions(from: usize, count: usize) -> Tensor {
        let data: Vec<f32> = (0..2)
            .flat_map(|head| {
                (from..from + count).flat_map(move |p| (0..4).map(move |d| (head * 1000 + p * 10 + d) as f32))
            })
            .collect();
        Tensor::from_vec(data, (2, count, 4), &Device::Cpu).expect("tensor")
    }

    fn extend(cache: &mut KvCache, count: usize) -> Tensor {
        cache.reserve(cache.len() + count).expect("room");
        let new = positions(cache.len(), count);
        let mut seen = None;
        for layer in 0..2 {
            seen = Some(cache.write(layer, &new, &new, 0).expect("written").0);
        }
        cache.advance(count);
        seen.expect("two layers")
    }

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().and_then(|t| t.to_vec1()).expect("values")
    }

    #[test]
    fn growing_keeps_what_is_cached() {
        let mut cache = KvCache::new(shape());
        extend(&mut cache, 3);
        let seen = extend(&mut cache, STEP);
        assert_eq!(flat(&seen), flat(&positions(0, STEP + 3)));
    }

    #[test]
    fn truncated_positions_are_overwritten() {
        let mut cache = KvCache::new(shape());
        extend(&mut cache, 10);
        cache.truncate(4);
        assert_eq!(cache.len(), 4);
        let seen = extend(&mut cache, 2);
        assert_eq!(flat(&seen), flat(&positions(0, 6)));
    }

    #[test]
    fn a_copied_block_appends_to_another_sequence_and_is_its_own() {
        let mut first = KvCache::new(shape());
        extend(&mut first, 8);
        let blocks = [first.copy_out(0, 4).expect("copy"), first.copy_out(4, 4).expect("copy")];
        first.truncate(0);
        first.reserve(8).expect("room");
        first.write(0, &positions(500, 8), &positions(500, 8), 0).expect("overwritten");
        let mut second = KvCache::new(shape());
        for block in &blocks {
            second.append(block).expect("appended");
        }
        let seen = extend(&mut second, 1);
        assert_eq!(flat(&seen), flat(&positions(0, 9)));
    }

    #[test]
    fn writing_past_the_capacity_is_an_error() {
        let cache = KvCache::new(shape());
        assert!(cache.write(0, &positions(0, 1), &positions(0, 1), 0).is_err());
    }
}
