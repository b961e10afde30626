//! Tensors without elements: each op gives what PyTorch gives, or panics with its name and the shapes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use alrao::ops::head::classifiers::{Targets, classifiers};
use alrao::ops::head::cross_entropy::cross_entropy;
use alrao::ops::input::augment::{images_from_bytes, images_from_floats};
use alrao::ops::input::gather::{Selection, gather};
use alrao::ops::layers::batch_norm::{BatchNormConfig, batch_norm_eval, batch_norm_train};
use alrao::ops::layers::conv2d::{Conv2dConfig, conv2d};
use alrao::ops::layers::depthwise::depthwise_conv2d;
use alrao::ops::layers::dropout::dropout;
use alrao::ops::layers::embedding::embedding;
use alrao::ops::layers::flatten::flatten;
use alrao::ops::layers::linear::linear;
use alrao::ops::layers::lstm::{LstmWeights, lstm};
use alrao::ops::layers::pool::{
    adaptive_average_pool2d, average_pool2d, global_average_pool, max_pool2d,
};
use alrao::ops::layers::squeeze_excite::squeeze_excite;
use alrao::ops::rl::bellman;
use alrao::ops::rl::replay::{Draw, sample};
use alrao::ops::tensor::concatenate::concatenate;
use alrao::ops::update::catch_up::catch_up;
use alrao::ops::update::clip::gradient_norm_factor;
use alrao::{DType, Device, Tape, Tensor};

use crate::devices::devices;

/// The output of an op and the gradients of its inputs, for a gradient of ones, one after the other.
type Run = Box<dyn Fn(&Device) -> Vec<f64>>;

/// The numbers, or the words of the panic.
type Expected = Result<Vec<f64>, &'static [&'static str]>;

type Row = (&'static str, Run, Expected);

fn ones(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::full(device, shape, DType::F32, 1.0)
}

/// An op on tensors of ones.
fn op(
    name: &'static str,
    shapes: &'static [&'static [usize]],
    op: impl Fn(&[Tensor]) -> Tensor + 'static,
    expected: Expected,
) -> Row {
    let run = move |device: &Device| {
        let tape = Tape::new();
        let inputs: Vec<Tensor> =
            shapes.iter().map(|shape| tape.watch(&ones(device, shape))).collect();
        let output = op(&inputs);
        let mut all = output.to_f64s();
        if output.shape().elements() > 0 || output.shape().rank() > 0 {
            tape.backward(&output.sum());
        } else {
            tape.backward(&output);
        }
        for input in &inputs {
            all.extend(tape.gradient(input).map_or(Vec::new(), |gradient| gradient.to_f64s()));
        }
        all
    };
    (name, Box::new(run), expected)
}

/// Other work.
fn work(
    name: &'static str,
    run: impl Fn(&Device) -> Vec<f64> + 'static,
    expected: Expected,
) -> Row {
    (name, Box::new(run), expected)
}

fn zeros(count: usize) -> Expected {
    Ok(vec![0.0; count])
}

fn nothing() -> Expected {
    zeros(0)
}

