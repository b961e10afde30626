//! The places of a kernel's instructions in its source.

use super::abi::file_name;

/// The files that are inlined into every kernel; their lines say nothing about an error.
pub(super) const FRAMES: [&str; 2] = ["cuda_on_host.h", "workshop.h"];

/// `FILE:LINE` of an instruction, followed by the places it was inlined into.
pub(super) fn source_of(instruction: usize) -> String {
    let mut places: Vec<String> = Vec::new();
    backtrace::resolve(instruction as *mut _, |symbol| {
        if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
            places.push(format!("{}:{line}", file_name(&file.to_string_lossy())));
        }
    });
    let is_frame = |place: &String| FRAMES.iter().any(|frame| place.starts_with(frame));
    if !places.iter().all(is_frame) {
        places.retain(|place| !is_frame(place));
    }
    if places.is_empty() { format!("{instruction:#x}") } else { places.join(", inlined in ") }
}
