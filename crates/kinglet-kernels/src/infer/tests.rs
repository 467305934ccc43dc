//! Every step against the scalar reference in `f64`, over awkward sizes, places with gaps, and instruction sets; nothing
//! beside the output may change.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::*;
use crate::conv::PackedConv;
use crate::conv::gemm::lanes;
use crate::elementwise::Padding;
use crate::elementwise::tests::{each_isa, random, same_bits};
use crate::pooling::PoolShape;
use crate::reference;
use crate::{Activation, ConvShape};

/// Sums of some hundred products, relative to the largest value.
const CLOSE: f32 = 1e-5;

fn close(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= CLOSE * largest, "{what}: got {got}, expected {want} at {i}, largest {largest}");
    }
}

/// An arena with maps at places: gaps between them hold a mark.
struct Bench {
    arena: Vec<f32>,
}

const MARK: f32 = -7777.0;

impl Bench {
    fn new() -> Bench {
        Bench { arena: vec![MARK; 5] }
    }

    /// Room for `rows` pixels of `c` channels with `gap` more floats a pixel.
    fn place(&mut self, rows: usize, c: usize, gap: usize) -> Place {
        let place = Place { at: self.arena.len() + gap / 2, ld: c + gap, c };
        self.arena.resize(self.arena.len() + rows * (c + gap) + 3, MARK);
        place
    }

    fn put(&mut self, place: Place, values: &[f32]) {
        for (row, values) in values.chunks_exact(place.c).enumerate() {
            self.arena[place.at + row * place.ld..][..place.c].copy_from_slice(values);
        }
    }

    fn take(&self, place: Place, rows: usize) -> Vec<f32> {
        (0..rows).flat_map(|row| self.arena[place.at + row * place.ld..][..place.c].to_vec()).collect()
    }

    /// Runs a step and checks that it wrote to `y` and `scratch` only.
    fn run(
        &mut self,
        y: Place,
        rows: usize,
        scratch: std::ops::Range<usize>,
        step: impl FnOnce(&mut [f32]),
    ) -> Vec<f32> {
        let before = self.arena.clone();
        step(&mut self.arena);
        for (i, (a, b)) in self.arena.iter().zip(&before).enumerate() {
            let own = i >= y.at && i < y.end(rows) && (i - y.at) % y.ld < y.c;
            assert!(own || scratch.contains(&i) || a.to_bits() == b.to_bits(), "wrote to {i}, outside {y:?}");
        }
        self.take(y, rows)
    }
}

#[allow(clippy::cast_possible_truncation)]
fn reference_conv(s: &ConvShape, x: &[f32], w: &[f32], bias: &[f32], activation: Activation) -> Vec<f32> {
    let [x, w, bias] = [x, w, bias].map(|v| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
    let mut y = vec![0.0f64; s.output_len()];
    reference::conv::forward(s, &x, &w, Some(&bias), &mut y);
    y.into_iter().map(|v| reference::activation::apply(activation, v) as f32).collect()
}

fn rows([h, w]: [usize; 2], batch: usize) -> usize {
    batch * h * w
}

fn square(batch: usize, input: [usize; 2], c: [usize; 2], kernel: usize, stride: usize, groups: usize) -> ConvShape {
    let p = kernel / 2;
    ConvShape::new(batch, input, c[0], c[1], [kernel; 2], [stride; 2], [p; 2], [1; 2], groups)
}

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Silu, Activation::HardSwish, Activation::LeakyRelu(0.1), Activation::Relu];

