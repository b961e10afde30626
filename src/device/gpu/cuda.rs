//! NVIDIA GPUs through CUDA's driver. Only this file and its folder use cudarc.

mod pinned_ring;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use self::pinned_ring::PinnedRing;
use super::binaries::{COMPILER, FAT_BINARIES};
use super::driver::{self, Driver, Outcome, Staging};
use super::launch::Launch;
use super::occupancy::{Limits, Resources};
use crate::device::DeviceKind;

/// The least compute capability that the kernels run on: 80 for 8.0.
const OLDEST: u32 = 80;

/// The least compute capability with clusters of thread blocks.
const OLDEST_WITH_CLUSTERS: u32 = 90;

/// One GPU with one stream: all work runs in the stream's order.
pub(in crate::device) struct Cuda {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    modules: RefCell<Vec<sys::CUmodule>>,
    /// The kernels that have been looked up.
    functions: RefCell<HashMap<String, sys::CUfunction>>,
    name: String,
    compute_capability: u32,
    /// Its number among the GPUs that the driver shows.
    number: usize,
}

impl Cuda {
    /// Opens the GPU with this number, from 0.
    ///
    /// # Errors
    /// Why it cannot be used, and what to do.
    pub fn open(number: usize) -> Outcome<Cuda> {
        // SAFETY: it only looks for the driver's library by name and loads it.
        if !unsafe { sys::is_culib_present() } {
            return Err("no NVIDIA driver was found".into());
        }
        let count = match CudaContext::device_count() {
            Ok(count) => count.max(0) as usize,
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => 0,
            Err(error) => return Err(format!("the NVIDIA driver does not work: {}", text(error))),
        };
        if number >= count {
            return Err(missing(number, count));
        }
        if FAT_BINARIES.is_empty() {
            return Err(
                "this program was built without kernels for GPUs: build it again where nvcc is"
                    .into(),
            );
        }
        Cuda::open_present(number)
            .map_err(|error| format!("the GPU could not be opened: {}", text(error)))?
    }

    fn open_present(number: usize) -> Result<Outcome<Cuda>, DriverError> {
        let context = CudaContext::new(number)?;
        // SAFETY: blocks are used in one stream, or ordered by our own events.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        let name = context.name()?;
        let (major, minor) = context.compute_capability()?;
        let compute_capability = (10 * major + minor) as u32;
        if compute_capability < OLDEST {
            return Ok(Err(format!(
                "{name} is of compute capability {major}.{minor}; the kernels need 8.0 or later (asynchronous copies, \
                 bf16)"
            )));
        }
        let mut modules = Vec::new();
        for (_, image) in FAT_BINARIES {
            // SAFETY: the image is a whole fat binary, as nvcc wrote it.
            match unsafe { result::module::load_data(image.0.as_ptr().cast()) } {
                Ok(module) => modules.push(module),
                Err(error) => {
                    let why = text(error);
                    return Ok(Err(old_driver(driver_version()?, &why).unwrap_or_else(|| {
                        format!(
                            "the kernels in this program do not run on {name} (sm_{major}{minor}): {why}. Build it with \
                             ALRAO_CUDA_ARCHS={major}{minor}"
                        )
                    })));
                }
            }
        }
        Ok(Ok(Cuda {
            context,
            stream,
            modules: RefCell::new(modules),
            functions: RefCell::default(),
            name,
            compute_capability,
            number,
        }))
    }

