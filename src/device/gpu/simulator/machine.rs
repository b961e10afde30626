//! Differences between processors and operating systems: the registers of an interrupted thread, and the signals in use.

use corosensei::trap::TrapHandlerRegs;

pub(super) use self::registers::{go_on_with, interrupted_at};

/// The signals of a fault. A check of the compiler's that fails is an illegal instruction on x86-64, and a breakpoint on aarch64.
#[cfg(target_arch = "x86_64")]
pub(super) const FAULTS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The signals of a fault. A check of the compiler's that fails is an illegal instruction on x86-64, and a breakpoint on aarch64.
#[cfg(not(target_arch = "x86_64"))]
pub(super) const FAULTS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGTRAP];

/// How far the stack pointer may be below the address that the compiler touches to check a new frame, in bytes.
pub(super) const PROBE: usize = if cfg!(target_arch = "x86_64") { 0 } else { 1024 };

/// The watchdog's own signal.
#[cfg(target_os = "linux")]
pub(super) fn time_is_up() -> i32 {
    libc::SIGRTMIN() + 7
}

/// The watchdog's own signal; its default action is to ignore it.
#[cfg(not(target_os = "linux"))]
pub(super) fn time_is_up() -> i32 {
    libc::SIGURG
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod registers {
    use super::TrapHandlerRegs;

    /// The stack pointer, the address of the interrupted instruction, and the return address that is in a register, or 0.
    ///
    /// # Safety
    /// `machine` must be the context argument of a signal handler.
    pub unsafe fn interrupted_at(machine: *mut libc::ucontext_t) -> [usize; 3] {
        // SAFETY: the caller passes the context of a signal handler.
        let registers = unsafe { &(*machine).uc_mcontext.gregs };
        let own = |register: i32| registers[register as usize] as usize;
        [own(libc::REG_RSP), own(libc::REG_RIP), 0]
    }

    /// Makes the interrupted thread go on with these registers.
    ///
    /// # Safety
    /// `machine` must be the context argument of a signal handler, and the registers those of a coroutine of this thread.
    pub unsafe fn go_on_with(machine: *mut libc::ucontext_t, new: TrapHandlerRegs) {
        // SAFETY: the caller passes the context of a signal handler.
        let registers = unsafe { &mut (*machine).uc_mcontext.gregs };
        for (register, value) in [
            (libc::REG_RIP, new.rip),
            (libc::REG_RSP, new.rsp),
            (libc::REG_RBP, new.rbp),
            (libc::REG_RDI, new.rdi),
            (libc::REG_RSI, new.rsi),
        ] {
            registers[register as usize] = value as i64;
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod registers {
    use super::TrapHandlerRegs;

    /// The stack pointer, the address of the interrupted instruction, and the return address that is in a register, or 0.
    ///
    /// # Safety
    /// `machine` must be the context argument of a signal handler.
    pub unsafe fn interrupted_at(machine: *mut libc::ucontext_t) -> [usize; 3] {
        // SAFETY: the caller passes the context of a signal handler.
        let registers = unsafe { &(*machine).uc_mcontext };
        [registers.sp as usize, registers.pc as usize, registers.regs[30] as usize]
    }

    /// Makes the interrupted thread go on with these registers.
    ///
    /// # Safety
    /// `machine` must be the context argument of a signal handler, and the registers those of a coroutine of this thread.
    pub unsafe fn go_on_with(machine: *mut libc::ucontext_t, new: TrapHandlerRegs) {
        // SAFETY: the caller passes the context of a signal handler.
        let registers = unsafe { &mut (*machine).uc_mcontext };
        (registers.pc, registers.sp) = (new.pc, new.sp);
        for (register, value) in [(0, new.x0), (1, new.x1), (29, new.x29), (30, new.lr)] {
            registers.regs[register] = value;
        }
    }
}

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
mod registers {
    use super::TrapHandlerRegs;

    /// The stack pointer, the address of the interrupted instruction, and the return address that is in a register, or 0.
    ///
    /// # Safety
    /// `machine` must be the context argument of a signal handler.
    pub unsafe fn interrupted_at(machine: *mut libc::ucontext_t) -> [usize; 3] {
        // SAFETY: the caller passes the context of a signal handler.
        let registers = unsafe { &(*(*machine).uc_mcontext).__ss };
        [registers.__sp as usize, registers.__pc as usize, registers.__lr as usize]
    }

    /// Makes the interrupted thread go on with these registers.
    ///
    /// # Safety
    /// `machine` must be the context argument of a signal handler, and the registers those of a coroutine of this thread.
    pub unsafe fn go_on_with(machine: *mut libc::ucontext_t, new: TrapHandlerRegs) {
        // SAFETY: the caller passes the context of a signal handler.
        let registers = unsafe { &mut (*(*machine).uc_mcontext).__ss };
        (registers.__pc, registers.__sp) = (new.pc, new.sp);
        (registers.__x[0], registers.__x[1]) = (new.x0, new.x1);
        (registers.__fp, registers.__lr) = (new.x29, new.lr);
    }
}
