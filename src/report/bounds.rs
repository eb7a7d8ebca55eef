//! Bounds of a collector: those of the command, and those of a process that serves requests beside it.

/// Bounds on what a collector keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Limit on the key-hours of all rows together, which are most of the memory: about 250 bytes each.
    pub key_hours: usize,
    /// Key-hours above `key_hours` that may come before the rows are cut to their limit: the cut looks at every row.
    pub slack: usize,
    /// Limit on the rows of a report: those with the most pairs.
    pub rows: usize,
    /// Limit on the rows that are summed: any of them can still become one of `rows`. More are only counted, the last ones
    /// by name.
    pub rows_summed: usize,
    /// Limit on the distinct rows that are counted without being summed, and on distinct instances. There, counting ends.
    pub distinct: usize,
    /// Limit on the UTC days of all rows together, beyond which each row keeps fewer of its latest; 0 keeps none.
    pub days: usize,
    /// True if lines come as they are written, for as long as a process lives. At `rows_summed`, rows of a past epoch then
    /// make room, and those that had no pair for a day; further ones are only counted. The report depends on the order of
    /// the lines, and has no times and lengths, which no verdict rests on and which take half of the memory.
    pub is_live: bool,
}

impl Bounds {
    /// Bounds of the command: 30 MiB of key-hours, 8 MiB of days. One application's models, routes and epochs are far fewer than these
    /// rows; where they are not, a row keeps `key_hours` / `rows_summed` key-hours at most, whichever rows came in between.
    pub const COMMAND: Self = Self {
        key_hours: 131_072,
        slack: 8_192,
        rows: 256,
        rows_summed: 1_024,
        distinct: 65_536,
        days: 32_768,
        is_live: false,
    };

    /// Bounds of a sidecar: 1 MiB with two rows, 2 MiB with all, as measured. The share of faults of a row needs 492
    /// key-hours to be ready, so that eight rows of equal size can be.
    pub const PROCESS: Self =
        Self { key_hours: 4_096, slack: 256, rows: 32, rows_summed: 32, distinct: 1_024, days: 0, is_live: true };
}

impl Default for Bounds {
    fn default() -> Self {
        Self::COMMAND
    }
}
