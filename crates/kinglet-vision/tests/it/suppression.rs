//! Non-maximum suppression.

use kinglet_vision::nms::{Detection, NmsOptions, nms, suppress};
use proptest::prelude::*;

/// A row of predictions: centre form, objectness, three class probabilities.
fn row(cx: f32, objectness: f32, classes: [f32; 3]) -> [f32; 8] {
    [cx, 50.0, 20.0, 20.0, objectness, classes[0], classes[1], classes[2]]
}

fn run(rows: &[[f32; 8]], options: &NmsOptions) -> Vec<Detection> {
    nms(&rows.concat(), 3, options)
}

#[test]
fn overlapping_boxes_of_one_class_leave_the_best() {
    let rows = [
        row(50.0, 0.8, [0.9, 0.0, 0.0]),
        row(52.0, 0.9, [0.9, 0.0, 0.0]),
        row(90.0, 0.5, [0.9, 0.0, 0.0]),
        row(51.0, 0.9, [0.0, 0.8, 0.0]),
    ];
    let kept = run(&rows, &NmsOptions::default());
    let brief: Vec<(usize, f32)> = kept.iter().map(|d| (d.class, d.xyxy[0])).collect();
    assert_eq!(brief, [(0, 42.0), (1, 41.0), (0, 80.0)]);
    assert!((kept[0].score - 0.81).abs() < 1e-6);
    let agnostic = run(&rows, &NmsOptions { agnostic: true, ..NmsOptions::default() });
    assert_eq!(agnostic.len(), 2);
}

#[test]
fn objectness_and_score_must_both_exceed_the_threshold() {
    let rows = [
        row(10.0, 0.25, [1.0, 0.0, 0.0]),  // objectness not above
        row(60.0, 0.5, [0.5, 0.0, 0.0]),   // score 0.25 not above
        row(110.0, 0.51, [0.5, 0.0, 0.0]), // 0.255
        row(160.0, f32::NAN, [1.0, 0.0, 0.0]),
        row(f32::NAN, 0.9, [1.0, 0.0, 0.0]),
        row(f32::INFINITY, 0.9, [1.0, 0.0, 0.0]),
    ];
    let kept = run(&rows, &NmsOptions::default());
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].xyxy[0], 100.0);
}

#[test]
fn multi_label_takes_every_class_above_and_the_filter_drops_classes() {
    let rows = [row(50.0, 0.9, [0.9, 0.8, 0.1])];
    assert_eq!(run(&rows, &NmsOptions::default()).len(), 1);
    let multi = NmsOptions { multi_label: true, ..NmsOptions::default() };
    assert_eq!(run(&rows, &multi).iter().map(|d| d.class).collect::<Vec<_>>(), [0, 1]);
    let filtered = NmsOptions { classes: Some(vec![1, 2]), ..multi };
    assert_eq!(run(&rows, &filtered).iter().map(|d| d.class).collect::<Vec<_>>(), [1]);
    // Without multi_label only the best class counts, so the filter empties the cell.
    let best_only = NmsOptions { classes: Some(vec![1]), ..NmsOptions::default() };
    assert!(run(&rows, &best_only).is_empty());
}

#[test]
fn equal_scores_keep_the_order_of_cells_and_the_limits_hold() {
    let rows: Vec<[f32; 8]> = (0..40).map(|i| row(100.0 * i as f32, 0.9, [0.9, 0.0, 0.0])).collect();
    let kept = run(&rows, &NmsOptions { max_det: 7, ..NmsOptions::default() });
    assert_eq!(kept.len(), 7);
    assert!(kept.is_sorted_by(|a, b| a.xyxy[0] < b.xyxy[0]));
    assert_eq!(run(&rows, &NmsOptions { max_candidates: 5, ..NmsOptions::default() }).len(), 5);
    assert!(run(&[], &NmsOptions::default()).is_empty());
}

/// The rule spelled out with the class offset of the common code, in f64.
fn reference(detections: &[Detection], options: &NmsOptions) -> Vec<Detection> {
    let shifted =
        |d: &Detection| d.xyxy.map(|v| f64::from(v) + if options.agnostic { 0.0 } else { 7680.0 * d.class as f64 });
    let mut order: Vec<usize> = (0..detections.len()).collect();
    order.sort_by(|&a, &b| detections[b].score.total_cmp(&detections[a].score).then(a.cmp(&b)));
    let mut kept: Vec<usize> = Vec::new();
    for i in order {
        let a = shifted(&detections[i]);
        let overlaps = kept.iter().any(|&j| {
            let b = shifted(&detections[j]);
            let side = |low: usize, high: usize| (a[high].min(b[high]) - a[low].max(b[low])).max(0.0);
            let shared = side(0, 2) * side(1, 3);
            let size = |x: [f64; 4]| (x[2] - x[0]) * (x[3] - x[1]);
            shared / (size(a) + size(b) - shared) > f64::from(options.iou)
        });
        if !overlaps {
            kept.push(i);
        }
    }
    kept.into_iter().take(options.max_det).map(|i| detections[i]).collect()
}

fn detections() -> impl Strategy<Value = Vec<Detection>> {
    // Coarse scores, so that ties occur.
    let one = (0u8..40, 0u8..40, 5u8..30, 5u8..30, 1u8..20, 0usize..3).prop_map(|(x, y, w, h, score, class)| {
        let [x, y, w, h] = [x, y, w, h].map(f32::from);
        Detection { xyxy: [x, y, x + w + 0.37, y + h + 0.11], score: f32::from(score) / 20.0, class }
    });
    prop::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn suppression_is_the_offset_rule(found in detections(), agnostic: bool) {
        let options = NmsOptions { agnostic, iou: 0.4503, ..NmsOptions::default() };
        prop_assert_eq!(suppress(found.clone(), &options), reference(&found, &options));
    }

    #[test]
    fn suppression_changes_nothing_the_second_time(found in detections()) {
        let options = NmsOptions::default();
        let once = suppress(found, &options);
        prop_assert_eq!(suppress(once.clone(), &options), once);
    }
}
