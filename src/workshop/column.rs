//! The columns of a ladder's table.

use super::report::Counts;

/// A number that a rung of a ladder can improve, and an exercise can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// 32-byte sectors for each request of device memory.
    Sectors,
    /// Wavefronts for each request of shared memory.
    Wavefronts,
    /// Requests of warps, of both memories.
    Requests,
    /// Bytes between the SMs and device memory or its cache.
    Bytes,
    /// Operations on numbers for each of these bytes.
    OperationsPerByte,
    /// The share of lanes that take part in requests, in percent.
    Lanes,
    /// Barriers of a block.
    Barriers,
    /// Launches.
    Launches,
}

impl Column {
    /// All columns, in the order of a table.
    pub const ALL: [Column; 8] = [
        Column::Sectors,
        Column::Wavefronts,
        Column::Requests,
        Column::Bytes,
        Column::OperationsPerByte,
        Column::Lanes,
        Column::Barriers,
        Column::Launches,
    ];

    /// Its name in a table and in headers.
    pub fn name(self) -> &'static str {
        match self {
            Column::Sectors => "sectors",
            Column::Wavefronts => "wavefronts",
            Column::Requests => "requests",
            Column::Bytes => "bytes",
            Column::OperationsPerByte => "operations per byte",
            Column::Lanes => "lanes",
            Column::Barriers => "barriers",
            Column::Launches => "launches",
        }
    }

    /// The column with this name; the error lists them all.
    pub(super) fn named(name: &str) -> Result<Column, String> {
        Column::ALL.into_iter().find(|own| own.name() == name).ok_or_else(|| {
            format!("`{name}` is no column; they are {}", Column::ALL.map(Column::name).join(", "))
        })
    }

    /// The number of a launch; 0 where there are no requests.
    pub fn of(self, counts: &Counts) -> f64 {
        match self {
            Column::Sectors => counts.global.per_request().unwrap_or(0.0),
            Column::Wavefronts => counts.shared.per_request().unwrap_or(0.0),
            Column::Requests => (counts.global.requests + counts.shared.requests) as f64,
            Column::Bytes => counts.global_bytes() as f64,
            Column::OperationsPerByte => counts.operations_per_byte(),
            Column::Lanes => 100.0 * counts.active_lanes().unwrap_or(0.0),
            Column::Barriers => counts.barriers_of_block(),
            Column::Launches => counts.launches as f64,
        }
    }

    /// Whether a larger number is better.
    pub fn grows(self) -> bool {
        matches!(self, Column::OperationsPerByte | Column::Lanes)
    }

    /// Whether a number is better than another one.
    pub fn is_better(self, own: f64, other: f64) -> bool {
        if self.grows() { own > other } else { own < other }
    }

    /// Whether a number reaches a bound.
    pub fn reaches(self, own: f64, bound: f64) -> bool {
        if self.grows() { own >= bound } else { own <= bound }
    }
}
