//! Counts the memory traffic of each line of the kernels, on the small problems of `src/bench/workloads`: 32-byte sectors of
//! device memory, and passes over shared memory with its bank conflicts, beside the least possible. The worst lines come
//! first.
//!
//! `cargo run --release --example kernel_traffic`

#[cfg(has_simulator)]
fn main() -> alrao::Result<()> {
    use std::collections::BTreeMap;

    use alrao::bench::workloads::{Size, all};
    use alrao::device::SiteTraffic;
    use alrao::device::simulator::{SimulatorOptions, checked_kernels};
    use alrao::{DType, Device};

    /// Number of lines that are shown.
    const SHOWN: usize = 60;

    let library = Some(checked_kernels()?);
    let mut sums: BTreeMap<(String, String, bool, bool), [u64; 3]> = BTreeMap::new();
    for workload in all() {
        for dtype in [DType::F32, DType::BF16] {
            let options =
                SimulatorOptions { library, races: true, traffic: true, ..Default::default() };
            let device = Device::simulator(Some(1), options)?;
            workload.prepare(&device, dtype, Size::Small)();
            device.check()?;
            let Device::Gpu(gpu) = &device else { unreachable!("the simulator runs kernels") };
            for row in gpu.traffic() {
                let SiteTraffic { kernel, place, is_shared, is_write, requests, .. } = row;
                let sum = sums.entry((kernel, place, is_shared, is_write)).or_default();
                *sum = [sum[0] + requests, sum[1] + row.transactions, sum[2] + row.least];
            }
        }
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|(_, [_, transactions, least])| std::cmp::Reverse(transactions - least));
    println!("requests  transactions   least  kernel, line");
    for ((kernel, place, is_shared, is_write), [requests, transactions, least]) in
        rows.iter().take(SHOWN)
    {
        let verb = if *is_write { "writes" } else { "reads" };
        let memory = if *is_shared { "shared" } else { "device" };
        println!(
            "{requests:8} {transactions:13} {least:7}  {kernel} {verb} {memory} memory at {place}"
        );
    }
    Ok(())
}

#[cfg(not(has_simulator))]
fn main() {
    eprintln!("this build has no simulator");
    std::process::exit(2);
}
