//! Profiles: the time of each op beside its minimum cost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use super::Device;
use super::gpu::LaunchWork;
use super::gpu::driver::Clock;
use crate::device::DType;
use crate::error::Result;

/// The least work of an op: each input read once, each output written once, and the operations of its formula. Repeated
/// reads, copies and padding are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Elements of activations that it reads and writes; their type is left open.
    pub elements: f64,
    /// Other bytes that it reads and writes.
    pub bytes: f64,
    /// Operations; a multiply-add counts as two.
    pub operations: f64,
}

impl Cost {
    /// The cost of reading and writing `elements` elements.
    pub(crate) fn elements(elements: usize) -> Cost {
        Cost { elements: elements as f64, ..Cost::default() }
    }

    /// The cost of reading and writing `bytes` bytes.
    pub(crate) fn bytes(bytes: usize) -> Cost {
        Cost { bytes: bytes as f64, ..Cost::default() }
    }

    pub(crate) fn and_elements(self, elements: usize) -> Cost {
        Cost { elements: self.elements + elements as f64, ..self }
    }

    pub(crate) fn and_bytes(self, bytes: usize) -> Cost {
        Cost { bytes: self.bytes + bytes as f64, ..self }
    }

    pub(crate) fn and_operations(self, operations: usize) -> Cost {
        Cost { operations: self.operations + operations as f64, ..self }
    }

    /// All bytes, if the elements are of this type.
    pub fn total_bytes(&self, dtype: DType) -> f64 {
        self.elements * dtype.size() as f64 + self.bytes
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.elements += other.elements;
        self.bytes += other.bytes;
        self.operations += other.operations;
    }
}

/// All calls of an op together.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpTime {
    /// The number of calls.
    pub calls: u64,
    /// Kernels that it launched.
    pub launches: u64,
    /// Its time, without that of the ops it called.
    pub time: Duration,
    /// Its least work.
    pub cost: Cost,
}

/// One launch of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfiledLaunch {
    /// Its name; [`ProfiledLaunch::ZEROS`] where memory is set to zero.
    pub kernel: String,
    /// Thread blocks.
    pub blocks: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// Its work, as far as the launch tells it.
    pub work: LaunchWork,
    /// Bytes of the buffers that it is given, each from the given address to its end.
    pub buffers: usize,
    /// The innermost op's place in [`Profile::calls`]; `None` outside of all ops.
    pub call: Option<usize>,
}

impl ProfiledLaunch {
    /// The name of a node that sets memory to zero.
    pub const ZEROS: &str = "memset";

    /// A node that sets bytes to zero.
    pub(super) fn of_zeros(bytes: usize) -> Self {
        ProfiledLaunch {
            kernel: Self::ZEROS.to_owned(),
            blocks: 0,
            threads: 0,
            shared: 0,
            work: LaunchWork::bytes(bytes),
            buffers: bytes,
            call: None,
        }
    }
}

/// One call of an op.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// The op's name.
    pub op: &'static str,
    /// Its least work.
    pub cost: Cost,
}

/// Where the time of some work went.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Each op by its name.
    pub ops: BTreeMap<&'static str, OpTime>,
    /// The work outside of all ops.
    pub outside: OpTime,
    /// The calls, in the order of their beginnings.
    pub calls: Vec<Call>,
    /// The launches, in order.
    pub launches: Vec<ProfiledLaunch>,
}

impl AddAssign for OpTime {
    fn add_assign(&mut self, other: OpTime) {
        self.calls += other.calls;
        self.launches += other.launches;
        self.time += other.time;
        self.cost += other.cost;
    }
}

impl AddAssign for Profile {
    fn add_assign(&mut self, other: Profile) {
        self.outside += other.outside;
        other.ops.into_iter().for_each(|(op, time)| *self.ops.entry(op).or_default() += time);
        let earlier = self.calls.len();
        self.calls.extend(other.calls);
        self.launches.extend(other.launches.into_iter().map(|launch| ProfiledLaunch {
            call: launch.call.map(|call| earlier + call),
            ..launch
        }));
    }
}

/// The running profile; `None` unless [`Device::profile`] runs.
#[derive(Default)]
pub(super) struct Profiler(RefCell<Option<Running>>);

#[derive(Default)]
struct Running {
    profile: Profile,
    /// The calls of ops that are running, by their places in the profile, the innermost last.
    open: Vec<usize>,
    /// Started when the last op began or ended.
    clock: Option<Box<dyn Clock>>,
    /// Kernels launched until then.
    launched: u64,
}

