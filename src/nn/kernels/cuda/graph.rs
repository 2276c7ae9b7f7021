//! Steps that are recorded once and then launched as a whole.
//!
//! A step of generation is some five hundred short kernels; launching them one by one takes longer than they take. Steps of one
//! form differ only in the numbers of their [`Step`], which stays where it is, so the recording of one does for all.

use super::arena::{self, Arena};
use super::step::{Form, Step};
use super::{cuda, rounded, unfilled};
use crate::error::{Context, Result};
use candle_core::cuda::cudarc::driver::{CudaGraph, sys};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Sequences of a recorded step, at most: more are multiplied in another way.
const MOST_RECORDED: usize = 8;

/// The recorded steps of a model.
#[derive(Debug)]
pub(crate) struct Graphs {
    /// Whether the model's kernels can be recorded.
    possible: bool,
    slots: Mutex<HashMap<Form, Slot>>,
}

enum Slot {
    /// Ran once: recording pays for forms that come again.
    Seen,
    /// Could not be recorded.
    Refused,
    Recorded(Recorded),
}

struct Recorded {
    graph: CudaGraph,
    step: Step,
    /// `[rows, vocabulary]`.
    logits: Tensor,
    /// What its kernels write to besides.
    _arena: Arena,
}

// SAFETY: the driver lets any thread use a graph as long as they take turns, and they do: slots stand behind a lock.
unsafe impl Send for Slot {}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Seen => "seen",
            Self::Refused => "refused",
            Self::Recorded(_) => "recorded",
        })
    }
}

impl Graphs {
    pub(crate) fn new(possible: bool) -> Self {
        Self { possible, slots: Mutex::default() }
    }

    /// Whether steps of so many sequences are recorded.
    pub(crate) fn fit(&self, sequences: usize) -> bool {
        self.possible && sequences <= MOST_RECORDED
    }

    /// The logits of a step by its recording: `[rows, vocabulary]`, valid until the next step. `None` where there is none,
    /// and the step must be run. `run` launches the kernels of a step; what it makes is dropped in it.
    pub(crate) fn replay(
        &self,
        (words, form): (&[u32], &Form),
        vocabulary: usize,
        device: &Device,
        mut run: impl FnMut(&Step, &Tensor) -> Result<()>,
    ) -> Result<Option<Tensor>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get_mut(form) else {
            slots.insert(form.clone(), Slot::Seen);
            return Ok(None);
        };
        if matches!(slot, Slot::Seen) {
            let step = Step::new(words, form.clone(), device)?;
            let logits = unfilled((step.row_count(), vocabulary), DType::F32, device)?;
            // Once for its own sake, which also loads all kernels.
            let arena = arena::measured(device, || run(&step, &logits))?;
            let graph = arena::within(&arena, || record(device, || run(&step, &logits)))?;
            *slot = match graph {
                None => Slot::Refused,
                Some(graph) => Slot::Recorded(Recorded { graph, step, logits: logits.clone(), _arena: arena }),
            };
            return Ok(Some(logits));
        }
        let Slot::Recorded(recorded) = slot else { return Ok(None) };
        recorded.step.refill(words)?;
        recorded.graph.launch().context("launching a recorded step on the GPU")?;
        Ok(Some(recorded.logits.clone()))
    }
}

/// Records what is launched; `None` where something in it cannot be recorded.
fn record(device: &Device, run: impl FnOnce() -> Result<()>) -> Result<Option<CudaGraph>> {
    let stream = cuda(device)?.cuda_stream();
    rounded::forget();
    stream
        .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        .context("recording a step on the GPU")?;
    let ran = run();
    rounded::forget();
    let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
    Ok(match (ran, graph) {
        (Ok(()), Ok(graph)) => graph,
        _ => None,
    })
}
