//! Reads the body of a successful answer, streamed or plain, piece by piece.

use super::FailureKind;
use super::endpoint::RemoteOptions;
use super::failure::Fault;
use super::stream::SseParser;
use super::wire::{Answer, cut};
use crate::clock::{Clock, Moment};
use crate::units::Seconds;
use std::time::Duration;

/// Largest answer that is accepted, in bytes on the wire.
const MAX_ANSWER: usize = 64 << 20;
/// How much of an answer's start is kept for a message.
const HEAD: usize = 4 << 10;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) answer: Answer,
    /// From the call's start to the first text; `None` for an answer that came in one piece, which does not tell.
    pub(super) ttft_s: Option<Seconds>,
}

/// A time-out. `limit_name` is the one that ran out.
pub(super) fn late(what: &str, limit: Duration, limit_name: &str) -> Fault {
    let seconds = limit.as_secs_f64();
    Fault::new(
        FailureKind::Timeout,
        format!("timed out: the endpoint {what} within {seconds} s (the {limit_name} limit); is it overloaded?"),
    )
}

enum Form {
    /// Only white space so far.
    Unknown,
    Streamed(SseParser),
    Plain(Vec<u8>),
}

/// Turns bytes into an [`Answer`].
pub(super) struct Reader<'a> {
    options: &'a RemoteOptions,
    pub(super) answer: Answer,
    form: Form,
    received: usize,
    head: Vec<u8>,
    events_seen: bool,
    first_text: Option<Moment>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(options: &'a RemoteOptions) -> Self {
        Self {
            options,
            answer: Answer::default(),
            form: Form::Unknown,
            received: 0,
            head: Vec::new(),
            events_seen: false,
            first_text: None,
        }
    }

    /// Takes the next bytes. Returns whether the answer has said that it is over.
    pub(super) fn take(&mut self, bytes: &[u8], clock: &Clock) -> Result<bool, Fault> {
        self.received += bytes.len();
        if self.received > MAX_ANSWER {
            return Err(self.malformed("is larger than 64 MiB"));
        }
        let room = HEAD.saturating_sub(self.head.len());
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if matches!(self.form, Form::Unknown) {
            // The first byte tells the form more reliably than the content type does.
            match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => return Ok(false),
                Some(b'{') => self.form = Form::Plain(Vec::new()),
                Some(b'<') => return Err(self.malformed("is HTML")),
                Some(_) => self.form = Form::Streamed(SseParser::default()),
            }
        }
        let mut events = Vec::new();
        match &mut self.form {
            Form::Plain(body) => body.extend_from_slice(bytes),
            Form::Streamed(parser) => {
                if let Err(fault) = parser.push(bytes, &mut events) {
                    return Err(self.malformed(&format!("holds {}", fault.describe())));
                }
            }
            Form::Unknown => {}
        }
        for event in events {
            self.feed(&event, clock)?;
        }
        Ok(self.answer.done)
    }

    fn feed(&mut self, data: &str, clock: &Clock) -> Result<(), Fault> {
        self.events_seen = true;
        if self.answer.feed(&self.options.scrub(data))? && self.first_text.is_none() {
            self.first_text = Some(clock.now());
        }
        Ok(())
    }

    /// Ends the answer. `start` is when the call began.
    pub(super) fn finish(mut self, start: Moment, clock: &Clock) -> Result<Received, Fault> {
        match std::mem::replace(&mut self.form, Form::Unknown) {
            Form::Plain(body) => {
                let Ok(body) = String::from_utf8(body) else { return Err(self.malformed("is not UTF-8")) };
                self.feed(&body, clock)?;
                self.first_text = None;
            }
            Form::Streamed(parser) if !self.answer.done => {
                let mut events = Vec::new();
                if let Err(fault) = parser.finish(&mut events) {
                    return Err(self.malformed(&format!("holds {}", fault.describe())));
                }
                for event in events {
                    // A last event that cannot be read is one that was cut.
                    match self.feed(&event, clock) {
                        Err(fault) if fault.kind == FailureKind::Malformed && self.answer.has_begun() => break,
                        other => other?,
                    }
                }
            }
            Form::Streamed(_) | Form::Unknown => {}
        }
        if !self.answer.is_whole() {
            let received = self.answer.text.chars().count();
            let foreign = self.received > 0 && !self.events_seen;
            return Err(if foreign { self.malformed("is no event stream") } else { cut(received) });
        }
        if self.answer.was_blocked() {
            let what =
                "was ended by the provider's content filter; that says nothing of the model, so it is not scored";
            return Err(Fault::new(FailureKind::Rejected, what));
        }
        // A key echoed over several pieces is only visible in the whole text.
        let scrubbed = self.options.scrub(&self.answer.text);
        if scrubbed != self.answer.text {
            self.answer.replace_text(scrubbed);
        }
        Ok(Received { ttft_s: self.first_text.map(|moment| moment.since(start)), answer: self.answer })
    }

    fn malformed(&self, what: &str) -> Fault {
        Fault::malformed(what, self.options.scrub(&String::from_utf8_lossy(&self.head)).as_bytes())
    }
}
