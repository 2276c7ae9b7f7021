//! The stand-in LLM: this program's own server as a child process.

use crate::clock::Clock;
use crate::error::{Context, Interrupted, Result, anyhow, bail};
use crate::units::Seconds;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the child prints when it is ready, before its address.
pub(crate) const READY: &str = "listening on ";
/// How often the start looks whether the child still lives.
const POLL: Duration = Duration::from_millis(20);
/// How much of the child's standard error is kept, in bytes.
const STDERR_TAIL: usize = 4 << 10;
/// Longest line that the child may print before it is ready.
const MAX_LINE: u64 = 4 << 10;

/// How to start a stand-in.
#[derive(Debug, Clone)]
pub struct StandInOptions {
    /// The model: a manifest's name or a path.
    pub model: String,
    /// `--device`.
    pub device: Option<String>,
    /// `--threads`.
    pub threads: Option<usize>,
    /// `--prefix-cache`.
    pub prefix_cache: bool,
    /// Whether tokens are guessed from the prompt.
    pub prompt_lookup: bool,
    /// The folder of the model store, handed on as `ROUTERGYM_MODELS`.
    pub store: Option<PathBuf>,
    /// Whether the child may not use the network, handed on as `HF_HUB_OFFLINE`. Fetch the model before, with progress.
    pub offline: bool,
    /// The program; `None` is this one.
    pub program: Option<PathBuf>,
    /// How long loading may take.
    pub timeout: Duration,
    /// Ends the wait when it becomes true.
    pub stop: Arc<AtomicBool>,
}

impl StandInOptions {
    /// The defaults for a model.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            device: None,
            threads: None,
            prefix_cache: true,
            prompt_lookup: true,
            store: None,
            offline: false,
            program: None,
            timeout: Duration::from_mins(5),
            stop: Arc::default(),
        }
    }
}

/// A running stand-in; it ends when this is dropped, and also when this process ends in any other way.
#[derive(Debug)]
pub struct StandIn {
    base_url: String,
    child: Child,
}

impl StandIn {
    /// Starts the child and waits until it answers.
    pub fn start(options: &StandInOptions) -> Result<Self> {
        let mut command = command(options)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| {
            format!("cannot start the stand-in LLM ({program} serve); check that the program may be run, or give --llm")
        })?;
        // From here on the child is killed on every way out.
        let mut stand_in = Self { base_url: String::new(), child };
        let address = first_address(&mut stand_in.child)?;
        let (tail, reading) = keep_tail(&mut stand_in.child)?;
        stand_in.base_url = stand_in.wait(options, &address, &tail, reading)?;
        Ok(stand_in)
    }

    /// The address for the remote engine, such as `http://127.0.0.1:40123`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait(
        &mut self,
        options: &StandInOptions,
        address: &Receiver<String>,
        tail: &Mutex<VecDeque<u8>>,
        reading: JoinHandle<()>,
    ) -> Result<String> {
        let model = &options.model;
        let clock = Clock::real();
        let start = clock.now();
        loop {
            match address.recv_timeout(POLL) {
                Ok(address) => return Ok(address),
                Err(RecvTimeoutError::Timeout) => {}
                // Standard output closed without an address: the child is ending.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL),
            }
            if let Some(status) = self.child.try_wait().context("cannot watch the stand-in LLM")? {
                // The pipe is at its end now, so that the reader has seen everything.
                let _panicked = reading.join();
                bail!("the stand-in LLM ({model}) ended before it was ready ({status}); it said:{}", said(tail));
            }
            if options.stop.load(Ordering::Relaxed) {
                return Err(Interrupted(format!("interrupted while the stand-in LLM ({model}) was starting")).into());
            }
            if clock.since(start) > Seconds(options.timeout.as_secs_f64()) {
                bail!(
                    "the stand-in LLM ({model}) was not ready within {} s; choose a smaller model (--small), or give an \
                     endpoint with --llm; it said:{}",
                    options.timeout.as_secs_f64(),
                    said(tail)
                );
            }
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // The server keeps nothing that a sudden end could damage.
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}

fn command(options: &StandInOptions) -> Result<Command> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("cannot find this program's own file to start the stand-in LLM")?,
    };
    let mut command = Command::new(program);
    command.args(["serve", "--model", &options.model, "--host", "127.0.0.1", "--port", "0", "--exit-with-parent"]);
    // What the user set for this program's own flags is not meant for the child, and keys are not its business.
    for variable in [
        "ROUTERGYM_CONFIG",
        "ROUTERGYM_PREFIX_CACHE",
        "ROUTERGYM_PROMPT_LOOKUP",
        "ROUTERGYM_API_KEY_ENV",
        "ROUTERGYM_ROUTER",
        "ROUTERGYM_EMBEDDINGS",
        "ROUTERGYM_CONTEXT",
        "ROUTERGYM_MEMORY_LIMIT",
        "ROUTERGYM_HARDWARE",
        "ROUTERGYM_HARDWARE_USD_PER_HOUR",
        "ROUTERGYM_PARALLEL",
        "ROUTERGYM_QUEUE",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
    ] {
        command.env_remove(variable);
    }
    // Whoever starts it knows which model it asks.
    command.env("ROUTERGYM_ALIAS", "*");
    if let Some(device) = &options.device {
        command.args(["--device", device]);
    }
    if let Some(threads) = options.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    if !options.prefix_cache {
        command.args(["--prefix-cache", "off"]);
    }
    if !options.prompt_lookup {
        command.args(["--prompt-lookup", "off"]);
    }
    if let Some(store) = &options.store {
        command.env("ROUTERGYM_MODELS", store);
    }
    if options.offline {
        command.env("HF_HUB_OFFLINE", "1");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C goes to the whole foreground group; the bench must be able to finish its record with the child alive.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}

