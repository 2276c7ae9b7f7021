//! Several tests at once.

use super::{Undefined, undefined};

/// Holm's adjusted p-values, in the order given: with them, the chance of any false claim among all tests stays below
/// the level that each is held to (Scandinavian Journal of Statistics 6, 1979).
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, Undefined> {
    if p_values.iter().any(|p| !(0.0..=1.0).contains(p)) {
        return undefined("a p-value does not lie between 0 and 1");
    }
    let mut ascending: Vec<usize> = (0..p_values.len()).collect();
    ascending.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut highest = 0.0_f64;
    for (rank, &at) in ascending.iter().enumerate() {
        highest = highest.max((p_values.len() - rank) as f64 * p_values[at]).min(1.0);
        adjusted[at] = highest;
    }
    Ok(adjusted)
}
