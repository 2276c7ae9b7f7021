//! Load on an OpenAI-compatible server: a number of clients, each of which asks again as soon as it has its answer.
//!
//!     cargo run --release --example load -- http://127.0.0.1:8080 --clients 32 --seconds 300 --max-tokens 64
//!
//! The prompts are the tickets of the bundled help desk, each with a number of its own, so that no two requests are the same.
//! Printed is one JSON object: requests and errors, tokens by the server's own count and tokens a second over the whole time,
//! time to the first piece (with `--stream`) and of whole answers.

use futures_util::StreamExt;
use routergym_local::clock::Clock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TICKETS: &str = include_str!("../datasets/helpdesk/tickets.jsonl");

struct Plan {
    url: String,
    model: Option<String>,
    clients: usize,
    seconds: f64,
    max_tokens: usize,
    stream: bool,
}

#[derive(Default)]
struct Found {
    requests: usize,
    errors: BTreeMap<String, usize>,
    prompt_tokens: u64,
    cached_tokens: u64,
    tokens: u64,
    first_s: Vec<f64>,
    whole_s: Vec<f64>,
}

fn plan() -> Result<Plan, String> {
    let mut plan = Plan { url: String::new(), model: None, clients: 1, seconds: 30.0, max_tokens: 64, stream: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse::<f64>().map_err(|_| format!("{text} is no number"));
        match argument.as_str() {
            "--clients" => plan.clients = number(value()?)? as usize,
            "--seconds" => plan.seconds = number(value()?)?,
            "--max-tokens" => plan.max_tokens = number(value()?)? as usize,
            "--model" => plan.model = Some(value()?),
            "--stream" => plan.stream = true,
            url if url.starts_with("http://") => url.trim_end_matches('/').clone_into(&mut plan.url),
            other => return Err(format!("{other} is not known")),
        }
    }
    if plan.url.is_empty() {
        return Err("usage: load URL [--clients N] [--seconds S] [--max-tokens N] [--model NAME] [--stream]".to_owned());
    }
    Ok(plan)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = Arc::new(plan()?);
    let tickets: Vec<String> = TICKETS
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|ticket| Some(ticket.get("text").or_else(|| ticket.get("input"))?.as_str()?.to_owned()))
        .collect();
    if tickets.is_empty() {
        return Err("the bundled tickets have no text".into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = Clock::real();
    let start = clock.now();
    let found = runtime.block_on(async {
        let next = Arc::new(AtomicUsize::new(0));
        let tickets = Arc::new(tickets);
        let clients: Vec<_> = (0..plan.clients)
            .map(|_| {
                let (plan, next, tickets, clock) = (plan.clone(), next.clone(), tickets.clone(), clock.clone());
                tokio::spawn(async move {
                    let http = reqwest::Client::new();
                    let mut found = Found::default();
                    while clock.since(start).0 < plan.seconds {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let ticket = &tickets[number % tickets.len()];
                        ask(&http, &plan, number, ticket, &clock, &mut found).await;
                    }
                    found
                })
            })
            .collect();
        let mut all = Found::default();
        for client in clients {
            let found = client.await?;
            all.requests += found.requests;
            all.prompt_tokens += found.prompt_tokens;
            all.cached_tokens += found.cached_tokens;
            all.tokens += found.tokens;
            all.first_s.extend(found.first_s);
            all.whole_s.extend(found.whole_s);
            for (error, count) in found.errors {
                *all.errors.entry(error).or_default() += count;
            }
        }
        Ok::<_, tokio::task::JoinError>(all)
    })?;
    let wall = clock.since(start).0;
    let report = json!({
        "clients": plan.clients, "wall_s": wall, "requests": found.requests, "errors": found.errors,
        "prompt_tokens": found.prompt_tokens, "cached_tokens": found.cached_tokens, "tokens": found.tokens,
        "tokens_per_s": found.tokens as f64 / wall, "first_s": quantiles(found.first_s), "whole_s": quantiles(found.whole_s),
    });
    writeln(&report)?;
    Ok(())
}

fn writeln(report: &Value) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{report}")
}

fn quantiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get(((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1)));
    json!({"p50": at(0.5), "p95": at(0.95), "max": values.last()})
}

async fn ask(http: &reqwest::Client, plan: &Plan, number: usize, ticket: &str, clock: &Clock, found: &mut Found) {
    let start = clock.now();
    let result = exchange(http, plan, number, ticket, clock, found).await;
    found.requests += 1;
    found.whole_s.push(clock.since(start).0);
    if let Err(error) = result {
        *found.errors.entry(error).or_default() += 1;
    }
}

async fn exchange(
    http: &reqwest::Client,
    plan: &Plan,
    number: usize,
    ticket: &str,
    clock: &Clock,
    found: &mut Found,
) -> Result<(), String> {
    let start = clock.now();
    let mut body = json!({
        "messages": [
            {"role": "system", "content": "You answer the tickets of an IT help desk in a few friendly sentences."},
            {"role": "user", "content": format!("Ticket {number}\n\n{ticket}")},
        ],
        "max_tokens": plan.max_tokens, "temperature": 0, "stream": plan.stream,
    });
    if let Some(model) = &plan.model {
        body["model"] = json!(model);
    }
    if plan.stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    let kind = |error: reqwest::Error| {
        if error.is_timeout() { "time-out".to_owned() } else { format!("connection: {}", error.without_url()) }
    };
    let request = http.post(format!("{}/v1/chat/completions", plan.url));
    let request = request.header("content-type", "application/json").body(body.to_string());
    let response = request.send().await.map_err(kind)?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("status {}", status.as_u16()));
    }
    let usage = if plan.stream {
        let mut pieces = response.bytes_stream();
        let mut text = String::new();
        let mut first = true;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(kind)?;
            if std::mem::take(&mut first) {
                found.first_s.push(clock.since(start).0);
            }
            text.push_str(&String::from_utf8_lossy(&piece));
        }
        if !text.trim_end().ends_with("[DONE]") {
            return Err("the stream ended early".to_owned());
        }
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let usages = events.filter_map(|event| serde_json::from_str::<Value>(event).ok()?.get("usage").cloned());
        usages.rev().find(|usage| !usage.is_null())
    } else {
        let answer = response.bytes().await.map_err(kind)?;
        serde_json::from_slice::<Value>(&answer).ok().and_then(|answer| answer.get("usage").cloned())
    };
    let usage = usage.ok_or("an answer without token counts")?;
    found.prompt_tokens += usage["prompt_tokens"].as_u64().unwrap_or(0);
    found.cached_tokens += usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
    found.tokens += usage["completion_tokens"].as_u64().ok_or("an answer without token counts")?;
    Ok(())
}
