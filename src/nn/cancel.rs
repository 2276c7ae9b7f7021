//! How a caller ends the computing of a prompt, which shows it no token that it could end generation at.

use std::fmt;
use std::sync::Arc;

/// Asked between the parts of a prompt whether its answer is still wanted.
#[derive(Clone, Default)]
pub struct Cancel(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Cancel {
    /// Ends generation once `is_unwanted` says so.
    pub fn when(is_unwanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_unwanted)))
    }

    /// Whether the answer is wanted no more.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.0.as_ref().is_some_and(|is_unwanted| is_unwanted())
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", if self.0.is_some() { "asked" } else { "never" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::nn::testing::{Family, Stored, prompt, write_checkpoint};
    use crate::nn::{Device, DeviceChoice, GenerateOptions, LanguageModel, LoadOptions, Stop};
    use std::ops::ControlFlow;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_prompt_is_cancelled_between_its_chunks_and_what_was_computed_is_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.gguf");
        write_checkpoint(&path, Family::Llama, Stored::Q8_0, 3).expect("written");
        let device = Device::open(DeviceChoice::Cpu).expect("cpu");
        let mut model = LanguageModel::load(&path, &device, &LoadOptions::default()).expect("loaded");
        let prompt = prompt(1000);
        let mut answer = |cancel: Cancel| {
            let options = GenerateOptions { max_tokens: 4, cancel, ..GenerateOptions::default() };
            model.generate(&prompt, &options, &Clock::real(), &mut |_| ControlFlow::Continue(())).expect("generated")
        };
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let cancelled = answer(Cancel::when(move || counter.fetch_add(1, Ordering::Relaxed) == 2));
        assert_eq!((cancelled.stop, cancelled.tokens.len(), cancelled.text.as_str()), (Stop::Cancelled, 0, ""));
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        let whole = answer(Cancel::default());
        assert_eq!((whole.cached_tokens, whole.tokens.len()), (256, 4));
    }
}
