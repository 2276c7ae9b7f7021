//! The charts of the page. Each is drawn twice, for wide and for narrow screens, from figures that are made elsewhere.

use super::svg::{Anchor, NARROW, Scale, Svg, both, short, text_width};
use crate::metrics::significant;

/// How wide the left margin is that holds the labels of a vertical axis.
const LEFT: f64 = 46.0;
const BOTTOM: f64 = 44.0;

/// A point with its intervals.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) name: String,
    pub(super) x: (f64, Option<(f64, f64)>),
    pub(super) y: (f64, Option<(f64, f64)>),
    pub(super) mark: Mark,
}

/// How a point is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// A policy, by its colour's number.
    Policy(usize),
    /// A control, by the number of its shape's corners.
    Control(usize),
}

/// A scatter of quality over a burden.
#[derive(Debug, Clone, Default)]
pub(super) struct Scatter {
    pub(super) title: String,
    pub(super) x_name: String,
    pub(super) y_name: String,
    pub(super) points: Vec<Point>,
    /// The upper hull, from the cheapest.
    pub(super) hull: Vec<(f64, f64)>,
    /// The line between the two models alone: what a choice by chance gets.
    pub(super) chance: Option<[(f64, f64); 2]>,
}

/// The plot's frame: scales, grid, names of the axes.
struct Frame {
    x: Scale,
    y: Scale,
}

struct Axes<'a> {
    x: (f64, f64),
    y: (f64, f64),
    names: (&'a str, &'a str),
    log_x: bool,
    shares: bool,
}

fn frame(svg: &mut Svg, axes: &Axes<'_>, top: f64) -> Frame {
    let (width, height) = (svg.width, svg.height);
    let (right, bottom) = (width - 12.0, height - BOTTOM);
    let across = (LEFT, right);
    let x = if axes.log_x { Scale::log(axes.x, across) } else { Scale::linear(axes.x, across) };
    let y = Scale::linear(axes.y, (bottom, top));
    for tick in y.ticks(5) {
        let at = y.at(tick);
        svg.line((LEFT, at), (right, at), "grid");
        let text = if axes.shares { format!("{tick:.2}") } else { plain(tick) };
        svg.text((LEFT - 8.0, at + 4.0), Anchor::End, "tick", &text);
    }
    let mut end = f64::MIN;
    for tick in x.ticks(if width < 500.0 { 4 } else { 7 }) {
        let (at, text) = (x.at(tick), plain(tick));
        let half = text_width(&text, 12.0) / 2.0;
        svg.line((at, bottom), (at, bottom + 4.0), "axis");
        if at - half > end + 6.0 {
            svg.text((at, bottom + 18.0), Anchor::Middle, "tick", &text);
            end = at + half;
        }
    }
    svg.line((LEFT, bottom), (right, bottom), "axis");
    svg.text((right, height - 6.0), Anchor::End, "name", axes.names.0);
    svg.text((0.0, 12.0), Anchor::Start, "name", axes.names.1);
    Frame { x, y }
}

