//! The recurrent layer, in one launch and in one launch per time.

use crate::ops::layers::lstm::{LstmOutput, LstmWeights, lstm, lstm_carried};
use crate::{DType, Device, Tape, Tensor};

use super::{Case, Outputs, draw, drawn};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    Plain,
    /// Input, weights and the gradient of the output have gaps between their rows.
    Slices,
    /// A second window continues from the first one's state, with the same weights.
    TwoWindows,
    /// A second window continues from the state that the first one has stored.
    Carried,
    /// Only the input has a gradient.
    InputAlone,
    /// Biases are large: most gates are nearly open or nearly closed, and their slopes small.
    Saturated,
}

#[derive(Clone, Copy)]
struct Extents {
    times: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
}

/// Drawn numbers, in the middle of wider rows if the case has gaps.
fn placed(device: &Device, shape: &[usize], dtype: DType, number: u64, way: Way) -> Tensor {
    let Some(last) = shape.len().checked_sub(1).filter(|last| way == Way::Slices && *last > 0)
    else {
        return drawn(device, shape, dtype, number);
    };
    let columns = shape[last];
    let mut wide_shape = shape.to_vec();
    wide_shape[last] += 3;
    let wide: Vec<f64> = draw(shape.iter().product(), number)
        .chunks(columns)
        .flat_map(|row| [&[9.0], row, &[9.0, 9.0]].concat())
        .collect();
    Tensor::from_f64s(device, &wide_shape[..], dtype, &wide).slice(last, 1, columns)
}

fn run(device: &Device, dtype: DType, sizes: Extents, way: Way) -> Outputs {
    let Extents { times, batch, inputs, hidden } = sizes;
    let tape = Tape::new();
    let tensor = |shape: &[usize], number| placed(device, shape, dtype, number, way);
    let wide = |shape: &[usize], number| placed(device, shape, dtype.wide(), number, way);
    let x = tape.watch(&tensor(&[times, batch, inputs], 0));
    let mut weights = [
        tensor(&[4 * hidden, inputs], 1),
        tensor(&[4 * hidden, hidden], 2),
        wide(&[4 * hidden], 3),
        wide(&[4 * hidden], 4),
    ];
    if way == Way::Saturated {
        weights[2] = weights[2].affine(8.0, 0.0);
    }
    if way != Way::InputAlone {
        weights = weights.map(|weight| tape.watch(&weight));
    }
    let [weight_ih, weight_hh, bias_ih, bias_hh] = &weights;
    let own = LstmWeights { weight_ih, weight_hh, bias_ih, bias_hh };
    let [h, c] = [5, 6].map(|number| drawn(device, &[batch, hidden], dtype.wide(), number));
    let last = match way {
        Way::Carried => {
            let [first, second] = [0, 1].map(|_| lstm_carried(&x, own, &h, &c));
            LstmOutput { y: first.add(&second), h, c }
        }
        Way::TwoWindows => {
            let first = lstm(&x, own, &h, &c);
            let second = lstm(&x, own, &first.h.cast(dtype.wide()), &first.c);
            LstmOutput { y: first.y.add(&second.y), ..second }
        }
        _ => lstm(&x, own, &h, &c),
    };
    let factor = drawn(device, &[times, batch, hidden], dtype, 7);
    let y = match way {
        // Only a slice of the output is used, so its gradient is a part of a wider tensor.
        Way::Slices => last.y.mul(&factor).slice(2, 0, hidden.div_ceil(2)),
        _ => last.y.mul(&factor),
    };
    tape.backward(&y.sum());
    let mut found = vec![("y", last.y.to_f64s()), ("h", last.h.to_f64s()), ("c", last.c.to_f64s())];
    let leaves = [("dx", &x), ("dweight_ih", weight_ih), ("dweight_hh", weight_hh)];
    let biases = [("dbias_ih", bias_ih), ("dbias_hh", bias_hh)];
    for (name, leaf) in leaves.into_iter().chain(biases) {
        found.extend(tape.gradient(leaf).map(|gradient| (name, gradient.to_f64s())));
    }
    found
}

/// The slope 1 - g^2 or i (1 - i) of a saturated gate cancels. Its terms are at most 1, times a gradient and a weight
/// or input of at most 0.5 each.
const SLOPE_TERMS: f64 = 0.25;
const GRADIENTS: [&str; 5] = ["dx", "dweight_ih", "dweight_hh", "dbias_ih", "dbias_hh"];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for [times, batch, inputs, hidden] in [
        [1, 1, 1, 1],
        [5, 3, 2, 4],
        [3, 23, 2, 3],
        [6, 5, 7, 20],
        [4, 2, 13, 37],
        [3, 3, 5, 100],
        [3, 2, 4, 99],
        [3, 2, 4, 101],
        [3, 2, 4, 105],
        [1, 1, 3, 108],
        [4, 9, 3, 107],
        [3, 8, 6, 112],
        [2, 17, 1, 130],
        [3, 0, 2, 4],
        [0, 2, 2, 4],
        [0, 2, 2, 108],
    ] {
        let sizes = Extents { times, batch, inputs, hidden };
        for way in [
            Way::Plain,
            Way::Slices,
            Way::TwoWindows,
            Way::Carried,
            Way::InputAlone,
            Way::Saturated,
        ] {
            let is_tried_once =
                hidden > 40 && hidden % 4 != 0 && matches!(way, Way::InputAlone | Way::Saturated);
            let may_be_empty = matches!(way, Way::Plain | Way::Carried);
            if times * batch == 0 && !may_be_empty || is_tried_once {
                continue;
            }
            let name = format!("lstm [{times}, {batch}, {inputs}] into {hidden}, {way:?}");
            let terms = (4 * hidden).max(times * batch);
            let mut case =
                Case::new(name, terms, move |device, dtype| run(device, dtype, sizes, way));
            if way == Way::Saturated {
                case = case.cancelling(&GRADIENTS, SLOPE_TERMS);
            }
            // At each time these are stored: a gate before and after its function, the output, and their gradients.
            cases.extend(case.and_in_bf16(6));
        }
    }
    cases
}
