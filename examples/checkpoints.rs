//! Small generated checkpoints of all six families, for `scripts/parity`.
//!
//!     cargo run --release --example checkpoints -- FOLDER

use routergym_local::nn::testing::{Family, Stored, write_checkpoint};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: checkpoints FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    for family in Family::ALL {
        let name = format!("generated-{family:?}.gguf").to_lowercase();
        write_checkpoint(&folder.join(name), family, Stored::Q8_0, 11)?;
    }
    Ok(())
}
