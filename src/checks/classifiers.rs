//! The head: losses, gradients and predictions of the classifiers, with infinities and NaN at chosen places.

use crate::ops::head::classifiers::{Form, Head, Targets, classifiers_in, outputs};
use crate::ops::head::prediction::{PredictionKind, predict};
use crate::{DType, Device, Tape, Tensor};

use super::factors::rounded;
use super::{Case, Outputs, draw, drawn, gradient};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Task {
    Classes,
    Values,
    Chosen,
    /// Chosen, with most errors above the limit.
    Clipped,
}

impl Task {
    /// The name of its cases, and the kind of prediction.
    fn is(self) -> (&'static str, PredictionKind) {
        match self {
            Task::Classes => ("classes", PredictionKind::LogProbabilities),
            Task::Values => ("values", PredictionKind::Mean),
            Task::Chosen => ("chosen values", PredictionKind::Mean),
            Task::Clipped => ("chosen values with small errors", PredictionKind::Mean),
        }
    }

    fn is_chosen(self) -> bool {
        matches!(self, Task::Chosen | Task::Clipped)
    }
}

/// An odd property of a case.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Odd {
    Nothing,
    /// Classifier 1 gives NaN everywhere, the last one minus infinity for some classes.
    BrokenCopies,
    /// Classifier 0 has an infinite weight.
    InfiniteWeight,
    /// Some samples are not finite.
    BrokenInputs,
    /// Some targets of regression are not finite.
    BrokenTargets,
    /// Posteriors are far below the smallest number, one of them zero.
    TinyPosterior,
    /// The posteriors of two classifiers are so far below the first one's that their ratio is no normal number, or 0.
    FarPosteriors,
    /// One classifier has all weight and is broken for some classes.
    NoFiniteClassifier,
    NothingFinite,
    /// All classes have equal logits, so the first is the most likely.
    Ties,
    /// `z`, targets, weights and biases are slices of larger tensors; the biases do not start at a multiple of 16
    /// bytes.
    Slices,
    /// `z` follows other samples: it has no gaps, but may not start at a multiple of 16 bytes.
    LaterSamples,
    /// The head is used twice, so gradients accumulate.
    Twice,
    /// Two samples have a class, or a chosen output, that is none. On the CPU they have an input that is NaN, which must
    /// count as much.
    OutsideClasses,
}

#[derive(Clone, Copy)]
pub(super) struct Extents {
    pub samples: usize,
    pub inputs: usize,
    pub classifiers: usize,
    pub outputs: usize,
}

/// z, weights, biases and log-posterior.
pub(super) struct Values {
    z: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
    pub log_posterior: Vec<f64>,
}

impl Values {
    pub fn new(sizes: Extents, odd: Odd) -> Self {
        let Extents { samples, inputs, classifiers, outputs } = sizes;
        let shares: Vec<f64> = (1..=classifiers).map(|classifier| classifier as f64).collect();
        let total: f64 = shares.iter().sum();
        let times = |factor: f64, values: Vec<f64>| -> Vec<f64> {
            values.into_iter().map(|value| factor * value).collect()
        };
        let mut own = Values {
            z: times(4.0, draw(samples * inputs, 0)),
            weight: times(2.0, draw(classifiers * outputs * inputs, 1)),
            bias: times(2.0, draw(classifiers * outputs, 2)),
            log_posterior: shares.iter().map(|share| (share / total).ln()).collect(),
        };
        own.make(sizes, odd);
        own
    }

    /// Rounds to tf32, so that outputs differ from the reference's only by the roundings of sums, as elsewhere.
    pub fn round(&mut self) {
        let all = self.z.iter_mut().chain(&mut self.weight);
        all.filter(|value| value.is_finite()).for_each(|value| *value = rounded(*value));
    }