#[test]
fn dense_agrees_with_the_reference() {
    let shapes = [
        square(1, [7, 9], [3, 5], 3, 1, 1),
        square(2, [13, 6], [3, 16], 6, 2, 1),
        square(1, [11, 17], [20, 24], 1, 1, 1),
        square(2, [9, 9], [48, 40], 1, 1, 1),
        square(1, [20, 20], [310, 33], 1, 1, 1),
        square(3, [5, 4], [12, 18], 3, 2, 6),
        square(1, [6, 8], [4, 4], 1, 2, 1),
        ConvShape::new(1, [12, 9], 7, 9, [3, 5], [2, 1], [1, 2], [2, 1], 1),
    ];
    each_isa(|| {
        for (i, s) in shapes.iter().enumerate() {
            let (x, w, b) = (random(1, s.input_len()), random(2, s.weight_len()), random(3, s.c_out));
            for (gap, residual) in [(0, false), (3, true), (16, false)] {
                let activation = ACTIVATIONS[(i + gap) % 5];
                let (x_rows, y_rows) = (rows(s.input, s.batch), rows(s.output, s.batch));
                let mut bench = Bench::new();
                let places = [(x_rows, s.c_in), (y_rows, s.c_out), (y_rows, s.c_out)];
                let [px, py, pr] = places.map(|(rows, c)| bench.place(rows, c, gap));
                bench.put(px, &x);
                let mut want = reference_conv(s, &x, &w, &b, activation);
                if residual {
                    let r = random(4, s.output_len());
                    bench.put(pr, &r);
                    want.iter_mut().zip(&r).for_each(|(y, r)| *y += r);
                }
                let weights = Arc::new(PackedConv::new(s, &w));
                let bias = padded_bias(s, Some(&b));
                let step = Dense::new(s, weights, bias, activation, px, py, residual.then_some(pr), None);
                let got = bench.run(py, y_rows, 0..0, |arena| step.run(arena));
                close(&got, &want, &format!("{s:?} {activation:?}"));
            }
        }
    });
}

#[test]
fn taps_of_other_vectors_are_refused() {
    // Seven channels fill no vector: wider ones would be read past the end.
    let s = square(1, [4, 4], [7, 7], 3, 1, 7);
    let (w, made) = (random(2, s.weight_len()), RefCell::new(Vec::new()));
    each_isa(|| {
        let mut made = made.borrow_mut();
        let mut bench = Bench::new();
        let [px, py] = [0, 1].map(|_| bench.place(16, 7, 0));
        made.push((
            lanes(),
            Depthwise::new(&s, Taps::new(&w, None, 7), Activation::Relu, px, py, None, None),
            bench.arena,
        ));
        for (of, step, arena) in made.iter_mut() {
            let ran = catch_unwind(AssertUnwindSafe(|| step.run(arena)));
            assert_eq!(ran.is_ok(), *of == lanes(), "taps of {of} lanes, run with {}", lanes());
        }
    });
}

#[test]
fn a_head_level_has_class_scores_where_an_object_may_be() {
    // Pixels, input channels, anchors, classes; the second has a reduction of several blocks.
    let shapes = [(1, 3, 1, 1), (35, 310, 3, 80), (200, 24, 3, 7), (1300, 64, 2, 17), (50, 20, 3, 0)];
    each_isa(|| {
        for (pixels, c_in, anchors, nc) in shapes {
            let values = 5 + nc;
            let s = square(1, [1, pixels], [c_in, anchors * values], 1, 1, 1);
            let (x, w, b) = (random(1, s.input_len()), random(2, s.weight_len()), random(3, s.c_out));
            let want = reference_conv(&s, &x, &w, &b, Activation::Identity);
            let weights = Arc::new(DetectWeights::new(&w, Some(&b), c_in, nc));
            let mut objectness: Vec<f32> = want.iter().skip(4).step_by(values).copied().collect();
            objectness.sort_by(f32::total_cmp);
            // Between two values, so that rounding decides nothing.
            let middle = objectness[objectness.len() * 2 / 3..].windows(2).next().map_or(0.0, |v| (v[0] + v[1]) / 2.0);
            for (least, gap) in [(f32::NEG_INFINITY, 0), (middle, 3), (f32::INFINITY, 16)] {
                let mut bench = Bench::new();
                let [px, py] = [c_in, anchors * values].map(|c| bench.place(pixels, c, gap));
                bench.put(px, &x);
                let step = DetectConv::new(pixels, Arc::clone(&weights), px, py);
                let mut got = bench.run(py, pixels, 0..0, |arena| step.run(arena, least));
                for (got, want) in got.chunks_exact_mut(values).zip(want.chunks_exact(values)) {
                    if want[4] <= least {
                        assert!(got[5..].iter().all(|&v| v == MARK), "scores where no object may be");
                        got[5..].copy_from_slice(&want[5..]);
                    }
                }
                close(&got, &want, &format!("{pixels} pixels, {c_in} channels, {anchors} x {values}, least {least}"));
            }
        }
    });
}

