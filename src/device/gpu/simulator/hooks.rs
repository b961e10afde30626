//! The functions that kernels call: barriers, warp collectives, shared memory, asynchronous copies. They run on a
//! coroutine's stack, below C++ frames, so none of them may unwind.

use std::ffi::c_void;
use std::ptr::null_mut;

use super::abi::{Collective, Context, SharedArray, Site};
use super::job::Order;
use super::races::AccessKind;
use super::waiting::{AsyncCopy, Exchange};
use super::worker::Worker;

/// Waits for all threads of the block; the last to arrive runs `collective` over all records.
// SAFETY: no other symbol of the program has this name; cuda_on_host.h declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_block_sync(
    context: *mut Context,
    site: &'static Site,
    record: *mut c_void,
    collective: Option<Collective>,
) {
    // SAFETY: kernels pass their own context, and each reference into the worker ends before it is parked.
    unsafe {
        let pointer = Worker::enter_hook(context);
        match block_sync(&mut *pointer, (*context).current, site, record, collective) {
            Ok(Wait::Park) => Worker::park(pointer),
            Ok(Wait::GoOn) => (*pointer).is_in_hook.set(false),
            Err(message) => Worker::fail_here(pointer, message),
        }
    }
}

/// What a thread does after its arrival.
enum Wait {
    Park,
    GoOn,
}

fn block_sync(
    worker: &mut Worker,
    thread: u32,
    site: &'static Site,
    record: *mut c_void,
    collective: Option<Collective>,
) -> Result<Wait, String> {
    if collective.is_none() && is_switched_off(worker, site) {
        return Ok(Wait::GoOn);
    }
    if arrive(worker, thread, site, record)? {
        let total = worker.context().total;
        let barrier = &mut worker.barrier;
        if let Some(collective) = collective {
            // SAFETY: every thread of the block has given a record, which lies on that thread's parked stack.
            unsafe { collective(barrier.records.as_mut_ptr(), total) };
        }
        barrier.clear();
        worker.sweep = 0;
        if let Some(accesses) = &mut worker.accesses {
            accesses.block_barrier(site);
        }
    }
    Ok(Wait::Park)
}

/// Adds a thread to those that wait at a barrier with all others of the block. Returns whether it is the last.
fn arrive(
    worker: &mut Worker,
    thread: u32,
    site: &'static Site,
    record: *mut c_void,
) -> Result<bool, String> {
    worker.waiting[thread as usize].site = site;
    let total = worker.context().total;
    let barrier = &mut worker.barrier;
    if barrier.arrived.is_empty() {
        barrier.site = site;
    } else if !std::ptr::eq(barrier.site, site) {
        // SAFETY: the site of a barrier is a static of the kernel.
        let other = unsafe { &*barrier.site };
        let first = barrier.arrived[0];
        return Err(format!("this thread is in {site} while thread {first} waits in {other}"));
    }
    barrier.arrived.push(thread);
    barrier.records.push(record);
    Ok(barrier.arrived.len() as u32 == total)
}

/// Waits for all threads of the cluster; then `collective` runs over the records of each thread number's threads, by rank.
// SAFETY: no other symbol of the program has this name; cuda_on_host.h declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_cluster_sync(
    context: *mut Context,
    site: &'static Site,
    record: *mut c_void,
    collective: Collective,
) {
    // SAFETY: kernels pass their own context, and each reference into the worker ends before it is parked.
    unsafe {
        let pointer = Worker::enter_hook(context);
        match arrive(&mut *pointer, (*context).current, site, record) {
            Ok(is_last) => {
                if is_last {
                    (*pointer).exchange = Some(Exchange::of(&mut (*pointer).barrier, collective));
                }
                Worker::park(pointer);
            }
            Err(message) => Worker::fail_here(pointer, message),
        }
    }
}

/// Whether a barrier without data is left out of this launch. Also adds the barrier to those that threads have reached.
fn is_switched_off(worker: &mut Worker, site: &'static Site) -> bool {
    worker.note_barrier(site);
    worker.job().mode.without_barrier.is_some_and(|barrier| barrier == site.place())
}

/// Waits for the lanes in `mask`; the last to arrive runs `collective` over their records.
// SAFETY: no other symbol of the program has this name; cuda_on_host.h declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_warp_sync(
    context: *mut Context,
    site: &'static Site,
    mask: u32,
    record: *mut c_void,
    collective: Option<Collective>,
) {
    // SAFETY: kernels pass their own context, and each reference into the worker ends before it is parked.
    unsafe {
        let pointer = Worker::enter_hook(context);
        match warp_sync(&mut *pointer, (*context).current, site, mask, record, collective) {
            Ok(Wait::Park) => Worker::park(pointer),
            Ok(Wait::GoOn) => (*pointer).is_in_hook.set(false),
            Err(message) => Worker::fail_here(pointer, message),
        }
    }
}

