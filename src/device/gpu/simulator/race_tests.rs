//! The checks of accesses find the errors of kernels that are broken on purpose, and pass a correct one.

use super::tests::{assert_says, floats, read, simulator};
use super::*;
use crate::device::LaunchWork;
use crate::device::gpu::{Argument, Pointer};

/// Options with kernels that report their accesses.
fn checked() -> SimulatorOptions {
    let library = Some(checked::broken_kernels());
    SimulatorOptions { library, races: true, ..SimulatorOptions::default() }
}

/// Launches a kernel over buffers `y` and `x` of 128 floats, in every order of threads; returns all complaints.
fn complaints(kernel: &str, blocks: u32, threads: u32, more: &[&dyn Argument]) -> Vec<String> {
    let usual = checked();
    let ways = [
        usual,
        SimulatorOptions { order: Order::Reverse, late_copies: false, ..usual },
        SimulatorOptions { order: Order::Shuffled(1), ..usual },
    ];
    let complaint = |way| {
        let simulator = simulator(way);
        let (y, x) = (floats(&simulator, &[0.0; 128]), floats(&simulator, &[1.0; 128]));
        let both: [&dyn Argument; 2] = [&y, &x];
        let count = abi::kernel(kernel).unwrap().kinds().len() - more.len();
        let arguments = [&both[..count], more].concat();
        let (grid, block) = ([blocks, 1, 1], [threads, 1, 1]);
        let launch = Launch {
            kernel,
            grid,
            block,
            cluster: 1,
            shared: 0,
            work: LaunchWork::default(),
            arguments: &arguments,
        };
        simulator.launch(&launch).expect_err(kernel)
    };
    ways.map(complaint).to_vec()
}

/// The first line of `broken.cu` after `kernel` that contains this text.
fn line_of(kernel: &str, text: &str) -> String {
    let source = include_str!("broken.cu");
    let start = source.find(kernel).unwrap();
    let end = start + source[start..].find(text).unwrap();
    format!("broken.cu:{}", source[..end].lines().count())
}

#[test]
fn a_missing_barrier_is_a_race_with_both_lines() {
    for (kernel, threads) in [
        ("broken_no_barrier", 128),
        ("broken_no_warp_barrier", 64),
        ("broken_shuffle_as_barrier", 64),
        ("broken_warp_barrier_for_block", 64),
    ] {
        for text in complaints(kernel, 1, threads, &[]) {
            let write = line_of(kernel, "tile[threadIdx.x] = x[threadIdx.x]");
            let read = line_of(kernel, "y[threadIdx.x] = tile");
            let parts = [kernel, "block (0, 0, 0) thread (", "of block (0, 0, 0) has", "`tile`"];
            assert_says(&text, &parts);
            assert_says(&text, &[&write, &read]);
        }
    }
    for text in complaints("broken_no_second_barrier", 1, 128, &[&3i32]) {
        let read = line_of("broken_no_second_barrier", "sum += tile");
        assert_says(&text, &["race: ", &read]);
    }
}

#[test]
fn blocks_of_a_launch_are_in_no_order() {
    for text in complaints("broken_two_blocks_write", 2, 32, &[]) {
        let line = line_of("broken_two_blocks_write", "y[0] =");
        assert_says(&text, &[&line, "race: writes what thread (0, 0, 0) of block (", "`y`"]);
    }
    for text in complaints("broken_block_reads_neighbour", 3, 32, &[]) {
        assert_says(&text, &["race: ", "thread (31, 0, 0)", "of block (", "`y`"]);
        assert_says(&text, &[&line_of("broken_block_reads_neighbour", "y[i] = x[i]")]);
        assert_says(&text, &[&line_of("broken_block_reads_neighbour", "y[i] += y[i - 1]")]);
    }
    for text in complaints("broken_half_atomic", 2, 32, &[&1i32]) {
        assert_says(&text, &["race: ", &line_of("broken_half_atomic", "count[0] += n")]);
        assert_says(&text, &["update", &line_of("broken_half_atomic", "atomicAdd")]);
    }
}

#[test]
fn an_asynchronous_copy_is_a_write_until_all_know_that_it_is_done() {
    for text in complaints("broken_copy_not_awaited", 1, 32, &[]) {
        let copy = line_of("broken_copy_not_awaited", "copy_async16");
        assert_says(&text, &["race: reads what", "is still copying to", &copy, "`tile`"]);
    }
    for text in complaints("broken_own_copy_not_awaited", 1, 32, &[]) {
        assert_says(&text, &["race: reads what", "is still copying to"]);
    }
    for text in complaints("broken_no_barrier_after_copy", 1, 32, &[]) {
        let copy = line_of("broken_no_barrier_after_copy", "copy_async16");
        assert_says(&text, &["race: reads what", &copy]);
    }
}

#[test]
fn neighbouring_bytes_are_no_race() {
    let simulator = simulator(checked());
    let y = floats(&simulator, &[0.0; 16]);
    let run = |shared_from: i32| {
        let arguments: [&dyn Argument; 2] = [&y, &shared_from];
        let (grid, block, kernel) = ([1; 3], [64, 1, 1], "broken_bytes");
        simulator.launch(&Launch {
            kernel,
            grid,
            block,
            cluster: 1,
            shared: 0,
            work: LaunchWork::default(),
            arguments: &arguments,
        })
    };
    run(64).unwrap();
    assert_says(&run(62).unwrap_err(), &["race: writes what", "at byte 62 of a block of 64"]);
}

