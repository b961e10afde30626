//! Every fault that the machine finds is shown to be found, and its absence to pass.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;

use common::{Setup, kernel};
use cuda::machine::fault::{ILLEGAL_ADDRESS, LAUNCH_FAILED, LAUNCH_TIMEOUT, MISALIGNED_ADDRESS};
use cuda::options::Order;

const SHARED: &str = ".shared .align 16 .b8 words[1024];";

/// %r0 is the thread, and %r1 the address of its word of shared memory.
const OWN_SHARED: &str =
    "mov.u32 %r0, %tid.x;\nmov.u32 %r2, words;\nshl.b32 %r1, %r0, 2;\nadd.s32 %r1, %r1, %r2;\n";

#[track_caller]
fn expect(setup: &Setup, declarations: &str, body: &str, error: i32, texts: &[&str]) {
    let fault = setup.fault(declarations, body);
    assert_eq!(fault.error, error, "{}", fault.text);
    for text in texts {
        assert!(fault.text.contains(text), "`{text}` is not in: {}", fault.text);
    }
}

#[track_caller]
fn expect_none(setup: &Setup, declarations: &str, body: &str) {
    let mut words = common::Aligned::new(1024);
    let result = setup.run(&kernel(declarations, body), words.words());
    assert_eq!(result, Ok(()));
}

#[test]
fn accesses_out_of_bounds() {
    let one = Setup::threads(1);
    let bytes = 4 * 1024;
    expect(&one, "", &format!("st.global.u32 [%rd0+{bytes}], 1;"), ILLEGAL_ADDRESS, &["global"]);
    expect(
        &one,
        "",
        &format!("ld.global.u32 %r0, [%rd0+{bytes}];"),
        ILLEGAL_ADDRESS,
        &["4096 bytes into"],
    );
    expect(&one, "", "ld.global.u32 %r0, [%rd0+-4];", ILLEGAL_ADDRESS, &["global"]);
    expect(
        &one,
        SHARED,
        "st.shared.u32 [words+1024], 1;",
        ILLEGAL_ADDRESS,
        &["shared memory, at byte 1024"],
    );
    expect(&one, "", "ld.param.u32 %r0, [test_param_0+8];", ILLEGAL_ADDRESS, &["parameters"]);
    let local = ".local .align 8 .b8 depot[16];\n";
    expect(&one, "", &format!("{local}st.local.u32 [depot+16], 1;"), ILLEGAL_ADDRESS, &["local"]);
    let constant = ".const .align 4 .b8 table[4] = {1, 2, 3, 4};";
    expect(&one, constant, "ld.const.u32 %r0, [table+4];", ILLEGAL_ADDRESS, &["constant"]);
    expect_none(&one, constant, "ld.const.u32 %r0, [table];\nst.global.u32 [%rd0], %r0;");
}

#[test]
fn misaligned_accesses() {
    let one = Setup::threads(1);
    expect(&one, "", "st.global.u32 [%rd0+2], 1;", MISALIGNED_ADDRESS, &["4 bytes"]);
    expect(
        &one,
        "",
        "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%rd0+8];",
        MISALIGNED_ADDRESS,
        &["16 bytes"],
    );
    expect(&one, SHARED, "st.shared.u64 [words+4], 1;", MISALIGNED_ADDRESS, &["8 bytes"]);
    let copy = "mov.u32 %r1, words;\ncp.async.cg.shared.global [%r1+8], [%rd0], 16;";
    expect(&one, SHARED, copy, MISALIGNED_ADDRESS, &["16 bytes"]);
}

#[test]
fn reads_of_unwritten_shared_memory() {
    let one = Setup::threads(1);
    expect(
        &one,
        SHARED,
        "ld.shared.u32 %r0, [words];",
        LAUNCH_FAILED,
        &["unwritten shared memory"],
    );
    expect_none(&one, SHARED, "st.shared.u32 [words], 1;\nld.shared.u32 %r0, [words];");
    // The next block finds nothing of the last one's.
    let two = Setup { blocks: 2, ..Setup::threads(1) };
    let body = "mov.u32 %r0, %ctaid.y;\nsetp.eq.s32 %p0, %r0, 0;\n@%p0 st.shared.u32 [words], 1;\nld.shared.u32 %r1, [words];";
    expect(&two, SHARED, body, LAUNCH_FAILED, &["unwritten shared memory", "block [0, 1, 0]"]);
    // nvcc says which bytes of a vector it uses.
    let part = "st.shared.u32 [words], 1;\n.pragma \"used_bytes_mask 15\";\nld.shared.v2.u32 {%r0, %r1}, [words];";
    expect_none(&one, SHARED, part);
}

