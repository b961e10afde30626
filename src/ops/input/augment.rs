//! Turns stored images into a model's input: scaling, normalisation, crops and flips.

use bytemuck::{Pod, Zeroable};

use crate::device::cpu::{Cpu, Float};
use crate::device::gpu::{Argument, Parameters, Pointer};
use crate::device::{DType, Device, Element, Gpu};
use crate::ops::input::gather::Selection;
use crate::ops::{check_step, cost, kernel_in, step_of};
use crate::random::{Philox, Purpose};
use crate::tensor::{Tensor, float_dispatch};

/// Random crops and flips. A sample's crop and flip are functions of the seed, the step and its place in the batch.
#[derive(Clone, Copy)]
pub struct Augmentation<'a> {
    /// The run's seed.
    pub seed: u64,
    /// The step's number on the device, I64, one element.
    pub step: &'a Tensor,
    /// Rows and columns of zeros around the image before the crop, which has the image's size.
    pub padding: usize,
}

/// Bytes `[B, H, W, C]` as normalised numbers: `(byte / 255 - mean[c]) / deviation[c]`, computed in `dtype`.
///
/// `mean` and `deviation` are F64 tensors `[C]`. With an augmentation, each image is padded with zeros, cropped to its
/// size at a random place, and mirrored left to right with probability 1/2, before the normalisation. With a selection,
/// only the selected images are read. No gradient.
///
/// ```
/// use alrao::{DType, Device, Tensor, ops::input::augment::images_from_bytes};
/// let device = Device::cpu();
/// let bytes = Tensor::from_slice(&device, [1, 1, 2, 1], &[0u8, 255]);
/// let half = Tensor::from_slice(&device, [1], &[0.5f64]);
/// let images = images_from_bytes(&bytes, None, &half, &half, DType::F32, None);
/// assert_eq!(images.to_vec::<f32>(), [-1.0, 1.0]);
/// ```
pub fn images_from_bytes(
    bytes: &Tensor,
    selection: Option<Selection>,
    mean: &Tensor,
    deviation: &Tensor,
    dtype: DType,
    augmentation: Option<Augmentation>,
) -> Tensor {
    let channels = bytes.shape().columns();
    for (name, statistic) in [("mean", mean), ("deviation", deviation)] {
        let fits = statistic.dtype() == DType::F64 && statistic.shape() == [channels].into();
        let shape = statistic.shape();
        assert!(fits, "augment: {name} {shape} {:?} is not F64 [{channels}]", statistic.dtype());
    }
    let out = output(bytes, selection, dtype, DType::U8, augmentation);
    let read = out.shape().elements();
    let _op = out.device().op("augment", || cost(&[&out], 2 * read).and_bytes(read));
    match bytes.device() {
        Device::Gpu(gpu) => {
            let statistics = [mean.pointer(), deviation.pointer()];
            launch_images(gpu, "augment_bytes", bytes, selection, &statistics, &out, augmentation);
        }
        Device::Cpu(cpu) => float_dispatch!(dtype, "augment", T => {
            let table = table::<T>(&mean.read::<f64>(), &deviation.read::<f64>());
            let convert = |byte: u8, channel: usize| table[channel][usize::from(byte)];
            copy_images::<u8, T>(cpu, bytes, selection, &out, augmentation, convert);
        }),
    }
    out
}