    fn make(&mut self, sizes: Extents, odd: Odd) {
        let Extents { samples, inputs, classifiers, outputs } = sizes;
        let last = classifiers - 1;
        match odd {
            Odd::Nothing
            | Odd::Slices
            | Odd::LaterSamples
            | Odd::Twice
            | Odd::OutsideClasses
            | Odd::BrokenTargets => {}
            Odd::BrokenCopies => {
                self.weight[(outputs * inputs).min(last * outputs * inputs)] = f64::NAN;
                self.bias[last * outputs..last * outputs + outputs.div_ceil(2)]
                    .fill(f64::NEG_INFINITY);
            }
            Odd::InfiniteWeight => self.weight[inputs - 1] = f64::INFINITY,
            Odd::BrokenInputs => {
                self.z[0] = f64::INFINITY;
                self.z[(samples / 2) * inputs] = f64::NAN;
            }
            Odd::TinyPosterior => {
                for (classifier, log_a) in self.log_posterior.iter_mut().enumerate() {
                    *log_a = -1500.0 - classifier as f64 / 4.0;
                }
                self.log_posterior[last] = f64::NEG_INFINITY;
            }
            Odd::FarPosteriors => {
                for (classifier, log_a) in self.log_posterior.iter_mut().enumerate() {
                    *log_a = -725.0 * classifier as f64;
                }
            }
            Odd::NoFiniteClassifier => {
                self.log_posterior.fill(f64::NEG_INFINITY);
                self.log_posterior[0] = 0.0;
                self.bias[..outputs.div_ceil(2)].fill(f64::NEG_INFINITY);
            }
            Odd::NothingFinite => self.weight.fill(f64::NAN),
            Odd::Ties => {
                self.weight.fill(0.0);
                self.bias.fill(0.25);
            }
        }
    }
}

/// The tensor, or the same numbers as a slice of a larger one along `axis`, from index 1 on.
fn placed(
    device: &Device,
    shape: &[usize],
    dtype: DType,
    values: &[f64],
    axis: Option<usize>,
) -> Tensor {
    let Some(axis) = axis else { return Tensor::from_f64s(device, shape, dtype, values) };
    let inner: usize = shape[axis..].iter().product();
    let step: usize = shape[axis + 1..].iter().product();
    let mut wide_shape = shape.to_vec();
    wide_shape[axis] += 2;
    let wide: Vec<f64> = values
        .chunks(inner.max(1))
        .flat_map(|part| [vec![7.0; step], part.to_vec(), vec![7.0; step]].concat())
        .collect();
    Tensor::from_f64s(device, &wide_shape[..], dtype, &wide).slice(axis, 1, shape[axis])
}

/// z, weight and bias.
pub(super) fn tensors(
    device: &Device,
    dtype: DType,
    sizes: Extents,
    values: &Values,
    odd: Odd,
) -> [Tensor; 3] {
    let Extents { samples, inputs, classifiers, outputs } = sizes;
    let axis = |axis: usize| (odd == Odd::Slices).then_some(axis);
    let z_axis = if odd == Odd::LaterSamples { Some(0) } else { axis(1) };
    [
        placed(device, &[samples, inputs], dtype, &values.z, z_axis),
        placed(device, &[classifiers, outputs, inputs], dtype, &values.weight, axis(0)),
        placed(device, &[classifiers, outputs], dtype.wide(), &values.bias, axis(0)),
    ]
}

