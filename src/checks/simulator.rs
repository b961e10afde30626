//! The cases in the simulator, with all its checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Case, FAMILIES, Outputs};
use crate::device::Device;
use crate::device::gpu::LaunchTrace;
use crate::device::simulator::{
    Guard, Order, SimulatorOptions, TOO_MANY_ACCESSES, is_checked, place_of, source_of,
};
use crate::error::Result;

/// The largest number of accesses of a case of checked kernels, in which an access takes a hundred times as long.
const MOST_CHECKED_ACCESSES: u64 = 1_000_000;

/// The ways to run a case: threads forwards, backwards and shuffled; asynchronous copies as late and as early as
/// possible; the guard page after each buffer and before it. The outputs must be equal to the bit. Checked kernels
/// find races in any order of threads, so they run a case once.
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
    if is_checked() { all[..1].to_vec() } else { all }
}

/// The result of checking a case.
#[derive(Default)]
pub struct Checked {
    /// All faults, with the case's name.
    pub faults: Vec<String>,
    /// The kernels that it launched.
    pub launched: BTreeSet<String>,
    /// Whether the case was left to the unchecked kernels, for more than a million accesses.
    pub is_left_out: bool,
    /// The barriers that its threads reached, as `FILE:LINE`.
    pub barriers: BTreeSet<String>,
    /// The outputs of the first setting in which it ended well.
    pub outputs: Option<Outputs>,
    /// The time of the last setting.
    pub time: Duration,
}

/// Runs a case in all settings, and compares its outputs with the CPU's and with each other.
///
/// # Errors
/// Where the simulator cannot be opened.
pub fn check(case: &Case, threads: Option<usize>) -> Result<Checked> {
    let reference = case.reference();
    let mut checked = Checked::default();
    let mut usual = None;
    for settings in settings() {
        let options = SimulatorOptions { most_accesses: MOST_CHECKED_ACCESSES, ..settings };
        let device = Device::simulator(threads, options)?;
        let start = Instant::now();
        let outputs = case.try_on(&device);
        checked.time = start.elapsed();
        if outputs.as_ref().is_err_and(|message| message.contains(TOO_MANY_ACCESSES)) {
            checked.is_left_out = true;
            continue;
        }
        let launched = launched_on(&device);
        if let Device::Gpu(gpu) = &device {
            checked.barriers.extend(gpu.barriers());
        }
        let mut faults = Vec::new();
        match outputs {
            Err(message) => faults.push(message),
            Ok(outputs) => {
                let usual = *usual.get_or_insert(options);
                let first = checked.outputs.get_or_insert_with(|| outputs.clone());
                if format!("{first:?}") != format!("{outputs:?}") {
                    faults.push(order_fault(case, threads, [usual, options])?);
                }
                let difference = case.difference(&outputs, &reference);
                faults.extend(difference.map(|difference| value_fault(&difference, &launched)));
            }
        }
        checked.faults.extend(faults.iter().map(|fault| format!("{}: {fault}", case.name)));
        checked.launched.extend(launched);
    }
    Ok(checked)
}

fn launched_on(device: &Device) -> BTreeSet<String> {
    match device {
        Device::Gpu(gpu) => gpu.kernel_times().into_keys().collect(),
        Device::Cpu(_) => BTreeSet::new(),
    }
}

/// Says that outputs depend on the order of threads, and where that begins: runs the case again in both settings and
/// compares the memory after each launch.
fn order_fault(
    case: &Case,
    threads: Option<usize>,
    settings: [SimulatorOptions; 2],
) -> Result<String> {
    let mut traces = Vec::new();
    for settings in settings {
        let device = Device::simulator(threads, SimulatorOptions { trace: true, ..settings })?;
        // The run before has shown that it ends well.
        let _ = case.try_on(&device);
        traces.push(match &device {
            Device::Gpu(gpu) => gpu.traces(),
            Device::Cpu(_) => Vec::new(),
        });
    }
    let place = first_difference(&traces[0], &traces[1]);
    let place = place.unwrap_or_else(|| "no launch's buffers differ in a second run".to_owned());
    Ok(format!(
        "the result depends on the order in which threads run: a barrier, or the wait for an asynchronous copy, is \
         missing; {place} ({:?} and {:?})",
        settings[0].order, settings[1].order
    ))
}

