//! WebP, GIF and BMP beside Pillow's pixels, and damaged.

use safetensors::SafeTensors;

use super::decode::decode;
use super::look::look;
use crate::random::{Philox, Purpose};

const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/formats.safetensors");

/// A file's name and bytes, and its extents and pixels as Pillow converts it to RGB.
struct Golden {
    name: String,
    bytes: Vec<u8>,
    shape: Vec<usize>,
    pixels: Vec<u8>,
}

fn files() -> Vec<Golden> {
    let tensors = SafeTensors::deserialize(GOLDEN).unwrap();
    let mut names: Vec<_> =
        tensors.names().into_iter().filter_map(|name| name.strip_prefix("file.")).collect();
    names.sort_unstable();
    let one = |name: &str| {
        let pixels = tensors.tensor(&format!("pixels.{name}")).unwrap();
        Golden {
            name: name.into(),
            bytes: tensors.tensor(&format!("file.{name}")).unwrap().data().to_vec(),
            shape: pixels.shape().to_vec(),
            pixels: pixels.data().to_vec(),
        }
    };
    names.into_iter().map(one).collect()
}

fn looked(bytes: &[u8]) -> Result<u64, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    look(&path)
}

#[test]
fn every_kind_comes_out_as_from_pillow() {
    let files = files();
    assert!(files.len() > 30);
    for Golden { name, bytes, shape, pixels } in files {
        let image = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!([image.height as usize, image.width as usize, 3], shape[..], "{name}");
        // What a lossy WebP comes to depends on how its colours are enlarged.
        let most = if name.contains("lossy.webp") { 2 } else { 0 };
        let errors = image.pixels.iter().zip(&pixels).map(|(own, other)| own.abs_diff(*other));
        let largest = errors.max().unwrap();
        assert!(largest <= most, "{name}: {largest}");
        assert_eq!(looked(&bytes), Ok(bytes.len() as u64), "{name}");
        // Bytes may follow the end.
        let longer = [&bytes[..], &[0; 3000]].concat();
        assert_eq!(looked(&longer), Ok(longer.len() as u64), "{name}");
        assert_eq!(decode(&longer), Ok(image), "{name}");
    }
}

#[test]
fn every_cut_is_found() {
    for Golden { name, bytes, .. } in files() {
        // An animation is whole after its first frame, and rows may lack the bytes that fill up the last.
        let last = match &name[..] {
            "animated.gif" => bytes.len() / 2,
            _ if name.ends_with(".gif") => bytes.len() - 1,
            _ if name.ends_with(".bmp") => bytes.len() - 3,
            _ => bytes.len(),
        };
        for length in (0..last).step_by(11).chain([last - 1]) {
            assert!(looked(&bytes[..length]).is_err(), "{name}, {length} of {}", bytes.len());
        }
    }
}

#[test]
fn damage_is_an_error_or_other_pixels() {
    let mut stream = Philox::new(6, Purpose::Data).stream(1);
    let mut decoded = 0;
    for Golden { bytes, .. } in files() {
        for _ in 0..200 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + stream.below(3) {
                let place = stream.below(bytes.len() as u64) as usize;
                damaged[place] = stream.bits() as u8;
            }
            if stream.below(3) == 0 {
                damaged.truncate(stream.below(bytes.len() as u64) as usize);
            }
            if let Ok(image) = decode(&damaged) {
                decoded += 1;
                assert_eq!(image.pixels.len(), 3 * image.width as usize * image.height as usize);
            }
        }
    }
    assert!(decoded > 1000, "{decoded}");
}

#[test]
fn a_header_alone_takes_no_memory() {
    let files = files();
    let bytes = |name: &str| files.iter().find(|own| own.name == name).unwrap().bytes.clone();
    let (mut bmp, mut runs, mut gif) =
        (bytes("plain.bmp"), bytes("runs.bmp"), bytes("palette.gif"));
    for own in [&mut bmp, &mut runs] {
        own[18..22].copy_from_slice(&i32::MAX.to_le_bytes());
        own[22..26].copy_from_slice(&i32::MAX.to_le_bytes());
    }
    gif[6..10].fill(0xFF);
    // The extents of an extended WebP, three bytes each.
    let mut webp = bytes("alpha-lossy.webp");
    webp[24..30].fill(0xFF);
    for own in [&bmp, &runs, &gif] {
        let error = decode(own).unwrap_err();
        assert!(error.ends_with("more than 512 MiB of pixels"), "{error}");
    }
    assert!(decode(&webp).is_err());
    assert!(looked(&bmp).is_err());
}
