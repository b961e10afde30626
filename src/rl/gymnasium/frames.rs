//! The messages to the Python process, and its answers.
//!
//! A frame is the length of the rest (`u32`), a kind (`u8`) and a body. All numbers are little-endian. Each request has
//! one answer. The process ends when its input ends.
//!
//! | request | body | answer | body |
//! | --- | --- | --- | --- |
//! | 1 open | version `u32`, copies `u32`, name | 101 opened | `alraogym`, version `u32`, numbers in an observation `u32`, actions `u32`, versions |
//! | 2 reset | for each: copy `u32`, seed `u64` | 102 reset | for each: observation `f32`... |
//! | 3 step | for each copy: action `u32`, or 2^32 - 1 for no step | 103 stepped | rewards `f64`..., flags `u8`... (1 terminated, 2 truncated, 4 no step), observations `f32`... |
//! | any | | 100 fault | reason `u8`, text |
//!
//! Texts are UTF-8 and run to the end of their frame.

use std::io::{Read, Write};
use std::ops::RangeInclusive;

use crate::rl::environment::{Outcome, Spaces};

const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"alraogym";
const FAULT: u8 = 100;
/// The longest text, in bytes.
const LONGEST_TEXT: usize = 8192;
/// The largest space.
const LARGEST_SPACE: u32 = 1 << 24;
/// The action of a copy that takes no step.
const STANDING: usize = u32::MAX as usize;
const NUMBERS_OF_OPENED: usize = 3;

/// A request.
pub(super) enum Request<'a> {
    /// Copies of an environment.
    Open { name: &'a str, count: usize },
    /// Copies and their seeds.
    Reset(&'a [(usize, u64)]),
    /// An action for each copy; `None` for no step.
    Step(&'a [Option<usize>]),
}

impl Request<'_> {
    fn kind(&self) -> u8 {
        match self {
            Request::Open { .. } => 1,
            Request::Reset(_) => 2,
            Request::Step(_) => 3,
        }
    }

    /// The kind of its answer.
    pub fn answer(&self) -> u8 {
        FAULT + self.kind()
    }

    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let mut number = |number: usize| body.extend_from_slice(&(number as u32).to_le_bytes());
        match *self {
            Request::Open { name, count } => {
                number(VERSION as usize);
                number(count);
                body.extend_from_slice(name.as_bytes());
            }
            Request::Reset(resets) => {
                for &(copy, seed) in resets {
                    body.extend_from_slice(&(copy as u32).to_le_bytes());
                    body.extend_from_slice(&seed.to_le_bytes());
                }
            }
            Request::Step(actions) => {
                actions.iter().for_each(|action| number(action.unwrap_or(STANDING)));
            }
        }
        let mut frame = (body.len() as u32 + 1).to_le_bytes().to_vec();
        frame.push(self.kind());
        frame.append(&mut body);
        frame
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    NoGymnasium,
    NotInstalled,
    NotMade,
    ContinuousActions,
    OtherActions,
    OtherObservation,
    Failed,
}

impl Reason {
    /// In the order of their numbers, which begin at 1.
    const ALL: [Reason; 7] = [
        Reason::NoGymnasium,
        Reason::NotInstalled,
        Reason::NotMade,
        Reason::ContinuousActions,
        Reason::OtherActions,
        Reason::OtherObservation,
        Reason::Failed,
    ];
}

/// A request that was refused.
#[derive(Debug)]
pub(super) struct Fault {
    pub reason: Reason,
    pub text: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The process has closed its pipe.
    Gone,
    /// The answer is not valid.
    Damaged(String),
    Fault(Fault),
}

/// Sends a frame.
pub(super) fn write(pipe: &mut impl Write, frame: &[u8]) -> Result<(), ReadError> {
    pipe.write_all(frame).and_then(|()| pipe.flush()).map_err(|_| ReadError::Gone)
}

/// The body of the next frame, which must have the expected kind and one of `lengths`.
pub(super) fn read(
    pipe: &mut impl Read,
    expected: u8,
    lengths: RangeInclusive<usize>,
) -> Result<Vec<u8>, ReadError> {
    let mut header = [0; 5];
    pipe.read_exact(&mut header).map_err(|_| ReadError::Gone)?;
    let [a, b, c, d, kind] = header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let allowed = if kind == FAULT { 1..=1 + LONGEST_TEXT } else { lengths };
    let body = length.checked_sub(1).filter(|body| allowed.contains(body));
    let Some(body) = body.filter(|_| kind == FAULT || kind == expected) else {
        let message = format!("kind {kind}, length {length}, where kind {expected} was due");
        return Err(ReadError::Damaged(message));
    };
    let mut bytes = vec![0; body];
    pipe.read_exact(&mut bytes).map_err(|_| ReadError::Gone)?;
    if kind == FAULT {
        let text = String::from_utf8_lossy(&bytes[1..]).into_owned();
        let number = usize::from(bytes[0]).wrapping_sub(1);
        let reason = Reason::ALL.get(number).copied().unwrap_or(Reason::Failed);
        return Err(ReadError::Fault(Fault { reason, text }));
    }
    Ok(bytes)
}

/// The answer to `Open`.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub spaces: Spaces,
    pub versions: String,
}