fn first_difference(usual: &[LaunchTrace], other: &[LaunchTrace]) -> Option<String> {
    let (launch, other) = usual.iter().zip(other).find(|(usual, other)| usual != other)?;
    let LaunchTrace { kernel, place, buffers } = launch;
    let buffer = buffers.iter().zip(&other.buffers).find(|(usual, other)| usual != other);
    let buffer = buffer.map_or("", |((name, _), _)| name);
    Some(format!("first differing buffer `{buffer}`, kernel {kernel}, {place}"))
}

/// Says that values are not the CPU's, and which kernels may have computed them.
fn value_fault(difference: &str, launched: &BTreeSet<String>) -> String {
    let place = |kernel: &String| match place_of(kernel) {
        Some(place) => format!("{kernel}, {place}"),
        None => kernel.clone(),
    };
    let kernels: Vec<String> = launched.iter().map(place).collect();
    let unwritten = match difference.contains("is NaN") {
        true => "; NaN is also what memory holds before its first write",
        false => "",
    };
    format!(
        "{difference}. The CPU computes the expected value in f64, so an index or a formula is wrong{unwritten}; \
         launched: {}",
        kernels.join("; ")
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::Argument;
    use crate::{DType, Tensor};

    /// The place of a kernel that is broken on purpose.
    fn place(kernel: &str) -> String {
        let source = include_str!("../device/gpu/simulator/broken.cu");
        let line = source.lines().position(|line| line.contains(&format!("KERNEL({kernel},")));
        format!("broken.cu:{}", line.unwrap() + 1)
    }

    /// A case whose only launch is that of a broken kernel, over `y` and `x` of 256 elements.
    fn broken(kernel: &'static str, count: Option<i32>, expected: fn(usize) -> usize) -> Case {
        Case::new("broken", 1, move |device, dtype| {
            let x: Vec<f64> = (0..256).map(|index| index as f64).collect();
            let Device::Gpu(gpu) = device else {
                return vec![("y", (0..256).map(|index| x[expected(index)]).collect())];
            };
            let x = Tensor::from_f64s(device, [256], dtype, &x);
            let y = Tensor::empty(device, [256], DType::F32);
            let (to, from) = (y.pointer(), x.pointer());
            let count = count.as_ref().map(|count| count as &dyn Argument);
            let arguments: Vec<&dyn Argument> =
                [&to as &dyn Argument, &from].into_iter().chain(count).collect();
            gpu.launch(kernel, [1; 3], [256, 1, 1], &arguments);
            vec![("y", y.to_f64s())]
        })
    }

    fn assert_says(case: &Case, parts: &[&str]) {
        let checked = check(case, Some(2)).unwrap();
        let faults = checked.faults.join("\n");
        parts.iter().for_each(|part| assert!(faults.contains(part), "no '{part}' in: {faults}"));
        assert_eq!(checked.launched.len(), 1);
    }

    #[test]
    fn a_missing_barrier_is_told_in_words_with_buffer_kernel_and_line() {
        let kernel = "broken_no_barrier";
        let (case, place) = (broken(kernel, None, |index| index ^ 1), place(kernel));
        if is_checked() {
            return assert_says(&case, &["race", "broken.cu:"]);
        }
        let place = format!("first differing buffer `y`, kernel {kernel}, {place}");
        let words = "the result depends on the order in which threads run: a barrier, or the wait";
        assert_says(&case, &[words, &place]);
    }

    #[test]
    fn an_element_that_no_thread_wrote_is_told_with_the_kernel_s_line() {
        let kernel = "broken_unwritten";
        let case = broken(kernel, Some(256), |index| index);
        let launched = format!("launched: {kernel}, {}", place(kernel));
        let words = "NaN is also what memory holds before its first write";
        assert_says(
            &case,
            &["y[255] is NaN, not 255", "an index or a formula is wrong", words, &launched],
        );
    }

    #[test]
    fn an_access_past_the_end_and_a_barrier_that_not_all_reach_are_told_with_their_lines() {
        let case = broken("broken_read_past_end", Some(256), |index| index);
        assert_says(
            &case,
            &["broken_read_past_end block", "broken.cu:7", "just past the end", "`x`"],
        );
        let case = broken("broken_divergent_barrier", Some(100), |index| index);
        assert_says(&case, &["deadlock", "wait in __syncthreads at broken.cu:"]);
    }

    #[test]
    fn a_kernel_without_a_fault_has_none() {
        let case = broken("broken_divergent_barrier", Some(256), |_| 0);
        assert!(check(&case, Some(2)).unwrap().faults.is_empty());
    }
}
