//! TensorBoard's event files, written from a run's metrics.
//!
//! An event file is a row of records: the length, a checksum of it, the bytes, a checksum of them. Each holds one message `Event` of
//! TensorFlow's `event.proto`, in the encoding of protocol buffers.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::history::{EpochLine, History, StepLine, TestLine};
use super::scale::number;
use crate::error::{Error, Result};
use crate::protobuf::Message;

/// The folder in a run directory, and the file in it. TensorBoard knows event files by `tfevents` in their names.
const FOLDER: &str = "tensorboard";
const FILE: &str = "events.out.tfevents.0.alrao";

/// The event file of a run: each logged step, each epoch and the test as scalars.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
    /// Learning rates of the classifiers, which name their weights.
    rates: Vec<f64>,
    /// Lines of the metrics that are written.
    steps: usize,
    epochs: usize,
    has_test: bool,
}

impl EventFile {
    /// Whether a run directory has the file.
    pub fn is_there(run: &Path) -> bool {
        run.join(FOLDER).join(FILE).is_file()
    }

    /// Begins the file in a run directory anew: the lines of a resumed run are written again.
    pub fn create(run: &Path, rates: &[f64]) -> Result<Self> {
        let path = run.join(FOLDER).join(FILE);
        let file = fs::create_dir_all(run.join(FOLDER)).and_then(|()| File::create(&path));
        let file = file.map_err(|error| Error::write(&path, error))?;
        let mut own =
            EventFile { path, file, rates: rates.to_vec(), steps: 0, epochs: 0, has_test: false };
        own.write(&record(&at(0).text(3, "brain.Event:2").into_bytes()))?;
        Ok(own)
    }

    /// Writes the lines that were added since the last call.
    pub fn update(&mut self, history: &History) -> Result<()> {
        let mut bytes = Vec::new();
        for step in &history.steps()[self.steps..] {
            bytes.extend(event(step.step, &self.of_step(step)));
        }
        for epoch in &history.epochs()[self.epochs..] {
            bytes.extend(event(epoch.epoch, &of_epoch(epoch)));
        }
        if let Some(test) = history.test().filter(|_| !self.has_test) {
            bytes.extend(event(test.epoch, &of_test(test)));
            self.has_test = true;
        }
        (self.steps, self.epochs) = (history.steps().len(), history.epochs().len());
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::write(&self.path, error))
    }

    fn of_step(&self, step: &StepLine) -> Vec<Scalar> {
        let mut scalars =
            vec![("step/loss".to_owned(), step.loss), ("step/accuracy".to_owned(), step.accuracy)];
        for (number_of, weight) in step.posterior.iter().enumerate() {
            // Two digits, so that TensorBoard's order by name is that of the rates.
            let rate = self
                .rates
                .get(number_of)
                .map_or(String::new(), |rate| format!(" rate {}", number(*rate)));
            scalars.push((format!("posterior/{:02}{rate}", number_of + 1), *weight));
        }
        scalars
    }
}

/// A name and a value; `None` if it is missing or not finite.
type Scalar = (String, Option<f64>);

fn of_epoch(epoch: &EpochLine) -> Vec<Scalar> {
    let values = [
        ("train_loss", epoch.train_loss),
        ("train_accuracy", epoch.train_accuracy),
        ("valid_loss", epoch.valid_loss),
        ("valid_accuracy", epoch.valid_accuracy),
        ("valid_mse", epoch.valid_mse),
        ("valid_mae", epoch.valid_mae),
        ("valid_r2", epoch.valid_r2),
        ("return", epoch.mean_return),
        ("training_return", epoch.training_return),
    ];
    values.map(|(name, value)| (format!("epoch/{name}"), value)).into()
}

fn of_test(test: &TestLine) -> Vec<Scalar> {
    let values = [
        ("loss", test.loss),
        ("accuracy", test.accuracy),
        ("mse", test.mse),
        ("mae", test.mae),
        ("r2", test.r2),
        ("return", test.mean_return),
    ];
    values.map(|(name, value)| (format!("test/{name}"), value)).into()
}

/// The record of an event with the scalars that have a value; nothing if none has one.
fn event(step: u64, scalars: &[Scalar]) -> Vec<u8> {
    let with_value = scalars.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let values: Vec<Message> = with_value
        .map(|(name, value)| Message::default().text(1, name).float(2, value as f32))
        .collect();
    if values.is_empty() {
        return Vec::new();
    }
    record(&at(step).message(5, Message::default().messages(1, values)).into_bytes())
}

/// An event of now, without content.
fn at(step: u64) -> Message {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Message::default().double(1, since.as_secs_f64()).int(2, step as i64)
}

/// A record of an event file.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked_checksum(&length), bytes, &masked_checksum(bytes)].concat()
}

/// CRC-32C, rotated and shifted as TensorFlow does, so that a checksum of bytes with checksums in them stays useful.
fn masked_checksum(bytes: &[u8]) -> [u8; 4] {
    checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C (Castagnoli), bit by bit: event files are small.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4.
    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(checksum(&rising), 0x46dd_794e);
    }

    #[test]
    fn what_has_no_value_is_left_out() {
        assert!(event(3, &[("loss".into(), None)]).is_empty());
        let record = event(300, &[("a".into(), Some(1.0)), ("b".into(), None)]);
        let payload = &record[12..record.len() - 4];
        // After the time: step 300, then a summary of one value: tag "a", 1.0.
        let expected =
            [2 << 3, 0xac, 2, 5 << 3 | 2, 10, 1 << 3 | 2, 8, 1 << 3 | 2, 1, b'a', 2 << 3 | 5];
        assert_eq!(payload[9..20], expected);
        assert_eq!(payload[20..], 1f32.to_le_bytes());
        assert_eq!(record[..8], (payload.len() as u64).to_le_bytes());
    }
}
