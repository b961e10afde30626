//! The ops after the backward pass: clipping, the update, catch-up, the soft update, and the sums over an epoch.

pub mod catch_up;
pub mod clip;
pub mod optimizer;
pub mod soft_update;
pub mod step_statistics;
