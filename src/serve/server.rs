//! The server's life: bind, load, announce, serve, stop.

use super::embeddings::Embeddings;
use super::http::{App, router};
use super::metrics::Metrics;
use super::{Backend, connections, worker};
use crate::clock::{Clock, unix_time};
use crate::engine::Secret;
use crate::error::{Context, Result, anyhow, usage};
use crate::net::is_loopback;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

/// How long answers under way may take after the server was told to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How long connections may take to close after that.
const CLOSING: Duration = Duration::from_secs(1);
/// How often the stop flag is looked at.
const STOP_POLL: Duration = Duration::from_millis(20);

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address to listen on; anything but loopback needs a key.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The key that clients must send.
    pub api_key: Option<Secret>,
    /// How many requests may wait.
    pub queue: usize,
    /// Names by which the model may be asked for beside its own; `*` is any.
    pub aliases: Vec<String>,
    /// What embeds texts.
    pub embeddings: Option<Arc<Embeddings>>,
    /// Whether SIGTERM and Ctrl-C stop the server; they act on the whole process.
    pub signals: bool,
    /// Whether the end of standard input stops the server: a parent holds the other end. Ctrl-C is then the parent's
    /// business and ignored here.
    pub exit_with_parent: bool,
    /// Stops the server when it becomes true; the server takes it back, so that it can be told a second time.
    pub stop: Arc<AtomicBool>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
            api_key: None,
            queue: 64,
            aliases: Vec::new(),
            embeddings: None,
            signals: false,
            exit_with_parent: false,
            stop: Arc::default(),
        }
    }
}

/// Serves until it is told to stop. The address is taken first; then `load` runs on the thread that will own the model, and
/// requests get 503 meanwhile; `on_ready` is called once the model answers. Told to stop, the server finishes the answers
/// under way, for ten seconds at most: `on_stopping` is called with their number. Told a second time, it ends at once.
pub fn serve(
    options: &ServeOptions,
    load: impl FnOnce() -> Result<Box<dyn Backend>> + Send + 'static,
    on_ready: impl FnOnce(SocketAddr) -> Result<()>,
    on_stopping: impl FnOnce(usize),
) -> Result<()> {
    if !is_loopback(&options.host) && options.api_key.as_ref().is_none_or(|key| key.expose().is_empty()) {
        return Err(usage(format!(
            "serving on {} lets other machines in, and no key protects the server; set one in an environment variable and \
             name it with --api-key-env, or listen on 127.0.0.1",
            options.host
        )));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("serve")
        .enable_all()
        .build()
        .context("cannot start the server's runtime")?;
    let result = runtime.block_on(live(options, load, on_ready, on_stopping));
    // A forward pass cannot be interrupted; the process does not wait for it.
    runtime.shutdown_background();
    result
}

async fn live(
    options: &ServeOptions,
    load: impl FnOnce() -> Result<Box<dyn Backend>> + Send + 'static,
    on_ready: impl FnOnce(SocketAddr) -> Result<()>,
    on_stopping: impl FnOnce(usize),
) -> Result<()> {
    let listener = bind(&options.host, options.port).await?;
    let address = listener.local_addr().context("cannot read the address that the server listens on")?;
    let mut endings = Endings::watch(options)?;
    let cancel = Arc::new(AtomicBool::new(false));
    let metrics = Arc::new(Metrics::default());
    let mut workers = worker::start(load, options.queue, Clock::real(), Arc::clone(&metrics), Arc::clone(&cancel))?;
    let app = Arc::new(App {
        queue: Arc::clone(&workers.queue),
        metrics,
        info: OnceLock::new(),
        embeddings: options.embeddings.clone(),
        embedding: Semaphore::new(1),
        waiting_to_embed: Semaphore::new(options.queue.max(1)),
        aliases: options.aliases.clone(),
        api_key: options.api_key.clone(),
        created: unix_time(),
        next: AtomicU64::new(0),
    });
    let (stop_accepting, accepting) = oneshot::channel::<()>();
    let mut server = tokio::spawn(connections::serve(listener, router(Arc::clone(&app)), async {
        let _either_way = accepting.await;
    }));

    tokio::select! {
        loaded = &mut workers.ready => {
            let info = loaded.map_err(|_| anyhow!("the model's thread ended while it loaded the model; see the messages above"))??;
            let _first_time = app.info.set(info);
        }
        _ = endings.next() => return Ok(()),
    }
    on_ready(address)?;
    let ending = tokio::select! {
        ending = endings.next() => ending,
        () = workers.ended.notified() => return Err(anyhow!("the model's thread ended; see the messages above, and start the server again")),
    };

    let _server_gone = stop_accepting.send(());
    if ending == Ending::Graceful {
        let (waiting, answering) = app.queue.lengths();
        on_stopping(waiting + answering);
        let finished = tokio::select! {
            finished = timeout(GRACE, &mut server) => finished.is_ok(),
            _ = endings.next() => false,
        };
        if finished {
            return Ok(());
        }
    }
    cancel.store(true, Ordering::Relaxed);
    let _closed_or_not = timeout(CLOSING, &mut server).await;
    Ok(())
}

async fn bind(host: &str, port: u16) -> Result<TcpListener> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    TcpListener::bind((bare, port)).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AddrInUse {
            anyhow!(
                "cannot listen on {host}: port {port} is in use by another program; choose another with --port, or --port 0 \
                 for a free one"
            )
        } else {
            anyhow!("cannot listen on {host}, port {port}: {error}; choose another with --host and --port")
        }
    })
}

