//! The `models` verb: list, pull, verify, inspect, add, rm.

use super::output::{Stdout, one_line};
use crate::error::{Context, ExitStatus, Result, escaped, usage};
use crate::files;
use crate::models::{CacheState, Checked, Facts, FileCheck, Kind, Listed, Manifest, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice, LanguageModel, ModelInfo, SentenceEncoder};
use crate::units::Bytes;
use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write;
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
        /// Print one JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
    /// Check the files of models against their sums; exits with 1 when one is wrong or missing
    Verify {
        /// Names; all models that are in the cache or were added when none is given
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Print one JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
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
        /// Print one JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
    /// Remove a model's files from the cache
    Rm {
        /// A name that `models list` shows
        name: String,
        /// Print one JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
}

/// Runs the verb on the user's store.
pub fn run(args: &ModelsArgs, network: Network, quiet: bool) -> Result<ExitStatus> {
    let store = Store::open(network)?;
    let mut out = Stdout::lock();
    let result = run_on(&store, args, quiet, &mut out).and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    match result {
        // `models list | head` has what it wanted.
        Err(_) if out.closed => Ok(ExitStatus::Done),
        other => other,
    }
}

/// Runs the verb on a store; data goes to `out`, progress to stderr.
pub fn run_on(store: &Store, args: &ModelsArgs, quiet: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    match &args.command {
        ModelsCommand::List { json } => list(store, *json, out),
        ModelsCommand::Pull { names, json } => pull(store, names, quiet, *json, out),
        ModelsCommand::Verify { names, json } => verify(store, names, quiet, *json, out),
        ModelsCommand::Inspect { model, json } => inspect(store, model, *json, out),
        ModelsCommand::Add { path, name, json } => add(store, path, name.as_deref(), quiet, *json, out),
        ModelsCommand::Rm { name, json } => rm(store, name, *json, out),
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
    say(out, &table.trim_fmt())?;
    say(out, &format!("\nThe cache is {}", store.folder.display()))?;
    Ok(ExitStatus::Done)
}

fn pull(store: &Store, names: &[String], quiet: bool, as_json: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    // All names are checked before the first download, which may take long.
    let catalogue = store.catalogue()?;
    names.iter().try_for_each(|name| catalogue.find(name).map(drop))?;
    let mut rows = Vec::new();
    for name in names {
        let model = store.pull(name, quiet)?;
        if as_json {
            rows.push(json!({ "name": model.name, "path": model.path, "sha256": model.sha256 }));
        } else {
            say(out, &format!("{}  {}  sha256 {}", model.name, model.path.display(), model.sha256))?;
        }
    }
    if as_json {
        return print_json(&json!({ "models": rows }), out);
    }
    Ok(ExitStatus::Done)
}

fn verify(store: &Store, names: &[String], quiet: bool, as_json: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    // An added model whose file was moved away is not here, and this is where its user hears of it.
    let concerns = |listed: &Listed| listed.state != CacheState::Absent || listed.entry.manifest.added_from().is_some();
    let names = if names.is_empty() {
        store.list()?.into_iter().filter(concerns).map(|listed| listed.entry.manifest.name).collect()
    } else {
        names.to_vec()
    };
    if names.is_empty() && !as_json {
        say(out, &format!("no model is in the cache {}", store.folder.display()))?;
    }
    let mut all_right = true;
    let mut rows = Vec::new();
    for name in &names {
        let files = store.verify(name, quiet)?;
        let right = files.iter().all(|file| file.check.is_good());
        all_right &= right;
        let mend = if right { None } else { Some(store.look_up(name)?.entry.manifest.mend()) };
        if as_json {
            let files: Vec<Value> = files.iter().map(describe_check).collect();
            rows.push(json!({ "name": name, "ok": right, "files": files, "mend": mend }));
            continue;
        }
        for file in &files {
            say(out, &format!("{name}: {}", check_text(file)))?;
        }
        if let Some(mend) = mend {
            say(out, &format!("{name}: {mend}"))?;
        }
    }
    if as_json {
        print_json(&json!({ "folder": store.folder, "ok": all_right, "models": rows }), out)?;
    }
    Ok(if all_right { ExitStatus::Done } else { ExitStatus::Failed })
}

fn check_text(Checked { path, check }: &Checked) -> String {
    let path = path.display();
    match check {
        FileCheck::Right(sum) => format!("right    {path}  sha256 {sum}"),
        FileCheck::Unknown(sum) => format!("unknown  {path}  sha256 {sum} (no sum to compare with)"),
        FileCheck::Missing => format!("missing  {path}"),
        FileCheck::Wrong { expected, found } => format!("WRONG    {path}  expected sha256 {expected}, found {found}"),
    }
}

fn describe_check(Checked { path, check }: &Checked) -> Value {
    let (name, found, expected) = match check {
        FileCheck::Right(sum) => ("right", Some(sum), Some(sum)),
        FileCheck::Unknown(sum) => ("unknown", Some(sum), None),
        FileCheck::Missing => ("missing", None, None),
        FileCheck::Wrong { expected, found } => ("wrong", Some(found), Some(expected)),
    };
    json!({ "path": path, "check": name, "sha256": found, "expected_sha256": expected })
}

fn inspect(store: &Store, model: &str, as_json: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    let listed = store.catalogue()?.get(model).is_some().then(|| store.look_up(model)).transpose()?;
    let local = store.here(model)?;
    let info = match &local {
        Some(local) if !is_encoder(&local.path) => Some(LanguageModel::inspect(&local.path)?),
        _ => None,
    };
    // Why there is nothing of the file to show.
    let absent = match (&local, &listed) {
        (Some(_), _) => "a sentence encoder: nothing more is read from it".to_owned(),
        (None, Some(listed)) if listed.entry.manifest.added_from().is_some() => listed.entry.manifest.mend(),
        (None, _) => "not in the cache: `models pull` fetches it".to_owned(),
    };
    if as_json {
        return print_json(
            &json!({
                "manifest": listed.as_ref().map(describe),
                "file": info,
                "file_reason": if info.is_some() { Value::Null } else { Value::from(absent) },
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
        None => facts.push(("file", absent)),
    }
    for (name, value) in facts {
        say(out, &format!("{name:<18} {value}"))?;
    }
    Ok(ExitStatus::Done)
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
        ("file: name", one_line(&info.name)),
        ("file: architecture", one_line(&info.architecture)),
        ("file: context", format!("{} tokens", info.context_length)),
        ("file: vocabulary", format!("{} tokens", info.vocabulary)),
        ("file: layers", info.layers.to_string()),
        ("file: weights", format!("{} ({})", info.parameters, count(info.parameters))),
        ("file: tensors", info.tensor_types.clone()),
        ("file: size", Bytes(info.file_bytes).to_string()),
        ("file: template", if info.has_chat_template { "yes" } else { "no chat template" }.to_owned()),
    ]
}

fn add(
    store: &Store,
    path: &Path,
    name: Option<&str>,
    quiet: bool,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<ExitStatus> {
    let facts = facts_of(path)?;
    let manifest = store.add(path, name, &facts, quiet)?;
    if as_json {
        return print_json(&describe(&store.look_up(&manifest.name)?), out);
    }
    let size = manifest.bytes().map_or_else(|| "size unknown".to_owned(), |bytes| Bytes(bytes).to_string());
    say(
        out,
        &format!(
            "added {}: {} ({size}), used where it lies; the name works wherever a model is named",
            manifest.name,
            path.display(),
        ),
    )?;
    Ok(ExitStatus::Done)
}

/// What the file or folder says of itself. What its user would hear of only when a model is run is refused here: all but the
/// weights, which may take long to load.
fn facts_of(path: &Path) -> Result<Facts> {
    if !path.exists() {
        return Err(usage(format!("cannot add {}: there is no such file or folder", path.display())));
    }
    let attempt = || format!("cannot add {}", path.display());
    if is_encoder(path) {
        SentenceEncoder::load(path, &Device::open(DeviceChoice::Cpu)?).with_context(attempt)?;
        let config = read_config(&path.join("config.json"))?;
        return Ok(Facts {
            architecture: ENCODER.to_owned(),
            kind: Kind::Encoder,
            context_length: config.get("max_position_embeddings").and_then(Value::as_u64).unwrap_or(0),
            parameters: None,
        });
    }
    let info = LanguageModel::inspect(path).with_context(attempt)?;
    LanguageModel::tokenizer(path).with_context(attempt)?;
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

fn rm(store: &Store, name: &str, as_json: bool, out: &mut dyn Write) -> Result<ExitStatus> {
    let in_place = store.catalogue()?.get(name).and_then(|entry| {
        entry.manifest.sources.iter().find_map(|source| match source {
            crate::models::Source::Path { path } if path.exists() => Some(path.clone()),
            _ => None,
        })
    });
    let removed = store.remove(name)?;
    if as_json {
        return print_json(&json!({ "name": name, "removed": removed, "kept": in_place }), out);
    }
    if removed.is_empty() {
        say(out, &format!("nothing of {name} was in the cache {}", store.folder.display()))?;
    }
    for path in removed {
        say(out, &format!("removed {}", path.display()))?;
    }
    if let Some(path) = in_place {
        say(out, &format!("kept {}: it is yours", path.display()))?;
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

/// A line for people.
fn say(out: &mut dyn Write, text: &str) -> Result<()> {
    Ok(writeln!(out, "{}", escaped(text))?)
}

fn print_json(value: &impl Serialize, out: &mut dyn Write) -> Result<ExitStatus> {
    writeln!(out, "{}", serde_json::to_string_pretty(value)?)?;
    Ok(ExitStatus::Done)
}
