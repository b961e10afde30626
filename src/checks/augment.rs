//! Stored images as a model's input.

use crate::ops::input::augment::{Augmentation, images_from_bytes, images_from_floats};
use crate::ops::input::gather::Selection;
use crate::{DType, Device, Tensor};

use super::{Case, Outputs, draw};

/// The selection of images: all of them, or those from a cursor on, in some order or in file order.
#[derive(Clone, Copy)]
enum Taken {
    All,
    From { cursor: i32, count: usize, is_ordered: bool },
}

/// Images normalised and cropped, from bytes and from floats.
fn run(
    device: &Device,
    dtype: DType,
    shape: [usize; 4],
    padding: Option<usize>,
    taken: Taken,
) -> Outputs {
    let (elements, channels) = (shape.iter().product(), shape[3]);
    let bytes: Vec<u8> = (0..elements).map(|i| (1 + i * 37 % 255) as u8).collect();
    let bytes = Tensor::from_slice(device, shape, &bytes);
    let floats: Vec<f32> = draw(elements, 0).iter().map(|value| *value as f32).collect();
    let floats = Tensor::from_slice(device, shape, &floats);
    let positive =
        |number| draw(channels, number).iter().map(|x| x.abs() + 0.1).collect::<Vec<_>>();
    let [mean, deviation] = [1, 2].map(|i| Tensor::from_slice(device, [channels], &positive(i)));
    let step = Tensor::from_slice(device, [1], &[(1i64 << 32) - 3]);
    let augmentation =
        padding.map(|padding| Augmentation { seed: 0x1234_5678_9abc, step: &step, padding });
    let (cursor, count, is_ordered) = match taken {
        Taken::All => (0, shape[0], false),
        Taken::From { cursor, count, is_ordered } => (cursor, count, is_ordered),
    };
    let backwards: Vec<i32> = (0..shape[0] as i32).rev().collect();
    let order = Tensor::from_slice(device, [shape[0]], &backwards);
    let cursor = Tensor::from_slice(device, [1], &[cursor]);
    let selection = match taken {
        Taken::All => None,
        Taken::From { .. } => {
            Some(Selection { cursor: &cursor, order: is_ordered.then_some(&order), count })
        }
    };
    let from_bytes = images_from_bytes(&bytes, selection, &mean, &deviation, dtype, augmentation);
    let from_floats = images_from_floats(&floats, selection, dtype, augmentation);
    vec![("bytes", from_bytes.to_f64s()), ("floats", from_floats.to_f64s())]
}

pub fn cases() -> Vec<Case> {
    let shapes = [
        ([1, 1, 1, 1], None),
        ([2, 3, 5, 1], None),
        ([3, 32, 32, 3], None),
        ([3, 32, 32, 3], Some(4)),
        ([7, 5, 3, 1], Some(2)),
        ([5, 7, 9, 3], Some(0)),
        ([5, 4, 6, 5], Some(11)),
        ([0, 4, 4, 3], Some(4)),
    ];
    let all = shapes.into_iter().map(|(shape, padding)| {
        let name = format!("augment {shape:?}, padding {padding:?}");
        Case::new(name, 4, move |device, dtype| run(device, dtype, shape, padding, Taken::All))
    });
    let selections = [
        ([9, 4, 5, 3], Some(2), Taken::From { cursor: 2, count: 4, is_ordered: true }),
        ([9, 4, 5, 3], Some(2), Taken::From { cursor: 5, count: 4, is_ordered: false }),
        ([3, 32, 32, 3], Some(4), Taken::From { cursor: 0, count: 3, is_ordered: true }),
        ([5, 3, 3, 1], None, Taken::From { cursor: 4, count: 1, is_ordered: true }),
        ([5, 3, 3, 1], None, Taken::From { cursor: 5, count: 0, is_ordered: false }),
    ];
    let selected = selections.into_iter().enumerate().map(|(number, (shape, padding, taken))| {
        Case::new(format!("augment selection {number}"), 4, move |device, dtype| {
            run(device, dtype, shape, padding, taken)
        })
    });
    all.chain(selected).flat_map(|case| case.and_in_bf16(1)).collect()
}
