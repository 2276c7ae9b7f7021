//! `doctor`: what this machine and this build offer.

use super::output;
use crate::error::{ExitStatus, Result};
use crate::models::Store;
use crate::net::Network;
use crate::nn::{Device, DeviceChoice};
use crate::{record, units::Bytes};
use clap::Args;
use clap::builder::FalseyValueParser;
use serde_json::json;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

pub(super) fn run(args: &DoctorArgs, network: Network) -> Result<ExitStatus> {
    let store = Store::open(network)?;
    let machine = record::machine("cpu".to_owned(), rayon::current_num_threads());
    let devices: Vec<(String, String)> = [DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Metal]
        .into_iter()
        .map(|choice| {
            let state = Device::open(choice).map_or_else(|error| format!("{error:#}"), |_| "available".to_owned());
            (choice.to_string(), state)
        })
        .collect();
    if args.json {
        let devices: serde_json::Map<_, _> = devices.into_iter().map(|(name, state)| (name, json!(state))).collect();
        output::data(
            &json!({
                "version": env!("CARGO_PKG_VERSION"), "machine": machine, "models_folder": store.folder,
                "offline": network.is_offline(), "devices": devices,
            })
            .to_string(),
        )?;
        return Ok(ExitStatus::Done);
    }
    let memory = machine.memory_bytes.map_or_else(|| "not measured".to_owned(), |bytes| Bytes(bytes).to_string());
    let mut lines = vec![
        format!("routergym-local {}", env!("CARGO_PKG_VERSION")),
        format!("machine   {}, {} cores, {memory}, {}", machine.cpu, machine.cores, machine.os),
        format!("models    {}", store.folder.display()),
        format!("network   {}", if network.is_offline() { "off, loopback only" } else { "as configured" }),
    ];
    lines.extend(devices.into_iter().map(|(name, state)| format!("{name:<9} {state}")));
    output::text(&lines.join("\n"))?;
    Ok(ExitStatus::Done)
}
