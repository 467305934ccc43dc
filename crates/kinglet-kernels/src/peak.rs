//! How many multiply-adds the machine can do at most: the measure that kernels are held against.
//!
//! Independent accumulators stay in registers, so nothing but the multiply-add units limits the loop. Units: operations
//! a second, two for each multiply-add of each lane.

use crate::dispatch;
use crate::simd::Simd;
use crate::threads::{parallel_for, threads};
use std::hint::black_box;
use std::time::Instant;

/// Accumulators at once: latency times throughput of the multiply-add units of today's processors is 8 to 10.
const ACCUMULATORS: usize = 12;
/// Rounds of a task: about a millisecond.
const ROUNDS: usize = 100_000;
/// Tasks for each thread, so that one that is held up does not hold up the measurement.
const TASKS: usize = 8;

/// Runs `rounds` multiply-adds on every accumulator and returns their sum, and the lanes of a vector.
#[inline(always)]
unsafe fn fma_kernel<S: Simd>(start: f32, rounds: usize) -> (f32, usize) {
    // SAFETY: the caller's promise; the array holds a whole vector.
    unsafe {
        // x * 0.5 + 0.5 tends to 1: no overflow, and no denormal numbers, which are slow.
        let half = S::splat(black_box(0.5));
        // Different beginnings, or a compiler could see that one accumulator stands for all.
        let mut sums = [S::splat(start); ACCUMULATORS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = S::splat(start + i as f32);
        }
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = S::fma(*sum, half, half);
            }
        }
        let mut total = sums[0];
        for &sum in &sums[1..] {
            total = S::add(total, sum);
        }
        let mut lanes = [0f32; 16];
        S::store(lanes.as_mut_ptr(), total);
        (lanes.iter().sum(), S::LANES)
    }
}
dispatch!(fn fma_loop(start: f32, rounds: usize) -> (f32, usize) = fma_kernel);

/// Operations a second of a multiply-add loop on the threads in use, the best of `repeats` runs of a few milliseconds.
pub fn peak_flops(repeats: usize) -> f64 {
    let tasks = TASKS * threads();
    let mut best = 0f64;
    for _ in 0..repeats.max(1) {
        let begin = Instant::now();
        parallel_for(tasks, |task| {
            // SAFETY: `dispatch!` chose an instruction set that the machine has.
            black_box(unsafe { fma_loop(task as f32, ROUNDS) });
        });
        let seconds = begin.elapsed().as_secs_f64().max(1e-9);
        // SAFETY: as above; no rounds, only the number of lanes.
        let (_, lanes) = unsafe { fma_loop(0.0, 0) };
        best = best.max((2 * lanes * ACCUMULATORS * ROUNDS * tasks) as f64 / seconds);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_computes_what_its_arithmetic_count_says() {
        // From 3 + i, n rounds of x / 2 + 1 / 2 give 1 + (2 + i) / 2^n.
        for rounds in [0, 1, 5] {
            // SAFETY: `dispatch!` chose an instruction set that the machine has.
            let (sum, lanes) = unsafe { fma_loop(3.0, rounds) };
            let each = |i: usize| 1.0 + (2 + i) as f32 / 2f32.powi(rounds as i32);
            let all: f32 = (0..ACCUMULATORS).map(each).sum();
            assert_eq!(sum, all * lanes as f32);
        }
    }

    #[test]
    fn a_machine_does_some_arithmetic() {
        assert!(peak_flops(1) > 1e6);
    }
}
