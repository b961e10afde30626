//! Kernels of language models: embedding, LSTM.

use super::{Cost, Size, Work, Workload, filled, forward_and_back, whole};
use crate::device::{DType, Device};
use crate::ops::input::gather::{Selection, gather};
use crate::ops::layers::embedding::embedding;
use crate::ops::layers::lstm::{LstmWeights, lstm};
use crate::tensor::Tensor;

/// Time steps and columns of a window, as in the paper.
const TIMES: usize = 70;
const BATCH: usize = 20;

pub(super) fn all() -> Vec<Workload> {
    vec![characters(), words(), gathered(), recurrent(100, 6), recurrent(200, 112)]
}

/// Sorted tokens that one warp sums.
const CHUNK: usize = 32;

fn table(full: [usize; 3], small: [usize; 3]) -> impl Fn(&Device, DType, Size) -> Work {
    move |device, dtype, size| {
        let [count, vocabulary, columns] = size.of(full, small);
        let tokens = whole(device, &[count], vocabulary, 1);
        let table = filled(device, &[vocabulary, columns], dtype, 1);
        let dy = filled(device, &[count, columns], dtype, 2);
        forward_and_back(vec![table], dy, move |x| embedding(&tokens, &x[0]))
    }
}

/// A window of characters: sorted in one launch.
fn characters() -> Workload {
    let [count, vocabulary, columns] = [TIMES * BATCH, 50, 100];
    let prepare = table([count, vocabulary, columns], [300, 9, 12]);
    Workload::new("1,400 characters of 50, 100 columns", prepare)
        .cost("embedding_sort_tile", Cost::bytes(12 * count))
        // At least the two tokens at each border of a chunk.
        .cost("embedding_joins*", Cost::bytes(8 * count.div_ceil(CHUNK)))
}

/// More words than one launch sorts: two passes, the first of which creates the positions.
fn words() -> Workload {
    let [count, vocabulary, columns] = [TIMES * 128, 9999, 100];
    let prepare = table([count, vocabulary, columns], [2500, 300, 4]);
    Workload::new("8,960 words of 9,999, 100 columns", prepare)
        .cost("embedding_fwd*", Cost::elements(2 * count * columns).and_bytes(4 * count))
        .cost("embedding_sort_count", Cost::bytes(2 * 4 * count))
        .cost("embedding_sort_place", Cost::bytes((4 + 8 + 8 + 8) * count))
        .cost("embedding_sums*", Cost::elements(count * columns).and_bytes(8 * count))
}

/// A batch of vectors gathered from a data set on the device, in the epoch's order.
fn gathered() -> Workload {
    let (full, few) = ([60_000, 784], [20, 5]);
    let [all, columns] = full;
    let count = 4096;
    let prepare = move |device: &Device, _, size: Size| -> Work {
        let [all, columns] = size.of(full, few);
        let count = size.of(count, 7);
        let rows = filled(device, &[all, columns], DType::F32, 1);
        let order: Vec<i32> = (0..all).map(|row| (row * 7919 % all) as i32).collect();
        let order = Tensor::from_slice(device, [all], &order);
        let cursor = Tensor::from_slice(device, [1], &[3i32]);
        Box::new(move || {
            vec![gather(&rows, Selection { cursor: &cursor, order: Some(&order), count })]
        })
    };
    Workload::new(format!("{count} rows of [{all}, {columns}]"), prepare)
        .cost("gather_rows*", Cost::bytes(2 * 4 * count * columns + 4 * count))
}

/// A layer of the paper's LSTM, and one too wide for registers.
fn recurrent(hidden: usize, few: usize) -> Workload {
    let prepare = move |device: &Device, dtype: DType, size: Size| {
        let [times, batch, hidden] = size.of([TIMES, BATCH, hidden], [3, 3, few]);
        let tensor =
            |shape: &[usize], number| filled(device, shape, dtype, number).affine(0.0625, 0.0);
        let wide = |shape: &[usize], number| {
            filled(device, shape, dtype.wide(), number).affine(0.0625, 0.0)
        };
        let (h0, c0) = (wide(&[batch, hidden], 6), wide(&[batch, hidden], 7));
        let gradient = tensor(&[times, batch, hidden], 8);
        let inputs = vec![
            tensor(&[times, batch, hidden], 1),
            tensor(&[4 * hidden, hidden], 2),
            tensor(&[4 * hidden, hidden], 3),
            wide(&[4 * hidden], 4),
            wide(&[4 * hidden], 5),
        ];
        forward_and_back(inputs, gradient, move |x| {
            let [input, weight_ih, weight_hh, bias_ih, bias_hh] = x else {
                unreachable!("there are five inputs")
            };
            lstm(input, LstmWeights { weight_ih, weight_hh, bias_ih, bias_hh }, &h0, &c0).y
        })
    };
    // Per time step and unit: four gates read and written, the cell, and the output or its gradient; the weights once.
    let cost = Cost::elements(10 * TIMES * BATCH * hidden + 4 * hidden * hidden)
        .and_operations(8 * TIMES * BATCH * hidden * hidden);
    let [forward, backward] = match hidden {
        ..=100 => ["lstm_layer_fwd*", "lstm_layer_bwd*"],
        _ => ["lstm_step_fwd*", "lstm_step_bwd*"],
    };
    Workload::new(format!("LSTM of {hidden} units, 70 time steps of 20"), prepare)
        .cost(forward, cost)
        .cost(backward, cost)
}
