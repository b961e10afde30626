//! The formats of images: which one a file has, and its pixels as red, green and blue.

use std::io::Cursor;

use png::{BitDepth, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::rgb::{MOST_BYTES, RgbImage, text, to_rgb, zeros};
use super::{bmp, gif, webp};

pub(super) const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// A format of images.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
}

/// The format that a file's first bytes tell, whatever its name says.
pub(super) fn format(bytes: &[u8]) -> Option<Format> {
    match bytes {
        _ if bytes.starts_with(&PNG) => Some(Format::Png),
        [0xFF, 0xD8, 0xFF, ..] => Some(Format::Jpeg),
        _ if bytes.starts_with(&webp::START) && bytes.get(8..12) == Some(&webp::NAME) => {
            Some(Format::WebP)
        }
        _ if bytes.starts_with(&gif::START) => Some(Format::Gif),
        _ if bytes.starts_with(&bmp::START) => Some(Format::Bmp),
        _ => None,
    }
}

/// Grey becomes three equal channels, CMYK is converted, transparency is left out, 16 bits are rounded to 8.
pub(super) fn decode(bytes: &[u8], format: Format) -> Result<RgbImage, String> {
    match format {
        Format::Jpeg => decode_jpeg(bytes),
        Format::Png => decode_png(bytes),
        Format::WebP => webp::decode(bytes),
        Format::Gif => gif::decode(bytes),
        Format::Bmp => bmp::decode(bytes),
    }
}

fn decode_jpeg(bytes: &[u8]) -> Result<RgbImage, String> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(text)?;
    let (width, height) = decoder.dimensions().ok_or("no header")?;
    let (space, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, 1),
        _ => (ColorSpace::RGB, 3),
    };
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(space));
    let mut samples = zeros(decoder.output_buffer_size())?;
    decoder.decode_into(&mut samples).map_err(text)?;
    Ok(RgbImage { width: width as u32, height: height as u32, pixels: to_rgb(samples, channels) })
}

