//! The check of a safetensors file, in plain words, before its tensors are used.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use safetensors::tensor::Metadata;
use safetensors::{SafeTensorError, SafeTensors};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::mistaken;
use crate::error::{Error, Result};

/// Bytes before the header: its length.
const LENGTH: usize = 8;

/// The tensors in a file's bytes, and its header; `path` is for messages.
///
/// # Errors
/// [`Error::Input`] if the bytes are no whole safetensors file, or if its header has a key twice.
pub(crate) fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<(Metadata, SafeTensors<'a>)> {
    let wrong = |reason: String| match mistaken(bytes) {
        Some(what) => Error::file(path, what),
        None => Error::file(path, format!("is not a complete safetensors file: {reason}")),
    };
    let Duplicate(key) = header(bytes)
        .and_then(|text| serde_json::from_str(text).map_err(not_json))
        .map_err(wrong)?;
    if let Some(key) = key {
        let message = format!("has the key '{key}' twice in its header: write the file anew");
        return Err(Error::file(path, message));
    }
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| wrong(plain(&e)))?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| wrong(plain(&e)))?;
    Ok((metadata, tensors))
}

/// The header's text.
fn header(bytes: &[u8]) -> std::result::Result<&str, String> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        let count = bytes.len();
        return Err(format!("it has {count} bytes, and the header's length alone takes {LENGTH}"));
    };
    if rest.first().is_some_and(|first| *first != b'{') {
        return Err("it does not begin like one".into());
    }
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let header = header.ok_or_else(|| {
        let left = rest.len();
        format!(
            "its header would have {length} bytes, and the file has only {left} after the length"
        )
    })?;
    std::str::from_utf8(header).map_err(|_| "its header is not text".into())
}

fn not_json(error: serde_json::Error) -> String {
    format!("its header is not JSON: {error}")
}

fn plain(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            "its tensors do not end where the file ends; it is cut short, or something follows"
                .into()
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor '{name}' does not begin where the one before it ends")
        }
        SafeTensorError::TensorInvalidInfo => {
            "a tensor has more or fewer bytes than its shape and type need".into()
        }
        SafeTensorError::ValidationOverflow => "a tensor's shape is larger than any memory".into(),
        SafeTensorError::InvalidHeaderDeserialization(error) => {
            format!("its header does not describe tensors: {error}").replace('`', "'")
        }
        // The command line shows names in backticks as flags.
        other => other.to_string().replace('`', "'"),
    }
}

/// The first key that an object of some JSON has twice, at any depth.
struct Duplicate(Option<String>);

impl<'de> Deserialize<'de> for Duplicate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Duplicates).map(Duplicate)
    }
}

struct Duplicates;

impl<'de> Visitor<'de> for Duplicates {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let (mut seen, mut first) = (HashSet::new(), None);
        while let Some((key, Duplicate(inner))) = map.next_entry::<String, Duplicate>()? {
            let is_new = seen.insert(key.clone());
            first = first.or(inner).or((!is_new).then_some(key));
        }
        Ok(first)
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut list: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut first = None;
        while let Some(Duplicate(inner)) = list.next_element()? {
            first = first.or(inner);
        }
        Ok(first)
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn message(bytes: &[u8]) -> String {
        let error = parse(bytes, Path::new("x")).err().map(|error| error.to_string());
        error.unwrap_or_default()
    }

    fn entry(name: &str, start: usize) -> String {
        let end = start + 1;
        format!(r#""{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{start},{end}]}}"#)
    }

    #[test]
    fn a_key_that_is_there_twice_is_named() {
        let twice = |first: &str, second: &str| format!("{{{first},{second}}}");
        let one = entry("a", 0);
        assert_eq!(message(&file(&format!("{{{one}}}"), &[7])), "");
        let metadata = r#""__metadata__":{"k":"1","k":"2"}"#;
        let field = one.replace(r#""shape""#, r#""dtype":"U8","shape""#);
        for (header, key, data) in [
            (twice(&one, &one), "a", 1),
            (twice(&one, &entry("a", 1)), "a", 2),
            (twice(&one, &entry(r"\u0061", 1)), "a", 2),
            (twice(metadata, &one), "k", 1),
            (twice(r#""__metadata__":{}"#, r#""__metadata__":{}"#), "__metadata__", 0),
            (format!("{{{field}}}"), "dtype", 1),
        ] {
            let expected =
                format!("x: has the key '{key}' twice in its header: write the file anew");
            assert_eq!(message(&file(&header, &vec![0; data])), expected, "{header}");
        }
    }

    #[test]
    fn other_faults_are_told_in_plain_words() {
        let whole = format!("{{{},{}}}", entry("a", 0), entry("b", 1));
        for (bytes, words) in [
            (b"{}".to_vec(), "it has 2 bytes, and the header's length alone takes 8"),
            (b"not tensors at all".to_vec(), "it does not begin like one"),
            (file("{\"a\": 1}", &[])[..12].to_vec(), "and the file has only 4 after the length"),
            (file("[1, 2]", &[]), "it does not begin like one"),
            (file("{", &[]), "its header is not JSON"),
            (file(&whole, &[0]), "it is cut short, or something follows"),
            (file(&whole, &[0; 3]), "it is cut short, or something follows"),
            (file(&whole.replace("[1,2]", "[2,3]"), &[0; 3]), "tensor 'b' does not begin where"),
            (file(&whole.replace("[1]", "[2]"), &[0; 2]), "than its shape and type need"),
            (file(&whole.replace("U8", "U9"), &[0; 2]), "'U9'"),
            (b"<!doctype html><title>404</title>".to_vec(), "is a web page"),
            (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "git lfs pull gets it"),
            (b"PK\x03\x04 and so on".to_vec(), "PyTorch's .pt"),
        ] {
            let message = message(&bytes);
            assert!(message.contains(words) && !message.contains('`'), "{message}");
        }
    }
}
