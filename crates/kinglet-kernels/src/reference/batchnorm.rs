//! Batch normalisation followed by an activation, one value at a time.
//!
//! Source: Ioffe and Szegedy 2015, arXiv:1502.03167. Shapes: `z`, `dy` `[rows, c]`, `rows = n * h * w`.

use super::Float;
use super::activation::{apply, derivative};
use crate::Activation;

/// The mean and the biased variance of each channel of `z`.
pub fn moments<T: Float>(z: &[T], c: usize) -> (Vec<T>, Vec<T>) {
    let rows = T::from_f64((z.len() / c) as f64);
    let mean: Vec<T> = (0..c).map(|ch| z.iter().skip(ch).step_by(c).copied().sum::<T>() / rows).collect();
    let variance = (0..c)
        .map(|ch| z.iter().skip(ch).step_by(c).map(|&z| (z - mean[ch]) * (z - mean[ch])).sum::<T>() / rows)
        .collect();
    (mean, variance)
}

/// `activation(z * scale + shift)`.
pub fn forward<T: Float>(z: &[T], scale: &[T], shift: &[T], activation: Activation) -> Vec<T> {
    let c = scale.len();
    z.iter().enumerate().map(|(i, &z)| apply(activation, z * scale[i % c] + shift[i % c])).collect()
}

/// Training-mode batch normalisation and activation: the moments are those of `z`.
pub fn forward_training<T: Float>(z: &[T], gamma: &[T], beta: &[T], eps: T, activation: Activation) -> Vec<T> {
    let (mean, variance) = moments(z, gamma.len());
    let scale: Vec<T> = gamma.iter().zip(&variance).map(|(&g, &v)| g / (v + eps).sqrt()).collect();
    let shift: Vec<T> = (0..gamma.len()).map(|ch| beta[ch] - mean[ch] * scale[ch]).collect();
    forward(z, &scale, &shift, activation)
}

/// The gradients of [`forward_training`]: `(dz, dgamma, dbeta)`.
pub fn backward_training<T: Float>(
    z: &[T],
    dy: &[T],
    gamma: &[T],
    beta: &[T],
    eps: T,
    activation: Activation,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let c = gamma.len();
    let rows = T::from_f64((z.len() / c) as f64);
    let (mean, variance) = moments(z, c);
    let inv_std: Vec<T> = variance.iter().map(|&v| T::ONE / (v + eps).sqrt()).collect();
    let normal = |i: usize| (z[i] - mean[i % c]) * inv_std[i % c];
    let (mut dgamma, mut dbeta) = (vec![T::ZERO; c], vec![T::ZERO; c]);
    let g: Vec<T> =
        (0..z.len()).map(|i| dy[i] * derivative(activation, gamma[i % c] * normal(i) + beta[i % c])).collect();
    for i in 0..z.len() {
        dgamma[i % c] += g[i] * normal(i);
        dbeta[i % c] += g[i];
    }
    let dz = (0..z.len())
        .map(|i| gamma[i % c] * inv_std[i % c] * (g[i] - dbeta[i % c] / rows - normal(i) * dgamma[i % c] / rows))
        .collect();
    (dz, dgamma, dbeta)
}
