//! Every check finds a kernel that is broken on purpose, and correct kernels pass.

use std::time::Duration;

use super::*;
use crate::device::LaunchWork;
use crate::device::gpu::{Argument, Pointer};

// SAFETY: the block declares nothing; the library registers its kernels itself.
#[link(name = "alrao_test_kernels", kind = "static", modifiers = "+whole-archive")]
unsafe extern "C" {}

pub(super) fn simulator(options: SimulatorOptions) -> Simulator {
    Simulator::new(Some(2), options).unwrap()
}

pub(super) fn floats(simulator: &Simulator, values: &[f32]) -> Pointer {
    let address = simulator.allocate(4 * values.len()).unwrap();
    simulator.upload(address, bytemuck::cast_slice(values)).unwrap();
    Pointer(address)
}

pub(super) fn read(simulator: &Simulator, pointer: Pointer, count: usize) -> Vec<f32> {
    let mut values = vec![0f32; count];
    simulator.download(pointer.0, bytemuck::cast_slice_mut(&mut values)).unwrap();
    values
}

/// The checks of unchecked kernels, of checked ones too.
fn unchecked() -> SimulatorOptions {
    SimulatorOptions { races: false, ..Default::default() }
}

fn launch(
    simulator: &Simulator,
    kernel: &str,
    threads: u32,
    arguments: &[&dyn Argument],
) -> std::result::Result<(), String> {
    let block = [threads, 1, 1];
    simulator.launch(&Launch {
        kernel,
        grid: [1, 1, 1],
        block,
        cluster: 1,
        shared: 0,
        work: LaunchWork::default(),
        arguments,
    })
}

/// Launches one block of a broken kernel over buffers `y` and `x` of `n` floats, and returns the complaint.
fn complaint(
    options: SimulatorOptions,
    kernel: &str,
    threads: u32,
    n: usize,
    more: &[&dyn Argument],
) -> String {
    let simulator = simulator(options);
    let (y, x) = (floats(&simulator, &vec![0.0; n]), floats(&simulator, &vec![1.0; n]));
    let both: [&dyn Argument; 2] = [&y, &x];
    let count = abi::kernel(kernel).unwrap().kinds().len() - more.len();
    launch(&simulator, kernel, threads, &[&both[..count], more].concat()).unwrap_err()
}

pub(super) fn assert_says(complaint: &str, parts: &[&str]) {
    for part in parts {
        assert!(complaint.contains(part), "'{part}' is not in: {complaint}");
    }
}

#[test]
fn a_read_past_the_end_names_buffer_thread_and_line() {
    let text = complaint(SimulatorOptions::default(), "broken_read_past_end", 256, 256, &[&256i32]);
    assert_says(
        &text,
        &[
            "broken_read_past_end block (0, 0, 0) thread (255, 0, 0)",
            "broken.cu:7",
            "just past the end",
            "`x`",
        ],
    );
}

#[test]
fn a_read_before_the_start_is_found_with_the_guard_in_front() {
    let options = SimulatorOptions { guard: Guard::InFront, ..Default::default() };
    let text = complaint(options, "broken_read_before_start", 256, 256, &[&256i32]);
    assert_says(&text, &["thread (0, 0, 0)", "broken.cu:13", "4 bytes before the start", "`x`"]);
}

#[test]
fn a_write_past_the_end_is_found_even_beside_the_guard() {
    let text =
        complaint(SimulatorOptions::default(), "broken_write_past_end", 256, 192, &[&192i32]);
    assert_says(&text, &["thread (192, 0, 0)", "broken.cu:19", "just past the end", "`y`"]);
    // 201 floats leave 12 bytes before the guard.
    let text = complaint(unchecked(), "broken_write_past_end", 256, 201, &[&201i32]);
    assert_says(&text, &["broken_write_past_end: wrote just past the end", "804 bytes", "`y`"]);
}