#[test]
fn barriers_that_not_all_threads_reach() {
    let body = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 32;\n@%p0 bar.sync 0;";
    expect(&Setup::threads(64), "", body, LAUNCH_FAILED, &["thread 32 has ended"]);
    let body = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 16;\n@%p0 bar.sync 0;";
    expect(&Setup::threads(32), "", body, LAUNCH_FAILED, &["thread 16 has ended"]);
    // Lanes of a warp at two barriers.
    let body = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 16;\n@%p0 bra $L;\nbar.sync 0;\nret;\n$L:\nbar.sync 0;";
    expect(&Setup::threads(32), "", body, LAUNCH_FAILED, &["other lanes of its warp"]);
    let body = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 16;\n@%p0 bar.warp.sync -1;";
    expect(&Setup::threads(32), "", body, LAUNCH_FAILED, &["do not come"]);
    expect(&Setup::threads(16), "", "bar.warp.sync -1;", LAUNCH_FAILED, &["have ended"]);
    let body =
        "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 16;\n@%p0 bar.warp.sync -1;\nbar.sync 0;";
    expect(&Setup::threads(32), "", body, LAUNCH_FAILED, &["do not come"]);
}

#[test]
fn endless_loops() {
    expect(&Setup::threads(1), "", "$L:\nbra $L;", LAUNCH_TIMEOUT, &["no end after"]);
}

#[test]
fn traps() {
    expect(&Setup::threads(1), "", "trap;", LAUNCH_FAILED, &["trap"]);
}

/// Every thread writes its word, and reads the word of another one.
fn exchange(barrier: &str, distance: u32) -> String {
    format!(
        "{OWN_SHARED}st.shared.u32 [%r1], %r0;\n{barrier}\nxor.b32 %r3, %r0, {distance};\nshl.b32 %r3, %r3, 2;\n\
         add.s32 %r3, %r3, %r2;\nld.shared.u32 %r4, [%r3];"
    )
}

#[test]
fn races_between_warps() {
    for order in [Order::Forward, Order::Reverse, Order::Shuffled(3)] {
        let mut setup = Setup::threads(64);
        setup.execution.order = order;
        let fault = setup.fault(SHARED, &exchange("bar.warp.sync -1;", 32));
        // Where the other warp is late, its word is unwritten when it is read.
        let is_found =
            fault.text.contains("race") || fault.text.contains("unwritten shared memory");
        assert!(is_found, "{}", fault.text);
        expect_none(&setup, SHARED, &exchange("bar.sync 0;", 32));
    }
    // Writing after a read: the reader is the last warp of a reversed order.
    let body = |barrier: &str| {
        format!("{}\n{barrier}\nst.shared.u32 [%r1], 7;", exchange("bar.sync 0;", 32))
    };
    let reads_only = "setp.lt.u32 %p0, %r0, 32;\n@%p0 bra $R;\nst.shared.u32 [%r1], 7;\n$R:";
    let body_of_reader = format!("{}\n{reads_only}", exchange("bar.sync 0;", 32));
    expect(&Setup::threads(64), SHARED, &body_of_reader, LAUNCH_FAILED, &["read by thread"]);
    expect(
        &Setup::threads(64),
        SHARED,
        &body(""),
        LAUNCH_FAILED,
        &["a race", "no barrier in between"],
    );
    expect_none(&Setup::threads(64), SHARED, &body("bar.sync 0;"));
}

#[test]
fn races_between_lanes_of_a_warp() {
    let setup = Setup::threads(32);
    expect(
        &setup,
        SHARED,
        &exchange("", 1),
        LAUNCH_FAILED,
        &["a race", "written by thread 1", "`st.shared.u32 [%r1], %r0`"],
    );
    expect_none(&setup, SHARED, &exchange("bar.warp.sync -1;", 1));
    expect_none(&setup, SHARED, &exchange("bar.sync 0;", 1));
    // A shuffle orders nothing.
    let shuffle = "shfl.sync.bfly.b32 %r9, %r0, 1, 31, -1;";
    expect(&setup, SHARED, &exchange(shuffle, 1), LAUNCH_FAILED, &["a race"]);
    // Half of the warp waits for itself.
    let half = "setp.lt.u32 %p0, %r0, 16;\nselp.b32 %r5, 65535, -65536, %p0;\nbar.warp.sync %r5;";
    expect_none(&setup, SHARED, &exchange(half, 1));
    expect(&setup, SHARED, &exchange(half, 16), LAUNCH_FAILED, &["a race"]);
    // Two lanes write one word.
    let same = "mov.u32 %r0, %tid.x;\nst.shared.u32 [words], %r0;";
    expect(&setup, SHARED, same, LAUNCH_FAILED, &["a race"]);
    let atomic = "mov.u32 %r0, %tid.x;\nsetp.eq.s32 %p0, %r0, 0;\n@%p0 st.shared.u32 [words], 0;\nbar.sync 0;\n\
                  atom.shared.add.u32 %r1, [words], 1;";
    expect_none(&setup, SHARED, atomic);
    let after_atomic = format!("{atomic}\nld.shared.u32 %r1, [words];");
    expect(&setup, SHARED, &after_atomic, LAUNCH_FAILED, &["a race"]);
}

