//! Scenes whose ids are known: boxes that move as the test says, seen or not as the test says.

use kinglet_video::track::{Tracked, Tracker, TrackerOptions};
use kinglet_vision::Detection;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn tracker() -> Tracker {
    Tracker::new(TrackerOptions::new(0.5, 30.0))
}

/// A box of 40 x 80 around a centre.
fn seen(x: f32, y: f32, score: f32) -> Detection {
    Detection { xyxy: [x - 20.0, y - 40.0, x + 20.0, y + 40.0], score, class: 0 }
}

fn ids(tracked: &[Tracked]) -> Vec<u64> {
    tracked.iter().map(|t| t.id).collect()
}

#[test]
fn objects_that_cross_keep_their_ids() {
    let mut tracker = tracker();
    // They pass each other at x = 200, 30 px apart in height: at frame 20 the boxes overlap by more than half.
    for t in 0..40_u64 {
        let (a, b) = (100.0 + 5.0 * t as f32, 300.0 - 5.0 * t as f32);
        let tracked = tracker.update(t + 1, &[seen(b, 130.0, 0.8), seen(a, 100.0, 0.9)]);
        assert_eq!(ids(&tracked), [1, 2], "frame {t}");
        let of = |y: f32| tracked.iter().find(|t| (t.detection.xyxy[1] + 40.0 - y).abs() < 1.0).unwrap().id;
        assert_eq!((of(130.0), of(100.0)), (1, 2), "frame {t}");
    }
}

#[test]
fn an_object_hidden_for_some_frames_comes_back_with_its_id() {
    let mut tracker = tracker();
    for t in 0..60_u64 {
        let x = 100.0 + 4.0 * t as f32;
        let hidden = (20..40).contains(&t);
        let detections = if hidden { vec![] } else { vec![seen(x, 100.0, 0.9)] };
        let expected = if hidden { vec![] } else { vec![1] };
        assert_eq!(ids(&tracker.update(t + 1, &detections)), expected, "frame {t}");
    }
}

#[test]
fn frames_that_were_not_looked_at_count_as_time() {
    let mut tracker = tracker();
    for t in (0..60_u64).step_by(1).filter(|t| *t < 20 || t.is_multiple_of(5)) {
        let tracked = tracker.update(t + 1, &[seen(100.0 + 8.0 * t as f32, 100.0, 0.9)]);
        // 5 frames on, the box has moved by its own width: only the motion connects the two.
        assert_eq!(ids(&tracked), [1], "frame {t}");
    }
}

#[test]
fn an_object_hidden_for_longer_than_the_buffer_is_a_new_one() {
    let mut tracker = Tracker::new(TrackerOptions { keep_lost: 10, ..TrackerOptions::new(0.5, 30.0) });
    let last = (0..40_u64).map(|t| {
        let detections = if (10..25).contains(&t) { vec![] } else { vec![seen(100.0, 100.0, 0.9)] };
        ids(&tracker.update(t + 1, &detections))
    });
    let last: Vec<Vec<u64>> = last.collect();
    assert_eq!((&last[9][..], &last[25][..], &last[26][..]), (&[1][..], &[][..], &[2][..]));
}

#[test]
fn a_low_score_keeps_a_track_and_begins_none() {
    let mut tracker = tracker();
    for t in 0..20_u64 {
        // The object fades from 0.9 to 0.15; a shadow of score 0.3 stands elsewhere all the time.
        let score = if t < 5 { 0.9 } else { 0.15 + 0.001 * t as f32 };
        let tracked = tracker.update(t + 1, &[seen(100.0 + t as f32, 100.0, score), seen(400.0, 300.0, 0.3)]);
        assert_eq!(ids(&tracked), [1], "frame {t}");
        assert_eq!(tracked[0].detection.score, score);
    }
    // Below the lowest score nothing is rescued.
    assert_eq!(ids(&tracker.update(21, &[seen(120.0, 100.0, 0.05)])), []);
}

