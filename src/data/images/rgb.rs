//! An image as red, green and blue, and what the decoders share.

use std::fmt::Display;

use super::CHANNELS;

/// A damaged header can ask for any amount of memory.
pub(super) const MOST_BYTES: usize = 512 << 20;

/// An image, three bytes a pixel, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct RgbImage {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
}

/// The colours of a format with indices. Where a file gives none, an index is a grey, as with Pillow.
pub(super) struct Palette([[u8; CHANNELS]; 256]);

impl Default for Palette {
    fn default() -> Self {
        Palette(std::array::from_fn(|index| [index as u8; CHANNELS]))
    }
}

impl Palette {
    /// Sets the first colours; those beyond 256 are passed over.
    pub(super) fn set(&mut self, colours: &[[u8; CHANNELS]]) {
        self.0.iter_mut().zip(colours).for_each(|(to, from)| *to = *from);
    }

    pub(super) fn colour(&self, index: u8) -> [u8; CHANNELS] {
        self.0[usize::from(index)]
    }
}

pub(super) fn text(error: impl Display) -> String {
    error.to_string()
}

pub(super) fn zeros(length: Option<usize>) -> Result<Vec<u8>, String> {
    let length = length.filter(|length| *length <= MOST_BYTES);
    Ok(vec![0; length.ok_or("more than 512 MiB of pixels")?])
}

/// From grey, grey and alpha, RGB or RGBA.
pub(super) fn to_rgb(samples: Vec<u8>, channels: usize) -> Vec<u8> {
    match channels {
        3 => samples,
        4 => samples.as_chunks().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect(),
        _ => samples.iter().step_by(channels).flat_map(|&grey| [grey; 3]).collect(),
    }
}
