//! The `models` verb: list, pull, verify, inspect, add, rm.

use crate::error::{Context, Error, ExitStatus, Result, usage};
use crate::files;
use crate::models::{CacheState, Checked, Facts, FileCheck, Kind, Listed, Manifest, Store};
use crate::net::Network;
use crate::nn::{LanguageModel, ModelInfo};
use crate::units::Bytes;
use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Lists, fetches, checks and registers models.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Show every model that is known by name
    List {
        /// Print one JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
    /// Fetch models into the cache
    Pull {
        /// Names that `models list` shows
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Check the files of cached models against their sums; exits with 1 when one is wrong
    Verify {
        /// Names; all cached models when none is given
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Show what a manifest and the model file say of a model
    Inspect {
        /// A name, or the path of a GGUF file or of a model's folder
        #[arg(value_name = "NAME|PATH")]
        model: String,
        /// Print one JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
    /// Register a GGUF file, or a folder with safetensors, where it lies
    Add {
        /// The file or folder
        path: PathBuf,
        /// The name to give it; made from the file's name when absent
        #[arg(long)]
        name: Option<String>,
    },
    /// Remove a model's files from the cache
    Rm {
        /// A name that `models list` shows
        name: String,
    },
}

/// Runs the verb on the user's store.
pub fn run(args: &ModelsArgs, network: Network, quiet: bool) -> Result<ExitStatus> {
    let store = Store::open(network)?;
    let mut out = std::io::stdout().lock();
    let result = run_on(&store, args, quiet, &mut out).and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    match result {
        // `models list | head` has what it wanted.
        Err(error) if is_broken_pipe(&error) => Ok(ExitStatus::Done),
        other => other,
    }
}

/// Runs the verb on a store; data goes to `out`, progress to stderr.
pub fn run_on(store: &Store, args: &ModelsArgs, quiet: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    match &args.command {
        ModelsCommand::List { json } => list(store, *json, out),
        ModelsCommand::Pull { names } => pull(store, names, quiet, out),
        ModelsCommand::Verify { names } => verify(store, names, quiet, out),
        ModelsCommand::Inspect { model, json } => inspect(store, model, *json, out),
        ModelsCommand::Add { path, name } => add(store, path, name.as_deref(), quiet, out),
        ModelsCommand::Rm { name } => rm(store, name, out),
    }
}

fn list(store: &Store, as_json: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    let models = store.list()?;
    if as_json {
        let rows: Vec<Value> = models.iter().map(describe).collect();
        return print_json(&json!({ "folder": store.folder, "models": rows }), out);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["name", "architecture", "parameters", "size", "licence", "in cache", "sources"]);
    for column in [2, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for Listed { entry, state, .. } in &models {
        let manifest = &entry.manifest;
        let sources: Vec<String> = manifest.sources.iter().map(crate::models::Source::label).collect();
        table.add_row([
            manifest.name.clone(),
            manifest.architecture.clone(),
            manifest.parameters.map_or_else(|| "-".to_owned(), count),
            manifest.bytes().map_or_else(|| "-".to_owned(), |bytes| Bytes(bytes).to_string()),
            manifest.licence.clone(),
            state_name(*state).to_owned(),
            sources.join(", "),
        ]);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    writeln!(out, "\nThe cache is {}", store.folder.display())?;
    Ok(ExitStatus::Done)
}

fn pull(store: &Store, names: &[String], quiet: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    // All names are checked before the first download, which may take long.
    let catalogue = store.catalogue()?;
    names.iter().try_for_each(|name| catalogue.find(name).map(drop))?;
    for name in names {
        let model = store.pull(name, quiet)?;
        writeln!(out, "{}  {}  sha256 {}", model.name, model.path.display(), model.sha256)?;
    }
    Ok(ExitStatus::Done)
}

fn verify(store: &Store, names: &[String], quiet: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    let here = |listed: &Listed| matches!(listed.state, CacheState::Cached | CacheState::InPlace | CacheState::Partial);
    let names = if names.is_empty() {
        store.list()?.into_iter().filter(here).map(|listed| listed.entry.manifest.name).collect()
    } else {
        names.to_vec()
    };
    if names.is_empty() {
        writeln!(out, "no model is in the cache {}", store.folder.display())?;
    }
    let mut all_right = true;
    for name in &names {
        let mut model_right = true;
        for Checked { path, check } in store.verify(name, quiet)? {
            let path = path.display();
            match check {
                FileCheck::Right(sum) => writeln!(out, "{name}: right    {path}  sha256 {sum}")?,
                FileCheck::Unknown(sum) => {
                    writeln!(out, "{name}: unknown  {path}  sha256 {sum} (no sum to compare with)")?;
                }
                FileCheck::Missing => {
                    model_right = false;
                    writeln!(out, "{name}: missing  {path}")?;
                }
                FileCheck::Wrong { expected, found } => {
                    model_right = false;
                    writeln!(out, "{name}: WRONG    {path}  expected sha256 {expected}, found {found}")?;
                }
            }
        }
        if !model_right {
            all_right = false;
            writeln!(
                out,
                "{name}: `routergym-local models rm {name}` and `routergym-local models pull {name}` replace it"
            )?;
        }
    }
    Ok(if all_right { ExitStatus::Done } else { ExitStatus::Failed })
}

fn inspect(store: &Store, model: &str, as_json: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    let listed = store.catalogue()?.get(model).is_some().then(|| store.look_up(model)).transpose()?;
    let local = store.here(model)?;
    let info = match &local {
        Some(local) if !is_encoder(&local.path) => Some(LanguageModel::inspect(&local.path)?),
        _ => None,
    };
    if as_json {
        return print_json(
            &json!({
                "manifest": listed.as_ref().map(describe),
                "file": info,
                "file_reason": if info.is_some() { Value::Null } else { Value::from(no_info(local.is_some())) },
                "path": local.as_ref().map(|local| &local.path),
                "sha256": local.as_ref().map(|local| &local.sha256),
            }),
            out,
        );
    }
    let mut facts: Vec<(&str, String)> = Vec::new();
    if let Some(listed) = &listed {
        facts.extend(manifest_facts(&listed.entry.manifest));
        facts.push(("in cache", state_name(listed.state).to_owned()));
    }
    if let Some(local) = &local {
        facts.push(("path", local.path.display().to_string()));
        facts.push(("sha256", local.sha256.clone()));
    }
    match &info {
        Some(info) => facts.extend(file_facts(info)),
        None => facts.push(("file", no_info(local.is_some()).to_owned())),
    }
    for (name, value) in facts {
        writeln!(out, "{name:<18} {value}")?;
    }
    Ok(ExitStatus::Done)
}

fn no_info(here: bool) -> &'static str {
    if here { "a sentence encoder: nothing more is read from it" } else { "not in the cache: `models pull` fetches it" }
}

fn manifest_facts(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("name", manifest.name.clone()),
        ("architecture", manifest.architecture.clone()),
        ("licence", manifest.licence.clone()),
        ("context length", format!("{} tokens", manifest.context_length)),
    ];
    facts.extend(manifest.parameters.map(|parameters| ("parameters", count(parameters))));
    facts.extend(manifest.sources.iter().map(|source| ("source", source.label())));
    facts
}

fn file_facts(info: &ModelInfo) -> Vec<(&'static str, String)> {
    vec![
        ("file: name", info.name.clone()),
        ("file: architecture", info.architecture.clone()),
        ("file: context", format!("{} tokens", info.context_length)),
        ("file: vocabulary", format!("{} tokens", info.vocabulary)),
        ("file: layers", info.layers.to_string()),
        ("file: weights", format!("{} ({})", info.parameters, count(info.parameters))),
        ("file: tensors", info.tensor_types.clone()),
        ("file: size", Bytes(info.file_bytes).to_string()),
        ("file: template", if info.has_chat_template { "yes" } else { "no chat template" }.to_owned()),
    ]
}

fn add(store: &Store, path: &Path, name: Option<&str>, quiet: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    let facts = facts_of(path)?;
    let manifest = store.add(path, name, &facts, quiet)?;
    writeln!(
        out,
        "added {}: {} ({}), used where it lies; the name works wherever a model is named",
        manifest.name,
        path.display(),
        manifest.bytes().map_or_else(|| "size unknown".to_owned(), |bytes| Bytes(bytes).to_string()),
    )?;
    Ok(ExitStatus::Done)
}

/// What the file or folder says of itself; refuses what no room could load.
fn facts_of(path: &Path) -> Result<Facts> {
    if !path.exists() {
        return Err(usage(format!("cannot add {}: there is no such file or folder", path.display())));
    }
    if is_encoder(path) {
        let config = read_config(&path.join("config.json"))?;
        return Ok(Facts {
            architecture: ENCODER.to_owned(),
            kind: Kind::Encoder,
            context_length: config.get("max_position_embeddings").and_then(Value::as_u64).unwrap_or(0),
            parameters: None,
        });
    }
    let info = LanguageModel::inspect(path).with_context(|| format!("cannot add {}", path.display()))?;
    Ok(Facts {
        architecture: info.architecture,
        kind: if path.is_dir() { Kind::Safetensors } else { Kind::Gguf },
        context_length: info.context_length as u64,
        parameters: Some(info.parameters),
    })
}

/// The `model_type` of sentence encoders.
const ENCODER: &str = "bert";

fn is_encoder(path: &Path) -> bool {
    let config = path.is_dir().then(|| read_config(&path.join("config.json")));
    matches!(config, Some(Ok(config)) if config.get("model_type").and_then(Value::as_str) == Some(ENCODER))
}

fn read_config(path: &Path) -> Result<Value> {
    let text = files::read(path, 1 << 20).map_err(|error| usage(format!("cannot add the folder: {error:#}")))?;
    serde_json::from_slice(&text)
        .map_err(|error| usage(format!("cannot add the folder: {} is not JSON: {error}", path.display())))
}

fn rm(store: &Store, name: &str, out: &mut dyn Write) -> Result<ExitStatus> {
    let in_place = store.catalogue()?.get(name).and_then(|entry| {
        entry.manifest.sources.iter().find_map(|source| match source {
            crate::models::Source::Path { path } => Some(path.clone()),
            _ => None,
        })
    });
    let removed = store.remove(name)?;
    if removed.is_empty() {
        writeln!(out, "nothing of {name} was in the cache {}", store.folder.display())?;
    }
    for path in removed {
        writeln!(out, "removed {}", path.display())?;
    }
    if let Some(path) = in_place {
        writeln!(out, "kept {}: it is yours", path.display())?;
    }
    Ok(ExitStatus::Done)
}

fn describe(listed: &Listed) -> Value {
    let manifest = &listed.entry.manifest;
    json!({
        "name": manifest.name,
        "architecture": manifest.architecture,
        "kind": manifest.kind,
        "parameters": manifest.parameters,
        "bytes": manifest.bytes(),
        "licence": manifest.licence,
        "context_length": manifest.context_length,
        "bundled": listed.entry.bundled,
        "state": listed.state,
        "cached": matches!(listed.state, CacheState::Cached | CacheState::InPlace),
        "path": listed.path,
        "files": manifest.files,
        "sources": manifest.sources,
    })
}

fn state_name(state: CacheState) -> &'static str {
    match state {
        CacheState::Cached => "yes",
        CacheState::InPlace => "in place",
        CacheState::Partial => "in part",
        CacheState::Absent => "no",
    }
}

fn count(parameters: u64) -> String {
    match parameters as f64 {
        n if n >= 0.9995e9 => format!("{:.2} B", n / 1e9),
        n if n >= 1e6 => format!("{:.0} M", n / 1e6),
        _ => parameters.to_string(),
    }
}

fn print_json(value: &impl Serialize, out: &mut dyn Write) -> Result<ExitStatus> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(ExitStatus::Done)
}

fn is_broken_pipe(error: &Error) -> bool {
    error.chain().any(|cause| {
        let direct = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        direct.or(json) == Some(ErrorKind::BrokenPipe)
    })
}
