//! The shape of a tensor.

use std::fmt;

/// Batch, height, width and channels; channels vary fastest in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Images.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Shape {
    /// A shape from its four extents.
    pub fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Shape { n, h, w, c }
    }

    /// Number of values.
    pub fn len(self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Whether there are no values.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Pixels of all images: the rows of the matrix `[n * h * w, c]`.
    pub fn rows(self) -> usize {
        self.n * self.h * self.w
    }

    /// Pixels of one image.
    pub fn pixels(self) -> usize {
        self.h * self.w
    }

    /// Height and width.
    pub fn size(self) -> [usize; 2] {
        [self.h, self.w]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}, {}]", self.n, self.h, self.w, self.c)
    }
}
