//! What the pictures of a page share: lanes and their colours, names of elements, and the words for a pattern.

use std::fmt::Write;

use crate::device::gpu::SampledRequest;
use crate::plots::page::escape;
use crate::workshop::report::SampledArray;

/// Width of a lane, and of a bank.
pub(super) const CELL: f64 = 26.0;

/// Width of a warp.
pub(super) const WIDTH: f64 = 32.0 * CELL;

/// The array of a request.
pub(super) struct Named<'a> {
    /// Its name; empty if it is not known.
    pub name: &'a str,
    /// What is known of it, of arrays in device memory.
    pub array: Option<&'a SampledArray>,
}

impl Named<'_> {
    /// The element at a byte: `x[3][17]`, or the word of a shared array.
    pub fn element(&self, offset: u64) -> String {
        let name = if self.name.is_empty() { "?" } else { self.name };
        let Some(array) = self.array else { return format!("{name} + {offset} bytes") };
        let mut element = offset / array.element.max(1) as u64;
        // A request may touch several arrays.
        if element >= array.shape.iter().map(|extent| *extent as u64).product() {
            return "another array".into();
        }
        let mut text = String::new();
        for extent in array.shape.iter().rev() {
            let extent = (*extent).max(1) as u64;
            text = format!("[{}]{text}", element % extent);
            element /= extent;
        }
        format!("{name}{text}")
    }
}

/// The style of the pictures: a colour for each lane, from blue to red.
pub(super) fn style() -> String {
    let mut style = String::from(
        "
.warp { --l: 41%; --s: 68% } @media (prefers-color-scheme: dark) { .warp { --l: 62%; --s: 58% } }
.warp text { font: 11px system-ui, sans-serif; fill: var(--ink) } .warp .faint { fill: var(--faint) } .warp .mid, .warp .on { text-anchor: middle }
.warp text.on { fill: var(--page); font-size: 9.5px; font-weight: 600 } .warp path { fill: none; stroke-width: 1.2; opacity: .85 }
.warp .sector { fill: var(--band); stroke: var(--ink); stroke-width: .8 } .warp .bank { fill: var(--band); stroke: var(--line) } .warp .off { fill: none; stroke: var(--line) }
",
    );
    for lane in 0..32 {
        // From blue over green and yellow to red; yellow is passed quickly, since it is faint on white.
        let hue = 262.0 - 252.0 * f64::from(lane) / 31.0;
        let _ = write!(
            style,
            ".l{lane} {{ fill: hsl({hue:.0} var(--s) var(--l)) }} .warp path.l{lane} {{ stroke: hsl({hue:.0} var(--s) var(--l)) }}{}",
            if lane % 4 == 3 { "\n" } else { " " }
        );
    }
    style
}

/// The start of a picture of a request.
pub(super) fn start_of_picture(
    request: &SampledRequest,
    height: f64,
    transactions: &str,
) -> String {
    let about = format!(
        "{}: {} {transactions}, at least {}",
        pattern(request),
        request.transactions,
        request.least
    );
    format!(
        "<svg class=\"warp\" width=\"{0}\" height=\"{height}\" viewBox=\"-1 0 {0} {height}\" role=\"img\" aria-label=\"{1}\">",
        WIDTH + 2.0,
        escape(&about)
    )
}

/// The lanes of a warp as a row of cells.
pub(super) fn lane_cells(svg: &mut String, request: &SampledRequest, named: &Named) {
    text(svg, (0.0, 10.0), "faint", "lanes of the warp");
    for (lane, touched) in request.lanes.iter().enumerate() {
        let left = lane as f64 * CELL;
        let size = format!("width=\"{:.1}\" height=\"17\"", CELL - 1.4);
        let (x, middle) = (left + 0.7, left + CELL / 2.0);
        let _ = match touched {
            Some((offset, bytes)) => write!(
                svg,
                "<g class=\"l{lane}\"><title>lane {lane}: {}, {bytes} bytes</title><rect x=\"{x:.1}\" y=\"16\" {size}/>\
                 <text class=\"on\" x=\"{middle:.1}\" y=\"28\">{lane}</text></g>",
                escape(&named.element(*offset))
            ),
            None => write!(svg, "<rect class=\"off\" x=\"{x:.1}\" y=\"16\" {size}/>"),
        };
    }
}

/// A text at a position.
pub(super) fn text(svg: &mut String, (x, y): (f64, f64), class: &str, text: &str) {
    let text = escape(text);
    let _ = write!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

/// Whether a request, or all of a line, takes far more sectors or wavefronts than the least: half as many again.
pub(super) fn is_poor(transactions: u64, least: u64) -> bool {
    2 * transactions > 3 * least
}

/// The pattern of a request's addresses, in words.
pub(super) fn pattern(request: &SampledRequest) -> String {
    let touched: Vec<(u64, u32)> = request.lanes.iter().flatten().copied().collect();
    let [(first, bytes), rest @ ..] = &touched[..] else { return "no lane takes part".into() };
    if rest.is_empty() {
        return "one lane".into();
    }
    let size = i128::from(*bytes);
    let steps: Vec<i128> =
        touched.windows(2).map(|pair| i128::from(pair[1].0) - i128::from(pair[0].0)).collect();
    let first_lane = request.lanes.iter().position(Option::is_some).unwrap_or(0);
    let is_dense = request.lanes.iter().skip(first_lane).take(touched.len()).all(Option::is_some);
    if steps.iter().all(|step| *step == 0) {
        return "a broadcast: all lanes have one address".into();
    }
    let is_regular = steps.iter().all(|step| *step == steps[0]);
    match (is_regular, steps[0]) {
        (true, step) if step == size => "neighbouring lanes have neighbouring addresses".into(),
        (true, step) if step == -size => {
            "neighbouring lanes have neighbouring addresses, in reverse".into()
        }
        (true, step) if step % size == 0 && is_dense => {
            format!("a stride of {} elements from lane to lane", step.abs() / size)
        }
        (true, step) => {
            format!("a stride of {} bytes from one active lane to the next", step.abs())
        }
        (false, _) => {
            let runs = 1 + steps.iter().filter(|step| **step != size && **step != 0).count();
            let distinct: std::collections::BTreeSet<u64> =
                touched.iter().map(|own| own.0).collect();
            let whole = distinct.len() as u64 * u64::from(*bytes);
            let (low, high) = (first, distinct.last().copied().unwrap_or(*first));
            if distinct.first() == Some(low) && high + u64::from(*bytes) - low == whole {
                return "all addresses lie side by side".into();
            }
            format!("{runs} runs of neighbouring addresses")
        }
    }
}
