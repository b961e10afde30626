//! What an ONNX file holds, read without Python.

use std::collections::BTreeMap;

/// The fields of a message: number, and the number or the bytes that it holds.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn taken<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                Field::Bytes(taken(&mut bytes, length))
            }
            5 => Field::Bytes(taken(&mut bytes, 4)),
            other => panic!("a field of kind {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn all(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let own = fields(bytes).into_iter().filter(|(field, _)| *field == number);
    let bytes = own.map(|(_, field)| match field {
        Field::Bytes(bytes) => bytes,
        Field::Number(_) => panic!("field {number} is a number"),
    });
    bytes.collect()
}

fn numbers(bytes: &[u8], number: u64) -> Vec<u64> {
    let own = fields(bytes).into_iter().filter(|(field, _)| *field == number);
    let numbers = own.map(|(_, field)| match field {
        Field::Number(value) => value,
        Field::Bytes(_) => panic!("field {number} is not a number"),
    });
    numbers.collect()
}

fn text(bytes: &[u8], number: u64) -> String {
    String::from_utf8(all(bytes, number).concat()).unwrap()
}

/// An ONNX file. The numbers of the fields are those of `onnx.proto`.
pub(super) struct OnnxFile {
    /// The operators of the nodes, in order.
    pub operators: Vec<String>,
    /// Extents and values of the constants in floats.
    pub constants: BTreeMap<String, (Vec<u64>, Vec<f32>)>,
    /// The texts, by key.
    pub texts: BTreeMap<String, String>,
    pub description: String,
    /// The version of the operators.
    pub version: u64,
}

impl OnnxFile {
    pub fn of(bytes: &[u8]) -> OnnxFile {
        let graph = all(bytes, 7)[0];
        let constants = all(graph, 5).into_iter().filter(|own| numbers(own, 2) == [1]);
        let constant = |own: &[u8]| {
            let values = all(own, 9).concat();
            let values = values.as_chunks().0.iter().map(|own| f32::from_le_bytes(*own));
            let (extents, values) = (numbers(own, 1), values.collect::<Vec<_>>());
            assert_eq!(extents.iter().product::<u64>(), values.len() as u64, "{}", text(own, 8));
            (text(own, 8), (extents, values))
        };
        OnnxFile {
            operators: all(graph, 1).into_iter().map(|node| text(node, 4)).collect(),
            constants: constants.map(constant).collect(),
            texts: all(bytes, 14).into_iter().map(|own| (text(own, 1), text(own, 2))).collect(),
            description: text(bytes, 6),
            version: numbers(all(bytes, 8)[0], 2)[0],
        }
    }
}
