//! Ten optimiser steps of four models against PyTorch: loss, gradients, clipping, SGD, EMA and BatchNorm statistics.

use crate::golden::{folder, json, numbers, tensors};
use crate::loss_golden::{CASES, load, options};
use kinglet_nn::{Model, WeightsFile};
use kinglet_spec::ResolveOptions;
use kinglet_tensor::{Gradients, Mode, ParamKind, Session};
use kinglet_train::assign::Level;
use kinglet_train::ema::Ema;
use kinglet_train::loss::Loss;
use kinglet_train::optim::{Optim, OptimKind, ParamGroup, clip_scale};

/// Loss and its parts, relative.
const LOSS: f64 = 1e-4;
/// Gradients, relative in norm.
const GRADIENT: f64 = 1e-3;

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// The model file of a case, as its own golden folder or the zoo has it.
fn model(name: &str, nc: usize) -> Model {
    let golden = folder().expect("the caller has found it");
    let text = match name {
        "article_nc2" => std::fs::read_to_string(golden.join("article_nc2/model.yaml")).unwrap(),
        "yolov5n_nc4" => {
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../zoo/models/yolov5n.yaml")).unwrap()
        }
        other => json("variants.json").unwrap()[other.rsplit_once('_').unwrap().0].to_string(),
    };
    let options = ResolveOptions { nc: Some(nc), ..Default::default() };
    let mut model = Model::from_yaml(&text, name, &options).unwrap_or_else(|e| panic!("{e}"));
    model.params.initialise(0);
    let weights = WeightsFile::load(&golden.join(name).join("weights.safetensors")).unwrap();
    assert!(weights.transfer(&mut model).complete(), "{name}");
    model
}

/// Relative difference, with an absolute floor for values that are rounding noise in the reference.
fn assert_near(got: f64, want: f64, tolerance: f64, floor: f64, what: &str) {
    assert!((got - want).abs() <= tolerance * want.abs() + floor, "{what}: {got} instead of {want}");
}

#[test]
fn ten_steps_follow_the_reference() {
    for (name, head) in CASES {
        let Some(case) = load(name, head) else { return };
        let tensors = tensors(&format!("{name}/case.safetensors")).unwrap();
        let images = &tensors["images"];
        let [n, c, h, w] = images.0[..].try_into().unwrap();
        let pixels: Vec<f32> = (0..n * h * w)
            .flat_map(|i| (0..c).map(move |ch| (i, ch)))
            .map(|(i, ch)| images.1[(i / (h * w) * c + ch) * h * w + i % (h * w)])
            .collect();
        let nc = case.classes;
        let mut model = model(name, nc);
        let recording = model.record(n, [h, w]).unwrap();
        let head = model.head();
        let levels: Vec<Level> = recording
            .head_shapes()
            .iter()
            .zip(head.anchors.iter().zip(&head.strides))
            .map(|(s, (anchors, &stride))| Level {
                height: s.h,
                width: s.w,
                anchors: anchors.iter().map(|a| a.map(|v| v / stride as f32)).collect(),
            })
            .collect();
        let mut loss = Loss::new(options(&case), nc, &head.strides);
        let groups: Vec<ParamGroup> = model
            .params
            .iter()
            .map(|(_, p)| match p.kind {
                ParamKind::Bias => ParamGroup::Bias,
                ParamKind::NormWeight => ParamGroup::Norm,
                ParamKind::Weight | ParamKind::Statistic => ParamGroup::Weight,
            })
            .collect();
        let sizes: Vec<usize> = model.params.iter().map(|(_, p)| p.len()).collect();
        let mut optim = Optim::new(OptimKind::Sgd, &sizes, &groups, 0.937, 0.0005);
        let statistics: Vec<bool> = model.params.iter().map(|(_, p)| p.kind == ParamKind::Statistic).collect();
        statistics.iter().enumerate().for_each(|(i, &s)| optim.set_frozen(i, s));
        let mut ema = Ema::new(model.params.values().to_vec());
        let mut session = Session::default();
        let mut grads = Gradients::new(&model.params, |_| true);
        let mut outputs: Vec<Vec<f32>> = recording.head_shapes().iter().map(|s| vec![0.0; s.len()]).collect();
        let trace = case.json["sgd_steps"]["trace"].as_array().unwrap();
        for (step, want) in trace.iter().enumerate() {
            session.forward(&recording.graph, &mut model.params, &pixels, Mode::TRAIN);
            let raw: Vec<&[f32]> = recording.graph.outputs().iter().map(|&v| session.value(v)).collect();
            let parts = loss.compute(&raw, n, &levels, &case.targets, Some(&mut outputs), 1.0).unwrap();
            let what = format!("{name} step {step}");
            assert_near(parts.total, want["loss"].as_f64().unwrap(), LOSS, 0.0, &what);
            let want_parts = numbers(&want["box_obj_cls"]);
            for (got, want) in [parts.box_, parts.obj, parts.cls].iter().zip(want_parts) {
                assert_near(*got, want, LOSS * 2.0, 0.0, &what);
            }
            grads.clear();
            let output_grads: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
            session.backward(&recording.graph, &model.params, &mut grads, &output_grads);
            if step == 0 {
                for (id, p) in model.params.iter().filter(|(_, p)| p.kind.learns()) {
                    let want = case.json["grad_norm"][&p.name].as_f64().unwrap_or_else(|| panic!("{name} {}", p.name));
                    // A shift that BatchNorm undoes has a gradient of pure rounding, about 1e-7 in the reference.
                    assert_near(norm(grads.get(id)), want, GRADIENT, 2e-5, &format!("{name} |d {}|", p.name));
                    if let Some(t) = tensors.get(&format!("grad.{}", p.name)) {
                        let difference: Vec<f32> = grads.get(id).iter().zip(&t.1).map(|(a, b)| a - b).collect();
                        let error = norm(&difference);
                        assert!(error <= GRADIENT * norm(&t.1) + 2e-5, "{name} d {}: {error}", p.name);
                    }
                }
            }
            let all: Vec<&[f32]> = grads.values().iter().map(Vec::as_slice).collect();
            let (total, scale) = clip_scale(&all, 10.0);
            assert_near(total, want["grad_norm_before_clip"].as_f64().unwrap(), GRADIENT, 0.0, &what);
            let mut params: Vec<&mut [f32]> = model.params.values_mut().iter_mut().map(Vec::as_mut_slice).collect();
            optim.step(&mut params, &all, [0.01; 3], 0.937, scale);
            ema.update(model.params.values());
        }
        for (kind, values) in [("param_norm", model.params.values()), ("ema_norm", ema.values())] {
            for ((_, p), values) in model.params.iter().zip(values) {
                let want = case.json["sgd_steps"][kind][&p.name].as_f64().unwrap();
                assert_near(norm(values), want, GRADIENT, 1e-5, &format!("{name} {kind} {}", p.name));
            }
        }
    }
}
