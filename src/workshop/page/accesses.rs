//! The accesses of each line, drawn.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::marks::{Named, is_poor, pattern};
use super::{banks, threads};
use crate::device::gpu::{LaunchSample, SampledRequest};
use crate::plots::page::escape;
use crate::workshop::report::Sample;
use crate::workshop::sample::line_of;
use crate::workshop::source::KernelFile;

/// The most requests of a line's access that are drawn.
const MOST_DRAWN: usize = 4;

/// The most accesses of a line that are drawn.
const MOST_OF_LINE: usize = 6;

/// The requests of one access in the source.
pub(super) struct Access<'a> {
    pub launch: &'a LaunchSample,
    pub requests: Vec<&'a SampledRequest>,
}

/// The accesses of each line. A loop that the compiler has unrolled has several places; those that look alike are one access.
pub(super) fn accesses<'a>(sample: &'a Sample, file: &str) -> BTreeMap<usize, Vec<Access<'a>>> {
    let mut lines: BTreeMap<usize, Vec<Access>> = BTreeMap::new();
    for launch in &sample.launches {
        for request in &launch.requests {
            let Some(line) = line_of(&request.place, file) else { continue };
            let own = lines.entry(line).or_default();
            let known = own.iter_mut().find(|access| {
                let first = access.requests[0];
                (&access.launch.kernel, &first.array, first.is_write)
                    == (&launch.kernel, &request.array, request.is_write)
            });
            match known {
                Some(access) => {
                    let is_new = |own: &&SampledRequest| own.lanes != request.lanes;
                    if access.requests.iter().all(is_new) {
                        access.requests.push(request);
                    }
                }
                None => own.push(Access { launch, requests: vec![request] }),
            }
        }
    }
    lines
}

/// The pictures of a line.
pub(super) fn of_line(
    file: &KernelFile,
    line: usize,
    accesses: &[Access],
    sample: &Sample,
) -> String {
    let code = file.text.lines().nth(line - 1).unwrap_or_default().trim();
    let mut text = format!("<h3 id=\"line{line}\">Line {line}</h3>\n<pre>{}</pre>\n", escape(code));
    if accesses.len() > MOST_OF_LINE {
        let _ = writeln!(
            text,
            "<p class=\"note\">The first {MOST_OF_LINE} of this line's {} accesses.</p>",
            accesses.len()
        );
    }
    for access in accesses.iter().take(MOST_OF_LINE) {
        let [first, rest @ ..] = &access.requests[..] else { continue };
        text += &drawn(access.launch, first, sample);
        let rest = &rest[..rest.len().min(MOST_DRAWN - 1)];
        if !rest.is_empty() {
            let word = if rest.len() == 1 { "request" } else { "requests" };
            let more: String = rest.iter().map(|own| drawn(access.launch, own, sample)).collect();
            // Later requests that cost more or less tell something new.
            let differs = rest.iter().any(|own| own.transactions != first.transactions);
            let open = if differs { " open" } else { "" };
            let _ = write!(
                text,
                "<details{open}><summary>{} later {word} of the same warp</summary>\n{more}</details>\n",
                rest.len()
            );
        }
    }
    text
}

/// One request with its caption.
pub(super) fn drawn(launch: &LaunchSample, request: &SampledRequest, sample: &Sample) -> String {
    let array = sample.arrays.iter().find(|own| !request.is_shared && own.name == request.array);
    let named = Named { name: &request.array, array };
    let (picture, unit) = match request.is_shared {
        true => (banks::picture(request, &named), "wavefront"),
        false => (threads::picture(request, &named), "sector"),
    };
    let units = |count: u64| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    // An array that begins within a sector costs one more, which a GPU's does not.
    let of_start = u64::from(request.start != 0 && !request.is_shared);
    let is_poor = is_poor(request.transactions.saturating_sub(of_start), request.least);
    let verb = if request.is_write { "writes" } else { "reads" };
    let [x, y, z] = request.block;
    let lanes = request.lanes.iter().flatten().count();
    let of_lanes = if lanes == 1 { "lane" } else { "lanes" };
    let bytes = request.lanes.iter().flatten().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    // A GPU's arrays begin at multiples of 256 bytes, those of the simulator at multiples of 16.
    let start = match request.start {
        0 => String::new(),
        _ if request.is_shared => String::new(),
        byte => {
            format!("; the simulator's array begins at byte {byte} of a sector, a GPU's at byte 0")
        }
    };
    let name = if request.array.is_empty() { "memory" } else { &request.array };
    let of_kernel = if sample.launches.len() > 1 {
        format!("kernel {}, ", launch.kernel)
    } else {
        String::new()
    };
    format!(
        "<figure><p class=\"note{}\">{verb} <code>{}</code>: <b>{}</b>; at least {}. {}.</p>\n<div class=\"wide\">{picture}</div>\n\
         <figcaption>{}block ({x}, {y}, {z}), warp {}, {} time here, phase {}; {lanes} {of_lanes}, {bytes} bytes each{}{start}</figcaption></figure>\n",
        if is_poor { " poor" } else { "" },
        escape(name),
        units(request.transactions),
        units(request.least),
        capital(&pattern(request)),
        escape(&of_kernel),
        request.warp,
        ordinal(request.number + 1),
        request.phase + 1,
        used(request)
    )
}

/// How many of the bytes that a request of device memory moves are used.
fn used(request: &SampledRequest) -> String {
    if request.is_shared {
        return String::new();
    }
    let wanted = |bytes: &[Option<u8>; 32]| bytes.iter().flatten().count();
    let wanted: usize = threads::sectors(request).values().map(wanted).sum();
    let moved = 32 * request.transactions;
    format!("; {wanted} of {moved} moved bytes are used")
}

pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}
