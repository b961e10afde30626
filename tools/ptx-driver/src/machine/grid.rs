//! A grid: its blocks, cluster by cluster, spread over threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::block::Random;
use super::cluster::Cluster;
use super::fault::Fault;
use super::warp::Launch;
use crate::options::Order;

/// Runs all blocks of a launch.
///
/// # Errors
/// The first fault that a block reports.
pub fn run(launch: &Launch) -> Result<(), Fault> {
    let [across, down, deep] = launch.grid.map(|extent| extent as usize);
    let blocks = launch.cluster as usize;
    let clusters = across * (down / blocks) * deep;
    let places = order(launch.execution.order, clusters);
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let first = Mutex::new(None);
    let work = |worker: u64| {
        let mut cluster = Cluster::new(launch);
        let mut random = random(launch.execution.order, worker);
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= clusters {
                return;
            }
            let number = places.as_ref().map_or(at, |places| places[at] as usize);
            let lowest = number / across * blocks * across + number % across;
            let indices: Vec<[u32; 3]> =
                (0..blocks).map(|rank| index(launch.grid, lowest + rank * across)).collect();
            if let Err(fault) = cluster.run(&indices, &mut random) {
                failed.store(true, Ordering::Relaxed);
                if let Ok(mut first) = first.lock() {
                    first.get_or_insert(fault);
                }
            }
        }
    };
    let threads = launch.execution.threads.min(clusters);
    std::thread::scope(|scope| {
        for worker in 1..threads {
            let work = &work;
            scope.spawn(move || work(worker as u64));
        }
        work(0);
    });
    match first.into_inner() {
        Ok(Some(fault)) => Err(fault),
        _ => Ok(()),
    }
}

/// The clusters in the order in which they are started; `None` for their own.
fn order(order: Order, clusters: usize) -> Option<Vec<u32>> {
    let mut places: Vec<u32> = (0..clusters as u32).collect();
    match order {
        Order::Forward => return None,
        Order::Reverse => places.reverse(),
        Order::Shuffled(seed) => {
            let mut random = Random::new(seed);
            for at in (1..clusters).rev() {
                places.swap(at, random.below(at as u64 + 1) as usize);
            }
        }
    }
    Some(places)
}

fn random(order: Order, worker: u64) -> Random {
    match order {
        Order::Shuffled(seed) => Random::new(seed.wrapping_add(worker + 1)),
        _ => Random::new(1),
    }
}

fn index(grid: [u32; 3], number: usize) -> [u32; 3] {
    let (x, y) = (grid[0] as usize, grid[1] as usize);
    [(number % x) as u32, (number / x % y) as u32, (number / x / y) as u32]
}
