//! Loss, assignment and gradient against the reference implementation's numbers.

use kinglet_train::assign::{Level, Target, assign};
use kinglet_train::hyp::Hyp;
use kinglet_train::loss::{Loss, LossOptions};
use serde_json::Value;

use crate::golden;

/// Name of the case, layer index of its detection head.
pub const CASES: [(&str, usize); 4] =
    [("article_nc2", 30), ("yolov5n_nc4", 24), ("yolov5n_c3_replaced_nc3", 24), ("yolov5n_layer_added_nc3", 25)];

const STRIDES: [usize; 3] = [8, 16, 32];

/// The stock anchors in pixels.
const ANCHORS: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];

/// A reference batch.
pub struct Case {
    pub json: Value,
    levels: Vec<Level>,
    raw: Vec<Vec<f32>>,
    pub targets: Vec<Target>,
    pub classes: usize,
    bias_grads: Vec<Vec<f32>>,
}

/// Reads a case, or `None` where the golden data is absent.
pub fn load(name: &str, head: usize) -> Option<Case> {
    let json = golden::json(&format!("{name}/case.json"))?;
    let tensors = golden::tensors(&format!("{name}/case.safetensors"))?;
    let (mut levels, mut raw, mut bias_grads, mut classes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (index, stride) in STRIDES.iter().enumerate() {
        let (shape, values) = &tensors[&format!("train.raw.{index}")]; // [N, A, H, W, 5 + C]
        let [n, a, h, w, no] = shape[..] else { panic!("five axes") };
        let mut nhwc = vec![0.0; values.len()];
        for (at, &value) in values.iter().enumerate() {
            let (k, x, y, anchor, image) =
                (at % no, at / no % w, at / (no * w) % h, at / (no * w * h) % a, at / (no * w * h * a));
            nhwc[((image * h + y) * w + x) * a * no + anchor * no + k] = value;
        }
        assert_eq!(n, 2);
        raw.push(nhwc);
        classes = no - 5;
        let anchors = ANCHORS[index].map(|[w, h]| [w / *stride as f32, h / *stride as f32]).to_vec();
        levels.push(Level { height: h, width: w, anchors });
        bias_grads.push(tensors[&format!("grad.model.{head}.m.{index}.bias")].1.clone());
    }
    let targets = tensors["targets"].1.chunks_exact(6);
    let targets = targets
        .map(|t| Target { image: t[0] as usize, class: t[1] as usize, cxcywh: [t[2], t[3], t[4], t[5]] })
        .collect();
    Some(Case { json, levels, raw, targets, classes, bias_grads })
}

/// Options of a case: its gains are scaled already.
pub fn options(case: &Case) -> LossOptions {
    let hyp: String = case.json["hyp"].as_object().unwrap().iter().map(|(k, v)| format!("{k}: {v}\n")).collect();
    LossOptions::unscaled(&Hyp::parse(&hyp, "case.json").unwrap())
}

#[test]
fn assigned_targets_equal_the_reference_in_order() {
    for (name, head) in CASES {
        let Some(case) = load(name, head) else { return };
        let assigned = assign(&case.targets, &case.levels, 4.0);
        for (level, (got, want)) in assigned.iter().zip(case.json["assigned"].as_array().unwrap()).enumerate() {
            let cells: Vec<Value> =
                got.iter().map(|a| serde_json::json!([a.image, a.anchor, a.row, a.column])).collect();
            assert_eq!(Value::from(cells), want["img_anchor_gj_gi"], "{name} level {level}");
            let classes: Vec<usize> = got.iter().map(|a| a.class).collect();
            assert_eq!(Value::from(classes), want["class"], "{name} level {level}");
            for (i, a) in got.iter().enumerate() {
                for (got, want) in a.box_cells.iter().zip(golden::numbers(&want["box_xywh_cells"][i])) {
                    assert!((f64::from(*got) - want).abs() < 1e-5, "{name} level {level} box {i}: {got} {want}");
                }
                let want = golden::numbers(&want["anchor_cells"][i]);
                assert_eq!(a.anchor_cells.map(f64::from).to_vec(), want);
                assert_eq!(a.class, case.targets[a.target].class);
            }
        }
    }
}

#[test]
fn loss_and_head_bias_gradient_equal_the_reference() {
    for (name, head) in CASES {
        let Some(case) = load(name, head) else { return };
        let mut loss = Loss::new(options(&case), case.classes, &STRIDES);
        let raw: Vec<&[f32]> = case.raw.iter().map(Vec::as_slice).collect();
        let mut grads: Vec<Vec<f32>> = case.raw.iter().map(|r| vec![f32::NAN; r.len()]).collect();
        let parts = loss.compute(&raw, 2, &case.levels, &case.targets, Some(&mut grads), 1.0).unwrap();
        let without = loss.compute(&raw, 2, &case.levels, &case.targets, None, 1.0).unwrap();
        assert_eq!(parts, without, "{name}: the value does not depend on whether gradients are asked for");

        let want = golden::numbers(&case.json["loss_box_obj_cls"]);
        let total = case.json["loss_total"].as_f64().unwrap();
        for (got, want) in [(parts.total, total), (parts.box_, want[0]), (parts.obj, want[1]), (parts.cls, want[2])] {
            assert!((got - want).abs() < 1e-5 * want.abs(), "{name}: {got} {want}");
        }
        for (level, want) in case.bias_grads.iter().enumerate() {
            let mut got = vec![0.0f64; want.len()];
            for (at, &g) in grads[level].iter().enumerate() {
                got[at % want.len()] += f64::from(g);
            }
            let error: f64 = got.iter().zip(want).map(|(g, w)| (g - f64::from(*w)).powi(2)).sum();
            let norm: f64 = want.iter().map(|w| f64::from(*w).powi(2)).sum();
            assert!(error.sqrt() < 1e-4 * norm.sqrt(), "{name} level {level}: {got:?} {want:?}");
        }
    }
}

#[test]
fn a_gradient_scale_multiplies_the_gradient_only() {
    let Some(case) = load(CASES[0].0, CASES[0].1) else { return };
    let mut loss = Loss::new(options(&case), case.classes, &STRIDES);
    let raw: Vec<&[f32]> = case.raw.iter().map(Vec::as_slice).collect();
    let mut run = |scale| {
        let mut grads: Vec<Vec<f32>> = case.raw.iter().map(|r| vec![0.0; r.len()]).collect();
        (loss.compute(&raw, 2, &case.levels, &case.targets, Some(&mut grads), scale).unwrap(), grads)
    };
    let ((one, grads), (quarter, scaled)) = (run(1.0), run(0.25));
    assert_eq!(one, quarter);
    for (g, s) in grads.concat().iter().zip(scaled.concat()) {
        assert!((g * 0.25 - s).abs() <= 1e-6 * g.abs(), "{g} {s}");
    }
}
