//! Runs a graph: forwards, keeping what the backward pass needs, and backwards.

use crate::arena::Arena;
use crate::plan::{Lifetimes, input_shapes};
use crate::rows::{Input, RowsContext};
use crate::timing::Stopwatch;
use crate::{Graph, OpTiming, ParamId, Params, Pass, Shape, Var};
use kinglet_kernels::elementwise;
use kinglet_kernels::rows::{InputGradient, RowSums};
use kinglet_kernels::threads::parallel_chunks_mut;
use std::ops::Range;
use std::time::Instant;

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

/// What an operation notes in its forward for its backward pass, beside the floats that it keeps.
#[derive(Debug, Default)]
pub struct Notes {
    pub(crate) indices: Vec<u8>,
    pub(crate) moments: crate::ops::BatchMoments,
}

/// What an operation sees in the forward pass.
#[derive(Debug)]
pub struct ForwardContext<'a> {
    pub(crate) inputs: Vec<Input<'a>>,
    pub(crate) input_shapes: &'a [Shape],
    /// Its content is unspecified, to be overwritten; `None` where whoever reads the output computes it by rows.
    pub(crate) output: Option<&'a mut [f32]>,
    pub(crate) shape: Shape,
    pub(crate) params: &'a mut Params,
    pub(crate) mode: Mode,
    /// `Operation::kept_len` floats of unspecified content, which the backward pass finds as they were left.
    pub(crate) kept: &'a mut [f32],
    pub(crate) notes: &'a mut Notes,
}

impl ForwardContext<'_> {
    /// The output of an operation that is not row-wise, or of an evaluation.
    pub(crate) fn output(&mut self) -> &mut [f32] {
        self.output.as_deref_mut().expect("only row-wise outputs are computed by rows, and only in training")
    }
}

/// What an operation sees in the backward pass.
#[derive(Debug)]
pub struct BackwardContext<'a> {
    /// The forward inputs; absent where `Operation::keeps_input` says no.
    pub(crate) inputs: Vec<Input<'a>>,
    pub(crate) input_shapes: &'a [Shape],
    pub(crate) output_grad: &'a mut [f32],
    pub(crate) shape: Shape,
    pub(crate) params: &'a Params,
    pub(crate) grads: &'a mut Gradients,
    /// `None` for an input that needs no gradient.
    pub(crate) input_grads: Vec<Option<InputGrad<'a>>>,
    /// `Operation::gradient_sums` of `output_grad`, where whoever finished it has taken them.
    pub(crate) sums: Option<Vec<f64>>,
    pub(crate) kept: &'a mut [f32],
    pub(crate) notes: &'a Notes,
}

/// Where an input's gradient goes.
#[derive(Debug)]
pub struct InputGrad<'a> {
    pub(crate) values: &'a mut [f32],
    /// Add to `values`; otherwise their content is unspecified and to be overwritten.
    pub(crate) accumulate: bool,
    /// Sums to be taken of `values` by rows, once these are finished, for the operation that computed the input.
    pub(crate) sums: Option<GradientSums<'a>>,
}

/// The sums that an operation's backward pass starts with.
#[derive(Debug)]
pub(crate) struct GradientSums<'a> {
    pub cx: RowsContext<'a>,
    pub totals: Vec<f64>,
}

impl InputGrad<'_> {
    /// Runs `f` with this gradient, if there is one, as a kernel takes it.
    pub(crate) fn with<R>(this: Option<&mut Self>, f: impl FnOnce(Option<InputGradient<'_>>) -> R) -> R {
        let Some(InputGrad { values, accumulate, sums }) = this else { return f(None) };
        let accumulate = *accumulate;
        let Some(GradientSums { cx, totals }) = sums else {
            return f(Some(InputGradient { values, accumulate, sums: None }));
        };
        let add = |range: Range<usize>, gradient: &[f32], sums: &mut [f64]| {
            cx.op.add_gradient_sums(cx, range, gradient, sums);
        };
        f(Some(InputGradient { values, accumulate, sums: Some(RowSums { add: &add, totals }) }))
    }

    pub(crate) fn add(&mut self, gradient: &[f32]) {
        if self.accumulate {
            elementwise::add_assign(self.values, gradient);
        } else {
            elementwise::copy(self.values, gradient);
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
        parallel_chunks_mut(&mut self.values, 1, |_, one| one[0].fill(0.0));
    }
}

/// The memory of a model at work. One graph at a time; its memory serves the next.
#[derive(Debug, Default)]
pub struct Session {
    arena: Arena,
    lifetimes: Lifetimes,
    /// Where each span of `lifetimes` begins in the arena.
    places: Vec<usize>,
    notes: Vec<Notes>,
    mode: Option<Mode>,
    keep_values: bool,
    stopwatch: Stopwatch,
}

/// The floats of a step's buffers.
#[derive(Clone, Copy)]
struct Floats<'a> {
    base: *mut f32,
    lifetimes: &'a Lifetimes,
    places: &'a [usize],
}

