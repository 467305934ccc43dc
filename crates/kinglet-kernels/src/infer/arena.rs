//! The array that holds every map of a program: zeroed, and aligned to cache lines.

use std::ops::{Deref, DerefMut};

/// Floats of a cache line.
const LINE: usize = 16;

/// A 64-byte aligned array of `f32`. Its pages are the system's until a step writes to them.
#[derive(Debug, Default)]
pub struct Arena {
    values: Vec<f32>,
    /// Floats before the first cache line.
    skip: usize,
}

impl Arena {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Arena {
        // Zeros as the system hands them out; `Vec` writes them itself only for other types.
        let values = vec![0.0f32; len + LINE];
        let past = values.as_ptr() as usize / size_of::<f32>() % LINE;
        Arena { values, skip: (LINE - past) % LINE }
    }
}

impl Deref for Arena {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        let end = self.values.len().saturating_sub(LINE - self.skip);
        &self.values[self.skip.min(end)..end]
    }
}

impl DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut [f32] {
        let end = self.values.len().saturating_sub(LINE - self.skip);
        &mut self.values[self.skip.min(end)..end]
    }
}
