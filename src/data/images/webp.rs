//! WebP as red, green and blue.

use std::io::Cursor;

use image_webp::WebPDecoder;

use super::rgb::{MOST_BYTES, RgbImage, text, to_rgb, zeros};

pub(super) const START: [u8; 4] = *b"RIFF";

/// The bytes after [`START`] and the file's length.
pub(super) const NAME: [u8; 4] = *b"WEBP";

/// The length of the whole file, which its first bytes state.
pub(super) fn stated_length(head: &[u8]) -> Option<u64> {
    let length = head.get(4..8)?.first_chunk()?;
    Some(START.len() as u64 + 4 + u64::from(u32::from_le_bytes(*length)))
}

/// An animation's first frame.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(text)?;
    decoder.set_memory_limit(MOST_BYTES);
    let (width, height) = decoder.dimensions();
    let mut samples = zeros(decoder.output_buffer_size())?;
    decoder.read_image(&mut samples).map_err(text)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    Ok(RgbImage { width, height, pixels: to_rgb(samples, channels) })
}
