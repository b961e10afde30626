//! Any bytes as a text file: an error, or a vocabulary that survives being written and read, never a panic.
#![no_main]

use std::path::Path;

use alrao::data::{TokenKind, Vocabulary, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = text::parse(bytes.to_vec(), Path::new("fuzzed.txt")) else { return };
    assert!(!text.is_empty());
    for kind in [TokenKind::Character, TokenKind::Word] {
        let vocabulary = Vocabulary::of(kind, [text.as_str()]);
        assert!(vocabulary.encode(&text).is_ok());
        assert_eq!(Vocabulary::from_token_list(kind, &vocabulary.token_list()), vocabulary);
    }
});