/// Allowed lengths of the body of an answer to `Open`.
pub(super) fn opened_lengths() -> RangeInclusive<usize> {
    let numbers = MAGIC.len() + 4 * NUMBERS_OF_OPENED;
    numbers..=numbers + LONGEST_TEXT
}

/// Reads the body of an answer to `Open`.
pub(super) fn opened(body: &[u8]) -> Result<Opened, ReadError> {
    let damaged = |message: String| Err(ReadError::Damaged(message));
    let (magic, rest) = body.split_at(MAGIC.len());
    if magic != MAGIC {
        return damaged("it is not our bridge".into());
    }
    let (numbers, versions) = rest.split_at(4 * NUMBERS_OF_OPENED);
    let number = |index: usize| u32::from_le_bytes(array(&numbers[4 * index..]));
    if number(0) != VERSION {
        return damaged(format!("it speaks version {} of the frames, not {VERSION}", number(0)));
    }
    let (observation, actions) = (number(1), number(2));
    if ![observation, actions].iter().all(|size| (1..=LARGEST_SPACE).contains(size)) {
        return damaged(format!("{observation} numbers in an observation, {actions} actions"));
    }
    let spaces = Spaces { observation: observation as usize, actions: actions as usize };
    Ok(Opened { spaces, versions: String::from_utf8_lossy(versions).into_owned() })
}

/// Length of the body of an answer to `Reset`.
pub(super) fn reset_length(copies: usize, width: usize) -> usize {
    copies * 4 * width
}

/// Length of the body of an answer to `Step`.
pub(super) fn step_length(copies: usize, width: usize) -> usize {
    copies * (8 + 1 + 4 * width)
}

/// Reads the body of an answer to `Step`, which must have the right length.
pub(super) fn outcomes(
    body: &[u8],
    copies: usize,
    observations: &mut [f32],
) -> Vec<Option<Outcome>> {
    let (rewards, rest) = body.split_at(8 * copies);
    let (flags, shown) = rest.split_at(copies);
    let width = observations.len() / copies.max(1);
    let rows = observations.chunks_mut(width.max(1)).zip(shown.chunks(4 * width.max(1)));
    let rewards = rewards.chunks_exact(8).map(|bytes| f64::from_le_bytes(array(bytes)));
    let outcomes = rewards.zip(flags).zip(rows).map(|((reward, flags), (row, shown))| {
        (flags & 4 == 0).then(|| {
            floats(shown, row);
            Outcome { reward, terminated: flags & 1 != 0, truncated: flags & 2 != 0 }
        })
    });
    outcomes.collect()
}

/// Fills `numbers` from bytes.
pub(super) fn floats(bytes: &[u8], numbers: &mut [f32]) {
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
        *number = f32::from_le_bytes(array(bytes));
    }
}

/// The first `N` bytes.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|index| bytes[index])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 1).to_le_bytes();
        [&length[..], &[kind], body].concat()
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(body) = read(&mut &bytes[..], bytes.get(4).copied().unwrap_or(0), 0..=80) {
                prop_assert_eq!(&body, &bytes[5..5 + body.len()]);
            }
            if opened_lengths().contains(&bytes.len()) {
                prop_assert!(opened(&bytes).is_err());
            }
        }

        #[test]
        fn a_fault_gives_its_reason_and_text(number in any::<u8>(), text in ".{0,40}") {
            let bytes = frame(FAULT, &[&[number], text.as_bytes()].concat());
            let Err(ReadError::Fault(fault)) = read(&mut &bytes[..], 103, 5..=5) else {
                panic!("it is a fault");
            };
            prop_assert_eq!(fault.text, text);
            let known = Reason::ALL.get(usize::from(number).wrapping_sub(1));
            prop_assert_eq!(fault.reason, known.copied().unwrap_or(Reason::Failed));
        }
    }

    #[test]
    fn a_frame_that_breaks_off_is_no_frame() {
        let whole = frame(102, &[1, 2, 3, 4]);
        assert_eq!(read(&mut &whole[..], 102, 4..=4).unwrap(), [1, 2, 3, 4]);
        for length in 0..whole.len() {
            assert!(matches!(read(&mut &whole[..length], 102, 4..=4), Err(ReadError::Gone)));
        }
    }
}