fn decode_png(bytes: &[u8]) -> Result<RgbImage, String> {
    let limits = png::Limits { bytes: MOST_BYTES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(text)?;
    let (width, height) = reader.info().size();
    let (colour, depth) = reader.output_color_type();
    let mut samples = zeros(reader.output_buffer_size())?;
    reader.next_frame(&mut samples).map_err(text)?;
    if depth == BitDepth::Sixteen {
        let rounded = |&pair: &[u8; 2]| ((u32::from(u16::from_be_bytes(pair)) + 128) / 257) as u8;
        samples = samples.as_chunks().0.iter().map(rounded).collect();
    }
    Ok(RgbImage { width, height, pixels: to_rgb(samples, colour.samples()) })
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageFormat};
    use png::{ColorType, Info};
    use safetensors::SafeTensors;

    use super::super::decode;
    use super::*;
    use crate::random::{Philox, Purpose, Stream};

    /// First column and row of an interlaced image's pass, and the steps to the next.
    const PASSES: [[u32; 4]; 7] = [
        [0, 0, 8, 8],
        [4, 0, 8, 8],
        [0, 4, 4, 8],
        [2, 0, 4, 4],
        [0, 2, 2, 4],
        [1, 0, 2, 2],
        [0, 1, 1, 2],
    ];

    fn random() -> Stream {
        Philox::new(5, Purpose::Data).stream(1)
    }

    fn noise(stream: &mut Stream, length: usize) -> Vec<u8> {
        (0..length).map(|_| stream.bits() as u8).collect()
    }

    /// Asserts that the file comes out as the crate `image` decodes it, or fails there too; whether it came out.
    fn is_decoded(name: &str, bytes: &[u8]) -> bool {
        let format = if bytes[0] == 0xFF { ImageFormat::Jpeg } else { ImageFormat::Png };
        let load = || image::load_from_memory_with_format(bytes, format);
        let peer = std::panic::catch_unwind(load).ok().and_then(Result::ok).map(|image| {
            let image = image.into_rgb8();
            RgbImage { width: image.width(), height: image.height(), pixels: image.into_raw() }
        });
        let own = decode::decode(bytes);
        let error = own.as_ref().err().cloned();
        assert!(own.ok() == peer, "{name}: {error:?}, or other pixels");
        peer.is_some()
    }

    fn png_file(info: &Info, data: &[u8]) -> Vec<u8> {
        // A zlib stream of one block, not compressed.
        let length = data.len() as u16;
        let (mut low, mut high) = (1, 0);
        for byte in data {
            low = (low + u32::from(*byte)) % 65521;
            high = (high + low) % 65521;
        }
        let checksum = (high << 16 | low).to_be_bytes();
        let head = [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes()].concat();
        let mut bytes = Vec::new();
        let encoder = png::Encoder::with_info(&mut bytes, info.clone()).unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_chunk(png::chunk::IDAT, &[&head, data, &checksum].concat()).unwrap();
        drop(writer);
        bytes
    }

    /// Rows of noise, with filters of every kind.
    fn png_of_noise(info: &Info, stream: &mut Stream) -> Vec<u8> {
        let passes = if info.interlaced { &PASSES[..] } else { &[[0, 0, 1, 1]] };
        let mut data = Vec::new();
        for [left, top, across, down] in passes {
            let columns = info.width.saturating_sub(*left).div_ceil(*across) as usize;
            let bits = info.color_type.samples() * info.bit_depth as usize;
            for _ in (*top..info.height).step_by(*down as usize).filter(|_| columns > 0) {
                data.push(stream.below(5) as u8);
                data.extend(noise(stream, (columns * bits).div_ceil(8)));
            }
        }
        png_file(info, &data)
    }

    fn pngs() -> Vec<(String, Vec<u8>)> {
        use ColorType::*;
        let mut stream = random();
        let mut files = Vec::new();
        for color_type in [Grayscale, Rgb, Indexed, GrayscaleAlpha, Rgba] {
            for depth in [1, 2, 4, 8, 16] {
                let is_kind = match color_type {
                    Grayscale => true,
                    Indexed => depth < 16,
                    _ => depth >= 8,
                };
                let palette =
                    (color_type == Indexed).then(|| noise(&mut stream, 3 << (depth % 16)));
                let trns = match color_type {
                    Grayscale => Some(vec![0, 1]),
                    Rgb => Some(vec![0, 1, 0, 2, 0, 3]),
                    Indexed => Some(vec![9, 0]),
                    _ => None,
                };
                for interlaced in [false, true].into_iter().filter(|_| is_kind) {
                    for trns in [None, trns.clone().map(Into::into)] {
                        let mut info = Info::with_size(13, 9);
                        (info.color_type, info.interlaced) = (color_type, interlaced);
                        info.bit_depth = BitDepth::from_u8(depth).unwrap();
                        (info.palette, info.trns) = (palette.clone().map(Into::into), trns);
                        let has = if info.trns.is_some() { "transparent" } else { "opaque" };
                        let name = format!("{color_type:?} {depth} {interlaced} {has}");
                        files.push((name, png_of_noise(&info, &mut stream)));
                    }
                }
            }
        }
        files
    }

    fn jpegs() -> Vec<(String, Vec<u8>)> {
        let golden = include_bytes!("../../../tests/golden/images.safetensors");
        let golden = SafeTensors::deserialize(golden).unwrap();
        let names = golden.names().into_iter().filter(|name| name.ends_with(".jpg"));
        let files = names.filter(|name| name.starts_with("file."));
        let mut files: Vec<_> =
            files.map(|name| (name.into(), golden.tensor(name).unwrap().data().to_vec())).collect();
        for (width, height) in [(1, 1), (7, 17), (16, 8), (33, 31)] {
            let noise = noise(&mut random(), 3 * width as usize * height as usize);
            let image =
                DynamicImage::from(image::RgbImage::from_raw(width, height, noise).unwrap());
            for image in [DynamicImage::from(image.to_luma8()), image] {
                let mut bytes = Cursor::new(Vec::new());
                image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
                files.push((format!("{width} {height}"), bytes.into_inner()));
            }
        }
        // Adobe's mark says by its last byte that the channels are YCCK.
        let cmyk = files.iter().find(|(name, _)| name == "file.cmyk.jpg").unwrap();
        let mut ycck = cmyk.1.clone();
        let mark = ycck.windows(5).position(|bytes| bytes == b"Adobe").unwrap();
        ycck[mark + 11] = 2 - ycck[mark + 11];
        files.push(("ycck".into(), ycck));
        files
    }

    #[test]
    fn every_kind_comes_out_as_from_the_crate_image() {
        for (name, bytes) in pngs().into_iter().chain(jpegs()) {
            assert!(is_decoded(&name, &bytes), "{name}");
        }
        let mut info = Info::with_size(256, 127);
        info.bit_depth = BitDepth::Sixteen;
        let row =
            |y: u16| std::iter::once(0).chain((256 * y..=256 * y + 255).flat_map(u16::to_be_bytes));
        for half in [0..127, 128..255, 129..256] {
            assert!(is_decoded(
                "all of 16 bits",
                &png_file(&info, &half.flat_map(row).collect::<Vec<_>>())
            ));
        }
    }

    #[test]
    fn damaged_files_fail_where_they_fail_in_the_crate_image() {
        let mut stream = random();
        let mut decoded = 0;
        for (name, bytes) in pngs().into_iter().chain(jpegs()) {
            for _ in 0..40 {
                let cut = 8 + stream.below(bytes.len() as u64 - 8) as usize;
                is_decoded(&name, &bytes[..cut]);
                let mut damaged = bytes.clone();
                damaged[cut] = stream.bits() as u8;
                decoded += usize::from(is_decoded(&name, &damaged));
            }
        }
        assert!(decoded > 100, "{decoded}");
    }

    #[test]
    fn a_header_alone_takes_no_memory() {
        let mut info = Info::with_size(40_000, 40_000);
        info.color_type = ColorType::Rgba;
        let (_, mut jpeg) = jpegs().remove(0);
        let frame = jpeg.windows(2).position(|mark| matches!(mark, [0xFF, 0xC0 | 0xC2])).unwrap();
        jpeg[frame + 5..frame + 9].fill(0xFF);
        for bytes in [png_file(&info, &[0]), jpeg] {
            assert!(!is_decoded("large", &bytes));
            let error = decode::decode(&bytes).unwrap_err();
            assert!(error.ends_with("more than 512 MiB of pixels"), "{error}");
        }
    }
}
