//! Turns a kernel's statements into instructions.

use std::collections::HashMap;

use super::instruction::{Action, Guard, Instruction, Operands, Origin};
use super::names::{Names, Register, class_of};
use super::text::{Declaration, Function, Statement, declaration, parts};
use crate::machine::registers::{Class, Slot};
use crate::options::Arithmetic as Variant;

/// The result of reading PTX, with a message about what could not be read.
pub type Outcome<T> = Result<T, String>;

/// The registers that pass a function's arguments and result, and its return address. A function calls no other, so that one
/// set is enough.
#[derive(Clone)]
pub struct Frame {
    pub parameters: Vec<(String, Register)>,
    pub result: Option<(String, Register)>,
    pub back: Slot,
}

/// A kernel under assembly.
pub struct Assembler<'a> {
    pub names: Names,
    pub code: Vec<Instruction>,
    pub origins: Vec<Origin>,
    pub variant: &'a Variant,
    functions: &'a HashMap<&'a str, &'a Function>,
    /// The functions that are called, in the order of their first calls.
    pub frames: Vec<(String, Frame)>,
    labels: HashMap<String, u32>,
    jumps: Vec<(usize, String)>,
    /// The function in which we are; empty in the kernel itself.
    pub within: String,
    /// The bytes of the next load that are used.
    pub used: Option<u16>,
    /// The smallest access to shared memory.
    pub granule: usize,
}

/// A statement's parts.
pub struct Line<'a> {
    pub mnemonic: &'a str,
    /// The mnemonic between its dots.
    pub words: Vec<&'a str>,
    pub operands: Vec<&'a str>,
}

impl Line<'_> {
    pub fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    pub fn operand(&self, at: usize) -> Outcome<&str> {
        self.operands.get(at).copied().ok_or_else(|| "an operand is missing".to_owned())
    }
}

impl<'a> Assembler<'a> {
    pub fn new(functions: &'a HashMap<&'a str, &'a Function>, variant: &'a Variant) -> Self {
        Assembler {
            names: Names::default(),
            code: Vec::new(),
            origins: Vec::new(),
            variant,
            functions,
            frames: Vec::new(),
            labels: HashMap::new(),
            jumps: Vec::new(),
            within: String::new(),
            used: None,
            granule: 4,
        }
    }

    /// Assembles a kernel and every function that it calls.
    pub fn assemble(&mut self, kernel: &Function) -> Outcome<()> {
        self.body(kernel)?;
        let mut done = 0;
        while let Some((name, frame)) = self.frames.get(done).cloned() {
            let function = self.functions.get(name.as_str()).copied();
            let function = function.ok_or_else(|| format!("there is no function {name}"))?;
            self.within = name.clone();
            self.labels.insert(format!("{name}::"), self.code.len() as u32);
            self.names.open();
            for (name, register) in frame.parameters.iter().chain(&frame.result) {
                self.names.define(name, *register);
            }
            self.body(function)?;
            self.names.close();
            done += 1;
        }
        self.resolve()
    }

    fn body(&mut self, function: &Function) -> Outcome<()> {
        self.names.open();
        for statement in &function.statements {
            self.statement(statement).map_err(|message| {
                format!("{}: {message}, at `{}`", function.name, statement.text)
            })?;
        }
        self.names.close();
        Ok(())
    }

    fn statement(&mut self, statement: &Statement) -> Outcome<()> {
        let text = statement.text.as_str();
        if let Some(label) = text.strip_suffix(':') {
            let place = self.code.len() as u32;
            let known = self.labels.insert(self.label(label), place);
            return known.map_or(Ok(()), |_| Err("a second label of this name".to_owned()));
        }
        match text.split_whitespace().next().unwrap_or("") {
            "{" => self.names.open(),
            "}" => self.names.close(),
            ".reg" => self.names.declare(text)?,
            ".param" => self.argument(&declaration(text)?)?,
            ".pragma" => self.pragma(text),
            // Variables have their addresses already.
            ".shared" | ".local" | ".const" => {}
            other if other.starts_with('.') => return Err("an unknown directive".to_owned()),
            _ => self.instruction(statement)?,
        }
        Ok(())
    }

    /// A variable that passes an argument is a register.
    fn argument(&mut self, variable: &Declaration) -> Outcome<()> {
        let register = self.argument_register(variable)?;
        self.names.define(&variable.name, register);
        Ok(())
    }

    fn argument_register(&mut self, variable: &Declaration) -> Outcome<Register> {
        if variable.is_array {
            return Err("an array as an argument is not supported".to_owned());
        }
        let class = if variable.element == 8 { Class::Wide } else { Class::Narrow };
        Ok((class, self.names.fresh(class)))
    }

