//! Tiles of sums that stay in registers.

/// Rows of sums in registers: pixels, or features of the weights' gradient.
pub(super) const ROWS: usize = 8;

/// Columns of sums in registers: two 512-bit vectors of f32.
pub(super) const COLUMNS: usize = 32;

/// The number of a pixel outside of the image.
pub(super) const OUTSIDE: usize = usize::MAX;

/// One tap of a kernel over a tile of pixels.
pub(super) struct Tap {
    /// Its number in the panel.
    pub number: usize,
    /// The offsets in the source of the pixels it reads; [`OUTSIDE`] for zeros.
    pub offsets: [usize; ROWS],
}

/// The place of a tile's sums.
pub(super) struct Target {
    pub offsets: [usize; ROWS],
    /// The number of offsets that are pixels.
    pub pixels: usize,
}

/// The initial value of a tile's sums.
#[derive(Clone, Copy)]
pub(super) enum Start<'a, T> {
    Zero,
    Bias(&'a [T]),
    Output,
}

/// The sums of a tile.
pub(super) type Sums<T> = [[T; COLUMNS]; ROWS];
