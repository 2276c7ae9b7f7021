//! `--threads`: how many threads the local engine may use.

use crate::error::{Context, Result, anyhow, usage};
use crate::nn;
use std::process::Command;

/// The engine reads its number of threads from these when it first works.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// The processors that the system lends to this program.
fn most() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Refuses a number of threads that this machine cannot run side by side: they would wait for one another at every step.
pub(super) fn check(threads: Option<usize>) -> Result<()> {
    let most = most();
    match threads {
        Some(threads) if threads == 0 || threads > most => Err(usage(format!(
            "--threads is between 1 and {most}, the processors that this machine lends to this program, not {threads}"
        ))),
        _ => Ok(()),
    }
}

/// Bounds the threads of the local engine. A process cannot change its own environment once threads may read it, so the
/// program starts itself again with the variables set, in place of this process where the system can do that.
pub(super) fn bound(threads: Option<usize>) -> Result<()> {
    // Where nothing is asked for, the engine takes the machine's cores: more than a container or a mask may lend.
    let Some(threads) = threads.or_else(|| (nn::threads() > most()).then(most)) else { return Ok(()) };
    let threads = threads.to_string();
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
