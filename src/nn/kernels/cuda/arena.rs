//! Memory of a recorded step: taken once, so that recording takes none.
//!
//! What a recorded step allocates would become nodes of its graph, as slow as kernels, one to take and one to give back.

use crate::error::{Result, bail};
use candle_core::{DType, Device, Shape, Tensor};
use std::cell::RefCell;

/// Every tensor begins at a multiple of so many bytes.
const ALIGNED: usize = 256;

/// Memory for the tensors of one step, each in a place of its own.
#[derive(Debug, Clone)]
pub(super) struct Arena {
    /// By type: single precision, then bytes.
    places: [Tensor; 2],
}

#[derive(Debug)]
enum Mode {
    /// Counts what is asked for: now, and at most.
    Counting { used: [usize; 2], most: [usize; 2] },
    /// Gives out places.
    Giving { arena: Arena, used: [usize; 2] },
}

thread_local! {
    static MODE: RefCell<Option<Mode>> = const { RefCell::new(None) };
}

/// Runs something and counts the memory it asks for.
pub(super) fn measured(device: &Device, run: impl FnOnce() -> Result<()>) -> Result<Arena> {
    MODE.set(Some(Mode::Counting { used: [0; 2], most: [0; 2] }));
    let ran = run();
    let mode = MODE.take();
    ran?;
    let Some(Mode::Counting { most: [numbers, bytes], .. }) = mode else {
        bail!("the memory of a step was not counted")
    };
    // Nothing is as good as one: an empty tensor has no address.
    let numbers = Tensor::zeros(numbers.max(1), DType::F32, device)?;
    Ok(Arena { places: [numbers, Tensor::zeros(bytes.max(1), DType::U8, device)?] })
}

/// Runs something that takes its memory from an arena.
pub(super) fn within<T>(arena: &Arena, run: impl FnOnce() -> T) -> T {
    MODE.set(Some(Mode::Giving { arena: arena.clone(), used: [0; 2] }));
    let ran = run();
    MODE.set(None);
    ran
}

/// Runs something whose tensors are not needed afterwards: their places are given out again. What was launched before reads them
/// first, since launches keep their order.
pub(super) fn scratch<T>(run: impl FnOnce() -> T) -> T {
    let used = || {
        MODE.with_borrow(|mode| mode.as_ref().map(|(Mode::Counting { used, .. } | Mode::Giving { used, .. })| *used))
    };
    let before = used();
    let ran = run();
    MODE.with_borrow_mut(|mode| {
        if let (Some(before), Some(Mode::Counting { used, .. } | Mode::Giving { used, .. })) = (before, mode) {
            *used = before;
        }
    });
    ran
}

/// A place in the arena that is in use, where one is.
pub(super) fn take(shape: &Shape, kind: DType) -> Result<Option<Tensor>> {
    MODE.with_borrow_mut(|mode| {
        let Some(mode) = mode else { return Ok(None) };
        let which = match kind {
            DType::F32 => 0,
            DType::U8 => 1,
            _ => return Ok(None),
        };
        let (count, step) = (shape.elem_count(), ALIGNED / kind.size_in_bytes());
        let (Mode::Counting { used, .. } | Mode::Giving { used, .. }) = mode;
        let start = used[which];
        used[which] += count.next_multiple_of(step);
        match mode {
            Mode::Counting { used, most } => {
                most[which] = most[which].max(used[which]);
                Ok(None)
            }
            Mode::Giving { arena, .. } => Ok(Some(arena.places[which].narrow(0, start, count)?.reshape(shape)?)),
        }
    })
}
