//! Runs small kernels, written in PTX, on the machine.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]
#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::atomic::AtomicBool;

use cuda::machine::fault::Fault;
use cuda::machine::global::Ranges;
use cuda::machine::grid;
use cuda::machine::warp::Launch;
use cuda::options::{Arithmetic, Execution, Order};
use cuda::ptx::Program;
use cuda::ptx::change::Change;

/// A kernel with one parameter, the address of a buffer: the body's registers are %p, %r, %f, %h, %rd and %fd, and %rd0 is
/// the address.
pub fn kernel(declarations: &str, body: &str) -> String {
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n{declarations}\n\
         .visible .entry test(\n.param .u64 test_param_0\n)\n.maxntid 256, 1, 1\n{{\n\
         .reg .pred %p<20>;\n.reg .b16 %h<20>;\n.reg .b32 %r<40>;\n.reg .f32 %f<40>;\n.reg .b64 %rd<20>;\n.reg .f64 %fd<20>;\n\
         ld.param.u64 %rd0, [test_param_0];\n{body}\nret;\n}}\n"
    )
}

/// How to run it.
#[derive(Clone)]
pub struct Setup {
    pub blocks: u32,
    pub threads: u32,
    pub cluster: u32,
    pub dynamic_shared: usize,
    pub arithmetic: Arithmetic,
    pub execution: Execution,
    pub change: Option<Change>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            blocks: 1,
            threads: 32,
            cluster: 1,
            dynamic_shared: 0,
            arithmetic: Arithmetic::default(),
            execution: Execution {
                order: Order::Forward,
                early_copies: false,
                threads: 1,
                limit: 100_000,
                races: true,
            },
            change: None,
        }
    }
}

impl Setup {
    pub fn threads(threads: u32) -> Self {
        Setup { threads, ..Setup::default() }
    }

    /// Runs a kernel on a buffer of words.
    pub fn run(&self, text: &str, words: &mut [u32]) -> Result<(), Fault> {
        let program = Program::read(text).unwrap();
        let kernel = program.kernel("test", &self.arithmetic).unwrap().unwrap();
        let kernel = self.change.map(|change| kernel.changed(change)).unwrap_or(kernel);
        let start = words.as_mut_ptr() as u64;
        let ranges = Ranges(vec![(start, start + 4 * words.len() as u64)]);
        let executed: Vec<AtomicBool> =
            kernel.code.iter().map(|_| AtomicBool::new(false)).collect();
        grid::run(&Launch {
            kernel: &kernel,
            grid: [1, self.blocks, 1],
            block: [self.threads, 1, 1],
            cluster: self.cluster,
            dynamic_shared: self.dynamic_shared,
            parameters: &start.to_le_bytes(),
            memory: &ranges,
            executed: &executed,
            execution: &self.execution,
        })
    }

    /// Runs a body that writes words, one a thread unless it says otherwise.
    pub fn words(&self, body: &str, count: usize) -> Vec<u32> {
        let mut words = Aligned::new(count);
        self.run(&kernel("", body), words.words()).unwrap();
        words.words().to_vec()
    }

    /// The message about a body's fault.
    pub fn fault(&self, declarations: &str, body: &str) -> Fault {
        let mut words = Aligned::new(1024);
        self.run(&kernel(declarations, body), words.words()).unwrap_err()
    }
}

/// Words that begin at a multiple of 256 bytes, as a GPU's allocations do.
pub struct Aligned {
    memory: Vec<u32>,
    count: usize,
}

impl Aligned {
    pub fn new(count: usize) -> Self {
        Aligned { memory: vec![0; count + 64], count }
    }

    pub fn words(&mut self) -> &mut [u32] {
        let offset = self.memory.as_ptr().align_offset(256);
        &mut self.memory[offset..offset + self.count]
    }
}

/// %r0 is the thread, and %rd1 the address of its word.
pub const OWN_WORD: &str =
    "mov.u32 %r0, %tid.x;\nmul.wide.u32 %rd1, %r0, 4;\nadd.s64 %rd1, %rd0, %rd1;\n";
