//! Stored images to a model's input.

use alrao::ops::augment::{Augmentation, images_from_bytes, images_from_floats};
use alrao::{DType, Device, Tensor};

use super::{Case, Outputs, draw};

/// Normalised and cut out by two steps, from bytes and from floats.
fn run(device: &Device, dtype: DType, shape: [usize; 4], padding: Option<usize>) -> Outputs {
    let (elements, channels) = (shape.iter().product(), shape[3]);
    let bytes: Vec<u8> = (0..elements).map(|i| (1 + i * 37 % 255) as u8).collect();
    let bytes = Tensor::from_slice(device, shape, &bytes);
    let floats: Vec<f32> = draw(elements, 0).iter().map(|value| *value as f32).collect();
    let floats = Tensor::from_slice(device, shape, &floats);
    let positive =
        |number| draw(channels, number).iter().map(|x| x.abs() + 0.1).collect::<Vec<_>>();
    let [mean, deviation] = [1, 2].map(|i| Tensor::from_slice(device, [channels], &positive(i)));
    let step = Tensor::from_slice(device, [1], &[-3i32]);
    let augmentation =
        padding.map(|padding| Augmentation { seed: 0x1234_5678_9abc, step: &step, padding });
    vec![
        ("bytes", images_from_bytes(&bytes, &mean, &deviation, dtype, augmentation).to_f64s()),
        ("floats", images_from_floats(&floats, dtype, augmentation).to_f64s()),
    ]
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
    shapes
        .into_iter()
        .flat_map(|(shape, padding)| {
            let name = format!("augment {shape:?}, padding {padding:?}");
            Case::new(name, 4, move |device, dtype| run(device, dtype, shape, padding))
                .and_in_bf16(1)
        })
        .collect()
}
