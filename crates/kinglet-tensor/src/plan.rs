//! When each buffer of a step lives, and where in memory it lies.
//!
//! The graph is known before anything runs, so the lifetimes of all buffers are too: values in the forward pass, what
//! operations keep for the backward pass, values that the backward pass computes again, and gradients. Buffers that are
//! never alive together share memory.
//!
//! Units: time counts the nodes of the forward pass and then, backwards, those of the backward pass; lengths are floats.

use crate::arena::LINE;
use crate::ops::Operation;
use crate::{Graph, Mode, Node, Shape};

/// A buffer: its length, and the first and last moment at which it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub len: usize,
    from: usize,
    to: usize,
}

impl Span {
    /// Whether it is still needed at `moment`.
    pub fn outlives(self, moment: usize) -> bool {
        self.to >= moment
    }
}

/// The lifetimes of a step's buffers, as indices of `spans`, by node.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Lifetimes {
    pub spans: Vec<Span>,
    /// Values of the forward pass; `None` for those that are computed by rows where they are read.
    pub values: Vec<Option<usize>>,
    /// The same values computed again in the backward pass; for the others that it reads, those of the forward pass.
    pub again: Vec<Option<usize>>,
    /// What each operation keeps for its backward pass.
    pub kept: Vec<Option<usize>>,
    /// Gradients of the values; `None` where no parameter lies upstream or no output downstream.
    pub grads: Vec<Option<usize>>,
    /// Where each operation writes the gradient of each input: not `grads` where it has named the input before.
    pub input_grads: Vec<Vec<Option<usize>>>,
    /// The nodes to compute again before the backward pass of each node, in order.
    pub recompute: Vec<Vec<usize>>,
}

/// The shapes of a node's inputs.
pub(crate) fn input_shapes(graph: &Graph, node: &Node) -> Vec<Shape> {
    node.inputs.iter().map(|&v| graph.shape(v)).collect()
}

fn operation(node: &Node) -> Option<&dyn Operation> {
    node.op.as_ref().map(|op| op.run())
}

/// Which values of the forward pass nobody needs in memory: all that read them take rows.
fn computed_by_rows(graph: &Graph) -> Vec<bool> {
    let mut by_rows: Vec<bool> = graph.nodes().iter().map(|n| operation(n).is_some_and(|op| op.row_wise())).collect();
    graph.outputs().iter().for_each(|v| by_rows[v.0] = false);
    for node in graph.nodes() {
        let Some(op) = operation(node) else { continue };
        let shapes = input_shapes(graph, node);
        node.inputs.iter().enumerate().for_each(|(position, v)| by_rows[v.0] &= op.takes_rows(position, &shapes));
    }
    by_rows
}

impl Lifetimes {
    /// Those of a graph, as if every parameter learnt. With `keep_values` values stay for good.
    pub fn new(graph: &Graph, mode: Mode, keep_values: bool) -> Self {
        let nodes = graph.nodes();
        let mut plan = Lifetimes::default();
        let end = nodes.len();
        let by_rows = if mode.records() && !keep_values { computed_by_rows(graph) } else { vec![false; end] };
        for (i, node) in nodes.iter().enumerate() {
            let last = if keep_values { end } else { i };
            let value = (!by_rows[i]).then(|| plan.span(node.shape.len(), i, last));
            plan.values.push(value);
            let kept = operation(node).map_or(0, |op| op.kept_len(&input_shapes(graph, node), node.shape, mode));
            let kept = (kept > 0).then(|| plan.span(kept, i, i));
            plan.kept.push(kept);
            for v in &node.inputs {
                plan.read_forward(graph, v.0, i);
            }
        }
        for v in graph.outputs() {
            plan.read_forward(graph, v.0, end);
        }
        plan.again = vec![None; end];
        plan.grads = vec![None; end];
        plan.recompute = vec![Vec::new(); end];
        plan.input_grads = nodes.iter().map(|n| vec![None; n.inputs.len()]).collect();
        if mode.records() {
            plan.backward(graph);
        }
        plan
    }

    fn span(&mut self, len: usize, from: usize, to: usize) -> usize {
        self.spans.push(Span { len, from, to });
        self.spans.len() - 1
    }

    fn extend(&mut self, span: usize, to: usize) {
        self.spans[span].to = self.spans[span].to.max(to);
    }

    /// The forward pass reads the value of `node` at `now`.
    fn read_forward(&mut self, graph: &Graph, node: usize, now: usize) {
        if let Some(value) = self.values[node] {
            return self.extend(value, now);
        }
        if let Some(kept) = self.kept[node] {
            self.extend(kept, now);
        }
        let computed = &graph.nodes()[node];
        let Some(op) = operation(computed) else { return };
        for (position, v) in computed.inputs.iter().enumerate() {
            if op.recompute_reads(position) {
                self.read_forward(graph, v.0, now);
            }
        }
    }

    /// Where the value of `node` lies in the forward pass, or in the backward pass of the node `reader`; `None` where it
    /// is computed by rows.
    pub fn value(&self, node: usize, reader: Option<usize>) -> Option<usize> {
        match reader {
            None => self.values[node],
            Some(reader) => self.again[node].filter(|&span| self.spans[span].from <= self.moment(reader)),
        }
    }

    /// When the backward pass is at `node`.
    fn moment(&self, node: usize) -> usize {
        2 * self.values.len() - node
    }

