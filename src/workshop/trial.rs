//! Runs the kernels of a compiled file in the simulator: in every order of threads, with every access checked, and beside the
//! reference.

use std::path::Path;
use std::time::Duration;

use super::launches::{check, launches, start};
use super::reference::{Array, Problem, Value};
use super::report::{Counts, Failure, Fault, Report, Sample};
use super::sample::counts;
use super::source::KernelFile;
use super::tolerance::Tolerance;
use crate::device::simulator::{Guard, Library, Order, SimulatorOptions};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::{DType, Device};

/// The time limit of one block.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// A way to run the threads.
struct Way {
    name: &'static str,
    options: SimulatorOptions,
    /// Whether the results are compared with the reference's.
    compares: bool,
}

/// The ways that a kernel is run; the first one counts the accesses. Blocks run on one thread, so that their order is the same each time.
fn ways(library: &'static Library) -> [Way; 4] {
    let usual = SimulatorOptions {
        library: Some(library),
        time_limit: TIME_LIMIT,
        races: false,
        ..SimulatorOptions::default()
    };
    let checked = SimulatorOptions { races: true, traffic: true, sample: true, ..usual };
    // Where a barrier is missing, memory is read before another thread writes it: that is a race in the first place.
    let unwritten = SimulatorOptions { races: true, unwritten: true, ..usual };
    let reverse = SimulatorOptions {
        order: Order::Reverse,
        guard: Guard::InFront,
        late_copies: false,
        ..usual
    };
    let shuffled = SimulatorOptions { order: Order::Shuffled(1), ..usual };
    // A wrong result is told last, since a faulty access says more.
    let way = |name, options, compares| Way { name, options, compares };
    [
        way("every access checked for races", checked, false),
        way("every read checked for a write before it", unwritten, true),
        way("threads in reverse order", reverse, true),
        way("threads in a random order", shuffled, true),
    ]
}

/// Runs all shapes of a file whose library has been compiled, up to the first failure.
///
/// # Errors
/// If the library cannot be loaded, the simulator cannot be started, or the launches do not fit the kernels.
pub fn run(file: &KernelFile, library: &Path) -> Result<Report> {
    let library = Library::load(library).map_err(|error| unresolved(file, error))?;
    check(file, library)?;
    let mut report = Report::default();
    for shape in &file.shapes {
        let words = file.reference.describe(shape);
        let (outcome, sample) = run_shape(file, library, shape)?;
        report.sample = sample.map(|sample| Sample { shape: words.clone(), ..sample });
        match outcome {
            Ok(counts) => {
                report.passed.push(words.clone());
                report.counts = Some(Counts { shape: words, ..counts });
            }
            Err((way, fault, message)) => {
                let way = way.to_owned();
                report.failure = Some(Failure { fault, shape: words, way, message });
                report.counts = None;
                break;
            }
        }
    }
    Ok(report)
}

/// The error of a library that could not be loaded, in the words of its file.
fn unresolved(file: &KernelFile, error: Error) -> Error {
    let text = error.to_string();
    let Some((_, symbol)) = text.split_once("undefined symbol: ") else { return error };
    let name = match symbol.trim() {
        "_Znwm" | "_Znam" => "new",
        "_ZdlPv" | "_ZdlPvm" | "_ZdaPv" => "delete",
        other => other,
    };
    let message =
        format!("calls a function of the host's C++ library, which no kernel can here: {name}");
    Error::file(&file.path, message)
}

/// The bits of each result's elements.
type Results = Vec<Vec<u64>>;

