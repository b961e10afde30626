//! Devices: memory, threads and launches. Independent of the ops.

pub mod cpu;
pub mod gpu;
mod kind;
mod profile;
mod readback;
pub mod threads;

use std::rc::Rc;
use std::time::{Duration, Instant};

use self::gpu::counter::Counter;
use self::gpu::cuda::Cuda;
use self::gpu::driver::{Clock, Driver};
#[cfg(has_simulator)]
use self::simulator::{Simulator, SimulatorOptions};
use crate::error::{Error, Result};
pub use cpu::Cpu;
#[cfg(has_simulator)]
pub use gpu::simulator;
pub use gpu::{CapturedGraph, Gpu, HostWork, LaunchWork, SiteTraffic, fat_binaries};
pub use kind::DeviceKind;
pub(crate) use profile::Op;
pub use profile::{Call, Cost, OpTime, Profile, ProfiledLaunch};
pub use readback::catch_failure;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// 32-bit floating point.
    F32,
    /// bfloat16: storage only.
    BF16,
    /// Bytes, such as pixels and flags.
    U8,
    /// Labels, tokens and indices.
    I32,
    /// Counters.
    I64,
    /// 64-bit floating point: for proofs on the CPU, and for the switch's state.
    F64,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::U8 => 1,
            DType::BF16 => 2,
            DType::F32 | DType::I32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// The type of sums and statistics over elements of this type, and of gradients of weights: F32 for BF16, else the
    /// same type.
    pub fn wide(self) -> DType {
        match self {
            DType::BF16 => DType::F32,
            same => same,
        }
    }
}

/// A Rust type that a tensor can hold: one for each [`DType`].
pub trait Element: sealed::Sealed + bytemuck::Pod + Send + Sync + std::fmt::Debug {
    /// Its run-time name.
    const DTYPE: DType;
}

mod sealed {
    /// Keeps other types from being elements.
    pub trait Sealed {}
}

macro_rules! element {
    ($($rust:ty => $dtype:ident),*) => {
        $(
            impl sealed::Sealed for $rust {}
            impl Element for $rust { const DTYPE: DType = DType::$dtype; }
        )*
    };
}
element!(f32 => F32, half::bf16 => BF16, u8 => U8, i32 => I32, i64 => I64, f64 => F64);

/// The most threads that a user may ask for: more than any processor has, few enough for an operating system to start.
const MOST_THREADS: usize = 4096;

/// An open device. Cloning it is cheap and gives the same device; it stays on one thread.
#[derive(Clone)]
pub enum Device {
    /// The host's processor.
    Cpu(Rc<Cpu>),
    /// A device that runs the CUDA kernels: a GPU or the simulator.
    Gpu(Rc<Gpu>),
}

impl Device {
    /// Opens a device; the CPU with all its cores.
    ///
    /// `ALRAO_CPU=plain|avx2|avx512` restricts all work on the CPU to an instruction set, for comparisons. Without it
    /// the CPU uses its best one.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is missing, from the machine or from this build; [`Error::Input`] if
    /// `ALRAO_CPU` names an instruction set that the processor lacks.
    pub fn open(kind: DeviceKind) -> Result<Device> {
        Device::open_with_threads(kind, None)
    }

    /// Opens a device whose CPU work uses `threads` threads (all cores where `None`).
    ///
    /// # Errors
    /// As [`Device::open`], [`Error::Input`] for more threads than any processor has or than can be started, and
    /// [`Error::Threads`] if `threads` is `None` and not even those can be started.
    pub fn open_with_threads(kind: DeviceKind, threads: Option<usize>) -> Result<Device> {
        // Every device does some of its work on the host.
        cpu::check_level()?;
        if let Some(threads) = threads.filter(|threads| *threads > MOST_THREADS) {
            let message = format!("{threads} is too many; give at most {MOST_THREADS}");
            return Err(Error::field("threads", message));
        }
        Device::open_checked(kind, threads).map_err(|error| match (error, threads) {
            (Error::Threads { cause, .. }, Some(threads)) => {
                Error::field("threads", format!("{threads} cannot be started: {cause}; give fewer"))
            }
            (error, _) => error,
        })
    }

