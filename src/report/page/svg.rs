//! Drawing: a small writer of SVG. Colours and fonts are classes, so that the page's style decides them in light, in dark and in
//! print; coordinates have one decimal, so that a chart is the same text on every machine.

use std::fmt::Write as _;

/// A drawing of a given size.
#[derive(Debug, Clone, Default)]
pub(super) struct Svg {
    pub(super) width: f64,
    pub(super) height: f64,
    body: String,
}

/// Where a text stands beside its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(n);
        let _ = write!(self.body, r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{class}"/>"#);
    }

    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str, title: &str) {
        let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(n);
        let _ = write!(self.body, r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" class="{class}">"#);
        self.title(title);
        self.body += "</rect>";
    }

    pub(super) fn circle(&mut self, (x, y): (f64, f64), radius: f64, class: &str, title: &str) {
        let [x, y, radius] = [x, y, radius].map(n);
        let _ = write!(self.body, r#"<circle cx="{x}" cy="{y}" r="{radius}" class="{class}">"#);
        self.title(title);
        self.body += "</circle>";
    }

    /// A line through points; nothing where there are fewer than two.
    pub(super) fn path(&mut self, points: &[(f64, f64)], class: &str) {
        if points.len() < 2 {
            return;
        }
        let _ = write!(self.body, r#"<path class="{class}" d="M"#);
        for (i, &(x, y)) in points.iter().enumerate() {
            let _ = write!(self.body, "{}{} {}", if i == 0 { "" } else { "L" }, n(x), n(y));
        }
        self.body += r#""/>"#;
    }

    /// A closed shape around a point: a diamond, a square or a triangle by its number of corners.
    pub(super) fn shape(&mut self, (x, y): (f64, f64), corners: usize, class: &str, title: &str) {
        let r = 6.0;
        let points: &[(f64, f64)] = match corners {
            3 => &[(0.0, -r), (r, r * 0.8), (-r, r * 0.8)],
            4 => &[(0.0, -r), (r, 0.0), (0.0, r), (-r, 0.0)],
            _ => &[(-r * 0.8, -r * 0.8), (r * 0.8, -r * 0.8), (r * 0.8, r * 0.8), (-r * 0.8, r * 0.8)],
        };
        let points: Vec<String> = points.iter().map(|(dx, dy)| format!("{},{}", n(x + dx), n(y + dy))).collect();
        let _ = write!(self.body, r#"<polygon points="{}" class="{class}">"#, points.join(" "));
        self.title(title);
        self.body += "</polygon>";
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (n(x), n(y), escape(text));
        let _ = write!(self.body, r#"<text x="{x}" y="{y}" text-anchor="{anchor}" class="{class}">{text}</text>"#);
    }

    /// The marker that the page's script moves; `name` tells it apart.
    pub(super) fn marker(&mut self, (x, y): (f64, f64), name: &str) {
        let [x, y] = [x, y].map(n);
        let name = escape(name);
        let _ = write!(self.body, r#"<circle cx="{x}" cy="{y}" r="8" class="marker" data-marker="{name}"/>"#);
    }

    fn title(&mut self, title: &str) {
        if !title.is_empty() {
            let _ = write!(self.body, "<title>{}</title>", escape(title));
        }
    }

    /// The element. `class` says on which widths it is shown.
    pub(super) fn finish(self, class: &str, title: &str) -> String {
        let (width, height) = (n(self.width), n(self.height));
        format!(
            r#"<svg class="{class}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{}">{}</svg>"#,
            escape(title),
            self.body
        )
    }
}

/// The same chart for wide and for narrow screens.
pub(super) fn both(title: &str, draw: impl Fn(f64) -> Svg) -> String {
    draw(WIDE).finish("wide", title) + &draw(NARROW).finish("narrow", title)
}

/// The widths of the two.
pub(super) const WIDE: f64 = 760.0;
pub(super) const NARROW: f64 = 340.0;

/// A coordinate with one decimal, none where it is whole.
pub(super) fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".into() } else { text.to_owned() }
}

/// Text for HTML and SVG, in an element or in a quoted attribute. Control characters become spaces.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A name shortened to about so many columns. Invisible marks of direction are taken out, so that they cannot turn what stands
/// around them.
pub(super) fn short(text: &str, columns: usize) -> String {
    let clean: String = text.chars().filter(|c| !is_direction(*c)).collect();
    if clean.chars().count() <= columns {
        return clean;
    }
    clean.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// Whether a character only changes the direction of the text around it, or where its lines end.
pub(super) fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}' | '\u{2028}' | '\u{2029}')
}

/// A scale from figures to coordinates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// A linear scale. Without an extent it is widened, so that it can be divided by.
    pub(super) fn linear((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
        Self { low, high, from, to, log: false }
    }

    /// A logarithmic scale of positive figures.
    pub(super) fn log((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let low = low.max(1e-9);
        let high = if high > low { high } else { low * 10.0 };
        Self { low, high, from, to, log: true }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(self.low).ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round figures within the scale, about `count` of them.
    pub(super) fn ticks(&self, count: usize) -> Vec<f64> {
        if self.log { self.log_ticks() } else { linear_ticks(self.low, self.high, count) }
    }

    fn log_ticks(&self) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let steps: &[f64] = match last - first {
            ..=2 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let all = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|tick| (self.low * 0.999..=self.high * 1.001).contains(tick)).collect()
    }
}

fn linear_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(power * 10.0);
    let first = (low / step - 1e-9).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|tick| *tick <= high + step * 1e-9).take(50).collect()
}

/// The width of a text, about; letters of the page's font are a little more than half as wide as they are high.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_lie_within() {
        let scale = |low, high| Scale::linear((low, high), (0.0, 100.0)).ticks(5);
        assert_eq!(scale(0.0, 1.0), [0.0, 0.2, 0.4, 0.600_000_000_000_000_1, 0.8, 1.0]);
        assert_eq!(scale(0.3, 2.9), [1.0, 2.0]);
        assert_eq!(scale(5.0, 5.0), [23.0, 24.0, 25.0, 26.0, 27.0].map(|i| i * 0.2));
        assert_eq!(Scale::log((0.2, 30.0), (0.0, 1.0)).ticks(5), [1.0, 10.0]);
        assert_eq!(Scale::log((0.5, 3.0), (0.0, 1.0)).ticks(5), [0.5, 1.0, 2.0]);
    }

    #[test]
    fn a_scale_stays_within_its_ends() {
        let scale = Scale::linear((0.0, 10.0), (20.0, 120.0));
        assert_eq!([-5.0, 0.0, 5.0, 10.0, 99.0].map(|value| scale.at(value)), [20.0, 20.0, 70.0, 120.0, 120.0]);
        let scale = Scale::log((1.0, 100.0), (0.0, 100.0));
        assert!((scale.at(10.0) - 50.0).abs() < 1e-9 && scale.at(0.0) == 0.0);
    }

    #[test]
    fn texts_cannot_leave_their_element_or_their_attribute() {
        assert_eq!(escape("<b title='\"'>&\u{7}"), "&lt;b title=&#39;&quot;&#39;&gt;&amp; ");
        assert_eq!(short("ab\u{202e}cdef", 4), "abc…");
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.25), Anchor::End, "t", "</svg><script>");
        let text = svg.finish("wide", "\"><script>");
        assert!(
            !text.contains("<script>") && text.contains(r#"<text x="1" y="2.2" text-anchor="end" class="t">"#),
            "{text}"
        );
    }
}
