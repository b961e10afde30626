//! Batch norm, in training and with running statistics.

use crate::ops::layers::batch_norm::{
    BatchNormConfig, PartSums, batch_norm_add, batch_norm_affine, batch_norm_eval,
    batch_norm_train, moments, with_part_sums,
};
use crate::ops::tensor::concatenate::concatenate;
use crate::{DType, Device, Tape, Tensor};

use super::{Case, Outputs, draw, drawn, gradient, stored};

#[derive(Clone, Copy)]
struct Norm {
    /// Shape of the whole tensor; the norm takes its last `channels`.
    shape: [usize; 4],
    channels: usize,
    relu: bool,
    training: bool,
    /// Added to every element.
    offset: f64,
    /// Puts a NaN into the first channel.
    not_finite: bool,
}

const USUAL: Norm = Norm {
    shape: [2, 5, 7, 12],
    channels: 12,
    relu: true,
    training: true,
    offset: 0.0,
    not_finite: false,
};

fn run(device: &Device, dtype: DType, norm: Norm) -> Outputs {
    let Norm { shape, channels, relu, training, offset, not_finite } = norm;
    let mut values = draw(shape.iter().product(), 0);
    values.iter_mut().for_each(|value| *value = stored(*value + offset));
    if let (true, Some(first)) = (not_finite, values.get_mut(shape[3] - channels)) {
        *first = f64::NAN;
    }
    let tape = Tape::new();
    let whole = tape.watch(&Tensor::from_f64s(device, shape, dtype, &values));
    let x = whole.slice(3, shape[3] - channels, channels);
    let vector = |number: u64| {
        let values: Vec<f64> = draw(channels, number).iter().map(|value| value + 1.0).collect();
        Tensor::from_f64s(device, [channels], dtype.wide(), &values)
    };
    let wide = dtype.wide();
    let (weight, bias) = (tape.watch(&vector(1)), tape.watch(&drawn(device, &[channels], wide, 2)));
    let (mean, variance) = (drawn(device, &[channels], wide, 3), vector(4));
    let config = BatchNormConfig { relu, ..BatchNormConfig::default() };
    let apply = if training { batch_norm_train } else { batch_norm_eval };
    let first = apply(&x, &weight, &bias, &mean, &variance, config);
    // Again on the same input, so that every gradient accumulates once.
    let second = apply(&x, &weight, &bias, &mean, &variance, config);
    let loss = [(&first, 5), (&second, 6)]
        .map(|(y, number)| y.mul(&drawn(device, y.shape().extents(), dtype, number)).sum());
    tape.backward(&loss[0].add(&loss[1]));
    let gradient = |tensor: &Tensor| gradient(&tape, tensor);
    vec![
        ("y", first.to_f64s()),
        ("running mean", mean.to_f64s()),
        ("running variance", variance.to_f64s()),
        ("dx", gradient(&whole)),
        ("dweight", gradient(&weight)),
        ("dbias", gradient(&bias)),
    ]
}

const ONE_ROW: &str = " of one row";
/// In one row, the gradient less the mean of all gradients is 0. Both terms are gradient * weight / sqrt(variance +
/// 1e-5), with gradients up to 0.5, weights up to 1.5, and variance 0.
const TERMS_OF_ONE_ROW: f64 = 240.0;