/// How the server is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Answers under way may be finished.
    Graceful,
    /// Nobody waits for them any more.
    Now,
}

/// Everything that can end the server.
struct Endings {
    stop: Arc<AtomicBool>,
    parent_gone: Option<oneshot::Receiver<()>>,
    signals: Option<Signals>,
}

impl Endings {
    fn watch(options: &ServeOptions) -> Result<Self> {
        let parent_gone = if options.exit_with_parent { Some(watch_standard_input()?) } else { None };
        let signals = if options.signals { Some(Signals::listen(options.exit_with_parent)?) } else { None };
        Ok(Self { stop: Arc::clone(&options.stop), parent_gone, signals })
    }

    async fn next(&mut self) -> Ending {
        let stop = &self.stop;
        let flag = async {
            while !stop.swap(false, Ordering::Relaxed) {
                sleep(STOP_POLL).await;
            }
        };
        let (parent_gone, signals) = (&mut self.parent_gone, &mut self.signals);
        let parent = async {
            match parent_gone {
                Some(gone) => {
                    let _closed_is_gone_too = gone.await;
                }
                None => std::future::pending().await,
            }
        };
        let signal = async {
            match signals {
                Some(signals) => signals.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = flag => Ending::Graceful,
            () = signal => Ending::Graceful,
            () = parent => Ending::Now,
        }
    }
}

/// A thread of its own: a read of standard input cannot be cancelled, and must not hold the runtime up.
fn watch_standard_input() -> Result<oneshot::Receiver<()>> {
    let (tell, gone) = oneshot::channel();
    let watch = move || {
        let mut buffer = [0; 256];
        while !matches!(std::io::stdin().read(&mut buffer), Ok(0) | Err(_)) {}
        drop(tell);
    };
    std::thread::Builder::new().name("parent".to_owned()).spawn(watch).context("cannot watch standard input")?;
    Ok(gone)
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    ignore_interrupt: bool,
}

#[cfg(unix)]
impl Signals {
    fn listen(ignore_interrupt: bool) -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, ignore_interrupt })
    }

    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => if !self.ignore_interrupt { return },
            }
        }
    }
}

#[cfg(not(unix))]
struct Signals {
    ignore_interrupt: bool,
}

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "the signature of the other platforms")]
    fn listen(ignore_interrupt: bool) -> Result<Self> {
        Ok(Self { ignore_interrupt })
    }

    async fn next(&mut self) {
        loop {
            let heard = tokio::signal::ctrl_c().await;
            if heard.is_err() {
                std::future::pending::<()>().await;
            }
            if !self.ignore_interrupt {
                return;
            }
        }
    }
}
