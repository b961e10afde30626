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
use alrao::checks::simulator::check;
use alrao::checks::{Case, all};
#[cfg(has_simulator)]
use alrao::device::simulator::{IS_CHECKED, kernel_names};

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

/// All faults of the cases, and the kernels that were launched. The checked build runs blocks one after the other, so two cases
/// run at a time.
#[cfg(has_simulator)]
fn all_faults() -> (Vec<String>, BTreeSet<String>) {
    let parts = if IS_CHECKED { 2 } else { 1 };
    let run_part = |part: usize| {
        let (mut faults, mut launched) = (Vec::new(), BTreeSet::new());
        for case in cases().iter().skip(part).step_by(parts) {
            let checked = check(case, Some(2)).unwrap();
            if checked.is_left_out {
                println!("left to the plain build: {}", case.name);
            }
            faults.extend(checked.faults);
            launched.extend(checked.launched);
        }
        (faults, launched)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..parts).map(|part| scope.spawn(move || run_part(part))).collect();
        let mut all = run_part(0);
        for other in others {
            let (faults, launched) = other.join().unwrap();
            all.0.extend(faults);
            all.1.extend(launched);
        }
        all
    })
}

#[cfg(has_simulator)]
#[test]
fn kernels_agree_with_the_cpu_and_none_is_forgotten() {
    let (faults, launched) = all_faults();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    if wanted().is_some() {
        return;
    }
    let kernels: BTreeSet<String> = kernel_names().into_iter().map(str::to_owned).collect();
    let forgotten: Vec<&String> = kernels.difference(&launched).collect();
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
