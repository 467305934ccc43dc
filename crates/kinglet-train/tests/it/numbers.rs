//! CIoU, schedules, EMA decay and hyperparameter files against reference numbers.

use kinglet_train::ema::EmaRule;
use kinglet_train::hyp::{Hyp, builtin, builtin_names};
use kinglet_train::loss::{LossOptions, ciou};
use kinglet_train::schedule::{
    MIN_WARMUP_ITERATIONS, NOMINAL_BATCH, Rates, Schedule, Warmup, accumulate, scaled_weight_decay,
};

use crate::golden;

#[test]
fn ciou_and_its_gradient_equal_the_reference() {
    let Some(json) = golden::json("numbers.json") else { return };
    let rows =
        |key: &str| -> Vec<Vec<f64>> { json["ciou"][key].as_array().unwrap().iter().map(golden::numbers).collect() };
    let (predicted, wanted, gradients) = (rows("pred_cxcywh"), rows("target_cxcywh"), rows("grad_of_sum_1_minus_ciou"));
    let (ious, cious) = (golden::numbers(&json["ciou"]["iou"]), golden::numbers(&json["ciou"]["ciou"]));
    for i in 0..predicted.len() {
        let boxed = |row: &[f64]| [row[0], row[1], row[2], row[3]];
        let got = ciou(boxed(&predicted[i]), boxed(&wanted[i]));
        // The reference is in f32 with edges near 10: one rounding of an edge is 1e-6 of a narrow overlap.
        assert!((got.iou - ious[i]).abs() < 5e-6, "pair {i}: {got:?} {}", ious[i]);
        assert!((got.value - cious[i]).abs() < 5e-6, "pair {i}: {got:?} {}", cious[i]);
        let size = gradients[i].iter().map(|g| g.abs()).fold(0.0, f64::max);
        for (g, w) in got.gradient.iter().zip(&gradients[i]) {
            assert!((-g - w).abs() < 1e-5 * size + 1e-6, "pair {i}: {got:?} {:?}", gradients[i]);
        }
    }
}

#[test]
fn a_box_shrunk_to_nothing_has_a_finite_ciou() {
    for size in [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]] {
        let got = ciou([0.5, 0.5, size[0], size[1]], [0.4, 0.6, 1.0, 2.0]);
        assert!(got.value.is_finite() && got.gradient.iter().all(|g| g.is_finite()), "{got:?}");
    }
}

#[test]
fn schedules_equal_the_reference() {
    let Some(json) = golden::json("numbers.json") else { return };
    let epochs = json["schedule"]["epochs"].as_u64().unwrap() as usize;
    let lrf = json["schedule"]["lrf"].as_f64().unwrap();
    for (schedule, key) in [(Schedule::Linear, "linear"), (Schedule::Cosine, "cosine")] {
        let want = golden::numbers(&json["schedule"][key]);
        assert_eq!(want.len(), epochs);
        for (epoch, want) in want.iter().enumerate() {
            let got = schedule.factor(epoch, epochs, lrf);
            assert!((got - want).abs() < 1e-12, "{key} epoch {epoch}: {got} {want}");
        }
    }
}

#[test]
fn ema_decay_equals_the_reference() {
    let Some(json) = golden::json("numbers.json") else { return };
    let updates = golden::numbers(&json["ema_decay"]["updates"]);
    for (update, want) in updates.iter().zip(golden::numbers(&json["ema_decay"]["decay"])) {
        assert!((EmaRule::YOLOV5.at(*update as u64) - want).abs() < 1e-12);
    }
}

#[test]
fn warm_up_is_linear_from_its_start_to_the_schedule() {
    let hyp = Hyp::default();
    let warmup = Warmup::new(&hyp, 200, 16, NOMINAL_BATCH, MIN_WARMUP_ITERATIONS); // 3 epochs of 200 batches
    assert_eq!(warmup.iterations, 600);
    assert_eq!(warmup.at(0, 1.0), Rates { lrs: [0.1, 0.0, 0.0], momentum: 0.8, accumulate: 1 });
    let middle = warmup.at(300, 0.5); // towards lr 0.005
    assert!((middle.lrs[0] - 0.0525).abs() < 1e-12 && (middle.lrs[1] - 0.0025).abs() < 1e-12);
    assert_eq!(middle.lrs[1], middle.lrs[2]);
    assert!((middle.momentum - 0.8685).abs() < 1e-12);
    assert_eq!(middle.accumulate, 2); // 1 + 3 / 2 = 2.5, to the even neighbour
    for iteration in [600, 601] {
        let after = warmup.at(iteration, 0.5);
        assert!(after.lrs.iter().all(|lr| (lr - 0.005).abs() < 1e-12) && after.accumulate == 4);
        assert!((after.momentum - 0.937).abs() < 1e-12);
    }
}

#[test]
fn without_a_warm_up_the_first_batch_has_the_usual_rates() {
    let hyp = Hyp { warmup_epochs: 0.0, ..Hyp::default() };
    let rates = Warmup::new(&hyp, 200, 16, NOMINAL_BATCH, 0).at(0, 0.5);
    assert_eq!(rates, Rates { lrs: [0.005; 3], momentum: 0.937, accumulate: 4 });
}

