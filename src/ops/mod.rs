//! The ops, one file or folder each: shape rule, CPU code, launch, backward pass. No op depends on `nn`.
//!
//! An op matches the device once in its forward pass and once in its backward pass, and records itself once.
//! `docs/adding-an-op.md` shows how to add one.

#[cfg(test)]
#[path = "../../tests/adding_an_op/mod.rs"]
mod adding_an_op;
mod divisor;
pub mod head;
pub mod input;
pub mod layers;
pub mod peak;
pub mod rl;
pub mod tensor;
pub mod update;

use std::cell::Cell;
use std::thread::LocalKey;

use crate::device::{Cost, DType, Op};
use crate::tensor::Tensor;

/// Begins an op that reads or writes each of these tensors at least once and does `operations` operations; see
/// [`crate::Device::op`]. Panics without tensors.
#[inline]
pub(crate) fn begin(op: &'static str, tensors: &[&Tensor], operations: usize) -> Option<Op> {
    tensors[0].device().op(op, || cost(tensors, operations))
}

/// The least work of such an op.
pub(crate) fn cost(tensors: &[&Tensor], operations: usize) -> Cost {
    let bytes = tensors.iter().map(|x| x.shape().elements() * x.dtype().size()).sum();
    Cost::bytes(bytes).and_operations(operations)
}

/// The name of the kernel that does `work` on tensors of type `dtype`. Panics for a type without kernels.
pub(crate) fn kernel_in(work: &str, dtype: DType) -> String {
    match dtype {
        DType::F32 => format!("{work}_f32"),
        DType::BF16 => format!("{work}_bf16"),
        _ => panic!("{work}: no kernel for {dtype:?}"),
    }
}

/// Does `work` while a setting of this thread has another value, for tests and benchmarks. The old value comes back even if `work`
/// panics, as it does where a device fails.
pub(crate) fn with_setting<T: Copy + 'static, R>(
    setting: &'static LocalKey<Cell<T>>,
    value: T,
    work: impl FnOnce() -> R,
) -> R {
    struct Restore<T: Copy + 'static>(&'static LocalKey<Cell<T>>, T);
    impl<T: Copy> Drop for Restore<T> {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restore = Restore(setting, setting.replace(value));
    work()
}

/// The number of elements in 16 bytes.
pub(crate) fn vector_of(dtype: DType) -> usize {
    16 / dtype.size()
}

/// Panics unless `step`, a step's number, is one I64. 32 bits would overflow after a day of Q-learning.
pub(crate) fn check_step(op: &str, step: &Tensor) {
    let (dtype, shape) = (step.dtype(), step.shape());
    assert!(
        dtype == DType::I64 && shape.elements() == 1,
        "{op}: the step is {dtype:?} {shape}, not one I64"
    );
}

/// A step's number as random numbers are drawn by it. On the CPU only.
pub(crate) fn step_of(step: &Tensor) -> u64 {
    step.read::<i64>()[0] as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_comes_back_after_a_panic() {
        thread_local! { static SETTING: Cell<u32> = const { Cell::new(1) } }
        assert_eq!(with_setting(&SETTING, 2, || SETTING.get()), 2);
        let work = || with_setting(&SETTING, 3, || panic!("as a lost device does"));
        assert!(std::panic::catch_unwind(work).is_err());
        assert_eq!(SETTING.get(), 1);
    }
}
