//! A report, not a test: what the warps' accesses come to at each line of the kernels.
//!
//!     cargo test --features simulator-checked --test main -- kernels::traffic --ignored --nocapture

use std::collections::BTreeMap;

use alrao::Device;
use alrao::device::SiteTraffic;
use alrao::device::simulator::{IS_CHECKED, SimulatorOptions};

use super::{MOST_CHECKED_ACCESSES, cases};

/// Lines that are shown.
const SHOWN: usize = 60;

#[test]
#[ignore = "a report; for the checked build"]
fn lines_by_what_their_accesses_waste() {
    if !IS_CHECKED {
        panic!("only the checked build counts: --features simulator-checked");
    }
    let mut sums: BTreeMap<(String, String, bool, bool), [u64; 3]> = BTreeMap::new();
    for case in cases() {
        let options = SimulatorOptions {
            traffic: true,
            most_accesses: MOST_CHECKED_ACCESSES,
            ..Default::default()
        };
        let device = Device::simulator(Some(1), options).unwrap();
        // A case that is too large panics when it reads its result back; what it did until then is counted.
        let run = std::panic::AssertUnwindSafe(|| drop(case.on(&device)));
        let _ = std::panic::catch_unwind(run);
        let Device::Gpu(gpu) = &device else { unreachable!("the simulator runs kernels") };
        for row in gpu.traffic() {
            let SiteTraffic { kernel, place, is_shared, is_write, requests, transactions, least } =
                row;
            let sum = sums.entry((kernel, place, is_shared, is_write)).or_default();
            *sum = [sum[0] + requests, sum[1] + transactions, sum[2] + least];
        }
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|(_, [_, transactions, least])| std::cmp::Reverse(transactions - least));
    println!("requests  transactions  least  kernel, line");
    for ((kernel, place, is_shared, is_write), [requests, transactions, least]) in
        rows.iter().take(SHOWN)
    {
        let verb = if *is_write { "writes" } else { "reads" };
        let memory = if *is_shared { "shared" } else { "device" };
        println!(
            "{requests:9} {transactions:13} {least:6}  {kernel} {verb} {memory} memory at {place}"
        );
    }
    assert!(!rows.is_empty(), "no kernel touched anything");
}
