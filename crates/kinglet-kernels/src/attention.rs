//! Multi-head attention with its four projections, forwards and backwards.
//!
//! Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2. Oracle: `reference/attention.rs`.
//! Shapes: queries, keys and values `[n, p, c]`, where p is the pixels of an image: each attends to all others of its
//! image. A head has d = c / heads channels. Every matrix product is a 1x1 convolution, so that the fast kernels of
//! those serve here too, and the bits do not depend on the number of threads.

use crate::ConvShape;
use crate::conv::{conv_backward_bias, conv_backward_input, conv_backward_weight, conv_forward};
use crate::threads::parallel_chunks_mut;

/// The sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Images.
    pub batch: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels, a multiple of the heads.
    pub channels: usize,
    /// Heads.
    pub heads: usize,
}

/// The weights, in PyTorch's layout.
#[derive(Debug, Clone, Copy)]
pub struct Projections<'a, T = f32> {
    /// Of queries, keys and values, one below the other: `[3 c, c]`.
    pub in_weight: &'a [T],
    /// `[3 c]`.
    pub in_bias: &'a [T],
    /// Of the joined heads: `[c, c]`.
    pub out_weight: &'a [T],
    /// `[c]`.
    pub out_bias: &'a [T],
}

/// Gradients of [`Projections`].
#[derive(Debug)]
pub struct ProjectionGradients {
    /// `[3 c, c]`.
    pub in_weight: Vec<f32>,
    /// `[3 c]`.
    pub in_bias: Vec<f32>,
    /// `[c, c]`.
    pub out_weight: Vec<f32>,
    /// `[c]`.
    pub out_bias: Vec<f32>,
}

/// A matrix product over rows, as the convolution that it is.
fn product(rows: usize, c_in: usize, c_out: usize) -> ConvShape {
    ConvShape::new(1, [rows, 1], c_in, c_out, [1, 1], [1, 1], [0, 0], [1, 1], 1)
}

impl AttentionShape {
    fn rows(self) -> usize {
        self.batch * self.pixels
    }

    /// Floats of a map.
    fn map(self) -> usize {
        self.rows() * self.channels
    }

    /// Channels of a head.
    fn depth(self) -> usize {
        self.channels / self.heads
    }

    /// Floats that [`forward`] keeps for [`backward`]: projected queries (scaled), keys and values by head, the attention
    /// weights `[n, heads, p, p]`, and the joined heads.
    pub fn kept_len(self) -> usize {
        4 * self.map() + self.batch * self.heads * self.pixels * self.pixels
    }

    fn split<'a>(&self, kept: &'a mut [f32]) -> [&'a mut [f32]; 5] {
        let map = self.map();
        let (q, rest) = kept.split_at_mut(map);
        let (k, rest) = rest.split_at_mut(map);
        let (v, rest) = rest.split_at_mut(map);
        let (joined, weights) = rest.split_at_mut(map);
        [q, k, v, joined, weights]
    }

    /// `1 / sqrt(d)`, which queries are multiplied by.
    #[allow(clippy::cast_possible_truncation)]
    fn scale(self) -> f32 {
        (1.0 / (self.depth() as f64).sqrt()) as f32
    }

    /// `[n, p, heads, d]` to `[n, heads, p, d]`, times `factor`.
    fn by_head(self, x: &[f32], factor: f32, y: &mut [f32]) {
        let (p, c, d) = (self.pixels, self.channels, self.depth());
        parallel_chunks_mut(y, p * d, |i, y| {
            let (image, head) = (i / self.heads, i % self.heads);
            for (pixel, to) in y.chunks_exact_mut(d).enumerate() {
                let from = &x[(image * p + pixel) * c + head * d..][..d];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = factor * from);
            }
        });
    }

    /// `[n, heads, p, d]` to `[n, p, heads, d]`, times `factor`.
    fn by_pixel(self, x: &[f32], factor: f32, y: &mut [f32]) {
        let (p, c, d) = (self.pixels, self.channels, self.depth());
        parallel_chunks_mut(y, c, |row, y| {
            for (head, to) in y.chunks_exact_mut(d).enumerate() {
                let from = &x[((row / p * self.heads + head) * p + row % p) * d..][..d];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = factor * from);
            }
        });
    }

    fn check(self, projections: &Projections<'_>) {
        let (c, Projections { in_weight, in_bias, out_weight, out_bias }) = (self.channels, *projections);
        assert!(
            self.heads > 0 && c > 0 && c.is_multiple_of(self.heads),
            "attention: {c} channels, {} heads",
            self.heads
        );
        assert!(in_weight.len() == 3 * c * c && out_weight.len() == c * c, "attention: weights");
        assert!(in_bias.len() == 3 * c && out_bias.len() == c, "attention: biases");
    }
}

