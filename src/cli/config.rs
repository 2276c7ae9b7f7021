//! The configuration file: one table for each verb, its keys the verb's long flags with `_` for `-`.
//!
//! Its values become the flags' defaults, so that a flag and an environment variable stand above it.

use crate::error::{Result, usage};
use clap::Command;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The command with the defaults that the file named by `--config` (or `ROUTERGYM_CONFIG`) gives.
pub(super) fn with_defaults(command: Command, arguments: &[OsString]) -> Result<Command> {
    let Some(path) = named_file(arguments) else { return Ok(command) };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| usage(format!("cannot read the configuration {}: {error}", path.display())))?;
    let tables: toml::Table =
        toml::from_str(&text).map_err(|error| usage(format!("{} is not valid TOML: {error}", path.display())))?;
    tables.into_iter().try_fold(command, |command, (verb, value)| apply(command, &path, &verb, value))
}

/// The file is needed before the arguments can be parsed, so it is looked for by hand.
fn named_file(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        if text == "--config" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os("ROUTERGYM_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn apply(command: Command, path: &Path, verb: &str, value: toml::Value) -> Result<Command> {
    let place = path.display();
    let toml::Value::Table(keys) = value else {
        return Err(usage(format!("{place}: `{verb}` stands outside of a table; write it under [bench]")));
    };
    let Some(subcommand) = command.find_subcommand(verb) else {
        let verbs: Vec<_> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        return Err(usage(format!("{place}: unknown table [{verb}]; there are {}", verbs.join(", "))));
    };
    let known: Vec<String> =
        subcommand.get_arguments().filter(|a| a.get_long().is_some()).map(|a| a.get_id().to_string()).collect();
    let mut defaults = Vec::new();
    for (key, value) in keys {
        if !known.contains(&key) {
            return Err(usage(format!("{place}: unknown key `{key}` in [{verb}]; there are {}", known.join(", "))));
        }
        defaults.push((
            key.clone(),
            texts(&value).ok_or_else(|| {
                usage(format!("{place}: `{key}` in [{verb}] must be a text, a number, true/false or a list of these"))
            })?,
        ));
    }
    Ok(command.mut_subcommand(verb, |mut subcommand| {
        for (key, values) in defaults {
            subcommand = subcommand.mut_arg(key, |argument| argument.default_values(values));
        }
        subcommand
    }))
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(yes) => Some(vec![yes.to_string()]),
        toml::Value::Array(items) => {
            let lists: Option<Vec<Vec<String>>> = items.iter().map(texts).collect();
            lists.map(|lists| lists.concat())
        }
        _ => None,
    }
}
