//! Convolutions: output and the gradients of input, weights and bias.

use crate::ops::layers::batch_norm::{BatchNormConfig, batch_norm_train_of};
use crate::ops::layers::conv2d::{Conv2dConfig, Fused, InputAffine, conv2d_fused};
use crate::ops::tensor::matmul::with_cut;
use crate::{DType, Device, Tape, Tensor};

use super::factors::Factors;
use super::{Case, Outputs, drawn, gradient};

/// One convolution.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Images, height, width, channels.
    image: [usize; 4],
    /// Features, height, width.
    kernel: [usize; 3],
    config: Conv2dConfig,
    has_bias: bool,
    /// Channels of the tensor that the images are a slice of, before and after them.
    gaps: [usize; 2],
}

fn shape(
    image: [usize; 4],
    kernel: [usize; 3],
    [stride, padding, groups]: [usize; 3],
    has_bias: bool,
    gaps: [usize; 2],
) -> Shape {
    Shape { image, kernel, config: Conv2dConfig { stride, padding, groups }, has_bias, gaps }
}

fn shapes() -> Vec<Shape> {
    vec![
        // Channels that are multiples of four, and others; an image of one pixel; a kernel larger than the image.
        shape([2, 8, 8, 8], [16, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([3, 7, 5, 3], [5, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([2, 9, 6, 1], [1, 3, 3], [1, 1, 1], false, [0, 0]),
        shape([1, 1, 1, 4], [8, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([1, 9, 9, 4], [6, 5, 3], [1, 0, 1], false, [0, 0]),
        shape([1, 3, 2, 6], [7, 5, 4], [1, 2, 1], false, [0, 0]),
        // Strides equal to, below and above the kernel.
        shape([1, 9, 8, 4], [8, 3, 3], [2, 1, 1], true, [0, 0]),
        shape([2, 7, 7, 5], [3, 3, 3], [3, 1, 1], false, [0, 0]),
        shape([2, 8, 9, 3], [5, 2, 2], [3, 0, 1], true, [0, 0]),
        shape([2, 6, 5, 8], [12, 1, 1], [2, 0, 1], false, [0, 0]),
        // Slices of an image's channels, on 16 bytes and off them.
        shape([2, 6, 7, 8], [8, 3, 3], [1, 1, 1], true, [4, 8]),
        shape([2, 6, 7, 8], [8, 3, 3], [1, 1, 1], false, [1, 3]),
        shape([2, 6, 7, 8], [8, 3, 3], [2, 1, 1], false, [0, 1]),
        // Groups.
        shape([2, 6, 5, 8], [16, 3, 3], [1, 1, 2], true, [0, 0]),
        shape([2, 6, 5, 6], [9, 3, 3], [2, 1, 3], true, [0, 2]),
        shape([2, 5, 5, 8], [8, 1, 1], [1, 0, 2], false, [0, 0]),
        // Kernels of one pixel: a matrix product, except with a bias.
        shape([2, 5, 5, 8], [12, 1, 1], [1, 0, 1], false, [4, 0]),
        shape([2, 5, 5, 7], [9, 1, 1], [1, 0, 1], true, [0, 0]),
        // No images.
        shape([0, 5, 5, 4], [8, 3, 3], [1, 1, 1], true, [0, 0]),
        // 32x32, whole with many slabs, and split into parts.
        shape([1, 33, 31, 20], [33, 3, 3], [1, 1, 1], false, [0, 0]),
        shape([1, 12, 12, 66], [62, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([2, 9, 9, 127], [129, 3, 3], [1, 1, 1], true, [0, 0]),
        // 64x64.
        shape([2, 66, 64, 9], [64, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([2, 65, 65, 12], [63, 3, 3], [1, 1, 1], false, [0, 0]),
        shape([4, 65, 65, 64], [20, 3, 3], [2, 1, 1], false, [0, 0]),
        shape([2, 17, 17, 128], [128, 3, 3], [1, 1, 1], true, [0, 0]),
    ]
}

/// Shapes for 128x128 tiles. The gradients that use other tiles are left out, since these cases take long.
fn large_shapes() -> Vec<(Shape, [bool; 3])> {
    let dx = [true, false, false];
    let all = [true, true, false];
    vec![
        (shape([4, 66, 64, 8], [128, 3, 3], [1, 1, 1], true, [0, 0]), [false; 3]),
        (shape([4, 66, 64, 7], [127, 3, 3], [1, 1, 1], false, [0, 0]), [false; 3]),
        (shape([4, 66, 64, 128], [8, 3, 3], [1, 1, 1], false, [0, 0]), dx),
        (shape([4, 66, 64, 127], [7, 3, 3], [1, 1, 1], false, [0, 0]), dx),
        (shape([1, 30, 62, 640], [640, 1, 1], [2, 0, 1], true, [0, 0]), all),
        (shape([1, 32, 54, 513], [1024, 1, 1], [2, 0, 1], false, [0, 0]), all),
    ]
}

/// Shapes around the tensor cores' tiles, in the output and in the gradients of input and weights, each with enough
/// slabs for its tile's pipeline. Forty channels are whole vectors of f32 and bf16.
fn around_a_tile(size: usize, more: isize) -> Vec<Shape> {
    let side = (size as isize + more) as usize;
    vec![
        shape([1, 1, side, 40], [side, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([1, 1, side, side], [40, 3, 3], [1, 1, 1], false, [0, 0]),
        shape([1, 18, 20, side / 2], [side, 1, 2], [1, 0, 1], false, [0, 0]),
    ]
}

/// A case's tensors. The bias is the only operand that is not rounded.
struct Layer {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Layer {
    fn new(shape: Shape, factors: Factors, device: &Device, dtype: DType) -> Self {
        let Shape { image, kernel: [features, height, width], config, .. } = shape;
        let weight = [features, height, width, image[3] / config.groups];
        Layer {
            x: factors.pitched(device, &image, dtype, shape.gaps, 1),
            weight: factors.pitched(device, &weight, dtype, [0, 0], 2),
            bias: shape.has_bias.then(|| factors.bias(device, features, dtype, 3)),
        }
    }
}

/// The variant of a case.
#[derive(Clone, Copy)]
struct Way {
    factors: Factors,
    /// Which gradients are computed: x, weight, bias.
    wanted: [bool; 3],
    /// Whether a second use makes gradients accumulate.
    twice: bool,
    /// Whether a ReLU follows.
    relu: bool,
    /// Whether the gradient of the images lies in rows of one element more.
    pitched: bool,
    /// The name of a forced tile and the number of parts; `None` leaves both to the shape.
    cut: Option<(&'static str, usize)>,
}

impl Way {
    const USUAL: Way = Way {
        factors: Factors::F32,
        wanted: [true; 3],
        twice: false,
        relu: false,
        pitched: false,
        cut: None,
    };

    /// Which gradients are computed; that of the bias only where dy is not rounded, in f32 and tf32.
    fn wanted_of(factors: Factors) -> [bool; 3] {
        [true, true, matches!(factors, Factors::F32 | Factors::Tf32)]
    }

    fn cut<R>(self, work: impl FnOnce() -> R) -> R {
        match self.cut {
            Some((tile, parts)) => with_cut(tile, parts, work),
            None => work(),
        }
    }
}

/// The output and the wanted gradients.
fn run(shape: Shape, way: Way) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let Way { factors, wanted, .. } = way;
        let tape = Tape::new();
        let Layer { x, weight, bias } = Layer::new(shape, factors, device, dtype);
        let watch = |index: usize, x: Tensor| if wanted[index] { tape.watch(&x) } else { x };
        let (x, weight) = match way.pitched {
            false => (watch(0, x), watch(1, weight)),
            true => {
                let [images, height, width, channels] = shape.image;
                let home = Tensor::empty(device, [images, height, width, channels + 1], x.dtype());
                (tape.watch_into(&x, &home.slice(3, 0, channels)), watch(1, weight))
            }
        };
        let bias = bias.map(|bias| watch(2, bias));
        factors.on(device, || {
            let fused = Fused { relu: way.relu, ..Fused::default() };
            let bias = bias.as_ref();
            let convolve = || way.cut(|| conv2d_fused(&x, &weight, bias, shape.config, fused).0);
            let y = convolve();
            let mut loss = factors.weighed(&y, dtype, 4);
            if way.twice {
                loss = loss.add(&factors.weighed(&convolve(), dtype, 5));
            }
            way.cut(|| tape.backward(&loss));
            let mut outputs = vec![("y", y.to_f64s())];
            let inputs = [("dx", Some(&x)), ("dw", Some(&weight)), ("db", bias)];
            for (name, input) in inputs {
                let gradient = input.and_then(|input| tape.gradient(input));
                outputs.extend(gradient.map(|gradient| (name, gradient.to_f64s())));
            }
            outputs
        })
    }
}

/// The output's moments, as its batch norm takes them.
fn moments(shape: Shape, factors: Factors) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let Layer { x, weight, bias } = Layer::new(shape, factors, device, dtype);
        let fused = Fused { moments: true, ..Fused::default() };
        factors.on(device, || {
            let (y, moments) = conv2d_fused(&x, &weight, bias.as_ref(), shape.config, fused);
            let features = shape.kernel[0];
            let [scale, shift] = [6, 7].map(|number| drawn(device, &[features], dtype, number));
            let [mean, variance] = [0.0, 1.0].map(|x| Tensor::full(device, [features], dtype, x));
            let config = BatchNormConfig::default();
            let moments = moments.expect("the convolution gives moments");
            batch_norm_train_of(&y, &moments, &scale, &shift, &mean, &variance, config);
            vec![("y", y.to_f64s()), ("mean", mean.to_f64s()), ("variance", variance.to_f64s())]
        })
    }
}

/// The small shapes, and every tile, whole and split into parts.
fn tensor_core_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |shape: Shape, more: String, way: Way| {
        let name = format!("{}{more}", title(shape));
        cases.push(Case::new(name, terms(shape), run(shape, way)).of(way.factors));
    };
    for &shape in &shapes()[..19] {
        let way = Way { factors: Factors::Tf32, twice: true, ..Way::USUAL };
        case(shape, " tf32 twice".into(), way);
        let (factors, wanted) = (Factors::RoundedTf32, [true, true, false]);
        let way = Way { factors, wanted, twice: true, ..Way::USUAL };
        case(shape, " tf32 twice, rounded dy".into(), way);
        case(shape, " bf16".into(), Way { factors: Factors::Bf16, wanted, ..Way::USUAL });
    }
    for factors in Factors::ON_TENSOR_CORES {
        for (tile, size) in [("32", 32), ("64", 64), ("128", 128)] {
            for (more, parts) in [(-1, 1), (0, 3), (1, 2)] {
                for shape in around_a_tile(size, more) {
                    let wanted = [true, true, false];
                    let way = Way { factors, wanted, cut: Some((tile, parts)), ..Way::USUAL };
                    case(shape, format!(" {factors:?} tile {tile} parts {parts}"), way);
                }
            }
        }
    }
    cases
}

/// A small corner of every tile, with few enough accesses for checked kernels.
fn corner_cases() -> Vec<Case> {
    let usual = shape([1, 5, 4, 8], [9, 3, 3], [1, 1, 1], false, [0, 0]);
    // A matrix product.
    let point = shape([1, 5, 4, 8], [9, 1, 1], [1, 0, 1], false, [0, 0]);
    let of_all = Factors::AND_ROUNDED.map(|factors| (usual, factors));
    let mut cases = Vec::new();
    for (shape, factors) in of_all.into_iter().chain([(point, Factors::RoundedTf32)]) {
        for tile in ["32", "64", "128"] {
            let way =
                Way { factors, wanted: [true, true, false], cut: Some((tile, 1)), ..Way::USUAL };
            let name = format!("{} {factors:?} corner of tile {tile}", title(shape));
            cases.push(Case::new(name, terms(shape), run(shape, way)).of(factors));
        }
    }
    cases
}

/// A ReLU in every tile's epilogue, and after an output split into parts.
fn relu_cases() -> Vec<Case> {
    let shapes = [
        shape([3, 7, 5, 3], [5, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([2, 6, 5, 8], [16, 3, 3], [2, 1, 2], false, [0, 0]),
        shape([2, 5, 5, 8], [12, 1, 1], [1, 0, 1], true, [4, 0]),
        shape([1, 13, 10, 7], [129, 3, 3], [1, 1, 1], true, [0, 0]),
    ];
    let mut cases = Vec::new();
    for shape in shapes {
        for factors in Factors::ALL {
            for (tile, parts) in [("32", 1), ("64", 1), ("128", 1), ("32", 2)] {
                let name = format!("{} {factors:?} relu tile {tile} parts {parts}", title(shape));
                let cut = Some((tile, parts));
                let wanted = Way::wanted_of(factors);
                let way = Way { factors, relu: true, cut, wanted, ..Way::USUAL };
                cases.push(Case::new(name, terms(shape), run(shape, way)).of(factors));
            }
        }
    }
    cases
}

/// A tile and a bit more in each of the three products, with whole vectors or not.
fn whole_tile(size: usize, has_vectors: bool) -> Shape {
    let side = if has_vectors { size } else { size - 1 };
    shape([4, 1, size / 4 + 1, side], [side, 1, 2], [1, 0, 1], true, [0, 0])
}

/// All sums of every tile stored in every way: with vectors and without, then accumulated, behind a bias and a ReLU; dx also
/// in longer rows.
fn store_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for factors in Factors::AND_ROUNDED {
        for (tile, size) in [("32", 32), ("64", 64), ("128", 128)] {
            let mut case = |shape: Shape, pitched: bool, wanted: [bool; 3]| {
                let way =
                    Way { factors, wanted, twice: true, relu: true, pitched, cut: Some((tile, 1)) };
                let more = if pitched { ", dx in longer rows" } else { "" };
                let name = format!("{} {factors:?} whole tile {tile}{more}", title(shape));
                cases.push(Case::new(name, terms(shape), run(shape, way)).of(factors));
            };
            for has_vectors in [true, false] {
                case(whole_tile(size, has_vectors), false, Way::wanted_of(factors));
            }
            // A matrix product.
            if factors == Factors::RoundedTf32 {
                for has_vectors in [true, false] {
                    let Shape { image, kernel: [features, ..], .. } = whole_tile(size, has_vectors);
                    let point = shape(image, [features, 1, 1], [1, 0, 1], false, [0, 0]);
                    case(point, false, [true, true, false]);
                }
            }
            // One column.
            let shape_of_one = shape([4, 1, size / 4 + 1, 1], [1, 1, 2], [1, 0, 1], true, [0, 0]);
            case(shape_of_one, false, [true, true, false]);
            // Aligned rows that end within a vector.
            let image = [4, 1, size / 4 + 1, size - 1];
            case(shape(image, [8, 1, 2], [1, 0, 1], true, [0, 0]), true, [true, false, false]);
        }
    }
    cases
}

/// Moments from every tile's epilogue, and of an output split into parts.
fn moments_cases() -> Vec<Case> {
    let shapes = [
        shape([3, 7, 5, 3], [5, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([2, 6, 5, 8], [16, 3, 3], [1, 1, 2], false, [0, 0]),
        shape([2, 5, 5, 8], [12, 1, 1], [1, 0, 1], false, [4, 0]),
        shape([1, 13, 10, 7], [129, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([2, 1, 1, 4], [8, 3, 3], [1, 1, 1], true, [0, 0]),
    ];
    let mut cases = Vec::new();
    let mut case = |shape: Shape, factors: Factors, (tile, parts): (&'static str, usize)| {
        let name = format!("{} {factors:?} moments tile {tile} parts {parts}", title(shape));
        let moments = moments(shape, factors);
        let run = move |device: &Device, dtype| with_cut(tile, parts, || moments(device, dtype));
        cases.push(Case::new(name, terms(shape), run).of(factors));
    };
    for shape in shapes {
        for factors in [Factors::F32, Factors::Tf32] {
            for cut in [("32", 1), ("64", 1), ("128", 1), ("32", 2)] {
                case(shape, factors, cut);
            }
        }
    }
    // In bf16 a slab has 64 steps.
    for (features, bias) in [(16, false), (11, true)] {
        case(
            shape([2, 4, 5, 12], [features, 3, 3], [1, 1, 1], bias, [0, 0]),
            Factors::Bf16,
            ("32", 2),
        );
    }
    // Parts of few channels that are no whole vectors, small enough for checked kernels.
    for factors in [Factors::F32, Factors::Tf32] {
        case(shape([2, 3, 4, 5], [5, 3, 3], [1, 1, 1], true, [0, 0]), factors, ("32", 2));
    }
    // More parts of rows than one round of the threads that add them.
    case(shape([1, 135, 133, 1], [8, 1, 1], [1, 0, 1], false, [0, 0]), Factors::F32, ("32", 1));
    for factors in Factors::ALL {
        for (tile, size) in [("32", 32), ("64", 64), ("128", 128)] {
            case(whole_tile(size, true), factors, (tile, 1));
            if factors == Factors::Bf16 {
                // One slab, where the statistics overwrite it.
                case(shapes[0], factors, (tile, 1));
            }
        }
    }
    cases
}

/// A convolution of an affine function with ReLU, and the gradients behind it.
fn input_affine(shape: Shape) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let tape = Tape::new();
        let Layer { x, weight, bias } = Layer::new(shape, Factors::F32, device, dtype);
        let channels = shape.image[3];
        let x = tape.watch(&x);
        let [scale, shift] =
            [6, 7].map(|number| tape.watch(&drawn(device, &[channels], dtype, number)));
        let input = Some(InputAffine { scale: &scale, shift: &shift, relu: true });
        let fused = Fused { input, ..Fused::default() };
        let (y, _) = conv2d_fused(&x, &weight, bias.as_ref(), shape.config, fused);
        tape.backward(&Factors::F32.weighed(&y, dtype, 4));
        let gradient = |x: &Tensor| gradient(&tape, x);
        vec![
            ("y", y.to_f64s()),
            ("dx", gradient(&x)),
            ("dscale", gradient(&scale)),
            ("dshift", gradient(&shift)),
        ]
    }
}

/// Terms of a case's longest sum.
fn terms(shape: Shape) -> usize {
    let [images, height, width, channels] = shape.image;
    let [features, kernel_height, kernel_width] = shape.kernel;
    (images * height * width).max(kernel_height * kernel_width * channels.max(features))
}

fn title(shape: Shape) -> String {
    let Shape { image, kernel, config, has_bias, gaps } = shape;
    let Conv2dConfig { stride, padding, groups } = config;
    let bias = if has_bias { " bias" } else { "" };
    format!(
        "conv2d {image:?} by {kernel:?}, stride {stride} padding {padding} groups {groups}{bias} gaps {gaps:?}"
    )
}

pub fn cases() -> Vec<Case> {
    let mut cases = tensor_core_cases();
    cases.extend(corner_cases());
    cases.extend(relu_cases());
    cases.extend(moments_cases());
    cases.extend(store_cases());
    for &shape in &shapes()[..2] {
        let name = format!("{} of an affine function", title(shape));
        cases.push(Case::new(name, terms(shape), input_affine(shape)));
    }
    for shape in shapes() {
        cases.push(Case::new(title(shape), terms(shape), run(shape, Way::USUAL)));
    }
    for &shape in &shapes()[..21] {
        let run = run(shape, Way { twice: true, ..Way::USUAL });
        cases.push(Case::new(format!("{} twice", title(shape)), terms(shape), run));
    }
    for (shape, wanted) in large_shapes() {
        let run = run(shape, Way { wanted, ..Way::USUAL });
        cases.push(Case::new(format!("{} large", title(shape)), terms(shape), run));
    }
    cases
}