/// `[rows, columns]` to `[columns, rows]`.
fn transpose(x: &[f32], columns: usize, y: &mut [f32]) {
    let rows = x.len() / columns;
    for (i, row) in x.chunks_exact(columns).enumerate() {
        row.iter().enumerate().for_each(|(j, v)| y[j * rows + i] = *v);
    }
}

/// Rows of a task that normalises attention weights.
const ROWS: usize = 32;

fn softmax_rows(x: &mut [f32], columns: usize) {
    parallel_chunks_mut(x, ROWS * columns, |_, rows| {
        for row in rows.chunks_exact_mut(columns) {
            let largest = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            row.iter_mut().for_each(|v| *v = (*v - largest).exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        }
    });
}

/// From the gradient of the weights to that of the scores, in place.
fn softmax_backward(weights: &[f32], gradient: &mut [f32], columns: usize) {
    parallel_chunks_mut(gradient, ROWS * columns, |i, rows| {
        let weights = &weights[i * ROWS * columns..][..rows.len()];
        for (row, weights) in rows.chunks_exact_mut(columns).zip(weights.chunks_exact(columns)) {
            let mean: f32 = row.iter().zip(weights).map(|(g, w)| g * w).sum();
            row.iter_mut().zip(weights).for_each(|(g, w)| *g = w * (*g - mean));
        }
    });
}

/// `y = out(softmax(q k^T / sqrt(d)) v)` over heads, with `[q, k, v]` the projections of `inputs`. `kept` has
/// [`AttentionShape::kept_len`] floats of any content, which [`backward`] needs.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn forward(s: AttentionShape, inputs: [&[f32]; 3], weights: &Projections<'_>, kept: &mut [f32], y: &mut [f32]) {
    s.check(weights);
    assert_eq!(kept.len(), s.kept_len(), "attention: kept");
    let (p, c, d) = (s.pixels, s.channels, s.depth());
    let whole = product(s.rows(), c, c);
    let [q, k, v, joined, attention] = s.split(kept);
    for (j, (input, heads)) in inputs.into_iter().zip([&mut *q, &mut *k, &mut *v]).enumerate() {
        let (weight, bias) = (&weights.in_weight[j * c * c..][..c * c], &weights.in_bias[j * c..][..c]);
        conv_forward(&whole, input, weight, Some(bias), joined, None);
        s.by_head(joined, if j == 0 { s.scale() } else { 1.0 }, heads);
    }
    let mut mixed = vec![0.0; s.map()];
    let mut values = vec![0.0; p * d];
    for head in 0..s.batch * s.heads {
        let part = head * p * d..(head + 1) * p * d;
        let attention = &mut attention[head * p * p..(head + 1) * p * p];
        conv_forward(&product(p, d, p), &q[part.clone()], &k[part.clone()], None, attention, None);
        softmax_rows(attention, p);
        transpose(&v[part.clone()], d, &mut values);
        conv_forward(&product(p, p, d), attention, &values, None, &mut mixed[part], None);
    }
    s.by_pixel(&mixed, 1.0, joined);
    conv_forward(&whole, joined, weights.out_weight, Some(weights.out_bias), y, None);
}

/// Where the gradient of an input goes, and whether it is added to what is there.
pub type InputGradient<'a> = Option<(&'a mut [f32], bool)>;