#[test]
fn an_objectness_that_is_not_a_number_gets_class_scores() {
    let (w, b) = ([1.0; 7], [0.0, 0.0, 0.0, 0.0, f32::NAN, 2.0, 3.0]);
    let mut bench = Bench::new();
    let [px, py] = [1, 7].map(|c| bench.place(1, c, 0));
    bench.put(px, &[1.0]);
    let step = DetectConv::new(1, Arc::new(DetectWeights::new(&w, Some(&b), 1, 2)), px, py);
    let got = bench.run(py, 1, 0..0, |arena| step.run(arena, 0.0));
    assert!(got[4].is_nan());
    assert_eq!(got[5..], [3.0, 4.0]);
}

#[test]
fn a_residual_may_lie_where_the_output_goes() {
    let s = square(1, [6, 5], [8, 10], 3, 1, 1);
    let (x, w, r) = (random(1, s.input_len()), random(2, s.weight_len()), random(4, s.output_len()));
    let mut bench = Bench::new();
    let (px, py) = (bench.place(30, 8, 0), bench.place(30, 10, 2));
    bench.put(px, &x);
    bench.put(py, &r);
    let mut want = reference_conv(&s, &x, &w, &[0.0; 10], Activation::Relu);
    want.iter_mut().zip(&r).for_each(|(y, r)| *y += r);
    let weights = Arc::new(PackedConv::new(&s, &w));
    let step = Dense::new(&s, weights, padded_bias(&s, None), Activation::Relu, px, py, Some(py), None);
    close(&bench.run(py, 30, 0..0, |arena| step.run(arena)), &want, "in place");
}

#[test]
fn squeeze_and_excite_agrees_with_its_formula() {
    each_isa(|| {
        for (c, r, n, side, gap, from_map) in
            [(20, 5, 2, 9, 4, true), (72, 18, 1, 30, 0, false), (336, 84, 3, 4, 1, true)]
        {
            let pixels = side * side;
            let (x, w1, b1) = (random(1, n * pixels * c), random(2, r * c), random(3, r));
            let (w2, b2) = (random(4, r * c), random(5, c));
            let mut gate = vec![0.0f32; n * c];
            for image in 0..n {
                let mean = |ch: usize| {
                    let values = x[image * pixels * c + ch..(image + 1) * pixels * c].iter().step_by(c);
                    values.map(|&v| f64::from(v)).sum::<f64>() / pixels as f64
                };
                let mean: Vec<f64> = (0..c).map(mean).collect();
                let dot = |w: &[f32], x: &[f64]| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>();
                let hidden: Vec<f64> =
                    (0..r).map(|i| (dot(&w1[i * c..(i + 1) * c], &mean) + f64::from(b1[i])).max(0.0)).collect();
                for ch in 0..c {
                    let v = dot(&w2[ch * r..(ch + 1) * r], &hidden) + f64::from(b2[ch]);
                    #[allow(clippy::cast_possible_truncation)]
                    let v = reference::activation::apply(Activation::HardSigmoid, v) as f32;
                    gate[image * c + ch] = v;
                }
            }
            let parts = if from_map { Squeeze::map_parts(pixels) } else { 3 };
            let mut bench = Bench::new();
            let map = bench.place(n * pixels, c, gap);
            bench.put(map, &x);
            let sums = bench.place(n * parts, c, 0);
            if !from_map {
                // Rows of each image dealt to three parts.
                let mut dealt = vec![0.0; n * parts * c];
                for (row, values) in x.chunks_exact(c).enumerate() {
                    let (image, part) = (row / pixels, row % 3);
                    let to = &mut dealt[(image * parts + part) * c..][..c];
                    to.iter_mut().zip(values).for_each(|(t, v)| *t += v);
                }
                bench.put(sums, &dealt);
            }
            let work = bench.place(1, Squeeze::work_len(n, c, r), 0);
            let place = bench.place(n, c, 0);
            let linear = |w: &[f32], b: &[f32]| Linear { weight: w.into(), bias: b.into() };
            let step = Squeeze {
                images: n,
                pixels,
                c,
                reduce: linear(&w1, &b1),
                expand: linear(&w2, &b2),
                sums: sums.at,
                parts,
                map: from_map.then_some(map),
                work: work.at,
                gate: place.at,
            };
            let scratch = sums.at..work.end(1);
            let got = bench.run(place, n, scratch, |arena| step.run(arena));
            close(&got, &gate, "gate");

            // The product on its own, and as part of a 1x1 convolution.
            for activation in [Activation::Identity, Activation::HardSwish] {
                let product: Vec<f32> = x
                    .iter()
                    .enumerate()
                    .map(|(i, v)| v * gate[i / (pixels * c) * c + i % c])
                    .map(|v| reference::activation::apply(activation, v))
                    .collect();
                let s = square(n, [side; 2], [c, 17], 1, 1, 1);
                let w = random(6, s.weight_len());
                let want = reference_conv(&s, &product, &w, &[0.0; 17], Activation::Identity);
                let y = bench.place(n * pixels, 17, 2);
                let weights = Arc::new(PackedConv::new(&s, &w));
                let g = Gate { at: place.at, activation };
                let bias = padded_bias(&s, None);
                let conv = Dense::new(&s, weights, bias, Activation::Identity, map, y, None, Some(g));
                let got = bench.run(y, n * pixels, 0..0, |arena| conv.run(arena));
                close(&got, &want, "gated convolution");
                let y = bench.place(n * pixels, c, 3);
                let scale = Scale { images: n, pixels, x: map, y, gate: place.at, activation };
                let got = bench.run(y, n * pixels, 0..0, |arena| scale.run(arena));
                close(&got, &product, "scaled map");
            }
        }
    });
}

