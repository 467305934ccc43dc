//! The inverse cosine transform of a JPEG's blocks, many at once: the lanes of a vector are blocks.
//!
//! Source: ITU-T T.81, A.3.3. Oracle: the sum of the definition in `f64`, in the tests.
//! Products are not fused with sums, so that pictures are the same bits on every instruction set.

use crate::dispatch;
use crate::simd::Simd;

/// `[frequency][place]`. Even frequencies are symmetric about the middle of the places, odd ones antisymmetric, as cosines
/// are: the second half of the places is not looked at.
pub type Basis = [[f32; 8]; 8];

/// Blocks that are transformed together: the lanes of the widest vectors.
pub const BLOCKS: usize = 16;

/// A number of each block.
pub type Lanes = [f32; BLOCKS];

/// The values of blocks, `sides` (4 or 8) across and down, from their coefficients, in whose place zeros stay.
///
/// Coefficients are given by their place in a block, rows of frequencies first, values likewise: `values` begins with
/// `[down, across]` of them. `bases` are those along rows and along columns.
///
/// # Panics
/// If other sides are asked for.
pub fn inverse(coefficients: &mut [Lanes; 64], sides: [usize; 2], bases: [&Basis; 2], values: &mut [Lanes; 64]) {
    assert!(sides.iter().all(|side| [4, 8].contains(side)), "blocks of {sides:?} values");
    // SAFETY: both have 64 places.
    unsafe { run(coefficients.as_flattened_mut().as_mut_ptr(), sides, bases, values.as_flattened_mut().as_mut_ptr()) };
}

dispatch!(fn run(c: *mut f32, sides: [usize; 2], bases: [&Basis; 2], out: *mut f32) = run_kernel);

#[inline(always)]
unsafe fn run_kernel<S: Simd>(c: *mut f32, sides: [usize; 2], bases: [&Basis; 2], out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        match sides {
            [4, 4] => transform::<S, 4, 4>(c, bases, out),
            [8, 4] => transform::<S, 8, 4>(c, bases, out),
            [4, _] => transform::<S, 4, 8>(c, bases, out),
            _ => transform::<S, 8, 8>(c, bases, out),
        }
    }
}

/// # Safety
/// `c` and `out` have `64 * BLOCKS` floats.
#[inline(always)]
unsafe fn transform<S: Simd, const X: usize, const Y: usize>(c: *mut f32, [across, down]: [&Basis; 2], out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = S::splat(0.0);
        for block in (0..BLOCKS).step_by(S::LANES) {
            let mut rows = [[zero; X]; 8];
            for (v, row) in rows.iter_mut().enumerate() {
                let mut line = [zero; 8];
                for (u, value) in line.iter_mut().enumerate() {
                    let at = c.add((8 * v + u) * BLOCKS + block);
                    *value = S::load(at);
                    S::store(at, zero);
                }
                for x in 0..X / 2 {
                    [row[x], row[X - 1 - x]] = ends::<S>(&line, across, x);
                }
            }
            for x in 0..X {
                let mut line = [zero; 8];
                for (value, row) in line.iter_mut().zip(&rows) {
                    *value = row[x];
                }
                for y in 0..Y / 2 {
                    let [first, last] = ends::<S>(&line, down, y);
                    S::store(out.add((X * y + x) * BLOCKS + block), first);
                    S::store(out.add((X * (Y - 1 - y) + x) * BLOCKS + block), last);
                }
            }
        }
    }
}

/// The values of a line at place `x`, counted from both ends.
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
unsafe fn ends<S: Simd>(line: &[S::V; 8], basis: &Basis, x: usize) -> [S::V; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut halves = [S::splat(0.0); 2];
        for (parity, half) in halves.iter_mut().enumerate() {
            let mut terms = [S::splat(0.0); 4];
            for (i, term) in terms.iter_mut().enumerate() {
                *term = S::mul(line[2 * i + parity], S::splat(basis[2 * i + parity][x]));
            }
            *half = S::add(S::add(terms[0], terms[1]), S::add(terms[2], terms[3]));
        }
        [S::add(halves[0], halves[1]), S::sub(halves[0], halves[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::tests::each_isa;
    use std::cell::RefCell;

    /// Any basis with the symmetries.
    fn basis(places: usize) -> Basis {
        let first = |k: usize, x: usize| ((k * 7 + x * 3) % 11) as f32 / 8.0 - 0.5;
        std::array::from_fn(|k| {
            std::array::from_fn(|x| match x {
                _ if x < places / 2 => first(k, x),
                _ if x >= places => 0.0,
                _ if k % 2 == 0 => first(k, places - 1 - x),
                _ => -first(k, places - 1 - x),
            })
        })
    }

    #[test]
    fn values_are_the_sums_of_the_definition_on_every_instruction_set() {
        for sides in [[4, 4], [8, 4], [4, 8], [8, 8]] {
            let [across, down] = sides.map(basis);
            let number = |place: usize, block: usize| ((place * BLOCKS + block) * 29 % 201) as f32 - 100.0;
            let coefficients: [Lanes; 64] =
                std::array::from_fn(|place| std::array::from_fn(|block| number(place, block)));
            let first = RefCell::new(None);
            each_isa(|| {
                let (mut c, mut values) = (coefficients, [[f32::NAN; BLOCKS]; 64]);
                inverse(&mut c, sides, [&across, &down], &mut values);
                assert!(c.as_flattened().iter().all(|&c| c == 0.0));
                let values = values[..sides[0] * sides[1]].to_vec();
                assert_eq!(first.borrow_mut().get_or_insert_with(|| values.clone()), &values);
            });
            let values = first.take().unwrap();
            for (place, values) in values.iter().enumerate() {
                let (x, y) = (place % sides[0], place / sides[0]);
                for (block, &found) in values.iter().enumerate() {
                    let term = |place: usize| {
                        let (v, u) = (place / 8, place % 8);
                        f64::from(number(place, block)) * f64::from(across[u][x]) * f64::from(down[v][y])
                    };
                    let expected: f64 = (0..64).map(term).sum();
                    assert!((f64::from(found) - expected).abs() < 1e-3, "{sides:?} {x} {y}: {found} for {expected}");
                }
            }
        }
    }
}
