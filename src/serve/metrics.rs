//! Counters of the server, in the text format of Prometheus (version 0.0.4).

use super::Answer;
use crate::engine::{EngineInfo, FailureKind};
use crate::units::Seconds;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// Upper bounds of the buckets of all histograms, in seconds.
const BOUNDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// What is counted since the start.
#[derive(Default)]
pub(super) struct Metrics(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    requests: BTreeMap<(&'static str, u16), u64>,
    failures: BTreeMap<FailureKind, u64>,
    routes: BTreeMap<(String, &'static str, &'static str), u64>,
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    embedded_tokens: u64,
    api_usd: f64,
    queue: Histogram,
    first_token: Histogram,
    per_token: Histogram,
    answer: Histogram,
}

#[derive(Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, Seconds(value): Seconds) {
        if let Some(bucket) = BOUNDS.iter().position(|bound| value <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += value;
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(self.buckets) {
            below += count;
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ =
            writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {0}\n{name}_sum {1}\n{name}_count {0}", self.count, self.sum);
    }
}

impl Metrics {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered with this status; `path` is one of the server's own.
    pub(super) fn responded(&self, path: &'static str, status: u16) {
        *self.counts().requests.entry((path, status)).or_default() += 1;
    }

    /// A model gave this answer.
    pub(super) fn answered(&self, answer: &Answer, waited: Seconds) {
        let (completion, counts) = (&answer.completion, &mut *self.counts());
        let (usage, timing) = (completion.usage, &completion.timing);
        counts.prompt_tokens += usage.input_tokens;
        counts.cached_tokens += usage.cached_tokens;
        counts.completion_tokens += usage.output_tokens;
        counts.queue.add(waited);
        counts.answer.add(timing.total_s + waited);
        if let Some(first) = timing.ttft_s {
            counts.first_token.add(first + waited);
            if usage.output_tokens > 1 {
                counts.per_token.add(Seconds((timing.total_s - first).0 / (usage.output_tokens - 1) as f64));
            }
        }
        if let Some(route) = &answer.route {
            *counts.routes.entry((route.model.clone(), route.tier, route.reason)).or_default() += 1;
            counts.api_usd += route.api_usd.unwrap_or(0.0);
        }
    }

    /// An answer failed.
    pub(super) fn failed(&self, kind: FailureKind) {
        *self.counts().failures.entry(kind).or_default() += 1;
    }

    /// Texts with so many tokens were embedded.
    pub(super) fn embedded(&self, tokens: u64) {
        self.counts().embedded_tokens += tokens;
    }

    /// Everything as text; `lengths` are the requests that wait and those that are being answered.
    pub(super) fn text(&self, info: Option<&EngineInfo>, lengths: (usize, usize)) -> String {
        let counts = self.counts();
        let mut text = String::new();
        let mut one = |name: &str, kind: &str, help: &str, rows: Vec<(String, String)>| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let plain = |value: u64| vec![(String::new(), value.to_string())];
        if let Some(info) = info {
            let labels = format!("{{version=\"{}\",model=\"{}\"}}", env!("CARGO_PKG_VERSION"), quoted(&info.model));
            one("routergym_info", "gauge", "The program and the model that it serves.", vec![(labels, "1".to_owned())]);
        }
        let requests = counts
            .requests
            .iter()
            .map(|((path, status), count)| (format!("{{path=\"{path}\",status=\"{status}\"}}"), count.to_string()));
        one("routergym_requests_total", "counter", "Requests by path and status.", requests.collect());
        let failures = counts.failures.iter().map(|(kind, count)| {
            let kind = serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
            (format!("{{kind=\"{}\"}}", kind.unwrap_or_default()), count.to_string())
        });
        one("routergym_failures_total", "counter", "Answers that failed, by kind.", failures.collect());
        one("routergym_requests_waiting", "gauge", "Requests that wait for their turn.", plain(lengths.0 as u64));
        one("routergym_requests_running", "gauge", "Requests that are being answered.", plain(lengths.1 as u64));
        for (name, help, value) in [
            ("routergym_prompt_tokens_total", "Tokens of prompts.", counts.prompt_tokens),
            (
                "routergym_cached_tokens_total",
                "Tokens of prompts that came from the prefix cache.",
                counts.cached_tokens,
            ),
            ("routergym_completion_tokens_total", "Tokens generated.", counts.completion_tokens),
            ("routergym_embedded_tokens_total", "Tokens embedded.", counts.embedded_tokens),
        ] {
            one(name, "counter", help, plain(value));
        }
        if !counts.routes.is_empty() {
            let routes = counts.routes.iter().map(|((model, tier, reason), count)| {
                let model = quoted(model);
                (format!("{{model=\"{model}\",tier=\"{tier}\",reason=\"{reason}\"}}"), count.to_string())
            });
            one("routergym_routes_total", "counter", "Routed answers by who gave them and why.", routes.collect());
            let usd = vec![(String::new(), counts.api_usd.to_string())];
            one("routergym_api_usd_total", "counter", "Dollars for calls that have a price.", usd);
        }
        counts.queue.write(&mut text, "routergym_queue_seconds", "Time in the queue.");
        counts.first_token.write(
            &mut text,
            "routergym_first_token_seconds",
            "Time to the first token, queue included.",
        );
        counts.per_token.write(&mut text, "routergym_per_token_seconds", "Time per token after the first.");
        counts.answer.write(&mut text, "routergym_answer_seconds", "Time of whole answers, queue included.");
        text
    }
}

/// A label's value.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_at_most_each_bound() {
        let mut histogram = Histogram::default();
        for value in [0.0005, 0.01, 0.02, 100.0] {
            histogram.add(Seconds(value));
        }
        let mut text = String::new();
        histogram.write(&mut text, "t", "help");
        assert!(text.contains("t_bucket{le=\"0.01\"} 2\n") && text.contains("t_bucket{le=\"60\"} 3\n"), "{text}");
        assert!(text.contains("t_bucket{le=\"+Inf\"} 4\n") && text.contains("t_count 4\n"), "{text}");
    }

    #[test]
    fn every_line_is_a_comment_or_a_name_with_labels_and_a_number() {
        let metrics = Metrics::default();
        metrics.responded("/v1/chat/completions", 200);
        metrics.failed(FailureKind::ContextOverflow);
        let info = EngineInfo { model: "a \"b\"\\\n".into(), place: String::new(), sha256: None, context_length: None };
        let text = metrics.text(Some(&info), (2, 3));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok() && name.starts_with("routergym_"), "{line}");
        }
        assert!(text.contains("routergym_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1"), "{text}");
        assert!(text.contains("routergym_failures_total{kind=\"context_overflow\"} 1"), "{text}");
        assert!(text.contains(r#"model="a \"b\"\\\n"}"#) && text.contains("routergym_requests_waiting 2"), "{text}");
    }
}
