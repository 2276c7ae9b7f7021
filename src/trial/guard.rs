//! What the safety policy does to a query before any model sees it, and to messages before they leave this program.

use super::{Outcome, Sent};
use crate::nn::chat::Message;
use crate::safety::{Action, Certainty, Finding, Redaction, SafetyPolicy, personal_data};

/// How a trial ends whose query no model may be asked; `None` where one may.
pub(super) fn unasked(action: Action) -> Option<Outcome> {
    match action {
        Action::Refuse => Some(Outcome::Refused),
        Action::Person => Some(Outcome::HandedOver),
        Action::Allow | Action::Redact | Action::Escalate | Action::KeepLocal => None,
    }
}

/// Whether a placeholder takes a finding's place.
pub(super) fn redacts(policy: &SafetyPolicy, finding: &Finding) -> bool {
    policy.action(finding) == Action::Redact
}

/// The messages as they may leave this program, and what of personal data goes with them. The system's message is the
/// operator's own text and stays as it is.
pub(super) fn outgoing(policy: &SafetyPolicy, redaction: &mut Redaction, messages: &[Message]) -> (Vec<Message>, Sent) {
    let (mut redacted, mut sent) = (messages.to_vec(), Sent::default());
    for message in redacted.iter_mut().filter(|message| message.role != "system") {
        message.content = redaction.redact(&message.content, |finding| redacts(policy, finding));
        sent.redacted += redaction.placeholders_in(&message.content);
        for finding in personal_data(&message.content) {
            if finding.certainty > Certainty::Weak {
                *sent.personal_data.entry(finding.entity).or_default() += 1;
            }
        }
    }
    (redacted, sent)
}
