//! Pages: HTML in one file, without scripts or links to other sites, in light and dark.

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c1e21; --faint: #5f6670; --page: #fdfdfc; --line: #d9dce0; --band: #f3f4f5 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6e9; --faint: #9ba3ad; --page: #16181b; --line: #383d44; --band: #1f2226 }
}
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; font: 1rem/1.55 system-ui, sans-serif;
  color: var(--ink); background: var(--page) }
h1 { font-size: 1.6rem; line-height: 1.25 } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: .6rem 0; font-size: .94rem; font-variant-numeric: tabular-nums }
p.caption { color: var(--faint); margin: 1.8rem 0 .2rem }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } td:first-child { white-space: nowrap }
th { border-bottom-width: 2px; vertical-align: bottom }
figure { margin: 1.6rem 0 } figcaption { color: var(--faint); margin-top: .3rem }
svg { display: block; box-sizing: border-box; height: auto }
footer { margin-top: 3rem; color: var(--faint); font-size: .9rem; border-top: 1px solid var(--line); padding-top: .6rem }
";

/// A page with this title, its own style, and HTML as its body. `made` is its last line: the command and the version that made it.
pub fn page(title: &str, style: &str, body: &str, made: &str) -> String {
    let (title, made) = (escape(title), escape(made));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         {body}<footer>{made}</footer>\n</body>\n</html>\n"
    )
}

/// A text in HTML, also in an attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
