//! Writes the inputs that the fuzz targets start from into the folder that is named (`fuzz/README.md`).

use routergym_local::error::{Context, Result};
use std::path::Path;

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("name the folder for the seeds: fuzz/corpus")?;
    routergym_local::nn::fuzzing::write_seeds(Path::new(&folder))
}
