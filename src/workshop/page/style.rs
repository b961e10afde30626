//! The style of the pages, and the words at their top.

use super::{marks, source, timeline};
use crate::plots::roofline;

const STYLE: &str = "
:root { --accent: #b5471b; --wrong: #b3261e; --wrong-band: #fbe9e7 }
@media (prefers-color-scheme: dark) { :root { --accent: #f08a5d; --wrong: #ff8a80; --wrong-band: #3a1f1d } }
body { max-width: 80rem } p, figcaption, ul { max-width: 60rem } a { color: inherit } h3 { font-size: 1rem; margin: 1.8rem 0 .3rem } h3 code { font-weight: 500 } code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .9em }
pre { overflow-x: auto; margin: .2rem 0 .6rem; padding: .35rem .6rem; background: var(--band); font-size: .82rem; font-family: ui-monospace, Menlo, Consolas, monospace }
p.note, li { color: var(--faint); margin: .2rem 0 } p.note b, li b { color: var(--ink) } ul { padding-left: 1.2rem } details { margin: .4rem 0 } summary { cursor: pointer; color: var(--faint) }
table.ladder { font-size: .85rem } table.ladder td, table.ladder th { padding: .18rem .45rem } table.ladder td.idea { color: var(--accent); font-weight: 650 }
p.poor b { color: var(--accent) } .facts td:first-child { white-space: normal }
";

/// The style of a page.
pub(super) fn style() -> String {
    [STYLE, source::STYLE, timeline::STYLE, roofline::STYLE, &marks::style()].concat()
}

/// The comment at the top of a file, up to its first empty line.
pub(super) fn about(text: &str) -> String {
    let comment = text.lines().map_while(|line| line.strip_prefix("//"));
    let lines =
        comment.map(str::trim).take_while(|line| !line.is_empty() && !line.starts_with('@'));
    lines.collect::<Vec<_>>().join(" ")
}