impl<'a> Floats<'a> {
    /// The buffer of a span.
    ///
    /// # Safety
    /// Nobody writes to the span while the result lives.
    unsafe fn read(&self, span: usize) -> &'a [f32] {
        // SAFETY: the span lies inside the arena, whose floats are initialised; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.base.add(self.places[span]), self.lifetimes.spans[span].len) }
    }

    /// The buffer of a span, to write.
    ///
    /// # Safety
    /// Nobody else reads or writes it while the result lives.
    unsafe fn write(&self, span: usize) -> &'a mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(self.places[span]), self.lifetimes.spans[span].len) }
    }

    /// The same where there is a span, otherwise nothing.
    ///
    /// # Safety
    /// As for `read`.
    unsafe fn read_if(&self, span: Option<usize>) -> &'a [f32] {
        // SAFETY: the caller's promise.
        span.map_or(&[], |span| unsafe { self.read(span) })
    }

    /// The value of `node` as an input: of the forward pass, or in the backward pass of the node `reader`.
    ///
    /// # Safety
    /// Nobody writes to what the plan keeps for the reader while the result lives.
    unsafe fn input(&self, graph: &'a Graph, notes: &'a [Notes], node: usize, reader: Option<usize>) -> Input<'a> {
        match self.lifetimes.value(node, reader) {
            // SAFETY: the caller's promise.
            Some(span) => Input::Whole(unsafe { self.read(span) }),
            // SAFETY: the caller's promise.
            None => Input::Rows(unsafe { self.rows(graph, notes, node, reader) }),
        }
    }

    /// What computing the value of `node` again sees.
    ///
    /// # Safety
    /// As for `input`.
    unsafe fn rows(&self, graph: &'a Graph, notes: &'a [Notes], node: usize, reader: Option<usize>) -> RowsContext<'a> {
        let recorded = &graph.nodes()[node];
        let op = recorded.op.as_ref().expect("the graph's input is always in memory").run();
        let input = |(position, v): (usize, &Var)| match op.recompute_reads(position) {
            // SAFETY: the caller's promise.
            true => unsafe { self.input(graph, notes, v.0, reader) },
            false => Input::Absent,
        };
        RowsContext {
            op,
            inputs: recorded.inputs.iter().enumerate().map(input).collect(),
            input_shapes: input_shapes(graph, recorded),
            shape: recorded.shape,
            // SAFETY: the caller's promise.
            kept: unsafe { self.read_if(self.lifetimes.kept[node]) },
            notes: &notes[node],
        }
    }

    /// What sums over the gradient of the value of `node` see: no inputs.
    ///
    /// # Safety
    /// Nobody writes to what the operation keeps while the result lives.
    unsafe fn kept_rows(&self, graph: &'a Graph, notes: &'a [Notes], node: usize) -> RowsContext<'a> {
        let recorded = &graph.nodes()[node];
        RowsContext {
            op: recorded.op.as_ref().expect("only operations need sums").run(),
            inputs: vec![],
            input_shapes: input_shapes(graph, recorded),
            shape: recorded.shape,
            // SAFETY: the caller's promise.
            kept: unsafe { self.read_if(self.lifetimes.kept[node]) },
            notes: &notes[node],
        }
    }

    /// The same where there is a span, otherwise nothing, to write.
    ///
    /// # Safety
    /// As for `write`.
    unsafe fn write_if(&self, span: Option<usize>) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        span.map_or(&mut [], |span| unsafe { self.write(span) })
    }
}

impl Session {
    /// A session that keeps every value of an evaluation, to compare layers.
    pub fn keeping_values() -> Self {
        Session { keep_values: true, ..Self::default() }
    }

    /// Plans the memory of `graph`, unless it is that of the step before.
    fn plan(&mut self, graph: &Graph, mode: Mode) {
        let lifetimes = Lifetimes::new(graph, mode, self.keep_values);
        if lifetimes != self.lifetimes || self.places.is_empty() {
            let (places, len) = lifetimes.place();
            self.arena.reserve(len);
            (self.lifetimes, self.places) = (lifetimes, places);
        }
        self.notes.clear();
        self.notes.resize_with(graph.nodes().len(), Notes::default);
        self.mode = Some(mode);
    }

