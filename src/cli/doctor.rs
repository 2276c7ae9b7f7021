//! `doctor`: what this machine and this build offer, what each of it means, and which models it can run how fast.

mod plan;

use super::{memory, output, threads};
use crate::clock::Clock;
use crate::device::{self, Meter, Roots};
use crate::error::{ExitStatus, Result};
use crate::models::{CacheState, Store};
use crate::net::Network;
use crate::nn::{self, Device, DeviceChoice};
use crate::record;
use crate::units::Bytes;
use clap::Args;
use clap::builder::FalseyValueParser;
use serde_json::{Value, json};

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub(super) struct DoctorArgs {
    /// Models to predict memory, load time, first token and tokens a second of, from their headers and layers made up and timed here
    #[arg(long, value_name = "MODEL", num_args = 1.., value_delimiter = ',', env = "ROUTERGYM_PLAN")]
    pub(super) plan: Vec<String>,
    /// Tokens of the prompt that the plan is for
    #[arg(short = 'p', long, default_value_t = 512, value_name = "N", env = "ROUTERGYM_PROMPT_TOKENS")]
    pub(super) prompt_tokens: usize,
    /// Tokens of context that must fit
    #[arg(long, default_value_t = 4096, value_name = "TOKENS", env = "ROUTERGYM_CONTEXT")]
    pub(super) context: usize,
    /// Where the models of the plan would run: auto, cpu, cuda, cuda:N or metal
    #[arg(long, env = "ROUTERGYM_DEVICE", default_value = "auto")]
    pub(super) device: DeviceChoice,
    /// How many threads the engine may use; by default the machine's cores, as far as they are lent to this program
    #[arg(long, env = "ROUTERGYM_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Memory that a smaller machine has, such as 2GB or 512MiB
    #[arg(long, value_name = "SIZE", value_parser = memory::size, env = "ROUTERGYM_MEMORY_LIMIT")]
    pub(super) memory_limit: Option<u64>,
    /// Measure nothing: only look
    #[arg(long, env = "ROUTERGYM_NO_MEASURE", value_parser = FalseyValueParser::new())]
    no_measure: bool,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// One thing that was looked at: its name, what was found, what that means for the reader.
struct Finding {
    name: &'static str,
    found: String,
    means: String,
}

fn finding(name: &'static str, found: impl Into<String>, means: impl Into<String>) -> Finding {
    Finding { name, found: found.into(), means: means.into() }
}

pub(super) fn run(args: &DoctorArgs, network: Network) -> Result<ExitStatus> {
    threads::check(args.threads)?;
    plan::check(args)?;
    threads::bound(args.threads)?;
    let (store, clock, roots) = (Store::open(network)?, Clock::real(), Roots::of_machine());
    let machine = record::machine("cpu".to_owned(), nn::threads());
    let devices = devices();
    let mut findings = look(&machine, &roots, &devices, &store)?;
    let mut measured = Value::Null;
    if !args.no_measure {
        let (more, values) = measure(&clock)?;
        findings.extend(more);
        measured = values;
    }
    let plans = plan::plans(args, &store, &clock)?;
    if args.json {
        let devices: serde_json::Map<_, _> = devices.iter().map(|(name, state)| (name.clone(), json!(state))).collect();
        let findings: Vec<Value> = findings
            .iter()
            .map(|finding| json!({ "name": finding.name, "found": finding.found, "means": finding.means }))
            .collect();
        let all = json!({
            "version": env!("CARGO_PKG_VERSION"), "machine": machine, "models_folder": store.folder,
            "offline": store.network.is_offline(), "devices": devices, "findings": findings, "measured": measured,
            "measured_reason": args.no_measure.then_some("--no-measure was given"),
            "memory_limit_bytes": args.memory_limit, "plan": plans.iter().map(plan::Planned::json).collect::<Vec<_>>(),
        });
        output::data(&all.to_string())?;
        return Ok(ExitStatus::Done);
    }
    let mut lines = vec![format!("routergym-local {}", env!("CARGO_PKG_VERSION"))];
    for Finding { name, found, means } in &findings {
        let means = if means.is_empty() { String::new() } else { format!("\n{:13}{means}", "") };
        lines.push(format!("{name:<12} {found}{means}"));
    }
    lines.extend(plan::text(args, &plans));
    output::text(&lines.join("\n"))?;
    Ok(ExitStatus::Done)
}

/// Every kind of device, and whether it can be used.
fn devices() -> Vec<(String, String)> {
    [DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Metal]
        .into_iter()
        .map(|choice| {
            let state = Device::open(choice).map_or_else(
                |error| format!("{error:#}"),
                |device| match device.model() {
                    Some(model) => format!("available: {model}"),
                    None => "available".to_owned(),
                },
            );
            (choice.to_string(), state)
        })
        .collect()
}

/// What can be said without measuring.
fn look(machine: &record::Machine, roots: &Roots, devices: &[(String, String)], store: &Store) -> Result<Vec<Finding>> {
    let mut findings = processor(machine, roots);
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "not measured".to_owned(), |bytes| Bytes(bytes).to_string());
    findings.push(finding(
        "memory",
        format!("{}, of which this program may have {}", bytes(machine.memory_bytes), bytes(device::memory())),
        "weights, vocabulary and the keys and values of a context must fit: --plan works it out for a model",
    ));
    for (name, state) in devices {
        let name = if name == "cpu" {
            "device cpu"
        } else if name == "metal" {
            "device metal"
        } else {
            "device cuda"
        };
        findings.push(finding(name, state.clone(), ""));
    }
    findings.push(match device::nvidia_driver(roots) {
        Some(version) => finding("NVIDIA", version, "a build with --features cuda can use the GPU: docs/cuda.md"),
        None => finding("NVIDIA", "no driver is loaded", "models run on the processor"),
    });
    findings.extend(disturbances(machine, roots));
    let meter = Meter::open(roots, None);
    findings.push(match meter.reason() {
        None => {
            finding("energy", meter.names().join(", "), "`bench` and `speed` measure joules for a request and a token")
        }
        Some(why) => {
            finding("energy", format!("not measured: {why}"), "--watts gives an estimate, which is labelled so")
        }
    });
    let known = store.list()?;
    let here: Vec<_> = known
        .iter()
        .filter(|listed| matches!(listed.state, CacheState::Cached | CacheState::InPlace))
        .map(|listed| listed.entry.manifest.name.clone())
        .collect();
    findings.push(finding(
        "models",
        format!("{} of {} are in {}: {}", here.len(), known.len(), store.folder.display(), here.join(", ")),
        "others are fetched when they are asked for, or with `models pull`",
    ));
    findings.push(finding(
        "network",
        if store.network.is_offline() { "off, loopback only" } else { "as configured" },
        "",
    ));
    findings.push(endpoints());
    Ok(findings)
}

