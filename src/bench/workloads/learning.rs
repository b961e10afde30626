//! Kernels of learning: the head, the model average, the update; and those of `peak.cu`.

use super::{Cost, Size, Work, Workload, filled, whole};
use crate::device::{DType, Device};
use crate::ops::head::classifiers::{self, Form, Head, Targets, classifiers_in};
use crate::ops::head::cross_entropy::cross_entropy;
use crate::ops::head::prediction::{PredictionKind, predict};
use crate::ops::head::switch::{
    SwitchState, bayesian_update, switch_update, uniform_log_posterior,
};
use crate::ops::peak::{Unit, keep_busy};
use crate::ops::update::catch_up::catch_up;
use crate::ops::update::clip::gradient_norm_factor;
use crate::ops::update::optimizer::{Buffers, Rule, Span, Table, update};
use crate::ops::update::soft_update::soft_update;
use crate::ops::update::step_statistics::{Sums, accumulate, advance};
use crate::tape::Tape;
use crate::tensor::Tensor;

/// Samples, features, classifiers and outputs of each: VGG19's head on CIFAR-10, at batch 128.
const HEAD: [usize; 4] = [128, 512, 10, 10];
const SMALL_HEAD: [usize; 4] = [7, 5, 4, 6];

/// VGG19's convolutions: output channels, and weights of each.
const VGG19: [[usize; 2]; 16] = [
    [64, 27],
    [64, 576],
    [128, 576],
    [128, 1152],
    [256, 1152],
    [256, 2304],
    [256, 2304],
    [256, 2304],
    [512, 2304],
    [512, 4608],
    [512, 4608],
    [512, 4608],
    [512, 4608],
    [512, 4608],
    [512, 4608],
    [512, 4608],
];
const SMALL_LAYERS: [[usize; 2]; 3] = [[8, 27], [16, 72], [3, 1500]];

pub(super) fn all() -> Vec<Workload> {
    let mut all = vec![classes(), values(), log_probabilities(), means(), softmax()];
    all.extend(MANY.map(many_classes));
    all.extend(MANY.map(many_classes_evaluated));
    all.extend([switch(), bayesian(), step_statistics(), advanced(), caught_up(), clipped()]);
    all.extend(updates());
    all.push(followed());
    all.extend(Unit::ALL.map(peak));
    all
}

/// The head's tensors: z, weights, biases, log-posterior.
pub(in crate::bench) fn head(
    device: &Device,
    dtype: DType,
    [samples, inputs, classifiers, outputs]: [usize; 4],
) -> [Tensor; 4] {
    [
        filled(device, &[samples, inputs], dtype, 1),
        filled(device, &[classifiers, outputs, inputs], dtype, 2),
        filled(device, &[classifiers, outputs], dtype.wide(), 3),
        uniform_log_posterior(device, classifiers),
    ]
}

/// A forward and backward pass of the head: its gradients and losses.
pub(in crate::bench) fn learned(
    leaves: [Tensor; 4],
    run: impl Fn(&[Tensor; 3], &Tensor) -> Head + 'static,
) -> Work {
    Box::new(move || {
        let [z, weight, bias, log_posterior] = &leaves;
        let tape = Tape::new();
        let watched = [z, weight, bias].map(|leaf| tape.watch(leaf));
        let head = run(&watched, log_posterior);
        tape.backward(&head.objective);
        let gradients = watched.iter().filter_map(|leaf| tape.gradient(leaf));
        gradients.chain([head.loss, head.classifier_losses]).collect()
    })
}

fn classes() -> Workload {
    let [samples, inputs, classifiers, outputs] = HEAD;
    let all = samples * classifiers * outputs;
    let prepare = |device: &Device, dtype: DType, size: Size| {
        let sizes = size.of(HEAD, SMALL_HEAD);
        let classes = whole(device, &[sizes[0]], sizes[3], 1);
        learned(head(device, dtype, sizes), move |[z, weight, bias], log_posterior| {
            classifiers::classifiers(z, weight, bias, Targets::Classes(&classes), log_posterior)
        })
    };
    let operands = all + 2 * inputs * (classifiers * outputs + samples);
    Workload::new("10 classifiers of 10 classes, batch 128", prepare)
        .cost("classifiers_classes_fwd*", Cost::elements(3 * all).and_operations(20 * all))
        .cost("classifiers_summary_fwd*", Cost::bytes(8 * (classifiers + 2) * samples))
        .cost("classifiers_operands_bwd*", Cost::elements(operands).and_operations(all))
}