pub(super) fn head(
    device: &Device,
    dtype: DType,
    form: Form,
    sizes: Extents,
    task: Task,
    odd: Odd,
) -> Outputs {
    let Extents { samples, inputs, classifiers, outputs } = sizes;
    let mut values = Values::new(sizes, odd);
    if form == Form::Recomputed {
        values.round();
    }
    let log_posterior = Tensor::from_slice(device, [classifiers], &values.log_posterior);
    let mut classes = classes_of(device, sizes);
    if odd == Odd::OutsideClasses {
        let mut numbers = classes.to_vec::<i32>();
        for (sample, class) in [(0, -1), (samples / 2, outputs as i32)] {
            match device {
                Device::Gpu(_) => numbers[sample] = class,
                Device::Cpu(_) => values.z[sample * inputs] = f64::NAN,
            }
        }
        classes = Tensor::from_slice(device, [samples], &numbers);
    }
    let shape = &[samples, outputs][..if task.is_chosen() { 1 } else { 2 }];
    let axis = (odd == Odd::Slices).then_some(shape.len() - 1);
    let mut numbers = draw(shape.iter().product(), 4);
    if odd == Odd::BrokenTargets {
        numbers[0] = f64::NAN;
        numbers[shape.iter().product::<usize>() - 1] = f64::INFINITY;
    }
    let numbers = placed(device, shape, dtype.wide(), &numbers, axis);
    let targets = targets_of(task, &classes, &numbers);
    let tape = Tape::new();
    let leaves = tensors(device, dtype, sizes, &values, odd).map(|tensor| tape.watch(&tensor));
    let [z, weight, bias] = &leaves;
    let run = || classifiers_in(form, z, weight, bias, targets, &log_posterior);
    let head = run();
    match odd {
        Odd::Twice => tape.backward(&head.objective.add(&run().objective)),
        _ => tape.backward(&head.objective),
    }
    let mut found = report(&head);
    let names = ["dz", "dweight", "dbias"];
    found.extend(leaves.iter().zip(names).map(|(leaf, name)| (name, gradient(&tape, leaf))));
    found
}

fn targets_of<'a>(task: Task, classes: &'a Tensor, numbers: &'a Tensor) -> Targets<'a> {
    match task {
        Task::Classes => Targets::Classes(classes),
        Task::Values => Targets::Values(numbers),
        Task::Chosen => Targets::Chosen { outputs: classes, values: numbers, limit: f64::INFINITY },
        Task::Clipped => Targets::Chosen { outputs: classes, values: numbers, limit: 0.75 },
    }
}

pub(super) fn report(head: &Head) -> Outputs {
    vec![
        ("objective", head.objective.to_f64s()),
        ("loss", head.loss.to_f64s()),
        ("correct", head.correct.to_f64s()),
        ("classifier losses", head.classifier_losses.to_f64s()),
        ("diverged", head.diverged.to_f64s()),
        ("samples without a finite classifier", head.samples_without_finite_classifier.to_f64s()),
    ]
}

/// Gradients of only some of z, weights and biases.
pub(super) fn some_gradients(
    device: &Device,
    dtype: DType,
    form: Form,
    task: Task,
    sizes: Extents,
    wanted: [bool; 3],
) -> Outputs {
    let Extents { samples, classifiers, outputs, .. } = sizes;
    let mut values = Values::new(sizes, Odd::Nothing);
    if form == Form::Recomputed {
        values.round();
    }
    let log_posterior = Tensor::from_slice(device, [classifiers], &values.log_posterior);
    let classes = classes_of(device, sizes);
    let shape = &[samples, outputs][..if task.is_chosen() { 1 } else { 2 }];
    let numbers = drawn(device, shape, dtype.wide(), 4);
    let tape = Tape::new();
    let mut leaves = tensors(device, dtype, sizes, &values, Odd::Nothing);
    for (leaf, wanted) in leaves.iter_mut().zip(wanted) {
        if wanted {
            *leaf = tape.watch(leaf);
        }
    }
    let [z, weight, bias] = &leaves;
    let targets = targets_of(task, &classes, &numbers);
    let head = classifiers_in(form, z, weight, bias, targets, &log_posterior);
    tape.backward(&head.objective);
    let gradients = leaves.iter().filter_map(|leaf| tape.gradient(leaf));
    gradients.map(|gradient| ("gradient", gradient.to_f64s())).collect()
}

fn prediction(
    device: &Device,
    dtype: DType,
    sizes: Extents,
    kind: PredictionKind,
    odd: Odd,
) -> Outputs {
    let values = Values::new(sizes, odd);
    let log_posterior = Tensor::from_slice(device, [sizes.classifiers], &values.log_posterior);
    let [z, weight, bias] = tensors(device, dtype, sizes, &values, odd);
    let mut prediction = predict(&z, &weight, &bias, &log_posterior, kind).to_f64s();
    if sizes.outputs == 1 && kind == PredictionKind::LogProbabilities {
        // The logarithm of a probability near 1 is mostly rounding.
        prediction.iter_mut().for_each(|log_p| *log_p = log_p.exp());
    }
    vec![("prediction", prediction), ("outputs", outputs(&z, &weight, &bias).to_f64s())]
}

