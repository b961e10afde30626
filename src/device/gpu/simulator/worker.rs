//! A worker runs one block at a time on a thread of the operating system. The block's CUDA threads run one after
//! another on one stack. A CUDA thread that has to wait keeps the stack, and the next one continues on a new stack.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use corosensei::trap::CoroutineTrapHandler;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::abi::{Context, Run, Site, Triple, context};
use super::fault::Fault;
use super::job::{Failure, Job, Order, Seen};
use super::launch_accesses::Accesses;
use super::memory;
use super::shared_memory::SharedMemory;
use super::stacks::{GuardedStack, Stacks};
use super::waiting::{
    Barrier, ClusterBlock, Copies, Exchange, NOT_WAITING, Waiting, Warp, deadlock,
};
use super::watchdog;

/// A coroutine, which is used for block after block. It runs threads of the current block, is parked with one of them,
/// or is idle.
struct Slot {
    coroutine: Option<Coroutine<(), (), (), GuardedStack>>,
    /// The address behind its stack.
    stack_end: usize,
    yielder: *const Yielder<(), ()>,
}

/// The state of a thread of the operating system that runs blocks.
pub(super) struct Worker {
    context: *mut Context,
    job: Option<Job>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    running: u32,
    /// Set by a coroutine without a thread left to run, just before it suspends.
    is_idle: bool,
    pub stacks: Stacks,
    pub waiting: Vec<Waiting>,
    pub warps: Vec<Warp>,
    pub barrier: Barrier,
    /// Set once all threads of the running block wait for its cluster.
    pub exchange: Option<Exchange>,
    pub copies: Vec<Copies>,
    pub has_copies: bool,
    pub shared: SharedMemory,
    /// The accesses of a launch that is checked for races.
    pub accesses: Option<Box<Accesses>>,
    numbers: Vec<Triple>,
    numbers_of: Triple,
    order: Vec<u32>,
    /// Threads that a warp's collective has released; they run first.
    pub ready: Vec<u32>,
    /// The position in `order` of the next thread that the block's barrier has released.
    pub sweep: u32,
    failure: Option<String>,
    random: u64,
    pub trap: Option<CoroutineTrapHandler<()>>,
    pub fault: Option<Fault>,
    /// The barriers, of a warp or a block, that threads have reached.
    barriers: Vec<*const Site>,
    /// Whether a hook is running: the watchdog may not discard its stack.
    pub is_in_hook: Cell<bool>,
    /// The deadline of the running block, by [`watchdog::now`]; 0 between blocks.
    pub deadline: Arc<AtomicU64>,
}

impl Worker {
    fn new() -> Box<Self> {
        let deadline = Arc::new(AtomicU64::new(0));
        watchdog::watch(&deadline);
        Box::new(Worker {
            context: context(),
            job: None,
            slots: Vec::new(),
            free: Vec::new(),
            running: 0,
            is_idle: false,
            stacks: Stacks::default(),
            waiting: Vec::new(),
            warps: Vec::new(),
            barrier: Barrier::default(),
            exchange: None,
            copies: Vec::new(),
            has_copies: false,
            shared: SharedMemory::default(),
            accesses: None,
            numbers: Vec::new(),
            numbers_of: Triple::default(),
            order: Vec::new(),
            ready: Vec::new(),
            sweep: u32::MAX,
            failure: None,
            random: 1,
            trap: None,
            fault: None,
            barriers: Vec::new(),
            is_in_hook: Cell::new(false),
            deadline,
        })
    }

    /// Calls `body` with the calling thread's worker.
    pub fn with<R>(body: impl FnOnce(*mut Worker) -> R) -> R {
        thread_local!(static WORKER: RefCell<Box<Worker>> = RefCell::new(Worker::new()));
        WORKER.with(|worker| body(&raw mut **worker.borrow_mut()))
    }

    pub fn context(&self) -> &Context {
        // SAFETY: it points to the thread-local context of this worker's thread.
        unsafe { &*self.context }
    }

    pub fn context_mut(&mut self) -> &mut Context {
        // SAFETY: as above; kernels and hooks, which use it too, do not run while this reference lives.
        unsafe { &mut *self.context }
    }

    /// The running launch.
    pub fn job(&self) -> &Job {
        self.job.as_ref().expect("blocks run only with a job")
    }