    fn open_checked(kind: DeviceKind, threads: Option<usize>) -> Result<Device> {
        match kind {
            DeviceKind::Cpu => Ok(Device::Cpu(Rc::new(Cpu::new(threads)?))),
            DeviceKind::Simulator => Device::open_simulator(threads),
            DeviceKind::Auto => match Cuda::open(0) {
                Ok(cuda) => Ok(Device::gpu_with_threads(cuda, threads)),
                Err(reason) => Ok(Device::Cpu(Rc::new(Cpu::new(threads)?.instead_of_cuda(reason)))),
            },
            DeviceKind::Cuda(number) => Device::open_gpu(number, threads).map_err(|reason| {
                Error::device(&kind.to_string(), format!("{reason}; without it: `device` cpu"))
            }),
        }
    }

    /// A GPU, or the reason why it cannot be opened.
    pub(crate) fn open_gpu(
        number: usize,
        threads: Option<usize>,
    ) -> std::result::Result<Device, String> {
        Cuda::open(number).map(|cuda| Device::gpu_with_threads(cuda, threads))
    }

    #[cfg(has_simulator)]
    fn open_simulator(threads: Option<usize>) -> Result<Device> {
        Device::simulator(threads, SimulatorOptions::default())
    }

    #[cfg(not(has_simulator))]
    fn open_simulator(_: Option<usize>) -> Result<Device> {
        let message = "this program was built without it: build it on Linux (x86-64 or aarch64) with a C++ compiler, for \
                       example in the container of scripts/Containerfile; or use `device` cpu";
        Err(Error::device("simulator", message))
    }

    /// The simulator; `options` say how it runs the kernels.
    ///
    /// # Errors
    /// [`Error::Threads`] if its threads cannot be started, [`Error::Device`] if the processor cannot run it.
    #[cfg(has_simulator)]
    pub fn simulator(threads: Option<usize>, options: SimulatorOptions) -> Result<Device> {
        Ok(Device::gpu_with_threads(Simulator::new(threads, options)?, threads))
    }

    /// A device that counts launches and runs none. All bytes read back from it are zero.
    pub fn counter() -> Device {
        Device::counter_with_room(usize::MAX)
    }

    /// [`Device::counter`] with room for a data set of at most `bytes` bytes; larger ones are streamed.
    pub fn counter_with_room(bytes: usize) -> Device {
        Device::gpu_with_threads(Counter::new(bytes), None)
    }

    fn gpu_with_threads(driver: impl Driver + 'static, threads: Option<usize>) -> Device {
        Device::Gpu(Rc::new(Gpu::new(driver, threads)))
    }

    /// The number of host threads that [`Device::open_with_threads`] was given; all cores if `None`.
    pub fn host_threads(&self) -> Option<usize> {
        match self {
            Device::Cpu(cpu) => Some(cpu.threads()),
            Device::Gpu(gpu) => gpu.host_threads(),
        }
    }