fn elementwise() -> Vec<Row> {
    vec![
        op("relu [0, 3]", &[&[0, 3]], |x| x[0].relu(), nothing()),
        op("tanh [2, 0]", &[&[2, 0]], |x| x[0].tanh(), nothing()),
        op("affine [0]", &[&[0]], |x| x[0].affine(2.0, 1.0), nothing()),
        op("add [0, 3], [3]", &[&[0, 3], &[3]], |x| x[0].add(&x[1]), zeros(3)),
        op("add [2, 0], [2, 1]", &[&[2, 0], &[2, 1]], |x| x[0].add(&x[1]), zeros(2)),
        op("mul [0, 3], [1]", &[&[0, 3], &[1]], |x| x[0].mul(&x[1]), zeros(1)),
        op("div [2, 0], [0]", &[&[2, 0], &[0]], |x| x[0].div(&x[1]), nothing()),
        op(
            "add [2, 0], [3]",
            &[&[2, 0], &[3]],
            |x| x[0].add(&x[1]),
            Err(&["add", "[2, 0]", "[3]"]),
        ),
        op("cast [2, 0]", &[&[2, 0]], |x| x[0].cast(DType::F32).copy(), nothing()),
        op("slice of nothing", &[&[2, 3]], |x| x[0].slice(1, 1, 0), zeros(6)),
        op("slice of no rows", &[&[2, 3]], |x| x[0].slice(0, 2, 0), zeros(6)),
        op("reshape [0, 3]", &[&[0, 3]], |x| x[0].reshape([3, 0]), nothing()),
        op(
            "reshape [0, 3] to [3]",
            &[&[0, 3]],
            |x| x[0].reshape([3]),
            Err(&["reshape", "[0, 3]", "[3]"]),
        ),
        op("concatenate", &[&[2, 0], &[2, 3]], |x| concatenate(&[&x[0], &x[1]]), Ok(vec![1.0; 12])),
        op("concatenate no rows", &[&[0, 2], &[0, 3]], |x| concatenate(&[&x[0], &x[1]]), nothing()),
        op("flatten [0, 2, 2, 3]", &[&[0, 2, 2, 3]], flat, nothing()),
        op("flatten [2, 0, 2, 3]", &[&[2, 0, 2, 3]], flat, nothing()),
        op("flatten [2, 2, 2, 0]", &[&[2, 2, 2, 0]], flat, nothing()),
        op("dropout [0, 4]", &[&[0, 4]], dropped, nothing()),
        op("dropout [4, 0]", &[&[4, 0]], dropped, nothing()),
    ]
}

fn flat(x: &[Tensor]) -> Tensor {
    flatten(&x[0])
}

fn dropped(x: &[Tensor]) -> Tensor {
    dropout(&x[0], 0.5, 1, &Tensor::from_slice(x[0].device(), [1], &[1i64]), 0)
}

fn reductions() -> Vec<Row> {
    let argmax =
        |shape: &'static [usize]| move |device: &Device| ones(device, shape).argmax().to_f64s();
    vec![
        op("sum [0, 3]", &[&[0, 3]], |x| x[0].sum(), zeros(1)),
        op("sum [2, 0]", &[&[2, 0]], |x| x[0].sum(), zeros(1)),
        op("mean [0, 3]", &[&[0, 3]], |x| x[0].mean(), Ok(vec![f64::NAN])),
        op("sum_to [0, 3], [3]", &[&[0, 3]], |x| x[0].sum_to([3]), zeros(3)),
        op("sum_to [2, 0], [2, 1]", &[&[2, 0]], |x| x[0].sum_to([2, 1]), zeros(2)),
        op("sum_to [2, 0], [0]", &[&[2, 0]], |x| x[0].sum_to([0]), nothing()),
        op("sum_to [2, 0, 3], [2, 1, 3]", &[&[2, 0, 3]], |x| x[0].sum_to([2, 1, 3]), zeros(6)),
        work("argmax [0, 3]", argmax(&[0, 3]), nothing()),
        work("argmax [2, 0]", argmax(&[2, 0]), Err(&["argmax", "[2, 0]"])),
        work("argmax [0, 0]", argmax(&[0, 0]), Err(&["argmax", "[0, 0]"])),
    ]
}

