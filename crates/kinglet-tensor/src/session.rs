//! Runs a graph: forwards, keeping what the backward pass needs, and backwards.

use crate::{Buffer, BufferPool, Graph, ParamId, Params, Shape, Var};
use kinglet_kernels::elementwise;

/// How far one batch moves the running statistics in YOLOv5's models (PyTorch's default is 0.1).
pub const BATCH_NORM_MOMENTUM: f32 = 0.03;

/// Which statistics BatchNorm uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// The running ones. Nothing is kept for a backward pass.
    Evaluate,
    /// The batch's, which also move the running ones by `momentum`.
    Train {
        /// Weight of this batch in the running statistics.
        momentum: f32,
    },
}

impl Mode {
    /// Training with YOLOv5's momentum.
    pub const TRAIN: Mode = Mode::Train { momentum: BATCH_NORM_MOMENTUM };

    /// Whether a backward pass may follow.
    pub fn records(self) -> bool {
        self != Mode::Evaluate
    }
}

/// What an operation keeps from its forward for its backward pass.
#[derive(Debug, Default)]
pub struct Saved {
    pub(crate) value: Option<Buffer>,
    pub(crate) indices: Vec<u8>,
    pub(crate) moments: crate::ops::BatchMoments,
}

/// What an operation sees in the forward pass.
#[derive(Debug)]
pub struct ForwardContext<'a> {
    pub(crate) inputs: Vec<&'a [f32]>,
    pub(crate) input_shapes: &'a [Shape],
    pub(crate) output: &'a mut [f32],
    pub(crate) shape: Shape,
    pub(crate) params: &'a mut Params,
    pub(crate) mode: Mode,
    pub(crate) pool: &'a mut BufferPool,
    pub(crate) saved: &'a mut Saved,
}

/// What an operation sees in the backward pass.
#[derive(Debug)]
pub struct BackwardContext<'a> {
    /// The forward inputs; empty where `Operation::keeps_input` says no.
    pub(crate) inputs: Vec<&'a [f32]>,
    pub(crate) input_shapes: &'a [Shape],
    pub(crate) output_grad: &'a mut [f32],
    pub(crate) shape: Shape,
    pub(crate) params: &'a Params,
    pub(crate) grads: &'a mut Gradients,
    /// `None` for an input that needs no gradient.
    pub(crate) input_grads: Vec<Option<InputGrad<'a>>>,
    pub(crate) saved: &'a mut Saved,
    pub(crate) pool: &'a mut BufferPool,
}

/// Where an input's gradient goes.
#[derive(Debug)]
pub struct InputGrad<'a> {
    pub(crate) values: &'a mut [f32],
    /// Add to `values`; otherwise their content is unspecified and to be overwritten.
    pub(crate) accumulate: bool,
}

impl InputGrad<'_> {
    pub(crate) fn add(&mut self, gradient: &[f32]) {
        if self.accumulate {
            elementwise::add_assign(self.values, gradient);
        } else {
            self.values.copy_from_slice(gradient);
        }
    }
}

/// The parameters' gradients, which accumulate over backward passes until [`Gradients::clear`].
#[derive(Debug, Clone)]
pub struct Gradients {
    values: Vec<Vec<f32>>,
    wanted: Vec<bool>,
}

impl Gradients {
    /// Zeros for every parameter for which `learns` holds.
    pub fn new(params: &Params, learns: impl Fn(ParamId) -> bool) -> Self {
        let sizes = params.iter().map(|(_, p)| if p.kind.learns() { p.len() } else { 0 });
        let values = sizes.map(|len| vec![0.0; len]).collect();
        Gradients { values, wanted: params.iter().map(|(id, p)| p.kind.learns() && learns(id)).collect() }
    }

    /// Whether this parameter learns.
    pub fn wanted(&self, id: ParamId) -> bool {
        self.wanted[id.0]
    }

    /// The gradient of `id`.
    pub fn get(&self, id: ParamId) -> &[f32] {
        &self.values[id.0]
    }

    pub(crate) fn get_mut(&mut self, id: ParamId) -> &mut [f32] {
        &mut self.values[id.0]
    }

    pub(crate) fn pair(&mut self, a: ParamId, b: ParamId) -> (&mut [f32], &mut [f32]) {
        let [a, b] =
            self.values.get_disjoint_mut([a.0, b.0]).expect("a BatchNorm's weight and bias are different parameters");
        (a, b)
    }

    /// All gradients in the order of the parameters; empty for statistics.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// All gradients, to change.
    pub fn values_mut(&mut self) -> &mut [Vec<f32>] {
        &mut self.values
    }

    /// Drops what operations that compute several gradients at once wrote for frozen parameters: it would count in the
    /// norm that clipping goes by.
    fn clear_unwanted(&mut self) {
        self.values.iter_mut().zip(&self.wanted).filter(|(_, wanted)| !**wanted).for_each(|(v, _)| v.fill(0.0));
    }

    /// Sets all to zero.
    pub fn clear(&mut self) {
        self.values.iter_mut().for_each(|v| v.fill(0.0));
    }
}

/// The memory of a model at work. One graph at a time; its buffers serve the next.
#[derive(Debug, Default)]
pub struct Session {
    pool: BufferPool,
    values: Vec<Option<Buffer>>,
    saved: Vec<Saved>,
    keep_values: bool,
}

impl Session {
    /// A session that keeps every value of an evaluation, to compare layers.
    pub fn keeping_values() -> Self {
        Session { keep_values: true, ..Self::default() }
    }

