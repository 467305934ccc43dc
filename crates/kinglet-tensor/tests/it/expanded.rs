//! The graph for training, in which an inverted residual's first two convolutions are one, against the graph itself.

use crate::cases::Builder;
use kinglet_kernels::threads;
use kinglet_tensor::ops::{ConvUnit, Op};
use kinglet_tensor::{Activation, Gradients, Graph, Mode, Params, Session, Shape};

/// Outputs, running statistics and gradients of one step, the outputs' gradients being a wave.
fn step(graph: &Graph, mut params: Params, input: &[f32]) -> Vec<(String, Vec<f32>)> {
    let mut session = Session::default();
    session.forward(graph, &mut params, input, Mode::Train { momentum: 0.5 });
    let outputs: Vec<Vec<f32>> = graph.outputs().iter().map(|&v| session.value(v).to_vec()).collect();
    let waves: Vec<Vec<f32>> =
        outputs.iter().map(|y| (0..y.len()).map(|i| (i as f32 * 0.71).sin()).collect()).collect();
    let mut grads = Gradients::new(&params, |_| true);
    session.backward(graph, &params, &mut grads, &waves.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let gradients = params.iter().map(|(id, p)| (format!("gradient of {}", p.name), grads.get(id).to_vec()));
    let values = params.iter().map(|(id, p)| (p.name.clone(), params.get(id).to_vec()));
    outputs.into_iter().map(|y| ("output".to_owned(), y)).chain(values).chain(gradients).collect()
}

fn assert_alike(got: &[(String, Vec<f32>)], want: &[(String, Vec<f32>)], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for ((name, got), (_, want)) in got.iter().zip(want) {
        assert_eq!(got.len(), want.len(), "{what}: {name}");
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
        let size = norm(&mut want.iter().map(|&v| f64::from(v)));
        let distance = norm(&mut got.iter().zip(want).map(|(g, w)| f64::from(g - w)));
        // Some gradients are zero but for rounding, such as those of a shift before a BatchNorm.
        assert!(distance <= tolerance * (1.0 + size), "{what}: {name} is off by {distance} of {size}");
    }
}

/// A stem, an inverted residual with its residual, and a strided one, as a light backbone begins.
fn backbone(size: [usize; 2], [kernel, wide]: [usize; 2], activation: Activation) -> (Graph, Params, Vec<f32>) {
    let mut b = Builder::on(Shape::new(2, size[0], size[1], 3));
    let stem = b.unit(b.graph.input(), 8, 3, 1, Activation::HardSwish);
    let x = b.graph.push(stem, &[b.graph.input()]);
    let mut narrow = x;
    for stride in [1, 2] {
        let [expand, depthwise] = b.expansion(narrow, wide, kernel, stride, activation);
        let deep = b.graph.push(expand, &[narrow]);
        let deep = b.graph.push(depthwise, &[deep]);
        let project = b.unit(deep, 8, 1, 1, Activation::Identity);
        narrow = match stride {
            1 => b.graph.push(project, &[deep, narrow]),
            _ => b.graph.push(project, &[deep]),
        };
    }
    b.graph.output(narrow);
    b.params.initialise(3);
    let input = (0..b.graph.shape(b.graph.input()).len()).map(|i| (i as f32 * 0.37).sin() + 0.3).collect();
    (b.graph, b.params, input)
}

fn expanded(graph: &Graph) -> usize {
    graph.nodes().iter().filter(|node| matches!(node.op, Some(Op::Expanded(_)))).count()
}

#[test]
fn the_graph_for_training_computes_the_same() {
    for (size, kernel, wide, activation) in [
        ([9, 7], 3, 20, Activation::Relu),
        ([64, 48], 3, 40, Activation::Relu),
        ([33, 31], 5, 24, Activation::Relu6),
        ([80, 72], 5, 33, Activation::LeakyRelu(0.1)),
        ([6, 5], 3, 130, Activation::Identity),
    ] {
        let (graph, params, input) = backbone(size, [kernel, wide], activation);
        let (training, places) = graph.for_training();
        let what = format!("{size:?}, kernel {kernel}, {wide} channels, {activation:?}");
        assert_eq!((expanded(&graph), expanded(&training)), (0, 2), "{what}");
        assert_eq!(places.iter().filter(|place| place.is_none()).count(), 2, "{what}");
        let macs = |graph: &Graph| graph.nodes().iter().map(|node| node.macs).sum::<u64>();
        assert_eq!(macs(&graph), macs(&training), "{what}");
        assert_alike(&step(&training, params.clone(), &input), &step(&graph, params, &input), 2e-4, &what);
    }
}

#[test]
fn it_needs_less_memory_and_the_number_of_threads_changes_no_bit() {
    let (graph, params, input) = backbone([64, 48], [3, 40], Activation::Relu);
    let (training, _) = graph.for_training();
    let bytes = |graph: &Graph| Session::planned_bytes(graph, Mode::TRAIN);
    // Two maps of 40 channels and a gradient of one are gone; maps of 8 and of 40 channels, strided or not, stay.
    assert!(10 * bytes(&training) < 7 * bytes(&graph), "{} of {}", bytes(&training), bytes(&graph));
    let [one, two, three] = [1, 2, 3].map(|n| {
        threads::set_threads(n);
        step(&training, params.clone(), &input)
    });
    threads::set_threads(0);
    assert!(one == two && one == three);
}

#[test]
fn channels_that_almost_cancel_are_measured_one_by_one() {
    // Two channels that are nearly the same, and large: their difference has a small variance.
    let mut b = Builder::on(Shape::new(2, 40, 40, 2));
    let x = b.graph.input();
    let [expand, depthwise] = b.expansion(x, 3, 3, 1, Activation::Relu);
    let weight = expand.weight;
    let deep = b.graph.push(expand, &[x]);
    let deep = b.graph.push(depthwise, &[deep]);
    b.graph.output(deep);
    b.params.initialise(3);
    b.params.get_mut(weight).copy_from_slice(&[1.0, -1.0, 1.0, 0.5, 0.5, 0.5]);
    let wave = |i: usize| 1000.0 + (i as f32 * 0.37).sin();
    let input: Vec<f32> = (0..3200).flat_map(|i| [wave(i), wave(i) + (i as f32 * 0.11).cos()]).collect();
    let (training, _) = b.graph.for_training();
    assert_eq!(expanded(&training), 1);
    let (got, want) = (step(&training, b.params.clone(), &input), step(&b.graph, b.params.clone(), &input));
    // The output and the running statistics; gradients of such channels are noise in either.
    let measured = 1 + b.params.iter().count();
    assert_alike(&got[..measured], &want[..measured], 1e-3, "cancelling");
}

#[test]
fn what_others_read_or_is_of_another_kind_stays_as_it_is() {
    let build = |change: &dyn Fn(&mut Builder, [ConvUnit; 2]) -> [ConvUnit; 2], activation| {
        let mut b = Builder::on(Shape::new(1, 8, 8, 4));
        let x = b.graph.input();
        let units = b.expansion(x, 12, 3, 1, activation);
        let [expand, depthwise] = change(&mut b, units);
        let wide = b.graph.push(expand, &[x]);
        let deep = b.graph.push(depthwise, &[wide]);
        b.graph.output(deep);
        (b, wide)
    };
    let same = |_: &mut Builder, units| units;
    let (b, _) = build(&same, Activation::Relu);
    assert_eq!(expanded(&b.graph.for_training().0), 1);
    let (mut b, wide) = build(&same, Activation::Relu);
    b.graph.output(wide);
    assert_eq!(expanded(&b.graph.for_training().0), 0, "an output");
    let (b, _) = build(&same, Activation::HardSwish);
    assert_eq!(expanded(&b.graph.for_training().0), 0, "an activation whose value does not tell its derivative");
    let no_norm = |_: &mut Builder, [expand, depthwise]: [ConvUnit; 2]| [ConvUnit { norm: None, ..expand }, depthwise];
    let (b, _) = build(&no_norm, Activation::Relu);
    assert_eq!(expanded(&b.graph.for_training().0), 0, "no BatchNorm");
    let bias = |b: &mut Builder, [expand, depthwise]: [ConvUnit; 2]| {
        [ConvUnit { bias: Some(b.bias(12)), ..expand }, depthwise]
    };
    let (b, _) = build(&bias, Activation::Relu);
    assert_eq!(expanded(&b.graph.for_training().0), 0, "a bias");
    let dilated = |_: &mut Builder, [expand, depthwise]: [ConvUnit; 2]| {
        [expand, ConvUnit { dilation: 2, padding: [2; 2], ..depthwise }]
    };
    let (b, _) = build(&dilated, Activation::Relu);
    assert_eq!(expanded(&b.graph.for_training().0), 0, "dilation");
}
