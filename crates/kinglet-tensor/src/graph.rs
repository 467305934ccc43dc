//! The recorded forward pass.

use crate::ops::Op;
use crate::{ParamId, Shape};

/// A value in a [`Graph`]: the output of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub(crate) usize);

impl Var {
    /// The position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// Shapes that an operation cannot take. A model that was resolved never meets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {message}")]
pub struct ShapeError {
    /// The operation.
    pub op: &'static str,
    /// What does not fit.
    pub message: String,
}

/// One operation with its inputs.
#[derive(Debug, Clone)]
pub struct Node {
    /// The operation; `None` for the graph's input.
    pub op: Option<Op>,
    /// Where its inputs come from.
    pub inputs: Vec<Var>,
    /// The shape of its output.
    pub shape: Shape,
    /// Which layer of the model recorded it.
    pub layer: usize,
    /// Multiply-adds for the whole batch.
    pub macs: u64,
}

/// Operations in the order of execution.
#[derive(Debug, Clone)]
pub struct Graph {
    nodes: Vec<Node>,
    outputs: Vec<Var>,
    /// The layer that nodes recorded from here on belong to.
    pub layer: usize,
}

impl Graph {
    /// A graph that holds only its input, of this shape.
    pub fn new(input: Shape) -> Self {
        Graph {
            nodes: vec![Node { op: None, inputs: vec![], shape: input, layer: 0, macs: 0 }],
            outputs: vec![],
            layer: 0,
        }
    }

    /// The input.
    pub fn input(&self) -> Var {
        Var(0)
    }

    /// Appends an operation.
    ///
    /// # Panics
    /// If the shapes do not fit: models are checked before they are recorded.
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[Var]) -> Var {
        let op = op.into();
        let shapes: Vec<Shape> = inputs.iter().map(|&v| self.shape(v)).collect();
        let shape = op.run().shape(&shapes).unwrap_or_else(|e| panic!("layer {}: {e}", self.layer));
        let macs = op.run().macs(&shapes, shape);
        self.nodes.push(Node { op: Some(op), inputs: inputs.to_vec(), shape, layer: self.layer, macs });
        Var(self.nodes.len() - 1)
    }

    /// Marks a value as a result of the graph.
    pub fn output(&mut self, var: Var) {
        self.outputs.push(var);
    }

    /// The results, in the order in which they were marked.
    pub fn outputs(&self) -> &[Var] {
        &self.outputs
    }

    /// The shape of a value.
    pub fn shape(&self, var: Var) -> Shape {
        self.nodes[var.0].shape
    }

    /// All nodes; the first is the input.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Which values depend on a parameter for which `learns` holds, and so need a gradient.
    pub fn needs_gradient(&self, learns: impl Fn(ParamId) -> bool) -> Vec<bool> {
        let mut needs = vec![false; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            let own = node.op.as_ref().is_some_and(|op| op.run().params().into_iter().any(&learns));
            needs[i] = own || node.inputs.iter().any(|v| needs[v.0]);
        }
        needs
    }
}
