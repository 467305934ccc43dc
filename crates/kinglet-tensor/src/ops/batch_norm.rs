//! Batch normalisation followed by an activation.
//!
//! Source: Ioffe and Szegedy 2015, arXiv:1502.03167. The running variance is unbiased, the batch's is not.

use super::{Operation, take_inputs};
use crate::rows::RowsContext;
use crate::session::{BackwardContext, ForwardContext, Mode};
use crate::{Activation, ParamId, Params, Shape, ShapeError};
use kinglet_kernels::batchnorm;
use kinglet_kernels::conv::ChannelStats;
use std::ops::Range;

/// Where the squared mean is so many times the variance, the latter's second pass over the batch pays: the sums of squares
/// are right to about 1e-7 of themselves, so that the variance would be wrong by a thousandth.
const CANCELLING: f64 = 1e4;

/// The parameters of a BatchNorm.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// Scale, gamma.
    pub weight: ParamId,
    /// Shift, beta.
    pub bias: ParamId,
    /// Running mean.
    pub mean: ParamId,
    /// Running variance.
    pub variance: ParamId,
    /// Added to the variance.
    pub eps: f32,
}

/// Mean and inverse standard deviation of a batch, by channel, with what follows from them: what the backward pass needs.
#[derive(Debug, Default)]
pub(crate) struct BatchMoments {
    pub mean: Vec<f32>,
    pub inv_std: Vec<f32>,
    /// Factor and shift of the normalisation.
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl BatchMoments {
    /// As the kernels take them.
    pub fn by_channel(&self) -> batchnorm::Moments<'_> {
        let BatchMoments { mean, inv_std, scale, shift } = self;
        batchnorm::Moments { mean, inv_std, scale, shift }
    }
}

impl Norm {
    /// `scale` and `shift` of `y = x * scale + shift` from the running statistics.
    pub fn fold(&self, params: &Params) -> (Vec<f32>, Vec<f32>) {
        let scale: Vec<f32> = params
            .get(self.weight)
            .iter()
            .zip(params.get(self.variance))
            .map(|(g, v)| (f64::from(*g) / f64::from(v + self.eps).sqrt()) as f32)
            .collect();
        let shift = params
            .get(self.bias)
            .iter()
            .zip(params.get(self.mean))
            .zip(&scale)
            .map(|((b, m), s)| (f64::from(*b) - f64::from(*m) * f64::from(*s)) as f32)
            .collect();
        (scale, shift)
    }

    /// The moments of the batch `z`, whose sums are `stats`; moves the running statistics.
    pub(crate) fn normalise(
        &self,
        z: &[f32],
        stats: &ChannelStats,
        momentum: f32,
        params: &mut Params,
    ) -> BatchMoments {
        let channels = stats.sum.len();
        let count = (z.len() / channels) as f64;
        let means: Vec<f64> = stats.sum.iter().map(|sum| sum / count).collect();
        let mut variances: Vec<f64> =
            stats.sum_sq.iter().zip(&means).map(|(sum_sq, mean)| sum_sq / count - mean * mean).collect();
        let cancels = |(mean, variance): (&f64, &f64)| mean * mean > CANCELLING * (variance + f64::from(self.eps));
        if means.iter().zip(&variances).any(cancels) {
            variances = batchnorm::squared_deviations(z, &means).iter().map(|sum| sum / count).collect();
        }
        let mut moments = BatchMoments {
            mean: Vec::with_capacity(channels),
            inv_std: Vec::with_capacity(channels),
            ..BatchMoments::default()
        };
        let mut unbiased = Vec::with_capacity(channels);
        for (mean, variance) in means.iter().zip(variances) {
            let variance = variance.max(0.0);
            moments.mean.push(*mean as f32);
            moments.inv_std.push((1.0 / (variance + f64::from(self.eps)).sqrt()) as f32);
            unbiased.push((variance * count / (count - 1.0).max(1.0)) as f32);
        }
        let (gamma, beta) = (params.get(self.weight), params.get(self.bias));
        moments.scale = gamma.iter().zip(&moments.inv_std).map(|(g, i)| g * i).collect();
        let scaled = moments.mean.iter().zip(&moments.scale);
        moments.shift = beta.iter().zip(scaled).map(|(b, (m, s))| b - m * s).collect();
        for (running, batch) in [(self.mean, &moments.mean), (self.variance, &unbiased)] {
            for (r, b) in params.get_mut(running).iter_mut().zip(batch) {
                *r += momentum * (b - *r);
            }
        }
        moments
    }
}

/// `y = activation(batch_norm(x))`.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Its parameters.
    pub norm: Norm,
    /// What follows.
    pub activation: Activation,
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape, ShapeError> {
        take_inputs::<1>(self.name(), inputs).map(|[x]| x)
    }

    fn params(&self) -> Vec<ParamId> {
        vec![self.norm.weight, self.norm.bias]
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn rows(&self, cx: &RowsContext<'_>, range: Range<usize>, output: &mut [f32]) {
        let c = cx.shape.c;
        let x = &cx.inputs[0].whole()[range.start * c..range.end * c];
        let BatchMoments { scale, shift, .. } = &cx.notes.moments;
        batchnorm::forward(x, c, scale, shift, self.activation, None, output);
    }

    fn forward(&self, cx: &mut ForwardContext<'_>) {
        let (x, c) = (cx.inputs[0].whole(), cx.shape.c);
        let (scale, shift) = match cx.mode {
            Mode::Evaluate => self.norm.fold(cx.params),
            Mode::Train { momentum } => {
                let stats = batchnorm::channel_stats(x, c);
                cx.notes.moments = self.norm.normalise(x, &stats, momentum, cx.params);
                (cx.notes.moments.scale.clone(), cx.notes.moments.shift.clone())
            }
        };
        if let Some(output) = cx.output.as_deref_mut() {
            batchnorm::forward(x, c, &scale, &shift, self.activation, None, output);
        }
    }

    fn backward(&self, cx: &mut BackwardContext<'_>) {
        let (moments, x) = (cx.notes.moments.by_channel(), cx.inputs[0].whole());
        let mut sums = vec![0.0; 2 * cx.shape.c];
        batchnorm::add_gradient_sums(x, cx.output_grad, moments, self.activation, &mut sums);
        let gradients = cx.grads.pair(self.norm.weight, self.norm.bias).into();
        batchnorm::Gradient::new(&sums, cx.shape.rows(), moments, self.activation, gradients)
            .rows_in_place(x, cx.output_grad);
        if let Some(dx) = cx.input_grads[0].as_mut() {
            dx.add(cx.output_grad);
        }
    }
}