#[test]
fn warm_up_lasts_at_least_100_iterations() {
    assert_eq!(Warmup::new(&Hyp::default(), 4, 16, NOMINAL_BATCH, MIN_WARMUP_ITERATIONS).iterations, 100);
}

#[test]
fn accumulation_fills_up_a_batch_of_64() {
    let cases = [(1, 64), (8, 8), (16, 4), (24, 3), (26, 2), (64, 1), (128, 1), (200, 1)]; // 64/26 = 2.46
    for (batch, want) in cases {
        assert_eq!(accumulate(batch, NOMINAL_BATCH), want, "batch {batch}");
    }
    assert_eq!(scaled_weight_decay(0.0005, 16, NOMINAL_BATCH), 0.0005);
    assert_eq!(scaled_weight_decay(0.0005, 128, NOMINAL_BATCH), 0.001);
    assert!((scaled_weight_decay(0.0005, 24, NOMINAL_BATCH) - 0.0005 * 72.0 / 64.0).abs() < 1e-15);
}

#[test]
fn gains_scale_with_levels_classes_and_image_size() {
    let options = LossOptions::scaled(&Hyp::default(), 4, 20, 320);
    assert!((options.box_gain - 0.05 * 0.75).abs() < 1e-12);
    assert!((options.cls_gain - 0.5 * 0.25 * 0.75).abs() < 1e-12);
    assert!((options.obj_gain - 0.25 * 0.75).abs() < 1e-12);
}

#[test]
fn built_in_files_parse_and_differ_as_the_recipes_do() {
    let load = |name: &str| Hyp::parse(builtin(name).unwrap(), name).unwrap();
    assert_eq!(load("scratch-low"), Hyp::default());
    let med = Hyp { lrf: 0.1, cls: 0.3, obj: 0.7, scale: 0.9, mixup: 0.1, ..Hyp::default() };
    assert_eq!(load("scratch-med"), med);
    assert_eq!(load("hyp.scratch-high.yaml"), Hyp { copy_paste: 0.1, ..med });
    assert_eq!(builtin_names().count(), 3);
    assert!(builtin("scratch").is_none());
    for name in builtin_names() {
        let keys = builtin(name).unwrap().lines().filter(|l| l.contains(':') && !l.starts_with('#')).count();
        assert_eq!(keys, Hyp::default().entries().len(), "`{name}` spells out every key");
    }
}

#[test]
fn a_file_written_reads_back_the_same() {
    let hyp = Hyp { lr0: 1.0 / 3.0, weight_decay: 1e-7, anchors: Some(4), ..Hyp::default() };
    assert_eq!(Hyp::parse(&hyp.to_yaml(), "x").unwrap(), hyp);
}

#[test]
fn missing_keys_and_empty_files_take_the_defaults() {
    assert_eq!(Hyp::parse("", "x").unwrap(), Hyp::default());
    assert_eq!(Hyp::parse("# nothing\n", "x").unwrap(), Hyp::default());
    assert_eq!(Hyp::parse("lr0: 1e-3\nanchors: 0", "x").unwrap(), Hyp { lr0: 1e-3, ..Hyp::default() });
}

#[test]
fn bad_files_are_refused_with_place_and_remedy() {
    let cases = [
        ("lr0: 0.01\nmosiac: 1.0\n", "h.yaml:2:1: unknown hyperparameter `mosiac`; did you mean `mosaic`?"),
        ("colour: 1\n", "h.yaml:1:1: unknown hyperparameter `colour`; see `zoo/hyp/scratch-low.yaml` for all names"),
        ("box: small\n", "h.yaml:1:6: `box`: expected a number, found the text `small`; write for example `box: 0.05`"),
        ("lr0:\n", "h.yaml:1:4: `lr0`: expected a number, found nothing; write for example `lr0: 0.01`"),
        (
            "mixup: 1.5\n",
            "h.yaml:1:8: `mixup`: expected a number from 0 to 1, found `1.5`; \
             correct it or delete the line for the default",
        ),
        (
            "lr0: .nan\n",
            "h.yaml:1:6: `lr0`: expected a number from 0 to 10, found `NaN`; \
             correct it or delete the line for the default",
        ),
        (
            "anchors: many\n",
            "h.yaml:1:10: `anchors`: expected a number, found the text `many`; write for example `anchors: 3.0`",
        ),
        (
            "- 1\n",
            "h.yaml:1:1: expected `key: number` lines, found a list; see `zoo/hyp/scratch-low.yaml` for an example",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(Hyp::parse(text, "h.yaml").unwrap_err().to_string(), want);
    }
    for text in ["lr0: [1", "lr0: 1\nlr0: 2\n", "a: b: c", "lr0: *x", "\t- 1"] {
        let message = Hyp::parse(text, "h.yaml").unwrap_err().to_string();
        assert!(message.starts_with("h.yaml:"), "{message}");
    }
}
