//! Chat messages and the template that a model file carries.
//!
//! A template is outside input: it runs with bounded work, bounded output and a stack of its own, and it can reach
//! nothing but the messages. It is given no clock either (`strftime_now` is not defined), so that a prompt is the same
//! on every day.

mod json;

use crate::error::{Context as _, Error, Result, anyhow, bail, usage};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};
use std::io;

/// Larger sources are refused; real templates are below 32 KiB.
const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Work that a render may do beside handling its messages: thousands of messages' worth.
const BASE_FUEL: u64 = 200_000;
const BASE_OUTPUT_BYTES: usize = 1 << 20;
/// Expressions can nest as deep as the source allows and values as deep as the fuel allows, and the engine handles both
/// recursively: the stack must hold that. Pages that are not touched take no memory.
const STACK_BYTES: usize = 256 << 20;
const MAX_RECURSION: usize = 100;
const NAME: &str = "chat_template";

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// The chat template of a model file, compiled.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    takes_system: bool,
}

impl ChatTemplate {
    /// Compiles a template. `bos` and `eos` are the texts of the start and end tokens, empty where there are none.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            bail!(
                "tokenizer.chat_template is {} bytes long, more than the {MAX_SOURCE_BYTES} that are accepted: it is \
                 hardly a chat template; take another model file",
                source.len()
            );
        }
        let mut template =
            Self { environment: environment(source)?, bos: bos.into(), eos: eos.into(), takes_system: true };
        template.takes_system = template.keeps_a_system_message();
        Ok(template)
    }

    /// The prompt text of a conversation, ending where the model's answer begins.
    ///
    /// Where the template refuses a system message or leaves it out, its text goes before the first user message, as the
    /// makers of such models advise.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        let rendered = if self.takes_system { self.run(messages) } else { self.run(&without_system(messages)) };
        rendered.map_err(|refusal| refusal.explained())
    }

    /// Tries a small conversation: templates do not say whether they take system messages.
    fn keeps_a_system_message(&self) -> bool {
        const MARK: &str = "a system message to look for";
        let probe = [Message::new("system", MARK), Message::new("user", "Hello")];
        let kept = self.run(&probe).is_ok_and(|text| text.contains(MARK));
        // A template that fails either way is left to say so on the real conversation.
        kept || self.run(&without_system(&probe)).is_err()
    }

    fn run(&self, messages: &[Message]) -> Result<String, Refusal> {
        let given: usize = messages.iter().map(|message| message.role.len() + message.content.len()).sum();
        let mut environment = self.environment.clone();
        // One unit of fuel pays for 64 bytes: a message may be copied sixteen times on its way.
        environment.set_fuel(Some(BASE_FUEL + given as u64 / 4));
        let mut output = Bounded { bytes: Vec::new(), limit: BASE_OUTPUT_BYTES + 4 * given };
        let values = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => true,
            bos_token => &self.bos,
            eos_token => &self.eos,
        };
        on_a_deep_stack(|| environment.get_template(NAME)?.render_captured_to(values, &mut output).map(drop))?;
        String::from_utf8(output.bytes).map_err(|_| Refusal::new("the output is not UTF-8"))
    }
}

fn environment(source: &str) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .context("setting up the template engine")?;
    environment.set_syntax(syntax);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        // Its widths and precisions are memory that nothing counts.
        if method == "format" {
            return Err(minijinja::Error::new(ErrorKind::UnknownMethod, "the method format of texts is not offered"));
        }
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
    });
    environment.add_filter("tojson", json::to_json);
    environment.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
        Err(failure(message))
    });
    // Debugging would describe the template's variables in errors, at any length.
    environment.set_debug(false);
    on_a_deep_stack(|| environment.add_template_owned(NAME, without_training_marks(source)))
        .map_err(|refusal| anyhow!("compiling tokenizer.chat_template: {}; take another model file", refusal.said))?;
    Ok(environment)
}

/// Nothing that the engine made may leave that stack, errors included: they can hold values.
fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> Result<T, minijinja::Error> + Send) -> Result<T, Refusal> {
    let work = || work().map_err(|error| Refusal::from(&error));
    std::thread::scope(|scope| match std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work) {
        Ok(thread) => thread.join().unwrap_or_else(|_| Err(Refusal::new("the template engine panicked"))),
        Err(error) => Err(Refusal::new(format!("no thread could be started for it ({error})"))),
    })
}

/// Some templates mark the assistant's words for training with `{% generation %}`, which is no Jinja tag and has no
/// effect on a prompt.
fn without_training_marks(source: &str) -> String {
    let mut rest = source;
    let mut out = String::with_capacity(source.len());
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 2);
        let word = tag.trim_matches(['{', '}', '%', '-', '+']).trim();
        match word {
            "generation" => out.push_str(&tag.replace(word, "if true")),
            "endgeneration" => out.push_str(&tag.replace(word, "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

/// The conversation with its leading system messages put before the first user message.
fn without_system(messages: &[Message]) -> Vec<Message> {
    let leading = messages.iter().take_while(|message| message.role == "system").count();
    let (system, rest) = messages.split_at(leading);
    let mut rest = rest.to_vec();
    if system.is_empty() {
        return rest;
    }
    let system = system.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n");
    match rest.iter_mut().find(|message| message.role == "user") {
        Some(user) => user.content = format!("{system}\n\n{}", user.content),
        None => rest.insert(0, Message::new("user", system)),
    }
    rest
}

fn failure(message: impl Into<std::borrow::Cow<'static, str>>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message)
}

/// What the engine had to say, free of its values.
struct Refusal {
    kind: ErrorKind,
    said: String,
}

impl Refusal {
    fn new(said: impl Into<String>) -> Self {
        Self { kind: ErrorKind::EvalBlock, said: said.into() }
    }

    fn explained(&self) -> Error {
        let mend = match self.kind {
            ErrorKind::OutOfFuel => "it does more work than a prompt can need; take another model file",
            ErrorKind::WriteFailure => "its output is far longer than the messages; take another model file",
            ErrorKind::UnknownFunction if self.said.contains("strftime_now") => {
                "it writes today's date into the prompt, which would make runs differ from day to day; take a model \
                 file whose template does without"
            }
            ErrorKind::InvalidOperation => {
                "check that the conversation is one system message at most, then user and assistant in turn"
            }
            _ => "the template needs something that is not supported; take another model file",
        };
        let message = format!("rendering tokenizer.chat_template: {}: {mend}", self.said);
        // Another conversation may well be taken.
        if self.kind == ErrorKind::InvalidOperation { usage(message) } else { anyhow!(message) }
    }
}

impl From<&minijinja::Error> for Refusal {
    fn from(error: &minijinja::Error) -> Self {
        let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        Self { kind: error.kind(), said: format!("{}{detail}{line}", error.kind()) }
    }
}

/// A writer that refuses to grow past its limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(part.len()) > self.limit {
            return Err(io::Error::other("the output is too long"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
