//! What a kernel is stopped for.

/// CUDA's error numbers.
pub const ILLEGAL_ADDRESS: i32 = 700;
pub const LAUNCH_TIMEOUT: i32 = 702;
pub const MISALIGNED_ADDRESS: i32 = 716;
pub const LAUNCH_FAILED: i32 = 719;

/// What a lane did wrong; where it did so is added by the warp.
#[derive(Debug)]
pub struct Problem {
    pub lane: usize,
    pub error: i32,
    pub text: String,
}

impl Problem {
    #[cold]
    pub fn new(lane: usize, error: i32, text: impl Into<String>) -> Self {
        Problem { lane, error, text: text.into() }
    }
}

/// Why a launch failed: the driver's error, and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub error: i32,
    pub text: String,
}