/// A figure of an axis, as short as it can be.
fn plain(value: f64) -> String {
    let text = significant(value, 3);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl Scatter {
    pub(super) fn draw(&self) -> String {
        both(&self.title, |width| self.at(width))
    }

    fn at(&self, width: f64) -> Svg {
        let height = if width < 500.0 { 330.0 } else { 380.0 };
        let mut svg = Svg::new(width, height);
        let high = |interval: Option<(f64, f64)>, value: f64| interval.map_or(value, |ends| ends.1);
        let low = |interval: Option<(f64, f64)>, value: f64| interval.map_or(value, |ends| ends.0);
        let x_end = self.points.iter().map(|p| high(p.x.1, p.x.0)).fold(0.0, f64::max);
        let y_low = self.points.iter().map(|p| low(p.y.1, p.y.0)).fold(1.0, f64::min);
        let y_high = self.points.iter().map(|p| high(p.y.1, p.y.0)).fold(0.0, f64::max);
        let y = (((y_low - 0.02) * 20.0).floor() / 20.0, ((y_high + 0.02) * 20.0).ceil() / 20.0);
        let axes = Axes {
            x: (0.0, if x_end > 0.0 { x_end * 1.06 } else { 1.0 }),
            y: (y.0.max(0.0), y.1.min(1.0)),
            names: (&self.x_name, &self.y_name),
            log_x: false,
            shares: true,
        };
        let Frame { x, y } = frame(&mut svg, &axes, 26.0);
        let at = |point: (f64, f64)| (x.at(point.0), y.at(point.1));
        if let Some([from, to]) = self.chance {
            svg.line(at(from), at(to), "chance");
        }
        svg.path(&self.hull.iter().map(|&point| at(point)).collect::<Vec<_>>(), "hull");
        for point in &self.points {
            let class = point.mark.class();
            let (px, py) = at((point.x.0, point.y.0));
            if let Some((low, high)) = point.x.1 {
                svg.line((x.at(low), py), (x.at(high), py), &format!("whisker {class}"));
            }
            if let Some((low, high)) = point.y.1 {
                svg.line((px, y.at(low)), (px, y.at(high)), &format!("whisker {class}"));
            }
        }
        let mut labels = Labels { taken: self.points.iter().map(|p| around(at((p.x.0, p.y.0)))).collect(), width };
        for point in &self.points {
            let place = at((point.x.0, point.y.0));
            let title = point.title(&self.x_name, &self.y_name);
            match point.mark {
                Mark::Policy(_) => svg.circle(place, 6.0, &format!("mark {}", point.mark.class()), &title),
                Mark::Control(corners) => svg.shape(place, corners, "mark control", &title),
            }
            let name = short(&point.name, if width < 500.0 { 20 } else { 34 });
            if let Some((x, y, anchor)) = labels.place(place, &name) {
                svg.text((x, y), anchor, &format!("label {}", point.mark.class()), &name);
            }
        }
        svg
    }
}

impl Mark {
    fn class(self) -> String {
        match self {
            Self::Policy(number) => colour(number),
            Self::Control(_) => "control".into(),
        }
    }
}

/// The class of a series' colour; beyond the eighth all are grey.
pub(super) fn colour(number: usize) -> String {
    format!("s{}", number.min(7))
}

impl Point {
    fn title(&self, x_name: &str, y_name: &str) -> String {
        let part = |name: &str, (value, interval): (f64, Option<(f64, f64)>)| {
            let ends = interval
                .map(|(low, high)| format!(" [{}, {}]", significant(low, 3), significant(high, 3)))
                .unwrap_or_default();
            format!("{name} {}{ends}", significant(value, 3))
        };
        format!("{}: {}, {}", self.name, part(y_name, self.y), part(x_name, self.x))
    }
}

/// Places for labels that do not lie on one another.
struct Labels {
    taken: Vec<[f64; 4]>,
    width: f64,
}

fn around((x, y): (f64, f64)) -> [f64; 4] {
    [x - 8.0, y - 8.0, x + 8.0, y + 8.0]
}

impl Labels {
    fn place(&mut self, (x, y): (f64, f64), text: &str) -> Option<(f64, f64, Anchor)> {
        let wide = text_width(text, 12.5);
        let places = [
            (x + 11.0, y - 9.0, Anchor::Start),
            (x - 11.0, y - 9.0, Anchor::End),
            (x + 11.0, y + 17.0, Anchor::Start),
            (x - 11.0, y + 17.0, Anchor::End),
            (x + 11.0, y - 25.0, Anchor::Start),
            (x - 11.0, y - 25.0, Anchor::End),
            (x + 11.0, y + 33.0, Anchor::Start),
            (x - 11.0, y + 33.0, Anchor::End),
        ];
        for (tx, ty, anchor) in places {
            let left = if anchor == Anchor::Start { tx } else { tx - wide };
            let area = [left, ty - 11.0, left + wide, ty + 3.0];
            let inside = area[0] >= LEFT && area[2] <= self.width - 2.0 && area[1] >= 14.0;
            let free =
                |taken: &[f64; 4]| area[2] < taken[0] || area[0] > taken[2] || area[3] < taken[1] || area[1] > taken[3];
            if inside && self.taken.iter().all(free) {
                self.taken.push(area);
                return Some((tx, ty, anchor));
            }
        }
        None
    }
}

/// One row of a forest plot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// The one-sided bound that is held against the margin.
    pub(super) bound: f64,
    pub(super) passes: bool,
}

