//! The configuration file: one table for each verb, its keys the verb's long flags with `_` for `-`.
//!
//! Its values become the flags' defaults, so that a flag and an environment variable stand above it.

use crate::error::{Result, toml_reason, usage};
use clap::Command;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The command with the defaults that the file named by `--config` (or `ROUTERGYM_CONFIG`) gives.
pub(super) fn with_defaults(command: Command, arguments: &[OsString]) -> Result<Command> {
    let Some(path) = named_file(arguments) else { return Ok(command) };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| usage(format!("cannot read the configuration {}: {error}", path.display())))?;
    let tables: toml::Table = toml::from_str(&text)
        .map_err(|error| usage(format!("{} is not valid TOML: {}", path.display(), toml_reason(&error, &text))))?;
    tables.into_iter().try_fold(command, |command, (key, value)| apply(command, &path, &key, value))
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

fn apply(command: Command, path: &Path, key: &str, value: toml::Value) -> Result<Command> {
    let place = path.display();
    let toml::Value::Table(keys) = value else {
        // At the top stand the flags that every verb understands.
        if known(&command).iter().any(|flag| flag == key && flag != "config") {
            return set(command, path, "the file", key, &value);
        }
        let mend =
            if known(&command).is_empty() { "" } else { "; write a verb's flags under its name, such as [bench]" };
        return Err(usage(format!("{place}: unknown key `{key}` outside of a table{mend}")));
    };
    let Some(subcommand) = command.find_subcommand(key) else {
        let verbs: Vec<_> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        return Err(usage(format!("{place}: unknown table [{key}]; there are {}", verbs.join(", "))));
    };
    let changed = keys.into_iter().try_fold(subcommand.clone(), |subcommand, (flag, value)| {
        let known = known(&subcommand);
        if known.is_empty() {
            return Err(usage(format!("{place}: [{key}] takes no keys: give its flags on the command line")));
        }
        if !known.contains(&flag) {
            return Err(usage(format!("{place}: unknown key `{flag}` in [{key}]; there are {}", known.join(", "))));
        }
        set(subcommand, path, &format!("[{key}]"), &flag, &value)
    })?;
    Ok(command.mut_subcommand(key, |_| changed))
}

/// The flags of a command.
fn known(command: &Command) -> Vec<String> {
    command.get_arguments().filter(|a| a.get_long().is_some()).map(|a| a.get_id().to_string()).collect()
}

/// Makes a value the default of a flag, where the flag would take it on the command line.
fn set(command: Command, path: &Path, table: &str, flag: &str, value: &toml::Value) -> Result<Command> {
    let wrong = |what: &str| usage(format!("{}: `{flag}` in {table} {what}", path.display()));
    let texts = texts(value).ok_or_else(|| wrong("must be a text, a number, true/false or a list of these"))?;
    let argument = command.get_arguments().find(|argument| argument.get_id() == flag);
    let takes_many = argument.is_some_and(|a| a.get_value_delimiter().is_some());
    if texts.is_empty() || (texts.len() != 1 && !takes_many) {
        return Err(wrong(&format!("takes one value, not {}", texts.len())));
    }
    if let Some(argument) = argument {
        let alone = clap::Arg::new("value").value_parser(argument.get_value_parser().clone()).num_args(1..);
        let tried = Command::new("config").no_binary_name(true).arg(alone.allow_hyphen_values(true));
        if let Err(error) = tried.try_get_matches_from(&texts) {
            let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
            let reason =
                reason.rsplit_once("': ").map_or_else(|| "not a value that it takes".to_owned(), |r| r.1.to_owned());
            return Err(wrong(&format!("cannot be {}: {reason}", texts.join(", "))));
        }
    }
    // What the file gives is no longer required: clap would ask for it all the same.
    Ok(command.mut_arg(flag, |argument| argument.default_values(texts).required(false)))
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
