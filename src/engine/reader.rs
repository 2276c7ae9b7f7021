//! Reads the body of a successful answer, streamed or plain, piece by piece.

use super::FailureKind;
use super::endpoint::Api;
use super::failure::Fault;
use super::secret::Scrubber;
use super::stream::SseParser;
use super::tries::Trace;
use super::wire::{Answer, cut};
use std::time::Duration;

/// Largest answer that is accepted, in bytes on the wire.
const MAX_ANSWER: usize = 64 << 20;
/// How much of an answer's start is kept for a message.
const HEAD: usize = 4 << 10;

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
    scrubber: &'a Scrubber,
    trace: &'a Trace,
    pub(super) answer: Answer,
    form: Form,
    received: usize,
    head: Vec<u8>,
    events_seen: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(api: Api, scrubber: &'a Scrubber, trace: &'a Trace) -> Self {
        Self {
            scrubber,
            trace,
            answer: Answer::new(api),
            form: Form::Unknown,
            received: 0,
            head: Vec::new(),
            events_seen: false,
        }
    }

    /// Takes the next bytes. Returns whether the answer has said that it is over.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<bool, Fault> {
        self.trace.bytes();
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
            self.feed(&event)?;
        }
        Ok(self.answer.done)
    }

    fn feed(&mut self, data: &str) -> Result<(), Fault> {
        self.events_seen = true;
        if self.answer.feed(&self.scrubber.scrub(data))? {
            self.trace.text();
        }
        self.trace.counted(self.answer.reported());
        Ok(())
    }

    /// Ends the answer: whether it is whole.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        match std::mem::replace(&mut self.form, Form::Unknown) {
            Form::Plain(body) => {
                let Ok(body) = String::from_utf8(body) else { return Err(self.malformed("is not UTF-8")) };
                let fed = self.feed(&body);
                self.trace.came_whole();
                fed?;
            }
            Form::Streamed(parser) if !self.answer.done => {
                let mut events = Vec::new();
                if let Err(fault) = parser.finish(&mut events) {
                    return Err(self.malformed(&format!("holds {}", fault.describe())));
                }
                for event in events {
                    // A last event that cannot be read is one that was cut.
                    match self.feed(&event) {
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
        let scrubbed = self.scrubber.scrub(&self.answer.text).into_owned();
        if scrubbed != self.answer.text {
            self.answer.replace_text(scrubbed);
        }
        if let Some(model) = &mut self.answer.model {
            *model = self.scrubber.scrub(model).into_owned();
        }
        Ok(())
    }

    fn malformed(&self, what: &str) -> Fault {
        Fault::malformed(what, self.scrubber.scrub(&String::from_utf8_lossy(&self.head)).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::engine::{Secret, TokenLogprob, Usage};
    use proptest::prelude::*;
    use serde_json::json;

    type Read = Result<(String, Option<String>, Vec<TokenLogprob>, Usage), FailureKind>;

    fn read(api: Api, pieces: &[&[u8]]) -> Read {
        let scrubber = Scrubber::new([Secret::new("sk-hidden")], "");
        let trace = Trace::new(&Clock::fake());
        let mut reader = Reader::new(api, &scrubber, &trace);
        let mut take = || -> Result<(), Fault> {
            for piece in pieces {
                if reader.take(piece)? {
                    break;
                }
            }
            reader.finish()
        };
        take().map_err(|fault| fault.kind)?;
        let mut answer = reader.answer;
        let usage = answer.usage().0;
        Ok((answer.text.clone(), answer.model.take(), answer.tokens(), usage))
    }

    fn chat(texts: &[String], end: &str, plain: bool) -> String {
        let entry = |text: &String| json!({"token": text, "logprob": -0.5, "bytes": text.as_bytes()});
        let usage = json!({"prompt_tokens": 5, "completion_tokens": texts.len()});
        if plain {
            let logprobs = json!({"content": texts.iter().map(entry).collect::<Vec<_>>()});
            let choice = json!({"message": {"content": texts.concat()}, "finish_reason": "stop", "logprobs": logprobs});
            return json!({"model": "m", "choices": [choice], "usage": usage}).to_string();
        }
        let piece = |text: &String| json!({"model": "m", "choices": [{"delta": {"content": text}, "logprobs": {"content": [entry(text)]}}]});
        let last =
            [json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}), json!({"choices": [], "usage": usage})];
        let events = texts.iter().map(piece).chain(last);
        events
            .map(|event| format!("data: {event}{end}{end}"))
            .chain([format!(": ping{end}{end}data: [DONE]{end}{end}")])
            .collect()
    }

    fn messages(texts: &[String], end: &str) -> String {
        let start = json!({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}});
        let piece =
            |text: &String| json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}});
        let stop = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": texts.len()}});
        let events = [start].into_iter().chain(texts.iter().map(piece)).chain([stop, json!({"type": "message_stop"})]);
        events.fold(String::new(), |mut text, event| {
            let kind = event["type"].as_str().unwrap_or_default();
            text.extend(["event: ", kind, end, "data: ", &event.to_string(), end, end]);
            text
        })
    }

    proptest! {
        #[test]
        fn any_split_of_an_answer_is_read_as_the_same_answer(
            texts in prop::collection::vec("[a-z ☃é𝄞\"\\\\]{1,6}", 1..8),
            end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
            plain in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            for (api, stream) in [(Api::OpenAi, chat(&texts, end, plain)), (Api::Anthropic, messages(&texts, end))] {
                let bytes = stream.as_bytes();
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
                cuts.extend([0, bytes.len()]);
                cuts.sort_unstable();
                let pieces: Vec<&[u8]> = cuts.windows(2).filter_map(|pair| bytes.get(pair[0]..pair[1])).collect();
                let whole = read(api, &[bytes]);
                prop_assert_eq!(&whole.as_ref().unwrap().0, &texts.concat());
                prop_assert_eq!(read(api, &pieces), whole.clone());
                prop_assert_eq!(read(api, &bytes.chunks(1).collect::<Vec<_>>()), whole);
            }
        }

        #[test]
        fn an_answer_that_is_cut_anywhere_is_never_taken_for_a_whole_one(
            texts in prop::collection::vec("[a-z ☃]{1,6}", 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            for (api, stream, last) in [
                (Api::OpenAi, chat(&texts, "\n", false), "\"finish_reason\":\"stop\""),
                (Api::Anthropic, messages(&texts, "\n"), "\"stop_reason\":\"end_turn\""),
            ] {
                // Up to where it says why it ended.
                let end = stream.find(last).unwrap();
                let mut at = cut.index(end);
                while !stream.is_char_boundary(at) {
                    at -= 1;
                }
                prop_assert!(read(api, &[&stream.as_bytes()[..at]]).is_err());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for api in [Api::OpenAi, Api::Anthropic] {
                let _ = read(api, &[&bytes]);
                let _ = read(api, &[b"data: ", &bytes, b"\n\n"]);
            }
        }
    }

    #[test]
    fn a_key_in_the_name_of_the_model_or_split_over_pieces_is_gone() {
        let texts = ["sk-h".to_owned(), "idden and sk-hidden".to_owned()];
        let stream = chat(&texts, "\n", false).replace("\"model\":\"m\"", "\"model\":\"\\u0073k-hidden\"");
        let (text, model, tokens, _) = read(Api::OpenAi, &[stream.as_bytes()]).unwrap();
        assert_eq!((text.as_str(), model.as_deref(), tokens.len()), ("*** and ***", Some("***"), 0));
    }
}
