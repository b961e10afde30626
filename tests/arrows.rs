//! Which part of the crate may name which.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::place::source;

/// The parts from below to above.
const ROWS: &[&[&str]] = &[
    &[
        "shape",
        "random",
        "error",
        "file",
        "fingerprint",
        "argument",
        "named",
        "task",
        "input",
        "protobuf",
    ],
    &["device"],
    &["tensor", "tape", "trace"],
    &["ops"],
    &["nn", "optim", "checks"],
    &["alrao", "models", "data"],
    &["learn"],
    &["supervised", "rl"],
    &["bench", "plots", "export"],
    &["experiments", "workshop"],
    &["cli"],
];

/// The row of a part.
fn row(part: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&part))
}

/// The source files of a part: its file, or all in its folder.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap();
    entries.flat_map(|entry| files(&entry.unwrap().path())).collect()
}

/// How many modules deep a file's code lies, by its path in `src`.
fn depth(path: &Path) -> usize {
    path.components().count() - usize::from(path.ends_with("mod.rs"))
}

/// The code without its comments, with `crate::` in place of as many `super::` as lead to the crate's root. `depth`: how many
/// modules deep it lies.
fn from_the_root(text: &str, depth: usize) -> String {
    // The ends of the modules that a line lies in.
    let mut ends: Vec<String> = Vec::new();
    let mut code = String::new();
    for line in text.lines() {
        if !line.trim_start().starts_with("//") {
            let supers = "super::".repeat(depth + ends.len());
            code += &line.replace(&supers, "crate::");
        }
        code.push('\n');
        let trimmed = line.trim_start();
        if trimmed.split(' ').any(|word| word == "mod") && trimmed.ends_with('{') {
            ends.push(format!("{}}}", &line[..line.len() - trimmed.len()]));
        } else if ends.last().is_some_and(|end| end == line) {
            ends.pop();
        }
    }
    code
}

/// The name that a path begins with.
fn first_name(path: &str) -> &str {
    let path = path.trim_start();
    path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The paths in a list in braces, which `text` begins with; a path on its own is the only one.
fn paths(text: &str) -> Vec<&str> {
    let Some(list) = text.strip_prefix('{') else { return vec![text] };
    let (mut level, mut start, mut found) = (0, 0, Vec::new());
    for (index, c) in list.char_indices() {
        match c {
            '{' => level += 1,
            ',' | '}' if level == 0 => {
                found.push(list[start..index].trim());
                start = index + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => level -= 1,
            _ => {}
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

/// The names at the crate's root that code names, each with its line.
fn names_at_the_root(code: &str) -> Vec<(usize, &str)> {
    let at = |(start, found): (usize, &str)| {
        let line = code[..start].matches('\n').count() + 1;
        let paths = paths(&code[start + found.len()..]);
        paths.into_iter().map(move |path| (line, first_name(path))).collect::<Vec<_>>()
    };
    code.match_indices("crate::").flat_map(at).collect()
}

/// The parts that `src/lib.rs` declares, and for each name that it re-exports the part with it.
fn parts_and_names<'a>(lib: &'a str) -> (Vec<&'a str>, BTreeMap<&'a str, &'a str>) {
    let part = |line: &'a str| {
        line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?.strip_suffix(';')
    };
    let parts = lib.lines().filter_map(part).collect();
    let mut names = BTreeMap::new();
    for (start, found) in lib.match_indices("\npub use ") {
        let (statement, _) = lib[start + found.len()..].split_once(';').unwrap();
        let statement = statement.strip_prefix("crate::").unwrap_or(statement);
        let (part, rest) = statement.split_once("::").unwrap();
        let own = paths(rest).into_iter().filter_map(|path| path.split([':', ' ']).next_back());
        names.extend(own.map(|name| (name, part)));
    }
    assert!(!names.contains_key("*"), "a `pub use` with a star hides the names");
    (parts, names)
}

/// The faults in a file of a part: `LINE: PART` for each part above it that it names, or that is in no row.
fn faults(text: &str, depth: usize, part: &str, names: &BTreeMap<&str, &str>) -> Vec<String> {
    let code = from_the_root(text, depth);
    let named = names_at_the_root(&code).into_iter();
    let named = named.map(|(line, name)| (line, *names.get(name).unwrap_or(&name)));
    let above = named.filter(|(_, other)| row(other).is_none_or(|other| Some(other) > row(part)));
    above.map(|(line, other)| format!("{line}: {other}")).collect()
}

#[test]
fn nothing_names_what_is_above_it() {
    let source = source().join("src");
    let lib = fs::read_to_string(source.join("lib.rs")).unwrap();
    let (parts, names) = parts_and_names(&lib);
    assert!(names.contains_key("Device") && names.contains_key("Alrao"), "{names:?}");
    for part in parts.iter().copied().chain(["cli"]) {
        assert!(row(part).is_some(), "{part} has no row");
    }
    let mut all = Vec::new();
    for part in ROWS.iter().flat_map(|row| row.iter()) {
        let folder = source.join(part);
        let place = if folder.is_dir() { folder } else { source.join(format!("{part}.rs")) };
        for file in files(&place) {
            let own = file.strip_prefix(&source).unwrap();
            let text = fs::read_to_string(&file).unwrap();
            let faults = faults(&text, depth(own), part, &names);
            all.extend(faults.iter().map(|fault| format!("{}:{fault}", own.display())));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_path_to_a_part_above_is_found() {
    let lib = "pub mod alrao;\nmod ops;\n\npub use alrao::{Alrao, model::Config as Own};\npub use device::Device;\n";
    let (parts, names) = parts_and_names(lib);
    assert_eq!(parts, ["alrao", "ops"]);
    let expected = [("Alrao", "alrao"), ("Device", "device"), ("Own", "alrao")];
    assert_eq!(names, BTreeMap::from(expected));
    let faults = |text, depth| faults(text, depth, "ops", &names);
    for (text, depth) in [
        ("use crate::rl::Run;", 2),
        ("use crate::Alrao;", 2),
        ("use crate::{Device, Own};", 2),
        ("use crate::{tape::{Tape, record}, rl::Run};", 2),
        ("fn f(run: &crate::rl::Run) {}", 1),
        ("use super::rl::Run;", 1),
        ("use super::super::{Alrao, tape};", 2),
        ("mod tests {\n    use super::super::rl;\n}", 1),
        ("mod tests {\n}\nuse super::rl;", 1),
        ("use crate::nowhere::f;", 1),
    ] {
        assert_eq!(faults(text, depth).len(), 1, "{text}");
    }
    for (text, depth) in [
        ("use crate::ops::rl;", 2),
        ("use crate::Device;", 2),
        ("use crate::{Device, tape::{self, rl}};", 2),
        ("// use crate::rl::Run;", 1),
        ("use super::rl::Run;", 2),
        ("use super::super::tape;", 2),
        ("mod tests {\n    use super::rl;\n}", 1),
    ] {
        assert_eq!(faults(text, depth), [""; 0], "{text}");
    }
    assert_eq!(faults("use crate::{\n    tape,\n};\n\nuse crate::rl;", 1), ["5: rl"]);
    assert_eq!([depth(Path::new("ops/mod.rs")), depth(Path::new("ops/lstm/cell.rs"))], [1, 3]);
}
