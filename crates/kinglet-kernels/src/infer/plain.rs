//! A step for work that has no kernel of its own here: any function from dense maps to a dense map.
//!
//! Maps that lie within wider ones are copied first, and the output afterwards: unlike the other steps this one then
//! takes memory on each run.

use super::{Place, check_apart};
use crate::threads::SendPtr;
use std::fmt;

/// From the inputs, as dense maps, to the output.
pub type Work = Box<dyn Fn(&[&[f32]], &mut [f32]) + Send + Sync>;

/// A map: its place and how many pixels it has.
type Map = (Place, usize);

/// Runs a function on maps of the arena.
pub struct Plain {
    inputs: Vec<Map>,
    output: Map,
    work: Work,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").field("inputs", &self.inputs).field("output", &self.output).finish_non_exhaustive()
    }
}

fn is_dense((place, _): Map) -> bool {
    place.ld == place.c
}

impl Plain {
    /// Prepares the work on maps given by place and pixels. The output is written whole.
    ///
    /// # Panics
    /// If the places do not fit.
    pub fn new(inputs: Vec<Map>, output: Map, work: Work) -> Plain {
        for (x, rows) in &inputs {
            check_apart("plain step", x, *rows, &output.0, output.1);
        }
        Plain { inputs, output, work }
    }

    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short.
    pub fn run(&self, arena: &mut [f32]) {
        let ends = self.inputs.iter().chain([&self.output]).map(|(place, rows)| place.end(*rows));
        assert!(ends.max().is_none_or(|end| end <= arena.len()), "plain step: arena");
        let copies: Vec<Vec<f32>> =
            self.inputs.iter().map(|&map| if is_dense(map) { vec![] } else { gather(arena, map) }).collect();
        let (place, rows) = self.output;
        let mut scattered = if is_dense(self.output) { vec![] } else { vec![0.0; rows * place.c] };
        let base = SendPtr(arena.as_mut_ptr());
        // SAFETY: all maps lie inside the arena, and no input shares a value with the output.
        unsafe {
            let input = |(&(place, rows), copy)| -> &[f32] {
                let copy: &Vec<f32> = copy;
                let dense = is_dense((place, rows));
                if dense { std::slice::from_raw_parts(base.get().add(place.at), rows * place.c) } else { copy }
            };
            let inputs: Vec<&[f32]> = self.inputs.iter().zip(&copies).map(input).collect();
            if is_dense(self.output) {
                (self.work)(&inputs, std::slice::from_raw_parts_mut(base.get().add(place.at), rows * place.c));
                return;
            }
            (self.work)(&inputs, &mut scattered);
        }
        for (row, pixel) in scattered.chunks_exact(place.c).enumerate() {
            arena[place.at + row * place.ld..][..place.c].copy_from_slice(pixel);
        }
    }
}

/// The map's values without gaps.
fn gather(arena: &[f32], (place, rows): Map) -> Vec<f32> {
    (0..rows).flat_map(|row| &arena[place.at + row * place.ld..][..place.c]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_within_wider_ones_are_gathered_and_scattered() {
        let add =
            |x: &[&[f32]], y: &mut [f32]| y.iter_mut().zip(x[0].iter().zip(x[1])).for_each(|(y, (a, b))| *y = a + b);
        let place = |at, ld| (Place { at, ld, c: 2 }, 2);
        // Of three pixels' floats each: a dense map at 0, one in the first channels of 3 at 4, the output beside a gap.
        for (output, want) in
            [(place(10, 3), [11.0, 22.0, 0.0, 34.0, 45.0]), (place(10, 2), [11.0, 22.0, 34.0, 45.0, 0.0])]
        {
            let mut arena = [1.0, 2.0, 4.0, 5.0, 10.0, 20.0, -1.0, 30.0, 40.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
            Plain::new(vec![place(0, 2), place(4, 3)], output, Box::new(add)).run(&mut arena);
            assert_eq!(arena[10..], want);
        }
    }
}
