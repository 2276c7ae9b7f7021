//! Maps from a confidence to the share of answers that are right at it, fitted on answers that are not scored.

use super::super::statistics::{Undefined, undefined};
use super::check;
use crate::router::Rising;
use serde::{Deserialize, Serialize};

/// Log-odds are taken of confidences no nearer to 0 and 1 than this: beyond it, one sure answer that is wrong would decide
/// the fit.
const EDGE: f64 = 1e-6;
/// Steps of a search at most; Newton's method needs about ten.
const STEPS: usize = 200;

/// The kinds of map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapKind {
    /// Log-odds divided by one number.
    Temperature,
    /// A line through the log-odds.
    Platt,
    /// Any rising curve.
    Isotonic,
}

impl MapKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Temperature, Self::Platt, Self::Isotonic];

    /// The name used in tables and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::Platt => "platt",
            Self::Isotonic => "isotonic",
        }
    }
}

/// A fitted map. σ is the logistic function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Map {
    /// σ(logit(p) / temperature), the temperature of the highest likelihood (Guo et al., 2017).
    Temperature {
        /// Above 0; above 1 it makes confidences more modest.
        temperature: f64,
    },
    /// σ(slope · logit(p) + intercept), of the highest likelihood of the outcomes as Platt smooths them: (n₊+1)/(n₊+2) for
    /// right, 1/(n₋+2) for wrong (Platt, "Probabilistic Outputs for Support Vector Machines", 1999).
    Platt {
        /// Below 0 where the surer answers are the worse ones; it then turns their order.
        slope: f64,
        /// The log-odds at p = ½.
        intercept: f64,
    },
    /// The rising curve of least squares, by pooling adjacent violators (Zadrozny and Elkan, 2002).
    Isotonic(Rising),
}

impl Map {
    /// Fits a map to answers.
    pub fn fit(kind: MapKind, confidences: &[f64], right: &[bool]) -> Result<Self, Undefined> {
        check(confidences, right)?;
        if right.iter().all(|&right| right) || right.iter().all(|&right| !right) {
            return undefined("the answers to fit on are all right or all wrong");
        }
        match kind {
            MapKind::Temperature => temperature(confidences, right),
            MapKind::Platt => platt(confidences, right),
            MapKind::Isotonic => Ok(Map::Isotonic(isotonic(confidences, right))),
        }
    }

    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> MapKind {
        match self {
            Self::Temperature { .. } => MapKind::Temperature,
            Self::Platt { .. } => MapKind::Platt,
            Self::Isotonic(_) => MapKind::Isotonic,
        }
    }

    /// The mended confidence.
    #[must_use]
    pub fn apply(&self, confidence: f64) -> f64 {
        match self {
            Self::Temperature { temperature } => sigmoid(logit(confidence) / temperature),
            Self::Platt { slope, intercept } => sigmoid(slope * logit(confidence) + intercept),
            Self::Isotonic(curve) => curve.apply(confidence),
        }
    }
}

