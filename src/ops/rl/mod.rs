//! The ops of Q-learning.

pub mod bellman;
pub mod replay;
