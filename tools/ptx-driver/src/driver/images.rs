//! Module images: PTX, or fat binaries that hold PTX or are known from the folder that the options name.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::entry::Outcome;
use super::errors::{INVALID_IMAGE, INVALID_PTX, NO_BINARY_FOR_GPU, UNSUPPORTED_PTX};
use super::trials::{self, Trial};
use crate::options::{A100, H200, options};
use crate::ptx::Program;
use crate::ptx::instruction::Kernel;

/// A kernel that has been assembled, and what is known of its launches.
pub struct Loaded {
    /// Its program; another program may have a kernel of the same name.
    program: Arc<Program>,
    pub kernel: Kernel,
    /// Registers of a thread, as ptxas reported them.
    pub registers: Option<usize>,
    pub executed: Vec<AtomicBool>,
    pub trials: Mutex<Vec<Trial>>,
    pub launches: AtomicU64,
    pub nanoseconds: AtomicU64,
}

impl Loaded {
    /// Counts a launch.
    pub fn count(&self, time: Duration) {
        self.launches.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// All that was loaded in this process, so that a program which opens its device again has its counts added up.
#[derive(Default)]
pub struct Library {
    programs: HashMap<Vec<u8>, Arc<Program>>,
    pub kernels: Vec<Arc<Loaded>>,
    registers: HashMap<String, usize>,
}

/// The process's library.
pub static LIBRARY: Mutex<Option<Library>> = Mutex::new(None);

/// A fat binary's first word.
const FAT_MAGIC: u32 = 0xba55_ed50;
const FAT_HEADER: usize = 16;
const PTX_ENTRY: u16 = 1;
/// The flags of an entry that is compressed.
const COMPRESSED: u64 = 0x2000 | 0x8000;

/// The version of CUDA that compiled the images.
const COMPILER: c_int = 13_000;

/// Reads the image at an address.
///
/// # Errors
/// If the driver is older than its compiler, there is no PTX for it, or it cannot be read.
pub fn load(image: *const c_void) -> Outcome<Arc<Program>> {
    if options().version < COMPILER {
        return Err(UNSUPPORTED_PTX);
    }
    let bytes = image_bytes(image)?;
    let mut library = LIBRARY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let library = library.get_or_insert_default();
    if let Some(program) = library.programs.get(&bytes) {
        return Ok(Arc::clone(program));
    }
    let (text, registers) = match is_fat(&bytes) {
        false => (String::from_utf8_lossy(&bytes).into_owned(), HashMap::new()),
        true => from_folder(&bytes)?.map_or_else(|| embedded(&bytes), Ok)?,
    };
    let program = Program::read(&text).map_err(|message| {
        eprintln!("ptx-driver: {message}");
        INVALID_PTX
    })?;
    let program = Arc::new(program);
    library.registers.extend(registers);
    library.programs.insert(bytes, Arc::clone(&program));
    Ok(program)
}

/// The kernel of this name; `None` if the program has none.
///
/// # Errors
/// If it cannot be assembled.
pub fn kernel(program: &Arc<Program>, name: &str) -> Outcome<Option<Arc<Loaded>>> {
    let mut library = LIBRARY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let library = library.get_or_insert_default();
    if !program.names().any(|own| own == name) {
        return Ok(None);
    }
    let is_own =
        |loaded: &&Arc<Loaded>| loaded.kernel.name == name && Arc::ptr_eq(&loaded.program, program);
    if let Some(loaded) = library.kernels.iter().find(is_own) {
        return Ok(Some(Arc::clone(loaded)));
    }
    let kernel = program.kernel(name, &options().arithmetic).map_err(|message| {
        eprintln!("ptx-driver: {message}");
        INVALID_PTX
    })?;
    Ok(kernel.map(|kernel| {
        let loaded = Arc::new(Loaded {
            program: Arc::clone(program),
            executed: kernel.code.iter().map(|_| AtomicBool::new(false)).collect(),
            registers: library.registers.get(name).copied(),
            launches: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
            trials: Mutex::new(trials::of(name, kernel.changes(), options().trials)),
            kernel,
        });
        library.kernels.push(Arc::clone(&loaded));
        loaded
    }))
}

fn is_fat(bytes: &[u8]) -> bool {
    word(bytes, 0).is_some_and(|magic| magic == u64::from(FAT_MAGIC))
}

/// The image's bytes: a fat binary tells its size, and a text ends with zero.
fn image_bytes(image: *const c_void) -> Outcome<Vec<u8>> {
    if image.is_null() {
        return Err(INVALID_IMAGE);
    }
    let start = image.cast::<u8>();
    // SAFETY: every image has at least four bytes: the shortest is a text of a directive.
    let magic = unsafe { start.cast::<u32>().read_unaligned() };
    let size = if magic == FAT_MAGIC {
        // SAFETY: a fat binary has a header of 16 bytes, the last eight of which are the size of the rest.
        let rest = unsafe { start.add(8).cast::<u64>().read_unaligned() };
        FAT_HEADER + rest as usize
    } else {
        // SAFETY: the driver's manual demands a text that ends with zero.
        unsafe { std::ffi::CStr::from_ptr(image.cast()) }.count_bytes()
    };
    // SAFETY: the range lies inside the image.
    Ok(unsafe { std::slice::from_raw_parts(start, size) }.to_vec())
}

type Found = (String, HashMap<String, usize>);

/// The PTX beside the fat binary in the options' folder that has the same bytes.
fn from_folder(bytes: &[u8]) -> Outcome<Option<Found>> {
    let Some(folder) = &options().code else { return Ok(None) };
    let Some(stem) = stem_of(folder, bytes) else { return Ok(None) };
    let path = |arch: &str| PathBuf::from(format!("{}.{arch}.ptx", stem.display()));
    let own = options().gpu.major;
    // A GPU that is newer than all machine code gets the newest PTX.
    let archs = if own > H200.major { vec![H200.major, A100.major] } else { vec![own] };
    let archs: Vec<String> = archs.iter().map(|major| format!("sm_{major}0")).collect();
    let arch = archs.iter().find(|arch| path(arch).exists()).unwrap_or(&archs[0]);
    let text = std::fs::read_to_string(path(arch)).map_err(|error| {
        eprintln!("ptx-driver: {}: {error}", path(arch).display());
        NO_BINARY_FOR_GPU
    })?;
    let report = std::fs::read_to_string(stem.with_extension("report")).unwrap_or_default();
    Ok(Some((text, registers(&report, arch))))
}

fn stem_of(folder: &Path, bytes: &[u8]) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut images = entries.filter(|path| path.extension().is_some_and(|own| own == "fatbin"));
    let found = images.find(|path| std::fs::read(path).is_ok_and(|own| own == bytes))?;
    Some(found.with_extension(""))
}

/// The registers of a thread of each kernel, from ptxas's report.
fn registers(report: &str, arch: &str) -> HashMap<String, usize> {
    let (mut kernel, mut found) = (None, HashMap::new());
    for line in report.lines() {
        let quoted: Vec<&str> = line.split('\'').collect();
        if let [before, name, _, own_arch, _] = *quoted
            && before.contains("Compiling entry function")
        {
            kernel = (own_arch == arch).then(|| name.to_owned());
        }
        let number =
            line.split_once(" registers").and_then(|(before, _)| before.split(' ').next_back());
        if let (Some(name), Some(Ok(count))) = (&kernel, number.map(str::parse)) {
            found.insert(name.clone(), count);
        }
    }
    found
}

/// A little-endian word of eight bytes, or of four in front of the end.
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let four = bytes.get(at..at + 4)?;
    Some(u64::from(u32::from_le_bytes([four[0], four[1], four[2], four[3]])))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(word(bytes, at)? | word(bytes, at + 4)? << 32)
}

