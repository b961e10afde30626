//! Rows of a data set as a batch.

use crate::ops::input::gather::{Selection, gather};
use crate::{DType, Device, Tensor};

use super::{Case, Outputs, draw, drawn};

/// Two consecutive batches, of floats and of whole numbers, in a given order and in file order.
fn run(device: &Device, shape: [usize; 2], begin: usize, count: usize) -> Outputs {
    let [all, width] = shape;
    let floats = drawn(device, &shape, DType::F32, 0);
    let whole: Vec<i32> = draw(all * width, 1).iter().map(|x| (x * 1e6) as i32).collect();
    let whole = Tensor::from_slice(device, shape, &whole);
    // 7 has no factor in common with any number of rows here.
    let order: Vec<i32> = (0..all).map(|row| ((row * 7 + 3) % all) as i32).collect();
    let order = Tensor::from_slice(device, [all], &order);
    let cursor = Tensor::from_slice(device, [1], &[begin as i32]);
    let mut outputs = Vec::new();
    for (label, rows, order) in [
        ("floats", &floats, Some(&order)),
        ("floats in file order", &floats, None),
        ("whole numbers", &whole, Some(&order)),
        ("whole numbers in file order", &whole, None),
    ] {
        let batch = gather(rows, Selection { cursor: &cursor, order, count });
        assert_eq!(batch.shape(), [count, width].into());
        outputs.push((label, batch.to_f64s()));
    }
    outputs
}

pub fn cases() -> Vec<Case> {
    let shapes = [
        ([1, 1], 0, 1),
        ([5, 1], 1, 4),
        ([32, 3], 3, 29),
        ([100, 20], 17, 70),
        ([257, 1], 0, 257),
        ([13, 300], 11, 2),
        ([4, 256], 1, 1),
        ([4, 5], 4, 0),
    ];
    shapes
        .into_iter()
        .map(|(shape, begin, count)| {
            let name = format!("gather {count} rows of {shape:?} from {begin} on");
            Case::new(name, 1, move |device, _| run(device, shape, begin, count))
        })
        .collect()
}