#[test]
fn depthwise_agrees_with_the_reference_with_and_without_expansion() {
    let dilated = ConvShape::new(1, [9, 12], 10, 10, [3, 3], [1, 2], [2, 2], [2, 2], 10);
    let shapes = [
        square(1, [7, 9], [5, 5], 3, 1, 5),
        square(2, [16, 13], [24, 24], 3, 2, 24),
        square(1, [20, 20], [72, 72], 5, 1, 72),
        square(1, [21, 18], [40, 40], 5, 2, 40),
        square(2, [3, 2], [33, 33], 7, 1, 33),
        square(1, [40, 40], [200, 200], 3, 1, 200),
        dilated,
    ];
    each_isa(|| {
        for (i, s) in shapes.iter().enumerate() {
            let (w, b) = (random(2, s.weight_len()), random(3, s.c_in));
            for (gap, narrow) in [(0, None), (5, None), (0, Some(6)), (3, Some(20))] {
                let activations = [ACTIVATIONS[i % 5], ACTIVATIONS[(i + gap + 1) % 5]];
                let (x_rows, y_rows) = (rows(s.input, s.batch), rows(s.output, s.batch));
                let c_in = narrow.unwrap_or(s.c_in);
                let x = random(1, x_rows * c_in);
                let mut bench = Bench::new();
                let (px, py) = (bench.place(x_rows, c_in, gap), bench.place(y_rows, s.c_in, gap));
                bench.put(px, &x);
                let mut wide = x.clone();
                let expand = narrow.map(|c_in| {
                    let e = square(s.batch, s.input, [c_in, s.c_in], 1, 1, 1);
                    let (w, b) = (random(6, e.weight_len()), random(7, s.c_in));
                    wide = reference_conv(&e, &x, &w, &b, activations[0]);
                    let weights = Arc::new(PackedConv::new(&e, &w));
                    Expand { shape: e, weights, bias: padded_bias(&e, Some(&b)), activation: activations[0] }
                });
                let want = reference_conv(s, &wide, &w, &b, activations[1]);
                let parts = Depthwise::parts(s, narrow.is_some());
                let sums = bench.place(s.batch * parts, s.c_in, 0);
                let taps = Taps::new(&w, Some(&b), s.c_in);
                let step = Depthwise::new(s, taps, activations[1], px, py, expand, None).with_sums(sums.at);
                let scratch = sums.at..sums.end(s.batch * parts);
                let got = bench.run(py, y_rows, scratch, |arena| step.run(arena));
                close(&got, &want, &format!("{s:?} from {c_in}"));
                let sums = bench.take(sums, s.batch * parts);
                for ch in 0..s.c_in {
                    let total: f32 = sums.iter().skip(ch).step_by(s.c_in).sum();
                    let want: f32 = want.iter().skip(ch).step_by(s.c_in).sum();
                    assert!(
                        (total - want).abs() < 1e-3 * (1.0 + want.abs()),
                        "{s:?}: sum of channel {ch}: {total}, {want}"
                    );
                }
            }
        }
    });
}

