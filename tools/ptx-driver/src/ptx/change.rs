//! Changes to a kernel that its tests have to notice.

use super::instruction::{Action, Kernel};

/// One wrong version of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The instruction of this number, which orders accesses, is left out.
    LeftOut(usize),
    /// Two registers of a fragment change places, in every `mma` of the kernel.
    SwappedA,
    SwappedB,
    SwappedSum,
    /// The first two matrices change places, in every `ldmatrix`.
    SwappedMatrices,
    /// Every `ldmatrix` transposes if it should not, and the other way round.
    Transposed,
}

impl Kernel {
    /// All changes of this kernel that make a difference: each barrier and wait for copies, and the operands of tensor cores.
    pub fn changes(&self) -> Vec<Change> {
        let has = |is: fn(&Action) -> bool| self.code.iter().any(|own| is(&own.action));
        let mut all: Vec<Change> = (0..self.code.len())
            .filter(|at| orders(&self.code[*at].action))
            .map(Change::LeftOut)
            .collect();
        if has(|action| matches!(action, Action::Product { .. })) {
            all.extend([Change::SwappedA, Change::SwappedB, Change::SwappedSum]);
        }
        if has(|action| matches!(action, Action::LoadMatrix { count: 2.., .. })) {
            all.push(Change::SwappedMatrices);
        }
        if has(|action| matches!(action, Action::LoadMatrix { .. })) {
            all.push(Change::Transposed);
        }
        all
    }

    /// The kernel with a change.
    pub fn changed(&self, change: Change) -> Kernel {
        let mut kernel = self.clone();
        for (at, instruction) in kernel.code.iter_mut().enumerate() {
            let operands = &mut instruction.operands;
            match (&mut instruction.action, change) {
                (action, Change::LeftOut(number)) if at == number => *action = Action::Nothing,
                // Rows g and g + 8, and the columns behind them, in both shapes.
                (Action::Product { .. }, Change::SwappedA) => operands.s.swap(1, 2),
                (Action::Product { .. }, Change::SwappedB) => operands.s.swap(4, 5),
                (Action::Product { .. }, Change::SwappedSum) => operands.d.swap(1, 2),
                (Action::LoadMatrix { count: 2.., .. }, Change::SwappedMatrices) => {
                    operands.d.swap(0, 1);
                }
                (Action::LoadMatrix { is_transposed, .. }, Change::Transposed) => {
                    *is_transposed = !*is_transposed;
                }
                _ => {}
            }
        }
        kernel
    }

    /// The change in words.
    pub fn describe(&self, change: Change) -> String {
        match change {
            Change::LeftOut(at) => format!("without {}", self.place(at)),
            Change::SwappedA => "with registers 1 and 2 of A swapped in mma".to_owned(),
            Change::SwappedB => "with the registers of B swapped in mma".to_owned(),
            Change::SwappedSum => "with registers 1 and 2 of D swapped in mma".to_owned(),
            Change::SwappedMatrices => "with matrices 0 and 1 swapped in ldmatrix".to_owned(),
            Change::Transposed => "with ldmatrix transposed the other way".to_owned(),
        }
    }
}

fn orders(action: &Action) -> bool {
    matches!(
        action,
        Action::Barrier
            | Action::WarpBarrier
            | Action::ClusterArrive
            | Action::ClusterWait
            | Action::WaitCopies { .. }
    )
}
