//! Every kernel against the CPU's op in f64, in the simulator under all its checks, and on a GPU where there is one.

#[cfg(has_simulator)]
mod classifiers;
#[cfg(has_simulator)]
mod matmul;
#[cfg(has_simulator)]
mod mutation;
#[cfg(has_simulator)]
mod q_learning;
#[cfg(has_simulator)]
mod replay;
mod steps;

#[cfg(has_simulator)]
use std::collections::BTreeSet;
#[cfg(has_simulator)]
use std::sync::OnceLock;

#[cfg(has_simulator)]
use alrao::checks::simulator::{Checked, check};
use alrao::checks::{Case, all};
#[cfg(has_simulator)]
use alrao::device::simulator::kernel_names;

use crate::place::gpu;

/// The part of a case's name that `ALRAO_CASES` asks for: for work on one kernel.
fn wanted() -> Option<String> {
    std::env::var("ALRAO_CASES").ok()
}

fn cases() -> Vec<Case> {
    let wanted = wanted().unwrap_or_default();
    let cases: Vec<Case> = all().into_iter().filter(|case| case.name.contains(&wanted)).collect();
    assert!(!cases.is_empty(), "ALRAO_CASES: no case has '{wanted}' in its name");
    cases
}

/// The results of all cases in order, for the tests that need them: they are computed once. Two cases run at a time: many are too
/// small to keep two threads busy, and checked kernels run blocks one after the other.
#[cfg(has_simulator)]
fn all_checked() -> &'static [Checked] {
    static CHECKED: OnceLock<Vec<Checked>> = OnceLock::new();
    CHECKED.get_or_init(|| {
        let run_half = |first: usize| -> Vec<Checked> {
            let cases = cases().into_iter().skip(first).step_by(2);
            cases
                .map(|case| {
                    let checked = check(&case, Some(2)).unwrap();
                    if checked.is_left_out {
                        println!("left to the plain build: {}", case.name);
                    }
                    checked
                })
                .collect()
        };
        let [even, odd] = std::thread::scope(|scope| {
            let odd = scope.spawn(|| run_half(1));
            [run_half(0), odd.join().unwrap()]
        });
        let mut odd = odd.into_iter();
        even.into_iter().flat_map(|even| [Some(even), odd.next()]).flatten().collect()
    })
}

#[cfg(has_simulator)]
#[test]
fn kernels_agree_with_the_cpu_and_none_is_forgotten() {
    let checked = all_checked();
    let faults: Vec<&str> =
        checked.iter().flat_map(|case| &case.faults).map(String::as_str).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    if wanted().is_some() {
        return;
    }
    let launched: BTreeSet<&str> =
        checked.iter().flat_map(|case| &case.launched).map(String::as_str).collect();
    let forgotten: Vec<&str> =
        kernel_names().into_iter().filter(|kernel| !launched.contains(kernel)).collect();
    assert!(forgotten.is_empty(), "no case launches {forgotten:?}");
}

#[test]
fn kernels_agree_with_the_cpu_on_a_gpu() {
    let Some(device) = gpu() else { return };
    let mut faults = Vec::new();
    for case in cases() {
        let fault = match case.try_on(&device) {
            Ok(outputs) => case.difference(&outputs, &case.reference()),
            Err(message) => Some(message),
        };
        faults.extend(fault.map(|fault| format!("{}: {fault}", case.name)));
        if device.check().is_err() {
            faults.push("nothing was tried after it".to_owned());
            break;
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
