//! Memory for tensors: 64-byte aligned buffers and the pool that reuses them.
//!
//! Fresh pages cost more than the arithmetic on many of these shapes, so a training step returns every buffer to the
//! pool and the next step finds it there.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

const LINE: usize = 16; // floats in a 64-byte cache line

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct CacheLine(#[expect(dead_code, reason = "read through the slice view")] [f32; LINE]);

/// A 64-byte aligned array of `f32`.
#[derive(Debug, Default)]
pub struct Buffer {
    lines: Vec<CacheLine>,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Buffer { lines: vec![CacheLine([0.0; LINE]); len.div_ceil(LINE)], len }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY:
        // - the lines are initialised floats without padding (64 bytes of f32, alignment 64),
        // - `len <= lines.len() * LINE` by construction.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`; the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Buffers that were given back, by size.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: BTreeMap<usize, Vec<Buffer>>,
    allocated: usize,
}

impl BufferPool {
    /// A buffer of `len` values, whose content is unspecified (whatever its last user left).
    pub fn take(&mut self, len: usize) -> Buffer {
        let lines = len.div_ceil(LINE);
        // A buffer up to an eighth larger serves too: shapes that change with the batch then share memory.
        let class = self.free.range(lines..=lines + lines / 8).find(|(_, list)| !list.is_empty()).map(|(&c, _)| c);
        if let Some(mut buffer) = class.and_then(|c| self.free.get_mut(&c)).and_then(Vec::pop) {
            buffer.len = len;
            return buffer;
        }
        self.allocated += lines * LINE * 4;
        Buffer::zeros(len)
    }

    /// Takes a buffer back.
    pub fn give(&mut self, buffer: Buffer) {
        self.free.entry(buffer.lines.len()).or_default().push(buffer);
    }

    /// Bytes that this pool has asked the system for and still holds or lent.
    pub fn allocated_bytes(&self) -> usize {
        self.allocated
    }

    /// Returns all unused memory to the system.
    pub fn clear(&mut self) {
        let free = std::mem::take(&mut self.free);
        self.allocated -= free.iter().map(|(lines, list)| lines * LINE * 4 * list.len()).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_reused() {
        let mut pool = BufferPool::default();
        let mut a = pool.take(100);
        a[99] = 1.0;
        assert_eq!(a.as_ptr() as usize % 64, 0);
        let at = a.as_ptr();
        pool.give(a);
        let b = pool.take(98);
        assert_eq!((b.as_ptr(), b.len()), (at, 98));
        assert_ne!(pool.take(98).as_ptr(), at);
        assert_eq!(pool.allocated_bytes(), 2 * 112 * 4);
        pool.give(b);
        pool.clear();
        assert_eq!(pool.allocated_bytes(), 112 * 4);
    }
}
