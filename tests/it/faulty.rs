//! Many requests at an endpoint that makes trouble for a fifth of them: every one ends once. `examples/remote.rs` does the same
//! with more.

use crate::fault_server::{FaultServer, answer_to};
use routergym_local::clock::Clock;
use routergym_local::engine::FailureKind::{self, Connect, CutStream, Malformed, RateLimited, Server, Timeout};
use routergym_local::engine::{
    Api, Completion, Engine, EngineError, Limits, RemoteEngine, RemoteOptions, Request, Timeouts,
};
use routergym_local::net::Network;
use routergym_local::nn::chat::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const REQUESTS: u64 = 600;
const AT_ONCE: usize = 16;

fn engine(url: &str, api: Api) -> RemoteEngine {
    let mut options = RemoteOptions::new(url, "m");
    options.api = Some(api);
    options.backoff = Duration::from_millis(2);
    options.limits = Limits { failures_in_a_row: u32::MAX, ..Limits::default() };
    options.timeouts = Timeouts {
        connect: Duration::from_secs(5),
        first_byte: Duration::from_millis(800),
        between_chunks: Duration::from_millis(400),
        total: Duration::from_secs(10),
    };
    RemoteEngine::new(options, Network::new(true), Clock::real(), Arc::default()).unwrap()
}

fn request(number: u64) -> Request {
    let messages = vec![Message::new("user", format!("Say number {number}"))];
    Request {
        messages,
        max_tokens: 16,
        temperature: 0.0,
        seed: number,
        top_logprobs: 0,
        cache_scope: None,
        grammar: None,
    }
}

/// The number of a request, and how it ended.
type Ending = (u64, Result<Completion, Box<EngineError>>);

#[test]
fn every_request_ends_once_as_its_own_answer_or_as_a_named_failure() {
    let server = FaultServer::start(0.2, 11);
    let engines = [engine(&server.url, Api::OpenAi), engine(&server.url, Api::Anthropic)];
    let next = AtomicU64::new(0);
    let endings: Mutex<Vec<Ending>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= REQUESTS {
                        break;
                    }
                    let result = engines[(number % 2) as usize].complete(&request(number));
                    endings.lock().unwrap().push((number, result));
                }
            });
        }
    });
    let endings = endings.into_inner().unwrap();
    let numbers: BTreeSet<u64> = endings.iter().map(|(number, _)| *number).collect();
    assert_eq!((endings.len() as u64, numbers.len() as u64), (REQUESTS, REQUESTS), "each ends once");
    let mut kinds: BTreeMap<FailureKind, usize> = BTreeMap::new();
    let mut tries = 0;
    for (number, result) in &endings {
        match result {
            Ok(completion) => {
                assert_eq!(completion.text, answer_to(*number), "answers are not mixed up");
                tries += completion.tries.len();
                assert!(completion.tries.iter().rev().skip(1).all(|one| one.failure.is_some()));
            }
            Err(error) => {
                *kinds.entry(error.kind).or_default() += 1;
                tries += error.tries.len();
                assert_eq!(error.tries.last().and_then(|one| one.failure), Some(error.kind), "{error}");
            }
        }
    }
    let expected: BTreeSet<_> = [Connect, CutStream, Malformed, RateLimited, Server, Timeout].into();
    assert!(kinds.keys().all(|kind| expected.contains(kind)), "{kinds:?}");
    for kind in [Connect, CutStream, Malformed, Timeout] {
        assert!(kinds.contains_key(&kind), "{kind:?} is not among {kinds:?}");
    }
    let served = server.served();
    assert_eq!(served.troubles.values().sum::<usize>(), tries, "every request that came is a try that was recorded");
    assert!(served.answered.values().all(|&count| count == 1), "no request was answered twice");
    assert_eq!(served.answered.len(), served.seconds.len());
    let failed: usize = kinds.values().sum();
    assert!(failed < REQUESTS as usize / 4, "{failed} failed: what may be tried again is tried again");
}
