//! Concatenation along the last axis.

use crate::ops::elementwise::accumulate;
use crate::tape::{Slot, record};
use crate::tensor::{Tensor, assert_alike};

/// Puts tensors beside each other along their last axis. Panics where any other extent differs.
///
/// ```
/// use alrao::{Device, Tensor, ops::concatenate::concatenate};
/// let device = Device::cpu();
/// let a = Tensor::from_slice(&device, [2, 1], &[1f32, 2.0]);
/// let b = Tensor::from_slice(&device, [2, 2], &[3f32, 4.0, 5.0, 6.0]);
/// assert_eq!(concatenate(&[&a, &b]).to_vec::<f32>(), [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
/// ```
pub fn concatenate(parts: &[&Tensor]) -> Tensor {
    assert!(!parts.is_empty(), "concatenate: nothing to concatenate");
    assert_alike("concatenate", parts);
    let first = parts[0].shape();
    let columns = parts.iter().map(|part| part.shape().columns()).sum();
    let out = parts[0].empty_like(first.with_columns(columns));
    let mut start = 0;
    for part in parts {
        let shape = part.shape();
        let fits = shape.rank() == first.rank() && shape.with_columns(1) == first.with_columns(1);
        assert!(fits, "concatenate: shapes {first} and {shape} differ before the last axis");
        accumulate(part, &Slot { tensor: out.view(start, shape, columns), add: false });
        start += shape.columns();
    }
    let shapes: Vec<_> = parts.iter().map(|part| part.shape()).collect();
    record(out, parts, move |gradient, gradients| {
        let mut start = 0;
        for (input, shape) in shapes.iter().enumerate() {
            let own = gradient.view(start, *shape, gradient.pitch());
            if let Some(slot) = gradients.slot(input, &own) {
                accumulate(&own, &slot);
            }
            start += shape.columns();
        }
    })
}