    /// Prepares for the blocks of a launch.
    pub fn begin(&mut self, job: Job) {
        let (block, total) = (job.block, job.block.count() as u32);
        let threads = total as usize;
        self.job = Some(job);
        self.waiting.clear();
        self.waiting.resize(threads.next_multiple_of(32), NOT_WAITING);
        self.copies.resize_with(threads.max(self.copies.len()), Copies::default);
        self.warps.clear();
        self.warps.resize_with(threads.div_ceil(32), Warp::default);
        if self.numbers_of != block {
            self.numbers_of = block;
            self.numbers = (0..u64::from(total)).map(|number| block.at(number)).collect();
        }
        self.order.clear();
        match job.mode.order {
            Order::Reverse => self.order.extend((0..total).rev()),
            Order::Forward | Order::Shuffled(_) => self.order.extend(0..total),
        }
        match job.mode.races {
            true => {
                let accesses = self.accesses.get_or_insert_default();
                accesses.begin_launch(job.grid.count(), threads, &job);
            }
            false => self.accesses = None,
        }
        let worker = (self as *mut Worker).cast();
        let (numbers, order) = (self.numbers.as_ptr(), self.order.as_ptr());
        let context = self.context_mut();
        context.block_size = block;
        context.grid_size = job.grid;
        context.cluster = job.cluster;
        context.total = total;
        context.threads = numbers;
        context.order = order;
        context.tells_copies = u32::from(job.mode.late_copies || job.mode.races);
        context.is_checked = u32::from(job.mode.races);
        context.worker = worker;
    }

    /// Ends a launch and returns the report of it.
    pub fn end(&mut self) -> Seen {
        let sample = self.accesses.as_mut().and_then(|accesses| accesses.take_sample());
        let sample = sample.map(|sample| self.describe_sample(&sample));
        self.job = None;
        self.context_mut().worker = null_mut();
        Seen {
            // SAFETY: sites are statics of the kernels.
            barriers: self.barriers.drain(..).map(|site| unsafe { &*site }.place()).collect(),
            accesses: self.accesses.as_ref().map_or(0, |accesses| accesses.count()),
            passed_barriers: self.accesses.as_ref().map_or(0, |accesses| accesses.barriers),
            traffic: self.accesses.as_mut().map_or(Vec::new(), |accesses| accesses.take_traffic()),
            sample,
        }
    }

    /// Adds a barrier to those that threads have reached.
    pub fn note_barrier(&mut self, site: &'static Site) {
        let site = std::ptr::from_ref(site);
        if !self.barriers.contains(&site) {
            self.barriers.push(site);
        }
    }

    /// Runs the block with this number until it ends or waits for its cluster, or to its first error.
    ///
    /// # Safety
    /// `worker` must be the calling thread's, after [`Worker::begin`] with arguments that fit the kernel.
    pub unsafe fn run_block(
        worker: *mut Worker,
        number: u64,
        rank: u32,
    ) -> Result<Option<ClusterBlock>, Failure> {
        // SAFETY: nothing else refers to the worker until a coroutine runs, and then only through this pointer.
        if let Err(message) = unsafe { (*worker).begin_block(number, rank) } {
            return Err(Failure { block: number, message });
        }
        // SAFETY: as above.
        unsafe { Worker::run_threads(worker, number, rank) }
    }

    /// Runs the threads of the block that has begun.
    ///
    /// # Safety
    /// As for [`Worker::run_block`].
    pub unsafe fn run_threads(
        worker: *mut Worker,
        number: u64,
        rank: u32,
    ) -> Result<Option<ClusterBlock>, Failure> {
        // SAFETY: as in `run_block`; the references end before each coroutine is resumed.
        unsafe {
            while let Some(slot) = (*worker).next_slot() {
                if !Worker::resume(worker, slot) {
                    break;
                }
            }
            match (*worker).exchange.take() {
                Some(exchange) if (*worker).failure.is_none() => {
                    Ok(Some((*worker).leave_block(number, rank, exchange)))
                }
                _ => (*worker).end_block(number).map(|()| None),
            }
        }
    }

