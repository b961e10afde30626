//! The signal that ended a kernel, and what it means.

use super::machine::time_is_up;
use super::source::{FRAMES, source_of};
use super::stacks::STACK_BYTES;

/// `si_code` of a signal that the operating system raised without an address.
const FROM_THE_SYSTEM: i32 = 128;

/// The words of a stack that are looked at.
pub(super) const WORDS: usize = 64;

/// The signal that interrupted a kernel.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    pub signal: i32,
    pub code: i32,
    pub address: usize,
    pub instruction: usize,
    /// The return address in a register, and the top of the kernel's stack, with the return addresses of the functions that were running, the innermost first; zeros past its end.
    pub words: [usize; WORDS],
}

impl Fault {
    /// A description of the fault and its place, for people. `last_access`: `FILE:LINE` of the last access that was
    /// checked. `in_stack_guard`: whether the address lies in the guard page of a stack. `memory`: where the address
    /// lies in the kernel's memory. `file`: where the kernel is defined.
    pub fn describe(
        &self,
        last_access: Option<String>,
        in_stack_guard: bool,
        memory: Option<String>,
        file: &str,
    ) -> String {
        let what = match self.signal {
            signal if signal == time_is_up() => {
                "still running at its time limit: an endless loop, or it waits for another block"
                    .into()
            }
            libc::SIGILL if cfg!(target_arch = "x86_64") => {
                "an index out of range or a misaligned access".into()
            }
            libc::SIGILL => {
                "an instruction that this processor lacks; was the program built for another?"
                    .into()
            }
            // By a check of the compiler's.
            libc::SIGTRAP => "an integer divided by zero, or a trap".into(),
            libc::SIGFPE => "an integer divided by zero".into(),
            _ if in_stack_guard => {
                format!("more than {STACK_BYTES} bytes of local variables in one thread")
            }
            _ if self.code == FROM_THE_SYSTEM => {
                "a misaligned vector access, or an impossible address".into()
            }
            _ => match memory {
                Some(place) => format!("illegal access {place}"),
                None => format!("illegal access to {:#x}, which is not mapped", self.address),
            },
        };
        format!("{}: {what}", self.place(last_access, file))
    }

    /// `FILE:LINE` in the kernel, which is defined in `file`. A signal in a hook, or in a linker stub between a kernel and a hook, has
    /// no line of its own; of checked kernels that of the last access is taken. A loop may be left without any access, so where a
    /// block does not end, the innermost line of `file` that is running comes first.
    fn place(&self, last_access: Option<String>, file: &str) -> String {
        let place = source_of(self.instruction);
        let is_of_file = |place: &String| place.contains(&format!("{file}:"));
        if self.signal == time_is_up() && !is_of_file(&place) {
            // A return address is that of the instruction behind the call. Other words have no line.
            let words = self.words.iter().filter(|word| **word != 0);
            if let Some(place) = words.map(|word| source_of(word - 1)).find(is_of_file) {
                return place;
            }
        }
        if is_of_kernel(&place) { place } else { last_access.unwrap_or(place) }
    }
}

/// Whether a place lies in a kernel's own source.
fn is_of_kernel(place: &str) -> bool {
    let is_frame = |place: &str| FRAMES.iter().any(|frame| place.starts_with(frame));
    let of_hooks = ["instrumented.cpp", "access.rs"];
    place.contains(':')
        && !of_hooks.iter().any(|file| place.contains(file))
        && place.split(", inlined in ").any(|place| !is_frame(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::gpu::simulator::SimulatorOptions;
    use crate::device::gpu::simulator::tests::simulator;

    #[test]
    fn where_no_source_has_a_line_the_last_access_stands_for_it() {
        // It looks up a line, and other tests need those of the broken kernels: see `Library::load`.
        let _simulator = simulator(SimulatorOptions::default());
        let fault = Fault {
            signal: time_is_up(),
            code: 0,
            address: 0,
            instruction: 0x10,
            words: [0; WORDS],
        };
        assert_eq!(fault.place(Some("update.cu:7".into()), "update.cu"), "update.cu:7");
        assert_eq!(fault.place(None, "update.cu"), "0x10");
    }
}
