//! The sample of a launch with the names of places and arrays.

use super::memory;
use super::requests::Use;
use super::sample::{Request, Sample, Taken};
use super::worker::Worker;
use crate::device::gpu::reports::{LaunchSample, PhaseTraffic, SampledRequest};

impl Worker {
    /// The sample of the launch that is about to end, with names of places and arrays.
    pub fn describe_sample(&self, sample: &Sample) -> LaunchSample {
        let (job, accesses) = (self.job(), self.accesses.as_ref());
        let place = |number: u32| accesses.map_or(String::new(), |own| own.place(number));
        let request = |access: &Use, taken: &Taken, own: &Request| {
            // Lanes may touch several arrays; offsets are counted from the first one.
            let touched = own.lanes.iter().flatten();
            let first = touched.map(|(address, _)| *address).min().unwrap_or_default();
            let (array, start) = self.array_of(first, access.is_shared).unwrap_or(("", first));
            let offset = |address: usize| (address - start) as u64;
            let lanes = own.lanes.iter();
            let block = job.grid.at(taken.block);
            SampledRequest {
                place: place(access.place),
                is_shared: access.is_shared,
                is_write: access.is_write,
                block: [block.x, block.y, block.z],
                warp: taken.warp,
                phase: own.phase,
                number: own.number,
                array: array.to_owned(),
                start: start % 32,
                lanes: lanes
                    .map(|own| own.map(|(address, bytes)| (offset(address), bytes as u32)))
                    .collect(),
                transactions: own.transactions.done,
                least: own.transactions.least,
            }
        };
        let requests = sample.by_use.iter().flat_map(|(access, taken)| {
            taken.requests.iter().map(move |own| request(access, taken, own))
        });
        let phases =
            sample.sums.iter().map(|((warp, phase, access), (requests, done))| PhaseTraffic {
                warp: *warp,
                phase: *phase,
                place: place(access.place),
                is_shared: access.is_shared,
                is_write: access.is_write,
                requests: *requests,
                transactions: *done,
            });
        LaunchSample {
            kernel: job.kernel.name().to_owned(),
            grid: [job.grid.x, job.grid.y, job.grid.z],
            block: [job.block.x, job.block.y, job.block.z],
            requests: requests.collect(),
            phases: phases.collect(),
            barriers: sample.barriers.iter().map(|site| site.place()).collect(),
            is_cut: sample.is_cut,
        }
    }

    /// The name and the address of the array that an address lies in.
    fn array_of(&self, address: usize, is_shared: bool) -> Option<(&'static str, usize)> {
        if is_shared {
            return self.shared.array_of(address);
        }
        let block = memory::block_of(address)?;
        Some((self.job().argument_name(block).unwrap_or_default(), block))
    }
}
