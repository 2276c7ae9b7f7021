//! A streamed answer: the worker's tokens as server-sent events.

use super::Answer;
use super::error::ApiError;
use super::reply::Envelope;
use super::worker::Event;
use crate::engine::TokenLogprob;
use crate::units::Seconds;
use axum::body::Bytes;
use std::collections::VecDeque;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver};

/// Keeps back the tokens that may turn out to be part of a stop text.
#[derive(Debug, Default)]
struct Holder {
    stops: Vec<String>,
    held: VecDeque<TokenLogprob>,
    text: String,
}

impl Holder {
    /// Takes a token and returns those that are certainly part of the answer.
    fn push(&mut self, token: TokenLogprob) -> Vec<TokenLogprob> {
        self.text.push_str(&token.text);
        self.held.push_back(token);
        let mut safe = self.safe_length();
        let mut released = Vec::new();
        while let Some(token) = self.held.pop_front_if(|token| token.text.len() <= safe) {
            safe -= token.text.len();
            self.text.drain(..token.text.len());
            released.push(token);
        }
        released
    }

    fn safe_length(&self) -> usize {
        let starts = self.text.char_indices().map(|(start, _)| start);
        let may_be_stop = |start: &usize| {
            let rest = &self.text[*start..];
            self.stops.iter().any(|stop| rest.starts_with(stop.as_str()) || stop.starts_with(rest))
        };
        starts.into_iter().find(may_be_stop).unwrap_or(self.text.len())
    }
}

/// Sends the events of one answer to the client until either side ends. `first` was already received.
pub(super) async fn pump(
    envelope: Envelope,
    stops: Vec<String>,
    include_usage: bool,
    first: Event,
    mut events: UnboundedReceiver<Event>,
    client: Sender<Bytes>,
) {
    let mut holder = Holder { stops, ..Holder::default() };
    let mut sent = Sent::default();
    for opening in envelope.opening() {
        if client.send(envelope.frame(&opening)).await.is_err() {
            return;
        }
    }
    let mut next = Some(first);
    loop {
        match next {
            Some(Event::Token(token)) => {
                for token in holder.push(token) {
                    let piece = envelope.piece(&token.text, std::slice::from_ref(&token), sent.characters);
                    sent.count(&token.text);
                    if client.send(envelope.frame(&piece)).await.is_err() {
                        return;
                    }
                }
            }
            Some(Event::Done(Ok(answer), waited)) => {
                for bytes in sent.rest(&envelope, &answer, waited, include_usage) {
                    if client.send(bytes).await.is_err() {
                        return;
                    }
                }
                return;
            }
            Some(Event::Done(Err(error), _)) => {
                let _client_gone = client.send(envelope.frame(&envelope.refusal(error).object())).await;
                return;
            }
            None => {
                let _client_gone = client.send(envelope.frame(&envelope.refusal(ApiError::stopping()).object())).await;
                return;
            }
        }
        next = tokio::select! {
            // Dropping `events` tells the worker to stop generating.
            () = client.closed() => return,
            event = events.recv() => event,
        };
    }
}

/// What was sent of an answer.
#[derive(Default)]
struct Sent {
    tokens: usize,
    bytes: usize,
    characters: usize,
}

impl Sent {
    fn count(&mut self, text: &str) {
        self.tokens += 1;
        self.bytes += text.len();
        self.characters += text.chars().count();
    }

    /// What is still to be sent when generation has ended.
    fn rest(&self, envelope: &Envelope, answer: &Answer, waited: Seconds, include_usage: bool) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let completion = &answer.completion;
        let text = completion.text.get(self.bytes..).unwrap_or_default();
        let tokens = completion.tokens.get(self.tokens..).unwrap_or_default();
        if !text.is_empty() || !tokens.is_empty() {
            frames.push(envelope.frame(&envelope.piece(text, tokens, self.characters)));
        }
        frames.extend(envelope.ending(answer, waited, include_usage).iter().map(|value| envelope.frame(value)));
        frames.extend(envelope.last_frame());
        frames
    }
}

/// The response body that the frames go to.
pub(super) fn body(frames: Receiver<Bytes>) -> axum::body::Body {
    let stream = futures_util::stream::unfold(frames, |mut frames| async move {
        let bytes = frames.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), frames))
    });
    axum::body::Body::from_stream(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(stops: &[&str], texts: &[&str]) -> Vec<String> {
        let mut holder = Holder { stops: stops.iter().map(|&stop| stop.to_owned()).collect(), ..Holder::default() };
        let token = |text: &str| TokenLogprob::new(text.to_owned(), text.as_bytes(), 0.0);
        texts.iter().map(|text| holder.push(token(text)).iter().map(|token| token.text.as_str()).collect()).collect()
    }

    #[test]
    fn without_stop_texts_every_token_goes_out_at_once() {
        assert_eq!(released(&[], &["a", "", "ü"]), ["a", "", "ü"]);
    }

    #[test]
    fn what_may_become_a_stop_text_is_kept_back_until_it_is_clear() {
        assert_eq!(released(&["\n\n"], &["a", "\n", "b", "\n", "\n"]), ["a", "", "\nb", "", ""]);
        assert_eq!(released(&["END"], &["xE", "N", "T"]), ["", "", "xENT"]);
        assert_eq!(released(&["END"], &["END", " more"]), ["", ""]);
    }
}
