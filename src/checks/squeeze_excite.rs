//! Channel gates.

use crate::ops::layers::squeeze_excite::squeeze_excite;
use crate::ops::tensor::concatenate::concatenate;
use crate::{DType, Device, Tape, Tensor};

use super::matmul::pitched;
use super::{Case, Outputs, draw, drawn, gradient, stored};

/// The residual of the gates.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Residual {
    None,
    Other,
    /// The input itself.
    Input,
}

/// The use of the op in a case.
#[derive(Clone, Copy, Debug)]
enum Use {
    Once,
    /// Of the same inputs, so that every gradient is stored and accumulated.
    Twice,
    /// The output and the input are parts of larger tensors, so that `dy` has gaps, and `dx` is accumulated in a slice.
    InParts,
}

#[derive(Clone, Copy, Debug)]
struct Gates {
    image: [usize; 4],
    hidden: usize,
    /// Channels before and after the images in the tensors that they are slices of.
    gaps: [usize; 2],
    residual: Residual,
}

/// The output and all gradients.
fn run(device: &Device, dtype: DType, gates: Gates, by: Use) -> Outputs {
    let Gates { image, hidden, gaps, residual } = gates;
    let channels = image[3];
    let tape = Tape::new();
    let x = tape.watch(&pitched(device, &image, dtype, gaps, 0));
    let other = tape.watch(&pitched(device, &image, dtype, gaps, 1));
    // Large enough that gates differ from 1/2, and that some units of the hidden layer are 0.
    let weight = |shape: [usize; 4], number| {
        let values = draw(shape.iter().product(), number);
        let values: Vec<f64> = values.into_iter().map(|value| stored(4.0 * value)).collect();
        tape.watch(&Tensor::from_f64s(device, shape, dtype, &values))
    };
    let squeeze = weight([hidden, 1, 1, channels], 2);
    let excite = weight([channels, 1, 1, hidden], 3);
    let bias = |length, number| tape.watch(&drawn(device, &[length], dtype.wide(), number));
    let (squeeze_bias, excite_bias) = (bias(hidden, 4), bias(channels, 5));
    let apply = || {
        let residual = match residual {
            Residual::None => None,
            Residual::Other => Some(&other),
            Residual::Input => Some(&x),
        };
        squeeze_excite(&x, [&squeeze, &squeeze_bias], [&excite, &excite_bias], residual)
    };
    let y = apply();
    let weighed =
        |y: &Tensor, number| y.mul(&drawn(device, y.shape().extents(), dtype, number)).sum();
    let loss = match by {
        Use::Once => weighed(&y, 6),
        Use::Twice => weighed(&y, 6).add(&weighed(&apply(), 7)),
        Use::InParts => {
            let after = weighed(&concatenate(&[&y, &other]), 6);
            after.add(&weighed(&concatenate(&[&other, &x]), 7))
        }
    };
    tape.backward(&loss);
    let gradient = |tensor: &Tensor| gradient(&tape, tensor);
    let mut outputs = vec![
        ("y", y.to_f64s()),
        ("dx", gradient(&x)),
        ("dsqueeze", gradient(&squeeze)),
        ("dsqueeze bias", gradient(&squeeze_bias)),
        ("dexcite", gradient(&excite)),
        ("dexcite bias", gradient(&excite_bias)),
    ];
    if residual == Residual::Other {
        outputs.push(("dresidual", gradient(&other)));
    }
    outputs
}

pub fn cases() -> Vec<Case> {
    use Residual::{Input, None, Other};
    let shapes = [
        // Vectors of 4 and of 8 channels; several blocks of the output for an image, and many pixels for a thread.
        ([2, 6, 6, 64], 4, [0, 0], Other),
        ([3, 33, 32, 16], 1, [0, 0], None),
        ([11, 5, 7, 24], 3, [0, 0], Input),
        ([2, 4, 4, 24], 5, [8, 16], Other),
        // More vectors than threads in four and in eight channels, and more hidden units than a warp has lanes.
        ([1, 1, 2, 4160], 2, [0, 0], Other),
        ([9, 2, 2, 72], 70, [0, 0], None),
        // One channel at a time: too few, not a multiple of four, off 16 bytes, and more than there are threads.
        ([1, 1, 1, 1], 1, [0, 0], Other),
        ([1, 1, 1, 1], 1, [0, 0], None),
        ([8, 1, 1, 3], 1, [0, 0], Input),
        ([2, 17, 19, 7], 5, [0, 0], Other),
        ([3, 4, 5, 8], 2, [1, 2], Other),
        ([1, 2, 1, 515], 33, [0, 0], None),
        // No images.
        ([0, 3, 3, 8], 2, [0, 0], Other),
    ];
    let case = |(image, hidden, gaps, residual): ([usize; 4], usize, [usize; 2], Residual)| {
        [Use::Once, Use::Twice, Use::InParts].into_iter().flat_map(move |by| {
            let gates = Gates { image, hidden, gaps, residual };
            let name = format!(
                "squeeze_excite of {image:?}, {hidden} units, gaps {gaps:?}, residual {residual:?}, {by:?}"
            );
            let run = move |device: &Device, dtype| run(device, dtype, gates, by);
            // The input's gradient is stored after each use, and after the residual's is added.
            let roundings = if matches!(by, Use::Once) { 2 } else { 4 };
            let case = Case::new(name, image[1] * image[2] + image[3], run);
            // A hidden unit may be a small rest of a sum over many channels.
            let case = if image[3] > 4000 { case.cancelling(&["dexcite"], 0.1) } else { case };
            case.and_in_bf16(roundings)
        })
    };
    shapes.into_iter().flat_map(case).collect()
}
