//! Instructions against plain Rust, lane by lane.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;

use common::{Aligned, OWN_WORD, Setup, kernel};
use cuda::options::Arithmetic;

/// Runs a body that leaves its result in %r9, and returns each thread's.
fn lanes(body: &str) -> Vec<u32> {
    Setup::default().words(&format!("{OWN_WORD}{body}\nst.global.u32 [%rd1], %r9;"), 32)
}

/// The result of a body that every lane agrees on.
#[track_caller]
fn one(body: &str) -> u32 {
    let all = lanes(body);
    assert!(all.iter().all(|own| *own == all[0]), "{all:?}");
    all[0]
}

fn f32_of(body: &str) -> f32 {
    f32::from_bits(one(&format!("{body}\nmov.b32 %r9, %f9;")))
}

fn single(x: f32) -> String {
    format!("0f{:08X}", x.to_bits())
}

fn double(x: f64) -> String {
    format!("0d{:016X}", x.to_bits())
}

#[test]
fn integers() {
    assert_eq!(one("mul.hi.u32 %r9, -1, 3;"), 2);
    assert_eq!(one("mul.lo.s32 %r9, -5, 7;"), -35i32 as u32);
    assert_eq!(one("mad.lo.s32 %r9, 3, 4, 5;"), 17);
    assert_eq!(one("div.s32 %r9, -7, 2;"), -3i32 as u32);
    assert_eq!(one("rem.u32 %r9, 17, 5;"), 2);
    assert_eq!(one("div.u32 %r9, 17, 0;"), u32::MAX);
    assert_eq!(one("shl.b32 %r9, 1, 32;"), 0);
    assert_eq!(one("shr.s32 %r9, -8, 40;"), u32::MAX);
    assert_eq!(one("shr.s32 %r9, -8, 1;"), -4i32 as u32);
    assert_eq!(one("shr.u32 %r9, -8, 33;"), 0);
    assert_eq!(one("min.s32 %r9, -8, 1;"), -8i32 as u32);
    assert_eq!(one("min.u32 %r9, -8, 1;"), 1);
    assert_eq!(one("abs.s32 %r9, -8;"), 8);
    assert_eq!(one("popc.b32 %r9, 255;"), 8);
    assert_eq!(one("bfi.b32 %r9, 15, 0, 8, 4;"), 0xf00);
    assert_eq!(one("prmt.b32 %r9, 0x33221100, 0x77665544, 0x7610;"), 0x7766_1100);
    assert_eq!(one("shf.l.wrap.b32 %r9, 0x80000000, 1, 1;"), 3);
    assert_eq!(
        one("mul.wide.s32 %rd5, -2, 3;\nshr.u64 %rd5, %rd5, 32;\ncvt.u32.u64 %r9, %rd5;"),
        u32::MAX
    );
    assert_eq!(one("mov.u16 %h1, 7;\nsub.s16 %h1, %h1, 9;\ncvt.u32.u16 %r9, %h1;"), 0xfffe);
    assert_eq!(one("mov.b64 %rd5, {7, 9};\nmov.b64 {%r8, %r9}, %rd5;"), 9);
}

