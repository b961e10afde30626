//! Every barrier of every kernel is there for a reason: without it, some case fails, or comes out otherwise in another
//! order of threads.

use std::collections::{BTreeMap, BTreeSet};

use alrao::Device;
use alrao::checks::simulator::{Checked, settings};
use alrao::checks::{Case, Outputs};
use alrao::device::simulator::{SimulatorOptions, is_checked};

use super::{all_checked, cases, wanted};

/// Barriers that no order of threads can tell from none, each with the reason.
const UNTOLD: [(&str, &str); 0] = [];

/// The outputs of a case; `None` if it failed.
fn outcome(case: &Case, options: SimulatorOptions) -> Option<Outputs> {
    let device = Device::simulator(Some(2), options).unwrap();
    let run = std::panic::AssertUnwindSafe(|| case.on(&device));
    // Reading from a device that has failed panics, with its complaint.
    std::panic::catch_unwind(run).ok()
}

/// For each barrier, the cases that come to it, the quickest first.
fn cases_by_barrier(checked: &[Checked]) -> BTreeMap<&str, Vec<usize>> {
    let mut by_barrier: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, case) in checked.iter().enumerate() {
        case.barriers.iter().for_each(|barrier| by_barrier.entry(barrier).or_default().push(index));
    }
    by_barrier.values_mut().for_each(|cases| cases.sort_by_key(|index| checked[*index].time));
    by_barrier
}

/// Whether leaving out a barrier changes anything about a case, which has these outputs.
fn is_told(case: &Case, outputs: &Outputs, barrier: &'static str) -> bool {
    let sound = format!("{outputs:?}");
    settings().into_iter().any(|way| {
        let own = outcome(case, SimulatorOptions { without_barrier: Some(barrier), ..way });
        own.is_none_or(|outputs| format!("{outputs:?}") != sound)
    })
}

#[test]
fn no_barrier_can_be_left_out() {
    if is_checked() {
        return eprintln!("skipped: the plain build does it");
    }
    let (cases, checked) = (cases(), all_checked());
    let by_barrier = cases_by_barrier(checked);
    assert!(wanted().is_some() || !by_barrier.is_empty(), "no kernel has a barrier");
    let tells = |barrier: &'static str, index: usize| {
        let outputs = checked[index].outputs.as_ref();
        outputs.is_some_and(|outputs| is_told(&cases[index], outputs, barrier))
    };
    let untold: BTreeSet<&str> = by_barrier
        .into_iter()
        .filter(|(barrier, own)| !own.iter().any(|index| tells(barrier, *index)))
        .map(|(barrier, _)| barrier)
        .collect();
    let known: BTreeSet<&str> = UNTOLD.iter().map(|(barrier, _)| *barrier).collect();
    assert!(untold == known, "nobody notices that these are left out: {untold:?}, not {known:?}");
}