    /// A CPU device with all cores. Panics if `ALRAO_CPU` names instructions that the processor lacks.
    pub fn cpu() -> Device {
        Device::open(DeviceKind::Cpu).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu(_) => "cpu",
            Device::Gpu(gpu) => gpu.name(),
        }
    }

    /// How a user asks for this very device; `None` for one that only counts launches.
    pub fn kind(&self) -> Option<DeviceKind> {
        match self {
            Device::Cpu(_) => Some(DeviceKind::Cpu),
            Device::Gpu(gpu) => gpu.kind(),
        }
    }

    /// One line that describes it to people.
    pub fn description(&self) -> String {
        match self {
            Device::Cpu(cpu) => cpu.description(),
            Device::Gpu(gpu) => gpu.description(),
        }
    }

    /// Whether its ops compute with tensors of this type.
    pub fn computes_in(&self, dtype: DType) -> bool {
        match self {
            Device::Cpu(_) => matches!(dtype, DType::F32 | DType::F64),
            Device::Gpu(_) => matches!(dtype, DType::F32 | DType::BF16),
        }
    }

    /// Whether matrix products and convolutions of f32 round their factors to tf32 (10 bits of fraction) and run on
    /// tensor cores from now on. Off at first. Has no effect on the CPU, which has no tf32.
    pub fn set_tf32(&self, tf32: bool) {
        if let Device::Gpu(gpu) = self {
            gpu.set_tf32(tf32);
        }
    }

    /// Whether two handles are the same device.
    pub fn same(&self, other: &Device) -> bool {
        match (self, other) {
            (Device::Cpu(a), Device::Cpu(b)) => Rc::ptr_eq(a, b),
            (Device::Gpu(a), Device::Gpu(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Waits until the device has done all its work.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] with the first failure since the device was opened. No work was done after it.
    pub fn check(&self) -> Result<()> {
        match self {
            Device::Cpu(_) => Ok(()),
            Device::Gpu(gpu) => gpu.check(),
        }
    }

    /// [`Device::check`] without waiting: reports only failures that the host already knows of.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn check_so_far(&self) -> Result<()> {
        match self {
            Device::Cpu(_) => Ok(()),
            Device::Gpu(gpu) => gpu.check_so_far(),
        }
    }

    /// Does work whose memory belongs to `owner` in the report that a lack of memory gives.
    pub(crate) fn owned_by<T>(&self, owner: &'static str, work: impl FnOnce() -> T) -> T {
        match self {
            Device::Cpu(_) => work(),
            Device::Gpu(gpu) => gpu.owned_by(owner, work),
        }
    }

    /// Bytes of a data set that may stay on the device for a whole run; `None` on the CPU, which uses the host's
    /// memory.
    pub(crate) fn room_for_data(&self) -> Option<usize> {
        match self {
            Device::Cpu(_) => None,
            Device::Gpu(gpu) => Some(gpu.room_for_data()),
        }
    }

    /// A ring of `places` staging buffers through which batches are copied to the device. Panics on the CPU, which
    /// needs none.
    pub(crate) fn ring(&self, places: usize, bytes: usize) -> gpu::Ring {
        match self {
            Device::Cpu(_) => panic!("the CPU has all data at hand"),
            Device::Gpu(gpu) => gpu::Ring::new(gpu, places, bytes),
        }
    }

    /// Whether it captures graphs.
    pub fn can_capture(&self) -> bool {
        matches!(self, Device::Gpu(_))
    }

    /// Does `work`, and returns its captured graph if the device captures graphs; see [`Gpu::capture`].
    pub(crate) fn capture(&self, work: impl FnOnce()) -> Option<CapturedGraph> {
        match self {
            Device::Cpu(_) => {
                work();
                None
            }
            Device::Gpu(gpu) => Some(Gpu::capture(gpu, work)),
        }
    }

    /// The time that `work` takes: by the GPU's clock on a GPU, once all earlier work is done; by the host's clock
    /// elsewhere.
    ///
    /// ```
    /// use alrao::{DType, Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::zeros(&device, [1000], DType::F32);
    /// assert!(device.time(|| drop(x.exp())).is_ok());
    /// ```
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn time(&self, work: impl FnOnce()) -> Result<Duration> {
        let clock = self.start_clock();
        work();
        let time = self.stop_clock(clock);
        self.check()?;
        Ok(time)
    }

    /// Starts the GPU's clock, or the host's elsewhere; `None` on a device that has failed.
    fn start_clock(&self) -> Option<Box<dyn Clock>> {
        match self {
            Device::Cpu(_) => Some(Box::new(Instant::now())),
            Device::Gpu(gpu) => gpu.start_clock(),
        }
    }

    /// The time since the clock was started, once all work is done.
    fn stop_clock(&self, clock: Option<Box<dyn Clock>>) -> Duration {
        let time = clock.map(|clock| match self {
            Device::Cpu(_) => clock.stop().unwrap_or_default(),
            Device::Gpu(gpu) => gpu.stop_clock(clock),
        });
        time.unwrap_or_default()
    }

    /// A block of `bytes` bytes with unknown content.
    pub(crate) fn allocate(&self, bytes: usize) -> Storage {
        match self {
            Device::Cpu(cpu) => Storage::Cpu(cpu.allocate(bytes)),
            Device::Gpu(gpu) => Storage::Gpu(gpu::Block::new(gpu, bytes)),
        }
    }
}

/// A block of device memory, shared by the tensors that view it.
#[derive(Clone)]
pub(crate) enum Storage {
    /// Host memory.
    Cpu(Rc<cpu::Block>),
    /// Memory of a device that runs the kernels.
    Gpu(Rc<gpu::Block>),
}

impl Storage {
    /// The number of tensors that share this block.
    pub fn holders(&self) -> usize {
        match self {
            Storage::Cpu(block) => Rc::strong_count(block),
            Storage::Gpu(block) => Rc::strong_count(block),
        }
    }
}
