//! Kernels of a compiled network: prepared once for a shape, run on one array that holds every map.
//!
//! A map `[n, h, w, c]` lies in the array (the arena) at a [`Place`]: pixel after pixel, `ld` floats apart, so that a
//! map may also be some channels of a wider one and a concatenation needs no copy. Each step checks on construction
//! that what it writes and what it reads do not overlap, and on every run that the arena is long enough; it allocates
//! nothing.

mod dense;
mod depthwise;
mod detect;
pub(crate) mod finish;
mod maps;
mod plain;
mod squeeze;
mod winograd;

pub use crate::conv::winograd::WinogradWeights;
pub use dense::{Dense, Gate, padded_bias};
pub use depthwise::{Depthwise, Expand, Project, Taps};
pub use detect::{DetectConv, DetectWeights};
pub use maps::{Affine, Focus, Pool, Repeat, Sum, ZeroBorder};
pub use plain::{Plain, Work};
pub use squeeze::{Linear, Scale, Squeeze};
pub use winograd::Winograd;

/// Where a map lies in the arena, in floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its first value.
    pub at: usize,
    /// From one pixel to the next.
    pub ld: usize,
    /// Channels.
    pub c: usize,
}

impl Place {
    /// One past the last value of `rows` pixels.
    pub fn end(&self, rows: usize) -> usize {
        if rows == 0 { self.at } else { self.at + (rows - 1) * self.ld + self.c }
    }

    /// Whether no value of `rows` pixels here is one of `other_rows` pixels there.
    pub fn apart(&self, rows: usize, other: &Place, other_rows: usize) -> bool {
        let disjoint = self.end(rows) <= other.at || other.end(other_rows) <= self.at;
        // Different channels of the same wider pixels.
        let interleaved = self.ld == other.ld && {
            let ld = self.ld as isize;
            let from = (other.at as isize - self.at as isize).rem_euclid(ld.max(1)) as usize;
            self.c <= from && from + other.c <= self.ld
        };
        disjoint || interleaved
    }

    fn check(&self, what: &str) {
        assert!(self.c <= self.ld, "{what}: {} channels, pixels {} floats apart", self.c, self.ld);
    }
}

/// Stops a step that would overwrite what it reads.
fn check_apart(what: &str, x: &Place, x_rows: usize, y: &Place, y_rows: usize) {
    x.check(what);
    y.check(what);
    assert!(x.apart(x_rows, y, y_rows), "{what}: input at {x:?} and output at {y:?} overlap");
}

#[cfg(test)]
mod tests;
