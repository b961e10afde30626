//! Products of matrices, convolutions and recurrent layers.

use crate::DType::{BF16, F32};
use crate::workshop::reference::{
    Problem, Reference, Value, bf16_numbers, changed, input, numbers, output, sums_of_products,
};

/// `a` `[m, k]` times `b` `[k, n]`.
fn product(a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for row in 0..m {
        for (inner, &factor) in a[row * k..(row + 1) * k].iter().enumerate() {
            let own = &mut c[row * n..(row + 1) * n];
            own.iter_mut().zip(&b[inner * n..(inner + 1) * n]).for_each(|(c, b)| *c += factor * b);
        }
    }
    c
}

fn matmul(shape: &[usize], dtype: crate::DType, draw: fn(u32, usize) -> Vec<f64>) -> Problem {
    let [m, n, k] = [shape[0], shape[1], shape[2]];
    let (a, b) = (draw(0, m * k), draw(1, k * n));
    let [sizes_a, sizes_b] =
        [&a, &b].map(|factors| factors.iter().map(|x| x.abs()).collect::<Vec<_>>());
    let sizes = product(&sizes_a, &sizes_b, [m, n, k]);
    let arguments = vec![
        ("a", input(dtype, &[m, k], &a)),
        ("b", input(dtype, &[k, n], &b)),
        ("c", sums_of_products(F32, &[m, n], product(&a, &b, [m, n, k]), sizes)),
        ("m", Value::Int(m as i64)),
        ("n", Value::Int(n as i64)),
        ("k", Value::Int(k as i64)),
    ];
    Problem { output: [n, m, 1], arguments, terms: k, operations: 2.0 * (m * n * k) as f64 }
}

pub(in crate::workshop) const MATMUL: Reference = Reference {
    name: "matmul",
    formula: "c[r][s] = a[r][0] b[0][s] + ... + a[r][k - 1] b[k - 1][s]",
    extents: &["m", "n", "k"],
    covers: "n, m",
    parameters: &[
        ("a", "f32 [m, k]"),
        ("b", "f32 [k, n]"),
        ("c", "f32 [m, n], written"),
        ("m", "rows of a and c"),
        ("n", "columns of b and c"),
        ("k", "columns of a, rows of b"),
    ],
    shapes: &[&[1, 1, 1], &[33, 65, 17], &[64, 64, 64]],
    problem: |shape| matmul(shape, F32, numbers),
};

pub(in crate::workshop) const MATMUL_BF16: Reference = Reference {
    name: "matmul_bf16",
    formula: "c = a b, with a and b in bf16 and sums in f32",
    extents: &["m", "n", "k"],
    covers: "n, m",
    parameters: &[
        ("a", "bf16 [m, k]"),
        ("b", "bf16 [k, n]"),
        ("c", "f32 [m, n], written"),
        ("m", "rows of a and c"),
        ("n", "columns of b and c"),
        ("k", "columns of a, rows of b"),
    ],
    shapes: &[&[16, 8, 16], &[32, 64, 48]],
    problem: |shape| matmul(shape, BF16, bf16_numbers),
};

/// The sides of the window of `conv2d`.
const WINDOW: usize = 3;