#[test]
fn depthwise_agrees_with_the_reference_between_two_convolutions() {
    // The convolution before, the depthwise one, and channels after it.
    let first = |input: [usize; 2], c, kernel| square(1, input, [3, c], kernel, 2, 1);
    let wide = |s: &ConvShape, k, stride| {
        let c = s.c_out;
        square(s.batch, s.output, [c, c], k, stride, c)
    };
    let unpadded = ConvShape::new(2, [23, 30], 3, 12, [3, 4], [2, 1], [0, 2], [1, 2], 1);
    let narrow = square(2, [14, 11], [12, 72], 1, 1, 1);
    let large = square(1, [64, 61], [16, 200], 1, 1, 1);
    let stem = first([75, 62], 16, 3);
    let cases = [
        (Some(stem), wide(&stem, 3, 2), None),
        (Some(stem), wide(&stem, 5, 1), Some(20)),
        (Some(first([19, 40], 40, 6)), wide(&first([19, 40], 40, 6), 3, 1), Some(7)),
        (Some(unpadded), wide(&unpadded, 3, 1), None),
        (Some(narrow), wide(&narrow, 3, 2), Some(24)),
        (Some(large), wide(&large, 3, 1), Some(17)),
        (None, square(2, [31, 33], [35, 35], 3, 1, 35), Some(35)),
        (None, square(1, [40, 40], [130, 130], 5, 2, 130), Some(66)),
    ];
    each_isa(|| {
        for (i, (before, s, after)) in cases.iter().enumerate() {
            let weights = |s: &ConvShape, seed| (random(seed, s.weight_len()), random(seed + 1, s.c_out));
            let [a, b, c] = [0, 1, 2].map(|j| ACTIVATIONS[(i + j) % 5]);
            let source = before.as_ref().unwrap_or(s);
            let x = random(1, source.input_len());
            let (x_rows, y_rows) = (rows(source.input, s.batch), rows(s.output, s.batch));
            let mut bench = Bench::new();
            let channels = after.unwrap_or(s.c_out);
            let (px, py) = (bench.place(x_rows, source.c_in, i), bench.place(y_rows, channels, 8 - i));
            let pr = bench.place(y_rows, channels, 2);
            bench.put(px, &x);
            let mut want = x;
            let expand = before.as_ref().map(|e| {
                let (w, bias) = weights(e, 2);
                want = reference_conv(e, &want, &w, &bias, a);
                let weights = Arc::new(PackedConv::new(e, &w));
                Expand { shape: *e, weights, bias: padded_bias(e, Some(&bias)), activation: a }
            });
            let (w, bias) = weights(s, 4);
            want = reference_conv(s, &want, &w, &bias, b);
            let taps = Taps::new(&w, Some(&bias), s.c_in);
            let project = after.map(|n| {
                let e = square(s.batch, s.output, [s.c_in, n], 1, 1, 1);
                let (w, bias) = weights(&e, 6);
                want = reference_conv(&e, &want, &w, &bias, c);
                let residual = (i % 2 == 0).then_some(pr);
                if residual.is_some() {
                    let r = random(8, want.len());
                    bench.put(pr, &r);
                    want.iter_mut().zip(&r).for_each(|(y, r)| *y += r);
                }
                let weights = Arc::new(PackedConv::new(&e, &w));
                Project { weights, bias: padded_bias(&e, Some(&bias)), activation: c, residual }
            });
            let step = Depthwise::new(s, taps, b, px, py, expand, project);
            let got = bench.run(py, y_rows, 0..0, |arena| step.run(arena));
            close(&got, &want, &format!("{before:?}, {s:?}, {after:?}"));
        }
    });
}

