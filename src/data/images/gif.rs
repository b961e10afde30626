//! The first frame of a GIF as red, green and blue.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};

use super::CHANNELS;
use super::rgb::{MOST_BYTES, Palette, RgbImage, text, zeros};

/// The bytes before the version.
pub(super) const START: [u8; 3] = *b"GIF";

/// The byte that ends a file.
pub(super) const END: [u8; 1] = *b";";

/// Goes from block to block, up to the first frame's end: whether each begins where it must; `None` if the bytes end too
/// early.
pub(super) fn walk(bytes: &[u8]) -> Option<Result<(), &'static str>> {
    let mut at = 13 + colour_table(*bytes.get(10)?);
    loop {
        match bytes.get(at)? {
            b'!' => at = after_blocks(bytes, at + 2)?,
            b',' => {
                at += 10 + colour_table(*bytes.get(at + 9)?);
                return after_blocks(bytes, at + 1).map(|_| Ok(()));
            }
            b';' => return Some(Err("a GIF without an image")),
            _ => return Some(Err("a block of a GIF does not begin where it must")),
        }
    }
}

/// Bytes of the table of colours that a byte of flags announces.
fn colour_table(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { CHANNELS << ((flags & 7) + 1) }
}

/// The place after a list of blocks, each with its length before it; an empty one ends the list.
fn after_blocks(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}

/// Outside of the frame, the pixels have the transparent colour, else the first, as with Pillow.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(
        NonZeroU64::new(MOST_BYTES as u64).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes),
    );
    let mut decoder = options.read_info(bytes).map_err(text)?;
    let mut palette = Palette::default();
    palette.set(decoder.global_palette().unwrap_or_default().as_chunks().0);
    let screen = [decoder.width(), decoder.height()];
    let frame = decoder.read_next_frame().map_err(text)?.ok_or("no image")?;
    if let Some(own) = &frame.palette {
        palette = Palette::default();
        palette.set(own.as_chunks().0);
    }
    let [width, height] = [
        screen[0].max(frame.left.saturating_add(frame.width)),
        screen[1].max(frame.top.saturating_add(frame.height)),
    ];
    let [columns, rows] = [width, height].map(usize::from);
    let mut pixels = zeros(columns.checked_mul(rows).and_then(|area| area.checked_mul(CHANNELS)))?;
    let background = palette.colour(frame.transparent.unwrap_or(0));
    pixels.as_chunks_mut().0.fill(background);
    let lines = pixels.chunks_exact_mut((CHANNELS * columns).max(1)).skip(frame.top.into());
    for (line, indices) in lines.zip(frame.buffer.chunks_exact(usize::from(frame.width).max(1))) {
        let own = line.as_chunks_mut().0.iter_mut().skip(frame.left.into());
        own.zip(indices).for_each(|(pixel, index)| *pixel = palette.colour(*index));
    }
    Ok(RgbImage { width: width.into(), height: height.into(), pixels })
}