    /// Computes the graph for `input`. The values of its outputs can be read until the next call.
    ///
    /// # Panics
    /// If `input` does not have the size of the graph's input.
    pub fn forward(&mut self, graph: &Graph, params: &mut Params, input: &[f32], mode: Mode) {
        self.reset();
        let nodes = graph.nodes();
        let last_use = self.last_use(graph, mode);
        self.values.resize_with(nodes.len(), || None);
        self.saved.resize_with(nodes.len(), Saved::default);
        let mut image = self.pool.take(input.len());
        image.copy_from_slice(input);
        assert_eq!(input.len(), nodes[0].shape.len(), "input of the graph's size");
        self.values[0] = Some(image);
        for (i, node) in nodes.iter().enumerate() {
            let Some(op) = &node.op else { continue };
            let mut output = self.pool.take(node.shape.len());
            let input_shapes: Vec<Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
            let inputs = node.inputs.iter().map(|v| &**self.values[v.0].as_ref().expect("inputs are computed first"));
            op.run().forward(&mut ForwardContext {
                inputs: inputs.collect(),
                input_shapes: &input_shapes,
                output: &mut output,
                shape: node.shape,
                params,
                mode,
                pool: &mut self.pool,
                saved: &mut self.saved[i],
            });
            self.values[i] = Some(output);
            for v in &node.inputs {
                if last_use[v.0] == Some(i) {
                    self.values[v.0].take().into_iter().for_each(|b| self.pool.give(b));
                }
            }
        }
    }

    /// A value of the last forward pass.
    ///
    /// # Panics
    /// If it was not an output and this session does not keep them.
    pub fn value(&self, var: Var) -> &[f32] {
        self.values[var.0].as_ref().expect("outputs are kept; other values only where asked for")
    }

    /// Adds to `grads` the gradients for given gradients of the graph's outputs, after a forward pass in training mode.
    /// Frees what the forward pass kept.
    pub fn backward(&mut self, graph: &Graph, params: &Params, grads: &mut Gradients, output_grads: &[&[f32]]) {
        let nodes = graph.nodes();
        let needs = graph.needs_gradient(|id| grads.wanted(id));
        let mut pending: Vec<Option<Buffer>> = nodes.iter().map(|_| None).collect();
        for (var, gradient) in graph.outputs().iter().zip(output_grads) {
            if let Some(first) = &mut pending[var.0] {
                elementwise::add_assign(first, gradient);
                continue;
            }
            let mut buffer = self.pool.take(gradient.len());
            buffer.copy_from_slice(gradient);
            pending[var.0] = Some(buffer);
        }
        for (i, node) in nodes.iter().enumerate().rev() {
            let (Some(op), Some(mut output_grad)) = (&node.op, pending[i].take()) else {
                self.release(i);
                continue;
            };
            if !needs[i] {
                self.pool.give(output_grad);
                self.release(i);
                continue;
            }
            let input_shapes: Vec<Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
            // An input named twice gets a buffer of its own the second time, and the two are added below.
            let mut lent: Vec<Option<(Buffer, bool)>> = Vec::with_capacity(node.inputs.len());
            for v in &node.inputs {
                lent.push(needs[v.0].then(|| match pending[v.0].take() {
                    Some(buffer) => (buffer, true),
                    None => (self.pool.take(graph.shape(*v).len()), false),
                }));
            }
            let input_grads = lent.iter_mut();
            op.run().backward(&mut BackwardContext {
                inputs: node.inputs.iter().map(|v| self.values[v.0].as_deref().unwrap_or(&[])).collect(),
                input_shapes: &input_shapes,
                output_grad: &mut output_grad,
                shape: node.shape,
                params,
                grads,
                input_grads: input_grads
                    .map(|l| l.as_mut().map(|(values, accumulate)| InputGrad { values, accumulate: *accumulate }))
                    .collect(),
                saved: &mut self.saved[i],
                pool: &mut self.pool,
            });
            for (v, lent) in node.inputs.iter().zip(lent) {
                let Some((buffer, _)) = lent else { continue };
                match &mut pending[v.0] {
                    Some(first) => {
                        elementwise::add_assign(first, &buffer);
                        self.pool.give(buffer);
                    }
                    none => *none = Some(buffer),
                }
            }
            self.pool.give(output_grad);
            self.release(i);
        }
        for buffer in pending.into_iter().flatten() {
            self.pool.give(buffer);
        }
        grads.clear_unwanted();
        self.reset();
    }

    /// Bytes held for values, gradients and scratch.
    pub fn allocated_bytes(&self) -> usize {
        self.pool.allocated_bytes()
    }

    /// Returns unused memory to the system.
    pub fn shrink(&mut self) {
        self.pool.clear();
    }

    /// The node after which a value is no longer needed; `None` for one that stays.
    fn last_use(&self, graph: &Graph, mode: Mode) -> Vec<Option<usize>> {
        let mut last = vec![None; graph.nodes().len()];
        if self.keep_values {
            return last;
        }
        let mut stays = vec![false; last.len()];
        graph.outputs().iter().for_each(|v| stays[v.0] = true);
        for (i, node) in graph.nodes().iter().enumerate() {
            let Some(op) = &node.op else { continue };
            for (position, v) in node.inputs.iter().enumerate() {
                last[v.0] = Some(i);
                stays[v.0] |= mode.records() && op.run().keeps_input(position);
            }
        }
        last.iter_mut().zip(stays).filter(|(_, stays)| *stays).for_each(|(last, _)| *last = None);
        last
    }

    fn release(&mut self, node: usize) {
        let saved = std::mem::take(&mut self.saved[node]);
        for buffer in self.values[node].take().into_iter().chain(saved.value) {
            self.pool.give(buffer);
        }
    }

    fn reset(&mut self) {
        for node in 0..self.values.len() {
            self.release(node);
        }
        self.values.clear();
        self.saved.clear();
    }
}
