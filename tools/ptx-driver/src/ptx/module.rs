//! A module's kernels, with their parameters and variables in place.

use std::collections::HashMap;
use std::sync::Arc;

use super::assembler::{Assembler, Outcome};
use super::contraction::contract;
use super::instruction::{Kernel, Parameter};
use super::names::number;
use super::text::{Declaration, Function, Source, declaration, parts, split};
use crate::options::Arithmetic as Variant;

/// Dynamic shared memory begins at such a multiple, which no kernel needs more than.
const DYNAMIC_ALIGN: usize = 128;

/// A PTX file. Its kernels are assembled when they are asked for.
pub struct Program {
    source: Source,
    files: Arc<HashMap<u32, String>>,
}

impl Program {
    /// Reads a PTX file.
    ///
    /// # Errors
    /// If it is no PTX.
    pub fn read(text: &str) -> Outcome<Program> {
        let mut source = split(text)?;
        let files = Arc::new(std::mem::take(&mut source.files));
        Ok(Program { source, files })
    }

    /// The names of the kernels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let kernels = self.source.functions.iter().filter(|function| function.is_kernel);
        kernels.map(|function| function.name.as_str())
    }

    /// Assembles a kernel; `None` if there is none of this name.
    ///
    /// # Errors
    /// What cannot be read, and where.
    pub fn kernel(&self, name: &str, variant: &Variant) -> Outcome<Option<Kernel>> {
        let all = &self.source.functions;
        let found = all.iter().find(|function| function.is_kernel && function.name == name);
        found.map(|function| kernel(function, &self.source, &self.files, variant)).transpose()
    }
}

fn kernel(
    function: &Function,
    source: &Source,
    files: &Arc<HashMap<u32, String>>,
    variant: &Variant,
) -> Outcome<Kernel> {
    let functions: HashMap<&str, &Function> = source
        .functions
        .iter()
        .filter(|function| !function.is_kernel)
        .map(|function| (function.name.as_str(), function))
        .collect();
    let mut assembler = Assembler::new(&functions, variant);
    let parameters = place_parameters(function, &mut assembler)?;
    let shared = place_shared(function, source, &mut assembler)?;
    let local = place_local(function, &functions, &mut assembler)?;
    let constant_memory = place_constants(source, &mut assembler)?;
    match variant.contracted {
        true => assembler.assemble(&contract(function))?,
        false => assembler.assemble(function)?,
    }
    let (registers, constants, specials) = assembler.names.finish();
    if registers.iter().any(|count| *count >= usize::from(u16::MAX)) {
        return Err(format!("{}: too many registers", function.name));
    }
    let end = parameters.last().map_or(0, |last| last.offset + last.bytes);
    Ok(Kernel {
        name: function.name.clone(),
        files: Arc::clone(files),
        parameters,
        parameter_bytes: end,
        code: assembler.code,
        origins: assembler.origins,
        registers,
        constants,
        specials,
        static_shared: shared,
        dynamic_start: shared.next_multiple_of(DYNAMIC_ALIGN),
        local,
        constant_memory,
        max_threads: max_threads(&function.header),
        granule: assembler.granule,
    })
}

fn place_parameters(function: &Function, assembler: &mut Assembler) -> Outcome<Vec<Parameter>> {
    let inner = function.header.split_once('(').map_or("", |(_, inner)| inner);
    let inner = inner.rsplit_once(')').map_or("", |(inner, _)| inner);
    let (mut end, mut placed) = (0usize, Vec::new());
    for text in parts(inner) {
        let variable = declaration(text)?;
        let offset = end.next_multiple_of(variable.align);
        assembler.names.addresses.insert(variable.name.clone(), offset as u64);
        placed.push(Parameter { offset, bytes: variable.bytes() });
        end = offset + variable.bytes();
    }
    Ok(placed)
}

/// The function's own variables of a memory space, and those of the file that it names.
fn variables(space: &str, function: &Function, source: &Source) -> Outcome<Vec<Declaration>> {
    let is_named = |name: &str| function.statements.iter().any(|own| own.text.contains(name));
    let own = function.statements.iter().map(|statement| statement.text.as_str());
    let own = own.filter(|text| text.starts_with(space)).map(declaration);
    let of_file = source.variables.iter().filter(|text| text.contains(&format!("{space} ")));
    let of_file = of_file.map(|text| declaration(text));
    own.chain(of_file.filter(|found| found.as_ref().map_or(true, |one| is_named(&one.name))))
        .collect()
}

/// Gives shared variables their addresses, and returns the bytes that they take. Dynamic shared memory lies behind them.
fn place_shared(function: &Function, source: &Source, assembler: &mut Assembler) -> Outcome<usize> {
    let (mut end, mut dynamic) = (0usize, Vec::new());
    for variable in variables(".shared", function, source)? {
        if variable.count == 0 {
            if variable.align > DYNAMIC_ALIGN {
                return Err(format!("dynamic shared memory aligned to {}", variable.align));
            }
            dynamic.push(variable.name);
            continue;
        }
        let start = end.next_multiple_of(variable.align);
        assembler.names.addresses.insert(variable.name.clone(), start as u64);
        end = start + variable.bytes();
    }
    let start = end.next_multiple_of(DYNAMIC_ALIGN) as u64;
    assembler.names.addresses.extend(dynamic.into_iter().map(|name| (name, start)));
    Ok(end)
}

/// Gives local variables, also those of functions that may be called, their addresses.
fn place_local(
    function: &Function,
    functions: &HashMap<&str, &Function>,
    assembler: &mut Assembler,
) -> Outcome<usize> {
    let mut end = 0usize;
    for own in [function].into_iter().chain(functions.values().copied()) {
        for statement in own.statements.iter().filter(|own| own.text.starts_with(".local")) {
            let variable = declaration(&statement.text)?;
            let start = end.next_multiple_of(variable.align);
            assembler.names.addresses.insert(variable.name.clone(), start as u64);
            end = start + variable.bytes();
        }
    }
    Ok(end)
}

/// Gives constants their addresses, and returns the memory that holds them.
fn place_constants(source: &Source, assembler: &mut Assembler) -> Outcome<Vec<u8>> {
    let mut memory = Vec::new();
    for text in source.variables.iter().filter(|text| text.contains(".const ")) {
        let variable = declaration(text)?;
        memory.resize(memory.len().next_multiple_of(variable.align), 0);
        let start = memory.len();
        assembler.names.addresses.insert(variable.name.clone(), start as u64);
        for value in &variable.values {
            let bits = number(value).ok_or_else(|| format!("an unknown value: {text}"))?;
            memory.extend_from_slice(&bits.to_le_bytes()[..variable.element]);
        }
        memory.resize(start + variable.bytes(), 0);
    }
    Ok(memory)
}

/// The most threads of a block: what the kernel declares, or else a GPU's limit.
fn max_threads(header: &str) -> usize {
    let Some((_, rest)) = header.split_once(".maxntid") else { return 1024 };
    let numbers =
        rest.split(',').map_while(|part| part.split_whitespace().next()?.parse::<usize>().ok());
    numbers.take(3).product()
}