#[test]
fn races_name_the_lines_of_the_source() {
    let lines = |body: &str| {
        body.replace("st.shared", ".loc 1 12 0\nst.shared")
            .replace("ld.shared", ".loc 1 14 0\nld.shared")
    };
    let declarations = format!("{SHARED}\n.file 1 \"/kernels/sum.cu\"");
    let fault = Setup::threads(32).fault(&declarations, &lines(&exchange("", 1)));
    assert!(fault.text.contains("sum.cu:12") && fault.text.contains("sum.cu:14"), "{}", fault.text);
}

fn copy(wait: &str) -> String {
    format!(
        "{OWN_SHARED}mul.wide.u32 %rd1, %r0, 4;\nadd.s64 %rd1, %rd0, %rd1;\n\
         cp.async.ca.shared.global [%r1], [%rd1], 4;\ncp.async.commit_group;\n{wait}\nld.shared.u32 %r5, [%r1];"
    )
}

#[test]
fn copies_without_a_wait() {
    for early in [false, true] {
        let mut setup = Setup::threads(32);
        setup.execution.early_copies = early;
        expect(&setup, SHARED, &copy(""), LAUNCH_FAILED, &["is in flight"]);
        expect(&setup, SHARED, &copy("bar.sync 0;"), LAUNCH_FAILED, &["is in flight"]);
        expect(&setup, SHARED, &copy("cp.async.wait_group 1;"), LAUNCH_FAILED, &["is in flight"]);
        expect_none(&setup, SHARED, &copy("cp.async.wait_group 0;"));
        // Another thread's copy needs a barrier as well.
        let other = copy("cp.async.wait_group 0;")
            .replace("[%r1];", "[%r1];\nxor.b32 %r6, %r1, 4;\nld.shared.u32 %r7, [%r6];");
        expect(&setup, SHARED, &other, LAUNCH_FAILED, &["a race"]);
        expect_none(&setup, SHARED, &other.replace("wait_group 0;", "wait_group 0;\nbar.sync 0;"));
    }
}

#[test]
fn copies_that_read_less_than_they_write() {
    let copy = |size: u32| {
        let outside = "mov.u64 %rd1, 0;\nmov.u32 %r1, words;\nst.shared.u32 [%r1], 7;";
        format!(
            "{outside}\nmov.u32 %r2, {size};\ncp.async.cg.shared.global [%r1], [%rd1], 16, %r2;\n\
             cp.async.commit_group;\ncp.async.wait_group 0;\nld.shared.u32 %r3, [%r1];\n\
             setp.ne.u32 %p0, %r3, 0;\n@%p0 trap;"
        )
    };
    let one = Setup::threads(1);
    // Zeros, without a look at the address.
    expect_none(&one, SHARED, &copy(0));
    expect(&one, SHARED, &copy(16), ILLEGAL_ADDRESS, &["global"]);
    expect(&one, SHARED, &copy(20), LAUNCH_FAILED, &["a copy of 16 bytes reads 20"]);
    // The first word is read.
    let first =
        copy(4).replace("mov.u64 %rd1, 0;", "st.global.u32 [%rd0], 9;\nmov.u64 %rd1, %rd0;");
    expect(&one, SHARED, &first, LAUNCH_FAILED, &["trap"]);
}

#[test]
fn matrices_are_loaded_behind_a_barrier() {
    let load = |barrier: &str| {
        format!(
            "mov.u32 %r0, %tid.x;\nmov.u32 %r2, words;\nshl.b32 %r1, %r0, 4;\nadd.s32 %r1, %r1, %r2;\n\
             st.shared.v4.u32 [%r1], {{%r0, %r0, %r0, %r0}};\n{barrier}\n\
             ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r3, %r4, %r5, %r6}}, [%r1];"
        )
    };
    expect(&Setup::threads(32), SHARED, &load(""), LAUNCH_FAILED, &["a race"]);
    expect_none(&Setup::threads(32), SHARED, &load("bar.warp.sync -1;"));
}

#[test]
fn shuffles_from_lanes_that_do_not_take_part() {
    let body = "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 16;\n@%p0 shfl.sync.bfly.b32 %r1, %r0, 16, 31, 65535;\nbar.sync 0;";
    expect(&Setup::threads(32), "", body, LAUNCH_FAILED, &["which does not take part"]);
}

