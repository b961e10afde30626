//! The encoding of a text that is not UTF-8: a guess, and the command that converts it.

use std::path::Path;

/// A mark that begins a text in UTF-8, or nothing.
pub(super) const MARK: &str = "\u{feff}";

/// The bytes at a text's start that tell whether it is in UTF-16.
const HEAD: usize = 4096;

/// What a file in UTF-16 or UTF-32 is, and how to convert it; `None` for other files. Such a file may be valid UTF-8: of
/// English in UTF-16, every other byte is 0.
pub(super) fn wide(bytes: &[u8], path: &Path) -> Option<String> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let zeros =
        |first: usize| head.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let half = head.len() / 2;
    let is_filled = |zero: usize, other: usize| 2 * zero > half && 10 * other < half;
    let encoding = match head {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => "UTF-32",
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "UTF-16",
        // Of a few bytes nothing can be told.
        _ if half < 4 => return None,
        _ if is_filled(zeros(1), zeros(0)) => "UTF-16LE",
        _ if is_filled(zeros(0), zeros(1)) => "UTF-16BE",
        _ => return None,
    };
    let conversion = conversion(encoding, path);
    Some(format!("is not UTF-8 text but probably {encoding}: {conversion} converts it"))
}

/// Whether bytes have few of the control characters that no text has.
pub(super) fn may_be_text(bytes: &[u8]) -> bool {
    let is_control = |byte: &&u8| matches!(byte, 0..=8 | 0x0E..=0x1A | 0x1C..=0x1F | 0x7F);
    50 * bytes.iter().filter(is_control).count() <= bytes.len()
}

/// The likely encoding of bytes that are not UTF-8; `at` is the first faulty one.
pub(super) fn guess(bytes: &[u8], at: usize, path: &Path) -> String {
    let told = format!("is not UTF-8 text: byte {at} is invalid");
    let (mut characters, mut faults) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        characters += chunk.valid().chars().filter(|own| !own.is_ascii()).count();
        faults += chunk.invalid().len();
    }
    if !may_be_text(bytes) {
        return format!("{told}; it does not look like text in any encoding");
    }
    // Two bytes or more of a character that never ends; a single one may as well be a letter of Latin-1.
    let is_cut = bytes.len() - at > 1
        && std::str::from_utf8(&bytes[at..]).is_err_and(|error| error.error_len().is_none());
    if is_cut || characters >= faults {
        return format!("{told}; the rest looks like UTF-8, so the file is probably damaged there");
    }
    let letters = bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    if faults > letters {
        // Of a European language, most letters are ASCII.
        let conversion = conversion("ENCODING", path);
        return format!(
            "{told}; it is in an encoding of another script, such as Windows-1251 or KOI8-R for Cyrillic, GBK or Big5 for Chinese, \
             Shift-JIS or EUC-JP for Japanese, EUC-KR for Korean: {conversion} converts it from the right one"
        );
    }
    // Latin-1 has no printed characters there.
    let is_windows = bytes.iter().any(|byte| matches!(byte, 0x80..=0x9F));
    let (name, encoding) = match is_windows {
        true => ("Windows-1252", "WINDOWS-1252"),
        false => ("Latin-1", "ISO-8859-1"),
    };
    let conversion = conversion(encoding, path);
    format!("{told}; it is probably {name}: {conversion} converts it")
}

fn conversion(encoding: &str, path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = path.chars().all(|own| own.is_alphanumeric() || "/._-".contains(own));
    let path = if is_plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) };
    format!("iconv -f {encoding} -t UTF-8 {path} > new.txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, is_little: bool) -> Vec<u8> {
        let bytes = |own: u16| if is_little { own.to_le_bytes() } else { own.to_be_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn wide_characters_are_recognised() {
        let text = "It was n't black monday, said Zoë.\r\n";
        let marked = format!("{MARK}{text}");
        for (bytes, encoding) in [
            (utf16(&marked, true), "UTF-16"),
            (utf16(&marked, false), "UTF-16"),
            (utf16(text, true), "UTF-16LE"),
            (utf16(text, false), "UTF-16BE"),
            (marked.chars().flat_map(|own| u32::from(own).to_le_bytes()).collect(), "UTF-32"),
        ] {
            let told = wide(&bytes, Path::new("a b.txt")).unwrap();
            let command = format!("iconv -f {encoding} -t UTF-8 'a b.txt' > new.txt");
            assert!(told.contains(&command), "{told}");
        }
        for narrow in [text, "", "a", "a\0b", marked.as_str()] {
            assert_eq!(wide(narrow.as_bytes(), Path::new("a")), None, "{narrow:?}");
        }
    }

    #[test]
    fn another_script_is_told_from_a_european_language() {
        // "Привет мир" in Windows-1251, and "日本語" in EUC-JP.
        for bytes in [&b"\xcf\xf0\xe8\xe2\xe5\xf2 \xec\xe8\xf0"[..], b"\xc6\xfc\xcb\xdc\xb8\xec"] {
            let told = guess(bytes, 0, Path::new("a.txt"));
            assert!(told.contains("Windows-1251") && told.contains("EUC-JP"), "{told}");
        }
        assert!(guess(b"caf\xe9 au lait", 3, Path::new("a.txt")).contains("Latin-1"));
    }

    #[test]
    fn bytes_of_one_character_each_are_guessed() {
        let told = |bytes: &[u8]| {
            let at = std::str::from_utf8(bytes).unwrap_err().valid_up_to();
            guess(bytes, at, Path::new("a.txt"))
        };
        let latin = told(b"caf\xe9 au lait");
        assert!(latin.starts_with("is not UTF-8 text: byte 3 is invalid; it is probably Latin-1"));
        assert!(latin.ends_with("iconv -f ISO-8859-1 -t UTF-8 a.txt > new.txt converts it"));
        assert!(told(b"\x93caf\xe9\x94").contains("iconv -f WINDOWS-1252 -t"));
        assert!(told("zwölf Bögen€".as_bytes().split_at(15).0).contains("damaged"));
        assert!(told("ab€".as_bytes().split_at(4).0).contains("damaged"));
        assert!(told(&[0x80, 1, 2, 3, 255, 0, 7]).contains("does not look like text"));
    }
}
