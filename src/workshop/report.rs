//! The result of running a kernel file.

use serde::{Deserialize, Serialize};

use super::factors::Factors;
use crate::device::gpu::LaunchSample;

/// The result of running a kernel file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The shapes that passed, in words.
    pub passed: Vec<String>,
    /// The first failure; `None` if all passed.
    pub failure: Option<Failure>,
    /// The memory traffic, of the last shape; `None` after a failure.
    pub counts: Option<Counts>,
    /// The accesses of the last shape that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// The time on a GPU, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// The time of a file's launches on a GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The GPU.
    pub gpu: String,
    /// The shape, in words.
    pub shape: String,
    /// Microseconds of all launches, one after another.
    pub us: f64,
}

impl Measured {
    /// The GPU and the shape, as the end of a sentence.
    pub fn in_words(&self) -> String {
        format!("{}, for {}.", self.gpu, self.shape)
    }
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Two threads touch the same memory without synchronisation, one of them writing.
    Race,
    /// An access outside of an array.
    OutOfBounds,
    /// A read of unwritten memory.
    Unwritten,
    /// Threads wait at a barrier that others never reach.
    Deadlock,
    /// A block does not end.
    Endless,
    /// A misaligned access.
    Misaligned,
    /// A launch that no GPU takes.
    Launch,
    /// A result is wrong.
    WrongResult,
    /// An input was changed.
    ChangedInput,
    /// The result depends on the order in which threads run.
    OrderDependent,
    /// The kernel ended itself: an assertion, a division by zero, too many local variables.
    Trapped,
    /// The process that ran the kernel died.
    Crash,
    /// The file was not run: its header is wrong, or it cannot be compiled.
    Refused,
}

impl Fault {
    /// Parts of the simulator's messages, and what they tell.
    const SIGNS: [(&str, Fault); 17] = [
        ("race: ", Fault::Race),
        ("reads unwritten memory", Fault::Unwritten),
        ("deadlock: ", Fault::Deadlock),
        ("while thread", Fault::Deadlock),
        ("while lane", Fault::Deadlock),
        ("is not in its own mask", Fault::Deadlock),
        ("still running at its time limit", Fault::Endless),
        ("misaligned", Fault::Misaligned),
        ("not a multiple of", Fault::Misaligned),
        ("illegal access", Fault::OutOfBounds),
        (" bytes past the end", Fault::OutOfBounds),
        ("just past the end", Fault::OutOfBounds),
        (" bytes before the start", Fault::OutOfBounds),
        ("of an array of", Fault::OutOfBounds),
        ("of the shared array", Fault::OutOfBounds),
        ("of dynamic shared memory", Fault::OutOfBounds),
        ("launched with", Fault::Launch),
    ];

    /// The kind of failure that a message of the simulator tells of.
    pub(super) fn of(message: &str) -> Fault {
        let known = Fault::SIGNS.iter().find(|(sign, _)| message.contains(sign));
        match known {
            Some((_, fault)) => *fault,
            None if message.contains("shared memory") && message.contains("gets") => Fault::Launch,
            None => Fault::Trapped,
        }
    }