impl Profiler {
    /// Adds a launch to the running profile.
    pub fn note(&self, launch: impl FnOnce() -> ProfiledLaunch) {
        if let Some(running) = &mut *self.0.borrow_mut() {
            let call = running.open.last().copied();
            running.profile.launches.push(ProfiledLaunch { call, ..launch() });
        }
    }
}

/// An op that ends when this is dropped.
#[must_use = "the op ends when this is dropped"]
pub(crate) struct Op(Device);

impl Drop for Op {
    fn drop(&mut self) {
        self.0.switch(|running| {
            running.open.pop();
        });
    }
}

impl Device {
    /// Begins an op, which ends when the result is dropped. `None`, and the cost is not computed, unless
    /// [`Device::profile`] runs. An op's time excludes that of the ops it calls.
    #[inline]
    pub(crate) fn op(&self, name: &'static str, cost: impl FnOnce() -> Cost) -> Option<Op> {
        if self.profiler().0.borrow().is_none() {
            return None;
        }
        let cost = cost();
        self.switch(|running| {
            running.open.push(running.profile.calls.len());
            running.profile.calls.push(Call { op: name, cost });
            let op = running.profile.ops.entry(name).or_default();
            op.calls += 1;
            op.cost += cost;
        });
        Some(Op(self.clone()))
    }

    /// Does `work` and returns where its time went. On a GPU the host waits at the end of each op, so that a short op
    /// takes as long as its launches. Panics while another profile runs.
    ///
    /// ```
    /// use alrao::{DType, Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::zeros(&device, [1000], DType::F32);
    /// let profile = device.profile(|| drop(x.relu())).unwrap();
    /// assert_eq!(profile.ops["relu forward"].cost.bytes, 8000.0);
    /// ```
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn profile(&self, work: impl FnOnce()) -> Result<Profile> {
        let launched = self.launched();
        let running = Running { clock: self.start_clock(), launched, ..Running::default() };
        let before = self.profiler().0.replace(Some(running));
        assert!(before.is_none(), "profile: another one runs");
        work();
        self.switch(|_| {});
        let running = self.profiler().0.take().unwrap_or_default();
        self.check()?;
        Ok(running.profile)
    }

    /// Adds the time and the launches since the last call to the innermost op, applies `change`, and starts the clock
    /// again.
    fn switch(&self, change: impl FnOnce(&mut Running)) {
        let mut running = self.profiler().0.borrow_mut();
        let Some(running) = &mut *running else { return };
        let time = self.stop_clock(running.clock.take());
        let launched = self.launched();
        let launches = launched - std::mem::replace(&mut running.launched, launched);
        let Profile { ops, outside, calls, .. } = &mut running.profile;
        let innermost =
            running.open.last().map_or(outside, |call| ops.entry(calls[*call].op).or_default());
        innermost.time += time;
        innermost.launches += launches;
        change(running);
        running.clock = self.start_clock();
    }

    fn launched(&self) -> u64 {
        match self {
            Device::Cpu(_) => 0,
            Device::Gpu(gpu) => gpu.kernel_times().values().map(|kernel| kernel.launches).sum(),
        }
    }

    fn profiler(&self) -> &Profiler {
        match self {
            Device::Cpu(cpu) => &cpu.profiler,
            Device::Gpu(gpu) => &gpu.profiler,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_op_has_only_its_own_time() {
        let device = Device::cpu();
        let (outside, called) = (Duration::from_millis(2), Duration::from_millis(20));
        let profile = device.profile(|| {
            let _outer = device.op("outer", || Cost::bytes(3).and_operations(5));
            for _ in 0..2 {
                let _inner = device.op("inner", || Cost::bytes(7));
                std::thread::sleep(called);
            }
            std::thread::sleep(outside);
        });
        let Profile { ops, .. } = profile.unwrap();
        let (outer, inner) = (ops["outer"], ops["inner"]);
        assert!(inner.time >= 2 * called && outer.time >= outside && outer.time < inner.time);
        assert_eq!((outer.calls, inner.calls), (1, 2));
        assert_eq!((outer.cost.bytes, outer.cost.operations, inner.cost.bytes), (3.0, 5.0, 14.0));
    }

    #[test]
    fn nothing_is_profiled_unless_asked_for() {
        for device in [Device::cpu(), Device::counter()] {
            assert!(device.op("op", || panic!("nobody looks at the cost")).is_none());
            assert!(device.profile(|| {}).unwrap().ops.is_empty());
            assert!(device.op("op", || panic!("nobody looks at the cost")).is_none());
        }
    }
}
