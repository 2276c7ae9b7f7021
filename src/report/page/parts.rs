//! The parts of the page between latency and answers: routing, contract, memory, confidence, device, kinds of samples, seeds.

use super::charts::{Bin, Step, calibration, waterfall};
use super::cost::signed;
use super::html::{figure, folded, grid, heading, key, missing, note, say, table, text};
use super::{View, ends, listed, share};
use crate::contract::ContractMode;
use crate::memory::MemoryKind;
use crate::metrics::details::{Need, Needed, Reliability, Slice};
use crate::metrics::{Figure, significant};
use crate::report::tables::{causes, contracts, left, memory as memory_table};
use crate::report::{Align, Cell, Column};
use crate::router::Tier;
use crate::units::Bytes;
use std::fmt::Write as _;

/// Policies whose routing is drawn in full.
const ROUTED: usize = 6;

pub(super) fn routing(view: &View<'_>) -> String {
    let (shown, _) = view.charted();
    let need = |i: usize| &view.report.details.policies[i].need;
    let scored: Vec<usize> =
        shown.iter().copied().filter(|&i| need(i).kept.total() + need(i).sent.total() > 0).collect();
    if scored.is_empty() {
        return missing("Nothing was routed.", "No trial of this run was scored.");
    }
    let drawn = scored.get(..ROUTED).unwrap_or(&scored);
    let mut out = say(&sentence(view, &scored));
    out += "<div class=\"matrices\">";
    for &i in drawn {
        let title = format!("From all queries to those that stayed small, {}", view.name(i));
        let _ = write!(
            out,
            "<div>{}{}</div>",
            heading(view.name(i)),
            waterfall(&title, &steps(need(i))) + &matrix(view.name(i), need(i))
        );
    }
    out += "</div>";
    out += &key([
        ("s7".to_owned(), "all queries"),
        ("s1".to_owned(), "taken over from the small model"),
        ("s4".to_owned(), "given to the large model to begin with"),
        ("s0".to_owned(), "answered small"),
    ]);
    out += &note(
        "Needed is judged by each model's own first answer to the plain prompt, from whichever policy of the run asked for it under \
         the same memory. Small is enough: the small model is right. Large is needed: only the large one is. Cannot be told: a \
         model was never asked; `bench --collect both` asks both.",
    );
    if scored.len() > drawn.len() {
        out += &note(&format!("The other {} policies stand in the table.", scored.len() - drawn.len()));
    }
    out + &folded("Causes, repairs and failures of all policies", &table(&causes(&view.report.summary), "sortable"))
}

fn sentence(view: &View<'_>, scored: &[usize]) -> String {
    let need = |i: usize| &view.report.details.policies[i].need;
    let told = |i: usize| {
        let (kept, sent) = (need(i).kept, need(i).sent);
        kept.total() + sent.total() - kept.unknown - sent.unknown
    };
    let right = |i: usize| need(i).kept.slm_enough + need(i).sent.llm_needed;
    let routers =
        scored.iter().copied().filter(|&i| need(i).kept.total() > 0 && need(i).sent.total() > 0 && told(i) > 0);
    let best = routers.max_by(|&a, &b| {
        (right(a) as f64 / told(a) as f64).total_cmp(&(right(b) as f64 / told(b) as f64)).then(b.cmp(&a))
    });
    let Some(i) = best else {
        return "No policy sent some queries to the large model and kept others, with answers of both to judge that by.".into();
    };
    format!(
        "Of the policies that choose, {} chose best: of {} queries of which it can be told, it kept {} that the small model has \
         right and sent {} that only the large one has right; {} went in vain and {} stayed wrongly.",
        view.name(i),
        told(i),
        need(i).kept.slm_enough,
        need(i).sent.llm_needed,
        need(i).sent.slm_enough,
        need(i).kept.llm_needed,
    )
}