/// Reads standard output on a thread, to its end, so that the child never blocks on it.
fn first_address(child: &mut Child) -> Result<Receiver<String>> {
    let stdout = child.stdout.take().ok_or_else(|| anyhow!("the stand-in LLM has no standard output"))?;
    let (tell, address) = channel();
    let read = move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        while reader.by_ref().take(MAX_LINE).read_line(&mut line).is_ok_and(|length| length > 0) {
            if let Some(address) = line.trim().strip_prefix(READY) {
                let _no_longer_awaited = tell.send(address.to_owned());
                break;
            }
            line.clear();
        }
        let _ended = std::io::copy(&mut reader, &mut std::io::sink());
    };
    std::thread::Builder::new()
        .name("stand-in-out".to_owned())
        .spawn(read)
        .context("cannot read from the stand-in LLM")?;
    Ok(address)
}

type Tail = Arc<Mutex<VecDeque<u8>>>;

/// Keeps the last bytes of standard error.
fn keep_tail(child: &mut Child) -> Result<(Tail, JoinHandle<()>)> {
    let mut stderr = child.stderr.take().ok_or_else(|| anyhow!("the stand-in LLM has no standard error"))?;
    let tail = Tail::default();
    let kept = Arc::clone(&tail);
    let read = move || {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut buffer) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&buffer[..length]);
            let surplus = kept.len().saturating_sub(STDERR_TAIL);
            kept.drain(..surplus);
        }
    };
    let name = "stand-in-err".to_owned();
    let reading = std::thread::Builder::new().name(name).spawn(read).context("cannot read from the stand-in LLM")?;
    Ok((tail, reading))
}

fn said(tail: &Mutex<VecDeque<u8>>) -> String {
    let tail: Vec<u8> = tail.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
    let text = String::from_utf8_lossy(&tail);
    if text.trim().is_empty() { " nothing".to_owned() } else { format!("\n{}", text.trim()) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    /// A script that is being written may not be run, and a fork in another test holds it open: one test at a time.
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());

    /// Options that run a shell script in place of this program. The folder and the lock must outlive the start.
    fn script(body: &str) -> ((std::sync::MutexGuard<'static, ()>, tempfile::TempDir), StandInOptions) {
        let lock = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path).unwrap();
        write!(file, "#!/bin/sh\n{body}\n").unwrap();
        drop(file);
        let options = StandInOptions { program: Some(path), ..StandInOptions::new("some-model") };
        ((lock, folder), options)
    }

    #[test]
    fn a_stand_in_is_ready_when_it_says_so_and_ends_when_dropped() {
        let (_folder, mut options) = script(
            "echo \"got $* $ROUTERGYM_MODELS\" >&2; echo hello; echo listening on http://127.0.0.1:9; cat >/dev/null",
        );
        options.store = Some("/store".into());
        let stand_in = StandIn::start(&options).unwrap();
        assert_eq!(stand_in.base_url(), "http://127.0.0.1:9");
        let id = stand_in.id();
        drop(stand_in);
        assert!(!std::path::Path::new(&format!("/proc/{id}/stat")).exists());
    }

    #[test]
    fn a_stand_in_that_ends_early_shows_what_it_said() {
        let (_folder, mut options) = script("echo \"$*: no such model\" >&2; exit 2");
        options.device = Some("cuda:1".to_owned());
        let error = format!("{:#}", StandIn::start(&options).unwrap_err());
        let arguments =
            "serve --model some-model --host 127.0.0.1 --port 0 --exit-with-parent --device cuda:1: no such model";
        assert!(
            error.contains(arguments) && error.contains("some-model") && error.contains("exit status: 2"),
            "{error}"
        );
    }

    #[test]
    fn a_stand_in_that_never_gets_ready_is_given_up() {
        let (_folder, mut options) = script("echo loading >&2; exec sleep 60");
        options.timeout = Duration::from_millis(300);
        let error = format!("{:#}", StandIn::start(&options).unwrap_err());
        assert!(error.contains("within 0.3 s") && error.contains("loading"), "{error}");
    }

    #[test]
    fn an_interruption_ends_the_wait() {
        let (_folder, options) = script("exec sleep 60");
        options.stop.store(true, Ordering::Relaxed);
        let error = StandIn::start(&options).unwrap_err();
        assert!(error.downcast_ref::<Interrupted>().is_some(), "{error:#}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let options = StandInOptions { program: Some("/no/such/program".into()), ..StandInOptions::new("m") };
        let error = format!("{:#}", StandIn::start(&options).unwrap_err());
        assert!(error.contains("/no/such/program"), "{error}");
    }
}
