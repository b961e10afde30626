//! The region that is cut out of an image: torchvision's geometry, to the pixel.

use crate::random::Stream;

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// Columns to its left.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its columns.
    pub width: u32,
    /// Its rows.
    pub height: u32,
}

/// A random crop's share of the image's area.
const SCALE: [f64; 2] = [0.08, 1.0];

/// A random crop's width divided by its height.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

const TRIES: usize = 10;

/// A rectangle of random area, aspect ratio and position (`RandomResizedCrop`): the area and the logarithm of the ratio are
/// uniform. If ten tries do not fit, the result is the largest centred rectangle of a permitted ratio.
pub(super) fn random([width, height]: [u32; 2], stream: &mut Stream) -> Region {
    let (columns, rows) = (f64::from(width), f64::from(height));
    let [narrowest, widest] = RATIO;
    for _ in 0..TRIES {
        let area = columns * rows * stream.uniform_in(SCALE[0], SCALE[1]);
        let ratio = stream.uniform_in(narrowest.ln(), widest.ln()).exp();
        let own_width = (area * ratio).sqrt().round_ties_even() as u32;
        let own_height = (area / ratio).sqrt().round_ties_even() as u32;
        if (1..=width).contains(&own_width) && (1..=height).contains(&own_height) {
            let mut place = |room: u32| stream.below(u64::from(room) + 1) as u32;
            let (top, left) = (place(height - own_height), place(width - own_width));
            return Region { left, top, width: own_width, height: own_height };
        }
    }
    let largest = |extent: f64| (extent.round_ties_even() as u32).max(1);
    let (own_width, own_height) = match columns / rows {
        ratio if ratio < narrowest => (width, largest(columns / narrowest).min(height)),
        ratio if ratio > widest => (largest(rows * widest).min(width), height),
        _ => (width, height),
    };
    let (left, top) = ((width - own_width) / 2, (height - own_height) / 2);
    Region { left, top, width: own_width, height: own_height }
}

/// For evaluation, the extents that an image is resized to before a square of `size` is cut out (`Resize`). The shorter
/// side becomes `size * 256 / 224`, rounded.
pub(super) fn resized([width, height]: [u32; 2], size: usize) -> [u32; 2] {
    let short = (size as f64 * 256.0 / 224.0).round() as u64;
    let (own_width, own_height) = (u64::from(width), u64::from(height));
    match own_width <= own_height {
        true => [short, short * own_height / own_width].map(|extent| extent as u32),
        false => [short * own_width / own_height, short].map(|extent| extent as u32),
    }
}

/// The central square of `size` in an image that is at least as large (`CenterCrop`).
pub(super) fn centre([width, height]: [u32; 2], size: usize) -> Region {
    let size = size as u32;
    let place = |extent: u32| (f64::from(extent - size) / 2.0).round_ties_even() as u32;
    Region { left: place(width), top: place(height), width: size, height: size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Philox, Purpose};

    #[test]
    fn random_crops_have_the_areas_and_ratios_that_are_asked_for() {
        let philox = Philox::new(1, Purpose::ImageCrops);
        let (mut areas, mut mirrored) = (Vec::new(), 0.0);
        for number in 0..2000 {
            let Region { left, top, width, height } =
                random([500, 400], &mut philox.numbered_stream(3, number));
            assert!(left + width <= 500 && top + height <= 400);
            let ratio = f64::from(width) / f64::from(height);
            assert!((0.74..1.35).contains(&ratio), "{width} by {height}");
            areas.push(f64::from(width * height) / 200_000.0);
            mirrored += f64::from(u8::from(ratio > 1.0)) / 2000.0;
        }
        let mean = areas.iter().sum::<f64>() / 2000.0;
        assert!(areas.iter().all(|area| (0.079..=1.0).contains(area)) && (mean - 0.5).abs() < 0.05);
        assert!((mirrored - 0.5).abs() < 0.1, "{mirrored}");
    }

    #[test]
    fn where_no_crop_fits_it_is_the_largest_in_the_middle() {
        let mut stream = Philox::new(1, Purpose::ImageCrops).stream(0);
        assert_eq!(
            random([1000, 3], &mut stream),
            Region { left: 498, top: 0, width: 4, height: 3 }
        );
        assert_eq!(
            random([3, 1000], &mut stream),
            Region { left: 0, top: 498, width: 3, height: 4 }
        );
        assert_eq!(random([1, 1], &mut stream), Region { left: 0, top: 0, width: 1, height: 1 });
    }

    /// Numbers from torchvision 0.29's `Resize(256)` and `CenterCrop(224)`.
    #[test]
    fn an_evaluated_image_is_resized_and_cut_as_torchvision_does() {
        assert_eq!(resized([500, 375], 224), [341, 256]);
        assert_eq!(resized([375, 500], 224), [256, 341]);
        assert_eq!(resized([10, 10], 32), [37, 37]);
        let cut = Region { left: 58, top: 16, width: 224, height: 224 };
        assert_eq!(centre([341, 256], 224), cut);
        assert_eq!(centre([37, 38], 32), Region { left: 2, top: 3, width: 32, height: 32 });
    }
}
