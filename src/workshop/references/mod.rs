//! The references by family.

mod algorithm;
mod elementwise;
mod products;
mod rows;

use super::reference::Reference;

/// All references, in the order of a course.
pub const REFERENCES: &[&Reference] = &[
    &elementwise::VECTOR_ADD,
    &elementwise::SCALE_ADD,
    &elementwise::REVERSE,
    &elementwise::MOVING_AVERAGE,
    &elementwise::BIAS_RELU,
    &elementwise::TRANSPOSE,
    &rows::SUM,
    &rows::ROW_SUM,
    &rows::ROW_ARGMAX,
    &rows::PREFIX_SUM,
    &rows::SOFTMAX,
    &rows::HISTOGRAM,
    &products::MATMUL,
    &products::MATMUL_BF16,
    &products::CONV2D,
    &products::LSTM,
    &algorithm::UPDATE,
    &algorithm::HEAD,
    &algorithm::SWITCH,
];

/// The reference with this name.
pub fn reference(name: &str) -> Option<&'static Reference> {
    REFERENCES.iter().copied().find(|reference| reference.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workshop::reference::Value;

    #[test]
    fn every_reference_has_a_problem_for_each_of_its_shapes() {
        for reference in REFERENCES {
            assert!(!reference.shapes.is_empty(), "{}", reference.name);
            for shape in reference.shapes {
                assert_eq!(shape.len(), reference.extents.len(), "{}", reference.name);
                let problem = (reference.problem)(shape);
                let names: Vec<_> = problem.arguments.iter().map(|(name, _)| *name).collect();
                let told: Vec<_> = reference.parameters.iter().map(|(name, _)| *name).collect();
                assert_eq!(names, told, "{}", reference.name);
                let mut results = 0;
                for (name, value) in &problem.arguments {
                    let Value::Array(array) = value else { continue };
                    for values in [&array.initial, &array.expected].into_iter().flatten() {
                        assert_eq!(values.len(), array.len(), "{} {name}", reference.name);
                        assert!(values.iter().all(|x| x.is_finite()), "{} {name}", reference.name);
                    }
                    // What is uploaded must be what the reference computes with.
                    if let (crate::DType::F32, Some(values)) = (array.dtype, &array.initial) {
                        let is_exact = |x: &f64| f64::from(*x as f32) == *x;
                        assert!(values.iter().all(is_exact), "{} {name}", reference.name);
                    }
                    results += usize::from(array.expected.is_some());
                }
                assert!(results > 0, "{}", reference.name);
                assert!(problem.operations > 0.0 && problem.terms > 0, "{}", reference.name);
            }
        }
    }
}
