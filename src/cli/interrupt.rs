//! Ctrl-C, where what was measured so far is worth keeping.

use super::output;
use crate::error::{Context, ExitStatus, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that Ctrl-C sets: whoever looks at it ends in good order, and `kept` says what that means. A second Ctrl-C ends the
/// program at once.
pub(super) fn flag(kept: &'static str) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(ExitStatus::Interrupted as i32);
        }
        output::note(&format!("stopping: {kept}; press Ctrl-C again to stop at once"));
    })
    .context("listening for Ctrl-C")?;
    Ok(stop)
}
