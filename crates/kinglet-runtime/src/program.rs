//! A model compiled for one input shape: steps over one arena.

use crate::compile;
use crate::weights::Weights;
use kinglet_kernels::infer::{
    Affine, Dense, Depthwise, DetectConv, Focus, Place, Plain, Pool, Repeat, Scale, Squeeze, Sum, Winograd, ZeroBorder,
};
use kinglet_tensor::{Graph, Params, Shape};
use std::time::{Duration, Instant};

/// The work of a step.
#[derive(Debug)]
pub(crate) enum Kernel {
    Dense(Dense),
    Winograd(Winograd),
    Depthwise(Depthwise),
    Detect(DetectConv),
    Squeeze(Squeeze),
    Scale(Scale),
    Pool(Pool),
    Repeat(Repeat),
    Affine(Affine),
    Focus(Focus),
    ZeroBorder(ZeroBorder),
    Sum(Sum),
    Plain(Plain),
}

impl Kernel {
    fn run(&self, arena: &mut [f32], least: f32) {
        match self {
            Kernel::Dense(k) => k.run(arena),
            Kernel::Winograd(k) => k.run(arena),
            Kernel::Depthwise(k) => k.run(arena),
            Kernel::Detect(k) => k.run(arena, least),
            Kernel::Squeeze(k) => k.run(arena),
            Kernel::Scale(k) => k.run(arena),
            Kernel::Pool(k) => k.run(arena),
            Kernel::Repeat(k) => k.run(arena),
            Kernel::Affine(k) => k.run(arena),
            Kernel::Focus(k) => k.run(arena),
            Kernel::ZeroBorder(k) => k.run(arena),
            Kernel::Sum(k) => k.run(arena),
            Kernel::Plain(k) => k.run(arena),
        }
    }
}

/// One step of a program.
#[derive(Debug)]
pub(crate) struct Step {
    pub layer: usize,
    pub op: &'static str,
    pub shape: Shape,
    pub macs: u64,
    pub kernel: Kernel,
}

/// How long a step took.
#[derive(Debug, Clone, Copy)]
pub struct StepTiming {
    /// The layer of the model.
    pub layer: usize,
    /// The operations, joined.
    pub op: &'static str,
    /// The output's shape.
    pub shape: Shape,
    /// Multiply-adds of its convolutions and linear layers.
    pub macs: u64,
    /// Wall-clock time.
    pub time: Duration,
}

/// A model compiled for one input shape.
///
/// BatchNorm is folded into the weights; activation, residual and squeeze-and-excite's gate are part of the convolutions;
/// a concatenation's inputs are written where they belong; maps share one arena by their lifetimes. Running it allocates
/// nothing, except for operations that have no kernel of their own ([`Plain`]).
#[derive(Debug)]
pub struct Program {
    pub(crate) steps: Vec<Step>,
    /// Floats of the arena.
    pub(crate) len: usize,
    pub(crate) input: (Place, Shape),
    /// Raw head levels: dense maps.
    pub(crate) outputs: Vec<(Place, Shape)>,
}

impl Program {
    /// Compiles a graph whose outputs are head levels of `nc` classes. The weights are taken from `weights` where another
    /// program has made them already.
    pub(crate) fn new(graph: &Graph, params: &Params, weights: &mut Weights, nc: usize) -> Program {
        compile::compile(graph, params, weights, nc)
    }

    /// Floats that the arena must have.
    pub fn arena_len(&self) -> usize {
        self.len
    }

    /// Shapes of the outputs.
    pub fn output_shapes(&self) -> Vec<Shape> {
        self.outputs.iter().map(|o| o.1).collect()
    }

    /// Where the input images go: `[n, h, w, 3]`. Their values are gone after [`Self::run`].
    pub fn input<'a>(&self, arena: &'a mut [f32]) -> &'a mut [f32] {
        &mut arena[self.input.0.at..][..self.input.1.len()]
    }

    /// Runs all steps on what [`Self::input`] holds. Where an objectness is at most `least`, a logit, the class scores
    /// beside it may have any value.
    pub fn run(&self, arena: &mut [f32], least: f32) {
        for step in &self.steps {
            step.kernel.run(arena, least);
        }
    }

    /// The same, with the time of every step.
    pub fn profile(&self, arena: &mut [f32], least: f32) -> Vec<StepTiming> {
        let time = |step: &Step| {
            let start = Instant::now();
            step.kernel.run(arena, least);
            let Step { layer, op, shape, macs, .. } = *step;
            StepTiming { layer, op, shape, macs, time: start.elapsed() }
        };
        self.steps.iter().map(time).collect()
    }

    /// The outputs after [`Self::run`].
    pub fn outputs<'a>(&self, arena: &'a [f32]) -> Vec<&'a [f32]> {
        self.outputs.iter().map(|(place, shape)| &arena[place.at..][..shape.len()]).collect()
    }
}
