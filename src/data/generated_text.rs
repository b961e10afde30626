//! Generated text.
use super::Text;
pub(super) fn text(_seed: u64) -> Text {
    todo!()
}