fn products() -> Vec<Row> {
    let six_and = |more: &[f64]| Ok([&[1.0; 6][..], more].concat());
    vec![
        op("matmul [2, 0], [0, 3]", &[&[2, 0], &[0, 3]], |x| x[0].matmul(&x[1]), zeros(6)),
        op("matmul [0, 2], [2, 3]", &[&[0, 2], &[2, 3]], |x| x[0].matmul(&x[1]), zeros(6)),
        op("matmul [2, 3], [3, 0]", &[&[2, 3], &[3, 0]], |x| x[0].matmul(&x[1]), zeros(6)),
        op("batched matmul", &[&[0, 2, 3], &[0, 3, 2]], |x| x[0].matmul(&x[1]), nothing()),
        op("transposed", &[&[2, 0], &[3, 0]], |x| x[0].matmul_transposed(&x[1]), zeros(6)),
        op("the other", &[&[0, 2], &[0, 3]], |x| x[0].transposed_matmul(&x[1]), zeros(6)),
        op("linear [2, 0]", &[&[2, 0], &[3, 0], &[3]], full, six_and(&[2.0; 3])),
        op("linear [0, 2]", &[&[0, 2], &[3, 2], &[3]], full, zeros(9)),
        op("linear to [2, 0]", &[&[2, 2], &[0, 2], &[0]], full, zeros(4)),
        op(
            "matmul [2, 0], [1, 3]",
            &[&[2, 0], &[1, 3]],
            |x| x[0].matmul(&x[1]),
            Err(&["matmul", "[2, 0]", "[1, 3]"]),
        ),
    ]
}

fn full(x: &[Tensor]) -> Tensor {
    linear(&x[0], &x[1], &x[2], true)
}

fn convolved(x: &[Tensor]) -> Tensor {
    conv2d(&x[0], &x[1], Some(&x[2]), Conv2dConfig::default())
}

fn depthwise(x: &[Tensor]) -> Tensor {
    depthwise_conv2d(&x[0], &x[1], None, 1, 0)
}

fn images() -> Vec<Row> {
    vec![
        op("conv2d N = 0", &[&[0, 4, 4, 2], &[3, 3, 3, 2], &[3]], convolved, zeros(57)),
        op(
            "conv2d K = 0",
            &[&[1, 4, 4, 2], &[0, 3, 3, 2], &[0]],
            convolved,
            Err(&["conv2d", "[0, 3, 3, 2]"]),
        ),
        op(
            "conv2d C = 0",
            &[&[1, 4, 4, 0], &[3, 3, 3, 0], &[3]],
            convolved,
            Err(&["conv2d", "[1, 4, 4, 0]"]),
        ),
        op(
            "conv2d H = 0",
            &[&[1, 0, 4, 2], &[3, 3, 3, 2], &[3]],
            convolved,
            Err(&["conv2d", "[1, 0, 4, 2]"]),
        ),
        op(
            "conv2d R = 0",
            &[&[1, 4, 4, 2], &[3, 0, 3, 2], &[3]],
            convolved,
            Err(&["conv2d", "[3, 0, 3, 2]"]),
        ),
        op("depthwise N = 0", &[&[0, 4, 4, 2], &[3, 3, 2]], depthwise, zeros(18)),
        op(
            "depthwise C = 0",
            &[&[1, 4, 4, 0], &[3, 3, 0]],
            depthwise,
            Err(&["depthwise", "[3, 3, 0]"]),
        ),
        op(
            "depthwise H = 0",
            &[&[1, 0, 4, 2], &[3, 3, 2]],
            depthwise,
            Err(&["depthwise", "[1, 0, 4, 2]"]),
        ),
        op("max_pool2d N = 0", &[&[0, 4, 4, 3]], |x| max_pool2d(&x[0], 2, 2, 0), nothing()),
        op("max_pool2d C = 0", &[&[1, 4, 4, 0]], |x| max_pool2d(&x[0], 2, 2, 0), nothing()),
        op(
            "max_pool2d H = 0",
            &[&[1, 0, 4, 3]],
            |x| max_pool2d(&x[0], 2, 2, 1),
            Err(&["max_pool2d", "[1, 0, 4, 3]"]),
        ),
        op("average_pool2d N = 0", &[&[0, 4, 4, 3]], |x| average_pool2d(&x[0], 2, 2, 0), nothing()),
        op("average_pool2d C = 0", &[&[1, 4, 4, 0]], |x| average_pool2d(&x[0], 2, 2, 0), nothing()),
        op(
            "average_pool2d W = 0",
            &[&[1, 4, 0, 3]],
            |x| average_pool2d(&x[0], 2, 2, 1),
            Err(&["average_pool2d", "[1, 4, 0, 3]"]),
        ),
        op(
            "global_average_pool N = 0",
            &[&[0, 4, 4, 3]],
            |x| global_average_pool(&x[0]),
            nothing(),
        ),
        op(
            "global_average_pool C = 0",
            &[&[2, 4, 4, 0]],
            |x| global_average_pool(&x[0]),
            nothing(),
        ),
        op(
            "global_average_pool H = 0",
            &[&[1, 0, 4, 3]],
            |x| global_average_pool(&x[0]),
            Ok(vec![f64::NAN; 3]),
        ),
        op(
            "squeeze_excite N = 0",
            &[&[0, 4, 4, 3], &[2, 1, 1, 3], &[2], &[3, 1, 1, 2], &[3]],
            |x| squeeze_excite(&x[0], [&x[1], &x[2]], [&x[3], &x[4]], Some(&x[0])),
            zeros(17),
        ),
        op(
            "squeeze_excite of no hidden units",
            &[&[2, 4, 4, 3], &[0, 1, 1, 3], &[0], &[3, 1, 1, 0], &[3]],
            |x| squeeze_excite(&x[0], [&x[1], &x[2]], [&x[3], &x[4]], None),
            Err(&["squeeze_excite", "0 hidden units", "[2, 4, 4, 3]"]),
        ),
        op(
            "adaptive N = 0",
            &[&[0, 4, 4, 3]],
            |x| adaptive_average_pool2d(&x[0], [2, 3]),
            nothing(),
        ),
        op(
            "adaptive C = 0",
            &[&[1, 4, 4, 0]],
            |x| adaptive_average_pool2d(&x[0], [2, 3]),
            nothing(),
        ),
        op(
            "adaptive H = 0",
            &[&[1, 0, 4, 3]],
            |x| adaptive_average_pool2d(&x[0], [2, 3]),
            Err(&["adaptive_average_pool2d", "[1, 0, 4, 3]"]),
        ),
        work("augment N = 0", |device| cropped(device, [0, 4, 4, 3]), nothing()),
        work("augment H = 0", |device| cropped(device, [2, 0, 4, 3]), nothing()),
        work("augment C = 0", |device| cropped(device, [2, 4, 4, 0]), nothing()),
    ]
}

