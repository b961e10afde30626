//! Which part of the crate may name which.

use std::fs;
use std::path::Path;

use crate::place::source;

/// The parts from below to above.
const ROWS: &[&[&str]] = &[
    &["device"],
    &["tensor", "tape"],
    &["ops"],
    &["nn", "optim"],
    &["alrao", "models", "data"],
    &["learn"],
    &["supervised", "rl"],
    &["bench", "plots"],
    &["experiments"],
    &["cli"],
];

/// Calls `each` with every line of code of a part: its file or its folder.
fn for_each_line(path: &Path, each: &mut dyn FnMut(&Path, usize, &str)) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            for_each_line(&entry.unwrap().path(), each);
        }
    } else if path.extension().is_some_and(|ending| ending == "rs") {
        let text = fs::read_to_string(path).unwrap();
        let code =
            text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        code.for_each(|(number, line)| each(path, number + 1, line));
    }
}

/// Whether a line of code names a part of the crate.
fn names(line: &str, part: &str) -> bool {
    let whole = |text: &str| {
        line.match_indices(text).any(|(start, _)| {
            let next = line[start + text.len()..].chars().next();
            next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
        })
    };
    let in_braces = || [format!("{{{part}"), format!(" {part}")].iter().any(|text| whole(text));
    whole(&format!("crate::{part}")) || (line.contains("crate::{") && in_braces())
}

#[test]
fn nothing_names_what_is_above_it() {
    let source = source().join("src");
    let mut faults = Vec::new();
    for (row, parts) in ROWS.iter().enumerate() {
        let above: Vec<&str> = ROWS[row + 1..].iter().flat_map(|row| row.iter().copied()).collect();
        for part in *parts {
            let folder = source.join(part);
            let place = if folder.is_dir() { folder } else { source.join(format!("{part}.rs")) };
            let mut lines = 0;
            for_each_line(&place, &mut |path, number, line| {
                lines += 1;
                let own = above.iter().filter(|other| names(line, other));
                faults.extend(own.map(|other| format!("{}:{number}: {other}", path.display())));
            });
            assert!(lines > 0, "{part} is gone");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
