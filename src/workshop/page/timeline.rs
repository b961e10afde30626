//! The work of a block between its barriers, warp by warp.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::device::gpu::{LaunchSample, PhaseTraffic};
use crate::plots::page::escape;
use crate::workshop::estimate::load_store_cycles;
use crate::workshop::sample::line_of;

/// The style of timelines.
pub(super) const STYLE: &str = "
.line { --read: #3477b4; --write: #c25a1c; --shared-read: #3f8f5f; --shared-write: #a3801a }
@media (prefers-color-scheme: dark) { .line { --read: #6aa7dd; --write: #ec8b52; --shared-read: #6cbf8d; --shared-write: #d3b04c } }
.line text { font: 11px system-ui, sans-serif; fill: var(--ink) } .line .faint { fill: var(--faint) } .line .mid { text-anchor: middle }
.line .read { fill: var(--read) } .line .write { fill: var(--write) } .line .shared-read { fill: var(--shared-read) } .line .shared-write { fill: var(--shared-write) }
.line .track { fill: var(--band) } .line .barrier { stroke: var(--ink); stroke-width: 1.5 }
";

/// The kinds of accesses, in the order of the bars.
const KINDS: [(&str, &str); 4] = [
    ("read", "global reads"),
    ("write", "global writes"),
    ("shared-read", "shared reads"),
    ("shared-write", "shared writes"),
];

const LEFT: f64 = 56.0;
const TOP: f64 = 40.0;
const ROW: f64 = 15.0;

/// Requests and cycles of a kind of accesses.
type Sums = [(u64, f64); 4];

/// The kind of an access, and its cycles of load/store.
fn cost(own: &PhaseTraffic) -> (usize, f64) {
    let kind = 2 * usize::from(own.is_shared) + usize::from(own.is_write);
    (kind, load_store_cycles(own.transactions, own.is_shared))
}

/// A timeline with a row for each warp of the first block and a column for each phase; `None` without accesses.
pub(super) fn picture(launch: &LaunchSample) -> Option<String> {
    let mut cells: BTreeMap<(u32, u32), Sums> = BTreeMap::new();
    for own in &launch.phases {
        let (kind, cycles) = cost(own);
        let sum = &mut cells.entry((own.warp, own.phase)).or_default()[kind];
        *sum = (sum.0 + own.requests, sum.1 + cycles);
    }
    let threads: u32 = launch.block.iter().product();
    let warps = threads.div_ceil(32).max(1);
    let phases = launch.barriers.len() as u32 + 1;
    let total = |sums: &Sums| sums.iter().map(|own| own.1).sum::<f64>();
    let most = cells.values().map(total).fold(0.0, f64::max);
    if most == 0.0 {
        return None;
    }
    let column = (640.0 / f64::from(phases)).clamp(34.0, 220.0);
    let width = LEFT + column * f64::from(phases) + 4.0;
    let height = TOP + ROW * f64::from(warps) + 6.0;
    let about = format!(
        "the accesses of {warps} warps in {phases} phases, which {} barriers divide",
        launch.barriers.len()
    );
    let mut svg = format!(
        "<svg class=\"line\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">",
        escape(&about)
    );
    for warp in 0..warps {
        let top = TOP + ROW * f64::from(warp);
        let _ =
            write!(svg, "<text class=\"faint\" x=\"0\" y=\"{:.0}\">warp {warp}</text>", top + 11.0);
        for phase in 0..phases {
            let left = LEFT + column * f64::from(phase) + 3.0;
            let room = column - 6.0;
            let _ = write!(
                svg,
                "<rect class=\"track\" x=\"{left:.1}\" y=\"{:.0}\" width=\"{room:.1}\" height=\"11\"/>",
                top + 2.0
            );
            let Some(sums) = cells.get(&(warp, phase)) else { continue };
            bar(&mut svg, sums, (left, top + 2.0), room / most);
        }
    }
    for phase in 0..phases {
        let middle = LEFT + column * (f64::from(phase) + 0.5);
        let _ = write!(
            svg,
            "<text class=\"faint mid\" x=\"{middle:.1}\" y=\"{:.0}\">{}</text>",
            TOP - 6.0,
            phase + 1
        );
        let Some(place) = launch.barriers.get(phase as usize) else { continue };
        let at = LEFT + column * f64::from(phase + 1);
        let line = place.rsplit(':').next().unwrap_or_default();
        let _ = write!(
            svg,
            "<line class=\"barrier\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.0}\" y2=\"{:.0}\"/>\
             <text class=\"mid\" x=\"{at:.1}\" y=\"{:.0}\">{line}</text>",
            TOP - 18.0,
            height - 4.0,
            TOP - 23.0
        );
    }
    if !launch.barriers.is_empty() {
        let _ = write!(svg, "<text class=\"faint\" x=\"0\" y=\"{:.0}\">line</text>", TOP - 23.0);
    }
    let _ = write!(svg, "<text class=\"faint\" x=\"0\" y=\"{:.0}\">phase</text>", TOP - 6.0);
    Some(svg + "</svg>")
}

fn bar(svg: &mut String, sums: &Sums, (left, top): (f64, f64), scale: f64) {
    let told: Vec<String> = KINDS
        .iter()
        .zip(sums)
        .filter(|(_, own)| own.0 > 0)
        .map(|((_, name), own)| format!("{} {name}", own.0))
        .collect();
    let _ = write!(svg, "<g><title>{}</title>", told.join(", "));
    let mut at = left;
    for ((class, _), (_, cycles)) in KINDS.iter().zip(sums) {
        let width = cycles * scale;
        if width > 0.0 {
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{at:.1}\" y=\"{top:.0}\" width=\"{:.1}\" height=\"11\"/>",
                width.max(0.7)
            );
        }
        at += width;
    }
    *svg += "</g>";
}

/// The colours of the bars.
pub(super) fn key() -> String {
    let mut svg = String::from(
        "<svg class=\"line\" width=\"430\" height=\"16\" viewBox=\"0 0 430 16\" aria-hidden=\"true\">",
    );
    for (place, (class, name)) in KINDS.iter().enumerate() {
        let left = 108 * place;
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{left}\" y=\"3\" width=\"11\" height=\"11\"/><text x=\"{}\" y=\"13\">{name}</text>",
            left + 16
        );
    }
    svg + "</svg>"
}

/// What the warps of the first block do in each phase, as a list: phases with the same lines are told together.
pub(super) fn phases(launch: &LaunchSample, file: &str) -> Vec<String> {
    let mut lines: BTreeMap<u32, BTreeMap<usize, BTreeSet<usize>>> = BTreeMap::new();
    for own in &launch.phases {
        let Some(line) = line_of(&own.place, file) else { continue };
        let (kind, _) = cost(own);
        lines.entry(own.phase).or_default().entry(kind).or_default().insert(line);
    }
    let told = |kinds: &BTreeMap<usize, BTreeSet<usize>>| {
        let part = |(kind, lines): (&usize, &BTreeSet<usize>)| {
            let word = if lines.len() == 1 { "line" } else { "lines" };
            let numbers: Vec<String> = lines.iter().map(usize::to_string).collect();
            format!("{} in {word} {}", KINDS[*kind].1, numbers.join(", "))
        };
        kinds.iter().map(part).collect::<Vec<_>>().join("; ")
    };
    let mut groups: Vec<(String, Vec<u32>)> = Vec::new();
    for phase in 0..=launch.barriers.len() as u32 {
        let text = lines.get(&phase).map_or_else(|| "no accesses".to_owned(), told);
        match groups.iter_mut().find(|(own, _)| *own == text) {
            Some((_, phases)) => phases.push(phase + 1),
            None => groups.push((text, vec![phase + 1])),
        }
    }
    let name = |phases: &[u32]| match phases {
        [one] => format!("phase {one}"),
        [first, .., last] if phases.len() as u32 == last - first + 1 => {
            format!("phases {first} to {last}")
        }
        _ => {
            let numbers: Vec<String> = phases.iter().map(u32::to_string).collect();
            format!("phases {}", numbers.join(", "))
        }
    };
    groups.into_iter().map(|(text, phases)| format!("{}: {text}", name(&phases))).collect()
}
