//! The report as one HTML page without scripts or links to other files.

use std::fmt::Write;

use super::findings::{FAILURES, Findings, Table};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1e21; --faint: #5f6670; --page: #fdfdfc; --line: #d9dce0; --band: #f3f4f5 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6e9; --faint: #9ba3ad; --page: #16181b; --line: #383d44; --band: #1f2226 }
}
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; font: 1rem/1.55 system-ui, sans-serif;
  color: var(--ink); background: var(--page) }
h1 { font-size: 1.6rem; line-height: 1.25 } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p.paper { color: var(--faint) } li { margin: .25rem 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: .6rem 0; font-size: .94rem; font-variant-numeric: tabular-nums }
p.caption { color: var(--faint); margin: 1.8rem 0 .2rem }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } td:first-child { white-space: nowrap }
th { border-bottom-width: 2px; vertical-align: bottom }
tr.ours, td.ours, th.ours { font-weight: 650; background: var(--band) }
tr.theirs { background: var(--band); color: var(--faint) }
figure { margin: 1.6rem 0 } figcaption { color: var(--faint); margin-top: .3rem }
svg { display: block; box-sizing: border-box; width: 100%; min-width: 34rem; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 6px }
footer { margin-top: 3rem; color: var(--faint); font-size: .9rem; border-top: 1px solid var(--line); padding-top: .6rem }
";

/// Findings as one HTML page without scripts or links to other files. `made` is its last line: the command and the version that made it.
pub fn html(findings: &Findings, made: &str) -> String {
    let title = escape(&findings.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    if !findings.paper.is_empty() {
        let paper = escape(&findings.paper);
        let _ = writeln!(page, "<p class=\"paper\">In the paper: {paper}</p>");
    }
    list(&mut page, FAILURES, &findings.failures);
    list(&mut page, "What came out", &findings.observations);
    for table in &findings.tables {
        add_table(&mut page, table);
    }
    for picture in &findings.pictures {
        let _ = write!(
            page,
            "<figure>\n<div class=\"wide\">{}</div>\n<figcaption>{}</figcaption>\n</figure>\n",
            picture.svg.trim(),
            escape(&picture.caption)
        );
    }
    list(&mut page, "What differs from the paper", &findings.differences);
    let _ = write!(page, "<footer>{}</footer>\n</body>\n</html>\n", escape(made));
    page
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