fn steps(need: &Need) -> Vec<Step> {
    let total = need.kept.total() + need.sent.total();
    let mut steps = vec![Step { name: "all queries".into(), from: 0, to: total, class: "s7" }];
    let mut left = total;
    for (cause, &count) in &need.causes {
        let escalated = need.escalated.get(cause).copied().unwrap_or_default();
        for (count, class) in [(escalated, "s1"), (count - escalated.min(count), "s4")] {
            if count > 0 {
                steps.push(Step { name: cause.replace('_', " "), from: left, to: left.saturating_sub(count), class });
                left = left.saturating_sub(count);
            }
        }
    }
    steps.push(Step { name: "answered small".into(), from: left, to: 0, class: "s0" });
    steps
}

fn matrix(name: &str, need: &Need) -> String {
    let total = (need.kept.total() + need.sent.total()).max(1);
    let columns = ["small is enough", "large is needed", "both wrong", "cannot be told"];
    let mut out = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Routed against needed, {0}\"><table><thead><tr>\
         <th scope=\"col\">routed</th>",
        text(name)
    );
    for column in columns {
        let _ = write!(out, "<th scope=\"col\">{column}</th>");
    }
    out += "</tr></thead><tbody>";
    for (row, Needed { slm_enough, llm_needed, neither, unknown }) in
        [("kept small", need.kept), ("sent to the large", need.sent)]
    {
        let _ = write!(out, "<tr><th scope=\"row\">{row}</th>");
        for count in [slm_enough, llm_needed, neither, unknown] {
            let heat = match count as f64 / total as f64 {
                0.0 => "",
                x if x < 0.15 => " class=\"h1\"",
                x if x < 0.4 => " class=\"h2\"",
                _ => " class=\"h3\"",
            };
            let _ = write!(out, "<td{heat}>{count}</td>");
        }
        out += "</tr>";
    }
    out + "</tbody></table></div>"
}

pub(super) fn contract(view: &View<'_>) -> String {
    let summary = &view.report.summary;
    let firsts =
        summary.policies.iter().zip(view.names).filter_map(|(policy, name)| Some((name, policy.schema_valid_first?)));
    let Some((name, first)) = firsts.min_by(|a, b| a.1.total_cmp(&b.1)) else {
        return missing(
            "No answer was checked against a contract.",
            "The task has no JSON Schema, or no trial was scored.",
        );
    };
    let failed: usize = summary.policies.iter().map(|policy| policy.contract_use.failed).sum();
    let mut out = say(&format!(
        "At the first try {:.0} % of the answers keep the contract under the policy that is worst at it, {name}; {failed} trials of all \
         policies ended with none that does.",
        first * 100.0
    ));
    out += &table(&contracts(summary), "sortable");
    if summary.policies.iter().all(|policy| policy.contract != ContractMode::Constrain) {
        out += &missing(
            "What a constraint costs was not measured.",
            "Run `bench --contract off,validate,constrain` to see free text, repair and constrained decoding side by side.",
        );
    }
    out
}

pub(super) fn memory(view: &View<'_>) -> String {
    let summary = &view.report.summary;
    let mut memories: Vec<MemoryKind> = Vec::new();
    for policy in &summary.policies {
        if !memories.contains(&policy.memory) {
            memories.push(policy.memory);
        }
    }
    let mut out = String::new();
    if memories.len() < 2 {
        let only = memories.first().map_or("none", |memory| memory.name());
        out += &missing(
            &format!("One memory was run, {only}: whether its gain depends on the router cannot be told."),
            "Run `bench --memory none,salience` to see every policy with and without.",
        );
    } else {
        out += &say(&interactions(view));
        let routers: Vec<String> = {
            let mut routers: Vec<String> = Vec::new();
            for policy in &summary.policies {
                let name = format!("{}, contract {}", policy.router_name(), policy.contract.name());
                if !routers.contains(&name) {
                    routers.push(name);
                }
            }
            routers
        };
        let mut columns = vec![Column::new("router", Align::Left, None)];
        columns.extend(memories.iter().map(|memory| Column::new(memory.name(), Align::Right, None)));
        let rows: Vec<Vec<Cell>> = routers
            .iter()
            .map(|router| {
                let cell = |memory: &MemoryKind| {
                    let of = summary.policies.iter().find(|policy| {
                        policy.memory == *memory
                            && *router == format!("{}, contract {}", policy.router_name(), policy.contract.name())
                    });
                    of.map_or_else(|| Cell::new("not run"), |policy| figure_cell(&policy.accuracy))
                };
                std::iter::once(Cell::new(router)).chain(memories.iter().map(cell)).collect()
            })
            .collect();
        out += &grid("Accuracy by router and memory", &columns, &rows, "", "");
    }
    if summary.policies.iter().any(|policy| policy.memory != MemoryKind::None) {
        out += &folded("What each memory found, and what it cost", &table(&memory_table(summary), "sortable"));
    }
    out
}

