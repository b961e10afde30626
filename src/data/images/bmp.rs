//! BMP as red, green and blue. The format is a header, a palette and plain rows, so it needs no crate.

use super::CHANNELS;
use super::rgb::{Palette, RgbImage, zeros};

pub(super) const START: [u8; 2] = *b"BM";

/// Bytes of the file's header, which the image's header follows.
const FILE_HEADER: usize = 14;

/// Where the masks of red, green and blue are, if there are any.
const MASKS: usize = FILE_HEADER + 40;

/// How the pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Storage {
    /// In rows of a multiple of four bytes; masks for pixels of 16 and 32 bits.
    Plain { masks: [u32; CHANNELS] },
    /// In runs of equal palette indices.
    Runs { bytes: u64 },
}

struct Header {
    width: u32,
    height: u32,
    is_top_down: bool,
    bits: u16,
    storage: Storage,
    palette_start: usize,
    colour_bytes: usize,
    colours: usize,
    /// Where the pixels begin.
    pixels: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|own| u16::from_le_bytes(*own))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|own| u32::from_le_bytes(*own))
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Header, String> {
        Header::fields(bytes).ok_or("its header is cut short")?
    }

    /// `None` if the bytes end within the header.
    fn fields(bytes: &[u8]) -> Option<Result<Header, String>> {
        let word = |at| u32_at(bytes, FILE_HEADER + at);
        let pixels = u32_at(bytes, 10)? as usize;
        let length = word(0)?;
        // OS/2's first version has extents of 16 bits, and no field after the bits of a pixel.
        let is_old = length == 12;
        if !is_old && length < 40 {
            return Some(Err(format!("a header of {length} bytes is unknown")));
        }
        let half = |at| u16_at(bytes, FILE_HEADER + at);
        let (width, height, bits) = match is_old {
            true => (i32::from(half(4)?), i32::from(half(6)?), half(10)?),
            false => (word(4)? as i32, word(8)? as i32, half(14)?),
        };
        let (compression, run_bytes, colours) =
            if is_old { (0, 0, 0) } else { (word(16)?, word(20)?, word(32)?) };
        let storage = match (compression, bits) {
            (0, 1 | 4 | 8 | 24) => Storage::Plain { masks: [0; CHANNELS] },
            (0, 16) => Storage::Plain { masks: [0x7C00, 0x03E0, 0x001F] },
            (0, 32) => Storage::Plain { masks: [0xFF_0000, 0xFF00, 0xFF] },
            (1, 8) | (2, 4) => Storage::Runs { bytes: run_bytes.into() },
            // In OS/2's second version the numbers mean something else.
            (3 | 6, 16 | 32) if length != 64 => {
                let mask = |number: usize| u32_at(bytes, MASKS + 4 * number);
                Storage::Plain { masks: [mask(0)?, mask(1)?, mask(2)?] }
            }
            _ => {
                let message = format!("{bits} bits a pixel, compression {compression}");
                return Some(Err(format!("{message}: not a kind that is decoded here")));
            }
        };
        if width <= 0 || height == 0 {
            return Some(Err("no pixels".into()));
        }
        let of_bits = if bits <= 8 { 1 << bits } else { 0 };
        Some(Ok(Header {
            width: width as u32,
            height: height.unsigned_abs(),
            is_top_down: height < 0,
            bits,
            storage,
            palette_start: FILE_HEADER + length as usize,
            colour_bytes: if is_old { 3 } else { 4 },
            colours: if colours == 0 { of_bits } else { of_bits.min(colours as usize) },
            pixels,
        }))
    }

    /// Bytes of a row without padding.
    fn row_bytes(&self) -> u64 {
        (u64::from(self.width) * u64::from(self.bits)).div_ceil(8)
    }

    /// Bytes from one row to the next.
    fn stride(&self) -> u64 {
        self.row_bytes().next_multiple_of(4)
    }

    /// Bytes of all pixels.
    fn bytes(&self) -> u64 {
        match self.storage {
            Storage::Plain { .. } => {
                self.stride().saturating_mul(u64::from(self.height) - 1) + self.row_bytes()
            }
            Storage::Runs { bytes } => bytes,
        }
    }

    fn palette(&self, bytes: &[u8]) -> Palette {
        let stored = bytes.get(self.palette_start..).unwrap_or_default();
        let colours = stored.chunks_exact(self.colour_bytes).take(self.colours);
        let colours: Vec<[u8; CHANNELS]> =
            colours.map(|colour| [colour[2], colour[1], colour[0]]).collect();
        let mut palette = Palette::default();
        palette.set(&colours);
        palette
    }
}

/// The least length of the whole file, which its header states.
pub(super) fn stated_length(head: &[u8]) -> Result<u64, String> {
    let header = Header::read(head)?;
    Ok((header.pixels as u64).saturating_add(header.bytes()))
}

