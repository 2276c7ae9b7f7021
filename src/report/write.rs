//! The files of a report in its folder.

use super::parquet::write_parquet;
use super::{Report, page, render_csv, render_markdown};
use crate::error::{Context, Result};
use crate::record::{write_json, write_whole};
use std::path::Path;

/// The forms that a report can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `report.html`: the page that a person reads.
    Html,
    /// `summary.md`: the tables and what they mean.
    Md,
    /// `summary.csv`: a row for each policy.
    Csv,
    /// `summary.json`: every figure of the tables.
    Json,
    /// `trials.parquet`: a row for each trial, for programs that read tables.
    Parquet,
}

impl Format {
    /// What is written where nothing else is asked for.
    pub const DEFAULT: [Self; 4] = [Self::Json, Self::Csv, Self::Md, Self::Html];

    /// The name of its file.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Html => "report.html",
            Self::Md => "summary.md",
            Self::Csv => "summary.csv",
            Self::Json => "summary.json",
            Self::Parquet => "trials.parquet",
        }
    }
}

/// Writes a report in some forms, each file whole or not at all. Makes the folder where it is missing.
pub fn write(folder: &Path, report: &Report, formats: &[Format]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("creating the folder {}", folder.display()))?;
    for format in formats {
        let path = folder.join(format.file());
        match format {
            Format::Html => write_whole(&path, page(report)?.as_bytes()),
            Format::Md => write_whole(&path, render_markdown(&report.summary, &report.header).as_bytes()),
            Format::Csv => write_whole(&path, render_csv(&report.summary)?.as_bytes()),
            Format::Json => write_json(&path, &report.summary),
            Format::Parquet => write_parquet(&path, &report.folders, &report.runs),
        }?;
    }
    Ok(())
}