    /// Computes the graph for `input`. The values of its outputs can be read until the next call.
    ///
    /// # Panics
    /// If `input` does not have the size of the graph's input.
    pub fn forward(&mut self, graph: &Graph, params: &mut Params, input: &[f32], mode: Mode) {
        let nodes = graph.nodes();
        assert_eq!(input.len(), nodes[0].shape.len(), "input of the graph's size");
        self.plan(graph, mode);
        let floats = Floats { base: self.arena.base(), lifetimes: &self.lifetimes, places: &self.places };
        // SAFETY: nothing else refers to the arena now.
        elementwise::copy(unsafe { floats.write_if(self.lifetimes.values[0]) }, input);
        for (i, node) in nodes.iter().enumerate() {
            let Some(op) = &node.op else { continue };
            let begun = self.stopwatch.on.then(Instant::now);
            let shapes = input_shapes(graph, node);
            let (before, notes) = self.notes.split_at_mut(i);
            // SAFETY: the plan keeps apart the buffers that live at this node: what its inputs need, its value, what it
            // keeps.
            op.run().forward(&mut unsafe {
                ForwardContext {
                    inputs: node.inputs.iter().map(|v| floats.input(graph, before, v.0, None)).collect(),
                    input_shapes: &shapes,
                    output: self.lifetimes.values[i].map(|span| floats.write(span)),
                    shape: node.shape,
                    params,
                    mode,
                    kept: floats.write_if(self.lifetimes.kept[i]),
                    notes: &mut notes[0],
                }
            });
            if let Some(begun) = begun {
                self.stopwatch.add(timing(graph, i, Pass::Forward, begun));
            }
        }
    }

    /// A value of the last forward pass.
    ///
    /// # Panics
    /// If it was not an output and this session does not keep them, or if the backward pass has run.
    pub fn value(&self, var: Var) -> &[f32] {
        let nodes = self.lifetimes.values.len();
        let span = self.lifetimes.values[var.0].filter(|&span| self.lifetimes.spans[span].outlives(nodes));
        let span = span.filter(|_| self.mode.is_some()).expect("outputs are kept; other values only where asked for");
        &self.arena.floats()[self.places[span]..][..self.lifetimes.spans[span].len]
    }

    /// Adds to `grads` the gradients for given gradients of the graph's outputs, after a forward pass in training mode.
    ///
    /// # Panics
    /// If there was no such pass of the same graph before, or a gradient does not have its output's size.
    pub fn backward(&mut self, graph: &Graph, params: &Params, grads: &mut Gradients, output_grads: &[&[f32]]) {
        let mode = self.mode.take().filter(|m| m.records()).expect("a forward pass in training mode comes first");
        let same = Lifetimes::new(graph, mode, self.keep_values) == self.lifetimes;
        assert!(same, "the backward pass is of the graph of the forward pass");
        let nodes = graph.nodes();
        let plan = &self.lifetimes;
        let floats = Floats { base: self.arena.base(), lifetimes: plan, places: &self.places };
        let needs = graph.needs_gradient(|id| grads.wanted(id));
        let mut begun_grads = vec![false; nodes.len()];
        for (var, gradient) in graph.outputs().iter().zip(output_grads) {
            assert_eq!(gradient.len(), graph.shape(*var).len(), "gradient of the output's size");
            let Some(span) = plan.grads[var.0] else { continue };
            // SAFETY: nothing else refers to the arena now.
            put(unsafe { floats.write(span) }, gradient, begun_grads[var.0]);
            begun_grads[var.0] = true;
        }
        let runs = |i: usize| needs[i] && plan.grads[i].is_some();
        let again = needed_again(graph, runs);
        let last = last_contributors(graph, runs);
        let mut sums: Vec<Option<Vec<f64>>> = vec![None; nodes.len()];
        for (i, node) in nodes.iter().enumerate().rev() {
            for &j in plan.recompute[i].iter().filter(|&&j| again[j]) {
                let Some(span) = plan.again[j] else { continue };
                let begun = self.stopwatch.on.then(Instant::now);
                // SAFETY: the plan keeps apart the buffers that live at node `i`.
                let (cx, output) = unsafe { (floats.rows(graph, &self.notes, j, Some(i)), floats.write(span)) };
                cx.op.rows(&cx, 0..nodes[j].shape.rows(), output);
                if let Some(begun) = begun {
                    self.stopwatch.add(timing(graph, j, Pass::Recompute, begun));
                }
            }
            let (Some(op), true, Some(grad)) = (&node.op, runs(i), plan.grads[i]) else { continue };
            let begun = self.stopwatch.on.then(Instant::now);
            let op = op.run();
            let shapes = input_shapes(graph, node);
            let read = |(position, v): (usize, &Var)| match op.keeps_input(position) {
                // SAFETY: the plan keeps apart the buffers that live at this node.
                true => unsafe { floats.input(graph, &self.notes, v.0, Some(i)) },
                false => Input::Absent,
            };
            let input_grad = |(position, (v, span)): (usize, (&Var, &Option<usize>))| {
                let span = span.filter(|_| needs[v.0])?;
                let accumulate = begun_grads[v.0] && plan.grads[v.0] == Some(span);
                let producer = nodes[v.0].op.as_ref().map_or(0, |op| op.run().gradient_sums());
                let takes = producer > 0 && last[v.0] == Some((i, position)) && op.finishes_rows(position, &shapes);
                // SAFETY: as above; an input named twice has a buffer for each time.
                let values = unsafe { floats.write(span) };
                let sums = takes.then(|| GradientSums {
                    // SAFETY: what an operation keeps is there until its backward pass, which comes later.
                    cx: unsafe { floats.kept_rows(graph, &self.notes, v.0) },
                    totals: vec![0.0; producer],
                });
                Some(InputGrad { values, accumulate, sums })
            };
            let mut cx = BackwardContext {
                inputs: node.inputs.iter().enumerate().map(read).collect(),
                input_shapes: &shapes,
                // SAFETY: as above.
                output_grad: unsafe { floats.write(grad) },
                shape: node.shape,
                params,
                grads,
                input_grads: node.inputs.iter().zip(&plan.input_grads[i]).enumerate().map(input_grad).collect(),
                sums: sums[i].take(),
                // SAFETY: as above.
                kept: unsafe { floats.write_if(plan.kept[i]) },
                notes: &self.notes[i],
            };
            op.backward(&mut cx);
            for (v, gradient) in node.inputs.iter().zip(cx.input_grads) {
                if let Some(taken) = gradient.and_then(|g| g.sums) {
                    sums[v.0] = Some(taken.totals);
                }
            }
            for (v, span) in node.inputs.iter().zip(&plan.input_grads[i]) {
                let (Some(span), Some(sum), true) = (*span, plan.grads[v.0], needs[v.0]) else { continue };
                if span != sum {
                    // SAFETY: the operation has returned its buffers; these two are different ones.
                    elementwise::add_assign(unsafe { floats.write(sum) }, unsafe { floats.read(span) });
                }
                begun_grads[v.0] = true;
            }
            if let Some(begun) = begun {
                self.stopwatch.add(timing(graph, i, Pass::Backward, begun));
            }
        }
        grads.clear_unwanted();
    }

