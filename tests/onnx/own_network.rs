//! Networks of a user's own.

use std::path::Path;

use alrao::export::Onnx;
use alrao::learn::ModelRecord;
use alrao::nn::{ForwardContext, Init, Linear, Module, Visitor};
use alrao::ops::tensor::concatenate::concatenate;
use alrao::supervised::Predictor;
use alrao::{Device, Tensor};

use super::cases::Cases;
use super::model::{learner, record, written};
use super::run_vectors;

/// What comes after the layer.
type After = fn(&Tensor, &ForwardContext) -> Tensor;

/// A layer of 8 units, and ops.
struct Own {
    layer: Linear,
    after: After,
}

impl Own {
    fn new(after: After) -> Own {
        Own { layer: Linear::new(5, 8, &mut Init::new(5)), after }
    }
}

impl Module for Own {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        (self.after)(&self.layer.forward(x, context), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("layer", &self.layer);
    }
}

/// Every op on rows that no architecture uses.
fn many_ops(x: &Tensor, context: &ForwardContext) -> Tensor {
    let samples = x.shape()[0];
    let y = x.tanh();
    let (a, b) = (y.slice(1, 0, 4), y.slice(1, 4, 4));
    let length = a.square().sum_to([samples, 1]).affine(0.5, 1e-3).sqrt();
    let c = a.div(&length).sub(&b.exp()).reshape([samples, 2, 2]);
    let d = b.square().affine(1.0, 1.0).ln().reshape([samples, 2, 2]);
    let constant = Tensor::from_slice(context.device(), [3, 2], &[1f32, -2.0, 0.5, 0.25, 3.0, 1.0]);
    let e = c.transposed_matmul(&d).matmul_transposed(&constant).reshape([samples, 6]);
    concatenate(&[&e.sigmoid(), &y, &length.copy()])
}

fn record_of_own() -> ModelRecord {
    record("own", 1.0, &[5])
}

/// Adds a network with many ops.
pub(super) fn add(cases: &mut Cases, folder: &Path) {
    let (record, network) = (record_of_own(), || Own::new(many_ops));
    let path = written(&learner(&record, Box::new(network())), &record, folder, "own");
    cases.model("own network.onnx", Onnx::load(&path, network()).unwrap().bytes());
    let predictor = Predictor::load(&path, network(), &Device::cpu()).unwrap();
    run_vectors(cases, &predictor, &record, |_, own| own as f32 / 40.0 - 1.0, |_| {});
}

#[test]
fn what_no_file_can_say_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let record = record_of_own();
    let refusals: [(After, &str); 3] = [
        (|x, _| x.sub(&x.mean()), "takes other steps for a batch of another size"),
        (
            |x, context| {
                x.add(&Tensor::from_slice(context.device(), x.shape(), &x.to_vec::<f32>()))
            },
            "made by an op that cannot be exported",
        ),
        (
            |x, _| {
                let (samples, units) = (x.shape()[0], x.shape()[1]);
                x.reshape([1, samples, units])
                    .slice(1, 0, samples - 1)
                    .sum_to([1, 1, units])
                    .reshape([1, units])
                    .add(x)
            },
            "that depends on the batch",
        ),
    ];
    for (number, (after, message)) in refusals.into_iter().enumerate() {
        let network = || Own::new(after);
        let name = number.to_string();
        let path = written(&learner(&record, Box::new(network())), &record, folder.path(), &name);
        let error = Onnx::load(&path, network()).err().expect("it is refused");
        let text = error.to_string();
        assert!(text.starts_with(&*path.to_string_lossy()) && text.contains(message), "{text}");
        assert_eq!(error.exit_code(), 2);
    }
    let path = folder.path().join("0.safetensors");
    let error = Onnx::open(&path).err().expect("it is refused").to_string();
    assert!(error.contains("is a network of its author's own"), "{error}");
}