    fn begin_block(&mut self, number: u64, rank: u32) -> Result<(), String> {
        let job = *self.job();
        self.warps.iter_mut().for_each(|warp| warp.arrived = 0);
        self.barrier.clear();
        self.ready.clear();
        self.sweep = u32::MAX;
        (self.failure, self.fault, self.exchange) = (None, None, None);
        if std::mem::take(&mut self.has_copies) {
            self.copies.iter_mut().for_each(Copies::clear);
        }
        if let Order::Shuffled(seed) = job.mode.order {
            self.random = (seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
            for last in (1..self.order.len()).rev() {
                let other = self.pick_random(last + 1);
                self.order.swap(last, other);
            }
        }
        let dynamic = self.shared.begin_block(job.dynamic_shared, job.most_shared)?;
        if let Some(accesses) = &mut self.accesses {
            accesses.begin_block(number);
        }
        let context = self.context_mut();
        context.block = job.grid.at(number);
        context.cluster_rank = rank;
        context.reads_gaps = 0;
        context.thread = Triple::default();
        (context.current, context.next) = (0, 0);
        context.dynamic_shared = dynamic as *mut c_void;
        self.set_deadline();
        Ok(())
    }

    /// Whether the running block has passed its deadline.
    pub fn is_late(&self) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        deadline != 0 && watchdog::now() > deadline
    }

    pub fn set_deadline(&self) {
        let limit = self.job().mode.time_limit.as_millis() as u64;
        self.deadline.store(watchdog::now() + limit, Ordering::Relaxed);
    }

    fn end_block(&mut self, number: u64) -> Result<(), Failure> {
        self.deadline.store(0, Ordering::Relaxed);
        self.trap = None;
        let total = self.context().total as usize;
        let waiting = self.waiting[..total].iter().position(|one| one.slot.is_some());
        if let (None, Some(first)) = (&self.failure, waiting) {
            // Names a waiting thread, since the one that ran last has exited.
            self.context_mut().thread = self.numbers[first];
            let message = deadlock(&self.waiting[..total]);
            self.fail(message);
        }
        let Some(message) = self.failure.take() else { return Ok(()) };
        for thread in 0..total {
            if let Some(slot) = self.waiting[thread].slot.take() {
                self.restart(slot);
            }
        }
        Err(Failure { block: number, message })
    }

    /// The coroutine to resume next; sets the context for its thread. `None` if no thread can run.
    fn next_slot(&mut self) -> Option<u32> {
        let Some(thread) = self.next_released() else {
            let context = self.context();
            return (context.next < context.total).then(|| self.idle_slot())?;
        };
        let number = self.numbers[thread as usize];
        let context = self.context_mut();
        context.current = thread;
        context.thread = number;
        self.waiting[thread as usize].slot.take()
    }

    /// A parked thread that may continue; `None` if a new one is to be started first.
    fn next_released(&mut self) -> Option<u32> {
        let context = self.context();
        let (total, unstarted) = (context.total, context.total - context.next);
        if let Order::Shuffled(_) = self.job().mode.order {
            if self.sweep < total {
                self.ready.extend(0..total);
                self.sweep = u32::MAX;
            }
            let choices = self.ready.len() + 2 * usize::from(unstarted > 0);
            let choice = if choices == 0 { 0 } else { self.pick_random(choices) };
            return (choice < self.ready.len()).then(|| self.ready.swap_remove(choice));
        }
        if let Some(thread) = self.ready.pop() {
            return Some(thread);
        }
        if unstarted > 0 || self.sweep >= total {
            return None;
        }
        self.sweep += 1;
        Some(self.order[self.sweep as usize - 1])
    }

