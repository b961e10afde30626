//! Messages of Protocol Buffers, as far as ONNX and TensorBoard need them.

/// The number of a field's kind in its tag.
const VARINT: u64 = 0;
#[cfg(feature = "cli")]
const DOUBLE: u64 = 1;
const BYTES: u64 = 2;
const FLOAT: u64 = 5;

/// A message in the making. Fields may come in any order, and a repeated field is written once for each value.
#[derive(Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Seven bits a byte, the lowest first; the eighth bit says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    /// A whole number; a negative one takes ten bytes.
    pub fn int(mut self, field: u64, value: i64) -> Self {
        self.tag(field, VARINT);
        self.varint(value as u64);
        self
    }

    pub fn ints(self, field: u64, values: &[i64]) -> Self {
        values.iter().fold(self, |own, value| own.int(field, *value))
    }

    pub fn float(mut self, field: u64, value: f32) -> Self {
        self.tag(field, FLOAT);
        self.0.extend(value.to_le_bytes());
        self
    }

    #[cfg(feature = "cli")]
    pub fn double(mut self, field: u64, value: f64) -> Self {
        self.tag(field, DOUBLE);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.tag(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub fn texts<'a>(self, field: u64, texts: impl IntoIterator<Item = &'a String>) -> Self {
        texts.into_iter().fold(self, |own, text| own.text(field, text))
    }

    pub fn message(self, field: u64, message: Message) -> Self {
        self.bytes(field, &message.0)
    }

    pub fn messages(self, field: u64, messages: impl IntoIterator<Item = Message>) -> Self {
        messages.into_iter().fold(self, |own, message| own.message(field, message))
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_bytes_of_the_encoding() {
        // 150 and "testing" are the examples of the encoding's description.
        let inner = Message::default().int(1, 150);
        let message = Message::default().message(3, inner).text(2, "testing").float(1, 1.0);
        let expected =
            [&[0x1a, 3, 0x08, 0x96, 0x01], &[0x12, 7][..], b"testing", &[0x0d, 0, 0, 0x80, 0x3f]];
        assert_eq!(message.into_bytes(), expected.concat());
        let negative = Message::default().ints(20, &[-1, 1]).into_bytes();
        let expected = [&[0xa0, 1][..], &[0xff; 9], &[1], &[0xa0, 1, 1]];
        assert_eq!(negative, expected.concat());
    }

    #[cfg(feature = "cli")]
    #[test]
    fn a_double_has_eight_bytes() {
        let double = Message::default().double(1, 1.0).into_bytes();
        assert_eq!(double, [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    }
}
