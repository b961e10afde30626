//! The classifiers with their loss, their average and the switch.

pub mod classifiers;
pub mod cross_entropy;
mod interface;
pub(super) mod many_classes;
pub(super) mod mixture;
pub mod prediction;
pub mod switch;
