//! The `tasks` verb: list, show, check.

use super::output;
use crate::contract::Contract;
use crate::error::{ExitStatus, Result};
use crate::safety::SafetyPolicy;
use crate::task::{Problem, Sample, Split, Task, bundled, check, find, load};
use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Samples that `tasks show` prints.
const SHOWN: usize = 3;
const SPLITS: [Split; 3] = [Split::Train, Split::Dev, Split::Test];

/// Lists, shows and checks tasks.
#[derive(Debug, Args)]
pub(super) struct TasksArgs {
    #[command(subcommand)]
    command: TasksCommand,
}

#[derive(Debug, Subcommand)]
enum TasksCommand {
    /// Show every task that is known by name
    List {
        /// Print one JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
    /// Show a task's labels, some samples, its prompts, schema and specialists
    Show {
        /// A name that `tasks list` shows, or a folder with a task.toml
        #[arg(value_name = "NAME|DIR")]
        task: String,
        /// Print one JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
    /// Report every bad row with file, line and reason; exits with 2 when there is one
    Check {
        /// A folder with a task.toml, or a name that `tasks list` shows
        #[arg(value_name = "DIR|NAME")]
        task: String,
        /// Print one JSON object
        #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
        json: bool,
    },
}

/// Runs the verb.
pub(super) fn run(args: &TasksArgs) -> Result<ExitStatus> {
    match &args.command {
        TasksCommand::List { json } => list(*json),
        TasksCommand::Show { task, json } => show(task, *json),
        TasksCommand::Check { task, json } => check_all(task, *json),
    }
}

fn list(as_json: bool) -> Result<ExitStatus> {
    let tasks: Vec<(String, std::path::PathBuf, Result<Task>)> = bundled()
        .into_iter()
        .map(|(name, dir)| {
            let task = load(&dir);
            (name, dir, task)
        })
        .collect();
    if as_json {
        let rows: Vec<Value> = tasks
            .iter()
            .map(|(name, dir, task)| match task {
                Ok(task) => json!({
                    "name": name, "path": dir, "description": task.description, "labels": task.labels.len(),
                    "samples": task.samples.len(), "articles": task.articles.len(), "sha256": task.sha256,
                }),
                Err(error) => json!({"name": name, "path": dir, "error": format!("{error:#}")}),
            })
            .collect();
        output::data(&json!({ "tasks": rows }).to_string())?;
        return Ok(ExitStatus::Done);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["name", "labels", "samples", "articles", "description"]);
    for (name, _, task) in &tasks {
        let _ = match task {
            Ok(task) => table.add_row([
                name.clone(),
                task.labels.len().to_string(),
                task.samples.len().to_string(),
                task.articles.len().to_string(),
                task.description.clone(),
            ]),
            Err(_) => table.add_row([name, "", "", "", "has problems: see `tasks check`"]),
        };
    }
    align_right(&mut table, 1..=3);
    output::text(&table.trim_fmt())?;
    Ok(ExitStatus::Done)
}

fn show(name_or_dir: &str, as_json: bool) -> Result<ExitStatus> {
    let task = load(&find(name_or_dir)?)?;
    Contract::of_task(&task)?;
    SafetyPolicy::of_task(&task)?;
    if as_json {
        output::data(&describe(&task).to_string())?;
    } else {
        output::text(&render(&task))?;
    }
    Ok(ExitStatus::Done)
}

fn describe(task: &Task) -> Value {
    let labels: Vec<Value> = task
        .labels
        .iter()
        .map(|label| {
            let [train, dev, test] = SPLITS.map(|split| count(task, &label.name, split));
            json!({"name": label.name, "description": label.description, "train": train, "dev": dev, "test": test})
        })
        .collect();
    let specialists: Vec<Value> = task
        .specialists
        .iter()
        .map(|one| json!({"domain": one.domain, "model": one.model, "prompt": one.prompt}))
        .collect();
    let samples: Vec<Value> = examples(task)
        .iter()
        .map(|sample| json!({"query": sample.query, "target": sample.target, "split": sample.split}))
        .collect();
    let references: Vec<&String> = task.schema_references.iter().map(|(address, _)| address).collect();
    json!({
        "name": task.name, "description": task.description, "path": task.dir, "sha256": task.sha256,
        "samples": task.samples.len(), "articles": task.articles.len(), "labels": labels,
        "system_prompt": task.system_prompt, "examples_per_label": task.examples_per_label,
        "schema": task.schema, "schema_formats": task.schema_formats, "schema_references": references,
        "specialists": specialists, "safety": task.safety, "first_samples": samples,
    })
}

fn render(task: &Task) -> String {
    let mut text = format!("{}: {}\n", task.name, task.description);
    let _ = writeln!(text, "folder   {}\nsha256   {}", task.dir.display(), task.sha256);
    let _ = writeln!(text, "samples  {}\narticles {}\n", task.samples.len(), task.articles.len());

    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["label", "train", "dev", "test", "description"]);
    for label in &task.labels {
        let [train, dev, test] = SPLITS.map(|split| count(task, &label.name, split).to_string());
        table.add_row([label.name.clone(), train, dev, test, label.description.clone()]);
    }
    align_right(&mut table, 1..=3);
    let _ = writeln!(text, "{}\n", table.trim_fmt());

    text.push_str("Samples\n");
    for sample in examples(task) {
        let _ = writeln!(
            text,
            "  {} [{}, {}] {}",
            sample.query.id,
            sample.split.name(),
            sample.target.label.as_deref().unwrap_or("no label"),
            output::one_line(&sample.query.input)
        );
    }
    let _ = writeln!(text, "\nSystem prompt ({} worked examples a label)", task.examples_per_label);
    indent(&mut text, if task.system_prompt.is_empty() { "(none)" } else { &task.system_prompt });
    text.push_str("\nAnswer schema\n");
    indent(&mut text, &format!("{:#}", task.schema));
    let others = if task.specialists.is_empty() {
        "none is named: the run's SLM is that of every label that the train split teaches"
    } else {
        "every other label goes to the LLM"
    };
    let _ = writeln!(text, "\nSpecialists ({others})");
    for one in &task.specialists {
        let _ = writeln!(text, "  {}: {}", one.domain, one.model.as_deref().unwrap_or("the run's SLM"));
        indent(&mut text, &indented(one.prompt.as_deref().unwrap_or_default()));
    }
    if !task.safety.is_empty() {
        text.push_str("\nSafety, over the defaults\n");
        indent(
            &mut text,
            &task.safety.iter().map(|(name, action)| format!("{name}: {action}")).collect::<Vec<_>>().join("\n"),
        );
    }
    text.trim_end().to_owned()
}

fn check_all(name_or_dir: &str, as_json: bool) -> Result<ExitStatus> {
    let path = find(name_or_dir)?;
    let mut problems = check(&path)?;
    let task = if problems.is_empty() { Some(load(&path)?) } else { None };
    // The schema as such is judged by the contract, and `[safety]` by its policy; the task only knows how they fit the labels.
    let judged = task.as_ref().map(|task| [Contract::of_task(task).err(), SafetyPolicy::of_task(task).err()]);
    for error in judged.into_iter().flatten().flatten() {
        let file = if path.is_dir() { path.join("task.toml") } else { path.clone() };
        problems.push(Problem { file, line: None, reason: format!("{error:#}") });
    }
    if as_json {
        output::data(&report(task.as_ref(), &problems).to_string())?;
    } else if let (Some(task), true) = (&task, problems.is_empty()) {
        output::text(&totals(task, &path))?;
    } else {
        let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
        output::text(&lines.join("\n"))?;
    }
    Ok(if problems.is_empty() { ExitStatus::Done } else { ExitStatus::Usage })
}

fn report(task: Option<&Task>, problems: &[Problem]) -> Value {
    let rows: Vec<Value> = problems
        .iter()
        .map(|problem| json!({"file": problem.file, "line": problem.line, "reason": problem.reason}))
        .collect();
    json!({
        "ok": problems.is_empty(), "problems": rows,
        "samples": task.map(|task| task.samples.len()), "labels": task.map(|task| task.labels.len()),
        "articles": task.map(|task| task.articles.len()), "sha256": task.map(|task| &task.sha256),
    })
}

fn totals(task: &Task, path: &Path) -> String {
    let [train, dev, test] = SPLITS.map(|split| task.split(split).count());
    format!(
        "{}: no problems; {} samples ({train} train, {dev} dev, {test} test), {} labels, {} articles",
        path.display(),
        task.samples.len(),
        task.labels.len(),
        task.articles.len()
    )
}

fn count(task: &Task, label: &str, split: Split) -> usize {
    task.split(split).filter(|sample| sample.target.label.as_deref() == Some(label)).count()
}

fn examples(task: &Task) -> Vec<&Sample> {
    task.samples.iter().take(SHOWN).collect()
}

fn indent(text: &mut String, block: &str) {
    if !block.is_empty() {
        text.push_str(&indented(block));
        text.push('\n');
    }
}

fn indented(block: &str) -> String {
    block.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn align_right(table: &mut Table, columns: std::ops::RangeInclusive<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