fn logit(p: f64) -> f64 {
    let p = p.clamp(EDGE, 1.0 - EDGE);
    (p / (1.0 - p)).ln()
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// With β = 1/temperature and s the log-odds of what came true, the likelihood's slope Σ s·σ(−βs) falls in β: its root is
/// bracketed, then found by Newton's method within the bracket.
fn temperature(confidences: &[f64], right: &[bool]) -> Result<Map, Undefined> {
    let toward: Vec<f64> = confidences.iter().zip(right).map(|(&p, &y)| if y { logit(p) } else { -logit(p) }).collect();
    let slope = |beta: f64| toward.iter().map(|&s| s * sigmoid(-beta * s)).sum::<f64>();
    if toward.iter().all(|&s| s == 0.0) {
        return undefined("every confidence to fit on is one half");
    }
    if toward.iter().all(|&s| s >= 0.0) {
        return undefined("one half already tells every right answer from every wrong one: the temperature falls to 0");
    }
    if slope(0.0) <= 0.0 {
        return undefined("the surer answers are no better than the others: no temperature above 0 is the best");
    }
    let (mut low, mut high) = (0.0, 1.0);
    while slope(high) > 0.0 && high < 1e12 {
        (low, high) = (high, high * 2.0);
    }
    let mut beta = f64::midpoint(low, high);
    for _ in 0..STEPS {
        let value = slope(beta);
        if value > 0.0 {
            low = beta;
        } else {
            high = beta;
        }
        let curvature: f64 = toward.iter().map(|&s| s * s * sigmoid(beta * s) * sigmoid(-beta * s)).sum();
        let newton = beta + value / curvature;
        let next = if newton > low && newton < high { newton } else { f64::midpoint(low, high) };
        if (next - beta).abs() <= 1e-15 * beta {
            break;
        }
        beta = next;
    }
    Ok(Map::Temperature { temperature: 1.0 / beta })
}

/// Newton's method with halved steps on a convex function of two numbers.
fn platt(confidences: &[f64], right: &[bool]) -> Result<Map, Undefined> {
    let x: Vec<f64> = confidences.iter().map(|&p| logit(p)).collect();
    if x.iter().all(|&value| value == x[0]) {
        return undefined("all confidences to fit on are the same");
    }
    let positives = right.iter().filter(|&&right| right).count() as f64;
    let negatives = right.len() as f64 - positives;
    let (high, low) = ((positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0));
    let targets: Vec<f64> = right.iter().map(|&right| if right { high } else { low }).collect();
    // log(1 + e^z) − t·z, without overflow.
    let loss = |a: f64, b: f64| -> f64 {
        let one = |(&x, &t): (&f64, &f64)| {
            let z = a * x + b;
            z.max(0.0) + (-z.abs()).exp().ln_1p() - t * z
        };
        x.iter().zip(&targets).map(one).sum()
    };
    let (mut a, mut b) = (0.0, ((positives + 1.0) / (negatives + 1.0)).ln());
    for _ in 0..STEPS {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (&x, &t) in x.iter().zip(&targets) {
            let p = sigmoid(a * x + b);
            let (error, weight) = (p - t, p * (1.0 - p));
            ga += error * x;
            gb += error;
            haa += weight * x * x;
            hab += weight * x;
            hbb += weight;
        }
        let determinant = haa * hbb - hab * hab;
        if determinant <= 0.0 {
            break;
        }
        let (da, db) = ((hab * gb - hbb * ga) / determinant, (hab * ga - haa * gb) / determinant);
        let (before, slope, mut step) = (loss(a, b), ga * da + gb * db, 1.0);
        // Near the minimum the descent drowns in rounding; the full step is right there.
        let near = slope.abs() <= 1e-9 * before;
        while !near && step > 1e-10 && loss(a + step * da, b + step * db) > before + 1e-4 * step * slope {
            step /= 2.0;
        }
        a += step * da;
        b += step * db;
        if da.abs() <= 1e-14 * (1.0 + a.abs()) && db.abs() <= 1e-14 * (1.0 + b.abs()) {
            break;
        }
    }
    Ok(Map::Platt { slope: a, intercept: b })
}

/// A run of neighbours that share one value.
struct Block {
    first: f64,
    last: f64,
    sum: f64,
    weight: f64,
}

impl Block {
    fn mean(&self) -> f64 {
        self.sum / self.weight
    }
}

fn isotonic(confidences: &[f64], right: &[bool]) -> Rising {
    let mut sorted: Vec<(f64, bool)> = confidences.iter().copied().zip(right.iter().copied()).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut blocks: Vec<Block> = Vec::new();
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let sum = tied.iter().filter(|(_, right)| *right).count() as f64;
        let mut block = Block { first: tied[0].0, last: tied[0].0, sum, weight: tied.len() as f64 };
        while let Some(before) = blocks.pop_if(|before| before.mean() >= block.mean()) {
            block = Block {
                first: before.first,
                last: block.last,
                sum: before.sum + block.sum,
                weight: before.weight + block.weight,
            };
        }
        blocks.push(block);
    }
    let (mut at, mut value) = (Vec::new(), Vec::new());
    for block in &blocks {
        at.push(block.first);
        value.push(block.mean());
        if block.last > block.first {
            at.push(block.last);
            value.push(block.mean());
        }
    }
    Rising { at, value }
}
