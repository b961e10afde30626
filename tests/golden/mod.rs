//! Against values from PyTorch and Gymnasium. Each file `<name>.safetensors` lies beside the script that writes it.

mod head;
pub(crate) mod images;
mod optimizer;
mod pendulum;
mod q_learning;
mod steps;
mod switch;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use alrao::learn::{Checkpoint, Learner, Progress};
use alrao::{Device, Shape, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::place::source;

/// The tensors of a file by name.
fn load(device: &Device, file: &str) -> HashMap<String, Tensor> {
    let path = source().join("tests/golden").join(file);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, view)| {
        let (shape, data) = (Shape::new(view.shape()), view.data());
        let tensor = match view.dtype() {
            Dtype::F32 => Tensor::from_slice(device, shape, &numbers(data, f32::from_le_bytes)),
            Dtype::F64 => Tensor::from_slice(device, shape, &numbers(data, f64::from_le_bytes)),
            Dtype::I32 => Tensor::from_slice(device, shape, &numbers(data, i32::from_le_bytes)),
            Dtype::U8 => Tensor::from_slice(device, shape, data),
            other => panic!("{name} is of type {other:?}"),
        };
        (name.to_owned(), tensor)
    });
    tensors.collect()
}

fn numbers<T, const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|bytes| decode(bytes.try_into().unwrap())).collect()
}

/// Writes the F32 tensors whose names begin with `prefix`, without it.
fn write_part(file: &HashMap<String, Tensor>, prefix: &str, path: &Path) {
    let named = file.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
    let part: Vec<_> = named
        .map(|(name, tensor)| {
            let bytes = tensor.to_vec::<f32>().iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, tensor.shape().extents().to_vec(), bytes)
        })
        .collect();
    let views = part.iter().map(|(name, shape, bytes): &(&str, Vec<usize>, Vec<u8>)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// Every parameter and running statistic of a learner in f64, by name.
fn state(learner: &Learner) -> BTreeMap<String, Vec<f64>> {
    let state = Checkpoint::capture(learner, None, Progress::default()).to_bytes();
    let state = SafeTensors::deserialize(&state).unwrap();
    let of_model =
        |name: &&str| !name.starts_with("alrao.") && !name.ends_with("num_batches_tracked");
    let values = |name| numbers(state.tensor(name).unwrap().data(), f64::from_le_bytes);
    state.names().into_iter().filter(of_model).map(|name| (name.to_owned(), values(name))).collect()
}

/// Panics unless both are equal up to `tolerance`, relative to the larger of 1 and the expected value; what is not finite
/// must be the same.
fn assert_close(name: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{name}: number of elements");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let is_same = got == expected || (got.is_nan() && expected.is_nan());
        let error = (got - expected).abs() / expected.abs().max(1.0);
        assert!(
            is_same || error <= tolerance,
            "{name}: element {index} is {got}, expected {expected}"
        );
    }
}
