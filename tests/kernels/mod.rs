//! Every kernel against the CPU's op in f64, in the simulator under all its checks, and on a GPU where there is one.

mod augment;
mod batch_norm;
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
mod mutation;
mod optimizer;
mod pool;
mod reduce;
mod steps;
mod switch;
mod tally;
mod traffic;

use std::collections::BTreeSet;

use alrao::device::simulator::{
    Guard, IS_CHECKED, Order, SimulatorOptions, TOO_MANY_ACCESSES, kernel_names,
};
use alrao::random::{Philox, Purpose};
use alrao::{DType, Device, DeviceKind, Tensor};

/// An op on some inputs. Its tensors are made on the device and in the dtype that it is given.
struct Case {
    name: String,
    /// Terms of the longest sum in it, which the tolerance grows with.
    terms: usize,
    /// Relative error of what is rounded on the way to fewer bits than f32 has.
    rounding: f64,
    run: Run,
}

type Run = Box<dyn Fn(&Device, DType) -> Outputs>;

/// What a case computes, by name, in row-major order.
type Outputs = Vec<(&'static str, Vec<f64>)>;

impl Case {
    fn new(
        name: impl Into<String>,
        terms: usize,
        run: impl Fn(&Device, DType) -> Outputs + 'static,
    ) -> Self {
        Case { name: name.into(), terms, rounding: 0.0, run: Box::new(run) }
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
        pool::cases,
        reduce::cases,
        switch::cases,
        tally::cases,
    ];
    families.iter().flat_map(|family| family()).collect()
}

/// The part of a case's name that `ALRAO_CASES` asks for: for work on one kernel.
fn wanted() -> Option<String> {
    std::env::var("ALRAO_CASES").ok()
}

fn cases() -> Vec<Case> {
    let wanted = wanted().unwrap_or_default();
    all_cases().into_iter().filter(|case| case.name.contains(&wanted)).collect()
}

/// Numbers in ±0.5 that f32 holds exactly.
fn draw(length: usize, number: u64) -> Vec<f64> {
    let mut stream = Philox::new(7, Purpose::Data).stream(number);
    (0..length).map(|_| f64::from((stream.uniform() - 0.5) as f32)).collect()
}

/// A tensor of drawn numbers.
fn drawn(device: &Device, shape: &[usize], dtype: DType, number: u64) -> Tensor {
    Tensor::from_f64s(device, shape, dtype, &draw(shape.iter().product(), number))
}

/// Cases with more accesses than this are left to the plain build, and named. A checked access takes a hundred times as long.
const MOST_CHECKED_ACCESSES: u64 = 1_000_000;

/// Cases that the checked build takes all the same: the smallest that launch these kernels.
const CHECKED_ALL_THE_SAME: [&str; 1] = ["many classes [3, 128] into 1 of 192, Nothing"];

/// Kernels of large tiles, which only cases launch that have too many accesses.
const NEVER_CHECKED: [&str; 17] = [
    "conv2d_128_fwd_f32",
    "conv2d_128_dx_bwd_f32",
    "conv2d_128_dw_bwd_bf16",
    "conv2d_128_dw_bwd_f32",
    "conv2d_128_dw_bwd_tf32",
    "conv2d_128_dx_bwd_bf16",
    "conv2d_128_dx_bwd_tf32",
    "conv2d_128_fwd_bf16",
    "conv2d_64_dw_bwd_bf16",
    "conv2d_64_dw_bwd_tf32",
    "conv2d_64_dx_bwd_bf16",
    "conv2d_64_dx_bwd_tf32",
    "conv2d_64_fwd_bf16",
    "many_classes_128_mixture_fwd_tf32",
    "matmul_128_nn_f32",
    "matmul_128_nt_f32",
    "matmul_128_tn_f32",
];

/// How the simulator runs each case. Their outputs must be equal to the bit. Races do not depend on the order that threads
/// happen to be run in: the checked build runs each case once.
fn ways() -> Vec<SimulatorOptions> {
    let usual = SimulatorOptions::default();
    if IS_CHECKED {
        return vec![usual];
    }
    vec![
        usual,
        SimulatorOptions {
            order: Order::Reverse,
            late_copies: false,
            guard: Guard::InFront,
            ..usual
        },
        SimulatorOptions { order: Order::Shuffled(5), ..usual },
    ]
}

/// What is wrong with `own` beside `reference`: the worst element.
fn difference(case: &Case, own: &Outputs, reference: &Outputs) -> Option<String> {
    let epsilon = f64::from(f32::EPSILON);
    // Roundings to fewer bits enter a sum with either sign: relative to the largest sum they do not grow with its length.
    let relative = epsilon * (8.0 + 2.0 * (case.terms as f64).sqrt()) + 4.0 * case.rounding;
    for ((label, own), (_, reference)) in own.iter().zip(reference) {
        assert_eq!(own.len(), reference.len(), "{}: {label}", case.name);
        let finite = reference.iter().filter(|value| value.is_finite());
        let largest = finite.fold(1e-6f64, |largest, value| largest.max(value.abs()));
        let tolerance = relative * largest;
        let errors = own.iter().zip(reference).map(|(own, reference)| {
            let same = own == reference || (own.is_nan() && reference.is_nan());
            let error = (own - reference).abs();
            if same {
                0.0
            } else if error.is_nan() {
                f64::INFINITY
            } else {
                error
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
fn run_on(
    case: &Case,
    device: &Device,
    launched: &mut BTreeSet<String>,
) -> Result<Outputs, String> {
    let run = std::panic::AssertUnwindSafe(|| (case.run)(device, DType::F32));
    // Reading from a device that has failed panics, with its complaint.
    let outputs = std::panic::catch_unwind(run);
    device.check().map_err(|error| error.to_string())?;
    let outputs = outputs.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if let Device::Gpu(gpu) = device {
        launched.extend(gpu.kernel_times().into_keys());
    }
    Ok(outputs)
}

/// Everything that is wrong with a case.
fn faults(case: &Case, launched: &mut BTreeSet<String>) -> Vec<String> {
    let reference = (case.run)(&Device::cpu(), DType::F64);
    let mut faults = Vec::new();
    let mut first: Option<Outputs> = None;
    let is_taken = CHECKED_ALL_THE_SAME.contains(&case.name.as_str());
    let most_accesses = if is_taken { u64::MAX } else { MOST_CHECKED_ACCESSES };
    for way in ways() {
        let way = SimulatorOptions { most_accesses, ..way };
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

#[test]
fn kernels_agree_with_the_cpu_and_none_is_forgotten() {
    let (faults, launched) = all_faults();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    if wanted().is_some() {
        return;
    }
    let is_known = |name: &&str| IS_CHECKED && NEVER_CHECKED.contains(name);
    let kernels = kernel_names().into_iter().filter(|name| !is_known(name));
    let kernels: BTreeSet<String> = kernels.map(str::to_owned).collect();
    let forgotten: Vec<&String> = kernels.difference(&launched).collect();
    assert!(forgotten.is_empty(), "no case launches {forgotten:?}");
}

#[test]
fn kernels_agree_with_the_cpu_on_a_gpu() {
    let device = match Device::open(DeviceKind::Cuda) {
        Ok(device) => device,
        Err(error) if std::env::var_os("ALRAO_REQUIRE_CUDA").is_some() => panic!("{error}"),
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let mut faults = Vec::new();
    for case in cases() {
        let reference = (case.run)(&Device::cpu(), DType::F64);
        let outputs = (case.run)(&device, DType::F32);
        faults.extend(
            difference(&case, &outputs, &reference).map(|fault| format!("{}: {fault}", case.name)),
        );
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
