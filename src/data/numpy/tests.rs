//! Tests on whole and damaged arrays in memory.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::*;
use crate::data::{Input, Inputs, Part, Targets, Task};

/// A file as NumPy writes it.
fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
    header += &" ".repeat(63 - (10 + header.len()) % 64);
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
}

fn floats(shape: &str, values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    npy("'<f4'", "False", shape, &bytes)
}

fn labels(values: &[u8]) -> Vec<u8> {
    npy("'|u1'", "False", &format!("({},)", values.len()), values)
}

/// An archive, with the extra field that NumPy adds to each member.
fn npz(members: &[(&str, Vec<u8>)], is_deflated: bool) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut checksum = flate2::Crc::new();
        checksum.update(content);
        let packed = match is_deflated {
            true => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            false => content.clone(),
        };
        let method = if is_deflated { 8u16 } else { 0 };
        let offset = archive.len() as u32;
        let sizes = [checksum.sum(), packed.len() as u32, content.len() as u32];
        let sizes = sizes.map(u32::to_le_bytes).concat();
        let common = |extra: u16| {
            let mut bytes = [&[45, 0, 0, 0][..], &method.to_le_bytes(), &[0; 4], &sizes].concat();
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend(extra.to_le_bytes());
            bytes
        };
        archive.extend([ARCHIVE, &common(20), name.as_bytes()].concat());
        archive.extend([&[1, 0, 16, 0][..], &[0; 16], &packed].concat());
        directory
            .extend([&b"PK\x01\x02-\0"[..], &common(0), &[0; 10], &offset.to_le_bytes()].concat());
        directory.extend(name.as_bytes());
    }
    let (place, count) = (archive.len() as u32, members.len() as u16);
    archive.extend(&directory);
    archive
        .extend([&b"PK\x05\x06\0\0\0\0"[..], &count.to_le_bytes(), &count.to_le_bytes()].concat());
    archive.extend([(directory.len() as u32).to_le_bytes(), place.to_le_bytes()].concat());
    archive.extend([0, 0]);
    archive
}

fn options() -> LoadOptions {
    LoadOptions { valid_split: 0.0, ..LoadOptions::default() }
}

fn message(bytes: &[u8]) -> String {
    let message =
        parse(bytes, Path::new("some.npz"), &options()).map(|_| ()).unwrap_err().to_string();
    message.strip_prefix("some.npz: ").unwrap().to_owned()
}

fn message_of_array(array: Vec<u8>) -> String {
    let message = message(&npz(&[("inputs.npy", array), ("labels.npy", labels(&[0, 1]))], false));
    message.strip_prefix("array 'inputs': ").unwrap().to_owned()
}

#[test]
fn stored_and_deflated_archives_and_folders_are_the_same() {
    let wide: Vec<u8> = [0i64, 1].iter().flat_map(|label| label.to_le_bytes()).collect();
    let members = [
        ("inputs.npy", floats("(2, 3)", &[1.0, 2.0, 3.0, -4.0, 5.0, 6.5])),
        ("labels.npy", labels(&[1, 0])),
        ("valid_inputs.npy", floats("(2, 3)", &[0.0; 6])),
        ("valid_labels.npy", npy("'<i8'", "False", "(2,)", &wide)),
    ];
    let folder = tempfile::tempdir().unwrap();
    members
        .iter()
        .for_each(|(name, array)| std::fs::write(folder.path().join(name), array).unwrap());
    let of = |deflated| parse(&npz(&members, deflated), Path::new("some"), &options()).unwrap();
    for arrays in [of(false), of(true), load_folder(folder.path(), &options()).unwrap()] {
        assert_eq!(arrays.train.inputs, Inputs::Floats(vec![1.0, 2.0, 3.0, -4.0, 5.0, 6.5]));
        assert_eq!(arrays.train.targets, Targets::Classes(vec![1, 0]));
        assert_eq!(arrays.part(Part::Valid).unwrap().len(), 2);
        assert_eq!(
            (arrays.sample, arrays.task),
            (Input::Vector { size: 3 }, Task::Classification { classes: 2 })
        );
    }
}

