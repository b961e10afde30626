//! The source of a kernel file, with the counts beside each line.

use std::fmt::Write;

use super::marks::is_poor;
use crate::plots::page::escape;
use crate::workshop::estimate::load_store_cycles;
use crate::workshop::report::{Failure, LineCounts, Traffic};

/// The style of the source.
pub(super) const STYLE: &str = "
table.source { font-size: .82rem; line-height: 1.35; margin: 0 } table.source td, table.source th { border: 0; padding: .05rem .5rem }
table.source th { border-bottom: 1px solid var(--line); font-weight: 500; color: var(--faint); padding-bottom: .3rem; line-height: 1.2 }
table.source td.code, table.source th.code { text-align: left } td.code { white-space: pre; font-family: ui-monospace, Menlo, Consolas, monospace }
table.source td.n, table.source td.n a { color: var(--faint); text-align: right } td.n a { text-decoration-thickness: 1px; text-underline-offset: 2px }
table.source td.poor { color: var(--accent); font-weight: 650 } tr.plain td.code { color: var(--faint) }
td.bar { min-width: 3.4rem } td.bar div { background: var(--accent); height: .6rem; min-width: 1px; margin-left: auto }
@media (max-width: 640px) { table.source .more { display: none } table.source td, table.source th { padding: .05rem .3rem } td.bar { min-width: 2rem } }
tr.faulty td { background: var(--wrong-band) } tr.faulty td.n { color: var(--wrong); font-weight: 650 }
table.source td.told { text-align: left; white-space: normal; max-width: 40rem; padding-bottom: .3rem }
p.wrong { border-left: 3px solid var(--wrong); padding: .4rem .8rem; background: var(--wrong-band); margin: .8rem 0; overflow-wrap: anywhere }
";

/// The traffic of a line.
#[derive(Clone, Copy, Default)]
struct Line {
    global: Traffic,
    shared: Traffic,
}

impl Line {
    /// Cycles of load/store.
    fn cycles(&self) -> f64 {
        load_store_cycles(self.global.transactions, false)
            + load_store_cycles(self.shared.transactions, true)
    }
}

/// The lines of a file as a table. Lines in `pictured` refer to their pictures.
pub(super) fn table(
    text: &str,
    name: &str,
    counts: &[LineCounts],
    pictured: &[usize],
    failure: Option<&Failure>,
) -> String {
    let mut lines: Vec<Line> = vec![Line::default(); text.lines().count()];
    for own in counts {
        if let Some(line) = own.line.checked_sub(1).and_then(|place| lines.get_mut(place)) {
            let sum = if own.is_shared { &mut line.shared } else { &mut line.global };
            sum.add(&own.traffic);
        }
    }
    let faulty = failure.map_or_else(Vec::new, |failure| failure.lines(name));
    let all: f64 = lines.iter().map(Line::cycles).sum();
    let most = lines.iter().map(Line::cycles).fold(0.0, f64::max);
    let mut table = String::from(
        "<div class=\"wide\"><table class=\"source\">\n<tr><th>line</th><th>share of<br>load/store</th><th class=\"more\">requests</th>\
         <th>sectors<br>each</th><th class=\"more\">at<br>best</th><th>wave-<br>fronts</th><th class=\"more\">at<br>best</th><th class=\"more\">lanes</th><th class=\"more\">device<br>bytes</th><th class=\"more\">shared<br>bytes</th><th class=\"code\">source</th></tr>\n",
    );
    for (place, (line, code)) in lines.iter().zip(text.lines()).enumerate() {
        let number = place + 1;
        let is_faulty = faulty.contains(&number);
        let is_plain = code.trim_start().starts_with("//");
        let class = match (is_faulty, is_plain) {
            (true, _) => " class=\"faulty\"",
            (false, true) => " class=\"plain\"",
            (false, false) => "",
        };
        let anchor = match pictured.contains(&number) {
            true => format!("<a href=\"#line{number}\">{number}</a>"),
            false => number.to_string(),
        };
        let sign = if is_faulty { "✗ " } else { "" };
        let heat = match line.cycles() / f64::max(most, 1e-9) {
            share if share > 0.0 && !is_faulty => format!(
                " style=\"background: color-mix(in srgb, var(--accent) {:.0}%, transparent)\"",
                26.0 * share
            ),
            _ => String::new(),
        };
        let _ = writeln!(
            table,
            "<tr{class}><td class=\"n\">{sign}{anchor}</td>{}<td class=\"code\"{heat}>{}</td></tr>",
            cells(line, all, most),
            escape(code)
        );
        if let Some(failure) = failure.filter(|_| faulty.last() == Some(&number)) {
            let _ = writeln!(
                table,
                "<tr class=\"faulty\"><td class=\"n\"></td><td class=\"told\" colspan=\"10\">{}</td></tr>",
                escape(&failure.message)
            );
        }
    }
    table + "</table></div>\n"
}

fn cells(line: &Line, all: f64, most: f64) -> String {
    let Line { global, shared } = line;
    let requests = global.requests + shared.requests;
    if requests == 0 {
        const MORE: &str = "<td class=\"more\"></td>";
        let bytes = [MORE; 2].concat();
        return format!("<td class=\"bar\"></td>{MORE}<td></td>{MORE}<td></td>{MORE}{MORE}{bytes}");
    }
    let each = |own: &Traffic| match own.per_request() {
        None => "<td></td><td class=\"more\"></td>".to_owned(),
        Some(per_request) => {
            let best = own.least as f64 / own.requests as f64;
            let class = if is_poor(own.transactions, own.least) { " class=\"poor\"" } else { "" };
            format!("<td{class}>{per_request:.1}</td><td class=\"more\">{best:.1}</td>")
        }
    };
    let share = line.cycles() / f64::max(all, 1e-9);
    let lanes = (global.lanes + shared.lanes) as f64 / requests as f64;
    let bytes = |own: u64| match own {
        0 => "<td class=\"more\"></td>".to_owned(),
        own => format!("<td class=\"more\">{own}</td>"),
    };
    format!(
        "<td class=\"bar\" title=\"{:.0} %\"><div style=\"width: {:.1}%\"></div></td><td class=\"more\">{requests}</td>{}{}<td class=\"more\">{lanes:.1}</td>{}{}",
        100.0 * share,
        100.0 * line.cycles() / f64::max(most, 1e-9),
        each(global),
        each(shared),
        bytes(32 * global.transactions),
        bytes(shared.bytes)
    )
}
