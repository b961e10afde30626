//! The classifiers and their average as nodes.

use super::graph::{Attribute, ElementType, Graph};
use crate::task::Task;

/// The classifiers that take part in predictions.
pub(super) struct Mixture {
    task: Task,
    features: usize,
    /// `[N K, d]`.
    weight: Vec<f32>,
    /// `[N K]`.
    bias: Vec<f32>,
    /// Logarithms of the weights of the N classifiers, up to a common summand.
    log_weights: Vec<f32>,
}

impl Mixture {
    /// Those of the classifiers with weights `[N, K, d]` and biases `[N, K]` that are finite and count. `log_weights`: as in
    /// [`crate::ops::head::prediction::predict`]. `None` if there are none.
    pub fn new(task: Task, [weight, bias]: [&[f64]; 2], log_weights: &[f64]) -> Option<Mixture> {
        let (outputs, classifiers) = (task.outputs(), log_weights.len());
        let features = weight.len() / (outputs * classifiers);
        let parts = || weight.chunks(outputs * features).zip(bias.chunks(outputs));
        let is_finite = |values: &[f64]| values.iter().all(|value| (*value as f32).is_finite());
        let usable = || {
            let all = parts().zip(log_weights);
            all.filter(|((weight, bias), _)| is_finite(weight) && is_finite(bias))
        };
        let largest = usable().map(|(_, log)| *log).fold(f64::NEG_INFINITY, f64::max);
        let mut own = Mixture { task, features, weight: vec![], bias: vec![], log_weights: vec![] };
        for ((weight, bias), log) in usable() {
            let log = log - largest;
            let counts = match task {
                Task::Classification { .. } => log.exp() as f32 > 0.0,
                // Where the others' outputs are not finite, a classifier of any weight counts.
                Task::Regression { .. } => log > f64::NEG_INFINITY,
            };
            if counts {
                own.weight.extend(weight.iter().map(|value| *value as f32));
                own.bias.extend(bias.iter().map(|value| *value as f32));
                own.log_weights.push(log as f32);
            }
        }
        (!own.log_weights.is_empty()).then_some(own)
    }

    /// The average over the classifiers, `[samples, 1, K]`, for features `[samples, d]`.
    ///
    /// A classifier whose outputs for a sample are not finite is left out of that sample's average.
    pub fn add(&self, graph: &mut Graph, features: String) -> String {
        let (count, outputs) = (self.log_weights.len(), self.task.outputs());
        let weight =
            graph.floats("classifiers.weight", &[count * outputs, self.features], &self.weight);
        let bias = graph.floats("classifiers.bias", &[count * outputs], &self.bias);
        let transposed = vec![("transB", Attribute::Int(1))];
        let scores = graph.node("Gemm", [features, weight, bias], transposed);
        let shape = graph.ints("classifiers.shape", &[-1, count as i64, outputs as i64]);
        let scores = graph.node("Reshape", [scores, shape], vec![]);
        let (scores, usable) = match self.task {
            Task::Classification { .. } => {
                let last = vec![("axis", Attribute::Int(-1))];
                let probabilities = graph.node("Softmax", [scores], last);
                let usable = with_probabilities(graph, &probabilities);
                (probabilities, usable)
            }
            Task::Regression { .. } => {
                let usable = with_finite_values(graph, &scores);
                (scores, usable)
            }
        };
        let [zero, infinity] = [("zero", 0.0), ("minus_infinity", f32::NEG_INFINITY)]
            .map(|(name, value)| graph.floats(name, &[], &[value]));
        let scores = graph.node("Where", [&usable, &scores, &zero], vec![]);
        let log_weights = graph.floats("log_weights", &[1, count, 1], &self.log_weights);
        let log_weights = graph.node("Where", [usable, log_weights, infinity], vec![]);
        let shares = graph.node("Softmax", [log_weights], vec![("axis", Attribute::Int(1))]);
        let axes = vec![("perm", Attribute::Ints(vec![0, 2, 1]))];
        let shares = graph.node("Transpose", [shares], axes);
        graph.node("MatMul", [shares, scores], vec![])
    }
}

/// Whether each classifier has probabilities, `[samples, N, 1]`: they add up to 1, else to NaN.
fn with_probabilities(graph: &mut Graph, probabilities: &str) -> String {
    let axes = graph.ints("classes", &[2]);
    let kept = vec![("keepdims", Attribute::Int(1))];
    let sums = graph.node("ReduceSum", [probabilities, &axes], kept);
    let most = graph.floats("most", &[], &[2.0]);
    graph.node("LessOrEqual", [sums, most], vec![])
}

/// Whether all outputs of each classifier are finite, `[samples, N, 1]`.
fn with_finite_values(graph: &mut Graph, scores: &str) -> String {
    let sizes = graph.node("Abs", [scores], vec![]);
    let largest = graph.floats("largest", &[], &[f32::MAX]);
    let finite = graph.node("LessOrEqual", [sizes, largest], vec![]);
    let cast = |to: ElementType| vec![("to", Attribute::Int(to.number()))];
    let finite = graph.node("Cast", [finite], cast(ElementType::F32));
    let over_outputs = vec![("axes", Attribute::Ints(vec![2])), ("keepdims", Attribute::Int(1))];
    let all = graph.node("ReduceMin", [finite], over_outputs);
    graph.node("Cast", [all], cast(ElementType::Bool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifiers_that_cannot_count_are_left_out() {
        let weight = [1.0, 2.0, f64::INFINITY, 3.0, 1e39, 4.0, 5.0, 6.0];
        let (bias, log_weights) = ([0.5; 4], [-1.0, 0.0, -0.5, -400.0]);
        let of = |task| Mixture::new(task, [&weight, &bias], &log_weights).unwrap();
        let values = of(Task::Regression { outputs: 1 });
        assert_eq!((values.weight, values.bias.len()), (vec![1.0, 2.0, 5.0, 6.0], 2));
        assert_eq!(values.log_weights, [0.0, -399.0]);
        let classes = of(Task::Classification { classes: 1 });
        assert_eq!((classes.weight, classes.log_weights), (vec![1.0, 2.0], vec![0.0]));
        let none = Mixture::new(Task::Regression { outputs: 1 }, [&[f64::NAN], &[0.0]], &[0.0]);
        assert!(none.is_none());
    }
}
