//! Floats aligned to cache lines: vector loads that straddle two lines cost twice. Large blocks lie in large pages, where
//! the system has them for those who ask: a pass over a block of some megabytes else waits for the tables of its pages.

use std::ops::{Deref, DerefMut};

/// Floats of a cache line.
const LINE: usize = 16;
/// Bytes of a large page, as they mostly are.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;

/// A 64-byte aligned array of `f32`. Its pages are the system's until something writes to them.
#[derive(Debug, Default)]
pub struct AlignedVec {
    values: Vec<f32>,
    /// Floats before the first cache line.
    skip: usize,
}

impl AlignedVec {
    /// `len` zeros.
    pub fn zeros(len: usize) -> AlignedVec {
        // Zeros as the system hands them out; `Vec` writes them itself only for other types.
        let values = vec![0.0f32; len + LINE];
        ask_for_large_pages(&values);
        let past = values.as_ptr() as usize / size_of::<f32>() % LINE;
        AlignedVec { values, skip: (LINE - past) % LINE }
    }

    /// Makes it at least `len` long, with zeros after what it holds.
    pub fn grow(&mut self, len: usize) {
        if self.len() < len {
            let mut longer = AlignedVec::zeros(len);
            longer[..self.len()].copy_from_slice(self);
            *self = longer;
        }
    }
}

/// Advice to the system, which may have none: nothing depends on what it does.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(values: &[f32]) {
    let bytes = values.as_ptr_range();
    let first = (bytes.start as usize).next_multiple_of(LARGE_PAGE);
    let end = bytes.end as usize / LARGE_PAGE * LARGE_PAGE;
    // Smaller blocks would be rounded up by too large a part of themselves.
    if end.saturating_sub(first) >= 4 * LARGE_PAGE {
        // SAFETY: whole pages of `values`; the advice changes no content.
        unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_: &[f32]) {}

impl From<&[f32]> for AlignedVec {
    fn from(values: &[f32]) -> AlignedVec {
        let mut copy = AlignedVec::zeros(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

impl Clone for AlignedVec {
    fn clone(&self) -> AlignedVec {
        AlignedVec::from(&**self)
    }
}

impl Deref for AlignedVec {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        let end = self.values.len().saturating_sub(LINE - self.skip);
        &self.values[self.skip.min(end)..end]
    }
}

impl DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        let end = self.values.len().saturating_sub(LINE - self.skip);
        &mut self.values[self.skip.min(end)..end]
    }
}

#[cfg(test)]
mod tests {
    use super::AlignedVec;

    #[test]
    fn it_is_aligned_when_made_copied_and_grown() {
        for len in [0, 1, 15, 16, 17, 1000, 3 << 20] {
            let mut a = AlignedVec::zeros(len);
            a.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
            let b = a.clone();
            assert_eq!(*a, *b);
            a.grow(2 * len);
            for v in [&a, &b] {
                assert!(v.is_empty() || (v.as_ptr() as usize).is_multiple_of(64));
            }
            assert_eq!((a.len(), b.len()), (2 * len, len));
            assert_eq!(a[..len], *b);
        }
        assert!(AlignedVec::default().is_empty());
    }
}