#[test]
fn what_no_thread_wrote_is_not_a_number() {
    let simulator = simulator(SimulatorOptions::default());
    let y = Pointer(simulator.allocate(4 * 64).unwrap());
    let x = floats(&simulator, &[1.0; 64]);
    launch(&simulator, "broken_unwritten", 64, &[&y, &x, &64i32]).unwrap();
    let y = read(&simulator, y, 64);
    assert!(y[..63].iter().all(|value| *value == 1.0) && y[63].is_nan());
}

/// The results of a kernel for each order of its threads.
fn outcomes(kernel: &str, more: &[&dyn Argument]) -> Vec<Vec<u32>> {
    let orders = [Order::Forward, Order::Reverse, Order::Shuffled(1), Order::Shuffled(2)];
    let outcomes = orders.map(|order| {
        let simulator = simulator(SimulatorOptions { order, ..unchecked() });
        let y = Pointer(simulator.allocate(4 * 256).unwrap());
        let x = floats(&simulator, &(0..256).map(|i| i as f32).collect::<Vec<_>>());
        let arguments: [&dyn Argument; 2] = [&y, &x];
        launch(&simulator, kernel, 256, &[&arguments[..], more].concat()).unwrap();
        read(&simulator, y, 256).into_iter().map(f32::to_bits).collect()
    });
    outcomes.to_vec()
}

#[test]
fn a_missing_barrier_shows_in_the_orders() {
    for (kernel, more) in [
        ("broken_no_barrier", &[][..]),
        ("broken_no_second_barrier", &[&3i32 as &dyn Argument][..]),
    ] {
        let outcomes = outcomes(kernel, more);
        assert!(outcomes.iter().any(|other| *other != outcomes[0]), "{kernel}: all orders agree");
    }
}

#[test]
fn divergent_barriers_are_told_not_waited_for() {
    let text =
        complaint(SimulatorOptions::default(), "broken_divergent_barrier", 256, 256, &[&100i32]);
    assert_says(
        &text,
        &[
            "thread (0, 0, 0): deadlock",
            "threads 0-99 wait in __syncthreads at broken.cu:53",
            "threads 100-255 have left",
        ],
    );
    let text = complaint(SimulatorOptions::default(), "broken_two_barriers", 256, 256, &[]);
    assert_says(&text, &["__syncthreads at broken.cu:", "while thread"]);
    let text = complaint(SimulatorOptions::default(), "broken_shuffle", 256, 256, &[]);
    assert_says(&text, &["deadlock", "wait in __shfl_xor_sync at broken.cu:", "have left"]);
}

#[test]
fn shared_memory_has_bounds() {
    let text = complaint(SimulatorOptions::default(), "broken_shared_index", 64, 64, &[&1i32]);
    assert_says(
        &text,
        &["thread (63, 0, 0)", "at byte 256 of the shared array `tile` of 256 bytes"],
    );
    let simulator = simulator(SimulatorOptions::default());
    let y = floats(&simulator, &[0.0; 256]);
    let (grid, block, arguments): (_, _, [&dyn Argument; 1]) = ([1; 3], [256, 1, 1], [&y]);
    let kernel = "broken_dynamic_shared";
    let give = |shared| {
        simulator.launch(&Launch {
            kernel,
            grid,
            block,
            cluster: 1,
            shared,
            work: LaunchWork::default(),
            arguments: &arguments,
        })
    };
    assert_says(&give(512).unwrap_err(), &["at byte 512 of 512 bytes of dynamic shared memory"]);
    give(1024).unwrap();
}

#[test]
fn an_asynchronous_copy_has_to_be_awaited() {
    let run = |late_copies| {
        let simulator = simulator(SimulatorOptions { late_copies, ..unchecked() });
        let (y, x) = (floats(&simulator, &[0.0; 128]), floats(&simulator, &[1.0; 128]));
        launch(&simulator, "broken_copy_not_awaited", 32, &[&y, &x]).unwrap();
        read(&simulator, y, 128)
    };
    assert!(run(false).iter().all(|value| *value == 1.0));
    assert!(run(true).iter().any(|value| value.is_nan()));
}