/// The PTX within a fat binary, for the newest GPU that is not newer than ours. Compressed PTX is not read.
fn embedded(bytes: &[u8]) -> Outcome<Found> {
    let ours = (options().gpu.major * 10) as u64;
    let mut best: Option<(u64, String)> = None;
    let mut at = FAT_HEADER;
    while let (Some(kind), Some(header), Some(size)) =
        (word(bytes, at), word(bytes, at + 4), long(bytes, at + 8))
    {
        let start = at + header as usize;
        let (arch, flags) = (word(bytes, at + 28).unwrap_or(0), long(bytes, at + 40).unwrap_or(0));
        let payload = bytes.get(start..start + size as usize).unwrap_or(&[]);
        let is_text = kind as u16 == PTX_ENTRY && flags & COMPRESSED == 0;
        if is_text && arch <= ours && best.as_ref().is_none_or(|(own, _)| *own < arch) {
            let text = payload.split(|byte| *byte == 0).next().unwrap_or(payload);
            best = Some((arch, String::from_utf8_lossy(text).into_owned()));
        }
        at = start + size as usize;
    }
    best.map(|(_, text)| (text, HashMap::new())).ok_or_else(|| {
        eprintln!(
            "ptx-driver: a fat binary holds no uncompressed PTX for sm_{ours}, and is in no folder named by PTX_DRIVER_CODE"
        );
        NO_BINARY_FOR_GPU as c_int
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptxas_reports_are_read() {
        let report = "ptxas info    : Compiling entry function 'scale' for 'sm_80'\n\
                      ptxas info    : Used 24 registers, used 1 barriers, 380 bytes cmem[0]\n\
                      ptxas info    : Compiling entry function 'scale' for 'sm_90'\n\
                      ptxas info    : Used 26 registers\n";
        assert_eq!(registers(report, "sm_80")["scale"], 24);
        assert_eq!(registers(report, "sm_90")["scale"], 26);
    }

    #[test]
    fn ptx_is_found_in_a_fat_binary() {
        let mut entry = vec![0u8; 64];
        entry[0] = PTX_ENTRY as u8;
        entry[4] = 64;
        let text = b".version 9.0\n\0\0\0";
        entry[8] = text.len() as u8;
        entry[28] = 80;
        entry.extend_from_slice(text);
        let mut image = FAT_MAGIC.to_le_bytes().to_vec();
        image.extend([1, 0, 16, 0]);
        image.extend((entry.len() as u64).to_le_bytes());
        image.extend(entry);
        assert_eq!(embedded(&image).unwrap().0, ".version 9.0\n");
        assert!(is_fat(&image));
    }
}