    fn known_limits(&self) -> Outcome<Limits> {
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE as L2,
            CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR as THREADS,
            CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as SM_COUNT,
        };
        let whole = |attribute| {
            self.context.attribute(attribute).map(|value| value.max(1) as usize).map_err(text)
        };
        Ok(Limits { cache_bytes: whole(L2)?, sm_count: whole(SM_COUNT)?, threads: whole(THREADS)? })
    }

    fn known_resources(&self, kernel: &str, threads: usize, shared: usize) -> Outcome<Resources> {
        use sys::CUfunction_attribute::{
            CU_FUNC_ATTRIBUTE_NUM_REGS as REGISTERS, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES as SHARED,
        };
        let function = self.function(kernel)?;
        let whole = |attribute| {
            // SAFETY: the handle belongs to a module that stays loaded.
            unsafe { result::function::get_function_attribute(function, attribute) }
                .map(|value| value.max(0) as usize)
                .map_err(text)
        };
        let mut blocks = 0;
        // SAFETY: as above; the driver writes one number.
        unsafe {
            sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(
                &mut blocks,
                function,
                threads as i32,
                shared,
            )
        }
        .result()
        .map_err(text)?;
        let blocks = blocks.max(0) as usize;
        Ok(Resources {
            registers: whole(REGISTERS)?,
            shared: whole(SHARED)? + shared,
            blocks,
            occupancy: (blocks * threads) as f64 / self.known_limits()?.threads as f64,
        })
    }

    fn function(&self, name: &str) -> Outcome<sys::CUfunction> {
        if let Some(function) = self.functions.borrow().get(name) {
            return Ok(*function);
        }
        let function = self.find(name)?;
        self.functions.borrow_mut().insert(name.to_owned(), function);
        Ok(function)
    }

    fn find(&self, name: &str) -> Outcome<sys::CUfunction> {
        for module in self.modules.borrow().iter() {
            let name = CString::new(name).map_err(|error| error.to_string())?;
            // SAFETY: the module stays loaded as long as the device is open.
            match unsafe { result::module::get_function(*module, name) } {
                Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NOT_FOUND => {}
                found => return found.map_err(text),
            }
        }
        Err(format!("there is no kernel `{name}`"))
    }
}

