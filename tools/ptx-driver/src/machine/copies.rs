//! Asynchronous copies (`cp.async`) that a warp's lanes have started and not waited for.

use super::registers::{LANES, Mask, lanes};

/// A copy from global to shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    pub lane: usize,
    pub to: u64,
    pub from: u64,
    pub bytes: u8,
    /// The first bytes, which are read; the others become 0.
    pub read: u8,
    pub pc: u32,
}

/// A copy, with the number of its group.
struct Started {
    copy: Copy,
    group: u32,
}

/// A warp's copies, in the order in which they were started.
#[derive(Default)]
pub struct Copies {
    started: Vec<Started>,
    /// Each lane's count of closed groups.
    groups: [u32; LANES],
}

impl Copies {
    /// Forgets all of them: the next block begins.
    pub fn clear(&mut self) {
        self.started.clear();
        self.groups = [0; LANES];
    }

    /// Adds a copy to its lane's open group.
    pub fn start(&mut self, copy: Copy) {
        self.started.push(Started { copy, group: self.groups[copy.lane] });
    }

    /// The lanes close their groups.
    pub fn commit(&mut self, mask: Mask) {
        lanes(mask).for_each(|lane| self.groups[lane] += 1);
    }

    /// Takes out the copies of all but the last `left` closed groups of these lanes.
    pub fn wait(&mut self, mask: Mask, left: u32) -> Vec<Copy> {
        let groups = self.groups;
        let is_over = |started: &mut Started| {
            let lane = started.copy.lane;
            mask >> lane & 1 != 0 && started.group.saturating_add(left) < groups[lane]
        };
        self.started.extract_if(.., is_over).map(|started| started.copy).collect()
    }
}
