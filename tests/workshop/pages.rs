//! Pages with pictures.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use alrao::workshop::LADDERS;

use crate::command_line::{alrao, refused, text};
use crate::place::source;

/// The page on a kernel file, and the exit code of the command that wrote it.
fn page(file: &Path) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let file = file.to_str().unwrap();
    let output = alrao(folder.path(), &["workshop", "run", file, "--html", "page.html"]);
    let page = fs::read_to_string(folder.path().join("page.html"))
        .unwrap_or_else(|_| panic!("{file}: {}", text(&output.stderr)));
    is_alone(&page);
    (page, output.status.code())
}

/// A page needs no network and no other file, and stays small.
fn is_alone(page: &str) {
    for foreign in ["http:", "https:", "<script", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.len() < 600_000, "{} bytes", page.len());
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
    for svg in page.split("<svg ").skip(1) {
        let head = &svg[..svg.find('>').unwrap()];
        assert!(head.contains("aria-label=\"") || head.contains("aria-hidden"), "{head}");
    }
    for tag in ["table", "figure", "svg", "details", "g", "h3"] {
        let count = |mark: String| page.matches(&mark).count();
        let opened = count(format!("<{tag} ")) + count(format!("<{tag}>"));
        assert_eq!(opened, count(format!("</{tag}>")), "{tag}");
    }
}

/// The part of a page on the pictures of a line.
fn of_line(page: &str, line: usize) -> &str {
    let mark = format!("<h3 id=\"line{line}\">");
    let start = page.find(&mark).unwrap_or_else(|| panic!("no pictures of line {line}"));
    let rest = &page[start + mark.len()..];
    &rest[..rest.find("<h").unwrap_or(rest.len())]
}

fn line_with(file: &Path, mark: &str) -> usize {
    let source = fs::read_to_string(file).unwrap();
    source.lines().position(|line| line.contains(mark)).unwrap() + 1
}

#[test]
fn pictures_show_the_known_patterns() {
    let folder = source().join("tests/workshop/patterns");
    for (name, is_shared, count, words) in [
        ("stride_1", false, 4, "neighbouring lanes have neighbouring addresses"),
        ("stride_2", false, 8, "a stride of 2 elements"),
        ("stride_32", false, 32, "a stride of 32 elements"),
        ("broadcast", false, 1, "a broadcast"),
        ("transpose", true, 32, "a stride of 32 elements"),
        ("padded_transpose", true, 1, "a stride of 33 elements"),
    ] {
        let path = folder.join(format!("{name}.cu"));
        let (page, code) = page(&path);
        assert_eq!(code, Some(0), "{name}");
        let own = of_line(&page, line_with(&path, "// READ"));
        let unit = if is_shared { "wavefront" } else { "sector" };
        let plural = if count == 1 { "" } else { "s" };
        assert!(own.contains(&format!("<b>{count} {unit}{plural}</b>")), "{name}: {own}");
        assert!(own.contains(&format!("aria-label=\"{words}")), "{name}: {own}");
        let picture = own.split("<svg ").nth(1).unwrap();
        let picture = &picture[..picture.find("</svg>").unwrap()];
        match is_shared {
            // The cells on the busiest bank.
            true => {
                let lefts: Vec<&str> = picture.split("</title><rect x=\"").skip(1).collect();
                let left = |cell: &&str| cell[..cell.find('"').unwrap()].to_owned();
                let of_bank = |own: &String| lefts.iter().filter(|cell| left(cell) == *own).count();
                let banks: BTreeSet<String> = lefts.iter().map(left).collect();
                assert_eq!(banks.iter().map(of_bank).max(), Some(count), "{name}");
                assert_eq!(banks.len(), 32 / count, "{name}");
            }
            false => {
                assert_eq!(picture.matches("class=\"sector\"").count(), count, "{name}");
                assert_eq!(picture.matches("<path class=\"l").count(), 32, "{name}");
            }
        }
    }
}