impl Driver for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn kind(&self) -> Option<DeviceKind> {
        Some(DeviceKind::Cuda(self.number))
    }

    fn description(&self) -> String {
        format!("cuda: {}", self.name)
    }

    fn allocate(&self, bytes: usize) -> Outcome<u64> {
        // SAFETY: it only asks for memory.
        unsafe { result::malloc_sync(bytes.max(1)) }.map_err(text)
    }

    fn free(&self, address: u64) {
        // SAFETY: the block came from `allocate`, and its owner is gone. On a lost device the call fails, and nothing
        // is left to free.
        let _ = unsafe { result::free_sync(address) };
    }

    fn upload(&self, address: u64, bytes: &[u8]) -> Outcome<()> {
        // SAFETY: the caller's range lies in a block; pageable memory is read before the call returns.
        unsafe { result::memcpy_htod_async(address, bytes, self.stream.cu_stream()) }.map_err(text)
    }

    fn download(&self, address: u64, bytes: &mut [u8]) -> Outcome<()> {
        // SAFETY: the caller's range lies in a block, and the host waits before it looks at the bytes.
        unsafe { result::memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) }
            .map_err(text)?;
        self.synchronize()
    }

    fn staging(&self, places: usize, bytes: usize) -> Outcome<Option<Box<dyn Staging>>> {
        PinnedRing::new(&self.stream, places, bytes)
            .map(|ring| Some(Box::new(ring) as Box<dyn Staging>))
    }

    /// Half of the free memory.
    fn room_for_data(&self) -> usize {
        self.memory().map_or(0, |(free, _)| free / 2)
    }

    fn set_zero(&self, address: u64, bytes: usize) -> Outcome<()> {
        // SAFETY: the caller's range lies in a block.
        unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) }.map_err(text)
    }

    fn allow_shared(&self, kernel: &str, bytes: usize) -> Outcome<()> {
        let function = self.function(kernel)?;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the handle belongs to a module that stays loaded.
        unsafe { result::function::set_function_attribute(function, attribute, bytes as i32) }
            .map_err(|error| format!("{kernel}: {bytes} bytes of shared memory: {}", text(error)))
    }

    #[cfg(all(has_simulator, feature = "cli"))]
    fn compute_capability(&self) -> Option<u32> {
        Some(self.compute_capability)
    }

    #[cfg(all(has_simulator, feature = "cli"))]
    fn load(&self, ptx: &std::ffi::CStr, symbols: &[(String, String)]) -> Outcome<()> {
        // SAFETY: the text ends with a zero byte.
        let module = unsafe { result::module::load_data(ptx.as_ptr().cast()) };
        let module =
            module.map_err(|error| format!("the driver refuses the PTX: {}", text(error)))?;
        self.modules.borrow_mut().push(module);
        for (name, symbol) in symbols {
            let symbol = CString::new(symbol.as_str()).map_err(|error| error.to_string())?;
            // SAFETY: the module stays loaded as long as the device is open.
            let function = unsafe { result::module::get_function(module, symbol) }.map_err(text)?;
            self.functions.borrow_mut().insert(name.clone(), function);
        }
        Ok(())
    }

    fn launch(&self, launch: &Launch) -> Outcome<()> {
        let function = self.function(launch.kernel)?;
        let mut pointers: Vec<*mut c_void> = launch
            .arguments
            .iter()
            .map(|argument| argument.as_bytes().as_ptr().cast_mut().cast())
            .collect();
        let [grid, block] = [launch.grid, launch.block];
        let mut cluster = cluster_of(launch.cluster);
        let config = sys::CUlaunchConfig {
            gridDimX: grid[0],
            gridDimY: grid[1],
            gridDimZ: grid[2],
            blockDimX: block[0],
            blockDimY: block[1],
            blockDimZ: block[2],
            sharedMemBytes: launch.shared as u32,
            hStream: self.stream.cu_stream(),
            attrs: &mut cluster,
            numAttrs: u32::from(launch.cluster > 1),
        };
        // SAFETY: each of the engine's kernels has one caller, and the simulator has checked that caller's arguments against
        // the kernel's declaration; those of a loaded file were compared with its PTX. The driver copies them before it returns.
        unsafe {
            sys::cuLaunchKernelEx(&config, function, pointers.as_mut_ptr(), std::ptr::null_mut())
        }
        .result()
        .map_err(|error| format!("{}: {}", launch.kernel, text(error)))
    }

    fn has_clusters(&self) -> bool {
        self.compute_capability >= OLDEST_WITH_CLUSTERS
    }

    fn begin_capture(&self) -> Outcome<()> {
        // Relaxed, since memory may be allocated during the capture; the allocation is not part of the graph.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream lives, and is no null stream.
        unsafe { result::stream::begin_capture(self.stream.cu_stream(), mode) }.map_err(text)
    }

    fn end_capture(&self) -> Outcome<Option<Box<dyn driver::Graph>>> {
        // SAFETY: the stream lives.
        let graph =
            unsafe { result::stream::end_capture(self.stream.cu_stream()) }.map_err(text)?;
        // SAFETY: the graph was made just now; no flag is set.
        let executable = unsafe {
            let flags = sys::CUgraphInstantiate_flags(0);
            let executable = result::graph::instantiate(graph, flags).map_err(text);
            let _ = result::graph::destroy(graph);
            executable?
        };
        Ok(Some(Box::new(Graph { executable, stream: Arc::clone(&self.stream) })))
    }

    fn start_clock(&self) -> Outcome<Box<dyn driver::Clock>> {
        let start = Event::new()?;
        start.record(&self.stream)?;
        Ok(Box::new(Clock { start, stream: Arc::clone(&self.stream) }))
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Outcome<()> {
        // SAFETY: the caller's ranges lie in blocks.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }.map_err(text)
    }

    fn limits(&self) -> Option<Limits> {
        self.known_limits().ok()
    }

    fn resources(&self, kernel: &str, threads: usize, shared: usize) -> Option<Resources> {
        self.known_resources(kernel, threads, shared).ok()
    }

    fn synchronize(&self) -> Outcome<()> {
        // SAFETY: the stream lives.
        unsafe { result::stream::synchronize(self.stream.cu_stream()) }.map_err(text)
    }

    fn memory(&self) -> Option<(usize, usize)> {
        result::mem_get_info().ok()
    }
}