/// Differences to the reference with the margin: what lies right of it is not worse by more.
pub(super) fn forest(title: &str, rows: &[Difference], margin: f64, reference: &str) -> String {
    both(title, |width| {
        let row = 40.0;
        let mut svg = Svg::new(width, 34.0 + rows.len() as f64 * row + 40.0);
        let bottom = svg.height - 40.0;
        let least = rows.iter().map(|row| row.low).fold(-margin * 1.6, f64::min);
        let most = rows.iter().map(|row| row.high).fold(margin, f64::max);
        let x = Scale::linear((least - 0.01, most + 0.01), (8.0, width - 8.0));
        svg.rect((x.at(-margin), 26.0), (width - 8.0 - x.at(-margin), bottom - 26.0), "good-zone", "");
        let note = if width < 500.0 {
            "not worse by more than the margin →"
        } else {
            "here it is not worse by more than the margin →"
        };
        let room = width - 8.0 - x.at(-margin);
        if room > text_width(note, 12.5) + 10.0 {
            svg.text((x.at(-margin) + 6.0, 18.0), Anchor::Start, "tick", note);
        } else {
            svg.text((width - 8.0, 18.0), Anchor::End, "tick", "margin →");
        }
        for tick in x.ticks(if width < 500.0 { 4 } else { 8 }) {
            let at = x.at(tick);
            svg.line((at, bottom), (at, bottom + 4.0), "axis");
            let text = if tick.abs() < 1e-9 { "0".to_owned() } else { format!("{tick:+.2}").replace('-', "−") };
            svg.text((at, bottom + 17.0), Anchor::Middle, "tick", &text);
        }
        svg.line((8.0, bottom), (width - 8.0, bottom), "axis");
        svg.line((x.at(0.0), 26.0), (x.at(0.0), bottom), "axis");
        svg.line((x.at(-margin), 26.0), (x.at(-margin), bottom), "margin");
        for (i, one) in rows.iter().enumerate() {
            let y = 26.0 + i as f64 * row + 26.0;
            let class = if one.passes { "pass" } else { "open" };
            svg.text((12.0, y - 9.0), Anchor::Start, "label", &short(&one.name, if width < 500.0 { 34 } else { 60 }));
            svg.line((x.at(one.low), y), (x.at(one.high), y), &format!("interval {class}"));
            svg.line((x.at(one.bound), y - 5.0), (x.at(one.bound), y + 5.0), &format!("interval {class}"));
            let text = format!("{}: {:+.3}, 95 % interval {:+.3} to {:+.3}", one.name, one.value, one.low, one.high);
            svg.circle((x.at(one.value), y), 5.5, &format!("mark {class}"), &text);
        }
        let name = format!("accuracy less that of {}", short(reference, 24));
        svg.text((width - 8.0, svg.height - 6.0), Anchor::End, "name", &name);
        svg
    })
}

/// A row of parts that add up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stack {
    pub(super) name: String,
    pub(super) detail: String,
    /// The class of a part, its name, its size.
    pub(super) parts: Vec<(String, String, f64)>,
}

/// Stacked bars on one scale, from zero.
pub(super) fn stacks(title: &str, rows: &[Stack], unit: &str) -> String {
    both(title, |width| {
        let row = 46.0;
        let mut svg = Svg::new(width, rows.len() as f64 * row + 40.0);
        let bottom = svg.height - 38.0;
        let sum = |stack: &Stack| stack.parts.iter().map(|part| part.2).sum::<f64>();
        let most = rows.iter().map(sum).fold(0.0, f64::max);
        let x = Scale::linear((0.0, if most > 0.0 { most * 1.02 } else { 1.0 }), (2.0, width - 12.0));
        for tick in x.ticks(if width < 500.0 { 4 } else { 7 }) {
            let at = x.at(tick);
            svg.line((at, 4.0), (at, bottom), "grid");
            svg.text(
                (at, bottom + 16.0),
                if tick == 0.0 { Anchor::Start } else { Anchor::Middle },
                "tick",
                &plain(tick),
            );
        }
        for (i, stack) in rows.iter().enumerate() {
            let y = i as f64 * row + 22.0;
            let name = short(&stack.name, if width < 500.0 { 26 } else { 54 });
            svg.text((2.0, y - 7.0), Anchor::Start, "label", &name);
            svg.text((width - 12.0, y - 7.0), Anchor::End, "tick", &stack.detail);
            let mut from = 0.0;
            for (class, name, size) in &stack.parts {
                let (start, end) = (x.at(from), x.at(from + size));
                if end - start > 0.05 {
                    let text = format!("{}: {name} {} {unit}", stack.name, significant(*size, 3));
                    svg.rect((start, y), (end - start, 16.0), &format!("part {class}"), &text);
                }
                from += size;
            }
        }
        svg.text((width - 12.0, svg.height - 4.0), Anchor::End, "name", unit);
        svg
    })
}

