//! Floats aligned to cache lines: vector loads that straddle two lines cost twice. Large blocks lie in large pages, where
//! the system has them for those who ask: a pass over a block of some megabytes else waits for the tables of its pages.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a large page, as they mostly are.
const LARGE_PAGE: usize = 2 << 20;

/// A 64-byte aligned array of `f32`. Its pages are the system's until something writes to them.
#[derive(Debug, Default)]
pub struct AlignedVec {
    values: Vec<f32>,
    /// Floats before the first that counts, and how many count.
    skip: usize,
    len: usize,
}

impl AlignedVec {
    /// `len` zeros.
    pub fn zeros(len: usize) -> AlignedVec {
        // A block of large pages begins at one. What is skipped before costs no memory: nothing touches it.
        let unit = if len * size_of::<f32>() >= LARGE_PAGE { LARGE_PAGE } else { LINE } / size_of::<f32>();
        // Zeros as the system hands them out; `Vec` writes them itself only for other types.
        let values = vec![0.0f32; len + unit];
        let past = values.as_ptr() as usize / size_of::<f32>() % unit;
        let block = AlignedVec { values, skip: (unit - past) % unit, len };
        if len * size_of::<f32>() >= LARGE_PAGE {
            // Small pages hold the rest: one more large page would be memory for nothing.
            ask_for_large_pages(&block[..len / unit * unit]);
        }
        block
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
    // SAFETY: whole pages; the advice changes no content.
    unsafe { libc::madvise(values.as_ptr() as *mut libc::c_void, size_of_val(values), libc::MADV_HUGEPAGE) };
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
        &self.values[self.skip..self.skip + self.len]
    }
}

impl DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.skip..self.skip + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::{AlignedVec, LARGE_PAGE, LINE};

    #[test]
    fn it_is_aligned_when_made_copied_and_grown() {
        for len in [0, 1, 15, 16, 17, 1000, 3 << 20] {
            let mut a = AlignedVec::zeros(len);
            a.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
            let b = a.clone();
            assert_eq!(*a, *b);
            a.grow(2 * len);
            for v in [&a, &b] {
                let unit = if 4 * v.len() >= LARGE_PAGE { LARGE_PAGE } else { LINE };
                assert!(v.is_empty() || (v.as_ptr() as usize).is_multiple_of(unit));
            }
            assert_eq!((a.len(), b.len()), (2 * len, len));
            assert_eq!(a[..len], *b);
        }
        assert!(AlignedVec::default().is_empty());
    }
}
