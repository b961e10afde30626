//! Memory-bound kernels: elementwise functions, sums, norms, pools, dropout, layouts.

use super::{Cost, Size, Work, Workload, filled, forward_and_back};
use crate::device::{DType, Device};
use crate::ops::input::augment::{images_from_bytes, images_from_floats};
use crate::ops::layers::batch_norm::{
    BatchNormConfig, PartSums, batch_norm_add, batch_norm_eval, batch_norm_train, moments,
    with_part_sums,
};
use crate::ops::layers::dropout::dropout;
use crate::ops::layers::flatten::flatten;
use crate::ops::layers::pool::{adaptive_average_pool2d, average_pool2d, max_pool2d};
use crate::ops::layers::squeeze_excite::squeeze_excite;
use crate::tensor::Tensor;

/// The activations of VGG19's first layers: 2 million elements.
const IMAGE: [usize; 4] = [32, 32, 32, 64];

/// The same with rows that are not a multiple of 16 bytes.
const ODD_IMAGE: [usize; 4] = [32, 32, 32, 63];

fn small([.., channels]: [usize; 4]) -> [usize; 4] {
    [2, 6, 6, channels]
}

fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

pub(super) fn all() -> Vec<Workload> {
    let mut all = functions();
    all.extend(binaries());
    all.extend([fill(), copy(), cast(), biased(), residual()]);
    all.extend(sums());
    all.extend([IMAGE, ODD_IMAGE].map(batch_norm));
    all.extend([[32, 4, 4, 512], [32, 4, 4, 511]].map(deep_batch_norm));
    all.extend([IMAGE, ODD_IMAGE].map(batch_norm_with_residual));
    all.extend([IMAGE, ODD_IMAGE].map(max_pool));
    all.extend([IMAGE, ODD_IMAGE].map(average_pool));
    all.extend([IMAGE, ODD_IMAGE].map(adaptive_average_pool));
    all.extend([IMAGE, ODD_IMAGE].map(channel_gates));
    all.extend([evaluated_norm(), large_max_pool(), dropped(), flattened(), augmented()]);
    all
}

type Function = fn(&Tensor) -> Tensor;

/// Name, forward and backward kernel, and whether backward reads a saved tensor.
const FUNCTIONS: [(&str, [&str; 2], bool, Function); 8] = [
    ("relu", ["elementwise_relu_fwd*", "elementwise_relu_bwd*"], true, |x| x.relu()),
    ("exp", ["elementwise_exp_fwd*", "elementwise_exp_bwd*"], true, |x| x.exp()),
    ("ln", ["elementwise_ln_fwd*", "elementwise_ln_bwd*"], true, |x| x.ln()),
    ("tanh", ["elementwise_tanh_fwd*", "elementwise_tanh_bwd*"], true, |x| x.tanh()),
    ("sigmoid", ["elementwise_sigmoid_fwd*", "elementwise_sigmoid_bwd*"], true, |x| x.sigmoid()),
    ("sqrt", ["elementwise_sqrt_fwd*", "elementwise_sqrt_bwd*"], true, |x| x.sqrt()),
    ("square", ["elementwise_square_fwd*", "elementwise_square_bwd*"], true, |x| x.square()),
    ("affine", ["elementwise_affine_fwd*", "elementwise_affine_bwd*"], false, |x| {
        x.affine(2.0, 1.0)
    }),
];

