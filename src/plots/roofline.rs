//! The roofline (Williams, Waterman and Patterson 2009): operations per second over operations per byte, beneath what a GPU can do.

use std::fmt::Write;

use super::page::escape;
use super::scale::{Scale, number};

/// The style of rooflines, part of a page's.
pub const STYLE: &str = "
.roof text { fill: var(--ink); font: 12px system-ui, sans-serif } .roof .faint { fill: var(--faint) }
.roof .grid { stroke: var(--line); stroke-width: 1 } .roof .limit { stroke: var(--ink); stroke-width: 1.6; fill: none }
.roof .link { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 2 3 } .roof .path { stroke: var(--accent); stroke-width: 1.2; fill: none; opacity: .55 }
.roof .dot { fill: var(--accent); stroke: var(--page); stroke-width: 1 } .roof .hollow { fill: var(--page); stroke: var(--accent); stroke-width: 1.4 }
.roof .on { fill: var(--page); font-weight: 650; text-anchor: middle }
";

/// What a GPU can do.
pub struct Roofs {
    /// Memories by name, with their bytes per second.
    pub memories: Vec<(String, f64)>,
    /// Units by name, with their operations per second.
    pub units: Vec<(String, f64)>,
}

/// A kernel.
pub struct Point {
    /// A few letters in its dot; a small dot without any.
    pub label: String,
    /// What a reader sees who points at it.
    pub title: String,
    /// Operations for each byte that the SMs move.
    pub operations_per_byte: f64,
    /// Operations for each byte of the arrays, for a second dot.
    pub at_best: Option<f64>,
    /// Operations per second.
    pub operations_per_second: f64,
}

/// Kernels with more operations for each byte are left out: they test arithmetic alone.
const MOST_PER_BYTE: f64 = 1e5;

const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// The roofline as SVG. `about` says what it shows; `is_path` connects the dots in their order.
pub fn roofline(
    about: &str,
    size: (f64, f64),
    roofs: &Roofs,
    points: &[Point],
    is_path: bool,
) -> String {
    let (width, height) = size;
    let highest = roofs.units.iter().map(|own| own.1).fold(1.0, f64::max);
    let slowest = roofs.memories.iter().map(|own| own.1).fold(f64::INFINITY, f64::min);
    let is_drawn = |own: &&Point| {
        own.operations_per_second > 0.0 && (0.0..MOST_PER_BYTE).contains(&own.operations_per_byte)
    };
    let points: Vec<&Point> = points.iter().filter(is_drawn).collect();
    let xs =
        || points.iter().flat_map(|own| [Some(own.operations_per_byte), own.at_best]).flatten();
    let decade = |value: f64| 10f64.powf(value.log10().floor());
    let x_from = decade(xs().fold(0.5, f64::min));
    let x_to = 10.0 * decade(xs().fold(2.0 * highest / slowest, f64::max));
    let lowest = points.iter().map(|own| own.operations_per_second).fold(highest / 100.0, f64::min);
    let (y_from, y_to) = (decade(lowest), 2.5 * highest);
    let (x_scale, y_scale) = (Scale::logarithmic(x_from..x_to), Scale::logarithmic(y_from..y_to));
    let x = |value: f64| LEFT + x_scale.place(value) * (width - LEFT - RIGHT);
    let y = |value: f64| height - BOTTOM - y_scale.place(value) * (height - TOP - BOTTOM);

    let mut svg = format!(
        "<svg class=\"roof\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{about}\">",
        about = escape(about)
    );
    let every = (decades(y_from, y_to).count() / 7 + 1).max(1);
    for value in decades(x_from, x_to) {
        let (at, bottom, label) = (x(value), height - BOTTOM, number(value));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 15.0
        );
    }
    for value in decades(y_from, y_to).step_by(every) {
        let (at, right, label) = (y(value), width - RIGHT, with_prefix(value));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    let _ = write!(
        svg,
        "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">operations for each byte</text>\
         <text class=\"faint\" transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">operations per second</text>",
        width - RIGHT,
        height - 6.0,
        (TOP + height - BOTTOM) / 2.0
    );
    let fastest = roofs.memories.iter().map(|own| own.1).fold(0.0, f64::max);
    for (name, speed) in &roofs.memories {
        // From where the line enters the picture to where it meets the highest unit.
        let from = (y_from / speed).max(x_from);
        let to = (highest / speed).min(x_to);
        let angle = (y(to * speed) - y(from * speed)).atan2(x(to) - x(from)).to_degrees();
        // At the upper end, where few kernels get.
        let end = to / 1.3;
        let (at, up) = (x(end), y(end * speed) - 5.0);
        let _ = write!(
            svg,
            "<path class=\"limit\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>\
             <text class=\"faint\" transform=\"translate({at:.1} {up:.1}) rotate({angle:.1})\" text-anchor=\"end\">{} {}B/s</text>",
            x(from),
            y(from * speed),
            x(to),
            y(to * speed),
            escape(name),
            with_prefix(*speed)
        );
    }
    let mut before: Option<(f64, f64)> = None;
    for (name, speed) in &roofs.units {
        // Labels of lines that are close together stand side by side.
        let aside = match before {
            Some((up, aside)) if up - y(*speed) < 14.0 => aside + 110.0,
            _ => 0.0,
        };
        before = Some((y(*speed), aside));
        let (from, right, at) = ((speed / fastest).max(x_from), width - RIGHT, y(*speed));
        let _ = write!(
            svg,
            "<path class=\"limit\" d=\"M{:.1} {at:.1}L{right:.1} {at:.1}\"/>\
             <text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} {}op/s</text>",
            x(from),
            right - aside,
            at - 4.0,
            escape(name),
            with_prefix(*speed)
        );
    }
    if is_path {
        let place = |own: &&Point| {
            format!("{:.1} {:.1}", x(own.operations_per_byte), y(own.operations_per_second))
        };
        let places: Vec<String> = points.iter().map(place).collect();
        let _ = write!(svg, "<path class=\"path\" d=\"M{}\"/>", places.join("L"));
    }
    // Versions that would hide each other share a label.
    let mut groups: Vec<Vec<&Point>> = Vec::new();
    let place = |own: &Point| (x(own.operations_per_byte), y(own.operations_per_second));
    for own in points {
        let is_near = |group: &&mut Vec<&Point>| {
            let (a, b) = (place(group[0]), place(own));
            !own.label.is_empty() && (a.0 - b.0).hypot(a.1 - b.1) < 16.0
        };
        match groups.iter_mut().find(is_near) {
            Some(group) => group.push(own),
            None => groups.push(vec![own]),
        }
    }
    for group in groups {
        dots(&mut svg, &group, (&x, &y));
    }
    svg + "</svg>"
}