#[test]
fn a_page_names_every_line_with_an_access() {
    let folder = source().join("tests/workshop/patterns");
    let path = folder.join("padded_transpose.cu");
    let (page, _) = page(&path);
    for line in [8, 10, 11] {
        assert!(page.contains(&format!("<a href=\"#line{line}\">{line}</a>")), "line {line}");
    }
    assert!(of_line(&page, 8).contains("reads <code>x</code>"));
    assert!(of_line(&page, 8).contains("writes <code>tile</code>"));
    assert!(of_line(&page, 11).contains("writes <code>out</code>"));
    // One barrier divides two phases, and 32 warps are shown.
    assert!(page.contains("<li>phase 1: global reads in line 8; shared writes in line 8</li>"));
    assert!(page.contains("<li>phase 2: global writes in line 11; shared reads in line 10</li>"));
    assert!(page.contains("warp 31</text>") && page.contains("class=\"barrier\""));
    assert!(page.contains("class=\"roof\""));
}

#[test]
fn a_failed_run_is_drawn_up_to_its_failure() {
    let bugs = source().join("tests/workshop/bugs");
    for (name, mark) in
        [("06_transpose_no_barrier", "race"), ("01_vector_add_guard", "past the end")]
    {
        let path = bugs.join(format!("{name}.cu"));
        let (page, code) = page(&path);
        assert_eq!(code, Some(1), "{name}");
        assert!(page.contains("<p class=\"wrong\">") && page.contains(mark), "{name}");
        assert!(page.contains("<tr class=\"faulty\">"), "{name}");
        assert!(page.contains("up to the failure") && page.contains("<h3 id=\"line"), "{name}");
    }
    // The accesses before an endless loop are drawn too.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("died.cu");
    let body = "//@ computes = \"reverse\"\n//@ block = 32\n__global__ void f(const float* x, float* out, int n) {\n    while (n > 0) out[0] = n;\n}\n";
    fs::write(&path, body).unwrap();
    let (page, code) = page(&path);
    assert!(code == Some(1) && page.contains("endless loop"), "{page}");
}

#[test]
fn a_page_of_another_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::copy(source().join("tests/workshop/patterns/stride_2.cu"), folder.join("a.cu")).unwrap();
    fs::write(folder.join("own.html"), "mine").unwrap();
    let command = ["workshop", "run", "a.cu", "--html", "own.html"];
    refused(folder, &command, "is there already; --force replaces it");
    refused(folder, &["workshop", "run", "a.cu", "--html", "a.cu", "--force"], "would replace");
    assert_eq!(fs::read_to_string(folder.join("own.html")).unwrap(), "mine");
    let output = alrao(folder, &[&command[..], &["--force"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("written own.html"));
    is_alone(&fs::read_to_string(folder.join("own.html")).unwrap());
    fs::create_dir(folder.join("pages")).unwrap();
    fs::write(folder.join("pages/2_threads.html"), "mine").unwrap();
    let command = ["workshop", "ladder", "switch", "--html", "pages"];
    refused(folder, &command, "is there already");
    assert!(!folder.join("pages/index.html").exists());
}

#[test]
fn a_ladder_has_a_page_for_all_versions_and_one_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let output = alrao(folder.path(), &["workshop", "ladder", "reduce", "--html", "pages"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = |name: &str| fs::read_to_string(folder.path().join("pages").join(name)).unwrap();
    let index = read("index.html");
    is_alone(&index);
    let ladder = LADDERS.iter().find(|own| own.name == "reduce").unwrap();
    for (name, _) in ladder.rungs {
        let name = name.trim_end_matches(".cu");
        is_alone(&read(&format!("{name}.html")));
        assert_eq!(index.matches(&format!("<a href=\"{name}.html\">")).count(), 2, "{name}");
    }
    // All versions are on the roofline.
    assert_eq!(index.matches("<circle class=\"dot\"").count(), ladder.rungs.len());
    assert_eq!(index.matches("<td class=\"idea\">").count(), ladder.rungs.len() - 1);
}
