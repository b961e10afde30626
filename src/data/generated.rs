//! Generated images.
use super::Arrays;
pub(super) fn images(_seed: u64) -> Arrays {
    todo!()
}