    /// What it means, and what to look at.
    pub fn explanation(self) -> &'static str {
        match self {
            Fault::Race => {
                "Two threads touch the same bytes, at least one of them writes, and nothing orders the two accesses. Should each thread have an \
                 element of its own? Then an index is wrong. If they share it, the accesses need an order: __syncthreads() \
                 gives one between threads of a block, __syncwarp() within a warp, and nothing between two blocks of one launch."
            }
            Fault::OutOfBounds => {
                "The address lies outside of the array. Is the index guarded where the last block or tile is not full, and is it computed \
                 in the right order of rows and columns?"
            }
            Fault::Unwritten => {
                "The memory holds whatever was there before: shared memory is not zero at first. Is every element written before \
                 it is read, also at the edges?"
            }
            Fault::Deadlock => {
                "All threads of a block must reach the same __syncthreads(), and all lanes of a mask the same warp function. So neither may \
                 stand in a branch that only some of them take, nor behind a return."
            }
            Fault::Endless => {
                "A block may run for two seconds and a file for a minute. Either a loop does not end for some thread (is its variable changed, and can \
                 its condition become false?), or the shape is too large for the simulator."
            }
            Fault::Misaligned => {
                "A vector of 8 or 16 bytes needs an address that is a multiple of its size, in every row."
            }
            Fault::Launch => "The launch that the header asks for is more than a GPU takes.",
            Fault::WrongResult => {
                "No access was wrong, but the numbers are not those of the reference."
            }
            Fault::ChangedInput => "The kernel may only read this array.",
            Fault::OrderDependent => {
                "Another order of threads gave other bits. No order is promised: an addition of floats by atomics, or the result \
                 of an unordered access, differs from run to run."
            }
            Fault::Trapped => {
                "The kernel was stopped by what the message says: an assertion, a trap, a division by zero, too many local variables, or something \
                 that a GPU does not take."
            }
            Fault::Crash => {
                "The kernels run in a process of their own, and something in the file has ended it: a function that ends a program, too much \
                 memory, or a wild address."
            }
            Fault::Refused => "The header is wrong, or the compiler refuses the code.",
        }
    }
}

impl Report {
    /// The report on a file that was not run.
    pub fn refused(message: &str) -> Report {
        let failure = Failure {
            fault: Fault::Refused,
            shape: String::new(),
            way: String::new(),
            message: message.into(),
        };
        Report { failure: Some(failure), ..Report::default() }
    }
}

impl Failure {
    /// The lines of the file of this name that the message names, in order.
    pub fn lines(&self, name: &str) -> Vec<usize> {
        let mut lines = Vec::new();
        let marked = format!("{name}:");
        for (place, _) in self.message.match_indices(&marked) {
            let rest = &self.message[place + marked.len()..];
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            lines.extend(digits.parse::<usize>().ok().filter(|line| *line > 0));
        }
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// What it means, and what to look at.
    pub fn explanation(&self) -> &'static str {
        match self.fault {
            Fault::Race if self.message.contains("is still copying to") => {
                "An asynchronous copy is in flight until the thread that started it has waited for its group: copy_async_wait<N>() with few \
                 enough groups left, and then a barrier, so that the other threads see it."
            }
            Fault::OutOfBounds if self.is_near_null() => {
                "The pointer is null, or an index from it. An array in `extern __shared__` has as many bytes as `shared` in the header says, \
                 and none without it."
            }
            fault => fault.explanation(),
        }
    }

    /// Whether the message is about an address in the first megabyte, which belongs to nothing.
    fn is_near_null(&self) -> bool {
        let address = self.message.split_once("illegal access to 0x").map(|(_, rest)| rest);
        let digits = address.and_then(|rest| rest.split(',').next());
        digits.and_then(|own| u64::from_str_radix(own, 16).ok()).is_some_and(|own| own < 1 << 20)
    }
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind.
    pub fault: Fault,
    /// The shape, in words.
    pub shape: String,
    /// How the threads ran, in words.
    pub way: String,
    /// What happened where.
    pub message: String,
}

/// The traffic of a launch, as the accesses of the code that the host's compiler made would cause it on a GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// The shape, in words.
    pub shape: String,
    /// The launches.
    pub launches: u64,
    /// Thread blocks of all launches.
    pub blocks: u64,
    /// Barriers of whole blocks, over all blocks.
    pub barriers: u64,
    /// Operations on numbers that the result needs.
    pub operations: f64,
    /// What the factors of its products are.
    #[serde(default)]
    pub factors: Factors,
    /// Bytes of the arrays: the least that a launch reads and writes.
    pub array_bytes: u64,
    /// Accesses to device memory.
    pub global: Traffic,
    /// Accesses to shared memory.
    pub shared: Traffic,
    /// The lines with accesses, in the order of the source.
    pub lines: Vec<LineCounts>,
}

