//! Positions in one reading of the file, with a type for each kind so that two kinds cannot be swapped unnoticed.

/// Position of a backend in the file. Meaningless in another reading of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(usize);

/// Position of a route in the file; the last one is `default`. Meaningless in another reading of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(usize);

impl BackendId {
    /// The backend at this position, counted from 0.
    pub const fn new(position: usize) -> Self {
        Self(position)
    }

    /// The position, counted from 0.
    pub const fn index(self) -> usize {
        self.0
    }
}

impl RouteId {
    /// The route at this position, counted from 0.
    pub const fn new(position: usize) -> Self {
        Self(position)
    }

    /// The position, counted from 0.
    pub const fn index(self) -> usize {
        self.0
    }
}
