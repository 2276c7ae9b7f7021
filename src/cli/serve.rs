//! `serve`: an OpenAI-compatible server over a local model.

use super::{output, threads};
use crate::clock::Clock;
use crate::engine::{LocalEngine, Secret};
use crate::error::{Context, ExitStatus, Result, anyhow, usage};
use crate::models::{Kind, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice, LanguageModel, LoadOptions};
use crate::serve::{Backend, GRACE, ServeOptions, serve};
use std::io::Write;
use std::net::SocketAddr;

/// Arguments of `serve`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ServeArgs {
    /// The model: the name of a manifest (see `models list`) or the path of a GGUF file or of a folder with safetensors.
    #[arg(long, env = "ROUTERGYM_MODEL", value_name = "NAME|PATH")]
    pub model: String,
    /// The address to listen on. Anything but this machine's loopback needs --api-key-env.
    #[arg(long, env = "ROUTERGYM_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// The port; 0 takes a free one.
    #[arg(long, env = "ROUTERGYM_PORT", default_value_t = 0)]
    pub port: u16,
    /// Where to run the model: auto, cpu, cuda, cuda:N or metal.
    #[arg(long, env = "ROUTERGYM_DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// The environment variable that holds the key which clients must send.
    #[arg(long, env = "ROUTERGYM_API_KEY_ENV", value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// How many threads the model may use; the machine's cores by default, as far as they are lent to this program.
    #[arg(long, env = "ROUTERGYM_THREADS", value_name = "N")]
    pub threads: Option<usize>,
    /// Whether computed prompt prefixes are reused: on or off.
    #[arg(long, default_value = "on", value_parser = ["on", "off"], env = "ROUTERGYM_PREFIX_CACHE")]
    pub prefix_cache: String,
    /// Whether tokens are guessed from the prompt and checked several at once (faster, with the same result): on or off.
    #[arg(long, default_value = "on", value_parser = ["on", "off"], env = "ROUTERGYM_PROMPT_LOOKUP")]
    pub prompt_lookup: String,
    /// Stop when standard input is closed; a parent process holds its other end.
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

/// Serves until SIGTERM or Ctrl-C, which is how a server is meant to end: the status is 0.
pub(super) fn run(args: &ServeArgs, network: Network, quiet: bool) -> Result<ExitStatus> {
    threads::check(args.threads)?;
    threads::bound(args.threads)?;
    let options = ServeOptions {
        host: args.host.clone(),
        port: args.port,
        api_key: key(args.api_key_env.as_deref())?,
        signals: true,
        exit_with_parent: args.exit_with_parent,
        ..ServeOptions::default()
    };
    let args = args.clone();
    serve(&options, move || load(&args, network, quiet), announce, |answers| stopping(answers, quiet))?;
    Ok(ExitStatus::Done)
}

fn key(variable: Option<&str>) -> Result<Option<Secret>> {
    let Some(variable) = variable else { return Ok(None) };
    let missing =
        || usage(format!("--api-key-env names {variable}, which is not set; set it to the key of this server"));
    Secret::from_env(variable)?.ok_or_else(missing).map(Some)
}

fn load(args: &ServeArgs, network: Network, quiet: bool) -> Result<Box<dyn Backend>> {
    let local = Store::open(network)?.obtain(&args.model, Kind::Gguf, quiet)?;
    let device = Device::open(args.device)?;
    let options = LoadOptions {
        prefix_cache: args.prefix_cache == "on",
        prompt_lookup: args.prompt_lookup == "on",
        ..LoadOptions::default()
    };
    let loaded = LanguageModel::load(&local.path, &device, &options)
        .with_context(|| format!("cannot load {} from {}", local.name, local.path.display()))?;
    if !loaded.info().has_chat_template && !quiet {
        output::note(&format!(
            "{} carries no chat template: every chat request will be refused; serve an instruction-tuned model",
            local.name
        ));
    }
    Ok(Box::new(LocalEngine::new(loaded, local.name, Some(local.sha256), device.name(), Clock::real())))
}

/// The one line on standard output, which scripts and the parent of a stand-in wait for.
fn announce(address: SocketAddr) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}http://{address}", crate::serve::READY)
        .and_then(|()| out.flush())
        .map_err(|error| anyhow!("cannot print the server's address: {error}"))
}

/// Says why the server does not end at once.
fn stopping(answers: usize, quiet: bool) {
    if answers == 0 || quiet {
        return;
    }
    let plural = if answers == 1 { "" } else { "s" };
    output::note(&format!(
        "stopping: {answers} answer{plural} will be finished first, within {} s; press Ctrl-C again to end at once",
        GRACE.as_secs()
    ));
}