#[test]
fn unknown_instructions_are_refused() {
    let text = kernel("", "tex.2d.v4.f32.f32 {%f0, %f1, %f2, %f3}, [%rd0, {%f4, %f5}];");
    let program = cuda::ptx::Program::read(&text).unwrap();
    let message = program.kernel("test", &Default::default()).map(|_| ()).unwrap_err();
    assert!(message.contains("an unknown instruction, at `tex.2d"), "{message}");
}

/// A setup in which a kernel's n-th barrier or wait for copies is left out.
fn leaving(body: &str, number: usize) -> Setup {
    let program = cuda::ptx::Program::read(&kernel(SHARED, body)).unwrap();
    let changes = program.kernel("test", &Default::default()).unwrap().unwrap().changes();
    Setup { change: Some(changes[number]), ..Setup::threads(32) }
}

#[test]
fn a_barrier_that_is_left_out_is_missed() {
    // Each of the two is enough.
    let both = exchange("bar.warp.sync -1;\nbar.sync 0;", 1);
    expect_none(&leaving(&both, 0), SHARED, &both);
    expect_none(&leaving(&both, 1), SHARED, &both);
    let one = exchange("bar.sync 0;", 1);
    expect(&leaving(&one, 0), SHARED, &one, LAUNCH_FAILED, &["a race"]);
    let copy = copy("cp.async.wait_group 0;");
    expect(&leaving(&copy, 0), SHARED, &copy, LAUNCH_FAILED, &["is in flight"]);
}

/// %r0 is the thread, %r1 the address of its word of shared memory, and %r4 that of the next block's.
const NEXT_BLOCK: &str = "mov.u32 %r3, %cluster_ctarank;\nadd.s32 %r3, %r3, 1;\nmov.u32 %r4, %cluster_nctarank;\n\
                          rem.u32 %r3, %r3, %r4;\nmapa.shared::cluster.u32 %r4, %r1, %r3;\n";

/// A body in which each thread gives its word to the same thread of the block before.
fn exchange_in_cluster(before: &str, after: &str) -> String {
    format!(
        "{OWN_SHARED}{NEXT_BLOCK}mov.u32 %r5, %ctaid.y;\nst.shared.u32 [%r1], %r5;\n{before}\
         ld.shared::cluster.u32 %r6, [%r4];\n{after}shl.b32 %r7, %r5, 5;\nadd.s32 %r7, %r7, %r0;\n\
         mul.wide.u32 %rd1, %r7, 4;\nadd.s64 %rd1, %rd0, %rd1;\nst.global.u32 [%rd1], %r6;"
    )
}

const CLUSTER_BARRIER: &str = "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n";

#[test]
fn blocks_of_a_cluster_read_each_others_shared_memory() {
    for order in [Order::Forward, Order::Reverse, Order::Shuffled(3)] {
        let mut setup = Setup { blocks: 8, cluster: 4, ..Setup::default() };
        setup.execution.order = order;
        let mut words = common::Aligned::new(256);
        let body = exchange_in_cluster(CLUSTER_BARRIER, CLUSTER_BARRIER);
        setup.run(&kernel(SHARED, &body), words.words()).unwrap();
        let next: Vec<u32> = words.words().iter().step_by(32).copied().collect();
        assert_eq!(next, [1, 2, 3, 0, 5, 6, 7, 4]);
    }
}

#[test]
fn a_cluster_needs_its_barriers() {
    let setup = Setup { blocks: 4, cluster: 4, ..Setup::default() };
    let [arrive, wait] = ["barrier.cluster.arrive.aligned;\n", "barrier.cluster.wait.aligned;\n"];
    let wrong = [
        ("", CLUSTER_BARRIER, "before the cluster's barrier"),
        (CLUSTER_BARRIER, "", "which has ended"),
        (wait, CLUSTER_BARRIER, "has not arrived there"),
        (arrive, CLUSTER_BARRIER, "before the cluster's barrier"),
        (CLUSTER_BARRIER, wait, "has not arrived there"),
        (CLUSTER_BARRIER, arrive, "which has ended"),
    ];
    for (before, after, text) in wrong {
        expect(&setup, SHARED, &exchange_in_cluster(before, after), LAUNCH_FAILED, &[text]);
    }
    let overwritten = format!("mov.u32 %r8, 9;\nst.shared.u32 [%r1], %r8;\n{CLUSTER_BARRIER}");
    let body = exchange_in_cluster(CLUSTER_BARRIER, &overwritten);
    expect(&setup, SHARED, &body, LAUNCH_FAILED, &["another block of the cluster has read"]);
    let leaving =
        format!("mov.u32 %r9, %ctaid.y;\nsetp.eq.s32 %p0, %r9, 2;\n@%p0 ret;\n{CLUSTER_BARRIER}");
    expect(&setup, SHARED, &leaving, LAUNCH_FAILED, &["a block of it has ended"]);
}