fn interactions(view: &View<'_>) -> String {
    let found = &view.report.summary.memory_interactions;
    let shown: Vec<String> = found
        .iter()
        .filter(|one| one.is_shown())
        .map(|one| {
            format!(
                "{} gains {} more under {} than under {}",
                one.memory.name(),
                signed(one.difference.value),
                one.routers[0],
                one.routers[1]
            )
        })
        .collect();
    match (found.len(), shown.len()) {
        (0, _) => "No pair of routers shares a memory and its absence, so that no interaction can be judged.".into(),
        (tried, 0) => format!(
            "Whether a memory's gain in accuracy depends on the router is not shown: all {tried} intervals hold zero."
        ),
        (tried, _) => format!(
            "Of {tried} pairs of routers, the gain of a memory differs in {}: {}. One in twenty such intervals leaves zero out by chance.",
            shown.len(),
            listed(&shown.iter().map(String::as_str).collect::<Vec<_>>())
        ),
    }
}

fn figure_cell(figure: &Figure) -> Cell {
    let Some(value) = figure.value else { return Cell::new("n/a") };
    let cell = Cell::new(format!("{value:.2}")).raw(value);
    let cell = match ends(figure) {
        Some((low, high)) => cell.with(format!("[{low:.2}–{high:.2}]")),
        None => cell,
    };
    cell.with(format!("n={}", figure.n))
}

pub(super) fn confidence(view: &View<'_>) -> String {
    let all = &view.report.details.reliability;
    let name = |tier: Tier| match tier {
        Tier::Slm => ("small model", &view.report.header.slm.model),
        Tier::Llm => ("large model", &view.report.header.llm.model),
    };
    let mut out = String::new();
    if let Some(small) = all.iter().find(|one| one.tier == Tier::Slm && one.n > 0) {
        out += &say(&believed(small));
    }
    out += "<div class=\"pair\">";
    for one in all {
        let (what, model) = name(one.tier);
        if one.n == 0 {
            let reason = one.reason.clone().unwrap_or_default();
            out += &missing(&format!("No curve for the {what}:"), &format!("{reason}."));
            continue;
        }
        let bins: Vec<Bin> = one
            .bins
            .iter()
            .filter_map(|bin| {
                Some(Bin {
                    confidence: bin.confidence,
                    right: bin.right.value?,
                    ends: ends(&bin.right),
                    n: bin.right.n,
                })
            })
            .collect();
        let number = |value: Option<f64>| value.map_or_else(|| "n/a".into(), |value| format!("{value:.3}"));
        let caption = format!(
            "{model}, {} first answers. Expected calibration error {}, Brier score {}, AUROC {}.",
            one.n,
            number(one.ece),
            number(one.brier),
            number(one.auroc)
        );
        let chart = calibration(&format!("Share right over the confidence of the {what}"), &bins);
        let _ = write!(out, "<div>{}{}</div>", heading(&format!("The {what}")), figure(&chart, "", &caption));
    }
    out += "</div>";
    out + &note(
        "The confidence is the probability of the label's own tokens. On the dashed diagonal it says how often the answer is right; \
         below it the model is too sure of itself. 15 bins of equal width; the area of a point grows with its answers, the line is the \
         95 % interval. `eval confidence` compares ten readings and calibrates them.",
    )
}