/// The gradients of [`forward`]: those of the weights are returned, those of the inputs written in order; an input may
/// be given several times, its gradients may not.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn backward(
    s: AttentionShape,
    inputs: [&[f32]; 3],
    weights: &Projections<'_>,
    kept: &mut [f32],
    dy: &[f32],
    input_gradients: [InputGradient<'_>; 3],
) -> ProjectionGradients {
    s.check(weights);
    assert_eq!(kept.len(), s.kept_len(), "attention: kept");
    let (p, c, d) = (s.pixels, s.channels, s.depth());
    let whole = product(s.rows(), c, c);
    let [q, k, v, joined, attention] = s.split(kept);
    let mut gradients = ProjectionGradients {
        in_weight: vec![0.0; 3 * c * c],
        in_bias: vec![0.0; 3 * c],
        out_weight: vec![0.0; c * c],
        out_bias: vec![0.0; c],
    };
    conv_backward_weight(&whole, joined, dy, &mut gradients.out_weight);
    conv_backward_bias(&whole, dy, &mut gradients.out_bias);
    let mut by_pixel = vec![0.0; s.map()];
    conv_backward_input(&whole, weights.out_weight, dy, &mut by_pixel, false);
    let mut mixed = vec![0.0; s.map()];
    s.by_head(&by_pixel, 1.0, &mut mixed);

    let mut heads = [(); 3].map(|()| vec![0.0; s.map()]);
    let (mut values, mut dvalues, mut scores) = (vec![0.0; p * d], vec![0.0; p * d], vec![0.0; p * p]);
    for head in 0..s.batch * s.heads {
        let part = head * p * d..(head + 1) * p * d;
        let (attention, dmixed) = (&attention[head * p * p..(head + 1) * p * p], &mixed[part.clone()]);
        let [dq, dk, dv] = heads.each_mut().map(|all| &mut all[part.clone()]);
        dvalues.fill(0.0);
        conv_backward_weight(&product(p, p, d), attention, dmixed, &mut dvalues);
        transpose(&dvalues, p, dv);
        transpose(&v[part.clone()], d, &mut values);
        conv_backward_input(&product(p, p, d), &values, dmixed, &mut scores, false);
        softmax_backward(attention, &mut scores, p);
        conv_backward_input(&product(p, d, p), &k[part.clone()], &scores, dq, false);
        conv_backward_weight(&product(p, d, p), &q[part.clone()], &scores, dk);
    }
    let by_input = inputs.into_iter().zip(&heads).zip(input_gradients);
    for (j, ((input, gradient), target)) in by_input.enumerate() {
        s.by_pixel(gradient, if j == 0 { s.scale() } else { 1.0 }, &mut by_pixel);
        conv_backward_weight(&whole, input, &by_pixel, &mut gradients.in_weight[j * c * c..][..c * c]);
        conv_backward_bias(&whole, &by_pixel, &mut gradients.in_bias[j * c..][..c]);
        if let Some((dx, accumulate)) = target {
            conv_backward_input(&whole, &weights.in_weight[j * c * c..][..c * c], &by_pixel, dx, accumulate);
        }
    }
    gradients
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    /// `sin(0.7 i + phase)`.
    fn wave(len: usize, phase: f64) -> Vec<f64> {
        (0..len).map(|i| (0.7 * i as f64 + phase).sin()).collect()
    }

    #[test]
    fn values_are_those_of_pytorch() {
        // torch.nn.MultiheadAttention(4, 2) on three pixels, computed in f64 with PyTorch 2.15.
        let want = [
            2.934527, -1.92649, 3.738535, -1.79373, 1.293371, -0.023592, 1.793783, -0.031852, 2.345605, -1.813262,
            4.114085, -2.614662,
        ];
        let s = AttentionShape { batch: 1, pixels: 3, channels: 4, heads: 2 };
        let wide = [wave(48, 0.1), wave(12, 0.2), wave(16, 0.3), wave(4, 0.4)];
        let inputs = [1.0, 2.0, 3.0].map(|phase| wave(12, phase));
        let weights = Projections { in_weight: &wide[0], in_bias: &wide[1], out_weight: &wide[2], out_bias: &wide[3] };
        let reference = reference::attention::forward(s, inputs.each_ref().map(Vec::as_slice), &weights);
        assert!(reference.iter().zip(want).all(|(r, w)| (r - w).abs() < 1e-6), "{reference:?}");

        #[expect(clippy::cast_possible_truncation, reason = "the kernel's type")]
        let narrow = |v: &Vec<f64>| v.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let (narrowed, inputs) = (wide.each_ref().map(narrow), inputs.each_ref().map(narrow));
        let [in_weight, in_bias, out_weight, out_bias] = narrowed.each_ref().map(Vec::as_slice);
        let weights = Projections { in_weight, in_bias, out_weight, out_bias };
        let (mut kept, mut y) = (vec![0.0; s.kept_len()], vec![0.0; 12]);
        forward(s, inputs.each_ref().map(Vec::as_slice), &weights, &mut kept, &mut y);
        assert!(y.iter().zip(want).all(|(y, w)| (f64::from(*y) - w).abs() < 1e-5), "{y:?}");
    }
}