/// An event in the stream.
struct Event(sys::CUevent);

impl Event {
    fn new() -> Outcome<Event> {
        result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map(Event).map_err(text)
    }

    fn record(&self, stream: &CudaStream) -> Outcome<()> {
        // SAFETY: the event and the stream live.
        unsafe { result::event::record(self.0, stream.cu_stream()) }.map_err(text)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: this is its only owner. On a lost device the call fails.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}

/// A running clock of the GPU.
struct Clock {
    start: Event,
    stream: Arc<CudaStream>,
}

impl driver::Clock for Clock {
    fn stop(self: Box<Self>) -> Outcome<Duration> {
        let end = Event::new()?;
        end.record(&self.stream)?;
        // SAFETY: both events live, and were recorded in one stream.
        let milliseconds = unsafe {
            result::event::synchronize(end.0).map_err(text)?;
            result::event::elapsed(self.start.0, end.0).map_err(text)?
        };
        Ok(Duration::from_secs_f64(f64::from(milliseconds.max(0.0)) / 1e3))
    }
}

/// The attribute of a launch with clusters of this number of blocks, along the second axis.
fn cluster_of(blocks: u32) -> sys::CUlaunchAttribute {
    let extents = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: 1, y: blocks, z: 1 };
    sys::CUlaunchAttribute {
        id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
        pad: [0; 4],
        value: sys::CUlaunchAttributeValue { clusterDim: extents },
    }
}

/// A captured graph, run by one launch.
struct Graph {
    executable: sys::CUgraphExec,
    stream: Arc<CudaStream>,
}

impl driver::Graph for Graph {
    fn launch(&self) -> Outcome<()> {
        // SAFETY: the graph and its stream live, and the `CapturedGraph` that owns it owns all memory it uses.
        unsafe { result::graph::launch(self.executable, self.stream.cu_stream()) }.map_err(text)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: this is its only owner. On a lost device the call fails.
        let _ = unsafe { result::graph::exec_destroy(self.executable) };
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let _ = self.context.bind_to_thread();
        for module in self.modules.borrow().iter() {
            // SAFETY: graphs keep the device open, so that none uses its functions any more. On a lost device the call fails.
            let _ = unsafe { result::module::unload(*module) };
        }
    }
}

/// Why there is no GPU of this number, where the driver shows `count`.
fn missing(number: usize, count: usize) -> String {
    let shown = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let limit = shown.map_or(String::new(), |shown| format!("; CUDA_VISIBLE_DEVICES is {shown:?}"));
    match count {
        0 if limit.is_empty() => "the NVIDIA driver has no GPU".into(),
        0 => format!(
            "the NVIDIA driver shows no GPU{limit}: unset it, or list GPUs in it, such as 0"
        ),
        1 => format!("there is no GPU {number}: the only one is cuda:0{limit}"),
        _ => format!("there is no GPU {number}: there are cuda:0 to cuda:{}{limit}", count - 1),
    }
}

/// The newest version of CUDA that the driver runs: 13,000 for 13.0.
fn driver_version() -> Result<i32, DriverError> {
    let mut version = 0;
    // SAFETY: the driver writes one number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok(version)
}

/// That the driver is older than the kernels' compiler, which is why it refused them; `None` if it is not.
fn old_driver(version: i32, why: &str) -> Option<String> {
    let newest = [version / 1000, version % 1000 / 10];
    let compiler = COMPILER.filter(|compiler| newest < *compiler)?;
    let [[driver, minor], [major, own_minor]] = [newest, compiler];
    Some(format!(
        "the NVIDIA driver is too old for the kernels in this program ({why}): it runs CUDA up to {driver}.{minor}, and they were \
         compiled with {major}.{own_minor}. Update the driver, or build with an older CUDA toolkit"
    ))
}

/// The driver's description of an error.
fn text(error: DriverError) -> String {
    let string = error.error_string().map(|text| text.to_string_lossy().into_owned());
    string.unwrap_or_else(|_| format!("{error:?}"))
}