fn functions() -> Vec<Workload> {
    let n = elements(&IMAGE);
    let one = |(name, [forward, backward], is_kept, function): (
        &str,
        [&'static str; 2],
        bool,
        Function,
    )| {
        Workload::new(format!("{name} of {IMAGE:?}"), move |device, dtype, size| {
            let shape = size.of(IMAGE, small(IMAGE));
            let [x, dy] = [1, 2].map(|number| filled(device, &shape, dtype, number));
            forward_and_back(vec![x], dy, move |x| function(&x[0]))
        })
        .cost(forward, Cost::elements(2 * n))
        .cost(backward, Cost::elements(if is_kept { 3 * n } else { 2 * n }))
    };
    FUNCTIONS.map(one).into()
}

type Binary = fn(&Tensor, &Tensor) -> Tensor;

fn binaries() -> Vec<Workload> {
    let functions: [(&str, &'static str, Binary); 4] = [
        ("add", "elementwise_add*", |a, b| a.add(b)),
        ("sub", "elementwise_sub*", |a, b| a.sub(b)),
        ("mul", "elementwise_mul*", |a, b| a.mul(b)),
        ("div", "elementwise_div*", |a, b| a.div(b)),
    ];
    functions
        .map(|(name, kernel, function)| {
            let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
                let shape = size.of(IMAGE, small(IMAGE));
                let [a, b] = [1, 2].map(|number| filled(device, &shape, dtype, number));
                Box::new(move || vec![function(&a, &b)])
            };
            Workload::new(format!("{name} of two {IMAGE:?}"), prepare)
                .cost(kernel, Cost::elements(3 * elements(&IMAGE)))
        })
        .into()
}

/// Adds a bias per channel.
fn biased() -> Workload {
    let prepare = |device: &Device, dtype: DType, size: Size| -> Work {
        let x = filled(device, &size.of(IMAGE, small(IMAGE)), dtype, 1);
        let bias = filled(device, &[IMAGE[3]], dtype.wide(), 2);
        Box::new(move || vec![x.add(&bias)])
    };
    Workload::new(format!("add of a bias to {IMAGE:?}"), prepare)
        .cost("elementwise_add*", Cost::elements(2 * elements(&IMAGE)))
}

/// From the workload's type to the accumulation type, and back.
fn cast() -> Workload {
    let n = elements(&IMAGE);
    let prepare = |device: &Device, dtype: DType, size: Size| -> Work {
        let x = filled(device, &size.of(IMAGE, small(IMAGE)), dtype, 1);
        Box::new(move || {
            let wide = x.cast(dtype.wide());
            vec![wide.cast(dtype), wide]
        })
    };
    Workload::new(format!("cast of {IMAGE:?}"), prepare)
        .cost("elementwise_cast*", Cost::elements(n).and_bytes(4 * n))
}

fn fill() -> Workload {
    Workload::new(format!("fill of {IMAGE:?}"), |device, dtype, size| {
        let (device, shape) = (device.clone(), size.of(IMAGE, small(IMAGE)));
        Box::new(move || vec![Tensor::full(&device, shape, dtype, 0.5)])
    })
    .cost("elementwise_fill", Cost::elements(elements(&IMAGE)))
}

fn copy() -> Workload {
    Workload::new(format!("copy of {IMAGE:?}"), |device, dtype, size| {
        let x = filled(device, &size.of(IMAGE, small(IMAGE)), dtype, 1);
        Box::new(move || vec![x.copy()])
    })
    .cost("elementwise_copy", Cost::elements(2 * elements(&IMAGE)))
}

/// The gradients of a residual connection's two branches are added.
fn residual() -> Workload {
    let prepare = |device: &Device, dtype: DType, size: Size| {
        let shape = size.of(IMAGE, small(IMAGE));
        let [x, dy] = [1, 2].map(|number| filled(device, &shape, dtype, number));
        forward_and_back(vec![x], dy, |x| x[0].add(&x[0]))
    };
    Workload::new(format!("{IMAGE:?} added to itself"), prepare)
        .cost("elementwise_accumulate*", Cost::elements(3 * elements(&IMAGE)))
}

fn sums() -> [Workload; 3] {
    let n = elements(&IMAGE);
    let over = |axis: usize, full: [usize; 2], few: [usize; 2]| {
        move |device: &Device, dtype: DType, size: Size| -> Work {
            let shape = size.of(full, few);
            let x = filled(device, &shape, dtype, 1);
            let mut to = shape;
            to[axis] = 1;
            Box::new(move || vec![x.sum_to(to)])
        }
    };
    // A second launch sums the splits; its bytes are a small fraction of the first one's.
    [
        Workload::new("a bias's gradient from [32768, 64]", over(0, [32_768, 64], [600, 64]))
            .cost("reduce_columns*", Cost::elements(n).and_operations(n)),
        Workload::new("sum of each row of [32, 65536]", over(1, [32, 65_536], [3, 5000]))
            .cost("reduce_rows*", Cost::elements(n).and_operations(n)),
        Workload::new("argmax of [1400, 9999]", |device, dtype, size| {
            let x = filled(device, &size.of([1400, 9999], [30, 99]), dtype, 1);
            Box::new(move || vec![x.argmax()])
        })
        .cost("reduce_argmax*", Cost::elements(1400 * 9999)),
    ]
}

/// A batch norm with ReLU, forward and backward.
fn norm_work(device: &Device, dtype: DType, shape: [usize; 4]) -> Work {
    let [x, dy] = [1, 2].map(|number| filled(device, &shape, dtype, number));
    let own = |number| filled(device, &[shape[3]], dtype.wide(), number);
    let (mean, variance) = (own(3), own(4));
    let config = BatchNormConfig { relu: true, ..BatchNormConfig::default() };
    forward_and_back(vec![x, own(5), own(6)], dy, move |x| {
        batch_norm_train(&x[0], &x[1], &x[2], &mean, &variance, config)
    })
}

fn batch_norm(image: [usize; 4]) -> Workload {
    let (n, channels) = (elements(&image), image[3]);
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let work = norm_work(device, dtype, size.of(image, small(image)));
        Box::new(move || with_part_sums(PartSums::Launch, &work))
    };
    let workload = Workload::new(format!("batch norm with ReLU of {image:?}"), prepare)
        .cost("batch_norm_statistics_x*", Cost::elements(n))
        .cost("batch_norm_apply_x*", Cost::elements(2 * n))
        .cost("batch_norm_sums_x*", Cost::elements(2 * n))
        .cost("batch_norm_input_gradient_x*", Cost::elements(3 * n));
    if !channels.is_multiple_of(4) {
        return workload;
    }
    // Per channel: the numbers of at least one part, and the results.
    workload
        .cost("batch_norm_finish_f32", Cost::bytes(4 * 5 * channels))
        .cost("batch_norm_gradients_f32", Cost::bytes(4 * 4 * channels))
}

