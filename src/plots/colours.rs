//! Colours that can be told apart in greyscale and by the colour-blind.

use plotters::style::RGBColor;

/// Text and axes.
pub const INK: RGBColor = RGBColor(60, 60, 60);
pub(super) const GRID: RGBColor = RGBColor(228, 228, 228);
/// Curves of training.
pub const TRAIN: RGBColor = RGBColor(31, 101, 158);
/// Curves of validation.
pub const VALID: RGBColor = RGBColor(214, 96, 26);
/// Results of the test.
pub const TEST: RGBColor = RGBColor(20, 20, 20);

/// Colour `place` of `count` from viridis, lighter from the first to the last.
pub fn shade(place: usize, count: usize) -> RGBColor {
    viridis(place as f64 / count.saturating_sub(1).max(1) as f64)
}

/// A colour for a thin line on white, from cold to warm: lightness alone does not tell thin lines apart.
pub fn line_shade(place: usize, count: usize) -> RGBColor {
    const LINES: [(u8, u8, u8); 7] = [
        (68, 1, 84),
        (70, 70, 190),
        (20, 140, 200),
        (10, 150, 110),
        (120, 180, 40),
        (222, 165, 10),
        (200, 95, 15),
    ];
    blend(&LINES, place as f64 / count.saturating_sub(1).max(1) as f64)
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
    blend(&VIRIDIS, place)
}

/// Interpolates between colours that are evenly spaced from 0 to 1.
fn blend(colours: &[(u8, u8, u8)], place: f64) -> RGBColor {
    let position = place.clamp(0.0, 1.0) * (colours.len() - 1) as f64;
    let below = (position as usize).min(colours.len() - 2);
    let part = position - below as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + part * (f64::from(b) - f64::from(a))).round() as u8;
    let ((r, g, b), (r1, g1, b1)) = (colours[below], colours[below + 1]);
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
        for place in 0..10 {
            let RGBColor(red, green, blue) = line_shade(place, 10);
            let brightness = [red, green, blue].map(u32::from).iter().sum::<u32>();
            assert!(brightness < 450, "{brightness} is too light for a line on white");
        }
    }
}