fn processor(machine: &record::Machine, roots: &Roots) -> Vec<Finding> {
    let features = device::features();
    let named = |wanted: bool| -> String {
        let names: Vec<_> = features.iter().filter(|(_, has)| *has == wanted).map(|(name, _)| *name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let quota = device::cpu_share(roots);
    let lent = quota.map_or_else(
        || "no quota of a control group".to_owned(),
        |share| format!("a control group lends {:.2} processors", share.processors),
    );
    let tight = quota.is_some_and(|share| share.processors < machine.threads as f64);
    vec![
        finding("processor", machine.cpu.clone(), ""),
        finding(
            "features",
            format!("{}; missing: {}", named(true), named(false)),
            format!("models are computed with {}", nn::instruction_set()),
        ),
        finding(
            "cores",
            format!("{}, {} threads for the engine, {lent}", machine.cores, machine.threads),
            if tight {
                "the quota stops threads in the middle of a step: give --threads no more than it lends"
            } else {
                ""
            },
        ),
        finding("system", machine.os.clone(), ""),
    ]
}

/// What would disturb timings.
fn disturbances(machine: &record::Machine, roots: &Roots) -> Vec<Finding> {
    let clocks = device::frequency(roots).map_or_else(
        || {
            finding(
                "clocks",
                "not measured: the system does not tell",
                "a slower clock during a run would go unnoticed",
            )
        },
        |frequency| {
            let limit = frequency.limit_mhz.map_or_else(String::new, |limit| format!(" of at most {limit:.0}"));
            let governor = frequency.governor.as_ref().map_or_else(String::new, |name| format!(", governor {name}"));
            let means = match frequency.governor.as_deref() {
                Some("powersave" | "ondemand" | "conservative" | "schedutil") => {
                    "the clock follows the load: the first trials may be slower"
                }
                _ => "",
            };
            finding(
                "clocks",
                format!("{:.0} to {:.0} MHz{limit}{governor}", frequency.lowest_mhz, frequency.highest_mhz),
                means,
            )
        },
    );
    let heat = match device::throttling(roots) {
        None => finding("throttling", "not measured: the system does not tell", ""),
        Some(throttling) if throttling.events == 0 => finding("throttling", "none since the start", ""),
        Some(throttling) => finding(
            "throttling",
            format!("heat held the processors back {} times since the start", throttling.events),
            "long runs may slow down: `bench` and `speed` tell whether it happened meanwhile",
        ),
    };
    let load = match device::load(roots) {
        None => finding("load", "not measured: the system does not tell", ""),
        Some(load) => {
            let waiting = load.waiting_share.map_or_else(String::new, |share| {
                format!("; in {:.0} % of the last ten seconds somebody waited for a processor", share * 100.0)
            });
            let busy = load.average_1m > 0.3 * machine.cores as f64;
            let means =
                if busy { "others use the processors: timings will be too long" } else { "the machine is quiet" };
            finding("load", format!("{:.2} processes on average over the last minute{waiting}", load.average_1m), means)
        }
    };
    vec![clocks, heat, load]
}

/// Endpoints that `bench` would use; never a key, and of an address no more than that there is one.
fn endpoints() -> Finding {
    let set: Vec<_> =
        ["OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "HF_ENDPOINT", "HF_TOKEN"]
            .into_iter()
            .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
            .collect();
    match set.as_slice() {
        [] => finding(
            "endpoints",
            "none is set",
            "`bench` without --llm starts a stand-in for the large model on this machine: its latency is not an API's",
        ),
        names => finding(
            "endpoints",
            format!("{} are set", names.join(", ")),
            "`bench` uses them unless --llm names another",
        ),
    }
}

/// What takes seconds to find out.
fn measure(clock: &Clock) -> Result<(Vec<Finding>, Value)> {
    let bandwidth = nn::memory_bandwidth(clock)?;
    let kernels = nn::kernel_rates(clock)?;
    let best = kernels.iter().map(|rate| rate.prefill_ops_per_s).fold(0.0, f64::max);
    let mut findings = vec![finding(
        "bandwidth",
        format!("memory is read at {:.1} GB/s", bandwidth / 1e9),
        format!("weights of 1 GB are decoded at {:.0} tokens/s at most", bandwidth / 1e9),
    )];
    findings.push(finding(
        "matrices",
        kernels
            .iter()
            .map(|rate| {
                format!("{} {:.0} GOP/s, {:.1} GB/s", rate.weights, rate.prefill_ops_per_s / 1e9, rate.decode_bytes_per_s / 1e9)
            })
            .collect::<Vec<_>>()
            .join("; "),
        format!(
            "many rows and one row with each type of weights: 1,000 tokens of prompt take a model of a billion weights {:.1} s at best",
            2e12 / best
        ),
    ));
    Ok((findings, json!({ "memory_bytes_per_s": bandwidth, "kernels": kernels })))
}
