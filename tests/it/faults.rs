//! A bench whose endpoint misbehaves, or which is interrupted: a clear message, the right exit status, nothing lost of
//! what was measured, and never a scored answer.

use crate::support::{program, stderr, weights};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

const ANSWER: &str = r#"{"id":"1","object":"chat.completion","model":"big","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"{\"category\":\"Access\",\"answer\":\"Yes.\",\"citations\":[],\"needs_human\":false}"}}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;

pub(crate) fn ready() -> bool {
    weights("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf").is_some()
        && weights("all-minilm-l6-v2", "model.safetensors").is_some()
}

/// A server on loopback that gives its n-th request, from 0, the answer of `reply`. It ends with the test's process.
pub(crate) fn endpoint(reply: impl Fn(usize) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if read_request(&stream).is_some() {
                let _ = (&stream).write_all(reply(count.fetch_add(1, Ordering::SeqCst)).as_bytes());
            }
        }
    });
    format!("http://{address}/v1")
}

fn read_request(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()
}

pub(crate) fn http(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn good() -> String {
    http("200 OK", "application/json", ANSWER)
}

pub(crate) fn bench(out: &Path, url: &str, more: &[&str]) -> Output {
    let mut command = program();
    command.args(["bench", "--slm", "smollm2-135m-instruct", "--llm", url, "--llm-model", "big", "--memory", "none"]);
    command.args(["--threads", "1", "--max-tokens", "16", "--json", "--out"]).arg(out).args(more);
    if !more.contains(&"--router") {
        command.args(["--router", "llm-first"]);
    }
    command.env("OPENAI_API_KEY", "sk-very-secret").output().unwrap()
}

pub(crate) fn trials(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("trials.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_endpoint_that_never_works_ends_the_bench_before_it_measures() {
    if !ready() {
        return;
    }
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        (format!("http://{refused}/v1"), "--llm"),
        (
            endpoint(|_| {
                http("401 Unauthorized", "application/json", r#"{"error":{"message":"bad key sk-very-secret"}}"#)
            }),
            "OPENAI_API_KEY",
        ),
        (endpoint(|_| http("200 OK", "text/html", "<html><body>hello</body></html>")), "HTML"),
        (
            endpoint(|_| http("404 Not Found", "application/json", r#"{"error":{"message":"no such model"}}"#)),
            "no such model",
        ),
    ];
    for (url, named) in cases {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let output = bench(&out, &url, &["--limit", "1"]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(named), "{named} is not in: {}", stderr(&output));
        assert!(!stderr(&output).contains("very-secret"), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
        assert!(!out.exists(), "a run that measured nothing leaves nothing");
    }
}

#[test]
fn an_endpoint_that_breaks_on_the_way_is_never_scored_and_what_was_measured_is_kept() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // The first call warms up, two are answered, then the endpoint refuses the key.
    let url = endpoint(|n| if n < 3 { good() } else { http("401 Unauthorized", "application/json", "{}") });
    let url = format!("{url}?api_key=sk-very-secret-too");
    let output = bench(&out, &url, &["--limit", "24"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("OPENAI_API_KEY"), "the failure itself is told: {}", stderr(&output));
    let trials = trials(&out);
    let failed: Vec<_> = trials.iter().filter(|trial| trial["outcome"] == "failed").collect();
    assert_eq!(trials.len() - failed.len(), 2);
    assert!(failed.len() >= 3 && trials.len() < 24, "the run ends instead of burning through the samples");
    for trial in failed {
        assert!(trial["scores"].is_null());
        assert!(trial["prediction"]["label"].is_null());
        assert_eq!(trial["failure"]["kind"], "auth");
    }
    let summary: Value = serde_json::from_str(&fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    assert!(summary["policies"][0]["accuracy"]["value"].is_null(), "too many failures to judge");
    assert!(fs::read_to_string(out.join("summary.md")).unwrap().contains("gave up"));
    for file in ["run.json", "trials.jsonl", "summary.json", "summary.md"] {
        assert!(!fs::read_to_string(out.join(file)).unwrap().contains("very-secret"), "{file} holds the key");
    }
}

#[test]
fn an_endpoint_without_token_counts_leaves_the_cost_out() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let url = endpoint(|_| {
        let usage = ANSWER.find(",\"usage\"").unwrap();
        http("200 OK", "application/json", &format!("{}}}", &ANSWER[..usage]))
    });
    let output = bench(&out, &url, &["--limit", "1", "--price", "gpt-4.1", "--router", "llm-first,slm-only"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["policies"][0]["cost_usd_per_1000"]["api"].is_null());
    assert_eq!(summary["policies"][1]["cost_usd_per_1000"]["api"], 0.0);
}

#[test]
fn an_endpoint_that_says_not_now_until_the_time_is_up_is_not_called_slow() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let url = endpoint(|_| http("429 Too Many Requests", "application/json", r#"{"error":{"message":"slow down"}}"#));
    let output = bench(&folder.path().join("run"), &url, &["--limit", "1", "--timeout", "2"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("429"), "{}", stderr(&output));
}

#[test]
fn an_answer_that_the_provider_blocked_is_not_scored() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let blocked = ANSWER.replace("\"stop\"", "\"content_filter\"");
    let url = endpoint(move |n| if n < 1 { good() } else { http("200 OK", "application/json", &blocked) });
    let output = bench(&out, &url, &["--limit", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let trial = &trials(&out)[0];
    assert!(trial["scores"].is_null() && trial["failure"]["kind"] == "rejected", "{trial}");
    assert!(stderr(&output).contains("content filter"), "{}", stderr(&output));
}

#[test]
fn offline_refuses_an_endpoint_that_is_not_this_machine() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = bench(&folder.path().join("run"), "http://192.0.2.1/v1", &["--limit", "1", "--offline"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("--offline"), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_measured_and_exits_with_130() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let url = endpoint(|_| {
        std::thread::sleep(std::time::Duration::from_millis(150));
        good()
    });
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("routergym-local"));
    command.args(["bench", "--slm", "smollm2-135m-instruct", "--llm", &url, "--llm-model", "big", "--memory", "none"]);
    command.args(["--threads", "1", "--router", "llm-first", "--limit", "0", "--json", "--out"]).arg(&out);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let lines = || fs::read_to_string(out.join("trials.jsonl")).map_or(0, |text| text.lines().count());
    for _ in 0..600 {
        if lines() >= 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(lines() >= 2, "the bench did not begin");
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let kept = trials(&out).len();
    assert!((2..128).contains(&kept), "{kept}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["policies"][0]["n"], kept);
    let header: Value = serde_json::from_str(&fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(header["interrupted"], true);
}