/// What 3 x 4 blocks of 64 threads write, in clusters of `cluster` blocks.
fn cluster(order: Order, cluster: u32, leaver: i32, reads_back: i32) -> Outcome<Vec<f32>> {
    let simulator = simulator(SimulatorOptions { order, ..SimulatorOptions::default() });
    let y = floats(&simulator, &[0.0; 3 * 4 * 64]);
    simulator.launch(&Launch {
        kernel: "broken_cluster",
        grid: [3, 4, 1],
        block: [64, 1, 1],
        cluster,
        shared: 0,
        work: LaunchWork::default(),
        arguments: &[&y, &leaver, &reads_back],
    })?;
    Ok(read(&simulator, y, 3 * 4 * 64))
}

#[test]
fn the_blocks_of_a_cluster_exchange_values() {
    for order in [Order::Forward, Order::Reverse, Order::Shuffled(5)] {
        let found = cluster(order, 4, -1, 0).unwrap();
        for (block, values) in found.chunks(64).enumerate() {
            // The numbers x, x + 3, x + 6 and x + 9; the ranks 0 to 3. Threads without a slot keep their own values.
            let (sum, own) = (4 * (block % 3) + 18 + 600, block + 100 * (block / 3));
            let [sum, own] = [sum, own].map(|value| value as f32);
            assert!(values[..8].iter().all(|value| *value == sum), "block {block}: {values:?}");
            assert!(values[8..].iter().all(|value| *value == own), "block {block}: {values:?}");
        }
    }
    assert_eq!(cluster(Order::Forward, 1, -1, 0).unwrap()[64 * 7], 7.0);
}

#[test]
fn a_cluster_needs_all_its_blocks_and_clears_shared_memory() {
    let text = cluster(Order::Forward, 4, 7, 0).unwrap_err();
    assert_says(&text, &["broken_cluster block (1,", "cluster_sum at broken.cu:", "has ended"]);
    let text = cluster(Order::Forward, 3, -1, 0).unwrap_err();
    assert_says(&text, &["clusters of 3 blocks"]);
    assert!(cluster(Order::Forward, 4, -1, 1).unwrap().iter().all(|value| value.is_nan()));
}

#[test]
fn other_faults_are_told() {
    let usual = SimulatorOptions::default;
    // Other processors take misaligned vectors; checked kernels refuse them.
    if cfg!(target_arch = "x86_64") {
        let text = complaint(usual(), "broken_misaligned", 32, 256, &[]);
        assert_says(&text, &["broken.cu:", "misaligned"]);
    }
    let text = complaint(usual(), "broken_stack", 32, 256, &[&0i32]);
    assert_says(&text, &["bytes of local variables"]);
    let text = complaint(usual(), "broken_assertion", 32, 256, &[&0i32]);
    assert_says(&text, &["assert(n > 0) at broken.cu:"]);
    let text = complaint(usual(), "broken_division", 32, 256, &[&0i32]);
    assert_says(&text, &["integer divided by zero"]);
}

#[test]
fn an_endless_loop_ends() {
    let options = SimulatorOptions { time_limit: Duration::from_millis(200), ..Default::default() };
    let text = complaint(options, "broken_endless", 32, 1, &[]);
    assert_says(
        &text,
        &["broken_endless block (0, 0, 0) thread (0, 0, 0)", "broken.cu:", "endless loop"],
    );
}

