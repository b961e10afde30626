//! A warp's registers, one row of 32 lanes each.

/// The number of lanes of a warp.
pub const LANES: usize = 32;

/// A set of lanes: bit l is lane l.
pub type Mask = u32;

/// A register's number within its class.
pub type Slot = u16;

/// In place of a destination that the program does not want (`_`).
pub const NONE: Slot = Slot::MAX;

/// How a register is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// One bit a lane.
    Predicate,
    /// 8 to 32 bits a lane; bits beyond the type's size are zero.
    Narrow,
    /// 64 bits a lane.
    Wide,
}

/// All registers of a warp.
#[derive(Clone)]
pub struct Registers {
    predicates: Vec<Mask>,
    narrow: Vec<[u32; LANES]>,
    wide: Vec<[u64; LANES]>,
}

impl Registers {
    /// Registers with these numbers of rows, all zero.
    pub fn new(predicates: usize, narrow: usize, wide: usize) -> Self {
        Registers {
            predicates: vec![0; predicates],
            narrow: vec![[0; LANES]; narrow],
            wide: vec![[0; LANES]; wide],
        }
    }

    /// A predicate of all lanes.
    #[inline(always)]
    pub fn predicate(&self, slot: Slot) -> Mask {
        self.predicates[slot as usize]
    }

    /// Writes a predicate in the lanes of the mask.
    #[inline(always)]
    pub fn set_predicate(&mut self, slot: Slot, values: Mask, mask: Mask) {
        let own = &mut self.predicates[slot as usize];
        *own = *own & !mask | values & mask;
    }

    /// A 32-bit register of all lanes.
    #[inline(always)]
    pub fn narrow(&self, slot: Slot) -> &[u32; LANES] {
        &self.narrow[slot as usize]
    }

    /// A 32-bit register of all lanes, to be written.
    #[inline(always)]
    pub fn narrow_mut(&mut self, slot: Slot) -> &mut [u32; LANES] {
        &mut self.narrow[slot as usize]
    }

    /// A 64-bit register of all lanes.
    #[inline(always)]
    pub fn wide(&self, slot: Slot) -> &[u64; LANES] {
        &self.wide[slot as usize]
    }

    /// One lane's bits.
    #[inline(always)]
    pub fn get(&self, class: Class, slot: Slot, lane: usize) -> u64 {
        match class {
            Class::Predicate => u64::from(self.predicates[slot as usize] >> lane & 1),
            Class::Narrow => u64::from(self.narrow[slot as usize][lane]),
            Class::Wide => self.wide[slot as usize][lane],
        }
    }

    /// Writes one lane's bits.
    #[inline(always)]
    pub fn set(&mut self, class: Class, slot: Slot, lane: usize, bits: u64) {
        match class {
            Class::Predicate => self.set_predicate(slot, (bits as u32 & 1) << lane, 1 << lane),
            Class::Narrow => self.narrow[slot as usize][lane] = bits as u32,
            Class::Wide => self.wide[slot as usize][lane] = bits,
        }
    }

    /// Writes the same bits in the lanes of a mask.
    #[inline(always)]
    pub fn spread(&mut self, class: Class, slot: Slot, mask: Mask, bits: u64) {
        if mask.is_power_of_two() {
            return self.set(class, slot, mask.trailing_zeros() as usize, bits);
        }
        match class {
            Class::Predicate => self.set_predicate(slot, 0u32.wrapping_sub(bits as u32 & 1), mask),
            Class::Narrow => blend(&mut self.narrow[slot as usize], [bits as u32; LANES], mask),
            Class::Wide => blend(&mut self.wide[slot as usize], [bits; LANES], mask),
        }
    }

    /// Writes the same bits in all lanes.
    pub fn fill(&mut self, class: Class, slot: Slot, bits: u64) {
        (0..LANES).for_each(|lane| self.set(class, slot, lane, bits));
    }
}

/// A type that a register is read or written as.
pub trait Lane: Copy {
    /// The class of the registers that hold it.
    const CLASS: Class;
    /// All lanes of a register.
    fn row(registers: &Registers, slot: Slot) -> [Self; LANES];
    /// Writes the lanes of the mask.
    fn put(registers: &mut Registers, slot: Slot, values: [Self; LANES], mask: Mask);
}

/// Bits of a row: whole registers, which are written under a mask without branches.
trait Bits: Copy {
    /// `new` if `bit` is 1, else `old`.
    fn choose(old: Self, new: Self, bit: u32) -> Self;
}

impl Bits for u32 {
    #[inline(always)]
    fn choose(old: u32, new: u32, bit: u32) -> u32 {
        let ones = 0u32.wrapping_sub(bit);
        old & !ones | new & ones
    }
}

impl Bits for u64 {
    #[inline(always)]
    fn choose(old: u64, new: u64, bit: u32) -> u64 {
        let ones = 0u64.wrapping_sub(u64::from(bit));
        old & !ones | new & ones
    }
}

/// Writes the lanes of the mask; all of them in one piece.
#[inline(always)]
fn blend<T: Bits>(row: &mut [T; LANES], values: [T; LANES], mask: Mask) {
    if mask == Mask::MAX {
        *row = values;
    } else {
        let old = *row;
        *row = std::array::from_fn(|lane| T::choose(old[lane], values[lane], mask >> lane & 1));
    }
}

macro_rules! lane {
    ($($type:ty: $class:ident $rows:ident, |$bits:ident| $get:expr, |$value:ident| $put:expr;)*) => {
        $(impl Lane for $type {
            const CLASS: Class = Class::$class;
            #[inline(always)]
            fn row(registers: &Registers, slot: Slot) -> [Self; LANES] {
                registers.$rows[slot as usize].map(|$bits| $get)
            }
            #[inline(always)]
            fn put(registers: &mut Registers, slot: Slot, values: [Self; LANES], mask: Mask) {
                blend(&mut registers.$rows[slot as usize], values.map(|$value| $put), mask);
            }
        })*
    };
}
lane! {
    u8: Narrow narrow, |bits| bits as u8, |value| u32::from(value);
    i8: Narrow narrow, |bits| bits as i8, |value| u32::from(value as u8);
    u16: Narrow narrow, |bits| bits as u16, |value| u32::from(value);
    i16: Narrow narrow, |bits| bits as i16, |value| u32::from(value as u16);
    u32: Narrow narrow, |bits| bits, |value| value;
    i32: Narrow narrow, |bits| bits as i32, |value| value as u32;
    f32: Narrow narrow, |bits| f32::from_bits(bits), |value| value.to_bits();
    u64: Wide wide, |bits| bits, |value| value;
    i64: Wide wide, |bits| bits as i64, |value| value as u64;
    f64: Wide wide, |bits| f64::from_bits(bits), |value| value.to_bits();
}

impl Lane for bool {
    const CLASS: Class = Class::Predicate;
    #[inline(always)]
    fn row(registers: &Registers, slot: Slot) -> [bool; LANES] {
        let bits = registers.predicates[slot as usize];
        std::array::from_fn(|lane| bits >> lane & 1 != 0)
    }
    #[inline(always)]
    fn put(registers: &mut Registers, slot: Slot, values: [bool; LANES], mask: Mask) {
        let bits = values.iter().rev().fold(0, |bits, value| bits << 1 | u32::from(*value));
        registers.set_predicate(slot, bits, mask);
    }
}

/// The lanes of a mask, in order.
pub fn lanes(mask: Mask) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = rest.trailing_zeros() as usize;
        let is_one = rest != 0;
        rest &= rest.wrapping_sub(1);
        is_one.then_some(lane)
    })
}