/// The batch norm of a deep layer: it has few parts of rows, so it takes fewer launches.
fn deep_batch_norm(image: [usize; 4]) -> Workload {
    let n = elements(&image);
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        norm_work(device, dtype, size.of(image, small(image)))
    };
    Workload::new(format!("batch norm with ReLU of {image:?}, in fewer launches"), prepare)
        .cost("batch_norm_finish_apply_x*", Cost::elements(2 * n))
        .cost("batch_norm_gradients_input_x*", Cost::elements(3 * n))
}

/// A residual block's end.
fn batch_norm_with_residual(image: [usize; 4]) -> Workload {
    let (n, channels) = (elements(&image), image[3]);
    let prepare = move |device: &Device, dtype: DType, size: Size| {
        let shape = size.of(image, small(image));
        let [x, residual, dy] = [1, 2, 3].map(|number| filled(device, &shape, dtype, number));
        let [weight, bias, mean, variance] =
            [4, 5, 6, 7].map(|number| filled(device, &[channels], dtype.wide(), number));
        let config = BatchNormConfig { relu: true, ..BatchNormConfig::default() };
        forward_and_back(vec![x, weight, bias, residual], dy, move |x| {
            let inputs = [&x[0], &x[1], &x[2], &x[3]];
            batch_norm_add(inputs, Some(&moments(&x[0])), [&mean, &variance], config)
        })
    };
    Workload::new(format!("batch norm with a residual and ReLU of {image:?}"), prepare)
        .cost("batch_norm_masked_sums_x*", Cost::elements(4 * n))
}

/// Batch norm by running statistics.
fn evaluated_norm() -> Workload {
    let channels = IMAGE[3];
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let x = filled(device, &size.of(IMAGE, small(IMAGE)), dtype, 1);
        let [weight, bias, mean, variance] =
            [2, 3, 4, 5].map(|i| filled(device, &[channels], dtype.wide(), i));
        let config = BatchNormConfig { relu: true, ..BatchNormConfig::default() };
        Box::new(move || vec![batch_norm_eval(&x, &weight, &bias, &mean, &variance, config)])
    };
    Workload::new(format!("batch norm by running statistics of {IMAGE:?}"), prepare)
        .cost("batch_norm_running*", Cost::bytes(4 * 7 * channels))
}