/// A fourth channel is left out.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let header = Header::read(bytes)?;
    let Header { width, height, .. } = header;
    let [columns, rows] = [width, height].map(|extent| extent as usize);
    let mut pixels = zeros(columns.checked_mul(rows).and_then(|area| area.checked_mul(CHANNELS)))?;
    let data = bytes.get(header.pixels..).unwrap_or_default();
    let palette = header.palette(bytes);
    let (indices, stride) = match header.storage {
        Storage::Plain { .. } if (data.len() as u64) < header.bytes() => {
            return Err("its pixels are cut short".into());
        }
        Storage::Plain { .. } => (None, header.stride() as usize),
        Storage::Runs { .. } => (Some(unpack(data, columns, rows, header.bits == 4)?), columns),
    };
    let stored = indices.as_deref().unwrap_or(data);
    let lines = pixels.chunks_exact_mut(CHANNELS * columns);
    let put = |(line, own): (&mut [u8], &[u8])| {
        let line = &mut line.as_chunks_mut::<CHANNELS>().0[..];
        match header.storage {
            Storage::Plain { masks } => put_row(line, own, header.bits, masks, &palette),
            Storage::Runs { .. } => put_row(line, own, 8, [0; CHANNELS], &palette),
        }
    };
    // The last row may lack the bytes that fill it up.
    match header.is_top_down {
        true => lines.zip(stored.chunks(stride)).for_each(put),
        false => lines.rev().zip(stored.chunks(stride)).for_each(put),
    }
    Ok(RgbImage { width, height, pixels })
}

fn put_row(
    line: &mut [[u8; CHANNELS]],
    stored: &[u8],
    bits: u16,
    masks: [u32; CHANNELS],
    palette: &Palette,
) {
    let masked = |value: u32| masks.map(|mask| channel(value, mask));
    match bits {
        16 => line.iter_mut().zip(stored.as_chunks().0).for_each(|(pixel, own)| {
            *pixel = masked(u16::from_le_bytes(*own).into());
        }),
        24 => line.iter_mut().zip(stored.as_chunks().0).for_each(|(pixel, &[b, g, r])| {
            *pixel = [r, g, b];
        }),
        32 => line.iter_mut().zip(stored.as_chunks().0).for_each(|(pixel, own)| {
            *pixel = masked(u32::from_le_bytes(*own));
        }),
        // 1, 4 or 8: from the highest bits on.
        bits => {
            let in_byte = 8 / usize::from(bits);
            let mask = ((1u16 << bits) - 1) as u8;
            for (number, pixel) in line.iter_mut().enumerate() {
                let shift = (in_byte - 1 - number % in_byte) * usize::from(bits);
                *pixel = palette.colour((stored[number / in_byte] >> shift) & mask);
            }
        }
    }
}

/// The bits under a mask, scaled to 0..=255.
fn channel(value: u32, mask: u32) -> u8 {
    let shift = mask.trailing_zeros() % 32;
    let most = u64::from(mask >> shift).max(1);
    (u64::from((value & mask) >> shift) * 255 / most) as u8
}

/// Palette indices, row by row as stored, from runs of them. `is_half`: two of them in a byte.
fn unpack(data: &[u8], columns: usize, rows: usize, is_half: bool) -> Result<Vec<u8>, String> {
    let mut indices = zeros(columns.checked_mul(rows))?;
    let (mut x, mut y, mut rest) = (0, 0, data);
    let mut put = |x: usize, y: usize, index: u8| {
        if x < columns && y < rows {
            indices[y * columns + x] = index;
        }
    };
    // The index number `place` in some bytes.
    let index = |bytes: &[u8], place: usize| match is_half {
        true => (bytes[place / 2] >> (4 * (1 - place % 2))) & 15,
        false => bytes[place],
    };
    loop {
        let Some((&[count, value], after)) = rest.split_first_chunk() else {
            return Err("its runs have no end".into());
        };
        rest = after;
        match (usize::from(count), value) {
            (0, 0) => (x, y) = (0, y + 1),
            (0, 1) => return Ok(indices),
            (0, 2) => {
                let Some((&[right, up], after)) = rest.split_first_chunk() else {
                    return Err("its runs have no end".into());
                };
                (x, y, rest) = (x + usize::from(right), y + usize::from(up), after);
            }
            (0, count) => {
                let count = usize::from(count);
                let bytes = if is_half { count.div_ceil(2) } else { count };
                let Some((own, after)) = rest.split_at_checked(bytes) else {
                    return Err("its runs have no end".into());
                };
                (0..count).for_each(|place| put(x + place, y, index(own, place)));
                (x, rest) = (x + count, &after[(bytes % 2).min(after.len())..]);
            }
            (count, value) => {
                let place = |number: usize| if is_half { number % 2 } else { 0 };
                (0..count).for_each(|number| put(x + number, y, index(&[value], place(number))));
                x += count;
            }
        }
    }
}