#[test]
fn floats() {
    let (a, b, c) = (1.0f32 + f32::EPSILON, 1.0f32 - f32::EPSILON / 2.0, -1.0f32);
    let (x, y, z) = (single(a), single(b), single(c));
    assert_eq!(f32_of(&format!("fma.rn.f32 %f9, {x}, {y}, {z};")), a.mul_add(b, c));
    assert_eq!(f32_of(&format!("mul.f32 %f9, {x}, {y};")), a * b);
    assert_eq!(f32_of(&format!("div.rn.f32 %f9, {x}, {};", single(3.0))), a / 3.0);
    assert_eq!(f32_of(&format!("min.f32 %f9, {x}, {};", single(f32::NAN))), a);
    assert_eq!(f32_of(&format!("copysign.f32 %f9, {z}, {x};")), -a);
    assert_eq!(f32_of(&format!("cvt.sat.f32.f32 %f9, {};", single(f32::NAN))), 0.0);
    assert_eq!(f32_of(&format!("ex2.approx.ftz.f32 %f9, {};", single(3.0))), 8.0);
    assert_eq!(f32_of(&format!("ex2.approx.ftz.f32 %f9, {};", single(-140.0))), 0.0);
    // 2^24 + 1 lies between two numbers; a little below it, the sum is rounded down.
    let (big, small) = (single(16_777_216.0), single(1.0));
    assert_eq!(f32_of(&format!("fma.rm.f32 %f9, {small}, {small}, {big};")), 16_777_216.0);
    assert_eq!(
        f32_of(&format!("fma.rm.f32 %f9, {small}, {}, {big};", single(-1e-9))),
        16_777_215.0
    );
    assert_eq!(f32_of(&format!("add.rz.f32 %f9, {big}, {};", single(1.5))), 16_777_216.0);
    assert_eq!(f32_of(&format!("add.rz.f32 %f9, {big}, {};", single(-1e-9))), 16_777_215.0);
    assert_eq!(one(&format!("cvt.rzi.s32.f64 %r9, {};", double(-2.9))), -2i32 as u32);
    assert_eq!(f32_of(&format!("cvt.rn.f32.f64 %f9, {};", double(0.1))), 0.1);
    let not_a_number = single(f32::NAN);
    for (comparison, holds) in
        [("lt", 0), ("geu", 1), ("neu", 1), ("ne", 0), ("nan", 1), ("num", 0), ("equ", 1)]
    {
        let body =
            format!("setp.{comparison}.f32 %p0, {not_a_number}, {x};\nselp.u32 %r9, 1, 0, %p0;");
        assert_eq!(one(&body), holds, "{comparison}");
    }
}

#[test]
fn roundings_to_short_floats() {
    let tf32 = |x: f32| one(&format!("cvt.rna.tf32.f32 %r9, {};", single(x)));
    // Ties go away from zero.
    assert_eq!(tf32(1.0 + 1.0 / 2048.0), (1.0f32 + 1.0 / 1024.0).to_bits());
    assert_eq!(tf32(1.0 + 1.0 / 4096.0), 1.0f32.to_bits());
    // Ties go to even.
    let pair = |high: f32, low: f32| {
        one(&format!("cvt.rn.bf16x2.f32 %r9, {}, {};", single(high), single(low)))
    };
    assert_eq!(pair(1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0), 0x3f80_3f82);
    assert_eq!(pair(f32::INFINITY, -2.0), 0x7f80_c000);
}

#[test]
fn predicates_of_inner_scopes_are_others() {
    let body = "setp.eq.s32 %p1, 0, 0;\n{\n.reg .pred %p<2>;\nsetp.eq.s32 %p1, 0, 1;\n}\nselp.u32 %r9, 1, 0, %p1;";
    assert_eq!(one(body), 1);
    let body = "{\n.reg .b32 %temp;\nmov.b64 {%temp, %r9}, 0x500000000;\n}";
    assert_eq!(one(body), 5);
}

#[test]
fn lanes_that_part_meet_again() {
    let body = "mov.u32 %r9, 0;\nmov.u32 %r8, 0;\n$LOOP:\nadd.s32 %r9, %r9, %r8;\nadd.s32 %r8, %r8, 1;\n\
                setp.le.u32 %p0, %r8, %r0;\n@%p0 bra $LOOP;\nvote.sync.ballot.b32 %r7, %p0, -1;\nadd.s32 %r9, %r9, %r7;";
    let expected: Vec<u32> = (0..32).map(|lane| lane * (lane + 1) / 2).collect();
    assert_eq!(lanes(body), expected);
}

#[test]
fn functions_are_called_by_some_lanes() {
    let declarations = ".func (.param .b64 func_retval0) twice(\n.param .b64 twice_param_0\n)\n{\n.reg .f64 %fd<3>;\n\
                        ld.param.f64 %fd1, [twice_param_0];\nadd.f64 %fd2, %fd1, %fd1;\nst.param.f64 [func_retval0+0], %fd2;\nret;\n}";
    let body = format!(
        "{OWN_WORD}cvt.rn.f64.u32 %fd0, %r0;\nsetp.lt.u32 %p0, %r0, 8;\n@%p0 bra $E;\n{{\n.param .b64 param0;\n\
         st.param.f64 [param0+0], %fd0;\n.param .b64 retval0;\ncall.uni (retval0),\ntwice,\n(\nparam0\n);\n\
         ld.param.f64 %fd0, [retval0+0];\n}}\n$E:\nbar.sync 0;\ncvt.rzi.u32.f64 %r9, %fd0;\nst.global.u32 [%rd1], %r9;"
    );
    let mut words = Aligned::new(32);
    Setup::default().run(&kernel(declarations, &body), words.words()).unwrap();
    let expected: Vec<u32> = (0..32).map(|lane| if lane < 8 { lane } else { 2 * lane }).collect();
    assert_eq!(words.words(), expected);
}

