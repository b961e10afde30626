//! The options, from environment variables. Each name begins with `PTX_DRIVER_`.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Which of the results that a GPU may give are computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arithmetic {
    /// `TRUNCATE=1`: sums of the tensor cores are truncated.
    pub truncated_sums: bool,
    /// `APPROXIMATE=1`: approximate functions are off by their documented error.
    pub off_approximations: bool,
    /// `CONTRACT=1`: products and sums are contracted to fma.
    pub contracted: bool,
}

/// The order in which warps run between barriers, and blocks of a grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Forward,
    Reverse,
    /// By a seed: warps take turns of random length.
    Shuffled(u64),
}

/// How a kernel is executed.
#[derive(Clone, Debug)]
pub struct Execution {
    pub order: Order,
    /// `COPIES=early`: asynchronous copies are made at once, and not when they are waited for.
    pub early_copies: bool,
    /// `THREADS=N`: blocks that run at a time.
    pub threads: usize,
    /// `LIMIT=N`: the most instructions of a warp, after which its loop counts as endless.
    pub limit: u64,
    /// `RACES=0` turns off the search for races on shared memory.
    pub races: bool,
}

/// The GPU that the driver reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    pub name: &'static std::ffi::CStr,
    pub major: i32,
    pub sm_count: i32,
    pub l2_bytes: i32,
    /// Shared memory of an SM, and the most that a block may have.
    pub shared_of_sm: usize,
    pub shared_of_block: usize,
}

/// NVIDIA A100, 40 GB.
pub const A100: Gpu = Gpu {
    name: c"A100 (PTX on the host)",
    major: 8,
    sm_count: 108,
    l2_bytes: 40 << 20,
    shared_of_sm: 164 << 10,
    shared_of_block: 163 << 10,
};

/// NVIDIA H200.
pub const H200: Gpu = Gpu {
    name: c"H200 (PTX on the host)",
    major: 9,
    sm_count: 132,
    l2_bytes: 50 << 20,
    shared_of_sm: 228 << 10,
    shared_of_block: 227 << 10,
};

/// A GPU that is newer than the kernels' machine code, with the limits of an H200.
pub const NEWER: Gpu = Gpu { name: c"sm_100 (PTX on the host)", major: 10, ..H200 };

/// A driver call that fails on request: its name, which call of that name, and the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub call: String,
    pub number: u64,
    pub error: i32,
}

/// All options.
#[derive(Clone, Debug)]
pub struct Options {
    pub arithmetic: Arithmetic,
    pub execution: Execution,
    pub gpu: Gpu,
    /// `GPUS=N`: how many of them there are. They share one memory.
    pub gpus: i32,
    /// `VERSION=N`: the newest version of CUDA that the driver runs.
    pub version: i32,
    /// `MEMORY=MIB`: the GPU's memory.
    pub memory: usize,
    /// `CODE=FOLDER`: the PTX of fat binaries that hold machine code alone.
    pub code: Option<PathBuf>,
    /// `STREAMS=eager`: work is done when it is launched, and not when somebody waits for it.
    pub eager_streams: bool,
    pub failure: Option<Failure>,
    /// `COVERAGE=FILE`.
    pub coverage: Option<PathBuf>,
    /// `TRIALS=N`: launches are repeated with every N-th wrong version of their kernels; 0 for none.
    pub trials: usize,
}

/// The process's options.
pub fn options() -> &'static Options {
    static OPTIONS: OnceLock<Options> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        Options::read(&|name| std::env::var(format!("PTX_DRIVER_{name}")).ok()).unwrap_or_else(
            |message| {
                // A test that runs under other options than its author believes proves nothing.
                eprintln!("ptx-driver: {message}");
                std::process::exit(2);
            },
        )
    })
}

