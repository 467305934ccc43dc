//! From a recorded graph to a [`Program`]: what is fused, where every map lies, and when its memory is free again.
//!
//! First every node becomes a draft step or is absorbed by another. Then values find their memory: inputs of a
//! concatenation are channels of its map, work in place keeps its place, and regions whose lifetimes do not touch may
//! overlap in the arena. Last the kernels are made, which check the places once more.

use crate::plain;
use crate::program::{Kernel, Program, Step};
use crate::weights::{Form, Weights};
use kinglet_kernels::elementwise::Padding;
use kinglet_kernels::infer::{
    Affine, Dense, Depthwise, DetectConv, Expand, Focus, Gate, Place, Plain, Pool, Project, Repeat, Scale, Squeeze,
    Sum, Winograd, ZeroBorder,
};
use kinglet_kernels::pooling::PoolShape;
use kinglet_kernels::{Activation, ConvShape};
use kinglet_tensor::ops::{ConvUnit, Op, SqueezeExcite};
use kinglet_tensor::{Graph, Params, Shape};

/// Floats in a cache line: regions begin at one.
const LINE: usize = 16;

/// What a node has become.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    /// A step of its own.
    Step,
    /// Part of the step of this node.
    Absorbed,
    /// A squeeze-and-excite whose product its consumers compute.
    Gates,
}

/// A step before its memory is known.
#[derive(Debug)]
struct Draft {
    node: usize,
    op: &'static str,
    /// The depthwise convolution before a projection: `node` is the projection then.
    depthwise: Option<usize>,
    /// The node of the convolution before a depthwise one.
    expand: Option<usize>,
    /// The squeeze-and-excite whose gate a convolution applies.
    gate: Option<usize>,
    /// For a copy into a concatenation: its input's position.
    copy: Option<usize>,
    /// Adds the second input after the step.
    add: bool,
}

/// Memory with a lifetime in steps.
#[derive(Debug, Clone)]
struct Region {
    len: usize,
    first: usize,
    last: usize,
    at: usize,
}

struct Compiler<'a> {
    graph: &'a Graph,
    /// Nodes that read each value.
    uses: Vec<Vec<usize>>,
    output: Vec<bool>,
    roles: Vec<Role>,
    /// The wider map that a value is part of, and its first channel there.
    within: Vec<Option<(usize, usize)>>,
    drafts: Vec<Draft>,
    /// Classes of the head.
    nc: usize,
}

/// Memory of a squeeze-and-excite.
#[derive(Debug, Clone, Copy)]
struct Squeezed {
    sums: usize,
    work: usize,
    gate: usize,
    parts: usize,
    /// Whether the depthwise convolution before it sums.
    summed: bool,
}

pub(crate) fn compile(graph: &Graph, params: &Params, weights: &mut Weights, nc: usize) -> Program {
    let count = graph.nodes().len();
    let mut uses = vec![Vec::new(); count];
    for (i, node) in graph.nodes().iter().enumerate() {
        node.inputs.iter().for_each(|v| uses[v.index()].push(i));
    }
    let mut output = vec![false; count];
    graph.outputs().iter().for_each(|v| output[v.index()] = true);
    let mut c =
        Compiler { graph, uses, output, roles: vec![Role::Step; count], within: vec![None; count], drafts: vec![], nc };
    c.draft();
    c.place_within();
    c.build(params, weights)
}

