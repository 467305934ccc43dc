//! Objects followed over the frames of a video: detections get ids that stay.
//!
//! Source: ByteTrack (Zhang et al. 2022, arXiv:2110.06864) with the settings of its authors: tracks go with boxes of high
//! score first, then with those of low score, which are often the same objects half hidden.
//! Only boxes of one class go together. Units: pixels of the frame.
//! Oracle: scenes whose ids are known, in `tests/it/tracking.rs`.

mod assignment;
mod motion;

pub use assignment::assign;

use kinglet_vision::{Detection, iou};
use motion::Motion;

/// Least IoU of a track with a box of high score.
const FIRST_IOU: f64 = 0.2;
/// Least IoU of a track with a box of low score.
const SECOND_IOU: f64 = 0.5;
/// Least IoU of a track of one frame with its second box.
const TENTATIVE_IOU: f64 = 0.3;
/// A found and a lost track that overlap by more than this are one object.
const SAME_IOU: f32 = 0.85;
/// A box begins a track at a score so much above the high one, but at no more than twice it.
const BIRTH_ABOVE: f32 = 0.1;

/// How to follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackerOptions {
    /// Boxes of this score and above are high: they find any track.
    pub high: f32,
    /// Boxes between this and `high` find tracks that were seen in the frame before, and begin none.
    pub low: f32,
    /// A box of this score begins a track.
    pub birth: f32,
    /// Frames that a track is kept without being seen.
    pub keep_lost: u64,
}

impl TrackerOptions {
    /// The lowest score that helps: detection for tracking must not cut off above it.
    pub const LOW: f32 = 0.1;

    /// For detections shown from a score of `conf` on, in a video of `rate` frames a second.
    pub fn new(conf: f32, rate: f64) -> Self {
        TrackerOptions {
            high: conf,
            low: Self::LOW.min(conf),
            // Near 1 half of what is left, or nothing could begin.
            birth: (conf + BIRTH_ABOVE.min(conf)).min((conf + 1.0) / 2.0),
            // A second.
            keep_lost: rate.round().clamp(1.0, 1000.0) as u64,
        }
    }
}

/// A detection whose object is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tracked {
    /// The object: 1, 2, 3, ... in the order of their appearance.
    pub id: u64,
    /// Its detection in this frame.
    pub detection: Detection,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Seen once: may be an error.
    Tentative,
    /// Seen in the frame before.
    Found,
    /// Not seen for some frames.
    Lost,
}

#[derive(Debug, Clone)]
struct Track {
    /// 0 until it is confirmed.
    id: u64,
    state: State,
    motion: Motion,
    seen: Detection,
    first_frame: u64,
    last_frame: u64,
}

/// Follows objects.
#[derive(Debug)]
pub struct Tracker {
    options: TrackerOptions,
    tracks: Vec<Track>,
    last_id: u64,
    frame: Option<u64>,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(options: TrackerOptions) -> Self {
        Tracker { options, tracks: Vec::new(), last_id: 0, frame: None }
    }

    /// Takes in the detections of frame `frame` (numbers that were left out were not looked at) and gives those whose
    /// objects are known, by id.
    ///
    /// # Panics
    /// If `frame` is not above the one before.
    pub fn update(&mut self, frame: u64, detections: &[Detection]) -> Vec<Tracked> {
        let is_first = self.frame.is_none();
        let steps = self.frame.map_or(0, |before| {
            assert!(frame > before, "frame {frame} after {before}");
            frame - before
        });
        self.frame = Some(frame);
        let TrackerOptions { high, low, birth, keep_lost } = self.options;
        self.tracks.retain(|track| frame - track.last_frame <= keep_lost);
        for track in &mut self.tracks {
            (0..steps).for_each(|_| track.motion.predict(track.state == State::Lost));
        }

        let mut high: Vec<Detection> = detections.iter().filter(|d| d.score >= high).copied().collect();
        let is_low = |d: &&Detection| d.score > low && d.score < self.options.high;
        let mut low: Vec<Detection> = detections.iter().filter(is_low).copied().collect();
        let known = |track: &Track| track.state != State::Tentative;
        self.associate(frame, &mut high, FIRST_IOU, known);
        // What was lost before this frame needs a better witness than a low score.
        self.associate(frame, &mut low, SECOND_IOU, |track| track.state == State::Found);
        self.associate(frame, &mut high, TENTATIVE_IOU, |track| track.state == State::Tentative);
        self.tracks.retain(|track| track.last_frame == frame || track.state != State::Tentative);
        for track in self.tracks.iter_mut().filter(|track| track.last_frame < frame) {
            track.state = State::Lost;
        }
        for seen in high.into_iter().filter(|d| d.score >= birth) {
            let motion = Motion::new(seen.xyxy);
            let mut track =
                Track { id: 0, state: State::Tentative, motion, seen, first_frame: frame, last_frame: frame };
            if is_first {
                self.last_id += 1;
                (track.id, track.state) = (self.last_id, State::Found);
            }
            self.tracks.push(track);
        }
        self.drop_doubles();
        let found = self.tracks.iter().filter(|track| track.state == State::Found);
        let mut tracked: Vec<Tracked> = found.map(|t| Tracked { id: t.id, detection: t.seen }).collect();
        tracked.sort_by_key(|tracked| tracked.id);
        tracked
    }

    /// Gives tracks that `wants` one and were not seen in this frame yet a detection each, which is taken from the list.
    fn associate(
        &mut self,
        frame: u64,
        detections: &mut Vec<Detection>,
        least_iou: f64,
        wants: impl Fn(&Track) -> bool,
    ) {
        let candidates: Vec<usize> =
            (0..self.tracks.len()).filter(|&i| self.tracks[i].last_frame < frame && wants(&self.tracks[i])).collect();
        let mut cost = Vec::with_capacity(candidates.len() * detections.len());
        for &i in &candidates {
            let (class, expected) = (self.tracks[i].seen.class, self.tracks[i].motion.xyxy());
            cost.extend(detections.iter().map(|d| match d.class == class {
                true => 1.0 - f64::from(iou(expected, d.xyxy)),
                false => f64::INFINITY,
            }));
        }
        let pairs = assign(&cost, detections.len(), 1.0 - least_iou);
        let mut taken = vec![false; detections.len()];
        for (&i, pair) in candidates.iter().zip(pairs) {
            let Some(column) = pair else { continue };
            taken[column] = true;
            let track = &mut self.tracks[i];
            track.motion.correct(detections[column].xyxy);
            (track.seen, track.last_frame) = (detections[column], frame);
            if track.state == State::Tentative {
                self.last_id += 1;
                track.id = self.last_id;
            }
            track.state = State::Found;
        }
        let mut taken = taken.into_iter();
        detections.retain(|_| !taken.next().expect("one for each"));
    }

    /// Of a found and a lost track at one place, the one that has lived longer stays.
    fn drop_doubles(&mut self) {
        let mut drop = vec![false; self.tracks.len()];
        let life = |track: &Track| track.last_frame - track.first_frame;
        for (i, found) in self.tracks.iter().enumerate().filter(|(_, t)| t.state == State::Found) {
            for (j, lost) in self.tracks.iter().enumerate().filter(|(_, t)| t.state == State::Lost) {
                let same = found.seen.class == lost.seen.class;
                if same && iou(found.motion.xyxy(), lost.motion.xyxy()) > SAME_IOU {
                    drop[if life(found) > life(lost) { j } else { i }] = true;
                }
            }
        }
        let mut drop = drop.into_iter();
        self.tracks.retain(|_| !drop.next().expect("one for each"));
    }
}