    fn backward(&mut self, graph: &Graph) {
        let nodes = graph.nodes();
        let needs = graph.needs_gradient(|_| true);
        for v in graph.outputs().iter().filter(|v| needs[v.0]) {
            if self.grads[v.0].is_none() {
                self.grads[v.0] = Some(self.span(graph.shape(*v).len(), nodes.len(), nodes.len()));
            }
        }
        for i in (0..nodes.len()).rev() {
            let (node, now) = (&nodes[i], self.moment(i));
            let (Some(op), Some(grad)) = (operation(node), self.grads[i]) else { continue };
            self.extend(grad, now);
            if let Some(kept) = self.kept[i] {
                self.extend(kept, now);
            }
            let shapes = input_shapes(graph, node);
            for (position, v) in node.inputs.iter().enumerate() {
                if op.keeps_input(position) {
                    self.read(graph, v.0, i, op.takes_rows(position, &shapes));
                }
                if !needs[v.0] {
                    continue;
                }
                let first = !node.inputs[..position].contains(v);
                let span = match self.grads[v.0] {
                    Some(span) if first => span,
                    _ => self.span(graph.shape(*v).len(), now, now),
                };
                self.grads[v.0].get_or_insert(span);
                self.extend(span, now);
                self.input_grads[i][position] = Some(span);
            }
        }
    }

    /// The backward pass of node `reader` reads the value of `node`, by rows where that is enough.
    fn read(&mut self, graph: &Graph, node: usize, reader: usize, by_rows: bool) {
        let now = self.moment(reader);
        if let Some(span) = self.again[node] {
            return self.extend(span, now);
        }
        let computed = &graph.nodes()[node];
        let op = operation(computed).filter(|op| op.recomputes());
        let (Some(op), None) = (op, self.values[node].filter(|&v| self.spans[v].to >= now)) else {
            let value = self.values[node].expect("what cannot be computed again is in memory");
            self.extend(value, now);
            self.again[node] = Some(value);
            return;
        };
        let shapes = input_shapes(graph, computed);
        for (position, v) in computed.inputs.iter().enumerate() {
            if op.recompute_reads(position) {
                self.read(graph, v.0, reader, op.takes_rows(position, &shapes));
            }
        }
        if !(by_rows && op.row_wise()) {
            self.again[node] = Some(self.span(computed.shape.len(), now, now));
            self.recompute[reader].push(node);
        }
    }

    /// The place of each span, and how much memory all take together: the longest first, each as low as it fits.
    pub fn place(&self) -> (Vec<usize>, usize) {
        let mut order: Vec<usize> = (0..self.spans.len()).collect();
        order.sort_by_key(|&s| (std::cmp::Reverse(self.spans[s].len), self.spans[s].from));
        let mut places = vec![0; self.spans.len()];
        let mut total = 0;
        // Those placed already, by their place.
        let mut placed: Vec<(usize, usize)> = Vec::with_capacity(order.len());
        for s in order {
            let span = self.spans[s];
            let len = span.len.next_multiple_of(LINE);
            let mut at = 0;
            for &(from, other) in &placed {
                let o = self.spans[other];
                if o.from > span.to || o.to < span.from {
                    continue;
                }
                if at + len <= from {
                    break;
                }
                at = at.max(from + o.len.next_multiple_of(LINE));
            }
            places[s] = at;
            total = total.max(at + len);
            let position = placed.partition_point(|&(from, _)| from <= at);
            placed.insert(position, (at, s));
        }
        (places, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(spans: &[(usize, usize, usize)]) -> Lifetimes {
        let spans = spans.iter().map(|&(len, from, to)| Span { len, from, to }).collect();
        Lifetimes { spans, ..Lifetimes::default() }
    }

    #[test]
    fn buffers_that_live_together_lie_apart_and_others_share() {
        // 32 floats at times 0..=2; 16 at 1..=1 and 16 at 2..=3, which never meet; 32 again at 3..=4.
        let plan = spans(&[(32, 0, 2), (16, 1, 1), (16, 2, 3), (32, 3, 4)]);
        let (places, total) = plan.place();
        assert_eq!(places, [0, 32, 32, 0]);
        assert_eq!(total, 48);
    }

    #[test]
    fn many_buffers_never_overlap_in_time_and_place() {
        let mut state = 1u64;
        let mut draw = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % n as usize
        };
        let list: Vec<_> = (0..300)
            .map(|_| {
                let from = draw(100);
                (draw(200), from, from + draw(20))
            })
            .collect();
        let plan = spans(&list);
        let (places, total) = plan.place();
        for (i, a) in plan.spans.iter().enumerate() {
            assert!(places[i] + a.len <= total && places[i] % LINE == 0);
            for (j, b) in plan.spans.iter().enumerate().take(i) {
                let apart = places[i] + a.len <= places[j] || places[j] + b.len <= places[i];
                assert!(apart || a.to < b.from || b.to < a.from || a.len * b.len == 0, "{i} and {j}");
            }
        }
        // No packing takes less than what lives at once.
        let most = (0..120).map(|t| plan.spans.iter().filter(|s| s.from <= t && t <= s.to).map(|s| s.len).sum()).max();
        assert!(total >= most.unwrap_or(0) && total < 2 * most.unwrap_or(0));
    }
}