/// The accesses of warps to one memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Accesses of a warp.
    pub requests: u64,
    /// 32-byte sectors of device memory, or wavefronts of shared memory.
    pub transactions: u64,
    /// The fewest transactions that could move the same bytes.
    pub least: u64,
    /// Lanes that took part.
    pub lanes: u64,
    /// Bytes that the lanes moved.
    pub bytes: u64,
}

impl Traffic {
    /// Transactions for each request; `None` without requests.
    pub fn per_request(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.transactions as f64 / self.requests as f64)
    }

    pub(super) fn add(&mut self, other: &Traffic) {
        self.requests += other.requests;
        self.transactions += other.transactions;
        self.least += other.least;
        self.lanes += other.lanes;
        self.bytes += other.bytes;
    }
}

/// The accesses at one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineCounts {
    /// Its number.
    pub line: usize,
    /// Whether the memory is shared memory.
    pub is_shared: bool,
    /// Whether the accesses are writes.
    pub is_write: bool,
    /// The accesses.
    pub traffic: Traffic,
}

/// The accesses of a run, up to its failure if it failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The shape, in words.
    pub shape: String,
    /// The lines with accesses, in the order of the source.
    pub lines: Vec<LineCounts>,
    /// The arrays in device memory.
    pub arrays: Vec<SampledArray>,
    /// The launches.
    pub launches: Vec<LaunchSample>,
}

/// An array in device memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampledArray {
    /// The name of the parameter.
    pub name: String,
    /// Bytes of an element.
    pub element: usize,
    /// Its extents, the last running fastest.
    pub shape: Vec<usize>,
}

impl Counts {
    /// The share of lanes that take part in the warps' accesses, from 0 to 1.
    pub fn active_lanes(&self) -> Option<f64> {
        let requests = self.global.requests + self.shared.requests;
        let lanes = self.global.lanes + self.shared.lanes;
        (requests > 0).then(|| lanes as f64 / (32 * requests) as f64)
    }

    /// Barriers of a block, on average.
    pub fn barriers_of_block(&self) -> f64 {
        self.barriers as f64 / self.blocks.max(1) as f64
    }

    /// Bytes that move between the SMs and device memory or its cache: whole sectors.
    pub fn global_bytes(&self) -> u64 {
        32 * self.global.transactions
    }

    /// Operations for each of these bytes.
    pub fn operations_per_byte(&self) -> f64 {
        self.operations / self.global_bytes().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_a_message_names_are_found() {
        let message = "f block (0, 0, 0) thread (1, 0, 0): a.cu:12: race: reads what thread (0, 0, 0) has written at a.cu:9";
        let failure = Failure {
            fault: Fault::Race,
            shape: String::new(),
            way: String::new(),
            message: message.into(),
        };
        assert_eq!(failure.lines("a.cu"), [9, 12]);
        assert!(failure.lines("b.cu").is_empty());
    }

    #[test]
    fn the_simulators_messages_tell_the_kind_of_failure() {
        for (message, fault) in [
            (
                "f block (0, 0, 0) thread (1, 0, 0): a.cu:3: race: reads what thread (0, 0, 0) of block (0, 0, 0) has written",
                Fault::Race,
            ),
            (
                "f: a.cu:3: illegal access 4 bytes past the end of an array of 40 bytes, `x`",
                Fault::OutOfBounds,
            ),
            (
                "f: a.cu:3: writes at byte 4096 of the shared array `tile` of 4096 bytes",
                Fault::OutOfBounds,
            ),
            (
                "f: a.cu:9: reads unwritten memory, at byte 0 of the shared array `tile` of 64 bytes",
                Fault::Unwritten,
            ),
            (
                "f: deadlock: threads 0-31 wait in __syncthreads at a.cu:8; threads 32-63 have left",
                Fault::Deadlock,
            ),
            ("a.cu:8: still running at its time limit: an endless loop", Fault::Endless),
            ("f: launched with 2048 threads a block", Fault::Launch),
            ("assert(x) at a.cu:2", Fault::Trapped),
        ] {
            assert_eq!(Fault::of(message), fault, "{message}");
        }
    }
}
