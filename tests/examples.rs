//! The examples that take no time. Cargo compiles the others.

#[path = "../examples/gradient_descent.rs"]
mod gradient_descent;

/// It panics if its network does not learn.
#[test]
fn gradient_descent_fits_a_sine() {
    gradient_descent::main();
}