pub(in crate::workshop) const CONV2D: Reference = Reference {
    name: "conv2d",
    formula: "out[i][y][x][f] = the sum over r, s, c of image[i][y + r - 1][x + s - 1][c] weight[f][r][s][c], with 0 in place of pixels \
              outside of the image",
    extents: &["images", "height", "width", "channels", "filters"],
    covers: "filters, pixels of all images",
    parameters: &[
        ("image", "f32 [images, height, width, channels]"),
        ("weight", "f32 [filters, 3, 3, channels]"),
        ("out", "f32 [images, height, width, filters], written"),
        ("images", "images"),
        ("height", "rows of an image"),
        ("width", "columns of an image"),
        ("channels", "numbers of a pixel"),
        ("filters", "outputs of a pixel"),
    ],
    shapes: &[&[1, 1, 1, 1, 1], &[2, 5, 3, 4, 33], &[1, 8, 8, 16, 32]],
    problem: |shape| {
        let [images, height, width, channels, filters] =
            [shape[0], shape[1], shape[2], shape[3], shape[4]];
        let image = numbers(0, images * height * width * channels);
        let weight = numbers(1, filters * WINDOW * WINDOW * channels);
        let pixels = images * height * width;
        let mut out = vec![0.0; pixels * filters];
        for pixel in 0..pixels {
            let (y, x) = (pixel / width % height, pixel % width);
            for tap in 0..WINDOW * WINDOW {
                let (row, column) = (y + tap / WINDOW, x + tap % WINDOW);
                if !(1..=height).contains(&row) || !(1..=width).contains(&column) {
                    continue;
                }
                let near = pixel + (row - 1) * width + column - 1 - y * width - x;
                let pixel_values = &image[near * channels..(near + 1) * channels];
                for filter in 0..filters {
                    let start = (filter * WINDOW * WINDOW + tap) * channels;
                    let weights = &weight[start..start + channels];
                    let sum: f64 = pixel_values.iter().zip(weights).map(|(a, b)| a * b).sum();
                    out[pixel * filters + filter] += sum;
                }
            }
        }
        let terms = WINDOW * WINDOW * channels;
        let arguments = vec![
            ("image", input(F32, &[images, height, width, channels], &image)),
            ("weight", input(F32, &[filters, WINDOW, WINDOW, channels], &weight)),
            ("out", output(F32, &[images, height, width, filters], out)),
            ("images", Value::Int(images as i64)),
            ("height", Value::Int(height as i64)),
            ("width", Value::Int(width as i64)),
            ("channels", Value::Int(channels as i64)),
            ("filters", Value::Int(filters as i64)),
        ];
        let operations = 2.0 * (pixels * filters * terms) as f64;
        Problem { output: [filters, pixels, 1], arguments, terms, operations }
    },
};

pub(in crate::workshop) const LSTM: Reference = Reference {
    name: "lstm",
    formula: "i, f, g, o = gates[t] + h weight^T; c = sigmoid(f) c + sigmoid(i) tanh(g); h = sigmoid(o) tanh(c); hidden[t] = h",
    extents: &["steps", "batch", "units"],
    covers: "units, batch",
    parameters: &[
        ("gates", "f32 [steps, batch, 4 units]: the inputs' share of the gates i, f, g, o"),
        ("weight", "f32 [4 units, units]"),
        ("hidden", "f32 [steps, batch, units], written"),
        ("cell", "f32 [batch, units], zero before, changed"),
        ("steps", "time steps"),
        ("batch", "columns"),
        ("units", "units"),
    ],
    shapes: &[&[1, 1, 1], &[3, 2, 5], &[6, 4, 32]],
    problem: |shape| {
        let [steps, batch, units] = [shape[0], shape[1], shape[2]];
        let gates = numbers(0, steps * batch * 4 * units);
        let weight = numbers(1, 4 * units * units);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (mut hidden, mut cell) = (Vec::new(), vec![0.0; batch * units]);
        let mut state = vec![0.0; batch * units];
        for step in 0..steps {
            let mut next = vec![0.0; batch * units];
            for column in 0..batch {
                let own = &state[column * units..(column + 1) * units];
                let gate = |number: usize, unit: usize| -> f64 {
                    let row = number * units + unit;
                    let sum: f64 = own.iter().zip(&weight[row * units..]).map(|(h, w)| h * w).sum();
                    gates[(step * batch + column) * 4 * units + row] + sum
                };
                for unit in 0..units {
                    let [i, f, g, o] = [0, 1, 2, 3].map(|number| gate(number, unit));
                    let place = column * units + unit;
                    cell[place] = sigmoid(f) * cell[place] + sigmoid(i) * g.tanh();
                    next[place] = sigmoid(o) * cell[place].tanh();
                }
            }
            hidden.extend_from_slice(&next);
            state = next;
        }
        let zeros = vec![0.0; batch * units];
        let arguments = vec![
            ("gates", input(F32, &[steps, batch, 4 * units], &gates)),
            ("weight", input(F32, &[4 * units, units], &weight)),
            ("hidden", output(F32, &[steps, batch, units], hidden)),
            ("cell", changed(F32, &[batch, units], &zeros, cell)),
            ("steps", Value::Int(steps as i64)),
            ("batch", Value::Int(batch as i64)),
            ("units", Value::Int(units as i64)),
        ];
        let operations = (steps * batch * units * (8 * units + 30)) as f64;
        Problem { output: [units, batch, 1], arguments, terms: units * steps, operations }
    },
};