/// The head without stored logits: six classifiers over 9,999 words, with the paper's 100 features and with 64; and
/// small.
const MANY: [[[usize; 4]; 2]; 2] =
    [[[1400, 100, 6, 9999], [70, 100, 3, 70]], [[1400, 64, 6, 9999], [70, 36, 3, 70]]];

fn recomputed([z, weight, bias]: [&Tensor; 3], classes: &Tensor, log_posterior: &Tensor) -> Head {
    let targets = Targets::Classes(classes);
    classifiers_in(Form::Recomputed, z, weight, bias, targets, log_posterior)
}

/// The cost of a pass over all logits with `products` matrix products. Samples, features, classifiers, classes.
fn pass([samples, inputs, classifiers, outputs]: [usize; 4], products: usize) -> Cost {
    let factors = samples * inputs + classifiers * outputs * (inputs + 1);
    Cost::elements(factors).and_operations(2 * products * samples * classifiers * outputs * inputs)
}

fn many_classes([full, small]: [[usize; 4]; 2]) -> Workload {
    let [samples, inputs, classifiers, outputs] = full;
    let prepare = move |device: &Device, dtype: DType, size: Size| {
        let sizes = size.of(full, small);
        let classes = whole(device, &[sizes[0]], sizes[3], 1);
        learned(head(device, dtype, sizes), move |[z, weight, bias], log_posterior| {
            recomputed([z, weight, bias], &classes, log_posterior)
        })
    };
    let workload = Workload::new(
        format!("{classifiers} classifiers of {outputs} words from {inputs} features"),
        prepare,
    )
    .cost("many_classes*_softmax_fwd*", pass(full, 1))
    .cost("many_classes*_input_fwd*", pass(full, 2).and_bytes(4 * samples * inputs))
    .cost(
        "many_classes*_weight_bwd*",
        pass(full, 2).and_bytes(4 * classifiers * outputs * (inputs + 1)),
    );
    if inputs != 100 {
        return workload;
    }
    // At least two parts per sample and classifier, and the results.
    workload
        .cost("many_classes_mix_fwd*", Cost::bytes(32 * samples * classifiers))
        .cost("many_classes_correct_fwd*", Cost::bytes(24 * samples))
}

/// The same without gradients.
fn many_classes_evaluated([full, small]: [[usize; 4]; 2]) -> Workload {
    let [_, inputs, classifiers, outputs] = full;
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let sizes = size.of(full, small);
        let classes = whole(device, &[sizes[0]], sizes[3], 1);
        let [z, weight, bias, log_posterior] = head(device, dtype, sizes);
        Box::new(move || {
            let head = recomputed([&z, &weight, &bias], &classes, &log_posterior);
            vec![head.loss, head.classifier_losses]
        })
    };
    Workload::new(
        format!(
            "{classifiers} classifiers of {outputs} words from {inputs} features, no gradients"
        ),
        prepare,
    )
    .cost("many_classes*_mixture_fwd*", pass(full, 1))
}

fn values() -> Workload {
    let [samples, _, classifiers, outputs] = HEAD;
    let prepare = |device: &Device, dtype: DType, size: Size| {
        let sizes = size.of(HEAD, SMALL_HEAD);
        let numbers = filled(device, &[sizes[0], sizes[3]], dtype.wide(), 4);
        learned(head(device, dtype, sizes), move |[z, weight, bias], log_posterior| {
            classifiers::classifiers(z, weight, bias, Targets::Values(&numbers), log_posterior)
        })
    };
    Workload::new("10 classifiers of 10 numbers, batch 128", prepare)
        .cost("classifiers_values_fwd*", Cost::elements(3 * samples * classifiers * outputs))
}

fn predicted(kind: PredictionKind) -> impl Fn(&Device, DType, Size) -> Work {
    move |device, dtype, size| {
        let [z, weight, bias, log_posterior] = head(device, dtype, size.of(HEAD, SMALL_HEAD));
        Box::new(move || vec![predict(&z, &weight, &bias, &log_posterior, kind)])
    }
}

fn log_probabilities() -> Workload {
    let [samples, _, classifiers, outputs] = HEAD;
    let moved = Cost::elements(samples * outputs * (classifiers + 1));
    Workload::new("the mixture's log-probabilities", predicted(PredictionKind::LogProbabilities))
        .cost("prediction_log_probabilities_fwd*", moved)
}

fn means() -> Workload {
    let [samples, _, classifiers, outputs] = HEAD;
    let moved = Cost::elements(samples * outputs * (classifiers + 1));
    Workload::new("the mixture's means", predicted(PredictionKind::Mean))
        .cost("prediction_mean_fwd*", moved)
}

