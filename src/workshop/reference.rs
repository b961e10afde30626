//! What kernel files compute: the problem, its arguments and the expected results, from plain loops in f64.

use crate::DType;
use crate::random::{Philox, Purpose};

/// Something that a kernel file can compute.
#[derive(Debug)]
pub struct Reference {
    /// Its name in a header.
    pub name: &'static str,
    /// What is computed, in one line.
    pub formula: &'static str,
    /// The numbers that a shape consists of.
    pub extents: &'static [&'static str],
    /// The extents that tiles cover, `x` first, in words.
    pub covers: &'static str,
    /// The names that a kernel's parameters may have, with their meaning.
    pub parameters: &'static [(&'static str, &'static str)],
    /// The shapes that are tried unless a file gives others; the memory traffic of the last one is counted.
    pub shapes: &'static [&'static [usize]],
    /// The problem of one shape.
    pub problem: fn(&[usize]) -> Problem,
}

impl Reference {
    /// The shapes that are tried unless a file gives others.
    pub fn usual_shapes(&self) -> Vec<Vec<usize>> {
        self.shapes.iter().map(|shape| shape.to_vec()).collect()
    }

    /// Checks that a shape has the reference's number of extents, each at least 1.
    ///
    /// # Errors
    /// A message that names the extents.
    pub fn check_shape(&self, shape: &[usize]) -> Result<(), String> {
        match shape.len() == self.extents.len() && !shape.contains(&0) {
            true => Ok(()),
            false => Err(format!(
                "has {shape:?}: give the extents [{}], each at least 1",
                self.extents.join(", ")
            )),
        }
    }

    /// A shape in words, such as `rows 33, columns 65`.
    pub fn describe(&self, shape: &[usize]) -> String {
        let extents = self.extents.iter().zip(shape);
        extents.map(|(name, extent)| format!("{name} {extent}")).collect::<Vec<_>>().join(", ")
    }
}

/// A problem of one shape.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The extents that tiles cover: `x`, `y`, `z`.
    pub output: [usize; 3],
    /// The arguments by name.
    pub arguments: Vec<(&'static str, Value)>,
    /// The most additions behind one element of a result, by which its rounding errors grow.
    pub terms: usize,
    /// Operations on numbers that the result needs.
    pub operations: f64,
}

/// An argument of a kernel.
#[derive(Clone, Debug)]
pub enum Value {
    /// An array in device memory.
    Array(Array),
    /// A whole number, of whichever type the kernel declares.
    Int(i64),
    /// A number, of whichever type the kernel declares.
    Float(f64),
}

/// An array in device memory.
#[derive(Clone, Debug)]
pub struct Array {
    /// The type of its elements.
    pub dtype: DType,
    /// Its extents, the last running fastest.
    pub shape: Vec<usize>,
    /// What it holds before the kernel runs; `None` for unwritten memory.
    pub initial: Option<Vec<f64>>,
    /// What it has to hold afterwards; `None` for inputs, which must not change, and scratch space.
    pub expected: Option<Vec<f64>>,
    /// For sums of products: for each element, the sum of its products' absolute values. Rounded factors may change the element by a
    /// fraction of it.
    pub sizes: Option<Vec<f64>>,
}

impl Array {
    /// The number of its elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An array that the kernel reads.
pub(super) fn input(dtype: DType, shape: &[usize], values: &[f64]) -> Value {
    array(dtype, shape, Some(values.to_vec()), None)
}

/// An array that the kernel writes.
pub(super) fn output(dtype: DType, shape: &[usize], expected: Vec<f64>) -> Value {
    array(dtype, shape, None, Some(expected))
}

/// An array that the kernel writes, of sums of products whose absolute values have these sums.
pub(super) fn sums_of_products(
    dtype: DType,
    shape: &[usize],
    expected: Vec<f64>,
    sizes: Vec<f64>,
) -> Value {
    let shape = shape.to_vec();
    Value::Array(Array {
        dtype,
        shape,
        initial: None,
        expected: Some(expected),
        sizes: Some(sizes),
    })
}

/// An array that the kernel changes.
pub(super) fn changed(dtype: DType, shape: &[usize], from: &[f64], to: Vec<f64>) -> Value {
    array(dtype, shape, Some(from.to_vec()), Some(to))
}

/// Room for what one kernel leaves to the next.
pub(super) fn scratch(dtype: DType, shape: &[usize]) -> Value {
    array(dtype, shape, None, None)
}

fn array(
    dtype: DType,
    shape: &[usize],
    initial: Option<Vec<f64>>,
    expected: Option<Vec<f64>>,
) -> Value {
    Value::Array(Array { dtype, shape: shape.to_vec(), initial, expected, sizes: None })
}

/// `count` numbers from -1 to 1, each of them an f32; another `number` gives others.
pub(super) fn numbers(number: u32, count: usize) -> Vec<f64> {
    let mut stream = Philox::new(0, Purpose::Data).numbered_stream(0, number);
    (0..count).map(|_| f64::from((2.0 * stream.uniform() - 1.0) as f32)).collect()
}

/// The same, rounded to bf16.
pub(super) fn bf16_numbers(number: u32, count: usize) -> Vec<f64> {
    numbers(number, count).into_iter().map(|x| half::bf16::from_f64(x).to_f64()).collect()
}

/// `count` whole numbers from 0 to `end - 1`.
pub(super) fn choices(number: u32, count: usize, end: usize) -> Vec<f64> {
    let place = |x: f64| ((x + 1.0) / 2.0 * end as f64).floor().min(end as f64 - 1.0);
    numbers(number, count).into_iter().map(place).collect()
}
