//! Trials: a launch is repeated with a wrong version of its kernel, to show that the program's tests would notice it. They
//! leave no trace: memory is put back.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use super::images::Loaded;
use crate::machine::fault::Fault;
use crate::machine::global::Ranges;
use crate::machine::grid;
use crate::machine::warp::Launch;
use crate::options::Execution;
use crate::ptx::change::Change;

/// A change, and whether a launch has noticed it.
pub struct Trial {
    change: Change,
    is_noticed: bool,
    launches: usize,
}

impl Trial {
    fn is_over(&self) -> bool {
        self.is_noticed || self.launches >= MOST_LAUNCHES
    }
}

/// New trials for every `step`-th of a kernel's changes, counted from a place that depends on the kernel's name; none if `step` is 0.
pub fn of(kernel: &str, changes: Vec<Change>, step: usize) -> Vec<Trial> {
    let start: usize = kernel.bytes().map(usize::from).sum();
    let is_chosen = |(place, _): &(usize, Change)| step > 0 && (start + place).is_multiple_of(step);
    let chosen = changes.into_iter().enumerate().filter(is_chosen);
    chosen.map(|(_, change)| Trial { change, is_noticed: false, launches: 0 }).collect()
}

/// The launches of a kernel after which a change that none has noticed is given up.
const MOST_LAUNCHES: usize = 200;
/// The limit of instructions in a trial, which may loop forever.
const LIMIT: u64 = 1 << 24;
/// Results differ from this relative difference on; rounding stays far below it.
const TOLERANCE: f32 = 0.01;

/// Runs a launch, then its unfinished trials, and restores the launch's result.
///
/// # Errors
/// The launch's own fault.
pub fn run(launch: &Launch, loaded: &Loaded) -> Result<(), Fault> {
    let mut trials = loaded.trials.lock().unwrap_or_else(PoisonError::into_inner);
    if trials.iter().all(Trial::is_over) {
        return grid::run(launch);
    }
    let before = save(launch.memory);
    grid::run(launch)?;
    let result = save(launch.memory);
    for trial in trials.iter_mut().filter(|trial| !trial.is_over()) {
        if matches!(trial.change, Change::LeftOut(at) if !loaded.executed[at].load(Ordering::Relaxed))
        {
            continue;
        }
        restore(launch.memory, &before);
        trial.launches += 1;
        trial.is_noticed = is_noticed(launch, trial.change, &result);
    }
    restore(launch.memory, &result);
    Ok(())
}

/// Whether a launch of the changed kernel fails or, where operands are swapped, gives another result.
fn is_noticed(launch: &Launch, change: Change, result: &[Vec<u8>]) -> bool {
    let kernel = launch.kernel.changed(change);
    let executed: Vec<AtomicBool> = kernel.code.iter().map(|_| AtomicBool::new(false)).collect();
    let execution =
        Execution { limit: launch.execution.limit.min(LIMIT), ..launch.execution.clone() };
    let trial = Launch { kernel: &kernel, executed: &executed, execution: &execution, ..*launch };
    let outcome = grid::run(&trial);
    match change {
        Change::LeftOut(_) => outcome.is_err(),
        _ => outcome.is_err() || differ(result, &save(launch.memory)),
    }
}

/// Whether any two words, taken as f32 or, in their upper half, as bf16, are far apart.
fn differ(a: &[Vec<u8>], b: &[Vec<u8>]) -> bool {
    let words = |own: &[Vec<u8>]| -> Vec<f32> {
        let bytes = own.iter().flat_map(|range| range.as_chunks::<4>().0);
        bytes.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let far = |(a, b): (&f32, &f32)| {
        a.is_nan() != b.is_nan() || (a - b).abs() > TOLERANCE * a.abs().max(b.abs())
    };
    words(a).iter().zip(&words(b)).any(far)
}

fn save(memory: &Ranges) -> Vec<Vec<u8>> {
    let copy = |(start, end): &(u64, u64)| {
        // SAFETY: the range is allocated, and no kernel runs.
        unsafe { std::slice::from_raw_parts(*start as *const u8, (end - start) as usize) }.to_vec()
    };
    memory.0.iter().map(copy).collect()
}

fn restore(memory: &Ranges, saved: &[Vec<u8>]) {
    for ((start, _), bytes) in memory.0.iter().zip(saved) {
        // SAFETY: the range is allocated and has as many bytes as when it was saved; no kernel runs.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), *start as *mut u8, bytes.len()) }
    }
}

/// The changes of a kernel, each with `noticed`, `unnoticed`, or `unexecuted` for an instruction that no launch has reached.
pub fn report(loaded: &Loaded) -> Vec<(String, String)> {
    let trials = loaded.trials.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = |trial: &Trial| match trial {
        Trial { is_noticed: true, .. } => "noticed",
        Trial { change: Change::LeftOut(at), .. }
            if !loaded.executed[*at].load(Ordering::Relaxed) =>
        {
            "unexecuted"
        }
        _ => "unnoticed",
    };
    let describe =
        |trial: &Trial| (outcome(trial).to_owned(), loaded.kernel.describe(trial.change));
    trials.iter().map(describe).collect()
}