#[test]
fn numbers_of_other_types_are_converted() {
    let bytes =
        |values: &[f64]| values.iter().flat_map(|own| own.to_le_bytes()).collect::<Vec<_>>();
    let whole =
        |values: &[i32]| values.iter().flat_map(|own| own.to_le_bytes()).collect::<Vec<_>>();
    for (inputs, targets) in [
        (
            npy("'<f8'", "False", "(2, 1)", &bytes(&[1.0, 0.1])),
            npy("'<i4'", "False", "(2, 1)", &whole(&[7, -7])),
        ),
        (floats("(2, 1)", &[1.0, 0.1]), npy("'<f8'", "False", "(2, 1)", &bytes(&[7.0, -7.0]))),
    ] {
        let file = npz(&[("inputs.npy", inputs), ("targets.npy", targets)], false);
        let arrays = parse(&file, Path::new("some"), &options()).unwrap();
        assert_eq!(arrays.train.inputs, Inputs::Floats(vec![1.0, 0.1]));
        assert_eq!(arrays.train.targets, Targets::Values { values: vec![7.0, -7.0], columns: 1 });
    }
    let file = npz(
        &[
            ("images.npy", npy("'|u1'", "False", "(2, 1, 1, 2)", &[1, 2, 3, 4])),
            ("labels.npy", npy("'<i4'", "False", "(2,)", &whole(&[1, 0]))),
        ],
        true,
    );
    let arrays = parse(&file, Path::new("some"), &options()).unwrap();
    assert_eq!(arrays.train.inputs, Inputs::Bytes(vec![1, 2, 3, 4]));
    let large = npy("'<f8'", "False", "(2, 1)", &bytes(&[1.0, 1e300]));
    let file = npz(&[("inputs.npy", large), ("targets.npy", floats("(2,)", &[1.0, 2.0]))], false);
    let error = parse(&file, Path::new("some"), &options()).unwrap_err().to_string();
    let expected = "some: array 'inputs': has 1e300 at row 1, column 0, too large for 32 bits: scale the numbers down";
    assert_eq!(error, expected);
}

#[test]
fn arrays_in_fortran_order_are_put_in_c_order() {
    let file = |inputs| {
        npz(&[("inputs.npy", inputs), ("targets.npy", floats("(2,)", &[1.0, 2.0]))], false)
    };
    let bytes =
        |values: &[f32]| values.iter().flat_map(|own| own.to_le_bytes()).collect::<Vec<_>>();
    let fortran = npy("'<f4'", "True", "(2, 3)", &bytes(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    let arrays = parse(&file(fortran), Path::new("some"), &options()).unwrap();
    assert_eq!(arrays.train.inputs, Inputs::Floats(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let places: Vec<u8> = (0..24).collect();
    // NumPy: np.arange(24).reshape(2, 3, 4, order="F").ravel(order="C")[:6].
    assert_eq!(super::in_c_order(&places, &[2, 3, 4], 1)[..6], [0, 6, 12, 18, 2, 8]);
}

#[test]
fn other_arrays_are_refused() {
    for (array, expected) in [
        (npy("'>f4'", "False", "(2, 3)", &[0; 24]), "is big-endian (>f4): x.astype(\"<f4\")"),
        (npy("'|O'", "False", "(2, 3)", &[0; 24]), "holds Python's objects"),
        (npy("'<U2'", "False", "(3,)", &[0; 24]), "holds texts; for labels, np.unique(y"),
        (npy("'<f2'", "False", "(2, 3)", &[0; 12]), "holds <f2; x.astype(\"float32\")"),
        (npy("[('a', '<f4'), ('b', '<i8')]", "False", "(2,)", &[0; 24]), "holds [('a'"),
        (
            npy("'<f4'", "False", "(2, 3)", &[0; 23]),
            "is cut short: its shape [2, 3] takes 24 bytes",
        ),
        (
            npy("'<f4'", "False", "(2, 3)", &[0; 28]),
            "has 28 bytes, which its shape [2, 3] does not",
        ),
        (npy("'<f4'", "False", "(2, -3)", &[0; 24]), "has a header that is not NumPy's"),
        (b"\x93NUMPY\x01\0\xff\xff{".to_vec(), "is no whole .npy file"),
        (b"\x93NUMPY".to_vec(), "is no whole .npy file"),
    ] {
        let message = message_of_array(array);
        assert!(message.starts_with(expected), "{message}");
    }
    let floats_as_labels =
        [("inputs.npy", floats("(1, 1)", &[1.0])), ("labels.npy", floats("(1,)", &[1.0]))];
    assert!(message(&npz(&floats_as_labels, false)).contains("'labels': holds F32, not I64"));
    let unknown = [("x_train.npy", floats("(1, 1)", &[1.0]))];
    assert!(
        message(&npz(&unknown, false))
            .contains("'x_train'. It has: 'x_train'. It may have: images")
    );
    assert!(message(&npz(&[("archive/data.pkl", vec![1])], false)).contains("PyTorch's .pt"));
}

#[test]
fn damaged_archives_are_refused() {
    for is_deflated in [false, true] {
        let whole = npz(
            &[("inputs.npy", floats("(2, 1)", &[1.0, 2.0])), ("labels.npy", labels(&[0, 1]))],
            is_deflated,
        );
        for length in 0..whole.len() {
            assert!(parse(&whole[..length], Path::new("some"), &options()).is_err(), "{length}");
        }
        // Any byte may be wrong: an error, or what it was, never a panic.
        for place in 0..whole.len() {
            let mut other = whole.clone();
            other[place] ^= 0x41;
            let _ = parse(&other, Path::new("some"), &options());
        }
        let mut other = whole;
        let place = other.len() / 4;
        other[place] ^= 1;
        assert!(parse(&other, Path::new("some"), &options()).is_err());
    }
}