fn believed(one: &Reliability) -> String {
    let (sum, n) = one.bins.iter().fold((0.0, 0.0), |(sum, n), bin| {
        (
            sum + (bin.confidence - bin.right.value.unwrap_or(bin.confidence)) * bin.right.n as f64,
            n + bin.right.n as f64,
        )
    });
    let gap = sum / n.max(1.0);
    let tells = match one.auroc {
        Some(auroc) if auroc >= 0.7 => "it tells right answers from wrong ones fairly well",
        Some(auroc) if auroc >= 0.6 => "it tells right answers from wrong ones a little",
        Some(_) => "it hardly tells right answers from wrong ones",
        None => "whether it tells right answers from wrong ones cannot be said",
    };
    let sure = if gap > 0.05 {
        format!("On average the small model is too sure of itself by {gap:.2}")
    } else if gap < -0.05 {
        format!("On average the small model is less sure of itself than it could be, by {:.2}", -gap)
    } else {
        "On average the small model's confidence is near the share that is right".into()
    };
    format!("{sure}; {tells} (AUROC {}, n = {}).", one.auroc.map_or_else(|| "n/a".into(), |a| format!("{a:.2}")), one.n)
}

pub(super) fn device(view: &View<'_>) -> String {
    let header = &view.report.header;
    let speed = view.report.details.speed;
    let rate = |value: Option<f64>| {
        value.map_or_else(|| "not measured".into(), |rate| format!("{} tokens/s", significant(rate, 3)))
    };
    let load = header.settings.get("slm_load_s").and_then(serde_json::Value::as_f64);
    let seconds =
        |value: Option<f64>| value.map_or_else(|| "not measured".into(), |s| format!("{} s", significant(s, 3)));
    let rows = [
        ("Processor", format!("{}, {} cores", header.machine.cpu, header.machine.cores)),
        (
            "Memory of the machine",
            header.machine.memory_bytes.map_or_else(|| "not measured".into(), |b| Bytes(b).to_string()),
        ),
        ("Small model on", format!("{}, {} threads", header.machine.device, header.machine.threads)),
        ("Loading the small model", seconds(load)),
        ("Its prompts, whole run", rate(speed.prefill_tokens_per_s)),
        ("Its answers, whole run", rate(speed.decode_tokens_per_s)),
    ];
    let columns = [Column::new("what", Align::Left, None), Column::new("measured in this run", Align::Left, None)];
    let rows: Vec<Vec<Cell>> = rows.into_iter().map(|(name, value)| vec![Cell::new(name), Cell::new(value)]).collect();
    let mut out = match speed.decode_tokens_per_s {
        Some(rate) => say(&format!(
            "On this device the small model writes {} tokens in a second, over the whole run.",
            significant(rate, 3)
        )),
        None => say("The small model generated nothing on this device in a scored trial."),
    };
    out += &grid("Device", &columns, &rows, "", "");
    out += &missing(
        "Whether a model fits the device is not in a run's record:",
        "`routergym-local speed --model NAME` measures peak memory, prefill and decode of a model on this machine.",
    );
    out += &missing(
        "Energy was not measured:",
        "no counter of this machine is read. The machine's price for an hour stands in for it in the costs.",
    );
    out += &heading("What left the device");
    out + &table(&left(&view.report.summary), "sortable")
}

pub(super) fn slices(view: &View<'_>) -> String {
    let (shown, left_out) = view.charted();
    let mut out = say(&hardest(view));
    for slice in &view.report.details.slices {
        if slice.values.is_empty() {
            out += &missing(&format!("Not by {}:", slice.by), &slice.note);
            continue;
        }
        let inner = slice_table(view, slice, shown) + &note(&slice.note);
        let title = format!("By {}", slice.by);
        if slice.by == "category" {
            out += &heading(&title);
            out += &inner;
        } else {
            out += &folded(&title, &inner);
        }
    }
    out + &note(&format!("Every cell: share right, its 95 % interval, and n. Small slices differ by chance.{left_out}"))
}

