//! The report as one HTML page without scripts or links to other files.

use std::fmt::Write;

use super::findings::{FAILURES, Findings, Table};
use crate::plots::page::{escape, page};

const STYLE: &str = "
p.paper { color: var(--faint) } li { margin: .25rem 0 }
tr.ours, td.ours, th.ours { font-weight: 650; background: var(--band) }
tr.theirs { background: var(--band); color: var(--faint) }
svg { width: 100%; min-width: 34rem; background: #fff; border: 1px solid var(--line); border-radius: 6px }
";

/// Findings as one HTML page without scripts or links to other files. `made` is its last line: the command and the version that made it.
pub fn html(findings: &Findings, made: &str) -> String {
    let mut body = String::new();
    if !findings.paper.is_empty() {
        let paper = escape(&findings.paper);
        let _ = writeln!(body, "<p class=\"paper\">In the paper: {paper}</p>");
    }
    list(&mut body, FAILURES, &findings.failures);
    list(&mut body, "What came out", &findings.observations);
    for table in &findings.tables {
        add_table(&mut body, table);
    }
    for picture in &findings.pictures {
        let _ = write!(
            body,
            "<figure>\n<div class=\"wide\">{}</div>\n<figcaption>{}</figcaption>\n</figure>\n",
            picture.svg.trim(),
            escape(&picture.caption)
        );
    }
    list(&mut body, "What differs from the paper", &findings.differences);
    page(&findings.title, STYLE, &body, made)
}

fn list(page: &mut String, title: &str, points: &[String]) {
    if !points.is_empty() {
        let points: String =
            points.iter().map(|point| format!("<li>{}</li>\n", escape(point))).collect();
        let _ = write!(page, "<h2>{title}</h2>\n<ul>\n{points}</ul>\n");
    }
}

fn add_table(page: &mut String, table: &Table) {
    let is_ours = |text: &String| text.starts_with("Alrao");
    let cells = |tag: &str, cells: &[String]| -> String {
        let cell = |(cell, head): (&String, &String)| {
            let class = if is_ours(head) { " class=\"ours\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escape(cell))
        };
        cells.iter().zip(&table.head).map(cell).collect()
    };
    let rows: String = table
        .rows
        .iter()
        .map(|row| {
            let class = match row.cells.first() {
                _ if row.is_papers => " class=\"theirs\"",
                Some(name) if is_ours(name) => " class=\"ours\"",
                _ => "",
            };
            format!("<tr{class}>{}</tr>\n", cells("td", &row.cells))
        })
        .collect();
    let _ = write!(
        page,
        "<p class=\"caption\">{}</p>\n<div class=\"wide\"><table>\n<tr>{}</tr>\n{rows}</table></div>\n",
        escape(&table.caption),
        cells("th", &table.head)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_else() {
        let mut table = Table::new("a < b", &["name", "value"]);
        table.push(["one", "1 & 2"]);
        table.push(["Alrao", "3"]);
        table.push_papers("one", ["3"]);
        let failures = vec!["one-seed-0: why".into()];
        let title = "<T>".into();
        let findings = Findings { title, failures, tables: vec![table], ..Findings::default() };
        let page = html(&findings, "by hand");
        assert!(
            page.contains("&lt;T&gt;") && page.contains("1 &amp; 2") && page.contains("a &lt; b")
        );
        assert!(page.contains("<tr class=\"theirs\"><td>one (paper)</td><td>3</td></tr>"));
        assert!(page.contains("<tr class=\"ours\"><td>Alrao</td><td>3</td></tr>"));
        assert!(page.contains("<li>one-seed-0: why</li>") && page.contains(FAILURES));
        for foreign in ["<script", "http-equiv", "src=", "href="] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