impl Options {
    /// Reads options; `get` returns the text of one.
    ///
    /// # Errors
    /// An option whose value is unknown.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Options, String> {
        let is_set = |name: &str| get(name).is_some_and(|value| value != "0" && !value.is_empty());
        let number = |name: &str, default: u64| match get(name) {
            Some(text) => {
                text.parse().map_err(|_| format!("PTX_DRIVER_{name}={text} is not a number"))
            }
            None => Ok(default),
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Options {
            arithmetic: Arithmetic {
                truncated_sums: is_set("TRUNCATE"),
                off_approximations: is_set("APPROXIMATE"),
                contracted: is_set("CONTRACT"),
            },
            execution: Execution {
                order: order(get("ORDER").as_deref())?,
                early_copies: one_of("COPIES", get("COPIES"), ["late", "early"])?,
                threads: number("THREADS", threads as u64)?.max(1) as usize,
                limit: number("LIMIT", 1 << 30)?,
                races: get("RACES").is_none_or(|value| value != "0"),
            },
            gpu: match get("GPU").as_deref() {
                None | Some("sm_80") => A100,
                Some("sm_90") => H200,
                Some("sm_100") => NEWER,
                Some(own) => {
                    return Err(format!("PTX_DRIVER_GPU={own} is none of sm_80, sm_90 and sm_100"));
                }
            },
            gpus: number("GPUS", 1)? as i32,
            version: number("VERSION", 13_000)? as i32,
            memory: (number("MEMORY", 16 << 10)? as usize) << 20,
            code: get("CODE").map(PathBuf::from),
            eager_streams: one_of("STREAMS", get("STREAMS"), ["lazy", "eager"])?,
            failure: match get("FAIL") {
                Some(text) => Some(failure(&text)?),
                None => None,
            },
            coverage: get("COVERAGE").map(PathBuf::from),
            trials: number("TRIALS", 0)? as usize,
        })
    }
}

/// Whether an option has the second of its two values; the first is the default.
fn one_of(name: &str, value: Option<String>, values: [&str; 2]) -> Result<bool, String> {
    match value.as_deref() {
        None => Ok(false),
        Some(own) if own == values[0] => Ok(false),
        Some(own) if own == values[1] => Ok(true),
        Some(own) => {
            Err(format!("PTX_DRIVER_{name}={own} is neither {} nor {}", values[0], values[1]))
        }
    }
}

fn order(text: Option<&str>) -> Result<Order, String> {
    match text {
        None | Some("forward") => Ok(Order::Forward),
        Some("reverse") => Ok(Order::Reverse),
        Some(other) => other
            .strip_prefix("shuffle:")
            .and_then(|seed| seed.parse().ok())
            .map(Order::Shuffled)
            .ok_or_else(|| {
                format!("PTX_DRIVER_ORDER={other} is not forward, reverse or shuffle:SEED")
            }),
    }
}

/// `CALL:N` or `CALL:N:ERROR`.
fn failure(text: &str) -> Result<Failure, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let number = |at: usize, default| parts.get(at).map_or(Some(default), |part| part.parse().ok());
    match (parts.first(), number(1, 1), number(2, 999)) {
        (Some(call), Some(count), Some(error)) if count > 0 && error > 0 => {
            Ok(Failure { call: (*call).to_owned(), number: count as u64, error })
        }
        _ => Err(format!("PTX_DRIVER_FAIL={text} is not CALL:N or CALL:N:ERROR")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Options, String> {
        Options::read(&|name| {
            given.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn options_are_read_and_unknown_values_are_refused() {
        let all = read(&[("ORDER", "shuffle:7"), ("GPU", "sm_90"), ("FAIL", "cuLaunchKernel:3:2")]);
        let all = all.unwrap();
        assert_eq!(all.execution.order, Order::Shuffled(7));
        assert_eq!(all.gpu, H200);
        let failure = Failure { call: "cuLaunchKernel".to_owned(), number: 3, error: 2 };
        assert_eq!(all.failure, Some(failure));
        assert_eq!(read(&[]).unwrap().gpu, A100);
        for (name, value) in [("ORDER", "up"), ("GPU", "sm_70"), ("FAIL", "x:0"), ("LIMIT", "many")]
        {
            assert!(read(&[(name, value)]).is_err(), "{name}={value}");
        }
    }
}
