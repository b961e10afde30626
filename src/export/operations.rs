//! The nodes of each op.

use super::graph::{Attribute, Attributes};
use super::network::{Network, Pair, Value, refused};
use crate::error::Result;
use crate::nn::FileLayout;
use crate::trace::Operation;

/// The places of PyTorch's gates i, f, g, o in ONNX's order i, o, f, g.
const GATES: [usize; 4] = [0, 3, 1, 2];

fn ints(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|value| *value as i64).collect())
}

/// The attributes of a square window.
fn window(kernel: usize, stride: usize, padding: usize) -> Attributes {
    vec![
        ("kernel_shape", ints(&[kernel; 2])),
        ("strides", ints(&[stride; 2])),
        ("pads", ints(&[padding; 4])),
    ]
}

impl Network<'_> {
    /// Adds the nodes of one op.
    pub fn translate(
        &mut self,
        operation: Operation,
        inputs: &[Pair],
        outputs: &[Pair],
    ) -> Result<()> {
        let output = outputs[0];
        let value = match operation {
            Operation::Unary(name) => self.unary(name, inputs[0])?,
            Operation::Affine { factor, summand } => self.affine(inputs[0], factor, summand)?,
            Operation::Binary(name) => self.binary(name, [inputs[0], inputs[1]])?,
            Operation::Matmul { transpose_a, transpose_b } => {
                self.matmul([inputs[0], inputs[1]], [transpose_a, transpose_b])?
            }
            Operation::Sum => self.sum(inputs[0], output)?,
            Operation::Reshape => self.reshape(inputs[0], output)?,
            Operation::Flatten => {
                let x = self.images(inputs[0])?;
                Value::new(self.graph.node("Flatten", [x], vec![("axis", Attribute::Int(1))]))
            }
            Operation::Copy => self.value(inputs[0])?,
            Operation::Slice { axis, start } => self.slice(inputs[0], output, axis, start)?,
            Operation::Concatenate => self.concatenate(inputs)?,
            Operation::Convolution { stride, padding, groups } => {
                self.convolution(inputs, window_of(inputs[1], stride, padding), groups)?
            }
            Operation::BatchNorm { epsilon, relu } => self.batch_norm(inputs, epsilon, relu)?,
            Operation::MaxPool { kernel, stride, padding } => {
                self.pool("MaxPool", inputs[0], window(kernel, stride, padding))?
            }
            Operation::AveragePool { kernel, stride, padding } => {
                let mut attributes = window(kernel, stride, padding);
                attributes.push(("count_include_pad", Attribute::Int(1)));
                self.pool("AveragePool", inputs[0], attributes)?
            }
            Operation::GlobalAveragePool => {
                let pooled = self.pool("GlobalAveragePool", inputs[0], vec![])?;
                let axis = vec![("axis", Attribute::Int(1))];
                Value::new(self.graph.node("Flatten", [pooled.name], axis))
            }
            Operation::AdaptiveAveragePool => self.adaptive_average_pool(inputs[0], output)?,
            Operation::Embedding => {
                let [tokens, table] = [self.value(inputs[0])?, self.value(inputs[1])?];
                Value::new(self.graph.node("Gather", [table.name, tokens.name], vec![]))
            }
            Operation::Lstm => {
                let values = self.lstm(inputs, output)?;
                for (pair, value) in outputs.iter().zip(values) {
                    self.know(pair.0, value);
                }
                return Ok(());
            }
        };
        self.know(output.0, value);
        Ok(())
    }

    /// Images `[N, C, H, W]`.
    fn images(&mut self, pair: Pair) -> Result<String> {
        let value = self.value(pair)?;
        Ok(self.channels_first(&value))
    }

    fn unary(&mut self, name: &str, x: Pair) -> Result<Value> {
        let value = self.value(x)?;
        let own = value.name.as_str();
        let name = match name {
            "relu" => self.graph.node("Relu", [own], vec![]),
            "exp" => self.graph.node("Exp", [own], vec![]),
            "ln" => self.graph.node("Log", [own], vec![]),
            "tanh" => self.graph.node("Tanh", [own], vec![]),
            "sigmoid" => self.graph.node("Sigmoid", [own], vec![]),
            "sqrt" => self.graph.node("Sqrt", [own], vec![]),
            "square" => self.graph.node("Mul", [own, own], vec![]),
            other => {
                return Err(refused(format!("has the function {other}, which cannot be exported")));
            }
        };
        Ok(Value { name, ..value })
    }

    fn affine(&mut self, x: Pair, factor: f64, summand: f64) -> Result<Value> {
        let value = self.value(x)?;
        let factor = self.graph.floats("factor", &[], &[factor as f32]);
        let summand = self.graph.floats("summand", &[], &[summand as f32]);
        let scaled = self.graph.node("Mul", [&value.name, &factor], vec![]);
        Ok(Value { name: self.graph.node("Add", [scaled, summand], vec![]), ..value })
    }

    fn binary(&mut self, name: &str, pairs: [Pair; 2]) -> Result<Value> {
        let operator = match name {
            "add" => "Add",
            "sub" => "Sub",
            "mul" => "Mul",
            "div" => "Div",
            other => {
                return Err(refused(format!("has the function {other}, which cannot be exported")));
            }
        };
        let values = [self.value(pairs[0])?, self.value(pairs[1])?];
        // Only of four axes is it known which one has the channels.
        let is_channels_first = values.iter().any(|value| value.is_channels_first)
            && pairs.iter().all(|pair| pair.rank() == 4);
        let names = values.map(|value| match is_channels_first {
            true => self.channels_first(&value),
            false => self.as_recorded(&value),
        });
        Ok(Value { name: self.graph.node(operator, names, vec![]), is_channels_first })
    }

    fn matmul(&mut self, pairs: [Pair; 2], transposed: [bool; 2]) -> Result<Value> {
        let values = [self.value(pairs[0])?, self.value(pairs[1])?];
        let mut names = values.map(|value| self.as_recorded(&value));
        if pairs.iter().all(|pair| pair.rank() == 2) {
            let [a, b] = transposed.map(|own| Attribute::Int(own.into()));
            let attributes = vec![("transA", a), ("transB", b)];
            return Ok(Value::new(self.graph.node("Gemm", names, attributes)));
        }
        for ((name, pair), is_transposed) in names.iter_mut().zip(pairs).zip(transposed) {
            if is_transposed {
                let mut axes: Vec<i64> = (0..pair.rank() as i64).collect();
                axes[pair.rank() - 2..].reverse();
                *name = self.transposed(name, &axes);
            }
        }
        Ok(Value::new(self.graph.node("MatMul", names, vec![])))
    }

    fn sum(&mut self, x: Pair, output: Pair) -> Result<Value> {
        let value = self.value(x)?;
        let name = self.as_recorded(&value);
        let (rank, to) = (x.rank(), output.shape());
        let is_summed =
            |axis: &usize| x.shape()[*axis] != 1 && to.extent_from_right(rank, *axis) == 1;
        let axes: Vec<i64> = (0..rank).filter(is_summed).map(|axis| axis as i64).collect();
        // Without axes, ONNX would sum over all of them.
        let name = match axes.is_empty() {
            true => name,
            false => {
                let axes = self.graph.ints("axes", &axes);
                self.graph.node("ReduceSum", [name, axes], vec![("keepdims", Attribute::Int(1))])
            }
        };
        Ok(Value::new(self.reshaped(name, None, output)?))
    }

    fn reshape(&mut self, x: Pair, output: Pair) -> Result<Value> {
        let value = self.value(x)?;
        // The order of the elements is the same if there is one channel or one pixel.
        let extents = x.shape();
        let is_flat = extents.rank() == 4 && (extents[3] == 1 || extents[1] * extents[2] == 1);
        let name = if is_flat { value.name } else { self.as_recorded(&value) };
        Ok(Value::new(self.reshaped(name, Some(x), output)?))
    }

    fn slice(&mut self, x: Pair, output: Pair, axis: usize, start: usize) -> Result<Value> {
        let value = self.value(x)?;
        let axis_in_graph = match value.is_channels_first {
            true => [0, 2, 3, 1][axis],
            false => axis as i64,
        };
        let end = match output.extents()[axis] {
            Some(length) => (start + length) as i64,
            None if start + output.shape()[axis] == x.shape()[axis] => i64::MAX,
            None => {
                return Err(refused(format!(
                    "takes a part of axis {axis} that depends on the batch"
                )));
            }
        };
        let [starts, ends, axes] =
            [("starts", start as i64), ("ends", end), ("axes", axis_in_graph)]
                .map(|(name, own)| self.graph.ints(name, &[own]));
        let name = self.graph.node("Slice", [&value.name, &starts, &ends, &axes], vec![]);
        Ok(Value { name, ..value })
    }

    fn concatenate(&mut self, parts: &[Pair]) -> Result<Value> {
        if let [part] = parts {
            return self.value(*part);
        }
        let is_channels_first = parts[0].rank() == 4;
        let mut names = Vec::new();
        for part in parts {
            let value = self.value(*part)?;
            names.push(match is_channels_first {
                true => self.channels_first(&value),
                false => value.name,
            });
        }
        let axis = if is_channels_first { 1 } else { parts[0].rank() as i64 - 1 };
        let name = self.graph.node("Concat", names, vec![("axis", Attribute::Int(axis))]);
        Ok(Value { name, is_channels_first })
    }

    fn convolution(
        &mut self,
        inputs: &[Pair],
        mut attributes: Attributes,
        groups: usize,
    ) -> Result<Value> {
        let x = self.images(inputs[0])?;
        let (layout, groups) = match inputs[1].rank() {
            3 => (FileLayout::Depthwise, inputs[1].shape()[2]),
            _ => (FileLayout::Convolution, groups),
        };
        attributes.push(("group", Attribute::Int(groups as i64)));
        let mut names = vec![x, self.weight(inputs[1], layout)?];
        if let Some(bias) = inputs.get(2) {
            names.push(self.value(*bias)?.name);
        }
        Ok(Value::channels_first(self.graph.node("Conv", names, attributes)))
    }

    fn batch_norm(&mut self, inputs: &[Pair], epsilon: f64, relu: bool) -> Result<Value> {
        let x = self.value(inputs[0])?;
        let (x, is_channels_first) = match inputs[0].rank() {
            2 => (x.name, false),
            4 => (self.channels_first(&x), true),
            _ => {
                let shape = inputs[0].shape();
                return Err(refused(format!(
                    "normalises a tensor {shape}; only [N, C] and [N, H, W, C] can be exported"
                )));
            }
        };
        let mut names = vec![x];
        for vector in &inputs[1..] {
            names.push(self.value(*vector)?.name);
        }
        let epsilon = vec![("epsilon", Attribute::Float(epsilon as f32))];
        let mut name = self.graph.node("BatchNormalization", names, epsilon);
        if relu {
            name = self.graph.node("Relu", [name], vec![]);
        }
        Ok(Value { name, is_channels_first })
    }

    fn pool(&mut self, operator: &'static str, x: Pair, attributes: Attributes) -> Result<Value> {
        let x = self.images(x)?;
        Ok(Value::channels_first(self.graph.node(operator, [x], attributes)))
    }

    /// As products with a matrix for each axis: ONNX has no such op, and its windows need not be equal.
    fn adaptive_average_pool(&mut self, x: Pair, output: Pair) -> Result<Value> {
        let mut name = self.images(x)?;
        let (from, to) = (x.shape(), output.shape());
        let rows = self.graph.floats("row_means", &[to[1], from[1]], &means(from[1], to[1]));
        let columns = self.graph.floats("column_means", &[to[2], from[2]], &means(from[2], to[2]));
        let columns = self.transposed(&columns, &[1, 0]);
        name = self.graph.node("MatMul", [rows, name], vec![]);
        Ok(Value::channels_first(self.graph.node("MatMul", [name, columns], vec![])))
    }

    /// All times' outputs, and the last state.
    fn lstm(&mut self, inputs: &[Pair], output: Pair) -> Result<[Value; 3]> {
        let x = self.value(inputs[0])?;
        let hidden = output.shape()[2];
        let mut names = vec![x.name];
        for weight in &inputs[1..3] {
            let (name, values) = self.constant(*weight)?;
            let [rows, columns] = [weight.shape()[0], weight.shape()[1]];
            names.push(self.graph.floats(
                &name,
                &[1, rows, columns],
                &in_order(&values, hidden * columns),
            ));
        }
        let (name, mut bias) = self.constant(inputs[3])?;
        bias = in_order(&bias, hidden);
        bias.extend(in_order(&self.constant(inputs[4])?.1, hidden));
        names.push(self.graph.floats(&name.replace("bias_ih", "bias"), &[1, bias.len()], &bias));
        // No lengths: every sample has all times.
        names.push(String::new());
        let first = self.graph.ints("axes", &[0]);
        for state in &inputs[5..] {
            let own = self.value(*state)?.name;
            names.push(self.graph.node("Unsqueeze", [own, first.clone()], vec![]));
        }
        let attributes = vec![("hidden_size", Attribute::Int(hidden as i64))];
        let [y, h, c] = self.graph.nodes("LSTM", names, attributes);
        // The outputs have an axis for the directions.
        let second = self.graph.ints("axes", &[1]);
        let values = [(y, second), (h, first.clone()), (c, first)];
        Ok(values.map(|(name, axes)| Value::new(self.graph.node("Squeeze", [name, axes], vec![]))))
    }
}

