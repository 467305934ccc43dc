//! What a session promises beyond single operations: accumulation, frozen parameters, evaluation, threads and memory.

use crate::cases;
use kinglet_kernels::threads;
use kinglet_tensor::ops::{
    Add, BatchNorm, Concat, Contract, ConvUnit, Expand, MaxPool, Norm, Op, ShuffleChannels, SliceChannels,
    SpaceToDepth, Upsample,
};
use kinglet_tensor::{Activation, Gradients, Graph, Mode, ParamId, Params, Session, Shape};

fn assert_close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * (1.0 + largest), "{what}[{i}]: {g} instead of {w}");
    }
}

/// One forward and backward pass, with the outputs' values as their gradients.
fn step(graph: &Graph, params: &mut Params, input: &[f32], session: &mut Session, grads: &mut Gradients) {
    session.forward(graph, params, input, Mode::TRAIN);
    let outputs: Vec<Vec<f32>> = graph.outputs().iter().map(|&v| session.value(v).to_vec()).collect();
    let output_grads: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
    session.backward(graph, params, grads, &output_grads);
}

#[test]
fn gradients_accumulate_over_backward_passes_until_cleared() {
    for mut case in cases::all() {
        let (marks, b) = (case.builder.marks(), &mut case.builder);
        let mut session = Session::default();
        let mut grads = Gradients::new(&b.params, |_| true);
        step(&b.graph, &mut b.params, &marks, &mut session, &mut grads);
        let once = grads.clone();
        step(&b.graph, &mut b.params, &marks, &mut session, &mut grads);
        for (id, p) in b.params.iter() {
            let twice: Vec<f32> = once.get(id).iter().map(|g| 2.0 * g).collect();
            assert_close(grads.get(id), &twice, 1e-6, &format!("{} {}", case.name, p.name));
        }
        grads.clear();
        step(&b.graph, &mut b.params, &marks, &mut session, &mut grads);
        assert_eq!(grads.values(), once.values(), "{}", case.name);
    }
}

#[test]
fn a_frozen_parameter_gets_no_gradient_and_the_others_keep_theirs() {
    for mut case in cases::all() {
        let (marks, b) = (case.builder.marks(), &mut case.builder);
        let mut session = Session::default();
        let mut free = Gradients::new(&b.params, |_| true);
        step(&b.graph, &mut b.params, &marks, &mut session, &mut free);
        let learnt: Vec<ParamId> = b.params.iter().filter(|(_, p)| p.kind.learns()).map(|(id, _)| id).collect();
        for &frozen in &learnt {
            let mut grads = Gradients::new(&b.params, |id| id != frozen);
            step(&b.graph, &mut b.params, &marks, &mut session, &mut grads);
            for &id in &learnt {
                let what = format!("{}: {}", case.name, b.params.param(id).name);
                if id == frozen {
                    assert!(!grads.wanted(id) && grads.get(id).iter().all(|&g| g == 0.0), "{what} is frozen");
                } else {
                    assert_eq!(grads.get(id), free.get(id), "{what}, {} frozen", b.params.param(frozen).name);
                }
            }
        }
        let mut none = Gradients::new(&b.params, |_| false);
        step(&b.graph, &mut b.params, &marks, &mut session, &mut none);
        assert!(none.values().iter().flatten().all(|&g| g == 0.0), "{}: all frozen", case.name);
    }
}

/// The BatchNorms of a graph, with the pixels that each sees.
fn norms(graph: &Graph) -> Vec<(Norm, usize)> {
    let norm = |op: &Op| match op {
        Op::BatchNorm(op) => Some(op.norm),
        Op::ConvUnit(op) => op.norm,
        _ => None,
    };
    graph.nodes().iter().filter_map(|node| Some((norm(node.op.as_ref()?)?, node.shape.rows()))).collect()
}

#[test]
fn evaluation_with_the_statistics_of_the_batch_equals_training() {
    for mut case in cases::all() {
        let (marks, b) = (case.builder.marks(), &mut case.builder);
        let mut session = Session::default();
        session.forward(&b.graph, &mut b.params, &marks, Mode::Train { momentum: 1.0 });
        let trained = session.value(b.graph.outputs()[0]).to_vec();
        // The running variance is unbiased; the batch is normalised with the biased one.
        for (norm, rows) in norms(&b.graph) {
            b.params.get_mut(norm.variance).iter_mut().for_each(|v| *v *= (rows - 1) as f32 / rows as f32);
        }
        let before = b.params.values().to_vec();
        session.forward(&b.graph, &mut b.params, &marks, Mode::Evaluate);
        assert_close(session.value(b.graph.outputs()[0]), &trained, 1e-5, &case.name);
        assert_eq!(b.params.values(), before, "{}: evaluation changes no statistics", case.name);
        let mut keeping = Session::keeping_values();
        keeping.forward(&b.graph, &mut b.params, &marks, Mode::Evaluate);
        assert_eq!(keeping.value(b.graph.outputs()[0]), session.value(b.graph.outputs()[0]), "{}", case.name);
    }
}

