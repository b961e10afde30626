//! Any bytes as an image file: an error or whole pixels, never a panic.
#![no_main]

use std::path::Path;

use alrao::data::decode_image;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(image) = decode_image(bytes, Path::new("fuzzed.png")) {
        let pixels = image.width as usize * image.height as usize;
        assert!(pixels > 0);
        assert_eq!(image.pixels.len(), 3 * pixels);
    }
});
