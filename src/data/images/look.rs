//! A cheap look at an image file: its first bytes and its end, without decoding it.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::formats::{Format, PNG, format};
use super::{bmp, gif, webp};
use crate::file;

/// Where a frame's header lies in nearly every JPEG, if no large profile or preview comes before it.
const HEAD: usize = 1024;

/// The chunk that ends a PNG: no data, its name, its checksum.
const PNG_END: [u8; 12] = *b"\0\0\0\0IEND\xae\x42\x60\x82";

const JPEG_END: [u8; 2] = [0xFF, 0xD9];

/// Why a file of no known format is no image.
pub(super) fn not_an_image(head: &[u8]) -> String {
    file::mistaken(head).unwrap_or("is none of JPEG, PNG, WebP, GIF and BMP").into()
}

/// A file's length, or why it is broken: it cannot be read, is empty, is of no known format, or ends before its end.
pub(super) fn look(path: &Path) -> Result<u64, String> {
    look_at(file::open(path).map_err(unreadable)?)
}

fn unreadable(error: std::io::Error) -> String {
    format!("could not be read: {error}")
}

/// As [`look`], for a file that is open, or its bytes.
pub(super) fn look_at(mut file: impl Read + Seek) -> Result<u64, String> {
    let mut head = Vec::with_capacity(HEAD);
    file.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(unreadable)?;
    if head.is_empty() {
        return Err("is empty".into());
    }
    let format = format(&head).ok_or_else(|| not_an_image(&head))?;
    let length = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    let mut ends_with = |end: &[u8]| {
        file.seek(SeekFrom::Start(length.saturating_sub(end.len() as u64)))?;
        let mut own = Vec::with_capacity(end.len());
        file.read_to_end(&mut own).map(|_| own == end)
    };
    let is_usual = match format {
        Format::Png => ends_with(&PNG_END),
        Format::Jpeg => ends_with(&JPEG_END),
        Format::Gif => ends_with(&gif::END),
        // Their first bytes tell their length.
        Format::WebP | Format::Bmp => Ok(true),
    };
    let whole = match is_usual.map_err(unreadable)? {
        true => head,
        // Bytes may follow the end, as padding and what some cameras append.
        false => {
            let mut whole = Vec::new();
            let read = file.rewind().and_then(|()| file.read_to_end(&mut whole));
            read.map_err(unreadable).map(|_| whole)?
        }
    };
    let walked = match format {
        Format::Png => walk_png(&whole),
        Format::Jpeg => walk_jpeg(&whole),
        Format::Gif => match gif::walk(&whole) {
            None => Walked::Cut,
            Some(Ok(())) => Walked::Whole,
            Some(Err(what)) => Walked::Wrong(what),
        },
        Format::WebP => reaches(webp::stated_length(&whole), length),
        Format::Bmp => match bmp::stated_length(&whole) {
            Ok(stated) => reaches(Some(stated), length),
            Err(reason) => return Err(format!("cannot be decoded: {reason}")),
        },
    };
    let is_all = whole.len() as u64 == length || matches!(format, Format::WebP | Format::Bmp);
    match walked {
        Walked::Wrong(what) => Err(format!("is damaged: {what}")),
        Walked::Cut if is_all => Err("is cut short: its end is missing".into()),
        Walked::Cut | Walked::Whole => Ok(length),
    }
}

/// Whether a file of this length is as long as its first bytes state.
fn reaches(stated: Option<u64>, length: u64) -> Walked {
    if stated.is_some_and(|stated| stated <= length) { Walked::Whole } else { Walked::Cut }
}