/// Each norm is concatenated with the tensors before it, so its gradient is a part of a larger one and accumulates in
/// place.
fn joined(device: &Device, dtype: DType, [first, more]: [usize; 2]) -> Outputs {
    let tape = Tape::new();
    let x = tape.watch(&drawn(device, &[2, 3, 5, first], dtype, 0));
    let [y, z] = [1, 2].map(|number| tape.watch(&drawn(device, &[2, 3, 5, more], dtype, number)));
    let norm = |x: &Tensor| {
        let vector = |value| Tensor::full(device, [x.shape().columns()], dtype.wide(), value);
        let config = BatchNormConfig { relu: true, ..BatchNormConfig::default() };
        batch_norm_train(x, &vector(1.5), &vector(0.25), &vector(0.0), &vector(1.0), config)
    };
    let two = concatenate(&[&x, &y]);
    let three = concatenate(&[&two, &z]);
    let outputs = [norm(&two), norm(&three)];
    let all = concatenate(&[&outputs[0], &three, &outputs[1]]);
    tape.backward(&all.mul(&drawn(device, all.shape().extents(), dtype, 3)).sum());
    let gradient = |tensor: &Tensor| gradient(&tape, tensor);
    vec![("y", all.to_f64s()), ("dx", gradient(&x)), ("dy", gradient(&y)), ("dz", gradient(&z))]
}

/// Scale and shift of every channel, and their backward pass.
fn affine(device: &Device, dtype: DType) -> Outputs {
    let tape = Tape::new();
    let x = tape.watch(&drawn(device, &[2, 5, 7, 6], dtype, 0));
    let [weight, bias] = [1, 2].map(|number| tape.watch(&drawn(device, &[6], dtype, number)));
    let [mean, variance] = [3, 4].map(|number| drawn(device, &[6], dtype, number));
    let config = BatchNormConfig::default();
    let own = batch_norm_affine(&x, &moments(&x), &weight, &bias, &mean, &variance, config);
    let [scale, shift] = own.each_ref();
    let sums = [(scale, 5), (shift, 6)]
        .map(|(own, number)| own.mul(&drawn(device, &[6], dtype, number)).sum());
    tape.backward(&sums[0].add(&sums[1]));
    let gradient = |tensor: &Tensor| gradient(&tape, tensor);
    vec![
        ("scale", scale.to_f64s()),
        ("shift", shift.to_f64s()),
        ("running mean", mean.to_f64s()),
        ("running variance", variance.to_f64s()),
        ("dx", gradient(&x)),
        ("dweight", gradient(&weight)),
        ("dbias", gradient(&bias)),
    ]
}

/// A norm of `channels` that a residual is added to, twice on the same input; the residual is some of the channels of a wider
/// tensor, or the input itself.
fn sum(device: &Device, dtype: DType, norm: Norm, of_itself: bool) -> Outputs {
    let Norm { shape, channels, relu, training, .. } = norm;
    let tape = Tape::new();
    let whole = tape.watch(&drawn(device, &shape, dtype, 0));
    let wider = tape.watch(&drawn(device, &shape, dtype, 1));
    let [x, residual] = [&whole, &wider].map(|whole| whole.slice(3, shape[3] - channels, channels));
    let vector = |number| tape.watch(&drawn(device, &[channels], dtype.wide(), number));
    let (weight, bias) = (vector(2), vector(3));
    let [mean, variance] =
        [0.25, 2.0].map(|value| Tensor::full(device, [channels], dtype.wide(), value));
    let config = BatchNormConfig { relu, ..BatchNormConfig::default() };
    let own = moments(&x);
    let outputs = [5, 6].map(|number| {
        let residual = if of_itself { &x } else { &residual };
        let inputs = [&x, &weight, &bias, residual];
        let moments = training.then_some(&own);
        let y = batch_norm_add(inputs, moments, [&mean, &variance], config);
        let loss = y.mul(&drawn(device, y.shape().extents(), dtype, number)).sum();
        (y, loss)
    });
    tape.backward(&outputs[0].1.add(&outputs[1].1));
    let gradient = |tensor: &Tensor| gradient(&tape, tensor);
    let mut found = vec![
        ("y", outputs[0].0.to_f64s()),
        ("dx", gradient(&whole)),
        ("dweight", gradient(&weight)),
        ("dbias", gradient(&bias)),
    ];
    if !of_itself {
        found.push(("dresidual", gradient(&wider)));
    }
    found
}