impl<'a> Compiler<'a> {
    fn op(&self, node: usize) -> Option<&'a Op> {
        self.graph.nodes()[node].op.as_ref()
    }

    fn shape(&self, node: usize) -> Shape {
        self.graph.nodes()[node].shape
    }

    fn input(&self, node: usize, position: usize) -> usize {
        self.graph.nodes()[node].inputs[position].index()
    }

    fn conv(&self, node: usize) -> Option<(&'a ConvUnit, ConvShape)> {
        match self.op(node)? {
            Op::ConvUnit(unit) => Some((unit, unit.geometry(self.shape(self.input(node, 0))))),
            _ => None,
        }
    }

    fn depthwise(&self, node: usize) -> Option<(&'a ConvUnit, ConvShape)> {
        self.conv(node).filter(|(_, s)| s.is_depthwise())
    }

    /// Whether this is the last convolution of a head level: 1x1, and whose output only decoding reads.
    fn is_detect(&self, node: usize) -> bool {
        let plain = |(unit, s): (&ConvUnit, ConvShape)| {
            let pointwise = s.is_pointwise() && unit.activation == Activation::Identity;
            pointwise && s.c_out.is_multiple_of(5 + self.nc)
        };
        let alone = self.graph.nodes()[node].inputs.len() == 1 && self.uses[node].is_empty() && self.output[node];
        alone && self.gate_of(node).is_none() && self.conv(node).is_some_and(plain)
    }

    /// Whether this value has one reader and is no result.
    fn private(&self, node: usize) -> bool {
        self.uses[node].len() == 1 && !self.output[node]
    }

    /// Decides what is fused, and lists the steps.
    fn draft(&mut self) {
        for node in 0..self.roles.len() {
            match self.op(node) {
                Some(Op::ConvUnit(_)) => {
                    let input = self.input(node, 0);
                    let alone = self.graph.nodes()[input].inputs.len() == 1
                        && self.private(input)
                        && self.roles[input] == Role::Step;
                    let takes = match (self.depthwise(node), self.depthwise(input)) {
                        // The convolution before must not itself wait for a gate.
                        (Some(_), _) => {
                            let expands = |(_, s): (&ConvUnit, ConvShape)| Depthwise::takes_expand(&s);
                            self.conv(input).is_some_and(expands) && self.gate_of(input).is_none()
                        }
                        (None, Some((_, before))) => {
                            let projects = |(_, s): (&ConvUnit, ConvShape)| {
                                Depthwise::takes_project(&before, self.absorbed_by(input).is_some(), &s)
                            };
                            !self.is_detect(node) && self.conv(node).is_some_and(projects)
                        }
                        (None, None) => false,
                    };
                    if alone && takes {
                        self.roles[input] = Role::Absorbed;
                    }
                }
                Some(Op::SqueezeExcite(_)) => {
                    let gated = |&n: &usize| {
                        let reads_once = self.graph.nodes()[n].inputs.iter().filter(|v| v.index() == node).count() == 1;
                        reads_once && self.input(n, 0) == node && self.conv(n).is_some_and(|(_, s)| s.is_pointwise())
                    };
                    if !self.output[node] && self.uses[node].iter().all(gated) {
                        self.roles[node] = Role::Gates;
                    }
                }
                _ => {}
            }
        }
        for node in 1..self.roles.len() {
            if self.roles[node] == Role::Absorbed {
                continue;
            }
            let plain = Draft { node, op: "", depthwise: None, expand: None, gate: None, copy: None, add: false };
            let draft = match self.op(node).expect("only the first node is the input") {
                Op::ConvUnit(_) => {
                    let before = self.absorbed_by(node);
                    if self.depthwise(node).is_some() {
                        let add = self.graph.nodes()[node].inputs.len() > 1;
                        let op = if before.is_some() { "conv + depthwise" } else { "depthwise" };
                        Draft { op, expand: before, add, ..plain }
                    } else if let Some(depthwise) = before {
                        let expand = self.absorbed_by(depthwise);
                        let op = if expand.is_some() { "conv + depthwise + conv" } else { "depthwise + conv" };
                        Draft { op, depthwise: before, expand, ..plain }
                    } else {
                        let gate = self.gate_of(node);
                        Draft { op: if gate.is_some() { "gate + conv" } else { "conv" }, gate, ..plain }
                    }
                }
                Op::SqueezeExcite(_) if self.roles[node] == Role::Gates => Draft { op: "squeeze", ..plain },
                Op::SqueezeExcite(_) => Draft { op: "squeeze + scale", ..plain },
                Op::Concat(_) => {
                    for position in 0..self.graph.nodes()[node].inputs.len() {
                        self.drafts.push(Draft { op: "copy", copy: Some(position), ..plain });
                    }
                    continue;
                }
                op => Draft { op: op.run().name(), ..plain },
            };
            self.drafts.push(draft);
        }
    }

    /// The convolution before this one where it is part of the same step.
    fn absorbed_by(&self, conv: usize) -> Option<usize> {
        let input = self.input(conv, 0);
        (self.roles[input] == Role::Absorbed).then_some(input)
    }

    /// The squeeze-and-excite that a convolution's input is gated by.
    fn gate_of(&self, conv: usize) -> Option<usize> {
        let input = self.input(conv, 0);
        (self.roles[input] == Role::Gates).then_some(input)
    }

    /// The map that a value's memory belongs to, and its first channel there.
    fn root(&self, mut value: usize) -> (usize, usize) {
        let mut channel = 0;
        while let Some((outer, first)) = self.within[value] {
            channel += first;
            value = outer;
        }
        (value, channel)
    }

    /// Puts in-place work where its input is, and inputs of concatenations into their maps; drops the copies saved.
    fn place_within(&mut self) {
        for node in 1..self.roles.len() {
            let in_place = match self.op(node) {
                Some(Op::Activate(_) | Op::BatchNorm(_) | Op::Add(_)) => true,
                Some(Op::SqueezeExcite(_)) => self.roles[node] == Role::Step,
                _ => false,
            };
            if in_place {
                let input = self.input(node, 0);
                if input != 0 && self.private(input) {
                    self.within[node] = Some((input, 0));
                }
            }
        }
        let mut saved = vec![];
        for node in 1..self.roles.len() {
            if !matches!(self.op(node), Some(Op::Concat(_))) {
                continue;
            }
            let mut first = 0;
            for position in 0..self.graph.nodes()[node].inputs.len() {
                let input = self.input(node, position);
                let (root, _) = self.root(input);
                let whole = self.shape(root).c == self.shape(input).c;
                if root != 0 && whole && !self.output[input] && !self.output[root] && root != node {
                    self.within[root] = Some((node, first));
                    saved.push((node, position));
                }
                first += self.shape(input).c;
            }
        }
        self.drafts.retain(|d| d.copy.is_none_or(|position| !saved.contains(&(d.node, position))));
    }

    /// Values that a step reads.
    fn reads(&self, d: &Draft) -> Vec<usize> {
        if let Some(position) = d.copy {
            return vec![self.input(d.node, position)];
        }
        let mut reads: Vec<usize> = self.graph.nodes()[d.node].inputs.iter().map(|v| v.index()).collect();
        let source = d.expand.or(d.depthwise).or(d.gate).unwrap_or(d.node);
        if source != d.node {
            reads[0] = self.input(source, 0);
        }
        reads
    }

    /// The convolutions with the form in which their steps need the weights.
    fn convolutions(&self) -> Vec<(Form, ConvShape, &'a ConvUnit)> {
        let nodes = self.drafts.iter().flat_map(|d| d.expand.into_iter().chain(d.depthwise).chain([d.node]));
        let form = |node: usize| {
            let (unit, s) = self.conv(node)?;
            let form = match () {
                () if self.is_detect(node) => Form::Detect { nc: self.nc },
                () if s.is_depthwise() => Form::Depthwise,
                () if Winograd::suits(&s) => Form::Winograd,
                () => Form::Dense,
            };
            Some((form, s, unit))
        };
        nodes.filter_map(form).collect()
    }

    fn build(&self, params: &Params, weights: &mut Weights) -> Program {
        let steps = self.drafts.len();
        let mut regions: Vec<Region> = Vec::new();
        // The region of each map.
        let mut region_of = vec![usize::MAX; self.roles.len()];
        let mut touch = |regions: &mut Vec<Region>, value: usize, step: usize| {
            let (root, _) = self.root(value);
            if region_of[root] == usize::MAX {
                region_of[root] = regions.len();
                regions.push(Region { len: self.shape(root).len(), first: step, last: step, at: 0 });
            }
            let region = &mut regions[region_of[root]];
            region.first = region.first.min(step);
            region.last = region.last.max(step);
        };
        touch(&mut regions, 0, 0);
        let mut squeezed: Vec<Option<Squeezed>> = vec![None; self.roles.len()];
        for (step, d) in self.drafts.iter().enumerate() {
            self.reads(d).into_iter().for_each(|v| touch(&mut regions, v, step));
            if self.roles[d.node] == Role::Step {
                touch(&mut regions, d.node, step);
            }
        }
        for v in graph_outputs(self.graph) {
            touch(&mut regions, v, steps);
        }
        for (step, d) in self.drafts.iter().enumerate() {
            let Some(Op::SqueezeExcite(op)) = self.op(d.node) else { continue };
            let before = self.input(d.node, 0);
            let producer = self.drafts.iter().position(|p| p.node == before && p.copy.is_none() && !p.add);
            let dw = producer.filter(|_| self.depthwise(before).is_some() && self.private(before));
            let x = self.shape(before);
            let (parts, first) = match dw {
                Some(p) => {
                    let (_, s) = self.depthwise(before).expect("found above");
                    (Depthwise::parts(&s, self.drafts[p].expand.is_some()), p)
                }
                None => (Squeeze::map_parts(x.pixels()), step),
            };
            let gated = self.drafts.iter().rposition(|c| c.gate == Some(d.node)).unwrap_or(step);
            let mut region = |len: usize, first: usize, last: usize| {
                regions.push(Region { len, first, last, at: 0 });
                regions.len() - 1
            };
            squeezed[d.node] = Some(Squeezed {
                sums: region(x.n * parts * x.c, first, step),
                work: region(Squeeze::work_len(x.n, x.c, op.hidden), step, step),
                gate: region(x.n * x.c, step, gated.max(step)),
                parts,
                summed: dw.is_some(),
            });
        }
        // Work space of the steps that need some.
        let mut work = vec![None; self.roles.len()];
        for (step, d) in self.drafts.iter().enumerate() {
            if let Some((_, s)) = self.conv(d.node).filter(|(_, s)| Winograd::suits(s)) {
                work[d.node] = Some(regions.len());
                regions.push(Region { len: Winograd::work_len(&s), first: step, last: step, at: 0 });
            }
        }
        let len = arrange(&mut regions);
        let place = |value: usize| {
            let (root, channel) = self.root(value);
            Place { at: regions[region_of[root]].at + channel, ld: self.shape(root).c, c: self.shape(value).c }
        };
        weights.make(&self.convolutions(), params);
        let mut program = Program {
            steps: Vec::with_capacity(steps),
            len,
            input: (place(0), self.shape(0)),
            outputs: graph_outputs(self.graph).map(|v| (place(v), self.shape(v))).collect(),
        };
        for d in &self.drafts {
            let mut push = |op: &'static str, macs: u64, kernel: Kernel| {
                let node = &self.graph.nodes()[d.node];
                program.steps.push(Step { layer: node.layer, op, shape: node.shape, macs, kernel });
            };
            let node = &self.graph.nodes()[d.node];
            let reads = self.reads(d);
            let x = place(reads[0]);
            let from = self.shape(reads[0]);
            if let Some(position) = d.copy {
                let mut y = place(d.node);
                y.at += (0..position).map(|p| self.shape(self.input(d.node, p)).c).sum::<usize>();
                y.c = x.c;
                push(d.op, 0, Kernel::Repeat(Repeat::new([from.n, from.h, from.w], 1, x, y)));
                continue;
            }
            let absorbed = d.expand.into_iter().chain(d.depthwise);
            let macs = node.macs + absorbed.map(|n| self.graph.nodes()[n].macs).sum::<u64>();
            match node.op.as_ref().expect("only the first node is the input") {
                Op::ConvUnit(_) if self.depthwise(d.depthwise.unwrap_or(d.node)).is_some() => {
                    let (unit, s) = self.depthwise(d.depthwise.unwrap_or(d.node)).expect("just asked");
                    let expand = d.expand.map(|e| {
                        let (unit, shape) = self.conv(e).expect("an absorbed node is a convolution");
                        let (weights, bias) = weights.dense(unit);
                        Expand { shape, weights, bias, activation: unit.activation }
                    });
                    let project = d.depthwise.map(|_| {
                        let (unit, _) = self.conv(d.node).expect("it projects");
                        let (weights, bias) = weights.dense(unit);
                        let residual = reads.get(1).map(|&r| place(r));
                        Project { weights, bias, activation: unit.activation, residual }
                    });
                    let taps = weights.depthwise(unit);
                    let mut step = Depthwise::new(&s, taps, unit.activation, x, place(d.node), expand, project);
                    let sums = self.uses[d.node].iter().filter_map(|&n| squeezed[n]).find(|q| q.summed);
                    if let Some(q) = sums {
                        step = step.with_sums(regions[q.sums].at);
                    }
                    push(d.op, macs, Kernel::Depthwise(step));
                    if d.add {
                        let sum = Sum::new(node.shape.rows(), place(reads[1]), place(d.node));
                        push("add", 0, Kernel::Sum(sum));
                    }
                }
                Op::ConvUnit(unit) if self.is_detect(d.node) => {
                    let step = DetectConv::new(node.shape.rows(), weights.detect(unit), x, place(d.node));
                    push("detect", macs, Kernel::Detect(step));
                }
                Op::ConvUnit(unit) => {
                    let (_, s) = self.conv(d.node).expect("just asked");
                    if let Some(region) = work[d.node] {
                        let (weights, bias) = weights.winograd(unit);
                        let residual = reads.get(1).map(|&r| place(r));
                        let (y, at) = (place(d.node), regions[region].at);
                        let step = Winograd::new(&s, weights, bias, unit.activation, x, y, residual, at);
                        push("winograd", macs, Kernel::Winograd(step));
                        continue;
                    }
                    let (weights, bias) = weights.dense(unit);
                    let residual = reads.get(1).map(|&r| place(r));
                    let gate = d.gate.map(|g| {
                        let Some(Op::SqueezeExcite(op)) = self.op(g) else {
                            unreachable!("gates are squeeze-and-excite")
                        };
                        let at = regions[squeezed[g].expect("every one has memory").gate].at;
                        Gate { at, activation: op.activation }
                    });
                    let step = Dense::new(&s, weights, bias, unit.activation, x, place(d.node), residual, gate);
                    push(d.op, macs, Kernel::Dense(step));
                }
                Op::SqueezeExcite(op) => {
                    let q = squeezed[d.node].expect("every one has memory");
                    let squeeze = self.squeeze(op, from, x, q, &regions, params, weights);
                    push("squeeze", macs, Kernel::Squeeze(squeeze));
                    if self.roles[d.node] == Role::Step {
                        let (gate, activation) = (regions[q.gate].at, op.activation);
                        let y = place(d.node);
                        let scale = Scale { images: from.n, pixels: from.pixels(), x, y, gate, activation };
                        push("scale", 0, Kernel::Scale(scale));
                    }
                }
                Op::MaxPool(op) => {
                    let input = [from.n, from.h, from.w, from.c];
                    let shape = PoolShape { input, kernel: op.kernel, stride: op.stride, padding: op.padding };
                    push(d.op, 0, Kernel::Pool(Pool::new(shape, x, place(d.node))));
                }
                Op::Upsample(op) => {
                    let size = [from.n, from.h, from.w];
                    push(d.op, 0, Kernel::Repeat(Repeat::new(size, op.scale, x, place(d.node))));
                }
                Op::Activate(op) => {
                    push(d.op, 0, Kernel::Affine(Affine::new(from.rows(), None, op.0, x, place(d.node))));
                }
                Op::BatchNorm(op) => {
                    let factors = Some(weights.factors(&op.norm, params));
                    let step = Affine::new(from.rows(), factors, op.activation, x, place(d.node));
                    push(d.op, 0, Kernel::Affine(step));
                }
                Op::SpaceToDepth(_) => {
                    push(d.op, 0, Kernel::Focus(Focus::new([from.n, from.h, from.w], x, place(d.node))));
                }
                Op::ZeroPad(op) => {
                    let [left, right, top, bottom] = op.border;
                    let padding = Padding { left, right, top, bottom };
                    let step = ZeroBorder::new([from.n, from.h, from.w], padding, x, place(d.node));
                    push(d.op, 0, Kernel::ZeroBorder(step));
                }
                Op::Add(_) => {
                    let (rows, y) = (from.rows(), place(d.node));
                    if x != y {
                        push("copy", 0, Kernel::Repeat(Repeat::new([from.n, from.h, from.w], 1, x, y)));
                    }
                    push(d.op, 0, Kernel::Sum(Sum::new(rows, place(reads[1]), y)));
                }
                Op::SliceChannels(op) => {
                    let part = Place { at: x.at + op.first, c: op.count, ..x };
                    push(d.op, 0, Kernel::Repeat(Repeat::new([from.n, from.h, from.w], 1, part, place(d.node))));
                }
                op @ (Op::Attention(_)
                | Op::Contract(_)
                | Op::ConvTranspose(_)
                | Op::Expand(_)
                | Op::ShuffleChannels(_)) => {
                    let inputs = reads.iter().map(|&v| (place(v), self.shape(v).rows())).collect();
                    let output = (place(d.node), node.shape.rows());
                    let work = plain::work(op, from, node.shape, params);
                    push(d.op, macs, Kernel::Plain(Plain::new(inputs, output, work)));
                }
                Op::Concat(_) => unreachable!("concatenations became copies"),
            }
        }
        program
    }

    #[allow(clippy::too_many_arguments)]
    fn squeeze(
        &self,
        op: &SqueezeExcite,
        from: Shape,
        x: Place,
        q: Squeezed,
        regions: &[Region],
        params: &Params,
        weights: &mut Weights,
    ) -> Squeeze {
        Squeeze {
            images: from.n,
            pixels: from.pixels(),
            c: from.c,
            reduce: weights.linear(op.reduce, params),
            expand: weights.linear(op.expand, params),
            sums: regions[q.sums].at,
            parts: q.parts,
            map: (!q.summed).then_some(x),
            work: regions[q.work].at,
            gate: regions[q.gate].at,
        }
    }
}

fn graph_outputs(graph: &Graph) -> impl Iterator<Item = usize> {
    graph.outputs().iter().map(|v| v.index())
}

/// Gives every region its place, the largest first, at the lowest one that is free for its lifetime. Returns the length
/// of the arena.
fn arrange(regions: &mut [Region]) -> usize {
    let mut order: Vec<usize> = (0..regions.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(regions[i].len), i));
    let mut placed: Vec<usize> = Vec::new();
    for i in order {
        let Region { len, first, last, .. } = regions[i];
        let mut at = 0;
        placed.sort_by_key(|&p| regions[p].at);
        for &p in &placed {
            let other = &regions[p];
            let together = other.first <= last && first <= other.last;
            if together && other.at < at + len && at < other.at + other.len {
                at = (other.at + other.len).next_multiple_of(LINE);
            }
        }
        regions[i].at = at;
        placed.push(i);
    }
    // Vector loads never pass the end of a map, but an empty arena would have no place for an empty map.
    regions.iter().map(|r| r.at + r.len).max().unwrap_or(0).next_multiple_of(LINE)
}