#[test]
fn births_need_a_second_look_and_deaths_are_final() {
    let mut tracker = tracker();
    let first = seen(100.0, 100.0, 0.9);
    assert_eq!(ids(&tracker.update(1, &[first])), [1], "what is there from the start is taken at its word");
    assert_eq!(ids(&tracker.update(2, &[first, seen(300.0, 100.0, 0.9)])), [1], "seen once");
    assert_eq!(ids(&tracker.update(3, &[first, seen(300.0, 100.0, 0.9)])), [1, 2], "seen twice");
    assert_eq!(ids(&tracker.update(4, &[first, seen(500.0, 100.0, 0.9)])), [1], "another one, seen once");
    assert_eq!(ids(&tracker.update(5, &[first])), [1], "not again: no track");
    // 0.55 is high enough to be followed, and too low to begin.
    for frame in 6..10 {
        assert_eq!(ids(&tracker.update(frame, &[first, seen(700.0, 100.0, 0.55)])), [1]);
    }
    for frame in 10..80 {
        tracker.update(frame, &[]);
    }
    tracker.update(80, &[first]);
    assert_eq!(ids(&tracker.update(81, &[first])), [3], "ids are not used again");
}

#[test]
fn classes_do_not_mix() {
    let mut tracker = tracker();
    let cat = seen(100.0, 100.0, 0.9);
    let dog = Detection { class: 1, ..cat };
    assert_eq!(ids(&tracker.update(1, &[cat])), [1]);
    assert_eq!(ids(&tracker.update(2, &[dog])), []);
    let tracked = tracker.update(3, &[cat, dog]);
    assert_eq!(tracked.iter().map(|t| (t.id, t.detection.class)).collect::<Vec<_>>(), [(1, 0), (2, 1)]);
}

#[test]
fn thresholds_near_one_still_let_tracks_begin() {
    let mut tracker = Tracker::new(TrackerOptions::new(0.95, 30.0));
    assert_eq!(ids(&tracker.update(1, &[seen(100.0, 100.0, 0.98)])), [1]);
    let options = TrackerOptions::new(0.0, 0.0);
    assert_eq!((options.low, options.keep_lost), (0.0, 1));
}

/// Five objects on straight lines, all seen in every frame but for a short gap of each.
fn scene(t: u64, speeds: &[f32; 5]) -> Vec<Detection> {
    let mut found = Vec::new();
    for (k, speed) in speeds.iter().enumerate() {
        if t / 6 % 7 != k as u64 + 1 || !t.is_multiple_of(3) {
            found.push(seen(200.0 + speed * t as f32, 100.0 + 100.0 * k as f32, 0.7 + 0.01 * k as f32));
        }
    }
    found
}

proptest! {
    #[test]
    fn separate_objects_keep_their_ids_and_the_order_of_detections_does_not_matter(
        speeds in prop::array::uniform5(-4.0_f32..4.0), rotate in 0_usize..5,
    ) {
        let (mut one, mut other) = (tracker(), tracker());
        let mut ids: BTreeMap<usize, u64> = BTreeMap::new();
        for t in 0..60 {
            let detections = scene(t, &speeds);
            let mut turned = detections.clone();
            let middle = rotate.min(turned.len());
            turned.rotate_left(middle);
            let tracked = one.update(t + 1, &detections);
            let lane = |t: &Tracked| (t.detection.xyxy[1] / 100.0).round() as usize;
            prop_assert_eq!(tracked.len(), detections.len(), "frame {}", t);
            for object in &tracked {
                prop_assert_eq!(*ids.entry(lane(object)).or_insert(object.id), object.id, "frame {}", t);
            }
            let lanes = |tracked: &[Tracked]| { let mut l: Vec<usize> = tracked.iter().map(lane).collect(); l.sort_unstable(); l };
            prop_assert_eq!(lanes(&tracked), lanes(&other.update(t + 1, &turned)));
        }
        prop_assert_eq!(ids.len(), 5);
    }

    #[test]
    fn any_detections_at_all_are_survived(frames in prop::collection::vec(prop::collection::vec(
        (any::<[f32; 4]>(), 0.0_f32..1.0, 0_usize..3), 0..6), 1..8)) {
        let (mut one, mut other) = (tracker(), tracker());
        for (t, frame) in frames.iter().enumerate() {
            let finite = |v: f32| if v.is_finite() { v.clamp(-1e6, 1e6) } else { 0.0 };
            let found: Vec<Detection> =
                frame.iter().map(|&(b, score, class)| Detection { xyxy: b.map(finite), score, class }).collect();
            let tracked = one.update(t as u64 + 1, &found);
            prop_assert!(tracked.windows(2).all(|pair| pair[0].id < pair[1].id));
            prop_assert!(tracked.iter().all(|t| found.contains(&t.detection)));
            prop_assert_eq!(tracked, other.update(t as u64 + 1, &found));
        }
    }
}