/// The way, kind and message of a failure.
type Failed = (&'static str, Fault, String);

fn run_shape(
    file: &KernelFile,
    library: &'static Library,
    shape: &[usize],
) -> Result<(std::result::Result<Counts, Failed>, Option<Sample>)> {
    let problem = (file.reference.problem)(shape);
    let mut first: Option<(Results, Counts)> = None;
    let mut sample = None;
    for way in ways(library) {
        let failed = |(fault, message)| (way.name, fault, message);
        let device = Device::simulator(Some(1), way.options)?;
        let done = run_way(file, library, &problem, &device, way.compares);
        if way.options.sample {
            sample = Some(Sample::of(&file.name(), &problem, &device));
        }
        let (results, counts) = match done {
            Ok(done) => done,
            Err(failure) => return Ok((Err(failed(failure)), sample)),
        };
        match &first {
            None => first = Some((results, counts)),
            Some((expected, _)) if *expected != results => {
                let Differs { message, argument, element } =
                    Differs::of(&problem, expected, &results);
                let writer = writer(file, library, &problem, argument, element);
                let failure = failed((Fault::OrderDependent, message + &writer));
                return Ok((Err(failure), sample));
            }
            Some(_) => {}
        }
    }
    Ok((Ok(first.map(|(_, counts)| counts).unwrap_or_default()), sample))
}

/// Runs the launches once. Returns the bits of all results, and the counts.
fn run_way(
    file: &KernelFile,
    library: &'static Library,
    problem: &Problem,
    device: &Device,
    compares: bool,
) -> std::result::Result<(Results, Counts), (Fault, String)> {
    let Device::Gpu(gpu) = device else { unreachable!("the simulator runs kernels") };
    let tensors = tensors(device, problem);
    let mut blocks = 0;
    let launches = launches(file, problem);
    for launch in &launches {
        blocks +=
            start(gpu, library, launch, problem, &tensors).map_err(|what| (Fault::Launch, what))?;
    }
    device.check().map_err(|error| {
        let message = cleaned(&error.to_string(), library);
        (Fault::of(&message), message)
    })?;
    let mut results = Vec::new();
    let arguments = problem.arguments.iter().zip(&tensors).enumerate();
    for (argument, ((name, value), tensor)) in arguments {
        let (Value::Array(array), Some(tensor)) = (value, tensor) else { continue };
        let own = bits(tensor);
        if compares {
            compare(name, array, &own, &Tolerance::of(array, problem.terms, file.factors))
                .map_err(|wrong| wrong.told(file, library, problem, argument))?;
        }
        if array.expected.is_some() {
            results.push(own);
        }
    }
    let counts = Counts {
        launches: launches.len() as u64,
        blocks,
        barriers: gpu.passed_barriers(),
        operations: problem.operations,
        factors: file.factors,
        array_bytes: array_bytes(problem),
        ..counts(&file.name(), gpu)
    };
    Ok((results, counts))
}

/// The least bytes that a launch reads and writes: those of each array, and of one that it changes twice.
fn array_bytes(problem: &Problem) -> u64 {
    let of_array = |array: &Array| {
        let is_changed = array.initial.is_some() && array.expected.is_some();
        (array.len() * array.dtype.size() * if is_changed { 2 } else { 1 }) as u64
    };
    let arrays = problem.arguments.iter().filter_map(|(_, value)| match value {
        Value::Array(array) => Some(of_array(array)),
        Value::Int(_) | Value::Float(_) => None,
    });
    arrays.sum()
}

/// A message of the simulator without the names of the device and of the lines where kernels begin, which are part of every place.
fn cleaned(message: &str, library: &Library) -> String {
    let message = message.strip_prefix("simulator failed: ").unwrap_or(message).to_owned();
    // The simulator's word for an allocation means a thread block to the reader.
    let message = message.replace(" of a block of ", " of an array of ");
    let places = library.kernel_names().into_iter().filter_map(|kernel| library.place(kernel));
    places.fold(message, |message, place| message.replace(&format!(", inlined in {place}"), ""))
}

fn tensors(device: &Device, problem: &Problem) -> Vec<Option<Tensor>> {
    problem.arguments.iter().map(|(_, value)| tensor(device, value)).collect()
}

pub(super) fn tensor(device: &Device, value: &Value) -> Option<Tensor> {
    let Value::Array(array) = value else { return None };
    Some(match &array.initial {
        Some(values) => Tensor::from_f64s(device, &array.shape[..], array.dtype, values),
        None => Tensor::empty(device, &array.shape[..], array.dtype),
    })
}

/// The bits of all elements.
pub(super) fn bits(tensor: &Tensor) -> Vec<u64> {
    match tensor.dtype() {
        DType::F32 => {
            tensor.to_vec::<f32>().into_iter().map(|own| u64::from(own.to_bits())).collect()
        }
        DType::F64 => tensor.to_vec::<f64>().into_iter().map(f64::to_bits).collect(),
        DType::BF16 => {
            tensor.to_vec::<half::bf16>().into_iter().map(|own| u64::from(own.to_bits())).collect()
        }
        DType::I32 => {
            tensor.to_vec::<i32>().into_iter().map(|own| u64::from(own.cast_unsigned())).collect()
        }
        DType::I64 => tensor.to_vec::<i64>().into_iter().map(i64::cast_unsigned).collect(),
        DType::U8 => tensor.to_vec::<u8>().into_iter().map(u64::from).collect(),
    }
}

/// Fresh memory, which no result equals.
fn is_fresh(dtype: DType, bits: u64) -> bool {
    bits == u64::MAX >> (64 - 8 * dtype.size())
}

fn number_of(dtype: DType, bits: u64) -> f64 {
    match dtype {
        DType::F64 => f64::from_bits(bits),
        DType::I32 => f64::from((bits as u32).cast_signed()),
        DType::BF16 => half::bf16::from_bits(bits as u16).to_f64(),
        DType::I64 => bits.cast_signed() as f64,
        DType::U8 => bits as f64,
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
    }
}

/// Elements that are not what they should be.
pub(super) struct Wrong {
    fault: Fault,
    /// How many are wrong, and the first of them.
    pub message: String,
    /// The first one, and whether it was never written.
    first: usize,
    is_fresh: bool,
}

impl Wrong {
    /// The failure, with the line that wrote the first wrong element.
    fn told(
        self,
        file: &KernelFile,
        library: &'static Library,
        problem: &Problem,
        argument: usize,
    ) -> (Fault, String) {
        let by = match self.is_fresh {
            true => {
                let kernels = library.kernel_names().into_iter();
                let places: Vec<String> =
                    kernels.filter_map(|kernel| library.place(kernel)).collect();
                format!(" by the kernel at {}", places.join(", "))
            }
            false => writer(file, library, problem, argument, self.first),
        };
        (self.fault, self.message + &by)
    }
}

/// The line that writes an element last, from a run that is checked; empty if there is none.
fn writer(
    file: &KernelFile,
    library: &'static Library,
    problem: &Problem,
    argument: usize,
    element: usize,
) -> String {
    let [checked, ..] = ways(library);
    // It has been opened before.
    let Ok(device) = Device::simulator(Some(1), checked.options) else { return String::new() };
    let Device::Gpu(gpu) = &device else { unreachable!("the simulator runs kernels") };
    let tensors = tensors(&device, problem);
    let mut last = None;
    for launch in &launches(file, problem) {
        // The kernels have been launched before, so nothing is wrong with the launches.
        let _ = start(gpu, library, launch, problem, &tensors);
        let written = tensors[argument].as_ref().and_then(|tensor| {
            let offset = (element * tensor.dtype().size()) as u64;
            gpu.last_write(tensor.pointer().0 + offset)
        });
        last = written.or(last);
    }
    last.map_or(String::new(), |line| format!(", written at {}", cleaned(&line, library)))
}

/// Checks an array: an input must be as it was, a result as the reference has it.
pub(super) fn compare(
    name: &str,
    array: &Array,
    own: &[u64],
    tolerance: &Tolerance,
) -> std::result::Result<(), Wrong> {
    let Some(expected) = array.expected.as_ref().or(array.initial.as_ref()) else { return Ok(()) };
    let is_input = array.expected.is_none();
    let wrong = |place: &usize| {
        let error = (number_of(array.dtype, own[*place]) - expected[*place]).abs();
        error.is_nan() || error > tolerance.at(*place)
    };
    let places: Vec<usize> = (0..own.len()).filter(wrong).collect();
    let Some(&first) = places.first() else { return Ok(()) };
    let place = in_brackets(first, &array.shape);
    let is_fresh_at = |place: usize| is_fresh(array.dtype, own[place]);
    let (fault, message) = if is_input {
        (Fault::ChangedInput, format!("{name}{place} was changed"))
    } else {
        let count = format!("{} of {} elements of {name} are wrong", places.len(), own.len());
        let what = match is_fresh_at(first) {
            true => format!("{name}{place} was never written"),
            false => {
                let [own, right] = [number_of(array.dtype, own[first]), expected[first]];
                format!("{name}{place} is {}, not {}", own as f32, right as f32)
            }
        };
        let fresh = places.iter().filter(|place| is_fresh_at(**place)).count();
        let never = match fresh {
            0 => String::new(),
            _ if fresh == places.len() => "; none of these was written".into(),
            _ => format!("; {fresh} of these were never written"),
        };
        (Fault::WrongResult, format!("{count}{never}. The first: {what}"))
    };
    Err(Wrong { fault, message, first, is_fresh: !is_input && is_fresh_at(first) })
}

/// `[3][17]`: the place of an element.
fn in_brackets(mut element: usize, shape: &[usize]) -> String {
    let mut text = String::new();
    for extent in shape.iter().rev() {
        text = format!("[{}]{text}", element % extent);
        element /= extent;
    }
    text
}

/// Elements that differ between two orders of threads.
struct Differs {
    message: String,
    /// The argument, and its first element that differs.
    argument: usize,
    element: usize,
}

impl Differs {
    fn of(problem: &Problem, expected: &[Vec<u64>], own: &[Vec<u64>]) -> Differs {
        let is_result =
            |value: &Value| matches!(value, Value::Array(array) if array.expected.is_some());
        let results =
            problem.arguments.iter().enumerate().filter(|(_, (_, value))| is_result(value));
        let mut pairs = results.zip(expected.iter().zip(own));
        let ((argument, (name, value)), (before, after)) =
            pairs.find(|(_, (before, after))| before != after).expect("the results differ");
        let Value::Array(array) = value else { unreachable!("results are arrays") };
        let places: Vec<usize> =
            (0..before.len()).filter(|place| before[*place] != after[*place]).collect();
        let element = places[0];
        let [before, after] = [before, after].map(|bits| number_of(array.dtype, bits[element]));
        let message = format!(
            "{} of {} elements of {name} have other bits than with threads in order. The first: {name}{} is {after:e}, and was {before:e}",
            places.len(),
            array.len(),
            in_brackets(element, &array.shape)
        );
        Differs { message, argument, element }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workshop::factors::Factors;

    #[test]
    fn a_place_is_written_as_an_index() {
        assert_eq!(in_brackets(17, &[4, 5]), "[3][2]");
    }

    #[test]
    fn a_wrong_element_is_shown_beside_the_expected_one() {
        let array = Array {
            dtype: DType::F32,
            shape: vec![2, 2],
            initial: None,
            expected: Some(vec![1.0; 4]),
            sizes: None,
        };
        let own_tolerance = |array| Tolerance::of(array, 1, Factors::Whole);
        let own = |numbers: [f32; 4]| numbers.map(|x| u64::from(x.to_bits()));
        assert!(compare("y", &array, &own([1.0; 4]), &own_tolerance(&array)).is_ok());
        let fresh = f32::from_bits(u32::MAX);
        let text = |numbers| {
            let tolerance = own_tolerance(&array);
            compare("y", &array, &own(numbers), &tolerance).unwrap_err().message
        };
        assert_eq!(
            text([1.0, 2.0, fresh, 1.0]),
            "2 of 4 elements of y are wrong; 1 of these were never written. The first: y[0][1] is 2, not 1"
        );
        let all = text([fresh; 4]);
        assert!(
            all.ends_with("none of these was written. The first: y[0][0] was never written"),
            "{all}"
        );
        let input = Array { initial: array.expected.clone(), expected: None, ..array.clone() };
        let changed =
            compare("x", &input, &own([1.0, 0.0, 1.0, 1.0]), &own_tolerance(&input)).unwrap_err();
        assert_eq!(
            (changed.fault, &*changed.message),
            (Fault::ChangedInput, "x[0][1] was changed")
        );
    }
}