#[test]
fn shuffles_follow_the_manual() {
    let of = |mode: &str, choice: u32, limit: u32| {
        lanes(&format!("shfl.sync.{mode}.b32 %r9|%p0, %r0, {choice}, {limit}, -1;"))
    };
    assert_eq!(of("bfly", 5, 31), (0..32).map(|lane| lane ^ 5).collect::<Vec<_>>());
    assert_eq!(
        of("down", 3, 31),
        (0..32u32).map(|lane| if lane < 29 { lane + 3 } else { lane }).collect::<Vec<_>>()
    );
    assert_eq!(
        of("up", 3, 0),
        (0..32u32).map(|lane| lane.checked_sub(3).unwrap_or(lane)).collect::<Vec<_>>()
    );
    assert_eq!(of("idx", 7, 31), vec![7; 32]);
    // Segments of eight lanes.
    assert_eq!(of("idx", 2, 0x181f), (0..32).map(|lane| lane / 8 * 8 + 2).collect::<Vec<_>>());
}

#[test]
fn barriers_count_votes() {
    let setup = Setup::threads(64);
    let body = format!(
        "{OWN_WORD}setp.eq.s32 %p0, %r0, 40;\nbar.red.or.pred %p1, 0, %p0;\nbar.red.and.pred %p2, 0, %p0;\n\
         selp.u32 %r9, 1, 0, %p1;\nselp.u32 %r8, 2, 0, %p2;\nor.b32 %r9, %r9, %r8;\nst.global.u32 [%rd1], %r9;"
    );
    assert_eq!(setup.words(&body, 64), vec![1; 64]);
}

#[test]
fn products_and_sums_are_contracted_on_request() {
    let (a, b) = (1.0f32 + f32::EPSILON, 1.0f32 - f32::EPSILON);
    let (x, y, z) = (single(a), single(b), single(-1.0));
    let body = |product: &str, sum: &str| {
        format!(
            "{OWN_WORD}mov.f32 %f0, {x};\nmov.f32 %f1, {y};\nmov.f32 %f2, {z};\n{product} %f3, %f0, %f1;\n{sum};\nst.global.f32 [%rd1], %f4;"
        )
    };
    let contracted = Setup {
        arithmetic: Arithmetic { contracted: true, ..Arithmetic::default() },
        ..Setup::default()
    };
    let of = |setup: &Setup, product: &str, sum: &str| {
        f32::from_bits(setup.words(&body(product, sum), 32)[0])
    };
    let sum = "add.f32 %f4, %f3, %f2";
    assert_eq!(of(&Setup::default(), "mul.f32", sum), a * b - 1.0);
    assert_eq!(of(&contracted, "mul.f32", sum), a.mul_add(b, -1.0));
    assert_eq!(of(&contracted, "mul.rn.f32", sum), a * b - 1.0);
    assert_eq!(of(&contracted, "mul.f32", "sub.f32 %f4, %f3, %f2"), a.mul_add(b, 1.0));
    assert_eq!(of(&contracted, "mul.f32", "sub.f32 %f4, %f2, %f3"), (-a).mul_add(b, -1.0));
}

#[test]
fn approximations_are_off_on_request() {
    let off = Setup {
        arithmetic: Arithmetic { off_approximations: true, ..Arithmetic::default() },
        ..Setup::default()
    };
    let body = format!(
        "{OWN_WORD}cvt.rn.f32.u32 %f0, %r0;\nadd.f32 %f0, %f0, {};\nrcp.approx.ftz.f32 %f9, %f0;\nst.global.f32 [%rd1], %f9;",
        single(1.3)
    );
    let errors: Vec<i64> = off
        .words(&body, 32)
        .iter()
        .enumerate()
        .map(|(lane, bits)| {
            i64::from(*bits) - i64::from(((1.0 / f64::from(lane as f32 + 1.3)) as f32).to_bits())
        })
        .collect();
    assert!(
        errors.iter().all(|error| error.abs() <= 2) && errors.iter().any(|error| *error != 0),
        "{errors:?}"
    );
}
