//! Memory for tensors: one 64-byte aligned block that every value, gradient and scratch buffer of a step lies in.
//!
//! Fresh pages cost more than the arithmetic on many of these shapes, so the block stays from step to step. Where each
//! buffer lies is planned beforehand (see `plan`).

/// Floats in a 64-byte cache line.
pub(crate) const LINE: usize = 16;

/// A block of floats that only grows.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    /// Zeroed by the system page by page as they are first used.
    floats: Vec<f32>,
    /// The first float on a cache line's boundary.
    start: usize,
    len: usize,
}

impl Arena {
    /// Makes room for `len` floats. What it held is lost where it has to grow.
    pub fn reserve(&mut self, len: usize) {
        if self.len < len {
            // The old block goes first: the two together may be more than there is.
            *self = Arena::default();
            let floats = vec![0.0f32; len + LINE];
            let start = floats.as_ptr().align_offset(LINE * 4).min(LINE);
            *self = Arena { floats, start, len };
        }
    }

    /// The first float.
    pub fn base(&mut self) -> *mut f32 {
        // SAFETY: `start <= LINE`, and there are `LINE` floats more than `len`; an empty vector has `start` 0.
        unsafe { self.floats.as_mut_ptr().add(self.start) }
    }

    /// All floats.
    pub fn floats(&self) -> &[f32] {
        &self.floats[self.start..self.start + self.len]
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.len * 4
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
