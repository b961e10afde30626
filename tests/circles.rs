//! No file of the crate depends on itself through others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::place::source;

/// The two files that may know each other.
const ALLOWED: [&str; 2] = ["tape", "tensor"];

/// A path, such as `device::gpu`; the crate's root is empty.
type Name = Vec<String>;

/// A module in a file of its own.
struct Module {
    /// The paths that its code uses.
    used: Vec<Name>,
    /// What its `pub use` statements name, by the name that they give it.
    exported: BTreeMap<String, Name>,
}

type Modules = BTreeMap<Name, Module>;

fn name(path: &str) -> Name {
    path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Reads the modules in a folder, whose own module is `parent`.
fn read(folder: &Path, parent: &[String], modules: &mut Modules) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        // Tests may use everything; the program's file is not part of the library.
        if stem.ends_with("tests") || (parent.is_empty() && stem == "main") {
            continue;
        }
        let own = match stem.as_str() {
            "mod" | "lib" => parent.to_vec(),
            _ => [parent, &[stem]].concat(),
        };
        if path.is_dir() {
            read(&path, &own, modules);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let module = module(&own, &fs::read_to_string(&path).unwrap());
            modules.insert(own, module);
        }
    }
}

fn module(own: &[String], text: &str) -> Module {
    let code = without_comments_and_tests(text);
    let mut module = Module { used: Vec::new(), exported: BTreeMap::new() };
    for (start, _) in code.match_indices("use ") {
        let before = code[..start].rsplit('\n').next().unwrap().trim();
        let is_exported = before == "pub" || (before.starts_with("pub(") && before.ends_with(')'));
        if !is_exported && !before.is_empty() {
            continue;
        }
        let statement = code[start + 4..].split(';').next().unwrap();
        for path in leaves(statement) {
            let (path, given) = path.split_once(" as ").unwrap_or((&path, ""));
            let path = absolute(own, path);
            let last = path.last().cloned().unwrap_or_default();
            let given = if given.is_empty() { last } else { given.trim().to_owned() };
            if is_exported {
                module.exported.insert(given, path.clone());
            }
            module.used.push(path);
        }
    }
    for root in ["crate::", "super::", "self::"] {
        for (start, _) in code.match_indices(root) {
            let inside = code[..start].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
            let end = code[start..].find(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
            let path = &code[start..end.map_or(code.len(), |end| start + end)];
            if !inside && !path.ends_with("::") {
                module.used.push(absolute(own, path));
            }
        }
    }
    module
}

/// The code without its comments and its `mod tests { .. }`.
fn without_comments_and_tests(text: &str) -> String {
    let mut code = String::new();
    let mut in_tests = false;
    for line in text.lines() {
        in_tests |= line == "mod tests {";
        if !in_tests && !line.trim_start().starts_with("//") {
            code += line;
            code.push('\n');
        }
        in_tests &= line != "}";
    }
    code
}

/// The paths in a `use` statement.
fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, list)) = tree.split_once('{') else {
        return vec![tree.strip_suffix("::self").unwrap_or(tree).to_owned()];
    };
    let list = list.trim_end().strip_suffix('}').unwrap_or(list);
    let (mut level, mut start, mut found) = (0, 0, Vec::new());
    for (index, c) in list.char_indices().chain([(list.len(), ',')]) {
        match c {
            '{' => level += 1,
            '}' => level -= 1,
            ',' if level == 0 => {
                let own = list[start..index].trim();
                if !own.is_empty() {
                    found.extend(leaves(&format!("{}{own}", prefix.trim())));
                }
                start = index + 1;
            }
            _ => {}
        }
    }
    found
}

/// A path from the crate's root; another crate's stays as it is.
fn absolute(own: &[String], path: &str) -> Name {
    let mut parts = name(path);
    let mut base = own.to_vec();
    match parts.first().map(String::as_str) {
        Some("crate") => return parts.split_off(1),
        Some("super" | "self") => {}
        // A child, or another crate.
        _ => return [base, parts].concat(),
    }
    while let Some(first) = parts.first() {
        match first.as_str() {
            "self" => {}
            "super" => drop(base.pop()),
            _ => break,
        }
        parts.remove(0);
    }
    [base, parts].concat()
}

