//! Memory for tensors: one 64-byte aligned block that every value, gradient and scratch buffer of a step lies in.
//!
//! Fresh pages cost more than the arithmetic on many of these shapes, so the block stays from step to step. Where each
//! buffer lies is planned beforehand (see `plan`).

use kinglet_kernels::AlignedVec;

/// Floats in a 64-byte cache line.
pub(crate) const LINE: usize = 16;

/// A block of floats that only grows.
#[derive(Debug, Default)]
pub(crate) struct Arena(AlignedVec);

impl Arena {
    /// Makes room for `len` floats. What it held is lost where it has to grow.
    pub fn reserve(&mut self, len: usize) {
        if self.0.len() < len {
            // The old block goes first: the two together may be more than there is.
            *self = Arena::default();
            *self = Arena(AlignedVec::zeros(len));
        }
    }

    /// The first float.
    pub fn base(&mut self) -> *mut f32 {
        self.0.as_mut_ptr()
    }

    /// All floats.
    pub fn floats(&self) -> &[f32] {
        &self.0
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.0.len() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_aligned_grows_and_stays() {
        let mut arena = Arena::default();
        assert_eq!((arena.bytes(), arena.floats().len()), (0, 0));
        arena.reserve(100);
        assert_eq!(arena.base() as usize % 64, 0);
        assert_eq!((arena.bytes(), arena.floats().len()), (400, 100));
        let at = arena.base();
        arena.reserve(50);
        assert_eq!((arena.base(), arena.bytes()), (at, 400));
        arena.reserve(101);
        assert_eq!(arena.bytes(), 404);
    }
}
