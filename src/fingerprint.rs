//! A hash of data sets and checkpoints that does not depend on the machine.

/// Mixes 64-bit words one after the other, by FNV-1a's step on words instead of bytes, with the upper bits folded down. It
/// tells data sets apart and notices damage; it is not a cryptographic hash.
pub(crate) struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint(0xCBF2_9CE4_8422_2325)
    }
}

impl Fingerprint {
    fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }

    /// Adds a fixed count of numbers.
    pub fn numbers(&mut self, numbers: impl IntoIterator<Item = u64>) {
        numbers.into_iter().for_each(|number| self.word(number));
    }

    /// Adds bytes and their count.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    /// Adds the bits of floats, and their count.
    pub fn floats(&mut self, floats: &[f32]) {
        self.word(floats.len() as u64);
        self.numbers(floats.iter().map(|float| u64::from(float.to_bits())));
    }

    /// Adds integers and their count.
    pub fn integers(&mut self, integers: &[i32]) {
        self.word(integers.len() as u64);
        self.numbers(integers.iter().map(|&integer| integer as u64));
    }

    /// The hash, as 16 hex digits.
    pub fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> String {
        let mut fingerprint = Fingerprint::default();
        fingerprint.bytes(bytes);
        fingerprint.hex()
    }

    /// The known answer pins the hash, since a checkpoint's fingerprint must match on another machine and in a later version.
    #[test]
    fn it_depends_on_every_byte_and_on_the_length() {
        assert_eq!(of(b"a text of some length"), "7cc2d58f9e69ef65");
        assert_ne!(of(b"a text of some length"), of(b"a text of some lengtH"));
        assert_ne!(of(b"a text of some length"), of(b"A text of some length"));
        assert_ne!(of(&[1, 2]), of(&[1, 2, 0]));
    }
}
