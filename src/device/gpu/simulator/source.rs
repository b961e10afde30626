//! The places of a kernel's instructions in its source.

use super::abi::file_name;

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
