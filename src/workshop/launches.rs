//! The launches of a kernel file: each kernel with the arguments that its parameters name.

use super::arguments::argument;
use super::reference::{Problem, Value};
use super::source::{KernelFile, LaunchShape};
use crate::device::gpu::{Argument, Gpu};
use crate::device::simulator::Library;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A launch, with the parameter that numbers its repetitions.
pub(super) struct Start<'a> {
    shape: &'a LaunchShape,
    repetition: Option<(&'a str, Value)>,
}

/// The launches of a problem, in order. A `repeat` whose count is not among the arguments gives no launch; [`check`] refuses it.
pub(super) fn launches<'a>(file: &'a KernelFile, problem: &Problem) -> Vec<Start<'a>> {
    let of_shape = |shape: &'a LaunchShape| -> Vec<Start<'a>> {
        let Some((name, count)) = &shape.repeat else {
            return vec![Start { shape, repetition: None }];
        };
        let count = whole_number(problem, count).unwrap_or(0);
        let repetition = |number| Some((name.as_str(), Value::Int(number)));
        (0..count).map(|number| Start { shape, repetition: repetition(number) }).collect()
    };
    file.launches.iter().flat_map(of_shape).collect()
}

fn whole_number(problem: &Problem, name: &str) -> Option<i64> {
    problem.arguments.iter().find_map(|(own, value)| match value {
        Value::Int(number) if *own == name => Some(*number),
        _ => None,
    })
}

/// Launches a kernel with the arguments that its parameters name. Returns the number of blocks.
pub(super) fn start(
    gpu: &Gpu,
    library: &Library,
    launch: &Start,
    problem: &Problem,
    tensors: &[Option<Tensor>],
) -> std::result::Result<u64, String> {
    let Start { shape, repetition } = launch;
    let kernel = kernel_name(library, shape)?;
    let arguments = arguments(library, kernel, repetition.as_ref(), problem, tensors)?;
    let grid = shape.blocks(problem.output);
    let borrowed: Vec<&dyn Argument> = arguments.iter().map(|own| &**own).collect();
    gpu.launch_with_shared(kernel, grid, shape.block, shape.shared, &borrowed);
    Ok(grid.iter().map(|extent| u64::from(*extent)).product())
}

/// Checks that each launch has its kernel, and that the kernels' parameters are names and types of arguments.
///
/// # Errors
/// [`Error::Input`] with the line of the kernel or of the header.
pub(super) fn check(file: &KernelFile, library: &Library) -> Result<()> {
    let smallest = &file.shapes[0];
    let problem = (file.reference.problem)(smallest);
    let nothing = vec![None; problem.arguments.len()];
    for shape in &file.launches {
        let failed = |line: usize, message: String| {
            Error::file(&file.path, format!("line {line}: {message}"))
        };
        let kernel = kernel_name(library, shape).map_err(|message| failed(shape.line, message))?;
        let repetition = match &shape.repeat {
            None => None,
            Some((_, count)) if whole_number(&problem, count).is_none() => {
                let message = format!(
                    "repeat: {count} is not the name of a whole number among the arguments"
                );
                return Err(failed(shape.line, message));
            }
            Some((name, _)) => Some((name.as_str(), Value::Int(0))),
        };
        let place = library.place(kernel).unwrap_or_default();
        let line = place.rsplit_once(':').and_then(|(_, line)| line.parse().ok());
        arguments(library, kernel, repetition.as_ref(), &problem, &nothing)
            .map_err(|message| failed(line.unwrap_or(shape.line), message))?;
    }
    Ok(())
}

/// The arguments of a kernel; arrays without a tensor are null.
fn arguments(
    library: &Library,
    kernel: &str,
    repetition: Option<&(&str, Value)>,
    problem: &Problem,
    tensors: &[Option<Tensor>],
) -> std::result::Result<Vec<Box<dyn Argument>>, String> {
    let parameters = library.parameters(kernel).ok_or_else(|| {
        format!("there is no kernel {kernel}; the file has {}", library.kernel_names().join(", "))
    })?;
    let mut arguments = Vec::new();
    for parameter in &parameters {
        let given = problem.arguments.iter().zip(tensors);
        let mut given = given.map(|((name, value), tensor)| (*name, value, tensor.as_ref()));
        let own = repetition.map(|(name, number)| (*name, number, None));
        let found = own
            .filter(|(name, ..)| *name == parameter.name)
            .or_else(|| given.find(|(name, ..)| *name == parameter.name));
        let Some((name, value, tensor)) = found else {
            let names = problem.arguments.iter().map(|(name, _)| *name);
            let known: Vec<&str> = names.chain(own.map(|(name, ..)| name)).collect();
            return Err(format!(
                "{kernel} has a parameter {}; the arguments are {}",
                parameter.name,
                known.join(", ")
            ));
        };
        let argument = argument(value, tensor, parameter.kind, parameter.declaration);
        arguments.push(argument.map_err(|what| {
            format!("{kernel} declares {}, but {name} is {what}", parameter.declaration)
        })?);
    }
    Ok(arguments)
}

fn kernel_name<'a>(
    library: &Library,
    launch: &'a LaunchShape,
) -> std::result::Result<&'a str, String>
where
    'static: 'a,
{
    match (&launch.kernel, &library.kernel_names()[..]) {
        (Some(name), names) if names.contains(&name.as_str()) => Ok(name),
        (Some(name), names) => {
            Err(format!("there is no kernel {name}; the file has {}", names.join(", ")))
        }
        (None, [name]) => Ok(name),
        (None, []) => {
            Err("the file has no kernel: write one as `__global__ void name(parameters)`".into())
        }
        (None, names) => Err(format!(
            "the file has the kernels {}: say in its header which ones are launched, by [[launch]] and `kernel`",
            names.join(", ")
        )),
    }
}