/// F32 images `[B, H, W, C]` in `dtype`, selected, cropped and flipped where asked for. No gradient.
pub fn images_from_floats(
    images: &Tensor,
    selection: Option<Selection>,
    dtype: DType,
    augmentation: Option<Augmentation>,
) -> Tensor {
    let out = output(images, selection, dtype, DType::F32, augmentation);
    let read = 4 * out.shape().elements();
    let _op = out.device().op("augment", || cost(&[&out], 0).and_bytes(read));
    match images.device() {
        Device::Gpu(gpu) => {
            launch_images(gpu, "augment_floats", images, selection, &[], &out, augmentation);
        }
        Device::Cpu(cpu) => float_dispatch!(dtype, "augment", T => {
            let convert = |value, _| T::from_f64(f64::from(value));
            copy_images::<f32, T>(cpu, images, selection, &out, augmentation, convert);
        }),
    }
    out
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct AugmentShape {
    seed: u64,
    height: u32,
    width: u32,
    channels: u32,
    padding: u32,
    is_random: u32,
    parts: u32,
}

fn launch_images(
    gpu: &Gpu,
    work: &str,
    images: &Tensor,
    selection: Option<Selection>,
    statistics: &[Pointer],
    out: &Tensor,
    augmentation: Option<Augmentation>,
) {
    const ELEMENTS_OF_A_BLOCK: usize = 1024;
    let kernel = kernel_in(work, out.dtype());
    let shape = out.shape();
    let [batch, height, width, channels] = [0, 1, 2, 3].map(|axis| shape[axis] as u32);
    let parts = (shape.elements() / shape[0].max(1)).div_ceil(ELEMENTS_OF_A_BLOCK) as u32;
    let shape = AugmentShape {
        seed: augmentation.map_or(0, |augmentation| augmentation.seed),
        height,
        width,
        channels,
        padding: augmentation.map_or(0, |augmentation| augmentation.padding as u32),
        is_random: augmentation.is_some().into(),
        parts,
    };
    let step = augmentation.map_or(Pointer::NULL, |augmentation| augmentation.step.pointer());
    let (images, out, shape) = (images.pointer(), out.pointer(), Parameters(&shape));
    let [order, cursor] = Selection::pointers(selection.as_ref());
    let statistics = statistics.iter().map(|statistic| statistic as &dyn Argument);
    let mut arguments: Vec<&dyn Argument> = vec![&images, &order, &cursor];
    arguments.extend(statistics);
    arguments.extend([&step as &dyn Argument, &out, &shape]);
    gpu.launch(&kernel, [batch * parts, 1, 1], [256, 1, 1], &arguments);
}

fn output(
    images: &Tensor,
    selection: Option<Selection>,
    dtype: DType,
    expected: DType,
    augmentation: Option<Augmentation>,
) -> Tensor {
    let shape = images.shape();
    assert!(
        shape.rank() == 4 && images.dtype() == expected && images.is_contiguous(),
        "augment: {shape} {:?} is no dense {expected:?} [B, H, W, C]",
        images.dtype()
    );
    if let Some(augmentation) = augmentation {
        check_step("augment", augmentation.step);
    }
    let batch = selection.map_or(shape[0], |selection| selection.count);
    Tensor::empty(images.device(), [batch, shape[1], shape[2], shape[3]], dtype)
}

/// The normalised value of each byte in each channel: 256 divisions instead of one per pixel, by the same expression.
fn table<T: Float>(mean: &[f64], deviation: &[f64]) -> Vec<[T; 256]> {
    let channels = mean.iter().zip(deviation);
    channels
        .map(|(&mean, &deviation)| {
            let (mean, deviation) = (T::from_f64(mean), T::from_f64(deviation));
            let scale = T::from_f64(255.0);
            std::array::from_fn(|byte| (T::from_f64(byte as f64) / scale - mean) / deviation)
        })
        .collect()
}

/// The place of an image's crop, and whether it is mirrored.
#[derive(Clone, Copy)]
struct Cut {
    down: isize,
    right: isize,
    flip: bool,
}

impl Cut {
    fn new(augmentation: Option<(Philox, u64, usize)>, image: usize) -> Cut {
        let Some((philox, step, padding)) = augmentation else {
            return Cut { down: 0, right: 0, flip: false };
        };
        let bits = philox.at(step, image as u64);
        let place = |bits: u32| (u64::from(bits) * (2 * padding as u64 + 1)) >> 32;
        let shift = |bits: u32| place(bits) as isize - padding as isize;
        Cut { down: shift(bits[0]), right: shift(bits[1]), flip: bits[2] >> 31 == 1 }
    }
}

/// Copies each image through `convert(element, channel)`; elements outside of the image are zeros.
fn copy_images<S: Element, T: Float>(
    cpu: &Cpu,
    images: &Tensor,
    selection: Option<Selection>,
    out: &Tensor,
    augmentation: Option<Augmentation>,
    convert: impl Fn(S, usize) -> T + Sync,
) {
    let shape = images.shape();
    let (height, width, channels) = (shape[1], shape[2], shape[3]);
    let augmentation = augmentation.map(|augmentation| {
        let philox = Philox::new(augmentation.seed, Purpose::Augmentation);
        (philox, step_of(augmentation.step), augmentation.padding)
    });
    let (size, work) = (height * width * channels, out.shape().elements());
    let rows = selection.map(|selection| selection.rows("augment", shape[0]));
    let source = images.read::<S>();
    cpu.pieces(&mut out.write::<T>(), size, work, |image, out| {
        let cut = Cut::new(augmentation, image);
        let row = rows.as_ref().map_or(image, |rows| rows[image]);
        let source = &source[row * size..(row + 1) * size];
        for (row, out) in out.chunks_exact_mut(width * channels).enumerate() {
            let from = row as isize + cut.down;
            let line = match from {
                from if from < 0 || from >= height as isize => &[],
                from => &source[from as usize * width * channels..][..width * channels],
            };
            match channels {
                3 => copy_row::<S, T>(line, out, cut, 3, &convert),
                _ => copy_row::<S, T>(line, out, cut, channels, &convert),
            }
        }
    });
}

/// Copies one row of pixels; an empty `line` is a row of zeros.
#[inline(always)]
fn copy_row<S: Element, T: Float>(
    line: &[S],
    out: &mut [T],
    cut: Cut,
    channels: usize,
    convert: &impl Fn(S, usize) -> T,
) {
    let width = out.len() / channels;
    // The columns of the row that lie in the image, before mirroring.
    let start = (-cut.right).clamp(0, width as isize) as usize;
    let end = (width as isize - cut.right).clamp(start as isize, width as isize) as usize;
    let (start, end) = if line.is_empty() { (width, width) } else { (start, end) };
    let first = (start as isize + cut.right).max(0) as usize;
    let place = |column: usize| if cut.flip { width - 1 - column } else { column };
    for column in (0..start).chain(end..width) {
        let pixel = &mut out[place(column) * channels..][..channels];
        pixel.iter_mut().enumerate().for_each(|(channel, to)| *to = convert(S::zeroed(), channel));
    }
    let line = line.chunks_exact(channels).skip(first);
    for (column, from) in (start..end).zip(line) {
        let pixel = &mut out[place(column) * channels..][..channels];
        pixel
            .iter_mut()
            .zip(from)
            .enumerate()
            .for_each(|(channel, (to, from))| *to = convert(*from, channel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: [f64; 3] = [0.4914, 0.4822, 0.4465];
    const DEVIATION: [f64; 3] = [0.247, 0.243, 0.261];

    fn statistics(device: &Device, channels: usize) -> (Tensor, Tensor) {
        let of = |values: &[f64]| Tensor::from_slice(device, [channels], &values[..channels]);
        (of(&MEAN), of(&DEVIATION))
    }

    fn images(device: &Device, shape: [usize; 4]) -> (Tensor, Vec<u8>) {
        let elements = shape.iter().product::<usize>();
        let bytes: Vec<u8> = (0..elements).map(|i| (1 + i * 37 % 255) as u8).collect();
        (Tensor::from_slice(device, shape, &bytes), bytes)
    }

    #[test]
    fn numbers_are_those_of_the_formula() {
        let device = Device::cpu();
        for channels in [1, 2, 3] {
            let (tensor, bytes) = images(&device, [2, 5, 4, channels]);
            let (mean, deviation) = statistics(&device, channels);
            let out = images_from_bytes(&tensor, None, &mean, &deviation, DType::F64, None);
            for (index, (byte, number)) in bytes.iter().zip(out.to_vec::<f64>()).enumerate() {
                let channel = index % channels;
                let expected = (f64::from(*byte) / 255.0 - MEAN[channel]) / DEVIATION[channel];
                assert!((number - expected).abs() < 1e-12);
            }
            let single = images_from_bytes(&tensor, None, &mean, &deviation, DType::F32, None);
            for (a, b) in single.to_f64s().iter().zip(out.to_f64s()) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }

    /// Finds the crop and flip of each image by trying all.
    #[test]
    fn each_image_is_a_crop_of_its_padded_self() {
        let device = Device::cpu();
        let (batch, side, padding) = (300, 6, 2);
        let (tensor, bytes) = images(&device, [batch, side, side, 3]);
        let (mean, deviation) = statistics(&device, 3);
        let step = Tensor::from_slice(&device, [1], &[5i64]);
        let augmentation = Augmentation { seed: 1, step: &step, padding };
        let out =
            images_from_bytes(&tensor, None, &mean, &deviation, DType::F64, Some(augmentation))
                .to_vec::<f64>();
        let number = |byte: u8, channel: usize| {
            (f64::from(byte) / 255.0 - MEAN[channel]) / DEVIATION[channel]
        };
        let mut seen = std::collections::BTreeMap::new();
        for image in 0..batch {
            let cropped = &out[image * side * side * 3..][..side * side * 3];
            let matches = |top: usize, left: usize, flip: bool| {
                (0..side * side * 3).all(|i| {
                    let (row, column, channel) = (i / 3 / side, i / 3 % side, i % 3);
                    let column = if flip { side - 1 - column } else { column };
                    let (y, x) = (row + top, column + left);
                    let inside = (padding..padding + side).contains(&y)
                        && (padding..padding + side).contains(&x);
                    let byte = match inside {
                        true => {
                            bytes[((image * side + y - padding) * side + x - padding) * 3 + channel]
                        }
                        false => 0,
                    };
                    (cropped[i] - number(byte, channel)).abs() < 1e-12
                })
            };
            let cuts = (0..50).map(|i| (i / 10, i / 2 % 5, i % 2 == 1));
            let found: Vec<_> =
                cuts.filter(|&(top, left, flip)| matches(top, left, flip)).collect();
            assert_eq!(found.len(), 1, "image {image}");
            *seen.entry(found[0]).or_insert(0) += 1;
        }
        // 300 draws of 50: fewer than 45 different ones has probability below 1e-4.
        assert!(seen.len() >= 45, "{} of 50 cuts were seen", seen.len());
    }

    #[test]
    fn it_depends_on_seed_and_step_alone() {
        let device = Device::cpu();
        let (tensor, _) = images(&device, [8, 4, 4, 3]);
        let (mean, deviation) = statistics(&device, 3);
        let run = |device: &Device, seed, number: i64| {
            let tensor = Tensor::from_slice(device, tensor.shape(), &tensor.to_vec::<u8>());
            let (mean, deviation) = statistics(device, 3);
            let step = Tensor::from_slice(device, [1], &[number]);
            let augmentation = Augmentation { seed, step: &step, padding: 4 };
            images_from_bytes(&tensor, None, &mean, &deviation, DType::F32, Some(augmentation))
                .to_vec::<f32>()
        };
        let one = Device::open_with_threads(crate::DeviceKind::Cpu, Some(1)).unwrap();
        assert_eq!(run(&device, 3, 7), run(&one, 3, 7));
        assert_ne!(run(&device, 3, 7), run(&device, 3, 8));
        assert_ne!(run(&device, 3, 7), run(&device, 4, 7));
        let plain = images_from_bytes(&tensor, None, &mean, &deviation, DType::F32, None);
        assert_ne!(run(&device, 3, 7), plain.to_vec::<f32>());
    }

    #[test]
    fn floats_are_cut_out_at_the_same_places() {
        let device = Device::cpu();
        let (tensor, bytes) = images(&device, [5, 7, 5, 2]);
        let floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let floats = Tensor::from_slice(&device, [5, 7, 5, 2], &floats);
        let zero = Tensor::zeros(&device, [2], DType::F64);
        let one = Tensor::full(&device, [2], DType::F64, 1.0);
        let step = Tensor::from_slice(&device, [1], &[2i64]);
        for augmentation in [None, Some(Augmentation { seed: 1, step: &step, padding: 4 })] {
            let from_bytes =
                images_from_bytes(&tensor, None, &zero, &one, DType::F32, augmentation);
            let from_floats = images_from_floats(&floats, None, DType::F32, augmentation);
            assert_eq!(from_bytes.to_vec::<f32>(), from_floats.to_vec::<f32>());
        }
    }

    #[test]
    #[should_panic(expected = "augment: mean [2] F64 is not F64 [3]")]
    fn statistics_of_other_channels_panic() {
        let device = Device::cpu();
        let (mean, deviation) = statistics(&device, 2);
        images_from_bytes(
            &images(&device, [1, 2, 2, 3]).0,
            None,
            &mean,
            &deviation,
            DType::F32,
            None,
        );
    }
}
