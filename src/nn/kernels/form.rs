//! How the types of GGUF files write a block of 32 weights, as data.

use super::pack::{LINE, TILE};
use candle_core::quantized::GgmlDType;

/// A quantised type. Every weight is `scale * code + base`; the base is a minimum of the block, or the scale times what is
/// taken off every code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the names of GGUF")]
#[repr(u8)]
pub(crate) enum Form {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// Weights in a block.
pub(crate) const BLOCK: usize = 32;
/// Blocks that share a scale in the K types.
pub(super) const SUPER: usize = 8;

impl Form {
    /// Every form.
    pub(crate) const ALL: [Self; 8] =
        [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Q4_K, Self::Q5_K, Self::Q6_K];

    /// The form of a tensor type, where there is one.
    pub(crate) fn of(kind: GgmlDType) -> Option<Self> {
        Some(match kind {
            GgmlDType::Q4_0 => Self::Q4_0,
            GgmlDType::Q4_1 => Self::Q4_1,
            GgmlDType::Q5_0 => Self::Q5_0,
            GgmlDType::Q5_1 => Self::Q5_1,
            GgmlDType::Q8_0 => Self::Q8_0,
            GgmlDType::Q4K => Self::Q4_K,
            GgmlDType::Q5K => Self::Q5_K,
            GgmlDType::Q6K => Self::Q6_K,
            _ => return None,
        })
    }

    /// The tensor type of the form.
    pub(crate) fn kind(self) -> GgmlDType {
        match self {
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4_K => GgmlDType::Q4K,
            Self::Q5_K => GgmlDType::Q5K,
            Self::Q6_K => GgmlDType::Q6K,
        }
    }

    /// Bits of a code.
    pub(super) const fn bits(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4_K => 4,
            Self::Q5_0 | Self::Q5_1 | Self::Q5_K => 5,
            Self::Q6_K => 6,
            Self::Q8_0 => 8,
        }
    }

    /// What is taken off every code.
    pub(super) const fn offset(self) -> i32 {
        match self {
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q6_K => 32,
            Self::Q8_0 => 128,
            Self::Q4_1 | Self::Q5_1 | Self::Q4_K | Self::Q5_K => 0,
        }
    }

    /// Whether blocks have a minimum.
    pub(super) const fn has_minimum(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1 | Self::Q4_K | Self::Q5_K)
    }

    /// Whether eight blocks share a scale, and each block has a multiple of it.
    pub(super) const fn is_super(self) -> bool {
        matches!(self, Self::Q4_K | Self::Q5_K | Self::Q6_K)
    }

    /// Multiples of the shared scale in a block: Q6_K has one for each half.
    pub(super) const fn steps(self) -> usize {
        match self {
            Self::Q6_K => 2,
            Self::Q4_K | Self::Q5_K => 1,
            _ => 0,
        }
    }

    /// Lines of 64 bytes that the codes of a block of sixteen rows take.
    pub(super) const fn lines(self) -> usize {
        self.bits()
    }

    /// Blocks of a run: as many as share the lines of scales before their codes.
    pub(super) const fn run(self) -> usize {
        match self {
            Self::Q4_K | Self::Q5_K | Self::Q6_K => SUPER,
            // Scales and minima of one block fill a line, or the scales of two.
            Self::Q4_1 | Self::Q5_1 => 1,
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => 2,
        }
    }

    /// Lines of scales before the codes of a run.
    pub(super) const fn head_lines(self) -> usize {
        if self.is_super() { 5 } else { 1 }
    }

    /// Lines of a whole run.
    pub(super) const fn run_lines(self) -> usize {
        self.head_lines() + self.run() * self.lines()
    }

    /// Lines of so many blocks, of which the last run may have fewer than the others.
    pub(super) const fn tile_lines(self, blocks: usize) -> usize {
        blocks.div_ceil(self.run()) * self.head_lines() + blocks * self.lines()
    }

    /// Bytes of a packed matrix.
    pub(crate) fn packed_bytes(self, rows: usize, columns: usize) -> u64 {
        (rows.div_ceil(TILE) as u64) * (self.tile_lines(columns / BLOCK) as u64) * LINE as u64
    }

    /// Weights that the file's own unit holds.
    pub(crate) const fn unit(self) -> usize {
        if self.is_super() { SUPER * BLOCK } else { BLOCK }
    }

    /// Bytes of the file's own unit.
    pub(crate) const fn unit_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }
}