#[test]
fn launches_are_checked_against_the_declaration() {
    let simulator = simulator(SimulatorOptions::default());
    let y = floats(&simulator, &[0.0; 256]);
    let kernel = "broken_write_past_end";
    let try_launch = |grid, block, shared, arguments: &[&dyn Argument]| {
        simulator
            .launch(&Launch {
                kernel,
                grid,
                block,
                cluster: 1,
                shared,
                work: LaunchWork::default(),
                arguments,
            })
            .unwrap_err()
    };
    let one = [1, 1, 1];
    assert_says(
        &try_launch(one, [32, 1, 1], 0, &[&y]),
        &["launched with (pointer)", "(pointer, i32)", "broken.cu:17"],
    );
    assert_says(&try_launch(one, [32, 1, 1], 0, &[&y, &1u32]), &["(pointer, u32)"]);
    assert_says(
        &try_launch(one, [512, 1, 1], 0, &[&y, &1i32]),
        &["512 threads a block", "at most 256"],
    );
    assert_says(&try_launch([1, 70_000, 1], [32, 1, 1], 0, &[&y, &1i32]), &["(1, 70000, 1)"]);
    assert_says(&try_launch(one, [32, 1, 1], 1 << 20, &[&y, &1i32]), &["bytes of shared memory"]);
    let unknown = Launch {
        kernel: "unknown",
        grid: one,
        block: one,
        cluster: 1,
        shared: 0,
        work: LaunchWork::default(),
        arguments: &[],
    };
    assert_says(&simulator.launch(&unknown).unwrap_err(), &["no kernel `unknown`"]);
}

#[test]
fn after_a_failure_the_next_launch_is_a_fresh_one() {
    let simulator = simulator(SimulatorOptions::default());
    let (y, x) = (floats(&simulator, &[0.0; 256]), floats(&simulator, &[1.0; 256]));
    for _ in 0..3 {
        launch(&simulator, "broken_divergent_barrier", 256, &[&y, &x, &100i32]).unwrap_err();
        launch(&simulator, "broken_divergent_barrier", 256, &[&y, &x, &256i32]).unwrap();
    }
    assert!(read(&simulator, y, 256).iter().all(|value| *value == 1.0));
}

#[test]
fn a_gap_in_a_buffer_is_nobodys() {
    let simulator = simulator(SimulatorOptions::default());
    let y = floats(&simulator, &[0.0; 256]);
    // 16 forbidden floats follow the first 100.
    simulator.forbid(y.0 + 400, 64).unwrap();
    let run = |n: i32| launch(&simulator, "broken_write_past_end", 256, &[&y, &n]);
    run(99).unwrap();
    let text = run(100).unwrap_err();
    assert_says(&text, &["at byte 400, 0 bytes into a forbidden gap", "1024 bytes", "`y`"]);
    // The check has restored the overwritten bytes.
    run(99).unwrap();
    assert!(read(&simulator, y, 116)[100..].iter().all(|value| value.is_nan()));
}

/// Launches a kernel that declares 512 bytes of shared memory with `shared` dynamic bytes, after the kernel was allowed
/// `allowed`.
fn with_shared(
    limits: Limits,
    allowed: Option<usize>,
    shared: usize,
) -> std::result::Result<(), String> {
    let simulator = simulator(SimulatorOptions { limits, ..Default::default() });
    let (kernel, y) = ("declares_shared", floats(&simulator, &[0.0; 128]));
    if let Some(bytes) = allowed {
        simulator.allow_shared(kernel, bytes).unwrap();
    }
    let (grid, block) = ([1, 1, 1], [128, 1, 1]);
    simulator.launch(&Launch {
        kernel,
        grid,
        block,
        cluster: 1,
        shared,
        work: LaunchWork::default(),
        arguments: &[&y],
    })
}

#[test]
fn declared_and_dynamic_shared_memory_count_together() {
    const ASKED: usize = 48 << 10;
    with_shared(Limits::Sm80, None, ASKED - 512).unwrap();
    let text = with_shared(Limits::Sm80, None, ASKED).unwrap_err();
    assert_says(&text, &["declares_shared", "512 declared and 49152 dynamic", "gets 49152"]);
    // The allowance for a smaller launch is not enough for a larger one.
    with_shared(Limits::Sm80, Some(ASKED - 512), ASKED).unwrap_err();
    with_shared(Limits::Sm80, Some(ASKED), ASKED).unwrap();
}

#[test]
fn a_block_has_no_more_shared_memory_than_its_gpu_gives() {
    for (limits, most) in [(Limits::Sm80, 163 << 10), (Limits::Sm90, 227 << 10)] {
        with_shared(limits, Some(most - 512), most - 512).unwrap();
        let text = with_shared(limits, Some(most), most).unwrap_err();
        assert_says(&text, &["a block of this GPU gets"]);
    }
}
