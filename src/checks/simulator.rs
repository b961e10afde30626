//! The cases in the simulator, with all its checks.

use std::collections::{BTreeMap, BTreeSet};

use super::{Case, FAMILIES, Outputs};
use crate::device::Device;
use crate::device::simulator::{
    Guard, IS_CHECKED, Order, SimulatorOptions, TOO_MANY_ACCESSES, source_of,
};
use crate::error::Result;

/// The largest number of accesses of a case in the checked build, in which an access takes a hundred times as long.
const MOST_CHECKED_ACCESSES: u64 = 1_000_000;

/// The ways to run a case: threads forwards, backwards and shuffled; asynchronous copies as late and as early as
/// possible; the guard page after each buffer and before it. The outputs must be equal to the bit. The checked build
/// finds races in any order of threads, so it runs a case once.
pub fn settings() -> Vec<SimulatorOptions> {
    let usual = SimulatorOptions::default();
    let reversed = SimulatorOptions {
        order: Order::Reverse,
        late_copies: false,
        guard: Guard::InFront,
        ..usual
    };
    let shuffled = SimulatorOptions { order: Order::Shuffled(5), ..usual };
    let all = vec![usual, reversed, shuffled];
    if IS_CHECKED { all[..1].to_vec() } else { all }
}

/// The result of checking a case.
#[derive(Default)]
pub struct Checked {
    /// All faults, with the case's name.
    pub faults: Vec<String>,
    /// The kernels that it launched.
    pub launched: BTreeSet<String>,
    /// Whether the checked build left the case to the plain build, for more than a million accesses.
    pub is_left_out: bool,
}

/// Runs a case in all settings, and compares its outputs with the CPU's and with each other.
///
/// # Errors
/// Where the simulator cannot be opened.
pub fn check(case: &Case, threads: Option<usize>) -> Result<Checked> {
    let reference = case.reference();
    let mut checked = Checked::default();
    let mut first: Option<Outputs> = None;
    for settings in settings() {
        let options = SimulatorOptions { most_accesses: MOST_CHECKED_ACCESSES, ..settings };
        let device = Device::simulator(threads, options)?;
        let outputs = case.try_on(&device);
        if outputs.as_ref().is_err_and(|message| message.contains(TOO_MANY_ACCESSES)) {
            checked.is_left_out = true;
            continue;
        }
        if let Device::Gpu(gpu) = &device {
            checked.launched.extend(gpu.kernel_times().into_keys());
        }
        let faults = &mut checked.faults;
        let mut add = |fault: String| faults.push(format!("{}: {fault}", case.name));
        match outputs {
            Err(message) => add(message),
            Ok(outputs) => {
                let first = first.get_or_insert_with(|| outputs.clone());
                if format!("{first:?}") != format!("{outputs:?}") {
                    add(format!("{options:?} gives other bits"));
                }
                case.difference(&outputs, &reference).into_iter().for_each(add);
            }
        }
    }
    Ok(checked)
}

/// For each of `kernels`, the first fault among the cases of its file that launch it: `None` for no fault, no entry if
/// no case launches it. `observe` is called with each case before it runs.
///
/// # Errors
/// As [`check`].
pub fn reports(
    kernels: &[&str],
    threads: Option<usize>,
    observe: &mut dyn FnMut(&str),
) -> Result<BTreeMap<String, Option<String>>> {
    let mut reports: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (files, cases) in FAMILIES {
        let is_own = |kernel: &&str| source_of(kernel).is_some_and(|file| files.contains(&file));
        let own: Vec<&str> = kernels.iter().copied().filter(is_own).collect();
        for case in if own.is_empty() { Vec::new() } else { cases() } {
            observe(&case.name);
            let checked = check(&case, threads)?;
            for kernel in own.iter().filter(|kernel| checked.launched.contains(**kernel)) {
                let report = reports.entry((*kernel).to_owned()).or_default();
                *report = report.take().or_else(|| checked.faults.first().cloned());
            }
        }
    }
    Ok(reports)
}
