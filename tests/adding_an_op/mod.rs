//! The op of `docs/adding-an-op.md`. It is a module of the library's tests, since an op uses what only the library sees.
//!
//! The table of gradients is out of reach here: `row` checks at once what that table checks.

mod softplus;

use crate::random::{Philox, Purpose};
use crate::{Device, Shape, Tape, Tensor};
use softplus::softplus;

const PAGE: &str = include_str!("../../docs/adding-an-op.md");

/// The page's blocks of code in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let start = format!("\n```{language}\n");
    PAGE.split(&start).skip(1).map(|rest| &rest[..rest.find("```\n").unwrap()]).collect()
}

#[test]
fn the_page_shows_the_code_that_is_tested() {
    let rust = blocks("rust");
    let is_op = [rust[0], rust[1]].join("\n") == include_str!("softplus.rs");
    assert!(is_op, "the first two blocks are not tests/adding_an_op/softplus.rs");
    assert!(blocks("cuda") == [include_str!("softplus.cu")], "the kernels are not softplus.cu");
    let unindented = |code: &str| code.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    let tests = unindented(include_str!("mod.rs"));
    for block in &rust[2..] {
        assert!(tests.contains(&unindented(block)), "tests/adding_an_op/mod.rs lacks\n{block}");
    }
}

/// Numbers in ±0.5 that bf16 holds exactly.
fn draw(shape: Shape, number: u64) -> Vec<f64> {
    let mut stream = Philox::new(7, Purpose::Data).stream(number);
    (0..shape.elements()).map(|_| (256.0 * stream.uniform()).floor() / 256.0 - 0.5).collect()
}

type Op = fn(&[Tensor]) -> Tensor;

/// The output and the input's gradient, for an upstream gradient that is drawn.
fn differentiate(x: &Tensor, op: Op) -> [Vec<f64>; 2] {
    let tape = Tape::new();
    let x = tape.watch(x);
    let y = op(std::slice::from_ref(&x));
    let upstream = Tensor::from_f64s(y.device(), y.shape(), y.dtype(), &draw(y.shape(), 99));
    tape.backward(&y.mul(&upstream).sum());
    [y.to_f64s(), tape.gradient(&x).unwrap().to_f64s()]
}

/// Compares the gradient with central differences.
fn row(name: &str, shapes: [&[usize]; 1], op: Op) {
    const STEP: f64 = 1e-5;
    let shape = Shape::new(shapes[0]);
    let at = |x: &[f64]| {
        let [y, gradient] = differentiate(&Tensor::from_slice(&Device::cpu(), shape, x), op);
        let upstream = draw(Shape::new(&[y.len()]), 99);
        (y.iter().zip(upstream).map(|(y, dy)| y * dy).sum::<f64>(), gradient)
    };
    let x = draw(shape, 0);
    for (element, gradient) in at(&x).1.into_iter().enumerate() {
        let moved = |step: f64| {
            let mut x = x.clone();
            x[element] += step;
            at(&x).0
        };
        let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert!((difference - gradient).abs() < 1e-7, "{name}: {gradient}, not {difference}");
    }
}

#[test]
fn its_gradient_agrees_with_central_differences() {
    let _rows = [
        row("softplus", [&[3, 5]], |x| softplus(&x[0])),
        row("softplus of a slice", [&[3, 5]], |x| softplus(&x[0].slice(1, 1, 3))),
        row("softplus twice", [&[7]], |x| softplus(&x[0]).mul(&softplus(&x[0]))),
    ];
}

#[cfg(has_simulator)]
mod kernels {
    use super::softplus;
    use crate::bench::kernels::kernels_of;
    use crate::bench::workloads::{Cost, Size, Workload, filled, forward_and_back};
    use crate::checks::simulator::check;
    use crate::checks::{Case, drawn, gradient};
    use crate::{DType, Tape};

    fn cases() -> Vec<Case> {
        let on_a_matrix = Case::new("softplus", 1, |device, dtype| {
            let tape = Tape::new();
            let x = tape.watch(&drawn(device, &[3, 5], dtype, 0));
            let y = softplus(&x);
            tape.backward(&y.sum());
            vec![("y", y.to_f64s()), ("dx", gradient(&tape, &x))]
        })
        .and_in_bf16(1);
        let twice = Case::new("softplus of 300, twice", 2, |device, dtype| {
            let tape = Tape::new();
            let x = tape.watch(&drawn(device, &[300], dtype, 0));
            let y = softplus(&x).mul(&softplus(&x));
            tape.backward(&y.sum());
            vec![("y", y.to_f64s()), ("dx", gradient(&tape, &x))]
        })
        .and_in_bf16(4);
        on_a_matrix.into_iter().chain(twice).collect()
    }

    #[test]
    fn they_agree_with_the_cpu() {
        for case in cases() {
            let checked = check(&case, Some(2)).unwrap();
            assert!(checked.faults.is_empty(), "{:?}", checked.faults);
            assert!(checked.launched.iter().any(|kernel| kernel.starts_with("softplus_bwd")));
        }
    }

    const IMAGE: [usize; 4] = [32, 32, 32, 64];

    fn small(_: [usize; 4]) -> [usize; 4] {
        [2, 6, 6, 64]
    }

    #[test]
    fn their_workload_launches_both() {
        let n = IMAGE.iter().product::<usize>();
        let workload = Workload::new(format!("softplus of {IMAGE:?}"), |device, dtype, size| {
            let shape = size.of(IMAGE, small(IMAGE));
            let [x, dy] = [1, 2].map(|number| filled(device, &shape, dtype, number));
            forward_and_back(vec![x], dy, |x| softplus(&x[0]))
        })
        .cost("softplus_fwd*", Cost::elements(2 * n))
        .cost("softplus_bwd*", Cost::elements(3 * n));
        for dtype in [DType::F32, DType::BF16] {
            let kernels = kernels_of(&workload, dtype, Size::Small);
            let own = kernels.iter().filter(|kernel| kernel.starts_with("softplus_"));
            assert_eq!(own.filter(|kernel| workload.cost_of(kernel).is_some()).count(), 2);
        }
    }
}