/// The attributes of a convolution with this weight.
fn window_of(weight: Pair, stride: usize, padding: usize) -> Attributes {
    let shape = weight.shape();
    let kernel = if shape.rank() == 3 { [shape[0], shape[1]] } else { [shape[1], shape[2]] };
    vec![
        ("kernel_shape", ints(&kernel)),
        ("strides", ints(&[stride; 2])),
        ("pads", ints(&[padding; 4])),
    ]
}

/// The gates' parts, of `length` elements each, in ONNX's order.
fn in_order(values: &[f32], length: usize) -> Vec<f32> {
    GATES.iter().flat_map(|gate| &values[gate * length..(gate + 1) * length]).copied().collect()
}

/// The matrix `[to, from]` that takes the means of windows as `adaptive_average_pool2d` does.
fn means(from: usize, to: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; to * from];
    for (place, row) in matrix.chunks_mut(from).enumerate() {
        let window = place * from / to..((place + 1) * from).div_ceil(to);
        let share = 1.0 / window.len() as f32;
        row[window].fill(share);
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_come_in_onnx_s_order_and_windows_share_rows() {
        assert_eq!(
            in_order(&[1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5], 2),
            [1.0, 1.5, 4.0, 4.5, 2.0, 2.5, 3.0, 3.5]
        );
        assert_eq!(means(3, 2), [0.5, 0.5, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(means(4, 2), [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
    }
}