pub fn cases() -> Vec<Case> {
    let norms = [
        ("", USUAL),
        (" without ReLU", Norm { relu: false, ..USUAL }),
        (" by running statistics", Norm { training: false, ..USUAL }),
        (" by running statistics without ReLU", Norm { training: false, relu: false, ..USUAL }),
        (" of one channel", Norm { shape: [3, 4, 4, 1], channels: 1, ..USUAL }),
        (" of three", Norm { shape: [1, 9, 9, 3], channels: 3, ..USUAL }),
        (" of some of the channels", Norm { shape: [2, 5, 5, 24], channels: 16, ..USUAL }),
        (" of 7 of 9", Norm { shape: [2, 5, 5, 9], channels: 7, ..USUAL }),
        (" of 130", Norm { shape: [2, 3, 5, 130], channels: 130, ..USUAL }),
        (" of 260", Norm { shape: [1, 3, 5, 260], channels: 260, ..USUAL }),
        (" of many rows", Norm { shape: [8, 33, 31, 8], channels: 8, ..USUAL }),
        (ONE_ROW, Norm { shape: [1, 1, 1, 8], channels: 8, relu: false, ..USUAL }),
        (" of no rows", Norm { shape: [0, 4, 4, 8], channels: 8, ..USUAL }),
        (" far from zero", Norm { shape: [4, 17, 16, 4], channels: 4, offset: 16.0, ..USUAL }),
        (" of values that are not finite", Norm { not_finite: true, ..USUAL }),
    ];
    // The input's gradient is stored, then accumulated.
    let case = |(name, norm): (&str, Norm)| {
        let own = move |device: &Device, dtype| run(device, dtype, norm);
        let terms = if name == ONE_ROW { 1 } else { 4000 };
        let mut case = Case::new(format!("batch_norm{name}"), terms, own);
        if name == ONE_ROW {
            case = case.cancelling(&["dx"], TERMS_OF_ONE_ROW);
        }
        case.and_in_bf16(3)
    };
    let ways = [("a launch", PartSums::Launch), ("clusters", PartSums::Cluster)];
    let added = ways.into_iter().flat_map(|(adder, way)| {
        let norms = norms.into_iter().filter(|(name, _)| name != &ONE_ROW);
        norms.flat_map(move |(name, norm)| {
            let own =
                move |device: &Device, dtype| with_part_sums(way, || run(device, dtype, norm));
            let name = format!("batch_norm{name}, parts added by {adder}");
            Case::new(name, 4000, own).and_in_bf16(3)
        })
    });
    let added: Vec<Case> = added.collect();
    let affine = Case::new("batch_norm as an affine function", 70, affine);
    let joined = [[8, 8], [16, 24], [3, 5], [1, 1]].into_iter().flat_map(|channels| {
        let name = format!("batch_norm of concatenated tensors, {channels:?}");
        let case = Case::new(name, 30, move |device, dtype| joined(device, dtype, channels));
        case.and_in_bf16(6)
    });
    let sums = [
        ("", USUAL, false),
        (" without ReLU", Norm { relu: false, ..USUAL }, false),
        (" by running statistics", Norm { training: false, ..USUAL }, false),
        (" to 7 of 9", Norm { shape: [2, 5, 5, 9], channels: 7, ..USUAL }, false),
        (" to 16 of 24", Norm { shape: [2, 5, 5, 24], channels: 16, ..USUAL }, false),
        (" of the input", USUAL, true),
        (" of the input without ReLU", Norm { relu: false, ..USUAL }, true),
    ];
    let sums = sums.into_iter().flat_map(|(name, norm, of_itself)| {
        let own = move |device: &Device, dtype| sum(device, dtype, norm, of_itself);
        Case::new(format!("batch_norm with a residual{name}"), 4000, own).and_in_bf16(4)
    });
    norms
        .into_iter()
        .flat_map(case)
        .chain(added)
        .chain([affine])
        .chain(joined)
        .chain(sums)
        .collect()
}