fn cropped(device: &Device, shape: [usize; 4]) -> Vec<f64> {
    let statistic = Tensor::full(device, [shape[3]], DType::F64, 1.0);
    let bytes = Tensor::zeros(device, shape, DType::U8);
    let mut out =
        images_from_bytes(&bytes, None, &statistic, &statistic, DType::F32, None).to_f64s();
    let floats = Tensor::zeros(device, shape, DType::F32);
    out.extend(images_from_floats(&floats, None, DType::F32, None).to_f64s());
    out
}

/// The outputs of a norm, its gradients, and the running statistics, which are 2 and 3 before.
fn normed(device: &Device, shape: &'static [usize], train: bool) -> Vec<f64> {
    let channels = shape[shape.len() - 1];
    let [mean, variance] =
        [2.0, 3.0].map(|value| Tensor::full(device, [channels], DType::F32, value));
    let tape = Tape::new();
    let x = tape.watch(&ones(device, shape));
    let [weight, bias] = [0, 1].map(|_| tape.watch(&ones(device, &[channels])));
    let config = BatchNormConfig { relu: true, ..BatchNormConfig::default() };
    let norm = if train { batch_norm_train } else { batch_norm_eval };
    let y = norm(&x, &weight, &bias, &mean, &variance, config);
    tape.backward(&y.sum());
    let gradients = [&x, &weight, &bias].map(|input| tape.gradient(input).unwrap());
    let all = [&[y, mean, variance][..], &gradients].concat();
    all.iter().flat_map(Tensor::to_f64s).collect()
}