fn slice_table(view: &View<'_>, slice: &Slice, shown: &[usize]) -> String {
    let mut columns = vec![Column::new(&slice.by, Align::Left, None), Column::new("samples", Align::Right, None)];
    columns.extend(shown.iter().map(|&i| Column::new(view.name(i), Align::Right, None)));
    let rows: Vec<Vec<Cell>> = slice
        .values
        .iter()
        .map(|value| {
            let name = Cell::new(super::svg::short(&value.value, 60));
            let mut row = vec![name, Cell::new(value.samples.to_string()).raw(value.samples as f64)];
            row.extend(shown.iter().map(|&i| value.accuracy.get(i).map_or_else(Cell::default, figure_cell)));
            row
        })
        .collect();
    grid(&format!("Accuracy by {}", slice.by), &columns, &rows, "sortable", "")
}

/// The category that the most accurate policy is worst at, if that is shown.
fn hardest(view: &View<'_>) -> String {
    let category = view.report.details.slices.iter().find(|slice| slice.by == "category" && !slice.values.is_empty());
    let best = view.order.first().copied();
    let (Some(slice), Some(best)) = (category, best) else { return "The samples have no categories.".into() };
    let overall = view.report.summary.policies[best].accuracy.value;
    let worst = slice
        .values
        .iter()
        .filter_map(|value| Some((value, value.accuracy.get(best)?)))
        .filter(|(_, figure)| figure.value.is_some())
        .min_by(|a, b| a.1.value.unwrap_or(1.0).total_cmp(&b.1.value.unwrap_or(1.0)));
    match (worst, overall) {
        (Some((value, figure)), Some(overall)) if figure.high.is_some_and(|high| high < overall) => format!(
            "{} is weakest on {}: {} against {overall:.2} over all.",
            view.name(best),
            super::svg::short(&value.value, 60),
            share(figure)
        ),
        _ => format!("No category is shown to be harder than the rest for {}.", view.name(best)),
    }
}

pub(super) fn seeds(view: &View<'_>) -> String {
    let seeds = &view.report.details.seeds;
    if seeds.is_empty() {
        return missing(
            "Every policy was run with one seed.",
            "Run `bench` again with `--seed 1` and other folders, then `report RUN RUN… -o DIR` puts them together.",
        );
    }
    let widest = seeds.iter().filter_map(|one| Some((one, one.range?))).max_by(|a, b| a.1.total_cmp(&b.1));
    let mut out = match widest {
        Some((one, range)) => {
            say(&format!("Between seeds accuracy moves by at most {range:.2}, under {}.", one.policy))
        }
        None => say("No policy has an accuracy under every seed."),
    };
    let columns = [
        ("policy", Align::Left),
        ("seeds", Align::Left),
        ("mean", Align::Right),
        ("standard deviation", Align::Right),
        ("range", Align::Right),
        ("samples on which all seeds agree", Align::Right),
    ]
    .map(|(name, align)| Column::new(name, align, None));
    let number = |value: Option<f64>| match value {
        Some(value) => Cell::new(format!("{value:.3}")).raw(value),
        None => Cell::new("n/a"),
    };
    let rows: Vec<Vec<Cell>> = seeds
        .iter()
        .map(|one| {
            let each: Vec<String> =
                one.seeds.iter().map(|(seed, figure)| format!("{seed}: {}", share(figure))).collect();
            let mut list = Cell::new(each.first().cloned().unwrap_or_default());
            for next in each.iter().skip(1) {
                list = list.with(next);
            }
            vec![
                Cell::new(&one.policy),
                list,
                number(one.mean),
                number(one.deviation),
                number(one.range),
                figure_cell(&one.agreement),
            ]
        })
        .collect();
    out += &grid("Accuracy by seed", &columns, &rows, "sortable", "");
    out
}
