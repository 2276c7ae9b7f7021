//! `summary.csv`: one row for each policy, every figure in columns of its own.

use crate::error::{Context, Result};
use crate::metrics::{AbstentionUse, Figure, PolicySummary, Summary};
use crate::report::name_of;
use std::collections::BTreeMap;

/// One row for each policy; an absent figure is an empty field, its reason stands in `not_available`.
pub fn render_csv(summary: &Summary) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut headed = false;
    for policy in &summary.policies {
        let fields = fields(policy);
        if !headed {
            writer.write_record(fields.iter().map(|(name, _)| name)).context("writing the head of summary.csv")?;
            headed = true;
        }
        let values = fields.iter().map(|(_, value)| value);
        writer.write_record(values).with_context(|| format!("writing the row of {} to summary.csv", policy.cell))?;
    }
    let bytes = writer.into_inner().context("finishing summary.csv")?;
    String::from_utf8(bytes).context("finishing summary.csv")
}

fn fields(policy: &PolicySummary) -> Vec<(String, String)> {
    let intervals = &policy.intervals;
    let mut fields: Vec<(String, String)> = [
        ("cell", policy.cell.clone()),
        ("router", policy.router_name().into()),
        ("memory", name_of(&policy.memory)),
        ("contract", name_of(&policy.contract)),
        ("slm", policy.slm.clone()),
        ("llm", policy.llm.clone()),
        ("seed", policy.seed.to_string()),
        ("trials", policy.trials.to_string()),
        ("n", policy.n.to_string()),
        ("failures", policy.failures.to_string()),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .into();
    for (name, figure) in [
        ("accuracy", &policy.accuracy),
        ("schema_valid_first", &intervals.schema_valid_first),
        ("schema_valid_final", &intervals.schema_valid_final),
        ("groundedness", &intervals.groundedness),
        ("escalation_rate", &intervals.escalation_rate),
        ("llm_call_rate", &intervals.llm_call_rate),
        ("fact_recall", &intervals.fact_recall),
        ("citation_accuracy", &intervals.citation_accuracy),
        ("needs_human_accuracy", &intervals.needs_human_accuracy),
        ("latency_p50_s", &intervals.latency_p50_s),
        ("latency_p95_s", &intervals.latency_p95_s),
        ("api_usd_per_1000", &intervals.api_usd_per_1000),
        ("hardware_usd_per_1000", &intervals.hardware_usd_per_1000),
        ("joules_per_request", &policy.energy.joules_per_request),
        ("joules_per_request_above_idle", &policy.energy.joules_per_request_above_idle),
    ] {
        fields.extend(figure_fields(name, figure));
    }
    let abstention = |of: fn(&AbstentionUse) -> usize| policy.abstention.as_ref().map(|used| of(used).to_string());
    let rest = [
        ("abstention_n", abstention(|used| used.n).unwrap_or_default()),
        ("unanswerable", abstention(|used| used.unanswerable).unwrap_or_default()),
        ("abstained_on_unanswerable", abstention(|used| used.abstained_on_unanswerable).unwrap_or_default()),
        ("answered_unanswerable", abstention(|used| used.answered_unanswerable).unwrap_or_default()),
        ("abstained_on_answerable", abstention(|used| used.abstained_on_answerable).unwrap_or_default()),
        ("latency_p99_s", number(policy.latency_s.p99)),
        ("joules_per_output_token", number(policy.energy.joules_per_output_token)),
        ("machine_busy_s", number(policy.machine_use.busy_s)),
        ("amortisation_usd_per_1000", number(policy.machine_use.amortisation_usd_per_1000)),
        ("energy_usd_per_1000", number(policy.machine_use.energy_usd_per_1000)),
        ("break_even_per_day", number(policy.machine_use.break_even_per_day)),
        ("contract_failures", policy.contract_failures.to_string()),
        ("repairs", policy.repairs.to_string()),
        ("retries", policy.retries.to_string()),
        ("failed_attempts", policy.failed_attempts.to_string()),
        ("slm_calls", policy.tokens.slm.calls.to_string()),
        ("slm_input_tokens", policy.tokens.slm.input_tokens.to_string()),
        ("slm_output_tokens", policy.tokens.slm.output_tokens.to_string()),
        ("llm_calls", policy.tokens.llm.calls.to_string()),
        ("llm_input_tokens", policy.tokens.llm.input_tokens.to_string()),
        ("llm_output_tokens", policy.tokens.llm.output_tokens.to_string()),
        ("left_queries", policy.left_device.queries.to_string()),
        ("left_input_tokens", policy.left_device.input_tokens.map(|n| n.to_string()).unwrap_or_default()),
        ("left_personal_data", policy.left_device.personal_data.map(|n| n.to_string()).unwrap_or_default()),
        ("left_redacted", policy.left_device.redacted.to_string()),
        ("held_back", pairs(&policy.left_device.held_back)),
        ("llm_causes", pairs(&policy.llm_causes)),
        ("failures_by_kind", pairs(&policy.failures_by_kind)),
        ("not_available", pairs(&policy.not_available)),
    ];
    fields.extend(rest.map(|(name, value)| (name.to_string(), value)));
    fields
}

fn figure_fields(name: &str, figure: &Figure) -> [(String, String); 4] {
    [
        (name.to_string(), number(figure.value)),
        (format!("{name}_low"), number(figure.low)),
        (format!("{name}_high"), number(figure.high)),
        (format!("{name}_n"), figure.n.to_string()),
    ]
}

/// All digits, so that no figure of `summary.json` is rounded here.
fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn pairs<V: std::fmt::Display>(map: &BTreeMap<String, V>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("; ")
}

/// `curves.csv`: every threshold of every policy of a replay, all digits.
pub fn replay_curves(replay: &crate::replay::Replay) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["policy", "threshold", "strong_share", "quality", "cost"])?;
    for policy in &replay.policies {
        for vertex in &policy.vertices {
            let at = vertex.at;
            let [share, quality, cost] = [at.strong_share, at.quality, at.cost].map(|value| value.to_string());
            writer.write_record([&policy.name, &number(vertex.threshold), &share, &quality, &cost])?;
        }
    }
    let bytes = writer.into_inner().context("finishing curves.csv")?;
    String::from_utf8(bytes).context("finishing curves.csv")
}