fn norms() -> Vec<Row> {
    let unchanged = || Ok(vec![2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    vec![
        work("batch norm of no rows", |device| normed(device, &[0, 3], true), unchanged()),
        work("batch norm of no images", |device| normed(device, &[0, 2, 2, 3], true), unchanged()),
        work("batch norm of no pixels", |device| normed(device, &[2, 0, 2, 3], true), unchanged()),
        work("its evaluation", |device| normed(device, &[0, 3], false), unchanged()),
        work("batch norm without channels", |device| normed(device, &[4, 0], true), nothing()),
        work("its evaluation without channels", |device| normed(device, &[4, 0], false), nothing()),
    ]
}

fn labels(device: &Device, labels: &[i32]) -> Tensor {
    Tensor::from_slice(device, [labels.len()], labels)
}

/// The loss, each classifier's, and the gradients at a head.
fn headed(device: &Device, [samples, classifiers_, outputs, inputs]: [usize; 4]) -> Vec<f64> {
    let tape = Tape::new();
    let [z, weight, bias] =
        [&[samples, inputs][..], &[classifiers_, outputs, inputs], &[classifiers_, outputs]]
            .map(|shape| tape.watch(&ones(device, shape)));
    let log_posterior =
        Tensor::full(device, [classifiers_], DType::F64, -(classifiers_ as f64).ln());
    let classes = labels(device, &vec![0; samples]);
    let head = classifiers(&z, &weight, &bias, Targets::Classes(&classes), &log_posterior);
    tape.backward(&head.objective);
    let gradients = [&z, &weight, &bias].map(|input| tape.gradient(input).unwrap());
    let losses = [head.loss, head.classifier_losses];
    losses.iter().chain(&gradients).flat_map(Tensor::to_f64s).collect()
}

fn losses() -> Vec<Row> {
    let entropy = |x: &[Tensor]| {
        let samples = vec![0; x[0].shape()[0]];
        cross_entropy(&x[0], &labels(x[0].device(), &samples))
    };
    let nan_and_zeros = [vec![f64::NAN; 3], vec![0.0; 18]].concat();
    let without_inputs = [vec![3f64.ln(); 3]].concat();
    vec![
        op("cross_entropy [0, 3]", &[&[0, 3]], entropy, Ok(vec![f64::NAN])),
        op("cross_entropy [2, 0]", &[&[2, 0]], entropy, Err(&["cross_entropy", "[2, 0]"])),
        work("classifiers B = 0", |device| headed(device, [0, 2, 3, 2]), Ok(nan_and_zeros)),
        work(
            "classifiers K = 0",
            |device| headed(device, [2, 2, 0, 2]),
            Err(&["classifiers", "[2, 0, 2]"]),
        ),
        work(
            "classifiers N = 0",
            |device| headed(device, [2, 0, 3, 2]),
            Err(&["classifiers", "[0, 3, 2]"]),
        ),
        work(
            "classifiers d = 0",
            |device| headed(device, [3, 2, 3, 0])[..3].to_vec(),
            Ok(without_inputs),
        ),
        work(
            "clip",
            |device| {
                let factor = Tensor::zeros(device, [1], DType::F64);
                gradient_norm_factor(&ones(device, &[0]), 1.0, &factor);
                factor.to_f64s()
            },
            Ok(vec![1.0]),
        ),
        work(
            "catch_up d = 0",
            |device| {
                let log_posterior = Tensor::from_slice(device, [2], &[0.0, -100.0]);
                let bias = Tensor::from_slice(device, [2, 1], &[1f32, 5.0]);
                catch_up(&ones(device, &[2, 1, 0]), &bias, &log_posterior, -20.0);
                bias.to_f64s()
            },
            Ok(vec![1.0, 1.0]),
        ),
    ]
}

/// The outputs and the last state of an LSTM, and the gradients of its weights and input.
fn recurrent(device: &Device, [times, batch, inputs, hidden]: [usize; 4]) -> Vec<f64> {
    let tape = Tape::new();
    let x = tape.watch(&ones(device, &[times, batch, inputs]));
    let [weight_ih, weight_hh] =
        [inputs, hidden].map(|columns| tape.watch(&ones(device, &[4 * hidden, columns])));
    let [bias_ih, bias_hh] = [0, 1].map(|_| tape.watch(&ones(device, &[4 * hidden])));
    let state = ones(device, &[batch, hidden]);
    let weights = LstmWeights {
        weight_ih: &weight_ih,
        weight_hh: &weight_hh,
        bias_ih: &bias_ih,
        bias_hh: &bias_hh,
    };
    let out = lstm(&x, weights, &state, &state);
    tape.backward(&out.y.sum());
    let gradients = [&x, &weight_ih, &weight_hh, &bias_ih, &bias_hh]
        .map(|input| tape.gradient(input).map_or(Vec::new(), |own| own.to_f64s()));
    [&out.h, &out.c].iter().flat_map(|own| own.to_f64s()).chain(gradients.concat()).collect()
}

fn selections() -> Vec<Row> {
    let gathered = |shape: &'static [usize], count: usize| {
        move |device: &Device| {
            let cursor = Tensor::from_slice(device, [1], &[0i32]);
            let selection = Selection { cursor: &cursor, order: None, count };
            gather(&ones(device, shape), selection).to_f64s()
        }
    };
    let looked_up = |tokens: &'static [i32]| {
        move |x: &[Tensor]| embedding(&labels(x[0].device(), tokens), &x[0])
    };
    let targets = |shape: &'static [usize]| {
        move |device: &Device| {
            let vector = ones(device, &shape[..1]);
            bellman::targets(&vector, &vector, &ones(device, shape), 0.9).to_f64s()
        }
    };
    vec![
        work("gather nothing", gathered(&[3, 2], 0), nothing()),
        work("gather from nothing", gathered(&[0, 2], 0), nothing()),
        work("gather empty rows", gathered(&[3, 0], 2), nothing()),
        op("embedding of nothing", &[&[3, 2]], looked_up(&[]), zeros(6)),
        op("embedding without rows", &[&[0, 2]], looked_up(&[]), nothing()),
        op("embedding without columns", &[&[3, 0]], looked_up(&[1, 2]), nothing()),
        work("bellman B = 0", targets(&[0, 3]), nothing()),
        work("bellman K = 0", targets(&[2, 0]), Err(&["bellman", "[2, 0]"])),
        work(
            "replay of nothing",
            |device| {
                let step = Tensor::from_slice(device, [1], &[1i64]);
                let filled = Tensor::from_slice(device, [1], &[1i32]);
                let draw = Draw { seed: 1, step: &step, filled: &filled, count: 0 };
                sample(&ones(device, &[1, 5]), draw).rewards.to_f64s()
            },
            nothing(),
        ),
        work("lstm B = 0", |device| recurrent(device, [2, 0, 2, 1]), zeros(20)),
        work(
            "lstm H = 0",
            |device| recurrent(device, [2, 1, 2, 0]),
            Err(&["lstm", "[2, 1, 2]", "[0, 0]"]),
        ),
        work(
            "lstm I = 0",
            |device| vec![recurrent(device, [2, 1, 0, 1]).len() as f64],
            Ok(vec![14.0]),
        ),
    ]
}

/// Equal to the rounding of f32, NaN included.
fn are_near(found: &[f64], expected: &[f64]) -> bool {
    let is_near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6 || a.is_nan() && b.is_nan();
    found.len() == expected.len() && found.iter().zip(expected).all(is_near)
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[test]
fn every_op_gives_a_result_or_names_itself_and_the_shapes() {
    let all = [elementwise(), reductions(), products(), images(), norms(), losses(), selections()];
    let mut faults = Vec::new();
    for device in devices() {
        for (name, run, expected) in all.iter().flatten() {
            let found = catch_unwind(AssertUnwindSafe(|| run(&device)));
            let found = found.map_err(|panic| text(&*panic));
            let is_right = match (&found, expected) {
                (Ok(found), Ok(expected)) => are_near(found, expected),
                (Err(message), Err(words)) => words.iter().all(|word| message.contains(word)),
                _ => false,
            };
            if !is_right {
                faults.push(format!("{name} on {}: {found:?}, not {expected:?}", device.name()));
            }
            if let Err(error) = device.check() {
                faults.push(format!("{name} on {}: {error}", device.name()));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
