//! Turns a signal inside a kernel into an error value; any other signal goes to the handler that was there before. A
//! watchdog sends a signal to threads whose block does not end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::abi::{context, file_name};
use super::memory;
use super::stacks::STACK_BYTES;
use super::worker::Worker;

/// The time between two rounds of the watchdog.
const ROUND: Duration = Duration::from_millis(50);

/// `si_code` of a signal that the operating system raised without an address.
const FROM_THE_SYSTEM: i32 = 128;

/// The signal that interrupted a kernel.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    signal: i32,
    code: i32,
    address: usize,
    instruction: usize,
}

/// The watchdog's own signal.
fn time_is_up() -> i32 {
    libc::SIGRTMIN() + 7
}

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
        (*worker).fault = Some(Fault {
            signal,
            code: (*info).si_code,
            address: (*info).si_addr() as usize,
            instruction: registers[libc::REG_RIP as usize] as usize,
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

impl Fault {
    /// A description of the fault and its place, for people.
    pub fn describe(&self, worker: &Worker) -> String {
        let place = self.place(worker.accesses.as_ref().map(|accesses| accesses.last_place()));
        let what = match self.signal {
            signal if signal == time_is_up() => {
                "still running at its time limit: an endless loop, or it waits for another block"
                    .into()
            }
            libc::SIGILL => "an index out of range or a misaligned access".into(),
            libc::SIGFPE => "an integer divided by zero".into(),
            _ => self.describe_access(worker),
        };
        format!("{place}: {what}")
    }

    /// `FILE:LINE` in the kernel. A signal in a hook, or in a linker stub between a kernel and a hook, has no line of
    /// its own; the checked build takes that of the last access.
    fn place(&self, last_access: Option<String>) -> String {
        let place = source_of(self.instruction);
        let is_kernel = place.contains(':')
            && !["instrumented.cpp", "access.rs"].iter().any(|file| place.contains(file));
        last_access.filter(|_| !is_kernel).unwrap_or(place)
    }

    fn describe_access(&self, worker: &Worker) -> String {
        if worker.is_stack_guard(self.address) {
            return format!("more than {STACK_BYTES} bytes of local variables in one thread");
        }
        if self.code == FROM_THE_SYSTEM {
            return "a misaligned vector access, or an impossible address".into();
        }
        match describe_address(worker, self.address) {
            Some(place) => format!("illegal access {place}"),
            None => format!("illegal access to {:#x}, which is not mapped", self.address),
        }
    }
}

/// Describes where an address lies in the memory of the running kernel, for people.
pub(super) fn describe_address(worker: &Worker, address: usize) -> Option<String> {
    worker.shared.describe(address).or_else(|| {
        let (block, place) = memory::describe(address)?;
        let name = worker.job().argument_name(block);
        Some(place + &name.map_or(String::new(), |name| format!(", `{name}`")))
    })
}

/// The file that is inlined into every kernel; its lines say nothing about an error.
const FRAME: &str = "cuda_on_host.h";

/// `FILE:LINE` of an instruction, followed by the places it was inlined into.
pub(super) fn source_of(instruction: usize) -> String {
    let mut places: Vec<String> = Vec::new();
    backtrace::resolve(instruction as *mut _, |symbol| {
        if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
            places.push(format!("{}:{line}", file_name(&file.to_string_lossy())));
        }
    });
    if places.iter().any(|place| !place.starts_with(FRAME)) {
        places.retain(|place| !place.starts_with(FRAME));
    }
    if places.is_empty() { format!("{instruction:#x}") } else { places.join(", inlined in ") }
}

/// Milliseconds since the first call, plus one.
pub(super) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

/// A thread and the deadline of its block; 0 for no deadline.
struct Watched {
    thread: libc::pthread_t,
    deadline: Arc<AtomicU64>,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

/// Makes the watchdog watch the calling thread.
pub(super) fn watch(deadline: &Arc<AtomicU64>) {
    static WATCHDOG: Once = Once::new();
    // SAFETY: it only returns the calling thread's handle.
    let thread = unsafe { libc::pthread_self() };
    let entry = Watched { thread, deadline: Arc::clone(deadline) };
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    WATCHDOG.call_once(|| {
        // If no watchdog can be started, an endless loop in a kernel never ends.
        let _ = std::thread::Builder::new().name("alrao-watchdog".into()).spawn(keep_watch);
    });
}

/// Stops watching a thread, before it or its worker ends.
pub(super) fn forget(deadline: &Arc<AtomicU64>) {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    watched.retain(|thread| !Arc::ptr_eq(&thread.deadline, deadline));
}

fn keep_watch() {
    loop {
        std::thread::sleep(ROUND);
        for watched in WATCHED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let deadline = watched.deadline.load(Ordering::Relaxed);
            if deadline != 0 && now() > deadline {
                // SAFETY: a thread removes itself from the list, under its lock, before it ends.
                unsafe { libc::pthread_kill(watched.thread, time_is_up()) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_source_has_a_line_the_last_access_stands_for_it() {
        let fault = Fault { signal: time_is_up(), code: 0, address: 0, instruction: 0x10 };
        assert_eq!(fault.place(Some("update.cu:7".into())), "update.cu:7");
        assert_eq!(fault.place(None), "0x10");
    }
}