/// A named line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// Distributions of seconds, on a logarithmic axis.
pub(super) fn ecdf(title: &str, lines: &[Line]) -> String {
    both(title, |width| {
        let mut svg = Svg::new(width, if width < 500.0 { 260.0 } else { 300.0 });
        let seconds = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.0)).filter(|s| *s > 0.0);
        let (low, high) = (seconds().fold(f64::MAX, f64::min), seconds().fold(0.0, f64::max));
        let (low, high) = if low < high { (low * 0.95, high * 1.05) } else { (high * 0.5 + 1e-3, high * 2.0 + 1e-2) };
        let names = ("seconds, logarithmic", "share of trials that took at most so long");
        let axes = Axes { x: (low, high), y: (0.0, 1.0), names, log_x: true, shares: true };
        let Frame { x, y } = frame(&mut svg, &axes, 26.0);
        for line in lines {
            let mut points: Vec<(f64, f64)> = Vec::with_capacity(line.points.len() * 2 + 1);
            let mut before = 0.0;
            for &(seconds, share) in &line.points {
                points.push((x.at(seconds), y.at(before)));
                points.push((x.at(seconds), y.at(share)));
                before = share;
            }
            svg.path(&points, &format!("line {}", colour(line.number)));
        }
        svg
    })
}

/// A bar of a waterfall.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) class: &'static str,
}

/// From all queries down to those that the small model answered alone.
pub(super) fn waterfall(title: &str, steps: &[Step]) -> String {
    both(title, |width| {
        let row = 26.0;
        let mut svg = Svg::new(width, steps.len() as f64 * row + 4.0);
        let left = if width < 500.0 { 136.0 } else { 230.0 };
        let most = steps.iter().map(|step| step.from.max(step.to)).max().unwrap_or(1).max(1);
        let x = Scale::linear((0.0, most as f64), (left, width - 44.0));
        for (i, step) in steps.iter().enumerate() {
            let y = i as f64 * row + 4.0;
            let (start, end) = (x.at(step.from.min(step.to) as f64), x.at(step.from.max(step.to) as f64));
            svg.text(
                (left - 10.0, y + 14.0),
                Anchor::End,
                "label",
                &short(&step.name, if width < 500.0 { 19 } else { 34 }),
            );
            let count = step.from.abs_diff(step.to);
            svg.rect((start, y + 2.0), ((end - start).max(1.0), 16.0), &format!("part {}", step.class), "");
            if i + 1 < steps.len() {
                let edge = x.at(step.to as f64);
                svg.line((edge, y + 18.0), (edge, y + row + 2.0), "link");
            }
            svg.text((end + 6.0, y + 14.0), Anchor::Start, "tick", &count.to_string());
        }
        svg
    })
}

/// A bin of a reliability diagram.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bin {
    pub(super) confidence: f64,
    pub(super) right: f64,
    pub(super) ends: Option<(f64, f64)>,
    pub(super) n: usize,
}

/// Share right over confidence; on the diagonal the confidence can be believed.
pub(super) fn calibration(title: &str, bins: &[Bin]) -> String {
    let draw = |width: f64| {
        let mut svg = Svg::new(width, width);
        let axes =
            Axes { x: (0.0, 1.0), y: (0.0, 1.0), names: ("confidence", "share right"), log_x: false, shares: true };
        let Frame { x, y } = frame(&mut svg, &axes, 26.0);
        svg.line((x.at(0.0), y.at(0.0)), (x.at(1.0), y.at(1.0)), "chance");
        let most = bins.iter().map(|bin| bin.n).max().unwrap_or(1).max(1) as f64;
        for bin in bins {
            let at = x.at(bin.confidence);
            if let Some((low, high)) = bin.ends {
                svg.line((at, y.at(low)), (at, y.at(high)), "whisker s0");
            }
            let text = format!("confidence {:.2}: {:.2} right, n = {}", bin.confidence, bin.right, bin.n);
            svg.circle((at, y.at(bin.right)), 3.0 + 6.0 * (bin.n as f64 / most).sqrt(), "mark s0", &text);
        }
        svg
    };
    draw(NARROW).finish("fixed", title)
}