/// A net large enough that every kernel cuts its work into several tasks.
fn large() -> (Graph, Params, Vec<f32>) {
    let mut b = cases::Builder::on(Shape::new(2, 96, 96, 3));
    let x = b.graph.push(SpaceToDepth, &[b.graph.input()]);
    let stem = b.unit(x, 24, 3, 1, Activation::Silu);
    let x = b.graph.push(stem, &[x]);
    let depthwise = b.unit(x, 24, 3, 24, Activation::HardSwish);
    let deep = b.graph.push(depthwise, &[x]);
    let squeeze = b.squeeze_excite(24, 6, Activation::HardSwish);
    let deep = b.graph.push(squeeze, &[deep]);
    let pooled = b.graph.push(MaxPool { kernel: 5, stride: 1, padding: 2 }, &[deep]);
    let grouped = b.unit(pooled, 24, 3, 2, Activation::Relu);
    let wide = b.graph.push(grouped, &[pooled, x]);
    let down = ConvUnit { stride: [2, 2], ..b.unit(wide, 40, 3, 1, Activation::Silu) };
    let small = b.graph.push(down, &[wide]);
    let norm = b.norm(40);
    let small = b.graph.push(BatchNorm { norm, activation: Activation::Sigmoid }, &[small]);
    let up = b.graph.push(Upsample { scale: 2 }, &[small]);
    let joined = b.graph.push(Concat, &[up, wide, wide]);
    let head = ConvUnit { bias: Some(b.bias(21)), ..b.conv(joined, 21, 1, 1) };
    let y = b.graph.push(head, &[joined]);
    b.graph.output(y);
    b.graph.output(small);
    b.params.initialise(5);
    let input = (0..b.graph.shape(b.graph.input()).len()).map(|i| (i as f32 * 0.37).sin()).collect();
    (b.graph, b.params, input)
}

/// The same of the operations that `large` does not have.
fn large_and_rare() -> (Graph, Params, Vec<f32>) {
    let mut b = cases::Builder::on(Shape::new(2, 64, 64, 3));
    let squares = b.graph.push(Contract { gain: 2 }, &[b.graph.input()]);
    let wide = b.unit(squares, 24, 1, 1, Activation::Silu);
    let wide = b.graph.push(wide, &[squares]);
    let shuffled = b.graph.push(ShuffleChannels { groups: 3 }, &[wide]);
    let part = b.graph.push(SliceChannels { first: 4, count: 12 }, &[shuffled]);
    let attention = b.attention(12, 4);
    let attended = b.graph.push(attention, &[part; 3]);
    let small = b.graph.push(Add, &[part, attended]);
    let grown = b.graph.push(Expand { gain: 2 }, &[small]);
    let transposed = b.conv_transpose(small, 5, 2);
    let transposed = b.graph.push(transposed, &[small]);
    let joined = b.graph.push(Concat, &[grown, transposed]);
    b.graph.output(joined);
    b.params.initialise(6);
    let input = (0..b.graph.shape(b.graph.input()).len()).map(|i| (i as f32 * 0.37).sin()).collect();
    (b.graph, b.params, input)
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |n: usize, (graph, mut params, input): (Graph, Params, Vec<f32>)| {
        threads::set_threads(n);
        let mut session = Session::default();
        let mut grads = Gradients::new(&params, |_| true);
        step(&graph, &mut params, &input, &mut session, &mut grads);
        session.forward(&graph, &mut params, &input, Mode::Evaluate);
        let y = session.value(graph.outputs()[0]).to_vec();
        let all = params.values().iter().chain(grads.values()).flatten().copied().chain(y);
        all.map(f32::to_bits).collect::<Vec<_>>()
    };
    for net in [large, large_and_rare] {
        let [one, two, three] = [1, 2, 3].map(|n| run(n, net()));
        threads::set_threads(0);
        assert!(one.iter().any(|&b| b != 0));
        assert!(one == two && one == three);
    }
}

#[test]
fn the_memory_of_a_step_serves_the_next() {
    let (graph, mut params, input) = large();
    let mut session = Session::default();
    let mut grads = Gradients::new(&params, |_| true);
    let mut held = Vec::new();
    for _ in 0..5 {
        step(&graph, &mut params, &input, &mut session, &mut grads);
        held.push(session.allocated_bytes());
    }
    assert_eq!(held[1..], [held[1]; 4], "{held:?}");
    session.forward(&graph, &mut params, &input, Mode::Evaluate);
    assert_eq!(session.allocated_bytes(), held[1], "evaluation needs less than training, of the same sizes");

    let mut session = Session::default();
    session.forward(&graph, &mut params, &input, Mode::Evaluate);
    let evaluation = session.allocated_bytes();
    assert!(evaluation < held[1] / 2, "evaluation frees values after their last use: {evaluation} of {}", held[1]);
}

#[test]
fn an_output_that_is_named_twice_gets_both_gradients() {
    let mut b = cases::Builder::on(Shape::new(1, 2, 2, 1));
    let conv = b.conv(b.graph.input(), 1, 1, 1);
    let weight = conv.weight;
    let y = b.graph.push(conv, &[b.graph.input()]);
    b.graph.output(y);
    b.graph.output(y);
    b.params.initialise(0);
    let mut session = Session::default();
    let mut grads = Gradients::new(&b.params, |_| true);
    session.forward(&b.graph, &mut b.params, &[1.0, 2.0, 3.0, 4.0], Mode::TRAIN);
    session.backward(&b.graph, &b.params, &mut grads, &[&[1.0, 0.0, 0.0, 0.0], &[0.0, 0.0, 0.0, 10.0]]);
    assert_eq!(grads.get(weight), [1.0 + 40.0]);
}