/// The module that defines what a path names: `pub use` statements are followed.
fn home(modules: &Modules, path: &[String]) -> Option<Name> {
    let mut path = path.to_vec();
    for _ in 0..8 {
        let length =
            (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let exported = rest.first().and_then(|name| modules[module].exported.get(name));
        match exported {
            Some(target) => path = [target.clone(), rest[1..].to_vec()].concat(),
            None => return Some(module.to_vec()),
        }
    }
    None
}

/// The modules that each module uses. A module's parts may use what the module's own file defines.
fn arrows(modules: &Modules) -> BTreeMap<Name, BTreeSet<Name>> {
    let of = |(own, module): (&Name, &Module)| {
        let used = module.used.iter().filter_map(|path| home(modules, path));
        (own.clone(), used.filter(|target| !own.starts_with(target)).collect())
    };
    modules.iter().map(of).collect()
}

/// The modules that can be reached from one of them by arrows.
fn reached(arrows: &BTreeMap<Name, BTreeSet<Name>>, from: &Name) -> BTreeSet<Name> {
    let (mut reached, mut left) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(own) = left.pop() {
        for next in &arrows[&own] {
            if reached.insert(next.clone()) {
                left.push(next.clone());
            }
        }
    }
    reached
}

/// The groups of modules that depend on each other.
fn circles(modules: &Modules) -> Vec<BTreeSet<String>> {
    let arrows = arrows(modules);
    let all: BTreeMap<&Name, BTreeSet<Name>> =
        arrows.keys().map(|own| (own, reached(&arrows, own))).collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for (own, others) in all.iter().filter(|(own, others)| others.contains(**own)) {
        let back = others.iter().filter(|other| all[other].contains(*own));
        let circle: BTreeSet<String> = back.map(|other| other.join("::")).collect();
        if !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

#[test]
fn no_file_depends_on_itself() {
    let mut modules = Modules::new();
    read(&source().join("src"), &[], &mut modules);
    let circles = circles(&modules);
    let allowed = BTreeSet::from(ALLOWED.map(str::to_owned));
    let wrong: Vec<_> = circles.iter().filter(|circle| **circle != allowed).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(circles.len(), 1, "tape and tensor know each other: is this still seen?");
}

#[test]
fn a_circle_is_seen_through_lists_and_exports() {
    let found = |files: &[(&str, &str)]| {
        let read = |(own, text): &(&str, &str)| (name(own), module(&name(own), text));
        circles(&files.iter().map(read).collect())
    };
    let circle = |names: &[&str]| vec![names.iter().map(|name| name.to_string()).collect()];
    let none: Vec<BTreeSet<String>> = Vec::new();
    let a_and_b = [("a", "use crate::b::B;"), ("b", "pub struct B;\nfn f(a: super::a::A) {}")];
    assert_eq!(found(&a_and_b), circle(&["a", "b"]));
    let exported = [
        ("a", "pub mod x;\npub(crate) use self::x::X;"),
        ("a::x", "use crate::{\n    b::B,\n    c,\n};"),
        ("b", "use crate::a::{X as Y};"),
    ];
    assert_eq!(found(&exported), circle(&["a::x", "b"]));
    let allowed = [
        ("a", "mod x;\nuse self::x::X;\npub struct A;"),
        ("a::x", "use super::A;\n// use crate::b::B;"),
        ("b", "use crate::a::A;\nmod tests {\n    use crate::b::c;\n}"),
    ];
    assert_eq!(found(&allowed), none);
    let by_child =
        [("a", "mod x;\nuse x::X;"), ("a::x", "use crate::b::B;"), ("b", "use crate::a::A;")];
    assert_eq!(found(&by_child), circle(&["a", "a::x", "b"]));
}