#[test]
fn winograd_agrees_with_the_reference() {
    let shapes = [
        square(1, [8, 16], [16, 16], 3, 1, 1),
        square(2, [13, 10], [24, 40], 3, 1, 1),
        square(1, [20, 20], [130, 128], 3, 1, 1),
        square(1, [41, 38], [19, 21], 3, 1, 1),
        ConvShape::new(1, [14, 15], 16, 18, [3, 3], [1, 1], [0, 2], [1, 1], 1),
        square(1, [32, 32], [48, 48], 3, 2, 1),
        square(2, [29, 22], [50, 64], 3, 2, 1),
        square(1, [40, 40], [128, 130], 3, 2, 1),
        ConvShape::new(1, [30, 33], 64, 51, [3, 3], [2, 2], [0, 2], [1, 1], 1),
    ];
    each_isa(|| {
        for (i, s) in shapes.iter().enumerate() {
            assert!(Winograd::suits(s), "{s:?}");
            let (x, w, b) = (random(1, s.input_len()), random(2, s.weight_len()), random(3, s.c_out));
            let activation = ACTIVATIONS[i % ACTIVATIONS.len()];
            let (x_rows, y_rows) = (rows(s.input, s.batch), rows(s.output, s.batch));
            let mut bench = Bench::new();
            let [px, py, pr] =
                [(x_rows, s.c_in), (y_rows, s.c_out), (y_rows, s.c_out)].map(|(rows, c)| bench.place(rows, c, i));
            let r = random(4, s.output_len());
            bench.put(px, &x);
            bench.put(pr, &r);
            let mut want = reference_conv(s, &x, &w, &b, activation);
            want.iter_mut().zip(&r).for_each(|(y, r)| *y += r);
            let work = bench.place(1, Winograd::work_len(s).max(1), 0);
            let weights = Arc::new(WinogradWeights::new(s, &w));
            let bias = padded_bias(s, Some(&b));
            let step = Winograd::new(s, weights, bias, activation, px, py, Some(pr), work.at);
            let got = bench.run(py, y_rows, work.at..work.end(1), |arena| step.run(arena));
            close(&got, &want, &format!("{s:?}"));
        }
    });
}

#[test]
fn maps_agree_with_their_whole_counterparts() {
    each_isa(|| {
        for (c, gap) in [(8, 0), (13, 6), (3, 1)] {
            let (n, h, w) = (2, 6, 8);
            let x = random(1, n * h * w * c);
            let mut bench = Bench::new();
            let px = bench.place(n * h * w, c, gap);
            bench.put(px, &x);
            let pool = PoolShape { input: [n, h, w, c], kernel: 5, stride: 1, padding: 2 };
            let mut want = vec![0.0; n * h * w * c];
            crate::pooling::max_pool_forward(&pool, &x, &mut want, None);
            let y = bench.place(n * h * w, c, gap);
            let step = Pool::new(pool, px, y);
            assert_eq!(bench.run(y, n * h * w, 0..0, |a| step.run(a)), want);

            let mut want = vec![0.0; 4 * n * h * w * c];
            crate::elementwise::upsample_nearest(&x, [n, h, w, c], 2, &mut want);
            let y = bench.place(4 * n * h * w, c, gap);
            let step = Repeat::new([n, h, w], 2, px, y);
            assert_eq!(bench.run(y, 4 * n * h * w, 0..0, |a| step.run(a)), want);

            let mut want = vec![0.0; n * h * w * c];
            crate::elementwise::space_to_depth(&x, [n, h, w, c], &mut want);
            let y = bench.place(n * h * w / 4, 4 * c, gap);
            let step = Focus::new([n, h, w], px, y);
            assert_eq!(bench.run(y, n * h * w / 4, 0..0, |a| step.run(a)), want);

            let padding = Padding { left: 1, right: 2, top: 0, bottom: 3 };
            let mut want = vec![0.0; n * (h + 3) * (w + 3) * c];
            crate::elementwise::zero_pad(&x, [n, h, w, c], padding, &mut want);
            let y = bench.place(n * (h + 3) * (w + 3), c, gap);
            let step = ZeroBorder::new([n, h, w], padding, px, y);
            assert_eq!(bench.run(y, n * (h + 3) * (w + 3), 0..0, |a| step.run(a)), want);

            let factors: Arc<[f32]> = random(2, 2 * c).into();
            let scaled = |(i, v): (usize, &f32)| v * factors[i % c] + factors[c + i % c];
            let want: Vec<f32> =
                x.iter().enumerate().map(scaled).map(|v| reference::activation::apply(Activation::Silu, v)).collect();
            let y = bench.place(n * h * w, c, gap);
            let step = Affine::new(n * h * w, Some(Arc::clone(&factors)), Activation::Silu, px, y);
            close(&bench.run(y, n * h * w, 0..0, |a| step.run(a)), &want, "scale and shift");

            let mut want = bench.take(y, n * h * w);
            want.iter_mut().zip(&x).for_each(|(y, x)| *y += x);
            let step = Sum::new(n * h * w, px, y);
            assert_eq!(bench.run(y, n * h * w, 0..0, |a| step.run(a)), want);
        }
    });
}