    /// Bytes that running `graph` takes, computed without running it.
    pub fn planned_bytes(graph: &Graph, mode: Mode) -> usize {
        4 * Lifetimes::new(graph, mode, false).place().1
    }

    /// Bytes held for values, gradients and scratch.
    pub fn allocated_bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// Starts or stops measuring how long each operation takes.
    pub fn set_timing(&mut self, on: bool) {
        self.stopwatch.on = on;
    }

    /// The times measured since [`Self::clear_timings`], in the order in which the operations ran first.
    pub fn timings(&self) -> &[OpTiming] {
        self.stopwatch.timings()
    }

    /// Forgets the times measured.
    pub fn clear_timings(&mut self) {
        self.stopwatch.clear();
    }
}

/// `to = from`, or `to += from`.
fn put(to: &mut [f32], from: &[f32], accumulate: bool) {
    if accumulate {
        elementwise::add_assign(to, from);
    } else {
        elementwise::copy(to, from);
    }
}

/// The time since `begun`, as that of node `i`.
fn timing(graph: &Graph, i: usize, pass: Pass, begun: Instant) -> OpTiming {
    let node = &graph.nodes()[i];
    let macs = match pass {
        Pass::Forward => node.macs,
        Pass::Recompute => 0,
        Pass::Backward => 2 * node.macs,
    };
    let op = node.op.as_ref().map_or("input", |op| op.run().name());
    OpTiming { node: i, layer: node.layer, op, pass, macs, time: begun.elapsed() }
}

/// The node, and its input's position, that adds to each value's gradient last; `None` where a node names it twice.
fn last_contributors(graph: &Graph, runs: impl Fn(usize) -> bool) -> Vec<Option<(usize, usize)>> {
    let mut last = vec![None; graph.nodes().len()];
    // The backward pass comes to the first reader last.
    for (i, node) in graph.nodes().iter().enumerate().rev().filter(|(i, _)| runs(*i)) {
        for (position, v) in node.inputs.iter().enumerate() {
            let once = node.inputs.iter().filter(|u| *u == v).count() == 1;
            last[v.0] = once.then_some((i, position));
        }
    }
    last
}

/// Which values the backward pass reads where only some nodes run in it, directly or to compute others again.
fn needed_again(graph: &Graph, runs: impl Fn(usize) -> bool) -> Vec<bool> {
    let nodes = graph.nodes();
    let mut needed = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate().rev() {
        let Some(op) = node.op.as_ref().map(|op| op.run()) else { continue };
        let computed = needed[i] && op.recomputes();
        for (position, v) in node.inputs.iter().enumerate() {
            let reads = runs(i) && op.keeps_input(position) || computed && op.recompute_reads(position);
            needed[v.0] |= reads;
        }
    }
    needed
}
