//! An endpoint on loopback that speaks chat completions and Messages, and that makes trouble for a share of its requests: 429,
//! 500, a reset, a stall, half a stream, garbage, a head that drips. It is shared by the tests and by `examples/remote.rs`.

use routergym_local::clock::Clock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server may do instead of answering.
const TROUBLES: [&str; 7] = ["429", "500", "reset", "stall", "half stream", "garbage", "slow loris"];
/// Longer than any limit of a client here.
const FOR_EVER: Duration = Duration::from_secs(20);

/// What the server did.
#[derive(Clone, Default)]
pub(crate) struct Served {
    /// By the number that a request carries: how often it was answered in full.
    pub(crate) answered: BTreeMap<u64, u32>,
    /// By the same number: seconds from having read the request to having written the answer.
    pub(crate) seconds: BTreeMap<u64, f64>,
    /// Requests by what was done to them.
    pub(crate) troubles: BTreeMap<&'static str, usize>,
    requests: u64,
}

/// A running server; it ends with the process.
pub(crate) struct FaultServer {
    /// Its base URL.
    pub(crate) url: String,
    served: Arc<Mutex<Served>>,
}

impl FaultServer {
    /// Starts a server that makes trouble for this share of its requests; the seed says for which.
    pub(crate) fn start(share: f64, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let served = Arc::new(Mutex::new(Served::default()));
        let shared = Arc::clone(&served);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        // A client that goes away is no failure of the server.
                        let _ = connection(stream, share, seed, &shared).await;
                    });
                }
            });
        });
        Self { url, served }
    }

    /// What it did so far.
    pub(crate) fn served(&self) -> Served {
        lock(&self.served).clone()
    }
}

/// The answer to the request of this number.
pub(crate) fn answer_to(number: u64) -> String {
    format!("answer {number} ☃")
}

fn lock(served: &Mutex<Served>) -> MutexGuard<'_, Served> {
    served.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connection(mut stream: TcpStream, share: f64, seed: u64, served: &Mutex<Served>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let clock = Clock::real();
    let mut buffer = Vec::new();
    while let Some((path, body)) = request(&mut stream, &mut buffer).await? {
        let start = clock.now();
        let number = number_of(&body);
        let drawn = {
            let mut served = lock(served);
            served.requests += 1;
            draw(share, seed, served.requests)
        };
        *lock(served).troubles.entry(drawn.unwrap_or("none")).or_default() += 1;
        let answer = stream_of(&path, &answer_to(number));
        let Some(trouble) = drawn else {
            stream.write_all(&response("200 OK", "", answer.as_bytes())).await?;
            let mut served = lock(served);
            *served.answered.entry(number).or_default() += 1;
            served.seconds.insert(number, clock.since(start).0);
            continue;
        };
        match trouble {
            "429" => {
                stream.write_all(&response("429 Too Many Requests", "retry-after-ms: 5\r\n", b"slow down")).await?;
            }
            "500" => stream.write_all(&response("500 Internal Server Error", "", b"{\"error\": \"oops\"}")).await?,
            "garbage" => stream.write_all(&response("200 OK", "", b"\x00\xffgarbage\r\n\r\n\xfe")).await?,
            "reset" => {
                stream.set_zero_linger()?;
                return Ok(());
            }
            "half stream" => {
                let half = &answer.as_bytes()[..answer.len() / 2];
                stream.write_all(&head("200 OK", "", answer.len())).await?;
                return stream.write_all(half).await;
            }
            "stall" => {
                stream.write_all(&head("200 OK", "", answer.len())).await?;
                stream.write_all(&answer.as_bytes()[..answer.len() / 3]).await?;
                return gone_or(&mut stream, FOR_EVER).await;
            }
            // The head comes byte by byte, and never ends.
            _ => {
                for byte in b"HTTP/1.1 200 OK\r\nx-slow: ".iter().chain(std::iter::repeat(&b'a')) {
                    stream.write_all(std::slice::from_ref(byte)).await?;
                    gone_or(&mut stream, Duration::from_millis(20)).await?;
                }
            }
        }
    }
    Ok(())
}

/// Waits, and fails as soon as the client has gone away.
async fn gone_or(stream: &mut TcpStream, wait: Duration) -> io::Result<()> {
    match tokio::time::timeout(wait, stream.read_u8()).await {
        Err(_) => Ok(()),
        Ok(_) => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// Which trouble the request of this ordinal meets.
fn draw(share: f64, seed: u64, ordinal: u64) -> Option<&'static str> {
    // SplitMix64, public domain, by Sebastiano Vigna.
    let mut z = seed.wrapping_add(ordinal.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    let in_share = ((z >> 11) as f64 / (1_u64 << 53) as f64) < share;
    in_share.then(|| TROUBLES[(z % TROUBLES.len() as u64) as usize])
}

/// The path and the body of the next request; `None` where the client is done.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(String, Value)>> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|value| value.trim().parse().ok()).unwrap_or_default();
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&buffer[end..end + length]).unwrap_or_default();
    buffer.drain(..end + length);
    Ok(Some((path, body)))
}

/// The number at the end of the last message.
fn number_of(body: &Value) -> u64 {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let text = messages.last().and_then(|message| message["content"].as_str()).unwrap_or_default();
    text.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn stream_of(path: &str, text: &str) -> String {
    let pieces: Vec<&str> = text.split_inclusive(' ').collect();
    if path.ends_with("/messages") {
        let message = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
            "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 1},
        });
        let start = [
            json!({"type": "message_start", "message": message}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ];
        let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
        let end = [
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}}),
            json!({"type": "message_stop"}),
        ];
        let piece = |text: &&str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        let events = start.into_iter().chain(pieces.iter().map(piece)).chain(end);
        return events.fold(String::new(), |mut text, event| {
            let kind = event["type"].as_str().unwrap_or_default();
            text.extend(["event: ", kind, "\ndata: ", &event.to_string(), "\n\n"]);
            text
        });
    }
    let piece = |text: &&str| {
        let logprobs =
            json!({"content": [{"token": text, "logprob": -0.1, "bytes": text.as_bytes(), "top_logprobs": []}]});
        chunk(json!([{"index": 0, "delta": {"content": text}, "logprobs": logprobs}]))
    };
    let end = chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]));
    let mut usage = chunk(json!([]));
    usage["usage"] = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12});
    let events = pieces.iter().map(piece).chain([end, usage]);
    events.map(|event| format!("data: {event}\n\n")).chain(["data: [DONE]\n\n".to_owned()]).collect()
}

fn chunk(choices: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": choices})
}

fn head(status: &str, headers: &str, length: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n{headers}\r\n")
        .into_bytes()
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [head(status, headers, body.len()), body.to_vec()].concat()
}