/// One softmax over words.
fn softmax() -> Workload {
    let full = [1400, 9999];
    let n = full[0] * full[1];
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let [batch, classes] = size.of(full, [9, 33]);
        let logits = filled(device, &[batch, classes], dtype, 1);
        let labels = whole(device, &[batch], classes, 1);
        Box::new(move || {
            let tape = Tape::new();
            let logits = tape.watch(&logits);
            let loss = cross_entropy(&logits, &labels);
            tape.backward(&loss);
            tape.gradient(&logits).into_iter().chain([loss.detach()]).collect()
        })
    };
    Workload::new("softmax of [1400, 9999]", prepare)
        .cost("cross_entropy_rows*", Cost::elements(n))
        .cost("cross_entropy_mean*", Cost::bytes(4 * full[0]))
        .cost("cross_entropy_bwd*", Cost::elements(2 * n))
}

/// Losses of ten classifiers.
fn losses(device: &Device) -> Tensor {
    let losses: [f64; 10] = std::array::from_fn(|number| 2.0 + 0.1 * number as f64);
    Tensor::from_slice(device, [10], &losses)
}

fn switch() -> Workload {
    Workload::new("the switch over 10 classifiers", |device, _, _| {
        let (state, losses) = (SwitchState::new(device, 10, 0.999), losses(device));
        Box::new(move || {
            switch_update(&state, &losses, 0.999, 1.0);
            vec![state.log_posterior.clone()]
        })
    })
    .cost("switch_update_f64", Cost::bytes(8 * 7 * 10))
}

fn bayesian() -> Workload {
    Workload::new("Bayes' rule over 10 classifiers", |device, _, _| {
        let (log_posterior, losses) = (uniform_log_posterior(device, 10), losses(device));
        Box::new(move || {
            bayesian_update(&log_posterior, &losses, 1.0);
            vec![log_posterior.clone()]
        })
    })
    .cost("switch_bayesian_f64", Cost::bytes(8 * 3 * 10))
}

fn step_statistics() -> Workload {
    Workload::new("the step statistics", |device, _, _| {
        let sums = Sums::new(device);
        let head = Head {
            objective: Tensor::zeros(device, [], DType::F32),
            loss: Tensor::from_slice(device, [1], &[0.75f64]),
            correct: Tensor::from_slice(device, [1], &[7i32]),
            classifier_losses: Tensor::zeros(device, [10], DType::F64),
            diverged: Tensor::from_slice(device, [10], &[0u8; 10]),
            samples_without_finite_classifier: Tensor::from_slice(device, [1], &[0i32]),
        };
        Box::new(move || {
            accumulate(&sums, &head, 32);
            vec![sums.values().clone()]
        })
    })
    .cost("step_statistics_add", Cost::bytes(8 + 4 + 4 + 10 + 2 * 7 * 8))
}

fn advanced() -> Workload {
    Workload::new("the step counter", |device, _, _| {
        let number = Tensor::from_slice(device, [1], &[1i64]);
        Box::new(move || {
            advance(Some(&number), None);
            vec![number.clone()]
        })
    })
    .cost("step_statistics_advance", Cost::bytes(16))
}

/// Three of six classifiers over words take the mean of all.
fn caught_up() -> Workload {
    let full = [6, 9999, 100];
    let [classifiers, outputs, inputs] = full;
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let [classifiers, outputs, inputs] = size.of(full, [4, 10, 33]);
        let weight = filled(device, &[classifiers, outputs, inputs], dtype.wide(), 1);
        let bias = filled(device, &[classifiers, outputs], dtype.wide(), 2);
        let behind: Vec<f64> = (0..classifiers)
            .map(|classifier| if classifier % 2 == 1 { -30.0 } else { -1.0 })
            .collect();
        let log_posterior = Tensor::from_slice(device, [classifiers], &behind);
        Box::new(move || {
            catch_up(&weight, &bias, &log_posterior, -20.0);
            vec![weight.clone(), bias.clone()]
        })
    };
    let each = outputs * (inputs + 1);
    Workload::new("3 of 6 classifiers over 9,999 words catch up", prepare)
        .cost("catch_up*", Cost::bytes(4 * each * (classifiers + classifiers / 2)))
}

/// Length of the flat buffer for layers, each given as features and weights per feature.
fn length(layers: &[[usize; 2]]) -> usize {
    layers.iter().map(|[features, inner]| (features * inner).next_multiple_of(16)).sum()
}

