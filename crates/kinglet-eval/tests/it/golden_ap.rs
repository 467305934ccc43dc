//! Average precision against the golden table and worked values.

use kinglet_eval::ap::{Scored, average_precision, evaluate};

/// Double precision in another order of operations.
const ROUNDING: f64 = 1e-6;

#[test]
fn the_golden_table_is_met() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/numbers.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: no folder of shared golden data beside the repository");
        return;
    };
    let numbers: serde_json::Value = serde_json::from_str(&text).unwrap();
    let golden = &numbers["ap"];
    let list = |key: &str| golden[key].as_array().unwrap().clone();
    let floats = |key: &str| list(key).iter().map(|v| v.as_f64().unwrap()).collect::<Vec<f64>>();
    let wholes = |key: &str| list(key).iter().map(|v| v.as_u64().unwrap() as usize).collect::<Vec<usize>>();
    let (scores, classes) = (floats("score"), wholes("pred_class"));
    let detections: Vec<Scored> = list("true_positive")
        .iter()
        .zip(scores.iter().zip(&classes))
        .map(|(row, (&score, &class))| Scored {
            score,
            class,
            correct: std::array::from_fn(|i| row[i] == 1),
            ignored: [false; 10],
        })
        .collect();
    let table = evaluate(&detections, &wholes("label_class"));
    assert_eq!(table.classes.iter().map(|class| class.class).collect::<Vec<_>>(), wholes("classes"));
    let golden_ap = list("ap");
    for (i, class) in table.classes.iter().enumerate() {
        let (p, r, f1) = (class.precision[table.best], class.recall[table.best], class.f1[table.best]);
        for (name, got) in [("precision", p), ("recall", r), ("f1", f1)] {
            let expected = floats(name)[i];
            assert!((got - expected).abs() < ROUNDING, "class {i} {name}: {got}, expected {expected}");
        }
        let tp = (r * class.labels as f64).round_ties_even();
        assert_eq!(tp, floats("tp")[i]);
        assert_eq!((tp / (p + 1e-16) - tp).round_ties_even(), floats("fp")[i]);
        for (level, expected) in golden_ap[i].as_array().unwrap().iter().enumerate() {
            let expected = expected.as_f64().unwrap();
            assert!(
                (class.ap[level] - expected).abs() < ROUNDING,
                "class {i} level {level}: {} expected {expected}",
                class.ap[level]
            );
        }
    }
}

#[test]
fn perfect_none_and_half_have_their_known_values() {
    // All recall at full precision; the sentinel at recall 1 costs nothing since the envelope holds up to there.
    assert!((average_precision(&[0.5, 1.0], &[1.0, 1.0]) - 0.995).abs() < 1e-9);
    assert!(average_precision(&[0.0, 0.0], &[0.0, 0.0]).abs() < 0.006);
    // Precision 1 up to recall 0.5, then falling straight to 0 at recall 1.
    let half = average_precision(&[0.5], &[1.0]);
    assert!((half - 0.75).abs() < 1e-9, "{half}");
}

#[test]
fn classes_without_labels_do_not_count_and_classes_without_detections_do() {
    let hit = |class| Scored { score: 0.9, class, correct: [true; 10], ignored: [false; 10] };
    let table = evaluate(&[hit(0), hit(5)], &[0, 1]);
    assert_eq!(table.classes.iter().map(|c| c.class).collect::<Vec<_>>(), [0, 1]);
    assert!(table.classes[0].ap[0] > 0.99);
    assert_eq!(table.classes[1].ap, [0.0; 10]);
    assert!(evaluate(&[], &[]).classes.is_empty());
}
