//! Quality against cost: hulls and areas.

use super::{Curve, Models, Step};
use crate::metrics::statistics::{Undefined, undefined};

/// The cost of the weak and of the strong model alone, per query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The weak model alone.
    pub weak: f64,
    /// The strong model alone.
    pub strong: f64,
}

impl Span {
    fn ends(self) -> Result<(f64, f64), Undefined> {
        let (low, high) = (self.weak.min(self.strong), self.weak.max(self.strong));
        if low < high { Ok((low, high)) } else { undefined("both models cost the same, so there is no range of costs") }
    }
}

/// The upper convex hull of (cost, quality) up to its best quality, by Andrew's monotone chain (Information Processing
/// Letters 9, 1979). What costs more and is worse than a vertex has no place on it.
#[must_use]
pub fn upper_hull(curve: &Curve) -> Vec<(f64, f64)> {
    hull_of(by_cost(curve.steps()))
}

/// The same of points in ascending order of cost.
#[must_use]
pub fn hull_of(points: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut hull: Vec<(f64, f64)> = Vec::new();
    for point in points {
        while let Some(&last) = hull.last() {
            let above = match hull.len().checked_sub(2).map(|i| hull[i]) {
                // The last vertex lies on or below the line from the one before it to the new point.
                Some(before) => {
                    (last.0 - before.0) * (point.1 - before.1) - (last.1 - before.1) * (point.0 - before.0) >= 0.0
                }
                None => last.0 == point.0 && last.1 <= point.1,
            };
            if !above {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    let top = hull.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let end = hull.iter().position(|point| point.1 >= top).map_or(0, |i| i + 1);
    hull.truncate(end);
    hull
}

/// Average improvement in quality (RouterBench, arXiv 2403.12031), in two readings: the area under the hull between the
/// costs of the two models, extended flat to the dearer one, divided by that cost (its code), and divided by the range of
/// costs (its paper).
pub fn aiq(hull: &[(f64, f64)], span: Span) -> Result<(f64, f64), Undefined> {
    let (low, high) = span.ends()?;
    let (Some(first), Some(last)) = (hull.first(), hull.last()) else { return undefined("the hull has no points") };
    starts_at(first.0, low, high)?;
    let mut flat = hull.to_vec();
    flat.push((high.max(last.0), last.1));
    let area = area(&flat, low, high);
    Ok((area / high, area / (high - low)))
}

/// The area under the curve itself between the costs of the two models, over their range. The control is the straight line
/// between the two models (Dekoninck et al., arXiv 2410.10347). A model that the other dominates is dropped, which leaves no range.
pub fn cost_auc(curve: &Curve, models: Models, span: Span) -> Result<f64, Undefined> {
    cost_auc_of(&by_cost(curve.steps()), models, span)
}

/// The same of points in ascending order of cost.
pub(super) fn cost_auc_of(points: &[(f64, f64)], models: Models, span: Span) -> Result<f64, Undefined> {
    let (low, high) = span.ends()?;
    let (dominated, by) = match (span.weak < span.strong, models.strong > models.weak) {
        (true, true) | (false, false) if models.weak != models.strong => (None, ""),
        (true, _) => (Some("strong"), "weak"),
        (false, _) => (Some("weak"), "strong"),
    };
    if let Some(dominated) = dominated {
        return Err(Undefined(format!(
            "the {by} model is cheaper than the {dominated} one and not worse, so one model is left"
        )));
    }
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return undefined("the curve has no points");
    };
    starts_at(first.0, low, high)?;
    let flat = area(&[*last, (high.max(last.0), last.1)], low, high);
    Ok((area(points, low, high) + flat) / (high - low))
}

/// Refuses a curve that begins above the cheaper model's cost, but for what sums in another order leave.
fn starts_at(first: f64, low: f64, high: f64) -> Result<(), Undefined> {
    if first > low + 1e-9 * (high - low) {
        return undefined("the policy never costs as little as the cheaper model alone");
    }
    Ok(())
}

/// Incremental benefit per cost: (m − m₀) / m₀, where m is the quality gained over the weak model per cost added, and m₀ the
/// same for the strong model (AutoMix, arXiv 2310.12963). Negative where the policy is worse than the line between the models.
pub fn ibc_lift(at: Step, models: Models, span: Span) -> Result<f64, Undefined> {
    let gap = models.gap()?;
    let (added, whole) = (at.cost - span.weak, span.strong - span.weak);
    if whole <= 0.0 {
        return undefined("the strong model does not cost more than the weak one");
    }
    if added <= 0.0 {
        return undefined("nothing is spent beyond the weak model");
    }
    Ok(((at.quality - models.weak) / added) / (gap / whole) - 1.0)
}

/// (cost, quality) in ascending order of cost; of equal costs as they come on the curve.
fn by_cost(steps: &[Step]) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = steps.iter().map(|step| (step.cost, step.quality)).collect();
    sort_by_cost(&mut points);
    points
}

/// Puts points in ascending order of cost, equals as they come.
pub(super) fn sort_by_cost(points: &mut [(f64, f64)]) {
    if !points.is_sorted_by(|a, b| a.0 <= b.0) {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
}

/// Trapezoid area under points in ascending order of x, between `low` and `high`.
fn area(points: &[(f64, f64)], low: f64, high: f64) -> f64 {
    let part = |pair: &[(f64, f64)]| {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        let (from, to) = (x0.max(low), x1.min(high));
        if to <= from {
            return 0.0;
        }
        let at = |x: f64| y0 + (y1 - y0) * (x - x0) / (x1 - x0);
        (to - from) * f64::midpoint(at(from), at(to))
    };
    points.windows(2).map(part).sum()
}
