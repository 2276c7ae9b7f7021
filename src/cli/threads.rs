//! `--threads`: how many threads the local engine may use.

use crate::error::{Context, Result, anyhow};
use std::process::Command;

/// The engine reads its number of threads from these when it first works.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Bounds the threads of the local engine. A process cannot change its own environment once threads may read it, so the
/// program starts itself again with the variables set, in place of this process where the system can do that.
pub(super) fn bound(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads.map(|threads| threads.to_string()) else { return Ok(()) };
    if VARIABLES.iter().all(|name| std::env::var(name).is_ok_and(|value| value == threads)) {
        return Ok(());
    }
    let program = std::env::current_exe().context("finding this program to start it again with --threads")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).envs(VARIABLES.map(|name| (name, &threads)));
    Err(replace(command)).context("starting this program again with --threads")
}

#[cfg(unix)]
fn replace(mut command: Command) -> crate::error::Error {
    use std::os::unix::process::CommandExt;
    anyhow!(command.exec())
}

#[cfg(not(unix))]
fn replace(mut command: Command) -> crate::error::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => anyhow!(error),
    }
}
