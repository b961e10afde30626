//! The compact form of PTX that the interpreter executes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::machine::registers::{Class, Mask, Registers, Slot};

/// An operation on registers alone. It may compute all lanes, and writes those of the mask.
pub type Alu = fn(&mut Registers, &Operands, Mask);

/// An arithmetic operation and the classes of its registers.
pub struct Arithmetic {
    pub run: Alu,
    pub to: Class,
    pub from: &'static [Class],
}

/// The registers of an instruction. Constants, special registers and addresses of variables are registers too, which are
/// filled before a block runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operands {
    pub d: [Slot; 4],
    pub s: [Slot; 10],
}

/// A memory that a load or store names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    Global,
    Shared,
    /// Shared memory of a block of the same cluster.
    Cluster,
    Local,
    Constant,
}

/// The size and place of a load's or store's elements.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub space: Space,
    /// Bytes of an element.
    pub bytes: u8,
    /// The number of elements.
    pub count: u8,
    /// Loads extend the sign.
    pub is_signed: bool,
    /// The class of the registers that hold the data.
    pub class: Class,
    /// The class of the register that holds the address.
    pub address: Class,
    /// The bytes of a vector that the program uses, by nvcc's own word; nvcc loads padding along with data.
    pub used: u16,
    pub offset: i64,
}

/// How the lanes of a shuffle choose their source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// How votes are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vote {
    Ballot,
    Any,
    All,
}

/// What an atomic operation computes from the old value and the operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Atomic {
    Add,
    Min,
    Max,
    Or,
    Exchange,
}

/// The shape and types of a product on tensor cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Product {
    /// m16n8k8 of tf32.
    Tf32,
    /// m16n8k16 of bf16.
    Bf16,
}

/// What an instruction does.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Alu(Alu),
    Load(Access),
    Store(Access),
    /// Loads from the kernel's parameters, at `offset` and a register's value beyond it, if there is a register.
    LoadParameter {
        access: Access,
        has_base: bool,
    },
    /// Copies bytes from global to shared memory without waiting.
    CopyAsync {
        bytes: u8,
        to: Class,
        to_offset: i64,
        from_offset: i64,
    },
    CommitCopies,
    /// Waits until at most this number of groups of copies is in flight.
    WaitCopies {
        left: u32,
    },
    Atomic {
        access: Access,
        operation: Atomic,
    },
    Branch {
        target: u32,
    },
    /// Jumps, and writes the place behind the call into a register.
    Call {
        target: u32,
    },
    /// Jumps to the place in a register.
    ReturnFromCall,
    /// Ends the thread.
    Exit,
    Trap,
    Barrier,
    /// The thread has arrived at the cluster's barrier, and goes on.
    ClusterArrive,
    /// Waits until all threads of the cluster have arrived.
    ClusterWait,
    /// A barrier that tells every thread whether any (or all) of them had the predicate.
    BarrierVote {
        is_all: bool,
    },
    WarpBarrier,
    Shuffle(Shuffle),
    Vote(Vote),
    LoadMatrix {
        count: u8,
        is_transposed: bool,
        address: Class,
        offset: i64,
    },
    Product {
        shape: Product,
        is_truncated: bool,
    },
    /// Left out: see [`super::change`].
    Nothing,
}

/// The predicate that an instruction is executed under.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    pub slot: Slot,
    pub is_negated: bool,
}

/// An instruction.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    pub guard: Option<Guard>,
    pub action: Action,
    pub operands: Operands,
}

/// The instruction's place and text, for messages.
#[derive(Clone, Debug)]
pub struct Origin {
    pub file: u32,
    pub line: u32,
    pub text: String,
}

/// A register that holds the thread's or block's index and the like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Special {
    Thread(u8),
    Threads(u8),
    Block(u8),
    Blocks(u8),
    LaneIndex,
    WarpIndex,
    ClusterRank,
    ClusterSize,
}

/// A parameter's place in the parameter buffer.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub offset: usize,
    pub bytes: usize,
}

/// A kernel, ready to be executed.
#[derive(Clone)]
pub struct Kernel {
    pub name: String,
    /// Source files by their number in `.loc`.
    pub files: Arc<HashMap<u32, String>>,
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: usize,
    pub code: Vec<Instruction>,
    pub origins: Vec<Origin>,
    /// Rows of predicates, narrow and wide registers.
    pub registers: [usize; 3],
    pub constants: Vec<(Class, Slot, u64)>,
    pub specials: Vec<(Special, Slot)>,
    /// Bytes of declared shared memory, without padding behind it.
    pub static_shared: usize,
    /// Where dynamic shared memory begins.
    pub dynamic_start: usize,
    /// Bytes of a thread's local memory.
    pub local: usize,
    /// The constants in memory (`.const`).
    pub constant_memory: Vec<u8>,
    pub max_threads: usize,
    /// The smallest size of an access to shared memory, by which accesses are watched.
    pub granule: usize,
}

impl Kernel {
    /// `FILE:LINE` and text of an instruction; its number where the PTX has no line numbers.
    pub fn place(&self, pc: usize) -> String {
        let Some(origin) = self.origins.get(pc) else { return "the kernel's end".to_owned() };
        let at = match self.files.get(&origin.file) {
            Some(file) => {
                let name = file.rsplit('/').next().unwrap_or(file);
                format!("{name}:{}", origin.line)
            }
            None => format!("instruction {pc}"),
        };
        format!("{at} `{}`", origin.text)
    }
}
