//! Measures the client of remote models against a server on this machine: `remote faults [REQUESTS [SHARE]]` with a server that
//! makes trouble, `remote overhead [REQUESTS]` with one that answers at once. docs/remote.md keeps what they print. `remote serve
//! SHARE` is that server alone, for the clients of scripts/test-clients.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

#[path = "../tests/support/fault_server.rs"]
mod fault_server;

use fault_server::{FaultServer, answer_to};
use routergym_local::clock::Clock;
use routergym_local::engine::{
    Api, Completion, Engine, EngineError, FailureKind, Limits, RemoteEngine, RemoteOptions, Request, Timeouts,
};
use routergym_local::error::{Result, bail, ensure, usage};
use routergym_local::net::Network;
use routergym_local::nn::chat::Message;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Calls under way at once.
const AT_ONCE: usize = 64;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, usual: f64| arguments.get(index).map_or(Some(usual), |text| text.parse().ok());
    match (arguments.first().map(String::as_str), number(1, 10_000.0), number(2, 0.2)) {
        (Some("faults"), Some(requests), Some(share)) => faults(requests as u64, share),
        (Some("overhead"), Some(requests), _) => overhead(requests as u64),
        (Some("serve"), Some(share), _) => serve(share),
        _ => Err(usage("give `faults [REQUESTS [SHARE]]`, `overhead [REQUESTS]` or `serve SHARE`")),
    }
}

/// Serves until standard input ends.
fn serve(share: f64) -> Result<()> {
    let server = FaultServer::start(share, 7);
    println!("{}", server.url);
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn engine(url: &str, api: Api, clock: &Clock) -> Result<RemoteEngine> {
    let mut options = RemoteOptions::new(url, "m");
    options.api = Some(api);
    options.backoff = Duration::from_millis(5);
    options.limits = Limits { failures_in_a_row: u32::MAX, ..Limits::default() };
    options.timeouts = Timeouts {
        connect: Duration::from_secs(5),
        first_byte: Duration::from_secs(1),
        between_chunks: Duration::from_millis(500),
        total: Duration::from_secs(5),
    };
    RemoteEngine::new(options, Network::new(true), clock.clone(), std::sync::Arc::default())
}

fn request(number: u64) -> Request {
    Request {
        messages: vec![Message::new("system", "Be brief."), Message::new("user", format!("Say number {number}"))],
        max_tokens: 16,
        temperature: 0.0,
        seed: number,
        top_logprobs: 0,
        cache_scope: None,
        grammar: None,
    }
}

type Ending = (u64, f64, std::result::Result<Completion, Box<EngineError>>);

/// Makes the requests from `first` on, `at_once` of them at a time; each ending with its number and its wall time.
fn make(engines: &[RemoteEngine], first: u64, requests: u64, at_once: usize, clock: &Clock) -> Vec<Ending> {
    let next = AtomicU64::new(first);
    let endings = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(engine) =
                        engines.get(number as usize % engines.len()).filter(|_| number < first + requests)
                    else {
                        break;
                    };
                    let request = request(number);
                    let start = clock.now();
                    let result = engine.complete(&request);
                    let wall = clock.since(start).0;
                    endings.lock().unwrap_or_else(PoisonError::into_inner).push((number, wall, result));
                }
            });
        }
    });
    endings.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn faults(requests: u64, share: f64) -> Result<()> {
    let clock = Clock::real();
    let server = FaultServer::start(share, 7);
    let engines = [engine(&server.url, Api::OpenAi, &clock)?, engine(&server.url, Api::Anthropic, &clock)?];
    let mut ends: BTreeMap<u64, u32> = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let (mut tries, mut wrong) = (0, 0);
    let start = clock.now();
    let mut memory = Vec::new();
    let part = requests.div_ceil(10).max(1);
    for first in (0..requests).step_by(part as usize) {
        for (number, _, result) in make(&engines, first, part.min(requests - first), AT_ONCE, &clock) {
            *ends.entry(number).or_default() += 1;
            let kind = match result {
                Ok(completion) => {
                    tries += completion.tries.len();
                    wrong += usize::from(completion.text != answer_to(number));
                    "answered".to_owned()
                }
                Err(error) => {
                    tries += error.tries.len();
                    ensure!(error.kind != FailureKind::Local, "{error}");
                    format!("failed: {}", serde_json::to_value(error.kind)?.as_str().unwrap_or_default())
                }
            };
            *kinds.entry(kind).or_default() += 1;
        }
        memory.push(resident_mib()?);
    }
    let served = server.served();
    println!("{requests} requests, {AT_ONCE} at once, trouble for {share} of them, both protocols by turns");
    println!("took {:.1} s and {tries} tries", clock.since(start).0);
    println!("the server did: {:?}", served.troubles);
    println!("the client saw: {kinds:?}");
    println!("resident memory after each tenth, MiB: {memory:?}");
    let once = ends.len() as u64 == requests && ends.values().all(|&count| count == 1);
    let doubled = served.answered.values().filter(|&&count| count > 1).count();
    println!("every request ended once: {once}; answered twice by the server: {doubled}; wrong answers: {wrong}");
    if !once || doubled > 0 || wrong > 0 {
        bail!("requests were lost, doubled or mixed up");
    }
    Ok(())
}

fn overhead(requests: u64) -> Result<()> {
    let clock = Clock::real();
    let server = FaultServer::start(0.0, 0);
    for api in [Api::OpenAi, Api::Anthropic] {
        let engines = [engine(&server.url, api, &clock)?];
        let mut first = if api == Api::OpenAi { 0 } else { 10 * requests };
        for at_once in [1, AT_ONCE] {
            // The first calls make connections.
            make(&engines, first, requests.min(20 * at_once as u64), at_once, &clock);
            first += requests;
            let start = clock.now();
            let endings = make(&engines, first, requests, at_once, &clock);
            let took = clock.since(start).0;
            let served = server.served();
            let mut spent = Vec::new();
            for (number, wall, result) in endings {
                result.map_err(|error| usage(error.message))?;
                spent.push((wall - served.seconds.get(&number).copied().unwrap_or_default()) * 1e6);
            }
            first += requests;
            spent.sort_by(f64::total_cmp);
            let at = |share: f64| spent.get((share * (spent.len() - 1) as f64) as usize).copied().unwrap_or(f64::NAN);
            println!(
                "{api:?}, {at_once} at once: overhead of a call p50 {:.0} µs, p90 {:.0} µs, p99 {:.0} µs, most {:.0} µs ({requests} calls, {:.0} a second)",
                at(0.5),
                at(0.9),
                at(0.99),
                at(1.0),
                requests as f64 / took
            );
        }
    }
    Ok(())
}

/// Memory of this process, the server's included.
fn resident_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024)
}
