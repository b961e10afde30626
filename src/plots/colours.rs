//! Colours that stay apart in grey and for the colour-blind.

use plotters::style::RGBColor;

/// Text and axes.
pub const INK: RGBColor = RGBColor(60, 60, 60);
pub(super) const GRID: RGBColor = RGBColor(228, 228, 228);
/// What is learnt from.
pub const TRAIN: RGBColor = RGBColor(31, 101, 158);
/// What is validated on.
pub const VALID: RGBColor = RGBColor(214, 96, 26);
/// What is tested on.
pub const TEST: RGBColor = RGBColor(20, 20, 20);

/// The colours of viridis that are dark enough for a line on white.
const DARK: f64 = 0.88;

/// A colour of viridis, which gets lighter from the first to the last.
pub fn shade(place: usize, count: usize) -> RGBColor {
    viridis(place as f64 / count.saturating_sub(1).max(1) as f64)
}

/// The same for lines on white.
pub fn line_shade(place: usize, count: usize) -> RGBColor {
    viridis(DARK * place as f64 / count.saturating_sub(1).max(1) as f64)
}

/// Viridis from 0, dark violet, to 1, yellow.
pub(super) fn viridis(place: f64) -> RGBColor {
    const VIRIDIS: [(u8, u8, u8); 9] = [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ];
    let position = place.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let below = (position as usize).min(VIRIDIS.len() - 2);
    let part = position - below as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + part * (f64::from(b) - f64::from(a))).round() as u8;
    let ((r, g, b), (r1, g1, b1)) = (VIRIDIS[below], VIRIDIS[below + 1]);
    RGBColor(mix(r, r1), mix(g, g1), mix(b, b1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_palette_has_one_colour_a_classifier() {
        assert_eq!(shade(0, 10), RGBColor(68, 1, 84));
        assert_eq!(shade(9, 10), RGBColor(253, 231, 37));
        assert_eq!(shade(0, 1), RGBColor(68, 1, 84));
        let RGBColor(red, green, blue) = line_shade(6, 7);
        let brightness = [red, green, blue].map(u32::from).iter().sum::<u32>();
        assert!(brightness < 500, "{brightness} is too light for a line on white");
    }
}