fn warp_sync(
    worker: &mut Worker,
    thread: u32,
    site: &'static Site,
    mask: u32,
    record: *mut c_void,
    collective: Option<Collective>,
) -> Result<Wait, String> {
    if collective.is_none() && is_switched_off(worker, site) {
        return Ok(Wait::GoOn);
    }
    let (number, lane) = (thread / 32, thread % 32);
    let first = number * 32;
    let present = worker.context().total - first;
    let needed = if present >= 32 { mask } else { mask & ((1 << present) - 1) };
    if needed >> lane & 1 == 0 {
        return Err(format!("{site}: lane {lane} is not in its own mask {mask:#010x}"));
    }
    let address = collective.map_or(0, |collective| collective as usize);
    let warp = &mut worker.warps[number as usize];
    let lanes = &mut worker.waiting[first as usize..first as usize + 32];
    warp.arrived |= 1 << lane;
    warp.records[lane as usize] = record;
    (lanes[lane as usize].site, lanes[lane as usize].mask) = (site, mask);
    lanes[lane as usize].collective = address;
    let differs = |lane: &u32| {
        let other = &lanes[*lane as usize];
        other.mask != mask || other.collective != address
    };
    if let Some(other) = lanes_of(warp.arrived & needed).find(differs) {
        let waiting = &lanes[other as usize];
        // SAFETY: the site of a lane that has arrived is a static of the kernel.
        let place = unsafe { &*waiting.site };
        return Err(format!(
            "warp {number}: lane {lane} is in {site} (mask {mask:#010x}) while lane {other} waits in {place} \
             (mask {:#010x})",
            waiting.mask
        ));
    }
    if warp.arrived & needed != needed {
        return Ok(Wait::Park);
    }
    warp.arrived &= !needed;
    // `__syncwarp` is the only collective of a warp that orders memory accesses.
    if let (None, Some(accesses)) = (collective, &mut worker.accesses) {
        accesses.races.warp_barrier(first as usize, needed);
    }
    if let Some(collective) = collective {
        let mut records = warp.records;
        lanes_of(!needed).for_each(|lane| records[lane as usize] = null_mut());
        // SAFETY: every lane in the mask has given a record, which lies on its parked stack; the other records are
        // null.
        unsafe { collective(records.as_mut_ptr(), needed) };
    }
    // Unless threads are shuffled, the last to arrive continues at once.
    let order = worker.job().mode.order;
    let is_shuffled = matches!(order, Order::Shuffled(_));
    let released = lanes_of(needed).filter(|other| is_shuffled || *other != lane);
    let mut released: Vec<u32> = released.map(|lane| first + lane).collect();
    if order == Order::Forward {
        released.reverse();
    }
    worker.ready.extend(released);
    Ok(if is_shuffled { Wait::Park } else { Wait::GoOn })
}

fn lanes_of(mask: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |lane| mask >> lane & 1 == 1)
}

/// The address of an array in shared memory, equal for all threads of a block.
// SAFETY: no other symbol of the program has this name; cuda_on_host.h declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_shared(
    context: *mut Context,
    array: &'static SharedArray,
) -> *mut c_void {
    // SAFETY: kernels pass their own context.
    unsafe {
        let worker = Worker::enter_hook(context);
        match (*worker).shared.array(array) {
            Ok(address) => {
                (*worker).is_in_hook.set(false);
                return address as *mut c_void;
            }
            Err(message) => Worker::fail_here(worker, message),
        }
    }
    std::process::abort()
}

/// Does a copy, or queues it until the thread waits for it. A null source stands for zeros.
// SAFETY: no other symbol of the program has this name; cuda_on_host.h declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_copy(
    context: *mut Context,
    site: &'static Site,
    target: *mut c_void,
    source: *const c_void,
    bytes: u32,
) {
    let copy =
        AsyncCopy { target: target as usize, source: source as usize, bytes: bytes as usize, site };
    // SAFETY: kernels pass their own context, and each reference into the worker ends before it is parked.
    unsafe {
        let worker = Worker::enter_hook(context);
        let read = match copy.read() {
            Some(read) => (*worker).touch_at(read, AccessKind::Read, site),
            None => Ok(()),
        };
        let written =
            read.and_then(|()| (*worker).touch_at(copy.written(), AccessKind::Copy, site));
        if let Err(message) = written {
            return Worker::fail_here(worker, message);
        }
        let copies = &mut (*worker).copies;
        copies[(*context).current as usize].queue.push(copy);
        (*worker).has_copies = true;
        let is_late = (*worker).job().mode.late_copies;
        (*worker).is_in_hook.set(false);
        if !is_late {
            copy.run();
        }
    }
}

/// Closes a group of copies.
// SAFETY: no other symbol of the program has this name; cuda_on_host.h declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_copy_commit(context: *mut Context) {
    // SAFETY: kernels pass their own context.
    unsafe {
        let worker = Worker::enter_hook(context);
        let copies = &mut (*worker).copies;
        let pending = &mut copies[(*context).current as usize];
        pending.groups.push(pending.queue.len());
        (*worker).has_copies = true;
        (*worker).is_in_hook.set(false);
    }
}

/// Does the copies of all groups except the last `left`.
// SAFETY: no other symbol of the program has this name; cuda_on_host.h declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_copy_wait(context: *mut Context, left: u32) {
    // SAFETY: kernels pass their own context, and each reference into the worker ends before it is parked.
    unsafe {
        let worker = Worker::enter_hook(context);
        let copies = &mut (*worker).copies;
        let finished = copies[(*context).current as usize].take(left as usize);
        for copy in &finished {
            if let Err(message) = (*worker).finish_copy(copy) {
                return Worker::fail_here(worker, message);
            }
        }
        let is_late = (*worker).job().mode.late_copies;
        (*worker).is_in_hook.set(false);
        if is_late {
            finished.iter().for_each(|copy| copy.run());
        }
    }
}

/// Ends the block with an error: an assertion failed, or an address is misaligned.
// SAFETY: no other symbol of the program has this name; cuda_on_host.h declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_trap(context: *mut Context, site: &'static Site) -> ! {
    // SAFETY: kernels pass their own context.
    unsafe { Worker::fail_here(Worker::enter_hook(context), site.to_string()) };
    std::process::abort()
}
