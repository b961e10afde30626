//! Turns a signal inside a kernel into a fault; any other signal goes to the handler that was there before.

use std::sync::{Once, OnceLock};

use corosensei::trap::CoroutineTrapHandler;

use super::abi::context;
use super::fault::{CALLERS, Fault};
use super::watchdog::time_is_up;
use super::worker::Worker;

fn signals() -> [i32; 5] {
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, time_is_up()]
}

/// The handlers that were installed before, in the order of [`signals`].
static PREVIOUS: OnceLock<Vec<libc::sigaction>> = OnceLock::new();

/// Installs the signal handlers, once for the process.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = signals().map(|signal| {
            // SAFETY: all-zero is a valid `sigaction`.
            let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: it only reads the current action into `old`.
            unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
            old
        });
        PREVIOUS.get_or_init(|| previous.to_vec());
        for signal in signals() {
            // SAFETY: all-zero is a valid `sigaction`.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            // SAFETY: `handle` has the signature that SA_SIGINFO asks for, and is safe to run in a signal.
            unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        }
    });
}

// SAFETY: only the system calls it, as a handler with SA_SIGINFO.
unsafe extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, machine: *mut libc::c_void) {
    // SAFETY: the system gives valid pointers, and all data used here belongs to this thread.
    unsafe {
        if leave_kernel(signal, info, machine.cast()) || signal == time_is_up() {
            return;
        }
        let previous = PREVIOUS.get().zip(signals().iter().position(|s| *s == signal));
        match previous.map(|(previous, index)| previous[index].sa_sigaction) {
            Some(action) if action != libc::SIG_DFL && action != libc::SIG_IGN => {
                type Handler = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
                std::mem::transmute::<usize, Handler>(action)(signal, info, machine);
            }
            // After the return the instruction faults again and ends the process, as it would without this handler.
            _ => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// The return address of the innermost function where its frame is not there yet or no longer: before `push %rbp`, before
/// `mov %rsp, %rbp`, and at `ret`. The chain of frames leaves this caller out.
///
/// # Safety
/// As [`callers`].
unsafe fn caller_without_frame(
    instruction: usize,
    stack: usize,
    trap: &CoroutineTrapHandler<()>,
) -> Option<usize> {
    // SAFETY: the processor was about to execute these bytes.
    let code = unsafe { *(instruction as *const [u8; 4]) };
    let place = match code {
        // `push`, `ret`, and the `endbr64` that may stand before `push`.
        [0x55 | 0xc3, ..] | [0xf3, 0x0f, 0x1e, 0xfa] => stack,
        [0x48, 0x89, 0xe5, _] => stack + 8,
        _ => return None,
    };
    // SAFETY: the word lies within the part of the coroutine's stack that is in use.
    trap.stack_ptr_in_bounds(place + 8).then(|| unsafe { *(place as *const usize) })
}

/// The return addresses of the innermost functions, by their frame pointers; 0 behind the last one, and everywhere in code without
/// frame pointers.
///
/// # Safety
/// The coroutine of `trap` must be the one that was interrupted at `instruction`, with its stack pointer at `stack`.
unsafe fn callers(
    [instruction, mut frame, stack]: [usize; 3],
    trap: &CoroutineTrapHandler<()>,
) -> [usize; CALLERS] {
    let mut callers = [0; CALLERS];
    // SAFETY: as this function.
    let first = unsafe { caller_without_frame(instruction, stack, trap) };
    callers[0] = first.unwrap_or(0);
    for caller in &mut callers[usize::from(first.is_some())..] {
        let end = frame.wrapping_add(16);
        if frame < stack || !frame.is_multiple_of(8) || !trap.stack_ptr_in_bounds(end) {
            break;
        }
        // SAFETY: both words lie within the part of the coroutine's stack that is in use.
        let [above, address] = unsafe { *(frame as *const [usize; 2]) };
        *caller = address;
        // Frames of callers lie above.
        if above <= frame {
            break;
        }
        frame = above;
    }
    callers
}

/// If the signal came from a kernel's code: stores the fault and leaves the coroutine.
///
/// # Safety
/// The pointers must be those that a signal handler was given.
unsafe fn leave_kernel(
    signal: i32,
    info: *mut libc::siginfo_t,
    machine: *mut libc::ucontext_t,
) -> bool {
    // SAFETY: the pointers are the system's. The worker belongs to this thread, and none of its methods is running.
    unsafe {
        let worker = (*context()).worker.cast::<Worker>();
        if worker.is_null() {
            return false;
        }
        let registers = &mut (*machine).uc_mcontext.gregs;
        let Some(trap) = (*worker).trap else { return false };
        if !trap.stack_ptr_in_bounds(registers[libc::REG_RSP as usize] as usize) {
            return false;
        }
        if signal == time_is_up() && (*worker).is_in_hook.get() {
            return false;
        }
        let at = [libc::REG_RIP, libc::REG_RBP, libc::REG_RSP]
            .map(|own| registers[own as usize] as usize);
        // A block that runs for ever may be in a function that a kernel has called.
        let callers = match signal == time_is_up() {
            true => callers(at, &trap),
            false => [0; CALLERS],
        };
        (*worker).fault = Some(Fault {
            signal,
            code: (*info).si_code,
            address: (*info).si_addr() as usize,
            instruction: at[0],
            callers,
        });
        let new = trap.setup_trap_handler(|| ());
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
    true
}