type Places<'a> = (&'a dyn Fn(f64) -> f64, &'a dyn Fn(f64) -> f64);

fn dots(svg: &mut String, group: &[&Point], (x, y): Places) {
    for own in group {
        let (at, up) = (x(own.operations_per_byte), y(own.operations_per_second));
        let _ = write!(svg, "<g><title>{}</title>", escape(&own.title));
        if let Some(best) = own.at_best {
            let best = x(best);
            let _ = write!(
                svg,
                "<line class=\"link\" x1=\"{at:.1}\" x2=\"{best:.1}\" y1=\"{up:.1}\" y2=\"{up:.1}\"/>\
                 <circle class=\"hollow\" cx=\"{best:.1}\" cy=\"{up:.1}\" r=\"4\"/>"
            );
        }
        let _ = write!(svg, "<circle class=\"dot\" cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"4\"/></g>");
    }
    let labels: Vec<&str> = group.iter().map(|own| own.label.as_str()).collect();
    let label = labels.join(" ");
    if label.is_empty() {
        return;
    }
    let titles: Vec<&str> = group.iter().map(|own| own.title.as_str()).collect();
    // Above and to the left, where no line leads to the empty dots.
    let width = 10.0 + 7.0 * label.chars().count() as f64;
    let at = x(group[0].operations_per_byte) - 8.0 - width / 2.0;
    let up = y(group[0].operations_per_second) - 12.0;
    let _ = write!(
        svg,
        "<g><title>{}</title><rect class=\"dot\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"16\" rx=\"8\"/>\
         <text class=\"on\" x=\"{at:.1}\" y=\"{:.1}\">{}</text></g>",
        escape(&titles.join("; ")),
        at - width / 2.0,
        up - 8.0,
        up + 4.3,
        escape(&label)
    );
}

/// The powers of ten in a range.
fn decades(from: f64, to: f64) -> impl Iterator<Item = f64> {
    let last = (to * (1.0 + 1e-9)).log10().floor() as i32;
    ((from * (1.0 - 1e-9)).log10().ceil() as i32..=last).map(|power| 10f64.powi(power))
}

/// `4.3 T`, `100 G`: a large number with the prefix of its unit.
pub fn with_prefix(value: f64) -> String {
    let prefixes = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let own = prefixes.into_iter().find(|(size, _)| value >= 0.9995 * size);
    let (size, prefix) = own.unwrap_or((1.0, ""));
    format!("{} {prefix}", number(value / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_have_prefixes() {
        assert_eq!(
            [4.3e12, 1e11, 999.0, 59.3e12].map(with_prefix),
            ["4.3 T", "100 G", "999 ", "59.3 T"]
        );
    }

    #[test]
    fn a_point_on_a_roof_is_drawn_on_it() {
        let roofs =
            Roofs { memories: vec![("memory".into(), 1e12)], units: vec![("f32".into(), 1e13)] };
        let point = Point {
            label: "1".into(),
            title: "a < b".into(),
            operations_per_byte: 10.0,
            at_best: Some(100.0),
            operations_per_second: 1e13,
        };
        let svg = roofline("about", (680.0, 380.0), &roofs, &[point], false);
        let number = |mark: &str| -> f64 {
            let rest = &svg[svg.find(mark).unwrap() + mark.len()..];
            rest[..rest.find(['"', ' ', 'L']).unwrap()].parse().unwrap()
        };
        // The ridge, where memory and arithmetic take the same time.
        let ridge = &svg[svg.rfind("class=\"limit\" d=\"M").unwrap()..];
        let place: Vec<&str> = ridge[17..].split(['M', 'L', ' ']).collect();
        assert_eq!(number("class=\"dot\" cx=\""), place[1].parse::<f64>().unwrap());
        assert!(svg.contains("a &lt; b") && svg.contains("class=\"hollow\""));
    }
}
