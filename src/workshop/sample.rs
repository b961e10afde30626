//! The traffic of a run by lines, and a sample of its accesses, from which the pictures of a page are drawn.

use super::reference::{Problem, Value};
use super::report::{Counts, LineCounts, Sample, SampledArray, Traffic};
use crate::Device;
use crate::device::gpu::Gpu;

impl Sample {
    /// What a simulator has seen of the launches of the file of this name.
    pub(super) fn of(file: &str, problem: &Problem, device: &Device) -> Sample {
        let Device::Gpu(gpu) = device else { unreachable!("the simulator runs kernels") };
        let array = |(name, value): &(&'static str, Value)| match value {
            Value::Array(array) => Some(SampledArray {
                name: (*name).to_owned(),
                element: array.dtype.size(),
                shape: array.shape.clone(),
            }),
            Value::Int(_) | Value::Float(_) => None,
        };
        Sample {
            shape: String::new(),
            lines: counts(file, gpu).lines,
            arrays: problem.arguments.iter().filter_map(array).collect(),
            launches: gpu.samples(),
        }
    }
}

/// The traffic, by line.
pub(super) fn counts(file: &str, gpu: &Gpu) -> Counts {
    let mut counts = Counts::default();
    for site in gpu.traffic() {
        let traffic = Traffic {
            requests: site.requests,
            transactions: site.transactions,
            least: site.least,
            lanes: site.lanes,
            bytes: site.bytes,
        };
        match site.is_shared {
            true => counts.shared.add(&traffic),
            false => counts.global.add(&traffic),
        }
        let Some(line) = line_of(&site.place, file) else { continue };
        let (is_shared, is_write) = (site.is_shared, site.is_write);
        let known = counts
            .lines
            .iter_mut()
            .find(|own| (own.line, own.is_shared, own.is_write) == (line, is_shared, is_write));
        match known {
            Some(own) => own.traffic.add(&traffic),
            None => counts.lines.push(LineCounts { line, is_shared, is_write, traffic }),
        }
    }
    counts.lines.sort_by_key(|own| (own.line, own.is_shared, own.is_write));
    counts
}

/// The line of a place in this file; the innermost if the place was inlined.
pub(super) fn line_of(place: &str, file: &str) -> Option<usize> {
    place
        .split(", inlined in ")
        .find_map(|one| one.strip_prefix(file)?.strip_prefix(':')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_the_innermost_line_of_the_file() {
        assert_eq!(line_of("common.cuh:3, inlined in a.cu:14", "a.cu"), Some(14));
        assert_eq!(line_of("b.cu:14", "a.cu"), None);
    }
}