/// A pool with 2x2 windows, and the names of its kernels.
fn pool(
    name: &str,
    image: [usize; 4],
    [forward, backward]: [&'static str; 2],
    cost: Cost,
    function: Function,
) -> Workload {
    let prepare = move |device: &Device, dtype: DType, size: Size| {
        let [images, height, width, channels] = size.of(image, small(image));
        let x = filled(device, &[images, height, width, channels], dtype, 1);
        let dy = filled(device, &[images, height / 2, width / 2, channels], dtype, 2);
        forward_and_back(vec![x], dy, move |x| function(&x[0]))
    };
    Workload::new(format!("{name} 2x2 of {image:?}"), prepare)
        .cost(forward, cost)
        .cost(backward, cost)
}

/// The output is a quarter of the input, with an argmax of one byte per element.
fn max_pool(image: [usize; 4]) -> Workload {
    let n = elements(&image);
    let kernels = ["max_pool_fwd_x*", "max_pool_bwd_x*"];
    let cost = Cost::elements(n + n / 4).and_bytes(n / 4);
    pool("max pool", image, kernels, cost, |x| max_pool2d(x, 2, 2, 0))
}

fn average_pool(image: [usize; 4]) -> Workload {
    let n = elements(&image);
    let kernels = ["average_pool_fwd_x*", "average_pool_bwd_x*"];
    let cost = Cost::elements(n + n / 4).and_operations(n);
    pool("average pool", image, kernels, cost, |x| average_pool2d(x, 2, 2, 0))
}

fn adaptive_average_pool(image: [usize; 4]) -> Workload {
    let n = elements(&image);
    let kernels = ["adaptive_average_pool_fwd_x*", "adaptive_average_pool_bwd_x*"];
    let cost = Cost::elements(n + n / 4).and_operations(n);
    pool("adaptive average pool", image, kernels, cost, |x| {
        adaptive_average_pool2d(x, [x.shape()[1] / 2, x.shape()[2] / 2])
    })
}

/// Squeeze and excitation with a residual, as in a block of SENet-18.
fn channel_gates(image: [usize; 4]) -> Workload {
    let (n, images, channels) = (elements(&image), image[0], image[3]);
    let hidden = channels.div_ceil(16);
    let prepare = move |device: &Device, dtype: DType, size: Size| {
        let shape = size.of(image, small(image));
        let [x, residual, dy] = [1, 2, 3].map(|number| filled(device, &shape, dtype, number));
        let squeeze = filled(device, &[hidden, 1, 1, channels], dtype, 4);
        let excite = filled(device, &[channels, 1, 1, hidden], dtype, 5);
        let bias = |length, number| filled(device, &[length], dtype.wide(), number);
        let (squeeze_bias, excite_bias) = (bias(hidden, 6), bias(channels, 7));
        let inputs = vec![x, squeeze, squeeze_bias, excite, excite_bias, residual];
        forward_and_back(inputs, dy, |x| {
            squeeze_excite(&x[0], [&x[1], &x[2]], [&x[3], &x[4]], x.get(5))
        })
    };
    // The layers of all images, and what is kept of them, are few beside the pixels.
    let kept = images * (2 * channels + 2 * hidden) + 2 * channels * hidden + channels + hidden;
    let workload = Workload::new(format!("channel gates of {image:?}"), prepare)
        .cost("squeeze_excite_gates_fwd*", Cost::elements(n).and_operations(n))
        .cost("squeeze_excite_apply_fwd*", Cost::elements(3 * n).and_operations(2 * n))
        .cost("squeeze_excite_gates_bwd*", Cost::elements(2 * n).and_operations(2 * n))
        .cost("squeeze_excite_input_bwd*", Cost::elements(2 * n).and_operations(2 * n));
    match channels.is_multiple_of(4) {
        true => workload.cost("squeeze_excite_weights_bwd_f32", Cost::bytes(4 * kept)),
        false => workload,
    }
}

/// Windows of more than 256 pixels, for which the argmax needs more than a byte.
fn large_max_pool() -> Workload {
    let [images, side, window, channels] = [32, 32, 17, 64];
    let (n, out) = (images * side * side * channels, images * channels);
    let moved = Cost::elements(n + out).and_bytes(4 * out);
    let prepare = move |device: &Device, dtype: DType, size: Size| {
        let (images, side) = size.of((images, side), (1, 18));
        let x = filled(device, &[images, side, side, channels], dtype, 1);
        let dy = filled(device, &[images, 1, 1, channels], dtype, 2);
        forward_and_back(vec![x], dy, move |x| max_pool2d(&x[0], window, window, 0))
    };
    Workload::new("max pool 17x17 of [32, 32, 32, 64]", prepare)
        .cost("max_pool_large_fwd*", moved)
        .cost("max_pool_large_bwd*", moved)
}

fn dropped() -> Workload {
    let full = [70, 20, 1000];
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let x = filled(device, &size.of(full, [3, 4, 50]), dtype, 1);
        let step = Tensor::from_slice(device, [1], &[7i64]);
        Box::new(move || vec![dropout(&x, 0.2, 3, &step, 1)])
    };
    Workload::new(format!("dropout of {full:?}"), prepare)
        .cost("dropout*", Cost::elements(2 * elements(&full)))
}

fn flattened() -> Workload {
    let full = [128, 8, 8, 256];
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let x = filled(device, &size.of(full, [2, 5, 5, 36]), dtype, 1);
        Box::new(move || vec![flatten(&x)])
    };
    Workload::new(format!("flatten of {full:?}"), prepare)
        .cost("flatten_transpose*", Cost::elements(2 * elements(&full)))
}

fn augmented() -> Workload {
    let full = [1024, 32, 32, 3];
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let shape = size.of(full, [3, 8, 8, 3]);
        let pixels: Vec<u8> = (0..elements(&shape)).map(|i| (i * 37 % 256) as u8).collect();
        let bytes = Tensor::from_slice(device, shape, &pixels);
        let floats = filled(device, &shape, DType::F32, 1);
        let mean = Tensor::from_slice(device, [3], &[0.5f64; 3]);
        let deviation = Tensor::from_slice(device, [3], &[0.25f64; 3]);
        Box::new(move || {
            let normalised = images_from_bytes(&bytes, None, &mean, &deviation, dtype, None);
            vec![normalised, images_from_floats(&floats, None, dtype, None)]
        })
    };
    let n = elements(&full);
    Workload::new(format!("augment to {full:?}"), prepare)
        .cost("augment_bytes*", Cost::elements(n).and_bytes(n))
        .cost("augment_floats*", Cost::elements(n).and_bytes(4 * n))
}
