//! NVIDIA GPUs, through CUDA's driver. The only file that knows cudarc.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use super::gpu::Launch;

include!(concat!(env!("OUT_DIR"), "/fat_binaries.rs"));

/// Dynamic shared memory that a kernel gets without being asked twice.
const SHARED_WITHOUT_ASKING: usize = 48 << 10;

/// What a driver's call comes to, for people.
type Outcome<T> = Result<T, String>;

/// One GPU with one stream. Everything is done in the stream's order.
pub(crate) struct Cuda {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    modules: Vec<sys::CUmodule>,
    functions: RefCell<HashMap<String, Function>>,
    name: String,
}

/// A kernel that has been looked up.
#[derive(Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    /// The most dynamic shared memory it may have been launched with so far.
    shared: usize,
}

impl Cuda {
    /// Opens the first GPU.
    ///
    /// # Errors
    /// Why there is none to be used, and what to do.
    pub fn open() -> Outcome<Cuda> {
        // SAFETY: it looks for the driver's library by name, and loads it if it is there; nothing else is done with it.
        if !unsafe { sys::is_culib_present() } {
            return Err("no NVIDIA driver was found".into());
        }
        match CudaContext::device_count() {
            Ok(0) => return Err("the NVIDIA driver has no device".into()),
            Ok(_) => {}
            Err(error) => return Err(format!("the NVIDIA driver does not work: {}", text(error))),
        }
        if FAT_BINARIES.is_empty() {
            return Err(
                "this program was built without kernels for GPUs: build it again where nvcc is"
                    .into(),
            );
        }
        Cuda::open_first()
            .map_err(|error| format!("the GPU could not be opened: {}", text(error)))?
    }

    fn open_first() -> Result<Outcome<Cuda>, DriverError> {
        let context = CudaContext::new(0)?;
        // SAFETY: every block of memory is used in one stream alone, whose order is all that is needed.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        keep_freed_memory(&context)?;
        let name = context.name()?;
        let (major, minor) = context.compute_capability()?;
        let mut modules = Vec::new();
        for image in FAT_BINARIES {
            // SAFETY: the image is a whole fat binary, as nvcc wrote it.
            match unsafe { result::module::load_data(image.as_ptr().cast()) } {
                Ok(module) => modules.push(module),
                Err(error) => {
                    return Ok(Err(format!(
                        "the kernels in this program do not run on {name} (sm_{major}{minor}): {}. Build it with \
                         ALRAO_CUDA_ARCHS={major}{minor}",
                        text(error)
                    )));
                }
            }
        }
        Ok(Ok(Cuda { context, stream, modules, functions: RefCell::default(), name }))
    }

    /// The GPU's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A block of memory with unknown content; its address.
    pub fn allocate(&self, bytes: usize) -> Outcome<u64> {
        // SAFETY: the stream lives, and the block is only used in its order.
        unsafe { result::malloc_async(self.stream.cu_stream(), bytes.max(1)) }.map_err(text)
    }

    /// Bytes that are free, and all there are.
    pub fn memory(&self) -> Outcome<(usize, usize)> {
        result::mem_get_info().map_err(text)
    }

    /// Gives a block back, once all that was launched before is done with it.
    pub fn free(&self, address: u64, _bytes: usize) {
        // SAFETY: the block came from `allocate`, and its owner is gone. A lost device has nothing to give back.
        let _ = unsafe { result::free_async(address, self.stream.cu_stream()) };
    }

    /// Copies to the device. When it returns, the bytes may change.
    pub fn upload(&self, address: u64, bytes: &[u8]) -> Outcome<()> {
        // SAFETY: the caller's range lies in a block; pageable memory is read before the call returns.
        unsafe { result::memcpy_htod_async(address, bytes, self.stream.cu_stream()) }.map_err(text)
    }

    /// Waits for everything launched so far, and copies to the host.
    pub fn download(&self, address: u64, bytes: &mut [u8]) -> Outcome<()> {
        // SAFETY: the caller's range lies in a block, and the host waits before it looks at the bytes.
        unsafe { result::memcpy_dtoh_async(bytes, address, self.stream.cu_stream()) }
            .map_err(text)?;
        self.synchronize()
    }

    pub fn set_zero(&self, address: u64, bytes: usize) -> Outcome<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's range lies in a block.
        unsafe { result::memset_d8_async(address, 0, bytes, self.stream.cu_stream()) }.map_err(text)
    }

    /// Waits for everything launched so far.
    pub fn synchronize(&self) -> Outcome<()> {
        // SAFETY: the stream lives.
        unsafe { result::stream::synchronize(self.stream.cu_stream()) }.map_err(text)
    }

    /// Launches a kernel in the stream.
    pub fn launch(&self, launch: &Launch) -> Outcome<()> {
        let function = self.function(launch.kernel, launch.shared)?;
        let mut pointers: Vec<*mut c_void> = launch
            .arguments
            .iter()
            .map(|argument| argument.as_bytes().as_ptr().cast_mut().cast())
            .collect();
        let triple = |[x, y, z]: [u32; 3]| (x, y, z);
        // SAFETY: each kernel has one caller, whose arguments the simulator has checked against its declaration; the
        // driver copies them before it returns.
        unsafe {
            result::launch_kernel(
                function,
                triple(launch.grid),
                triple(launch.block),
                launch.shared as u32,
                self.stream.cu_stream(),
                &mut pointers,
            )
        }
        .map_err(|error| format!("{}: {}", launch.kernel, text(error)))
    }

    fn function(&self, name: &str, shared: usize) -> Outcome<sys::CUfunction> {
        let mut functions = self.functions.borrow_mut();
        if !functions.contains_key(name) {
            let handle = self.find(name).ok_or_else(|| format!("there is no kernel `{name}`"))?;
            functions.insert(name.to_owned(), Function { handle, shared: SHARED_WITHOUT_ASKING });
        }
        let function = functions.get_mut(name).expect("it was put there");
        if shared > function.shared {
            let attribute =
                sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the handle belongs to a module that stays loaded.
            unsafe {
                result::function::set_function_attribute(function.handle, attribute, shared as i32)
            }
            .map_err(|error| format!("{name}: {shared} bytes of shared memory: {}", text(error)))?;
            function.shared = shared;
        }
        Ok(function.handle)
    }

    fn find(&self, name: &str) -> Option<sys::CUfunction> {
        self.modules.iter().find_map(|module| {
            let name = CString::new(name).ok()?;
            // SAFETY: the module stays loaded as long as the device is open.
            unsafe { result::module::get_function(*module, name) }.ok()
        })
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let _ = self.context.bind_to_thread();
        for module in &self.modules {
            // SAFETY: no function of it is used any more; on a lost device there is nothing to unload.
            let _ = unsafe { result::module::unload(*module) };
        }
    }
}

/// Without this the pool gives freed memory back to the system at every wait.
fn keep_freed_memory(context: &CudaContext) -> Result<(), DriverError> {
    let mut threshold = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the device lives, and the attribute is a number of 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast())
    }
}

/// The driver's own words.
fn text(error: DriverError) -> String {
    let string = error.error_string().map(|text| text.to_string_lossy().into_owned());
    string.unwrap_or_else(|_| format!("{error:?}"))
}
