//! Splits the text of PTX into functions and statements.

use std::collections::HashMap;

/// A statement of a function, with the source line it was compiled from.
#[derive(Clone, Debug)]
pub struct Statement {
    /// A label with its colon, a brace, or an instruction or declaration without its semicolon.
    pub text: String,
    pub file: u32,
    pub line: u32,
}

/// A kernel or a function.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: String,
    pub is_kernel: bool,
    /// The text in front of the body.
    pub header: String,
    pub statements: Vec<Statement>,
}

/// A PTX file.
#[derive(Default)]
pub struct Source {
    pub files: HashMap<u32, String>,
    /// Declarations outside functions.
    pub variables: Vec<String>,
    pub functions: Vec<Function>,
}

/// Splits a file.
///
/// # Errors
/// If a brace is not closed.
pub fn split(text: &str) -> Result<Source, String> {
    let mut splitter = Splitter::default();
    for line in text.lines() {
        let line = without_comment(line).trim();
        if line.starts_with(".section") {
            // Debugging information, behind all code.
            break;
        }
        if !splitter.directive(line) {
            line.chars().chain([' ']).for_each(|c| splitter.feed(c));
        }
    }
    match splitter.function {
        Some(function) => Err(format!("{}: no end of the body", function.name)),
        None => Ok(splitter.source),
    }
}

fn without_comment(line: &str) -> &str {
    // Names of files have no comments behind them, and may have `//` in them.
    if line.trim_start().starts_with(".file") {
        line
    } else {
        line.split("//").next().unwrap_or("")
    }
}

#[derive(Default)]
struct Splitter {
    source: Source,
    function: Option<Function>,
    /// Braces open within the function.
    depth: usize,
    /// Braces and brackets open within the statement.
    nested: usize,
    pending: String,
    file: u32,
    line: u32,
}

impl Splitter {
    /// Handles directives that end with the line.
    fn directive(&mut self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        match words.next() {
            Some(".loc") => {
                let numbers: Vec<u32> =
                    words.map_while(|word| word.trim_end_matches(',').parse().ok()).collect();
                if let [file, line, ..] = *numbers {
                    (self.file, self.line) = (file, line);
                }
            }
            Some(".file") => {
                let number = words.next().and_then(|word| word.parse().ok());
                let name = line.split('"').nth(1);
                if let (Some(number), Some(name)) = (number, name) {
                    self.source.files.insert(number, name.to_owned());
                }
            }
            Some(".version" | ".target" | ".address_size") | None => {}
            Some(_) => return false,
        }
        true
    }

    fn feed(&mut self, c: char) {
        let is_start = self.pending.trim().is_empty();
        match c {
            '{' if self.function.is_none() && !self.pending.contains('=') => self.open_function(),
            '{' | '}' if self.function.is_some() && is_start => self.brace(c),
            ';' if self.nested == 0 => self.end_statement(),
            ':' if self.function.is_some() && is_label(self.pending.trim()) => {
                self.pending.push(c);
                self.end_statement();
            }
            _ => {
                match c {
                    '{' | '(' | '[' => self.nested += 1,
                    '}' | ')' | ']' => self.nested = self.nested.saturating_sub(1),
                    _ => {}
                }
                self.pending.push(c);
            }
        }
    }

    fn open_function(&mut self) {
        let header = std::mem::take(&mut self.pending);
        let is_kernel = header.contains(".entry");
        let keyword = if is_kernel { ".entry" } else { ".func" };
        let rest = header.split(keyword).nth(1).unwrap_or("").trim_start();
        // A function's result stands in front of its name.
        let named = match rest.strip_prefix('(') {
            Some(after) => after.split_once(')').map_or("", |(_, behind)| behind),
            None => rest,
        };
        let name = named.split('(').next().unwrap_or("").trim().to_owned();
        self.function = Some(Function { name, is_kernel, header, statements: Vec::new() });
        (self.depth, self.nested) = (1, 0);
    }

    fn brace(&mut self, c: char) {
        self.pending.clear();
        if c == '{' {
            self.depth += 1;
        } else {
            self.depth -= 1;
        }
        if self.depth == 0 {
            self.source.functions.extend(self.function.take());
        } else {
            self.push(c.to_string());
        }
    }

    fn end_statement(&mut self) {
        let text = std::mem::take(&mut self.pending).trim().to_owned();
        self.nested = 0;
        if text.is_empty() {
        } else if self.function.is_some() {
            self.push(text);
        } else if !text.contains(".func") {
            self.source.variables.push(text);
        }
    }

    fn push(&mut self, text: String) {
        let (file, line) = (self.file, self.line);
        if let Some(function) = &mut self.function {
            function.statements.push(Statement { text, file, line });
        }
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_$%".contains(c))
}

/// Splits at the commas outside brackets.
pub fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        found.push(last);
    }
    found
}

/// A declared variable or parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    pub name: String,
    pub align: usize,
    /// Bytes of an element.
    pub element: usize,
    /// The number of elements; 0 of an array without a size.
    pub count: usize,
    pub is_array: bool,
    /// The values behind `=`.
    pub values: Vec<String>,
}

impl Declaration {
    pub fn bytes(&self) -> usize {
        self.element * self.count
    }
}

/// Reads `.shared .align 16 .b8 name[100]`, with or without values.
///
/// # Errors
/// If it has another form.
pub fn declaration(text: &str) -> Result<Declaration, String> {
    let (head, values) = text.split_once('=').unwrap_or((text, ""));
    let unknown = || format!("a declaration of an unknown form: {text}");
    let words: Vec<&str> = head.split_whitespace().collect();
    let element = words.iter().find_map(|word| bytes_of(word)).ok_or_else(unknown)?;
    let align = words.iter().position(|word| *word == ".align").and_then(|at| words.get(at + 1));
    let align = align.and_then(|word| word.parse().ok()).unwrap_or(element);
    let last = *words.last().ok_or_else(unknown)?;
    let (name, extents) = last.split_once('[').unwrap_or((last, ""));
    let mut count = 1;
    for extent in extents.split(['[', ']']).filter(|extent| !extent.is_empty()) {
        count *= extent.parse::<usize>().map_err(|_| unknown())?;
    }
    let is_array = last.contains('[');
    let is_open = is_array && extents.trim_matches(']').is_empty();
    Ok(Declaration {
        name: name.to_owned(),
        align,
        element,
        count: if is_open { 0 } else { count },
        is_array,
        values: parts(values.trim().trim_start_matches('{').trim_end_matches('}'))
            .into_iter()
            .map(str::to_owned)
            .collect(),
    })
}

/// The bytes of a type such as `.f32`.
pub fn bytes_of(word: &str) -> Option<usize> {
    match word.strip_prefix('.')? {
        "b8" | "u8" | "s8" => Some(1),
        "b16" | "u16" | "s16" | "f16" | "bf16" => Some(2),
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => Some(4),
        "b64" | "u64" | "s64" | "f64" => Some(8),
        _ => None,
    }
}