#[test]
fn the_bytes_beside_a_buffer_are_nobodys() {
    let simulator = simulator(checked());
    let (y, x) = (floats(&simulator, &[0.0; 3]), floats(&simulator, &[0.0; 3]));
    let arguments: [&dyn Argument; 3] = [&y, &x, &3i32];
    let (grid, block, kernel) = ([1; 3], [32, 1, 1], "broken_read_beside_end");
    let launch = Launch {
        kernel,
        grid,
        block,
        cluster: 1,
        shared: 0,
        work: LaunchWork::default(),
        arguments: &arguments,
    };
    let text = simulator.launch(&launch).unwrap_err();
    assert_says(&text, &["reads just past the end of a block of 12 bytes, `x`"]);
}

#[test]
fn barriers_copies_and_atomic_sums_are_no_race() {
    for order in [Order::Forward, Order::Reverse, Order::Shuffled(3)] {
        for late_copies in [false, true] {
            let simulator = simulator(SimulatorOptions { order, late_copies, ..checked() });
            let (y, x) = (floats(&simulator, &[0.0; 128]), floats(&simulator, &[1.0; 64]));
            let count = Pointer(simulator.allocate(4).unwrap());
            simulator.set_zero(count.0, 4).unwrap();
            let arguments: [&dyn Argument; 3] = [&y, &x, &count];
            let (grid, block, kernel) = ([2, 1, 1], [64, 1, 1], "sound_barriers");
            let launch = Launch {
                kernel,
                grid,
                block,
                cluster: 1,
                shared: 0,
                work: LaunchWork::default(),
                arguments: &arguments,
            };
            simulator.launch(&launch).unwrap();
            assert_eq!(read(&simulator, y, 128), [15.0; 128]);
        }
    }
}

#[test]
fn races_are_not_looked_for_where_nobody_asks() {
    let simulator = simulator(SimulatorOptions { races: false, ..checked() });
    let (y, x) = (floats(&simulator, &[0.0; 128]), floats(&simulator, &[1.0; 128]));
    let arguments: [&dyn Argument; 2] = [&y, &x];
    let (grid, block, kernel) = ([1; 3], [128, 1, 1], "broken_no_barrier");
    simulator
        .launch(&Launch {
            kernel,
            grid,
            block,
            cluster: 1,
            shared: 0,
            work: LaunchWork::default(),
            arguments: &arguments,
        })
        .unwrap();
}

#[test]
fn sectors_and_passes_are_counted_for_each_line() {
    let simulator = simulator(SimulatorOptions { traffic: true, ..checked() });
    let (y, x) = (floats(&simulator, &[0.0; 32]), floats(&simulator, &[1.0; 256]));
    let arguments: [&dyn Argument; 3] = [&y, &x, &8i32];
    let (grid, block, kernel) = ([1; 3], [32, 1, 1], "broken_strides");
    simulator
        .launch(&Launch {
            kernel,
            grid,
            block,
            cluster: 1,
            shared: 0,
            work: LaunchWork::default(),
            arguments: &arguments,
        })
        .unwrap();
    let rows = simulator.traffic();
    let at = |text: &str, is_write: bool| {
        let line = line_of(kernel, text);
        let is_own = |row: &&SiteTraffic| row.is_write == is_write && row.place.contains(&line);
        let row = rows.iter().find(is_own).unwrap_or_else(|| panic!("{line} is not in {rows:?}"));
        (row.is_shared, row.requests, row.transactions, row.least)
    };
    assert_eq!(at("tile[32 * row", true), (true, 32, 32, 32));
    assert_eq!(at("float sum = tile", false), (true, 1, 32, 1));
    assert_eq!(at("sum += x", false), (false, 1, 32, 4));
    assert_eq!(at("y[threadIdx.x] = sum", true), (false, 1, 4, 4));
}

#[test]
fn a_read_of_a_gap_is_told_unless_the_kernel_says_that_it_has_no_use_for_it() {
    let simulator = simulator(checked());
    let (y, x) = (floats(&simulator, &[0.0; 64]), floats(&simulator, &[1.0; 64]));
    simulator.forbid(x.0 + 128, 64).unwrap();
    let run = |kernel| {
        let arguments: [&dyn Argument; 3] = [&y, &x, &32i32];
        let (grid, block) = ([1; 3], [64, 1, 1]);
        simulator.launch(&Launch {
            kernel,
            grid,
            block,
            cluster: 1,
            shared: 0,
            work: LaunchWork::default(),
            arguments: &arguments,
        })
    };
    let text = run("broken_read_past_end").unwrap_err();
    assert_says(&text, &["reads at byte 128, 0 bytes into a forbidden gap,", "`x`"]);
    run("sound_read_of_gaps").unwrap();
}

/// The limit may end a launch before, in or behind the exchange; its own accesses do not count.
#[test]
fn a_cluster_with_too_many_accesses_says_so() {
    let outcome = |most_accesses| {
        let simulator = simulator(SimulatorOptions { most_accesses, ..checked() });
        let y = floats(&simulator, &[0.0; 4 * 64]);
        simulator.launch(&Launch {
            kernel: "broken_cluster",
            grid: [1, 4, 1],
            block: [64, 1, 1],
            cluster: 4,
            shared: 0,
            work: LaunchWork::default(),
            arguments: &[&y, &-1i32, &0i32],
        })
    };
    for most_accesses in (0..600).step_by(8) {
        let text = outcome(most_accesses).err().unwrap_or_else(|| TOO_MANY_ACCESSES.into());
        assert_says(&text, &[TOO_MANY_ACCESSES]);
    }
    outcome(0).unwrap_err();
    outcome(10_000).unwrap();
}
