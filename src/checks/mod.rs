//! The kernels' checks: every kernel's op on awkward inputs, compared with the CPU's op in f64. The tests and
//! `alrao kernels` run them.

mod augment;
mod axes;
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
mod many_classes;
pub mod matmul;
mod norm_gradient;
mod optimizer;
mod peak;
mod pool;
mod reduce;
pub mod replay;
#[cfg(has_simulator)]
pub mod simulator;
mod soft_update;
mod squeeze_excite;
mod step_statistics;
mod switch;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::random::{Philox, Purpose};
use crate::{DType, Device, Tape, Tensor};
use factors::Factors;

/// The largest relative error of rounding a number to the 8 bits that bf16 keeps.
const BF16_ROUNDING: f64 = 1.0 / 256.0;

/// An op on some inputs, for any device and dtype.
pub struct Case {
    /// The op and its sizes.
    pub name: String,
    /// Terms of its longest sum, with which the tolerance grows.
    terms: usize,
    /// Relative error of an intermediate rounding to fewer bits than those of f32.
    rounding: f64,
    /// Number of times that a sum is truncated to f32, on tensor cores.
    cuts: f64,
    /// Outputs whose terms cancel, with the size of the terms, relative to which errors are measured.
    cancelling: Vec<(&'static str, f64)>,
    /// The storage type of the device's tensors, F32 or BF16.
    dtype: DType,
    /// In BF16, the number of roundings from an input to an output, including that of the output.
    roundings: f64,
    run: Run,
}

type Run = Rc<dyn Fn(&Device, DType) -> Outputs>;

/// The outputs of a case by name, each in row-major order.
pub type Outputs = Vec<(&'static str, Vec<f64>)>;

impl Case {
    pub(crate) fn new(
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

    /// The case, and the case in bf16. `roundings` is the number of roundings to bf16 from an input, which bf16 holds
    /// exactly, to an output: one for the output, and one for each intermediate tensor that is stored.
    pub(crate) fn and_in_bf16(self, roundings: u32) -> [Case; 2] {
        let name = format!("{} in bf16", self.name);
        let (run, cancelling) = (Rc::clone(&self.run), self.cancelling.clone());
        let (dtype, roundings) = (DType::BF16, f64::from(roundings));
        let own = Case { name, dtype, roundings, run, cancelling, ..self };
        [self, own]
    }

    /// Its outputs on a device. Panics if reading them fails, as on a GPU that has failed.
    pub fn on(&self, device: &Device) -> Outputs {
        self.run_in(device, self.dtype)
    }

    /// As [`on`](Self::on), with a panic or a fault of the device as an error.
    pub fn try_on(&self, device: &Device) -> Result<Outputs, String> {
        let outputs = catch_unwind(AssertUnwindSafe(|| self.on(device)));
        device.check().map_err(|error| error.to_string())?;
        outputs.map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it failed").to_owned()
        })
    }

    /// The CPU's outputs in f64.
    pub fn reference(&self) -> Outputs {
        self.run_in(&Device::cpu(), DType::F64)
    }

    fn run_in(&self, device: &Device, dtype: DType) -> Outputs {
        STORED_AS.set(self.dtype);
        (self.run)(device, dtype)
    }

    /// The case with products of `factors`. On an A100, tensor cores truncate the sum of every four products of tf32.
    fn of(mut self, factors: Factors) -> Self {
        if factors.is_tf32() {
            self.cuts = (self.terms as f64 / 4.0).ceil();
        }
        self
    }

    /// The case, in which the terms of these outputs have the size `size` and cancel.
    fn cancelling(mut self, outputs: &[&'static str], size: f64) -> Self {
        self.cancelling.extend(outputs.iter().map(|output| (*output, size)));
        self
    }

    /// The case, with intermediate numbers of only `bits` bits of fraction: 10 in tf32, 7 in bf16.
    fn rounded_to(mut self, bits: i32) -> Self {
        self.rounding = 2f64.powi(-bits - 1);
        self
    }

    /// The element of `own` that is furthest from `reference`; `None` if all are within the tolerance.
    pub fn difference(&self, own: &Outputs, reference: &Outputs) -> Option<String> {
        let epsilon = f64::from(f32::EPSILON);
        // Roundings to fewer bits have either sign in a sum: relative to the largest sum they do not grow with its
        // length.
        let sums = 8.0 + 2.0 * (self.terms as f64).sqrt() + self.cuts;
        let relative = epsilon * sums + 4.0 * self.rounding;
        for ((label, own), (_, reference)) in own.iter().zip(reference) {
            if own.len() != reference.len() {
                return Some(format!("{label}: {} numbers, not {}", own.len(), reference.len()));
            }
            let finite = reference.iter().filter(|value| value.is_finite());
            let terms = self.cancelling.iter().find(|(own, _)| own == label);
            let least = terms.map_or(1e-6, |(_, size)| *size);
            let largest = finite.fold(least, |largest, value| largest.max(value.abs()));
            // The output's own rounding is relative to the output; an intermediate number that is rounded may be
            // larger.
            let between = (self.roundings - 1.0).max(0.0) * BF16_ROUNDING * largest;
            let tolerance = relative * largest + between;
            let errors = own.iter().zip(reference).map(|(own, reference)| {
                let same = own == reference || (own.is_nan() && reference.is_nan());
                let error = (own - reference).abs();
                if same {
                    0.0
                } else if error.is_nan() {
                    f64::INFINITY
                } else {
                    error - self.roundings.min(1.0) * BF16_ROUNDING * reference.abs()
                }
            });
            let (index, error) = errors.enumerate().fold((0, 0.0), |worst, (index, error)| {
                if error > worst.1 { (index, error) } else { worst }
            });
            if error > tolerance {
                return Some(format!(
                    "{label}[{index}] is {}, not {}: {error:e} off; allowed {tolerance:e}, {relative:e} of the largest",
                    own[index], reference[index]
                ));
            }
        }
        None
    }
}

/// Files of `kernels/`, and the cases of their kernels.
type Family = (&'static [&'static str], fn() -> Vec<Case>);

const FAMILIES: &[Family] = &[
    (&["augment"], augment::cases),
    (&["batch_norm"], batch_norm::cases),
    (&["bellman"], bellman::cases),
    (&["catch_up"], catch_up::cases),
    (&["peak"], peak::cases),
    (&["classifiers", "prediction"], classifiers::cases),
    (&["many_classes"], many_classes::cases),
    (&["clip"], clip::cases),
    (&["conv2d"], conv2d::cases),
    (&["cross_entropy"], cross_entropy::cases),
    (&["depthwise"], depthwise::cases),
    (&["dropout"], dropout::cases),
    (&["elementwise"], elementwise::cases),
    (&["embedding"], embedding::cases),
    (&["flatten"], flatten::cases),
    (&["gather"], gather::cases),
    (&["lstm"], lstm::cases),
    (&["matmul"], matmul::cases),
    (&["batch_norm", "conv2d", "matmul", "pool"], norm_gradient::cases),
    (&["optimizer"], optimizer::cases),
    (&["pool"], pool::cases),
    (&["reduce"], reduce::cases),
    (&["replay"], replay::cases),
    (&["soft_update"], soft_update::cases),
    (&["squeeze_excite"], squeeze_excite::cases),
    (&["switch"], switch::cases),
    (&["step_statistics"], step_statistics::cases),
];

/// All cases.
pub fn all() -> Vec<Case> {
    FAMILIES.iter().flat_map(|(_, cases)| cases()).collect()
}

thread_local! {
    /// The storage type of the running case. It holds the inputs exactly, so the CPU has equal ones in f64.
    static STORED_AS: Cell<DType> = const { Cell::new(DType::F32) };
}

/// The nearest number that the case's storage type holds.
fn stored(value: f64) -> f64 {
    match STORED_AS.get() {
        DType::BF16 => f64::from(half::bf16::from_f64(value)),
        _ => f64::from(value as f32),
    }
}

/// Numbers in ±0.5 that the running case's storage type holds exactly.
pub fn draw(length: usize, number: u64) -> Vec<f64> {
    let mut stream = Philox::new(7, Purpose::Data).stream(number);
    (0..length).map(|_| stored(stream.uniform() - 0.5)).collect()
}

/// A tensor of drawn numbers.
pub fn drawn(device: &Device, shape: &[usize], dtype: DType, number: u64) -> Tensor {
    Tensor::from_f64s(device, shape, dtype, &draw(shape.iter().product(), number))
}

/// The gradient of a tensor that the tape watches.
pub(crate) fn gradient(tape: &Tape, of: &Tensor) -> Vec<f64> {
    tape.gradient(of).expect("a backward pass reached it").to_f64s()
}
