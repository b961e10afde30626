//! What processors and operating systems differ in: the registers of an interrupted thread, and the signals in use.

use corosensei::trap::TrapHandlerRegs;

/// The watchdog's own signal.
#[cfg(target_os = "linux")]
pub(super) fn time_is_up() -> i32 {
    libc::SIGRTMIN() + 7
}

/// The watchdog's own signal; programs that do not use it ignore it.
#[cfg(not(target_os = "linux"))]
pub(super) fn time_is_up() -> i32 {
    libc::SIGURG
}

/// The stack pointer, the address of the interrupted instruction, and the return address that is in a register, or 0.
///
/// # Safety
/// `machine` must be what a signal handler was given.
pub(super) unsafe fn interrupted_at(machine: *mut libc::ucontext_t) -> [usize; 3] {
    // SAFETY: the caller's.
    unsafe { registers::interrupted_at(machine) }
}

/// Makes the interrupted thread go on with these registers.
///
/// # Safety
/// `machine` must be what a signal handler was given, and the registers those of a coroutine of this thread.
pub(super) unsafe fn go_on_with(machine: *mut libc::ucontext_t, new: TrapHandlerRegs) {
    // SAFETY: the caller's.
    unsafe { registers::set(machine, new) };
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod registers {
    use super::TrapHandlerRegs;

    pub unsafe fn interrupted_at(machine: *mut libc::ucontext_t) -> [usize; 3] {
        // SAFETY: the caller's.
        let registers = unsafe { &(*machine).uc_mcontext.gregs };
        let own = |register: i32| registers[register as usize] as usize;
        [own(libc::REG_RSP), own(libc::REG_RIP), 0]
    }

    pub unsafe fn set(machine: *mut libc::ucontext_t, new: TrapHandlerRegs) {
        // SAFETY: the caller's.
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

    pub unsafe fn interrupted_at(machine: *mut libc::ucontext_t) -> [usize; 3] {
        // SAFETY: the caller's.
        let registers = unsafe { &(*machine).uc_mcontext };
        [registers.sp as usize, registers.pc as usize, registers.regs[30] as usize]
    }

    pub unsafe fn set(machine: *mut libc::ucontext_t, new: TrapHandlerRegs) {
        // SAFETY: the caller's.
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

    pub unsafe fn interrupted_at(machine: *mut libc::ucontext_t) -> [usize; 3] {
        // SAFETY: the caller's.
        let registers = unsafe { &(*(*machine).uc_mcontext).__ss };
        [registers.__sp as usize, registers.__pc as usize, registers.__lr as usize]
    }

    pub unsafe fn set(machine: *mut libc::ucontext_t, new: TrapHandlerRegs) {
        // SAFETY: the caller's.
        let registers = unsafe { &mut (*(*machine).uc_mcontext).__ss };
        (registers.__pc, registers.__sp) = (new.pc, new.sp);
        (registers.__x[0], registers.__x[1]) = (new.x0, new.x1);
        (registers.__fp, registers.__lr) = (new.x29, new.lr);
    }
}
