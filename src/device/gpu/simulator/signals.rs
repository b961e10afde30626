//! Turns a signal inside a kernel into a fault; any other signal goes to the handler that was there before.

use std::sync::{Once, OnceLock};

use corosensei::trap::CoroutineTrapHandler;

use super::abi::context;
use super::fault::{Fault, WORDS};
use super::machine::{FAULTS, PROBE, go_on_with, interrupted_at, time_is_up};
use super::worker::Worker;

fn signals() -> [i32; 5] {
    let [a, b, c, d] = FAULTS;
    [a, b, c, d, time_is_up()]
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
        if leave_kernel(signal, info, machine.cast()) {
            return;
        }
        let previous = PREVIOUS.get().zip(signals().iter().position(|s| *s == signal));
        match previous.map(|(previous, index)| previous[index].sa_sigaction) {
            Some(action) if action != libc::SIG_DFL && action != libc::SIG_IGN => {
                type Handler = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
                std::mem::transmute::<usize, Handler>(action)(signal, info, machine);
            }
            // It came a moment too late.
            _ if signal == time_is_up() => {}
            // After the return the instruction faults again and ends the process, as it would without this handler.
            _ => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// The return address that is in a register, then the words at the top of the interrupted coroutine's stack; zeros follow where it ends.
/// The return addresses of the functions that were running are among them; frame pointers do not find all of these, least of all in the simulator's own code and in libraries.
///
/// # Safety
/// The coroutine of `trap` must be the one that was interrupted, with its stack pointer at `stack`.
unsafe fn words(stack: usize, link: usize, trap: &CoroutineTrapHandler<()>) -> [usize; WORDS] {
    let mut words = [0; WORDS];
    words[0] = link;
    for (place, word) in words[1..].iter_mut().enumerate() {
        let address = stack.next_multiple_of(8) + 8 * place;
        if !trap.stack_ptr_in_bounds(address + 8) {
            break;
        }
        // SAFETY: the word lies within the part of the coroutine's stack that is in use.
        *word = unsafe { *(address as *const usize) };
    }
    words
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
        let [stack, instruction, link] = interrupted_at(machine);
        let Some(trap) = (*worker).trap else { return false };
        // On aarch64 the compiler touches a new frame up to 1 KiB above the stack pointer, which may itself be below the guard then. The
        // stack is left from its base, so that does no harm.
        if !trap.stack_ptr_in_bounds(stack) && !trap.stack_ptr_in_bounds(stack + PROBE) {
            return false;
        }
        if signal == time_is_up() && ((*worker).is_in_hook.get() || !(*worker).is_late()) {
            return false;
        }
        // A block that runs for ever may be in a function that a kernel has called.
        let words = match signal == time_is_up() && !(*worker).stacks.is_guard(stack) {
            true => words(stack, link, &trap),
            false => [0; WORDS],
        };
        (*worker).fault = Some(Fault {
            signal,
            code: (*info).si_code,
            address: (*info).si_addr() as usize,
            instruction,
            words,
        });
        go_on_with(machine, trap.setup_trap_handler(|| ()));
    }
    true
}
