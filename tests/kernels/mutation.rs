//! Every barrier of every kernel is there for a reason: without it, some case fails, or comes out otherwise in another
//! order of threads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use alrao::Device;
use alrao::checks::simulator::settings;
use alrao::checks::{Case, Outputs};
use alrao::device::simulator::{IS_CHECKED, SimulatorOptions};

use super::{cases, wanted};

/// Barriers that no order of threads can tell from none, each with the reason.
const UNTOLD: [(&str, &str); 0] = [];

/// The outputs of a case, or that it failed.
fn outcome(case: &Case, options: SimulatorOptions) -> Result<Outputs, String> {
    let device = Device::simulator(Some(2), options).unwrap();
    let run = std::panic::AssertUnwindSafe(|| case.on(&device));
    // Reading from a device that has failed panics, with its complaint.
    std::panic::catch_unwind(run).map_err(|_| "failed".to_owned())
}

/// For each barrier, the cases that come to it, the quickest first.
fn cases_by_barrier(cases: &[Case]) -> BTreeMap<String, Vec<usize>> {
    let mut order = Vec::new();
    let mut by_barrier: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        let device = Device::simulator(Some(2), SimulatorOptions::default()).unwrap();
        let start = Instant::now();
        case.on(&device);
        order.push(start.elapsed());
        let Device::Gpu(gpu) = &device else { unreachable!("the simulator runs kernels") };
        gpu.barriers()
            .into_iter()
            .for_each(|barrier| by_barrier.entry(barrier).or_default().push(index));
    }
    by_barrier.values_mut().for_each(|cases| cases.sort_by_key(|index| order[*index]));
    by_barrier
}

/// Whether leaving out a barrier changes anything about a case.
fn is_told(case: &Case, barrier: &'static str) -> bool {
    let sound = outcome(case, SimulatorOptions::default()).map(|outputs| format!("{outputs:?}"));
    settings().into_iter().any(|way| {
        let own = outcome(case, SimulatorOptions { without_barrier: Some(barrier), ..way });
        own.map(|outputs| format!("{outputs:?}")) != sound
    })
}

#[test]
fn no_barrier_can_be_left_out() {
    if IS_CHECKED {
        return eprintln!("skipped: the plain build does it");
    }
    let cases = cases();
    let by_barrier = cases_by_barrier(&cases);
    assert!(wanted().is_some() || !by_barrier.is_empty(), "no kernel has a barrier");
    let untold: BTreeSet<&str> = by_barrier
        .iter()
        .filter(|(barrier, own)| {
            let barrier: &'static str = (*barrier).clone().leak();
            !own.iter().any(|index| is_told(&cases[*index], barrier))
        })
        .map(|(barrier, _)| barrier.as_str())
        .collect();
    let known: BTreeSet<&str> = UNTOLD.iter().map(|(barrier, _)| *barrier).collect();
    assert!(untold == known, "nobody notices that these are left out: {untold:?}, not {known:?}");
}
