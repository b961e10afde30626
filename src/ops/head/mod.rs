//! The head: classifiers, losses, predictions, and the average that weighs the classifiers.

pub mod classifiers;
pub mod cross_entropy;
mod interface;
pub(super) mod many_classes;
pub(super) mod mixture;
pub mod prediction;
pub mod switch;
