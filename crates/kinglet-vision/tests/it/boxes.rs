//! Boxes and their overlap.

use kinglet_vision::boxes::{area, clip, cxcywh_to_xyxy, iou, xyxy_to_cxcywh};
use proptest::prelude::*;

/// Single precision in another order of operations.
const ACCUMULATED: f32 = 2e-5;

#[test]
fn worked_values() {
    let (a, b) = ([0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0]);
    assert!((iou(a, b) - 1.0 / 7.0).abs() < 1e-6); // 1 shared of 4 + 4 - 1
    assert_eq!(iou(a, [5.0, 5.0, 6.0, 6.0]), 0.0);
    assert_eq!(iou([1.0; 4], [1.0; 4]), 0.0);
    assert_eq!(area([3.0, 3.0, 1.0, 1.0]), 0.0);
    assert_eq!(clip([-5.0, 2.0, 50.0, 99.0], 20.0, 10.0), [0.0, 2.0, 20.0, 10.0]);
}

#[test]
fn iou_is_that_of_the_golden_table() {
    let Some(table) = crate::golden_numbers("ciou") else { return };
    let rows = |key: &str| -> Vec<[f32; 4]> {
        let row = |v: &serde_json::Value| std::array::from_fn(|i| v[i].as_f64().unwrap() as f32);
        table[key].as_array().unwrap().iter().map(row).collect()
    };
    let values =
        |key: &str| -> Vec<f32> { table[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect() };
    let (predictions, targets) = (rows("pred_cxcywh"), rows("target_cxcywh"));
    let ious = values("iou");
    assert!(!ious.is_empty());
    for (i, (&p, &t)) in predictions.iter().zip(&targets).enumerate() {
        let (p, t) = (cxcywh_to_xyxy(p), cxcywh_to_xyxy(t));
        assert!((iou(p, t) - ious[i]).abs() < ACCUMULATED, "row {i}: IoU {} expected {}", iou(p, t), ious[i]);
    }
}

fn a_box() -> impl Strategy<Value = [f32; 4]> {
    (0f32..100.0, 0f32..100.0, 0.5f32..50.0, 0.5f32..50.0).prop_map(|(x, y, w, h)| [x, y, x + w, y + h])
}

proptest! {
    #[test]
    fn iou_is_symmetric_bounded_and_one_on_itself(a in a_box(), b in a_box()) {
        prop_assert!((iou(a, b) - iou(b, a)).abs() < 1e-6);
        prop_assert!((0.0..=1.0).contains(&iou(a, b)));
        prop_assert!((iou(a, a) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn box_forms_convert_there_and_back(a in a_box()) {
        let back = cxcywh_to_xyxy(xyxy_to_cxcywh(a));
        prop_assert!(back.iter().zip(a).all(|(x, y)| (x - y).abs() < 1e-4));
    }
}