    fn pragma(&mut self, text: &str) {
        let mask =
            text.split_once("used_bytes_mask").map(|(_, rest)| rest.trim_matches(['"', ' ']));
        self.used = mask.and_then(|mask| mask.parse().ok());
    }

    fn instruction(&mut self, statement: &Statement) -> Outcome<()> {
        let text = statement.text.as_str();
        let (guard, rest) = self.guard(text)?;
        let (mnemonic, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let line = Line { mnemonic, words: mnemonic.split('.').collect(), operands: parts(rest) };
        let before = self.code.len();
        let (action, operands) = self.decode(&line)?;
        self.code.push(Instruction { guard, action, operands });
        let is_spread = self.code.len() - before > 1;
        if is_spread && guard.is_some() {
            return Err("a call under a predicate is not supported".to_owned());
        }
        self.finish(&line)?;
        let (file, line) = (statement.file, statement.line);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.origins.resize_with(self.code.len(), || Origin { file, line, text: text.clone() });
        Ok(())
    }

    fn guard<'t>(&mut self, text: &'t str) -> Outcome<(Option<Guard>, &'t str)> {
        let Some(rest) = text.strip_prefix('@') else { return Ok((None, text)) };
        let (name, rest) = rest.split_once(char::is_whitespace).ok_or("a predicate alone")?;
        let slot = self.names.operand(name.trim_start_matches('!'), Class::Predicate)?;
        Ok((Some(Guard { slot, is_negated: name.starts_with('!') }), rest.trim()))
    }

    /// The operands of an operation on registers alone: its results first.
    pub fn registers(&mut self, line: &Line, to: Class, from: &[Class]) -> Outcome<Operands> {
        if line.operands.len() != from.len() + 1 {
            return Err(format!("{} operands in place of {}", line.operands.len(), from.len() + 1));
        }
        let mut operands = Operands::default();
        operands.d[0] = self.names.operand(line.operands[0], to)?;
        for (at, class) in from.iter().enumerate() {
            operands.s[at] = self.names.operand(line.operands[at + 1], *class)?;
        }
        Ok(operands)
    }

    /// The registers of `{a, b}` or of one name.
    pub fn list(&mut self, text: &str, class: Class) -> Outcome<Vec<Slot>> {
        let inner = text.trim_start_matches('{').trim_end_matches('}');
        parts(inner).into_iter().map(|name| self.names.operand(name, class)).collect()
    }

    fn label(&self, name: &str) -> String {
        format!("{}::{name}", self.within)
    }

    /// Notes that the instruction that comes next jumps to a label of this function.
    pub fn jump(&mut self, label: &str) {
        self.jumps.push((self.code.len(), self.label(label)));
    }

    /// The frame of a function, and a jump to it from the instruction that comes next.
    pub fn call(&mut self, name: &str) -> Outcome<Frame> {
        if !self.within.is_empty() {
            return Err("a call within a function is not supported".to_owned());
        }
        if let Some((_, frame)) = self.frames.iter().find(|(own, _)| own == name) {
            return Ok(frame.clone());
        }
        let function = self.functions.get(name).copied();
        let header = &function.ok_or_else(|| format!("there is no function {name}"))?.header;
        let frame = self.frame(header, name)?;
        self.frames.push((name.to_owned(), frame.clone()));
        Ok(frame)
    }

    pub fn jump_to_function(&mut self, name: &str) {
        self.jumps.push((self.code.len(), format!("{name}::")));
    }

    fn frame(&mut self, header: &str, name: &str) -> Outcome<Frame> {
        let (before, behind) = header.split_once(name).unwrap_or((header, ""));
        let mut named = |text: &str| -> Outcome<Vec<(String, Register)>> {
            let inner = text.split_once('(').map_or("", |(_, inner)| inner);
            let inner = inner.rsplit_once(')').map_or("", |(inner, _)| inner);
            let declared = parts(inner).into_iter().map(|text| {
                let variable = declaration(text)?;
                let register = self.argument_register(&variable)?;
                Ok((variable.name, register))
            });
            declared.collect()
        };
        let (result, parameters) = (named(before)?.pop(), named(behind)?);
        Ok(Frame { parameters, result, back: self.names.fresh(Class::Narrow) })
    }

    /// Gives every jump its target.
    fn resolve(&mut self) -> Outcome<()> {
        for (at, label) in std::mem::take(&mut self.jumps) {
            let found = self.labels.get(&label).copied();
            let place = found.ok_or_else(|| format!("there is no label {label}"))?;
            if let Action::Branch { target } | Action::Call { target } = &mut self.code[at].action {
                *target = place;
            }
        }
        Ok(())
    }

    /// Checks that a type's registers are what an instruction takes.
    pub fn class(ty: &str) -> Outcome<Class> {
        class_of(&format!(".{ty}")).ok_or_else(|| format!("an unknown type {ty}"))
    }
}
