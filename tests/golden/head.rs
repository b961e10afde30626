//! The head and its predictions, with infinities and NaN at chosen places.

use std::collections::HashMap;

use alrao::ops::head::classifiers::{Targets, classifiers};
use alrao::ops::head::prediction::{PredictionKind, predict};
use alrao::{DType, Device, Tape, Tensor};

use super::{assert_close, load};

const TOLERANCE: f64 = 1e-12;
const CASES: [&str; 14] = [
    "plain",
    "regression",
    "broken copies",
    "overflow",
    "no weight",
    "dead samples",
    "nothing finite",
    "tiny",
    "broken regression",
    "broken inputs",
    "chosen",
    "clipped chosen",
    "broken chosen",
    "chosen of one",
];

struct Case<'a> {
    name: &'a str,
    file: &'a HashMap<String, Tensor>,
}

impl Case<'_> {
    fn tensor(&self, key: &str) -> &Tensor {
        &self.file[&format!("{}.{key}", self.name)]
    }

    fn targets(&self) -> Targets<'_> {
        let targets = self.tensor("targets");
        match (self.file.get(&format!("{}.chosen", self.name)), targets.dtype()) {
            (Some(outputs), _) => {
                let limit = self.file.get(&format!("{}.limit", self.name));
                let limit = limit.map_or(f64::INFINITY, Tensor::item);
                Targets::Chosen { outputs, values: targets, limit }
            }
            (None, DType::I32) => Targets::Classes(targets),
            (None, _) => Targets::Values(targets),
        }
    }

    fn check(&self, key: &str, got: &Tensor) {
        let expected = self.tensor(key);
        assert_eq!(got.shape().elements(), expected.shape().elements());
        assert_close(
            &format!("{}: {key}", self.name),
            &got.to_f64s(),
            &expected.to_f64s(),
            TOLERANCE,
        );
    }
}

#[test]
fn the_head_agrees_with_pytorch() {
    let device = Device::cpu();
    let file = load(&device, "head.safetensors");
    for name in CASES {
        let case = Case { name, file: &file };
        let tape = Tape::new();
        let [z, weight, bias] = ["z", "weight", "bias"].map(|key| tape.watch(case.tensor(key)));
        let log_posterior = case.tensor("log_posterior");
        let head = classifiers(&z, &weight, &bias, case.targets(), log_posterior);
        tape.backward(&head.objective);
        case.check("objective", &head.objective);
        case.check("loss", &head.loss);
        case.check("correct", &head.correct);
        case.check("classifier_losses", &head.classifier_losses);
        case.check("flagged", &head.diverged);
        for (key, leaf) in [("dz", &z), ("dweight", &weight), ("dbias", &bias)] {
            case.check(key, &tape.gradient(leaf).unwrap());
        }
        let samples = head.samples_without_finite_classifier.item();
        let expected = match name {
            "dead samples" | "broken inputs" => 2.0,
            "nothing finite" => 5.0,
            "broken chosen" => 1.0,
            _ => 0.0,
        };
        assert_eq!(samples, expected, "{name}: samples without a finite classifier");
    }
}

#[test]
fn predictions_agree_with_pytorch() {
    let device = Device::cpu();
    let file = load(&device, "head.safetensors");
    for (name, kind) in [
        ("classes", PredictionKind::LogProbabilities),
        ("classes without a broken copy", PredictionKind::LogProbabilities),
        ("values", PredictionKind::Mean),
    ] {
        let case = Case { name, file: &file };
        let [z, weight, bias, log_posterior] =
            ["z", "weight", "bias", "log_posterior"].map(|key| case.tensor(key));
        case.check("prediction", &predict(z, weight, bias, log_posterior, kind));
    }
}