/// Numbers of samples, inputs, classifiers and outputs.
fn all_sizes(task: Task) -> Vec<Extents> {
    let mut all = Vec::new();
    for (number, classifiers) in [1, 2, 10].into_iter().enumerate() {
        for (place, outputs) in [1, 2, 10, 50, 1000].into_iter().enumerate() {
            let samples = [1, 3, 32, 70][(number + place) % 4];
            let inputs = [1, 8, 7, 33][(2 * number + place) % 4];
            all.push(Extents { samples, inputs, classifiers, outputs });
        }
    }
    // Rows too long for shared memory, with and without copies of 16 bytes.
    all.push(Extents { samples: 3, inputs: 4, classifiers: 11, outputs: 1000 });
    all.push(Extents { samples: 2, inputs: 3, classifiers: 3, outputs: 3501 });
    all.push(Extents { samples: 1, inputs: 3, classifiers: 33, outputs: 4 });
    all.push(Extents { samples: 5, inputs: 3, classifiers: 40, outputs: 3 });
    // One long row; and many classifiers of long rows.
    for outputs in [10_244, 10_245] {
        all.push(Extents { samples: 1, inputs: 2, classifiers: 1, outputs });
    }
    for outputs in [1464, 1465, 12, 5] {
        all.push(Extents { samples: 1, inputs: 2, classifiers: 7, outputs });
    }
    if task.is_chosen() {
        // Values are not staged here, so one case of long rows is enough.
        all.retain(|sizes| sizes.outputs < 1000 || sizes.classifiers == 11);
    }
    if task == Task::Classes {
        all.push(Extents { samples: 70, inputs: 4, classifiers: 6, outputs: 50 });
        all.push(Extents { samples: 33, inputs: 4, classifiers: 2, outputs: 4200 });
    }
    all
}

pub(super) const ODD: [Odd; 10] = [
    Odd::BrokenCopies,
    Odd::InfiniteWeight,
    Odd::BrokenInputs,
    Odd::TinyPosterior,
    Odd::FarPosteriors,
    Odd::NoFiniteClassifier,
    Odd::NothingFinite,
    Odd::Ties,
    Odd::Slices,
    Odd::Twice,
];

/// The sizes of odd cases: staged with and without copies of 16 bytes, and both kinds of long rows.
const ODD_SIZES: [Extents; 5] = [
    Extents { samples: 7, inputs: 5, classifiers: 4, outputs: 6 },
    Extents { samples: 5, inputs: 3, classifiers: 3, outputs: 11 },
    Extents { samples: 6, inputs: 4, classifiers: 5, outputs: 4 },
    Extents { samples: 2, inputs: 3, classifiers: 4, outputs: 2564 },
    Extents { samples: 2, inputs: 2, classifiers: 3, outputs: 3415 },
];

fn odd_sizes(task: Task) -> impl Iterator<Item = Extents> {
    ODD_SIZES.into_iter().filter(move |sizes| !task.is_chosen() || sizes.outputs < 1000)
}

fn add(cases: &mut Vec<Case>, task: Task, sizes: Extents, odd: Odd) {
    let Extents { samples, inputs, classifiers, outputs } = sizes;
    let (name, kind) = task.is();
    let shape = format!("[{samples}, {inputs}] into {classifiers} of {outputs} {name}, {odd:?}");
    let terms = classifiers * outputs + samples;
    let mut own = Case::new(format!("classifiers {shape}"), terms, move |device, dtype| {
        head(device, dtype, Form::Stored, sizes, task, odd)
    });
    if task == Task::Classes {
        // A probability less 1 cancels, divided by the batch size; z is at most 2, weights at most 1.
        let share = 1.0 / samples as f64;
        own = own.cancelling(&["dbias", "dz"], share).cancelling(&["dweight"], 2.0 * share);
    }
    // The logits' gradients are stored, then their products with z and the weights.
    cases.extend(own.and_in_bf16(if odd == Odd::Twice { 4 } else { 3 }));
    if task.is_chosen() || odd == Odd::OutsideClasses {
        return;
    }
    let own = Case::new(format!("classifiers predict {shape}"), terms, move |device, dtype| {
        prediction(device, dtype, sizes, kind, odd)
    });
    // The prediction stays in f32.
    cases.extend(own.and_in_bf16(0));
}

