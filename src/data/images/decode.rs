//! From a file's bytes to pixels of the size that a model takes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::crop::{self, Region};
use super::formats::{self, format};
use super::look::not_an_image;
use super::rgb::RgbImage;
use super::{CHANNELS, Draw};
use crate::random::{Philox, Purpose};

/// The image, or why there is none. A rotation noted beside the pixels is not looked at, as torchvision does not.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let format = format(bytes).ok_or_else(|| not_an_image(bytes))?;
    // A decoder that gives up on damaged bytes by a panic has found them damaged too.
    match catch_unwind(AssertUnwindSafe(|| formats::decode(bytes, format))) {
        Ok(Ok(image)) if !image.pixels.is_empty() => Ok(image),
        Ok(Ok(_)) => Err("has no pixels".into()),
        Ok(Err(error)) => Err(format!("cannot be decoded: {error}")),
        Err(_) => Err("cannot be decoded".into()),
    }
}

/// A random crop of the image, resized, and mirrored every other time; what is drawn is a function of seed, epoch and
/// the sample's number.
pub(super) fn random_view(image: &RgbImage, size: usize, draw: Draw, number: u32, out: &mut [u8]) {
    let mut stream =
        Philox::new(draw.seed, Purpose::ImageCrops).numbered_stream(draw.epoch, number);
    let region = crop::random([image.width, image.height], &mut stream);
    let is_mirrored = stream.bits() >> 31 == 1;
    let extents = [region.width, region.height];
    let pixels = cut(&image.pixels, image.width, region);
    resize(&pixels, extents, ResizeOptions::new(), [size; 2], out);
    if is_mirrored {
        out.chunks_exact_mut(CHANNELS * size).for_each(mirror);
    }
}

/// The middle of the image, its shorter side resized to a little more than the size. Only what is seen is resized: the
/// whole of a long, thin image would be millions of pixels long.
pub(super) fn centred_view(image: &RgbImage, size: usize, out: &mut [u8]) {
    let extents = [image.width, image.height];
    let wanted = crop::resized(extents, size);
    let seen = crop::centre(wanted, size);
    // Where the region lies before the resizing: its start and its length.
    let source = |start: u32, axis: usize| {
        let (extent, wanted) = (f64::from(extents[axis]), f64::from(wanted[axis]));
        let start = f64::from(start) * extent / wanted;
        (start, (size as f64 * extent / wanted).min(extent - start))
    };
    let ((left, width), (top, height)) = (source(seen.left, 0), source(seen.top, 1));
    let options = ResizeOptions::new().crop(left, top, width, height);
    resize(&image.pixels, extents, options, [size; 2], out);
}

/// The largest middle part of the image that has the shape of `[width, height]` pixels, resized to it.
pub(super) fn fitted_view(image: &RgbImage, extents: [usize; 2], out: &mut [u8]) {
    let own = [image.width, image.height];
    let part = |axis: usize| f64::from(own[axis]) / extents[axis] as f64;
    let scale = part(0).min(part(1));
    let [width, height] = extents.map(|extent| extent as f64 * scale);
    let [left, top] =
        [f64::from(own[0]) - width, f64::from(own[1]) - height].map(|rest| rest / 2.0);
    let options = ResizeOptions::new().crop(left.max(0.0), top.max(0.0), width, height);
    resize(&image.pixels, own, options, extents, out);
}

fn mirror(row: &mut [u8]) {
    let (pixels, _) = row.as_chunks_mut::<CHANNELS>();
    pixels.reverse();
}

/// The pixels of a region, row by row; `width` is the whole image's.
fn cut(pixels: &[u8], width: u32, region: Region) -> Vec<u8> {
    let [left, top, columns, rows] =
        [region.left, region.top, region.width, region.height].map(|extent| extent as usize);
    let rows = pixels.chunks_exact(CHANNELS * width as usize).skip(top).take(rows);
    rows.flat_map(|row| &row[CHANNELS * left..CHANNELS * (left + columns)]).copied().collect()
}

/// What the options cut out, as `[columns, rows]` pixels. Bilinear, with antialiasing where it shrinks: Pillow's.
fn resize(
    pixels: &[u8],
    [width, height]: [u32; 2],
    options: ResizeOptions,
    [columns, rows]: [usize; 2],
    out: &mut [u8],
) {
    let fits = "an image has as many bytes as its extents say";
    let source = TypedImageRef::<U8x3>::from_buffer(width, height, pixels).expect(fits);
    let mut resized = TypedImage::from_buffer(columns as u32, rows as u32, out).expect(fits);
    let filter = ResizeAlg::Convolution(FilterType::Bilinear);
    let options = options.resize_alg(filter).use_alpha(false);
    // By the pixels' type: `resize` has code for every type, 3.5 MB in all.
    Resizer::new()
        .resize_typed(&source, &mut resized, &options)
        .expect("what is cut out lies inside");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> RgbImage {
        let at = |place: u32, extent: u32| (place * 255 / (extent - 1)) as u8;
        let rows = 0..height;
        let pixels =
            rows.flat_map(|y| (0..width).flat_map(move |x| [at(x, width), at(y, height), 7]));
        RgbImage { width, height, pixels: pixels.collect() }
    }

    fn even([width, height]: [u32; 2], pixel: [u8; 3]) -> RgbImage {
        RgbImage { width, height, pixels: pixel.repeat((width * height) as usize) }
    }

    #[test]
    fn a_view_of_an_even_image_is_even() {
        let image = even([50, 31], [200, 100, 3]);
        let wanted = [200, 100, 3].repeat(64);
        let mut out = vec![0; 192];
        centred_view(&image, 8, &mut out);
        assert_eq!(out, wanted);
        out.fill(0);
        random_view(&image, 8, Draw { seed: 1, epoch: 1 }, 0, &mut out);
        assert_eq!(out, wanted);
    }

    /// What the whole image would be resized to has 2.4 million columns.
    #[test]
    fn a_long_thin_image_is_seen_without_much_memory() {
        for extents in [[65_000, 1], [1, 65_000], [3, 4], [1, 1]] {
            let image = even(extents, [9, 80, 200]);
            for size in [1, 3, 32] {
                let mut out = vec![0; size * size * CHANNELS];
                centred_view(&image, size, &mut out);
                assert_eq!(out, [9, 80, 200].repeat(size * size), "{extents:?} as {size}");
            }
        }
    }

    #[test]
    fn half_of_the_random_views_are_mirrored() {
        let image = gradient(64, 48);
        let mut mirrored = 0;
        for number in 0..200 {
            let mut out = vec![0; 8 * 8 * 3];
            random_view(&image, 8, Draw { seed: 1, epoch: 2 }, number, &mut out);
            mirrored += usize::from(out[0] > out[7 * 3]);
            let (first, last) = (&out[..3], &out[7 * 8 * 3..]);
            assert!(first[1] < last[1] && first[2] == 7, "{out:?}");
        }
        assert!((70..=130).contains(&mirrored), "{mirrored}");
    }

    #[test]
    fn a_centred_view_keeps_directions() {
        let mut out = vec![0; 16 * 16 * 3];
        centred_view(&gradient(200, 100), 16, &mut out);
        let pixel = |row: usize, column: usize| &out[(row * 16 + column) * 3..][..3];
        assert!(pixel(0, 0)[0] < pixel(0, 15)[0] && pixel(0, 0)[1] < pixel(15, 0)[1]);
        // The outer quarters of a wide image are not seen.
        assert!(pixel(0, 0)[0] > 60 && pixel(0, 15)[0] < 195, "{out:?}");
    }
}
