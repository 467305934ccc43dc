//! From images to a report.

use kinglet_eval::{Evaluator, IgnoredBox, LabelBox, Report, report_table};
use kinglet_vision::Detection;
use proptest::prelude::*;

type Picture = (Vec<Detection>, Vec<LabelBox>);

fn names() -> Vec<String> {
    ["cat", "dog"].map(String::from).to_vec()
}

fn report(order: &[usize], pictures: &[Picture]) -> Report {
    let mut evaluator = Evaluator::new(2);
    for &index in order {
        evaluator.add_image(index, &pictures[index].0, &pictures[index].1, &[]);
    }
    evaluator.finish(&names())
}

fn square(x: f32) -> [f32; 4] {
    [x, 0.0, x + 20.0, 20.0]
}

#[test]
fn a_small_dataset_has_the_values_worked_by_hand() {
    let detection = |x, score, class| Detection { xyxy: square(x), score, class };
    let label = |x, class| LabelBox { class, xyxy: square(x) };
    let pictures = vec![
        (vec![detection(0.0, 0.9, 0), detection(50.0, 0.8, 1)], vec![label(0.0, 0), label(50.0, 1)]),
        (vec![detection(0.0, 0.7, 0)], vec![label(0.0, 0)]),
        (vec![], vec![]),
    ];
    let all = report(&[0, 1, 2], &pictures);
    assert_eq!((all.images, all.instances), (3, 3));
    assert!((all.map50 - 0.995).abs() < 1e-9 && (all.map50_95 - 0.995).abs() < 1e-9);
    assert!((all.precision - 1.0).abs() < 1e-9 && (all.recall - 1.0).abs() < 1e-9);
    assert!((all.fitness() - 0.995).abs() < 1e-9);
    assert_eq!((all.per_class[0].images, all.per_class[0].instances), (2, 2));
    let expected = "
                 Class     Images  Instances          P          R      mAP50   mAP50-95
                   all          3          3          1          1      0.995      0.995
                   cat          2          2          1          1      0.995      0.995
                   dog          1          1          1          1      0.995      0.995";
    assert_eq!(report_table(&all, true), expected.trim_start_matches('\n'));
    assert_eq!(report_table(&all, false).lines().count(), 2);
}

#[test]
fn what_is_found_in_a_crowd_counts_neither_way() {
    let detection = |x, score| Detection { xyxy: square(x), score, class: 0 };
    let label = [LabelBox { class: 0, xyxy: square(0.0) }];
    let found = [detection(100.0, 0.9), detection(130.0, 0.8), detection(0.0, 0.7)];
    let crowd = IgnoredBox { class: 0, xyxy: [90.0, 0.0, 160.0, 40.0], crowd: true };
    let map = |ignored: &[IgnoredBox]| {
        let mut evaluator = Evaluator::new(2);
        evaluator.add_image(0, &found, &label, ignored);
        evaluator.finish(&names()).map50
    };
    // One label, found third: precision 1/3 up to recall 1. In the crowd the two before it are excused.
    assert!((map(&[]) - 0.995 / 3.0).abs() < 2e-3, "{}", map(&[]));
    assert!((map(&[crowd]) - 0.995).abs() < 1e-9, "{}", map(&[crowd]));
    let mut evaluator = Evaluator::new(2);
    evaluator.add_image(0, &found[..2], &label, &[crowd]);
    assert_eq!(evaluator.finish(&names()).map50, 0.0, "nothing is left that could have found the label");
}

#[test]
fn nothing_seen_and_nothing_found_are_reports_of_zeros() {
    let none = Evaluator::new(2).finish(&names());
    assert_eq!((none.images, none.map50, none.precision), (0, 0.0, 0.0));
    let missed = report(&[0], &[(vec![], vec![LabelBox { class: 1, xyxy: square(0.0) }])]);
    assert_eq!((missed.map50, missed.recall, missed.instances), (0.0, 0.0, 1));
    assert_eq!(missed.confusion.count(2, 1), 1);
}

fn picture() -> impl Strategy<Value = Picture> {
    let found = (0u8..10, 1u8..6, 0usize..2).prop_map(|(x, score, class)| Detection {
        xyxy: square(f32::from(x) * 7.0),
        score: f32::from(score) / 6.0,
        class,
    });
    let label = (0u8..5, 0usize..2).prop_map(|(x, class)| LabelBox { class, xyxy: square(f32::from(x) * 15.0) });
    (prop::collection::vec(found, 0..6), prop::collection::vec(label, 0..4))
}

proptest! {
    #[test]
    fn the_order_does_not_matter(pictures in prop::collection::vec(picture(), 1..6)) {
        let forward: Vec<usize> = (0..pictures.len()).collect();
        let backward: Vec<usize> = forward.iter().rev().copied().collect();
        let one = report(&forward, &pictures);
        prop_assert_eq!(&one, &report(&backward, &pictures));
        prop_assert!((0.0..=1.0).contains(&one.map50) && one.map50_95 <= one.map50 + 1e-12);
    }
}