/// The curve of a slider: quality over cost, with the ends and the controls, and where the marker stands at each threshold.
#[derive(Debug, Clone, Default)]
pub(super) struct Curve {
    pub(super) title: String,
    pub(super) x_name: String,
    pub(super) line: Vec<(f64, f64)>,
    pub(super) oracle: Vec<(f64, f64)>,
    pub(super) weak: (f64, f64),
    pub(super) strong: (f64, f64),
    pub(super) stops: Vec<(f64, f64)>,
    /// The stop at which the marker stands first.
    pub(super) first: usize,
    pub(super) name: String,
}

impl Curve {
    /// The chart, and for each stop the marker's place on the wide and on the narrow one.
    pub(super) fn draw(&self) -> (String, Vec<[f64; 4]>) {
        let text = both(&self.title, |width| self.at(width).0);
        let places = [super::svg::WIDE, NARROW].map(|width| self.at(width).1);
        let [wide, narrow] = places;
        (text, wide.iter().zip(narrow).map(|(wide, narrow)| [wide.0, wide.1, narrow.0, narrow.1]).collect())
    }

    fn at(&self, width: f64) -> (Svg, Vec<(f64, f64)>) {
        let mut svg = Svg::new(width, if width < 500.0 { 280.0 } else { 320.0 });
        let all = || self.line.iter().chain(&self.oracle).chain([&self.weak, &self.strong]).chain(&self.stops);
        let x_high = all().map(|point| point.0).fold(0.0, f64::max);
        let (low, high) =
            all().map(|point| point.1).fold((1.0_f64, 0.0_f64), |(low, high), y| (low.min(y), high.max(y)));
        let axes = Axes {
            x: (0.0, if x_high > 0.0 { x_high * 1.05 } else { 1.0 }),
            y: (((low - 0.03) * 20.0).floor().max(0.0) / 20.0, (((high + 0.03) * 20.0).ceil() / 20.0).min(1.0)),
            names: (&self.x_name, "share right"),
            log_x: false,
            shares: true,
        };
        let Frame { x, y } = frame(&mut svg, &axes, 26.0);
        let at = |point: &(f64, f64)| (x.at(point.0), y.at(point.1));
        svg.line(at(&self.weak), at(&self.strong), "chance");
        svg.path(&self.oracle.iter().map(at).collect::<Vec<_>>(), "oracle");
        svg.path(&self.line.iter().map(at).collect::<Vec<_>>(), "line s0");
        let mut labels = Labels { taken: [self.weak, self.strong].iter().map(|p| around(at(p))).collect(), width };
        for (point, name, corners) in [(&self.weak, "small model alone", 3), (&self.strong, "large model alone", 0)] {
            svg.shape(at(point), corners, "mark control", name);
            if let Some((x, y, anchor)) = labels.place(at(point), name) {
                svg.text((x, y), anchor, "label control", name);
            }
        }
        let stops: Vec<(f64, f64)> = self.stops.iter().map(at).collect();
        if let Some(&first) = stops.get(self.first) {
            svg.marker(first, &self.name);
        }
        (svg, stops)
    }
}

/// A figure with its interval in a cell of a table, on a scale that all rows share.
pub(super) fn bar(value: f64, ends: Option<(f64, f64)>, scale: (f64, f64), class: &str) -> String {
    let width = 120.0;
    let mut svg = Svg::new(width, 18.0);
    let x = Scale::linear(scale, (6.0, width - 6.0));
    svg.line((6.0, 9.0), (width - 6.0, 9.0), "grid");
    if let Some((low, high)) = ends {
        svg.line((x.at(low), 9.0), (x.at(high), 9.0), &format!("whisker thick {class}"));
    }
    svg.circle((x.at(value), 9.0), 4.5, &format!("mark {class}"), "");
    svg.finish("inline", "").replace(r#" role="img" aria-label="""#, r#" aria-hidden="true""#)
}