#[test]
fn steps_give_the_same_bits_on_any_number_of_threads() {
    let s = square(1, [40, 36], [32, 48], 3, 1, 1);
    let d = square(1, [40, 36], [96, 96], 5, 2, 96);
    same_bits(|| {
        let mut bench = Bench::new();
        let x = bench.place(40 * 36, 32, 0);
        bench.put(x, &random(1, s.input_len()));
        let (y, z) = (bench.place(40 * 36, 48, 0), bench.place(20 * 18, 96, 0));
        let work = bench.place(1, Winograd::work_len(&s) + 1, 0);
        let sums = bench.place(Depthwise::parts(&d, true), 96, 0);
        let weights = Arc::new(WinogradWeights::new(&s, &random(2, s.weight_len())));
        let bias = padded_bias(&s, None);
        Winograd::new(&s, weights, bias, Activation::Silu, x, y, None, work.at).run(&mut bench.arena);
        let halved = square(1, [40, 36], [48, 64], 3, 2, 1);
        let (half, work) = (bench.place(20 * 18, 64, 0), bench.place(1, Winograd::work_len(&halved), 0));
        let weights = Arc::new(WinogradWeights::new(&halved, &random(5, halved.weight_len())));
        let bias = padded_bias(&halved, None);
        Winograd::new(&halved, weights, bias, Activation::Silu, y, half, None, work.at).run(&mut bench.arena);
        let e = square(1, [40, 36], [48, 96], 1, 1, 1);
        let weights = Arc::new(PackedConv::new(&e, &random(3, e.weight_len())));
        let expand = Expand { shape: e, weights, bias: padded_bias(&e, None), activation: Activation::HardSwish };
        let taps = Taps::new(&random(4, d.weight_len()), None, 96);
        let fused = |expand| Depthwise::new(&d, taps.clone(), Activation::Relu, y, z, expand, None).with_sums(sums.at);
        fused(Some(expand.clone())).run(&mut bench.arena);
        let narrow = square(1, [20, 18], [96, 24], 1, 1, 1);
        let weights = Arc::new(PackedConv::new(&narrow, &random(6, narrow.weight_len())));
        let project =
            Project { weights, bias: padded_bias(&narrow, None), activation: Activation::Identity, residual: None };
        let last = bench.place(20 * 18, 24, 0);
        Depthwise::new(&d, taps, Activation::Relu, y, last, Some(expand), Some(project)).run(&mut bench.arena);
        bench.arena
    });
}

#[test]
fn places_know_where_they_overlap() {
    let place = |at, ld, c| Place { at, ld, c };
    assert!(place(0, 4, 4).apart(3, &place(12, 4, 4), 3));
    assert!(!place(0, 4, 4).apart(3, &place(11, 4, 4), 3));
    // Channels 0..2 and 2..5 of pixels of five.
    assert!(place(10, 5, 2).apart(7, &place(12, 5, 3), 7));
    assert!(!place(10, 5, 3).apart(7, &place(12, 5, 3), 7));
    // The second begins in the first one's next pixel.
    assert!(!place(10, 5, 2).apart(7, &place(14, 5, 3), 7));
    assert!(place(0, 4, 4).apart(0, &place(0, 4, 4), 3));
}
