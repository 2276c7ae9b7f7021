//! Work on the rows of a matrix, shared among threads.
//!
//! All arithmetic on the CPU uses candle's pool, whose threads spin a while before they sleep: a second pool beside it
//! would fight with it for the processors.
#![expect(unsafe_code, reason = "threads write their own parts of one result")]

use candle_core::utils::barrier_pool;
use std::ops::Range;

/// Runs `work` on ranges that together are `0..items`, on several threads where there are at least `parallel_from` items.
pub(crate) fn each_range(items: usize, parallel_from: usize, work: impl Fn(Range<usize>) + Sync) {
    if items < parallel_from.max(2) {
        work(0..items);
    } else {
        barrier_pool().execute_chunked(items, work);
    }
}

/// Runs `work` on each row of `width` items, on several threads where the slice has at least `parallel_from` items.
pub(crate) fn each_row<T: Send>(
    values: &mut [T],
    width: usize,
    parallel_from: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let length = values.len();
    let rows = length / width.max(1);
    if length < parallel_from {
        values.chunks_exact_mut(width.max(1)).enumerate().for_each(|(row, values)| work(row, values));
        return;
    }
    let shared = Shared(values.as_mut_ptr());
    each_range(rows, 0, |range| {
        let shared = &shared;
        for row in range {
            // SAFETY: every row lies in the slice, which is borrowed for all of this, and is in one range only.
            work(row, unsafe { std::slice::from_raw_parts_mut(shared.0.add(row * width), width) });
        }
    });
}

struct Shared<T>(*mut T);

// SAFETY: threads take disjoint parts of what it points to.
unsafe impl<T: Send> Sync for Shared<T> {}

/// A result that threads write column by column.
pub(super) struct Columns {
    values: Vec<f32>,
    /// Where the values lie; all writing goes through it.
    place: Shared<f32>,
    width: usize,
}

impl Columns {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        let mut values = vec![0.0; rows * width];
        Self { place: Shared(values.as_mut_ptr()), values, width }
    }

    /// A result in the place of an earlier one, whose values mean nothing.
    pub(super) fn over(mut values: Vec<f32>, rows: usize, width: usize) -> Self {
        values.resize(rows * width, 0.0);
        Self { place: Shared(values.as_mut_ptr()), values, width }
    }

    pub(super) fn take(self) -> Vec<f32> {
        self.values
    }

    /// Writes neighbouring values of one row.
    ///
    /// # Safety
    /// No other thread may write the same place at the same time.
    pub(super) unsafe fn put(&self, row: usize, column: usize, values: &[f32]) {
        let at = row * self.width + column;
        let fits = column + values.len() <= self.width && at + values.len() <= self.values.len();
        assert!(fits, "row {row}, column {column} is outside of the result");
        // SAFETY: the place is inside of the vector, which keeps its memory until it is taken, and nobody reads it before;
        // the caller keeps writers apart.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.place.0.add(at), values.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_worked_on_once() {
        for parallel_from in [0, usize::MAX] {
            let mut values = vec![0u32; 7 * 33];
            each_row(&mut values, 7, parallel_from, |row, values| values.iter_mut().for_each(|v| *v += row as u32));
            assert!(values.iter().enumerate().all(|(index, &value)| value as usize == index / 7));
        }
        each_row(&mut Vec::<u32>::new(), 0, 0, |_, _| unreachable!("there is no row"));
    }
}
