//! Every kernel against the CPU's op in f64, in the simulator under all its checks, and on a GPU where there is one.

mod augment;
mod batch_norm;
mod bellman;
mod catch_up;
mod classifiers;
mod clip;
mod conv2d;
mod cross_entropy;
mod depthwise;
mod dropout;
mod elementwise;
mod embedding;
mod factors;
mod flatten;
mod gather;
mod lstm;
mod matmul;
#[cfg(has_simulator)]
mod mutation;
mod optimizer;
mod peak;
mod pool;
#[cfg(has_simulator)]
mod q_learning;
mod reduce;
mod replay;
mod soft_update;
mod step_statistics;
mod steps;
mod switch;

use std::cell::Cell;
#[cfg(has_simulator)]
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

#[cfg(has_simulator)]
use alrao::device::simulator::{IS_CHECKED, SimulatorOptions, TOO_MANY_ACCESSES, kernel_names};
use alrao::random::{Philox, Purpose};
use alrao::{DType, Device, Tensor};

use crate::place::gpu;
use factors::Factors;

/// An op on some inputs. Its tensors are made on the device and in the dtype that it is given.
struct Case {
    name: String,
    /// Terms of the longest sum in it, which the tolerance grows with.
    terms: usize,
    /// Relative error of what is rounded on the way to fewer bits than f32 has.
    rounding: f64,
    /// How often a sum is cut off to f32 on its way, not rounded: on tensor cores.
    cuts: f64,
    /// Outputs whose terms cancel, with the size of the terms: errors are relative to these.
    cancelling: Vec<(&'static str, f64)>,
    /// What the device's tensors are stored as, F32 or BF16.
    dtype: DType,
    /// In BF16: how often a number is rounded on its way to an output, once for the output itself.
    roundings: f64,
    run: Run,
}

type Run = Rc<dyn Fn(&Device, DType) -> Outputs>;

/// What a case computes, by name, in row-major order.
type Outputs = Vec<(&'static str, Vec<f64>)>;

impl Case {
    fn new(
        name: impl Into<String>,
        terms: usize,
        run: impl Fn(&Device, DType) -> Outputs + 'static,
    ) -> Self {
        let run = Rc::new(run);
        Case {
            name: name.into(),
            terms,
            rounding: 0.0,
            cuts: 0.0,
            cancelling: Vec::new(),
            dtype: DType::F32,
            roundings: 0.0,
            run,
        }
    }

    /// The case, and the same in bf16. `roundings`: how often a number is rounded to bf16 from an input, which bf16
    /// holds exactly, to an output: 1 where the case is one op that stores nothing between; else what it stores between
    /// is counted too.
    fn and_in_bf16(self, roundings: u32) -> [Case; 2] {
        let name = format!("{} in bf16", self.name);
        let (run, cancelling) = (Rc::clone(&self.run), self.cancelling.clone());
        let (dtype, roundings) = (DType::BF16, f64::from(roundings));
        let own = Case { name, dtype, roundings, run, cancelling, ..self };
        [self, own]
    }

    /// What it comes to on a device, in the dtype of its form.
    fn on(&self, device: &Device) -> Outputs {
        self.run_in(device, self.dtype)
    }

    /// What it has to come to.
    fn reference(&self) -> Outputs {
        self.run_in(&Device::cpu(), DType::F64)
    }

    fn run_in(&self, device: &Device, dtype: DType) -> Outputs {
        STORED_AS.set(self.dtype);
        (self.run)(device, dtype)
    }

    /// The same by products of `factors`: tensor cores cut off the sum of every four products of tf32, on an A100.
    fn of(mut self, factors: Factors) -> Self {
        if factors == Factors::Tf32 {
            self.cuts = (self.terms as f64 / 4.0).ceil();
        }
        self
    }

    /// The same, where the terms of these outputs reach so far, and cancel.
    fn cancelling(mut self, outputs: &[&'static str], size: f64) -> Self {
        self.cancelling.extend(outputs.iter().map(|output| (*output, size)));
        self
    }

    /// The same, where numbers on the way keep only so many bits behind the point: 10 in tf32, 7 in bf16.
    fn rounded_to(mut self, bits: i32) -> Self {
        self.rounding = 2f64.powi(-bits - 1);
        self
    }
}

/// All cases: a kernel's own family lists its shapes.
fn all_cases() -> Vec<Case> {
    let families: &[fn() -> Vec<Case>] = &[
        augment::cases,
        batch_norm::cases,
        bellman::cases,
        catch_up::cases,
        classifiers::cases,
        clip::cases,
        conv2d::cases,
        cross_entropy::cases,
        depthwise::cases,
        dropout::cases,
        elementwise::cases,
        embedding::cases,
        flatten::cases,
        gather::cases,
        lstm::cases,
        matmul::cases,
        optimizer::cases,
        peak::cases,
        pool::cases,
        reduce::cases,
        replay::cases,
        soft_update::cases,
        step_statistics::cases,
        switch::cases,
    ];
    families.iter().flat_map(|family| family()).collect()
}

/// The part of a case's name that `ALRAO_CASES` asks for: for work on one kernel.
fn wanted() -> Option<String> {
    std::env::var("ALRAO_CASES").ok()
}

fn cases() -> Vec<Case> {
    let wanted = wanted().unwrap_or_default();
    let cases: Vec<Case> =
        all_cases().into_iter().filter(|case| case.name.contains(&wanted)).collect();
    assert!(!cases.is_empty(), "ALRAO_CASES: no case has '{wanted}' in its name");
    cases
}

thread_local! {
    /// The storage type of the case that runs, which holds its inputs exactly: on the CPU they are the same, in f64.
    static STORED_AS: Cell<DType> = const { Cell::new(DType::F32) };
}

/// The nearest number that the case's storage type holds.
fn stored(value: f64) -> f64 {
    match STORED_AS.get() {
        DType::BF16 => f64::from(half::bf16::from_f64(value)),
        _ => f64::from(value as f32),
    }
}

/// Numbers in ±0.5 that the case's storage type holds exactly.
fn draw(length: usize, number: u64) -> Vec<f64> {
    let mut stream = Philox::new(7, Purpose::Data).stream(number);
    (0..length).map(|_| stored(stream.uniform() - 0.5)).collect()
}

/// A tensor of drawn numbers.
fn drawn(device: &Device, shape: &[usize], dtype: DType, number: u64) -> Tensor {
    Tensor::from_f64s(device, shape, dtype, &draw(shape.iter().product(), number))
}

/// The largest error, relative to a number, of its rounding to the 8 bits that bf16 keeps.
const BF16_ROUNDING: f64 = 1.0 / 256.0;

/// Cases with more accesses than this are left to the plain build, and named. A checked access takes a hundred times as long.
#[cfg(has_simulator)]
const MOST_CHECKED_ACCESSES: u64 = 1_000_000;

/// How the simulator runs each case. Their outputs must be equal to the bit. Races do not depend on the order that threads
/// happen to be run in: the checked build runs each case once.
#[cfg(has_simulator)]
fn ways() -> Vec<SimulatorOptions> {
    match IS_CHECKED {
        true => vec![SimulatorOptions::default()],
        false => alrao::bench::sanitizer::settings().to_vec(),
    }
}

/// What is wrong with `own` beside `reference`: the worst element.
fn difference(case: &Case, own: &Outputs, reference: &Outputs) -> Option<String> {
    let epsilon = f64::from(f32::EPSILON);
    // Roundings to fewer bits enter a sum with either sign: relative to the largest sum they do not grow with its length.
    let sums = 8.0 + 2.0 * (case.terms as f64).sqrt() + case.cuts;
    let relative = epsilon * sums + 4.0 * case.rounding;
    for ((label, own), (_, reference)) in own.iter().zip(reference) {
        assert_eq!(own.len(), reference.len(), "{}: {label}", case.name);
        let finite = reference.iter().filter(|value| value.is_finite());
        let terms = case.cancelling.iter().find(|(own, _)| own == label);
        let least = terms.map_or(1e-6, |(_, size)| *size);
        let largest = finite.fold(least, |largest, value| largest.max(value.abs()));
        // The output's own rounding is relative to itself, what was rounded on the way perhaps to larger numbers.
        let between = (case.roundings - 1.0).max(0.0) * BF16_ROUNDING * largest;
        let tolerance = relative * largest + between;
        let errors = own.iter().zip(reference).map(|(own, reference)| {
            let same = own == reference || (own.is_nan() && reference.is_nan());
            let error = (own - reference).abs();
            if same {
                0.0
            } else if error.is_nan() {
                f64::INFINITY
            } else {
                error - case.roundings.min(1.0) * BF16_ROUNDING * reference.abs()
            }
        });
        let (index, error) =
            errors.enumerate().fold(
                (0, 0.0),
                |worst, (index, error)| if error > worst.1 { (index, error) } else { worst },
            );
        if error > tolerance {
            return Some(format!(
                "{label}[{index}] is {}, not {}: {error:e} off; allowed {tolerance:e}, {relative:e} of the largest",
                own[index], reference[index]
            ));
        }
    }
    None
}

/// What a case comes to on a device; the names of the kernels it launched are added to `launched`.
#[cfg(has_simulator)]
fn run_on(
    case: &Case,
    device: &Device,
    launched: &mut BTreeSet<String>,
) -> Result<Outputs, String> {
    // Reading from a device that has failed panics, with its complaint.
    let outputs = catch_unwind(AssertUnwindSafe(|| case.on(device)));
    device.check().map_err(|error| error.to_string())?;
    let outputs = outputs.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if let Device::Gpu(gpu) = device {
        launched.extend(gpu.kernel_times().into_keys());
    }
    Ok(outputs)
}

/// Everything that is wrong with a case.
#[cfg(has_simulator)]
fn faults(case: &Case, launched: &mut BTreeSet<String>) -> Vec<String> {
    let reference = case.reference();
    let mut faults = Vec::new();
    let mut first: Option<Outputs> = None;
    for way in ways() {
        let way = SimulatorOptions { most_accesses: MOST_CHECKED_ACCESSES, ..way };
        let device = Device::simulator(Some(2), way).unwrap();
        match run_on(case, &device, launched) {
            Err(message) if message.contains(TOO_MANY_ACCESSES) => {
                println!("left to the plain build: {}", case.name);
            }
            Err(message) => faults.push(format!("{}: {message}", case.name)),
            Ok(outputs) => {
                let outputs_differ = first
                    .as_ref()
                    .is_some_and(|first| format!("{first:?}") != format!("{outputs:?}"));
                if outputs_differ {
                    faults.push(format!("{}: {way:?} gives other bits", case.name));
                }
                if let Some(difference) = difference(case, &outputs, &reference) {
                    faults.push(format!("{}: {difference}", case.name));
                }
                first.get_or_insert(outputs);
            }
        }
    }
    faults
}

/// Everything that is wrong with any case, and the kernels that were launched. Where blocks run one after the other, two
/// cases run at a time.
#[cfg(has_simulator)]
fn all_faults() -> (Vec<String>, BTreeSet<String>) {
    let parts = if IS_CHECKED { 2 } else { 1 };
    let run_part = |part: usize| {
        let mut launched = BTreeSet::new();
        let cases = cases();
        let own = cases.iter().skip(part).step_by(parts);
        let faults = own.flat_map(|case| faults(case, &mut launched)).collect::<Vec<String>>();
        (faults, launched)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..parts).map(|part| scope.spawn(move || run_part(part))).collect();
        let mut all = run_part(0);
        for other in others {
            let (faults, launched) = other.join().unwrap();
            all.0.extend(faults);
            all.1.extend(launched);
        }
        all
    })
}

#[cfg(has_simulator)]
#[test]
fn kernels_agree_with_the_cpu_and_none_is_forgotten() {
    let (faults, launched) = all_faults();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    if wanted().is_some() {
        return;
    }
    let kernels: BTreeSet<String> = kernel_names().into_iter().map(str::to_owned).collect();
    let forgotten: Vec<&String> = kernels.difference(&launched).collect();
    assert!(forgotten.is_empty(), "no case launches {forgotten:?}");
}

#[test]
fn kernels_agree_with_the_cpu_on_a_gpu() {
    let Some(device) = gpu() else { return };
    let mut faults = Vec::new();
    for case in cases() {
        let reference = case.reference();
        // Reading from a device that has failed panics, with its complaint.
        match catch_unwind(AssertUnwindSafe(|| case.on(&device))) {
            Ok(outputs) => faults.extend(
                difference(&case, &outputs, &reference)
                    .map(|fault| format!("{}: {fault}", case.name)),
            ),
            Err(_) => faults.push(format!("{}: it failed", case.name)),
        }
        if let Err(error) = device.check() {
            faults.push(format!("{}: {error}; nothing was tried after it", case.name));
            break;
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