/// What going from part to part of a file's bytes came to.
#[derive(Debug, PartialEq)]
pub(super) enum Walked {
    /// The end mark is there.
    Whole,
    /// The bytes end before it.
    Cut,
    /// Something is not what it must be.
    Wrong(&'static str),
}

/// Goes from chunk to chunk: length, name, data, checksum.
fn walk_png(bytes: &[u8]) -> Walked {
    let mut at = PNG.len();
    loop {
        let Some((head, _)) = bytes.get(at..).and_then(|rest| rest.split_first_chunk::<8>()) else {
            return Walked::Cut;
        };
        let [a, b, c, d, name @ ..] = *head;
        if at == PNG.len() && name != *b"IHDR" {
            return Walked::Wrong("a PNG has its header first");
        }
        at += 12 + u32::from_be_bytes([a, b, c, d]) as usize;
        match (name, bytes.len() >= at) {
            (_, false) => return Walked::Cut,
            (name, true) if name == *b"IEND" => return Walked::Whole,
            _ => {}
        }
    }
}

/// Goes from segment to segment: a mark, a length, data; and over the coded pixels, in which a mark's first byte is
/// followed by 0 or by the number of a restart.
fn walk_jpeg(bytes: &[u8]) -> Walked {
    let mut at = 2;
    loop {
        let Some(&[first, mark]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else {
            return Walked::Cut;
        };
        match (first, mark) {
            (0xFF, 0xFF) => at += 1,
            (0xFF, 0xD9) => return Walked::Whole,
            (0xFF, 0x01 | 0xD0..=0xD8) => at += 2,
            (0xFF, _) => {
                let Some(segment) = bytes.get(at + 2..).filter(|rest| rest.len() >= 2) else {
                    return Walked::Cut;
                };
                let is_frame = matches!(mark, 0xC0..=0xCF) && !matches!(mark, 0xC4 | 0xC8 | 0xCC);
                if is_frame && segment.get(5..7).is_some_and(|width| *width == [0, 0]) {
                    return Walked::Wrong("a JPEG without any columns");
                }
                at += 2 + usize::from(u16::from_be_bytes([segment[0], segment[1]]));
                if mark == 0xDA {
                    at = after_pixels(bytes, at);
                }
            }
            _ => return Walked::Wrong("a segment of a JPEG does not begin where it must"),
        }
    }
}

/// The place of the next mark.
fn after_pixels(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let is_mark = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xD0..=0xD7);
    rest.windows(2).position(is_mark).map_or(bytes.len(), |place| at + place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, ImageFormat, RgbImage};

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let image = RgbImage::from_fn(40, 30, |x, y| [x as u8 * 6, y as u8 * 8, 99].into());
        let mut bytes = std::io::Cursor::new(Vec::new());
        DynamicImage::from(image).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn looked(bytes: &[u8]) -> Result<u64, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        look(&path)
    }

    #[test]
    fn whole_images_are_found_whole_also_where_something_follows() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let mut bytes = encoded(format);
            assert_eq!(looked(&bytes), Ok(bytes.len() as u64));
            bytes.extend([0; 3000]);
            assert_eq!(looked(&bytes), Ok(bytes.len() as u64));
        }
    }

    #[test]
    fn every_cut_is_found() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let bytes = encoded(format);
            for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
                assert!(looked(&bytes[..length]).is_err(), "{format:?}, {length} bytes");
            }
        }
        // The mark of an end inside of a preview is not the image's.
        let mut bytes = encoded(ImageFormat::Jpeg);
        bytes.splice(2..2, [&[0xFF, 0xE1, 0, 8][..], &[0, 0, 0, 0], &JPEG_END].concat());
        assert!(looked(&bytes).is_ok());
        bytes.truncate(bytes.len() - 2);
        assert_eq!(looked(&bytes), Err("is cut short: its end is missing".into()));
    }

    #[test]
    fn what_is_no_image_is_told() {
        assert_eq!(looked(b""), Err("is empty".into()));
        assert_eq!(looked(b"some text"), Err("is none of JPEG, PNG, WebP, GIF and BMP".into()));
        assert!(looked(b"\xFF\xD8\xFFsome text").unwrap_err().starts_with("is "));
        assert!(looked(&[&PNG[..], b"some text that is no header"].concat()).is_err());
        assert!(look(Path::new("/nowhere/a.jpg")).unwrap_err().starts_with("could not be read"));
    }
}
