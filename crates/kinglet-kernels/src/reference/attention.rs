//! Multi-head attention, one value at a time.

use super::Float;
use crate::attention::{AttentionShape, Projections};

fn linear<T: Float>(x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let c = bias.len();
    let output = |row: &[T], o: usize| bias[o] + row.iter().zip(&weight[o * c..]).map(|(x, w)| *x * *w).sum::<T>();
    x.chunks_exact(c).flat_map(|row| (0..c).map(move |o| output(row, o))).collect()
}

/// `out(softmax(q k^T / sqrt(d)) v)` over heads, with `[q, k, v]` the projections of `inputs` `[n, p, c]`.
pub fn forward<T: Float>(s: AttentionShape, inputs: [&[T]; 3], weights: &Projections<'_, T>) -> Vec<T> {
    let (p, c) = (s.pixels, s.channels);
    let d = c / s.heads;
    let project = |j: usize| linear(inputs[j], &weights.in_weight[j * c * c..], &weights.in_bias[j * c..(j + 1) * c]);
    let [q, k, v] = [project(0), project(1), project(2)];
    let mut joined = vec![T::ZERO; inputs[0].len()];
    for image in 0..s.batch {
        for head in 0..s.heads {
            let at = |pixel: usize, i: usize| (image * p + pixel) * c + head * d + i;
            for query in 0..p {
                let score = |key: usize| {
                    let dot: T = (0..d).map(|i| q[at(query, i)] * k[at(key, i)]).sum();
                    dot / T::from_f64(d as f64).sqrt()
                };
                let scores: Vec<T> = (0..p).map(score).collect();
                let largest = scores.iter().fold(scores[0], |m, v| if *v > m { *v } else { m });
                let shares: Vec<T> = scores.iter().map(|v| (*v - largest).exp()).collect();
                let total: T = shares.iter().copied().sum();
                for i in 0..d {
                    joined[at(query, i)] = (0..p).map(|key| shares[key] / total * v[at(key, i)]).sum();
                }
            }
        }
    }
    linear(&joined, weights.out_weight, weights.out_bias)
}
