//! Every kernel has a problem that it is measured on, and a small one whose accesses the simulator counts.

use std::collections::BTreeSet;

use alrao::bench::kernels::kernels_of;
use alrao::bench::workloads::{Size, all, matches};
use alrao::{DType, Device};

/// The types that GPUs compute in.
fn dtypes() -> Vec<DType> {
    let device = Device::counter();
    [DType::F32, DType::BF16].into_iter().filter(|dtype| device.computes_in(*dtype)).collect()
}

/// What each workload launches at a size, in every type.
fn launched(size: Size) -> Vec<BTreeSet<String>> {
    let of = |workload| {
        dtypes().into_iter().flat_map(|dtype| kernels_of(workload, dtype, size)).collect()
    };
    all().iter().map(of).collect()
}

#[cfg(has_simulator)]
#[test]
fn every_kernel_has_a_workload() {
    let kernels = alrao::device::simulator::kernel_names();
    let (full, small) = (launched(Size::Full), launched(Size::Small));
    let workloads = all();
    let without_cost: Vec<&str> = kernels
        .iter()
        .copied()
        .filter(|kernel| {
            !workloads
                .iter()
                .zip(&full)
                .any(|(own, launched)| launched.contains(*kernel) && own.cost_of(kernel).is_some())
        })
        .collect();
    assert!(
        without_cost.is_empty(),
        "no workload of src/bench/workloads measures {without_cost:?}"
    );
    let uncounted: Vec<&str> = kernels
        .into_iter()
        .filter(|kernel| !small.iter().any(|own| own.contains(*kernel)))
        .collect();
    assert!(
        uncounted.is_empty(),
        "no small workload of src/bench/workloads launches {uncounted:?}"
    );
}

#[test]
fn every_cost_is_of_a_kernel_that_is_launched() {
    let full = launched(Size::Full);
    for (workload, launched) in all().iter().zip(&full) {
        for pattern in workload.patterns() {
            let is_launched = launched.iter().any(|kernel| matches(pattern, kernel));
            assert!(is_launched, "{}: {pattern} is none of {launched:?}", workload.name);
        }
    }
}

#[test]
fn a_workload_has_a_name_of_its_own() {
    let names: Vec<String> = all().into_iter().map(|workload| workload.name).collect();
    let different: BTreeSet<&String> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "{names:#?}");
}