fn clipped() -> Workload {
    let full = length(&VGG19);
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let gradients = filled(device, &[size.of(full, 10_001)], dtype.wide(), 1);
        let factor = Tensor::zeros(device, [1], DType::F64);
        Box::new(move || {
            gradient_norm_factor(&gradients, 0.25, &factor);
            vec![factor.clone()]
        })
    };
    Workload::new("the norm of 20M gradients", prepare)
        .cost("clip_squares*", Cost::bytes(4 * full).and_operations(2 * full))
        .cost("clip_factor", Cost::bytes(8 * 1024))
}

fn updates() -> [Workload; 3] {
    let n = length(&VGG19);
    let momentum = Rule::Sgd { momentum: 0.9, weight_decay: 5e-4 };
    [
        ("SGD's update of 20M parameters", "optimizer_sgd*", Rule::SGD, 12, 2),
        ("momentum's update of 20M parameters", "optimizer_momentum*", momentum, 20, 6),
        ("Adam's update of 20M parameters", "optimizer_adam*", Rule::ADAM, 28, 16),
    ]
    .map(|(name, kernel, rule, bytes, operations)| {
        Workload::new(name, move |device, dtype, size| updated(device, dtype, size, rule))
            .cost(kernel, Cost::bytes(bytes * n).and_operations(operations * n))
    })
}

/// The update's table for some layers, with a learning rate for every feature, and the number of features.
fn table(layers: &[[usize; 2]]) -> (Table, usize) {
    let (mut base, mut rate_base) = (0, 0);
    let spans = layers.iter().map(|[features, inner]| {
        let (features, inner, length) = (*features, *inner, features * inner);
        let span = Span { base, length, inner, features, rate_base, in_head: false };
        base += length.next_multiple_of(16);
        rate_base += features;
        span
    });
    (Table::new(spans.collect::<Vec<_>>()), rate_base)
}

/// One update of all layers.
fn updated(device: &Device, dtype: DType, size: Size, rule: Rule) -> Work {
    let layers: &[[usize; 2]] = size.of(&VGG19, &SMALL_LAYERS);
    let (table, features) = table(layers);
    let flat = |number| filled(device, &[length(layers)], dtype.wide(), number);
    let is_narrow = dtype != dtype.wide();
    let buffers = Buffers {
        values: flat(1),
        narrow: is_narrow.then(|| Tensor::zeros(device, [length(layers)], dtype)),
        gradients: flat(2),
        first_moment: (rule.moments() > 0).then(|| flat(3)),
        second_moment: (rule.moments() > 1).then(|| flat(4)),
        rates: filled(device, &[features], dtype.wide(), 5),
    };
    // A small rate keeps the weights finite, however often the update runs.
    let scales = Tensor::from_slice(device, [2], &[1e-6f64, 1.0]);
    let number = Tensor::from_slice(device, [1], &[3i64]);
    let skipped = Tensor::from_slice(device, [1], &[0i64]);
    Box::new(move || {
        update(&buffers, &table, rule, &scales, None, &number, &skipped);
        vec![buffers.values.clone()]
    })
}

/// A target network of VGG19's size.
fn followed() -> Workload {
    let n = length(&VGG19);
    Workload::new("the soft update of 20M parameters", |device, dtype, size| {
        let layers: &[[usize; 2]] = size.of(&VGG19, &SMALL_LAYERS);
        let (table, _) = table(layers);
        let [target, online] =
            [1, 2].map(|number| filled(device, &[length(layers)], dtype.wide(), number));
        Box::new(move || {
            soft_update(&target, &online, &table, 0.9);
            vec![target.clone()]
        })
    })
    .cost("soft_update*", Cost::bytes(12 * n).and_operations(2 * n))
}

/// Threads that fill an H100 or H200, and rounds.
const BUSY: [usize; 2] = [132 * 2048, 512];

fn peak(unit: Unit) -> Workload {
    let [threads, rounds] = BUSY;
    let kernel = match unit {
        Unit::F32 => "peak_fma_f32",
        Unit::Tf32 => "peak_mma_tf32",
        Unit::Bf16 => "peak_mma_bf16",
    };
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let [threads, rounds] = size.of(BUSY, [256, 2]);
        let out = Tensor::zeros(device, [threads], dtype.wide());
        Box::new(move || {
            keep_busy(&out, unit, rounds as u32);
            vec![out.clone()]
        })
    };
    let operations = threads * rounds * unit.operations();
    Workload::new(format!("peak arithmetic, {}", unit.name()), prepare)
        .cost(kernel, Cost::bytes(4 * threads).and_operations(operations))
}