    fn pick_random(&mut self, choices: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % choices as u64) as usize
    }

    fn idle_slot(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let Some(stack) = self.stacks.take() else {
            self.fail("the system gives no more stacks for waiting threads".into());
            return None;
        };
        let number = self.slots.len() as u32;
        let stack_end = stack.end();
        let coroutine = Some(coroutine(self, number, stack));
        self.slots.push(Slot { coroutine, stack_end, yielder: null() });
        Some(number)
    }

    /// Runs a coroutine until it parks, becomes idle or fails. Returns whether the block can continue.
    ///
    /// # Safety
    /// As for [`Worker::run_block`].
    unsafe fn resume(worker: *mut Worker, number: u32) -> bool {
        // SAFETY: the caller's pointer is valid. No reference into the worker lives while the coroutine runs, which
        // uses the same pointer; `coroutine` points into a slot, and the vector of slots does not grow meanwhile.
        unsafe {
            (*worker).running = number;
            (*worker).is_idle = false;
            let stack_end = (&(*worker).slots)[number as usize].stack_end;
            (*worker).context_mut().stack_end = stack_end;
            let slots = &mut (*worker).slots;
            let slot = slots[number as usize].coroutine.as_mut().expect("a slot has a coroutine");
            (*worker).trap = Some(slot.trap_handler());
            let coroutine = &raw mut *slot;
            match (*coroutine).resume(()) {
                CoroutineResult::Yield(()) if (*worker).is_idle => (*worker).free.push(number),
                CoroutineResult::Yield(()) => {
                    let thread = (*worker).context().current as usize;
                    let waiting = &mut (*worker).waiting;
                    waiting[thread].slot = Some(number);
                }
                CoroutineResult::Return(()) => {
                    (*worker).restart(number);
                    let message = (*worker).describe_fault();
                    (*worker).fail(message);
                }
            }
            (*worker).failure.is_none()
        }
    }

    /// Discards a coroutine's frames and starts it anew on its stack.
    pub fn restart(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        let mut old = slot.coroutine.take().expect("a slot has a coroutine");
        // SAFETY: the discarded frames are those of kernels and hooks, which own nothing that must be dropped.
        unsafe { old.force_reset() };
        let fresh = coroutine(self, number, old.into_stack());
        self.slots[number as usize].coroutine = Some(fresh);
        self.free.push(number);
    }

    /// Ends the running block with an error in the running thread.
    pub fn fail(&mut self, what: String) {
        let (context, kernel) = (self.context(), self.job().kernel);
        let place = format!("block {} thread {}", context.block, context.thread);
        let message = format!("{} {place}: {what}", kernel.name());
        self.failure.get_or_insert(message);
    }

    /// The worker of a running kernel, which has called a hook.
    ///
    /// # Safety
    /// `context` must be that of a running kernel.
    pub unsafe fn enter_hook(context: *mut Context) -> *mut Worker {
        // SAFETY: a kernel's context is that of its thread, and its worker is set while blocks run.
        let worker = unsafe { (*context).worker.cast::<Worker>() };
        // SAFETY: as above.
        unsafe { (*worker).is_in_hook.set(true) };
        worker
    }

    /// Ends the running block with an error in the running thread, whose coroutine is never resumed.
    ///
    /// # Safety
    /// As for [`Worker::park`].
    pub unsafe fn fail_here(worker: *mut Worker, message: String) {
        // SAFETY: the caller's promise.
        unsafe {
            (*worker).fail(message);
            Worker::park(worker);
        }
    }

    /// Suspends the running coroutine until its thread may continue.
    ///
    /// # Safety
    /// Must be called from a hook, on a coroutine's stack, while no reference into the worker lives.
    pub unsafe fn park(worker: *mut Worker) {
        // SAFETY: the yielder lives at the bottom of the running coroutine's stack.
        unsafe {
            let slots = &(*worker).slots;
            let yielder = slots[(*worker).running as usize].yielder;
            (*worker).is_in_hook.set(false);
            (*yielder).suspend(());
        }
    }

    fn describe_fault(&self) -> String {
        let Some(fault) = self.fault else { return "its stack was lost".into() };
        let last_access = self.accesses.as_ref().map(|accesses| accesses.last_place());
        let memory = self.describe_address(fault.address);
        let definition = self.job().kernel.place();
        let (file, _) = definition.rsplit_once(':').unwrap_or((&definition, ""));
        fault.describe(last_access, self.stacks.is_guard(fault.address), memory, file)
    }

    /// Where an address lies in the memory of the running kernel, for people.
    pub fn describe_address(&self, address: usize) -> Option<String> {
        self.shared.describe(address).or_else(|| {
            let (block, place) = memory::describe(address)?;
            let name = self.job().argument_name(block);
            Some(place + &name.map_or(String::new(), |name| format!(", `{name}`")))
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            if let Some(coroutine) = &mut slot.coroutine {
                // SAFETY: an idle coroutine's frames own nothing that must be dropped.
                unsafe { coroutine.force_reset() };
            }
        }
        self.slots.clear();
        watchdog::forget(&self.deadline);
    }
}

/// A coroutine that runs threads of the worker's current block.
fn coroutine(
    worker: *mut Worker,
    number: u32,
    stack: GuardedStack,
) -> Coroutine<(), (), (), GuardedStack> {
    let body = move |yielder: &Yielder<(), ()>, ()| loop {
        // SAFETY: a coroutine is only resumed by `Worker::resume`, while the worker lives and has a job whose arguments
        // fit the kernel.
        unsafe {
            let slots = &mut (*worker).slots;
            slots[number as usize].yielder = yielder;
            let job = *(*worker).job();
            let run: Run = job.kernel.run;
            run(job.arguments, (*worker).context);
            (*worker).is_idle = true;
        }
        yielder.suspend(());
    };
    // SAFETY: the closure borrows the worker, which outlives its coroutines: it drops them itself.
    unsafe { Coroutine::with_stack_unchecked(stack, body) }
}
