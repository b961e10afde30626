//! Asynchronous copies (`cp.async`) that a warp's lanes have started and not waited for.

use super::registers::{LANES, Mask, lanes};

/// A copy from global to shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    pub lane: usize,
    pub to: u64,
    pub from: u64,
    pub bytes: u8,
    pub pc: u32,
    group: u32,
}

/// A warp's copies, in the order in which they were started.
#[derive(Default)]
pub struct Copies {
    started: Vec<Copy>,
    /// Each lane's count of closed groups.
    groups: [u32; LANES],
}

impl Copies {
    /// Forgets all of them: the next block begins.
    pub fn clear(&mut self) {
        self.started.clear();
        self.groups = [0; LANES];
    }

    /// A copy of a lane's open group.
    pub fn start(&mut self, lane: usize, to: u64, from: u64, bytes: u8, pc: u32) -> Copy {
        let copy = Copy { lane, to, from, bytes, pc, group: self.groups[lane] };
        self.started.push(copy);
        copy
    }

    /// The lanes close their groups.
    pub fn commit(&mut self, mask: Mask) {
        lanes(mask).for_each(|lane| self.groups[lane] += 1);
    }

    /// Takes out the copies of all but the last `left` closed groups of these lanes.
    pub fn wait(&mut self, mask: Mask, left: u32) -> Vec<Copy> {
        let groups = self.groups;
        let is_over = |copy: &mut Copy| {
            mask >> copy.lane & 1 != 0 && copy.group.saturating_add(left) < groups[copy.lane]
        };
        self.started.extract_if(.., is_over).collect()
    }
}