/// Target classes, the first and the last among them.
pub(super) fn classes_of(device: &Device, sizes: Extents) -> Tensor {
    let Extents { samples, outputs, .. } = sizes;
    let class = |sample| (sample * 7 % outputs * (outputs - 1) % outputs) as i32;
    let classes: Vec<i32> = (0..samples).map(class).collect();
    Tensor::from_slice(device, [samples], &classes)
}

/// z and weights that end in each of the vectors that a thread copies, after one, two and three elements of the last; with
/// gaps, and in rows without gaps that do not start at a multiple of 16 bytes.
fn copies() -> Vec<Case> {
    let mut cases = Vec::new();
    for rows in [9, 21, 22, 43, 59, 70] {
        let sizes = Extents { samples: rows, inputs: 61, classifiers: 1, outputs: rows };
        for odd in [Odd::Nothing, Odd::Slices, Odd::LaterSamples] {
            add(&mut cases, Task::Values, sizes, odd);
        }
    }
    cases
}

/// Rows too long for shared memory without a gradient of z, and of more classifiers than a block has threads.
fn long_rows() -> Vec<Case> {
    let mut cases = Vec::new();
    let few = |classifiers, outputs| Extents { samples: 1, inputs: 2, classifiers, outputs };
    for task in [Task::Classes, Task::Values] {
        for outputs in [1464, 1465] {
            let sizes = few(7, outputs);
            let wanted = [false, true, true];
            let name =
                format!("classifiers gradients of long rows, 7 of {outputs} {}", task.is().0);
            let own = Case::new(name, 7 * outputs, move |device, dtype| {
                some_gradients(device, dtype, Form::Stored, task, sizes, wanted)
            });
            cases.extend(own.and_in_bf16(3));
        }
        add(&mut cases, task, few(2561, 4), Odd::Nothing);
    }
    cases
}

pub fn cases() -> Vec<Case> {
    let mut cases = copies();
    cases.extend(long_rows());
    for task in [Task::Classes, Task::Chosen] {
        for sizes in odd_sizes(task) {
            add(&mut cases, task, sizes, Odd::OutsideClasses);
        }
    }
    for sizes in odd_sizes(Task::Clipped) {
        for odd in [Odd::Nothing, Odd::BrokenCopies, Odd::BrokenTargets, Odd::Slices] {
            add(&mut cases, Task::Clipped, sizes, odd);
        }
    }
    for task in [Task::Values, Task::Chosen] {
        for sizes in odd_sizes(task) {
            add(&mut cases, task, sizes, Odd::BrokenTargets);
        }
    }
    for task in [Task::Classes, Task::Values, Task::Chosen] {
        for sizes in all_sizes(task) {
            add(&mut cases, task, sizes, Odd::Nothing);
        }
        for sizes in odd_sizes(task) {
            for odd in ODD {
                add(&mut cases, task, sizes, odd);
            }
        }
    }
    let few = Extents { samples: 3, inputs: 5, classifiers: 3, outputs: 7 };
    for wanted in 1..8 {
        let wanted = [wanted & 1 != 0, wanted & 2 != 0, wanted & 4 != 0];
        for task in [Task::Classes, Task::Chosen] {
            let name = format!("classifiers gradients {wanted:?} of {}", task.is().0);
            let own = Case::new(name, 21, move |device, dtype| {
                some_gradients(device, dtype, Form::Stored, task, few, wanted)
            });
            cases.extend(own.and_in_bf16(3));
        }
    }
    cases
}
