//! Videos and live sources through detection: each frame of a file, the newest frame of everything live.

use super::detect::Eye;
use super::detect_output::{Outputs, Picture, class_name, counts, csv_field, shown};
use crate::args::TrackFormat;
use crate::errors::CliError;
use crate::interrupt;
use crate::output::GrowingFile;
use crate::printer::Printer;
use crate::sources::Source;
use kinglet_video::track::{Tracked, Tracker, TrackerOptions};
use kinglet_video::{Change, Ffmpeg, Input, LiveSet, Next, Rate, Reader, Reopen, VideoError, Writer};
use kinglet_vision::{Detection, Image};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Ctrl-C is looked for so often while no frame comes.
const PATIENCE: Duration = Duration::from_millis(100);
/// The video of a live source may be so far behind: a frame that has come is looked at within this time.
const BEHIND: Duration = Duration::from_secs(1);
/// Rates that a live source may name for its video; others are slips, such as 90000.
const LIVE_RATES: std::ops::RangeInclusive<f64> = 1.0..=120.0;

/// What became of a video or stream.
pub(super) struct Film {
    /// The file, or the stream's name.
    pub path: PathBuf,
    frames: u64,
    dropped: u64,
    /// From the arrival of a frame to its results; live sources only.
    latencies: Latencies,
    is_live: bool,
    saved: Option<PathBuf>,
    tracks: Option<u64>,
}

/// Latencies in tenths of a millisecond, and how often each was: as much memory for a day as for a minute.
#[derive(Default)]
struct Latencies(BTreeMap<u64, u64>);

impl Latencies {
    fn add(&mut self, latency: Duration) {
        *self.0.entry((latency.as_secs_f64() * 1e4).round() as u64).or_default() += 1;
    }

    /// Median and 95th percentile in milliseconds, by nearest rank.
    fn ranks(&self) -> Option<[f64; 2]> {
        let count: u64 = self.0.values().sum();
        let rank = |share: f64| {
            let wanted = ((share * count as f64).ceil() as u64).max(1);
            let mut below = 0;
            let at = self.0.iter().find(|(_, often)| {
                below += *often;
                below >= wanted
            });
            at.map(|(tenths, _)| *tenths as f64 / 10.0)
        };
        Some([rank(0.5)?, rank(0.95)?])
    }
}

impl Film {
    /// What a live source was like.
    pub fn latency_line(&self) -> Option<String> {
        let [median, p95] = self.latencies.ranks()?;
        Some(format!(
            "{}: {} frames looked at, {} dropped; from a frame's arrival to its results {median:.1}ms (median), {p95:.1}ms (p95)",
            self.path.display(),
            self.frames,
            self.dropped
        ))
    }

    /// The same for `--json`.
    pub fn json(&self) -> serde_json::Value {
        let mut value = json!({"video": self.path, "frames": self.frames, "saved": self.saved});
        if let Some(tracks) = self.tracks {
            value["tracks"] = json!(tracks);
        }
        if self.is_live {
            value["dropped"] = json!(self.dropped);
            let latency = self.latencies.ranks().map(|[median, p95]| json!({"median": median, "p95": p95}));
            value["latency_ms"] = json!(latency);
        }
        value
    }
}

/// One video or stream on its way.
struct Roll<'a> {
    source: &'a Source,
    ffmpeg: &'a Ffmpeg,
    film: Film,
    writer: Option<Writer>,
    /// Why the video is not written any more. What else was asked for goes on.
    broken: Option<VideoError>,
    tracker: Option<Tracker>,
    table: Option<GrowingFile>,
}

impl<'a> Roll<'a> {
    fn new(source: &'a Source, ffmpeg: &'a Ffmpeg, is_live: bool) -> Self {
        let film = Film {
            path: source.path.clone(),
            frames: 0,
            dropped: 0,
            latencies: Latencies::default(),
            is_live,
            saved: None,
            tracks: None,
        };
        Roll { source, ffmpeg, film, writer: None, broken: None, tracker: None, table: None }
    }

    /// Takes in a frame and writes what was asked for; gives the words for the console. `since` is the time since the
    /// first frame of a live source.
    fn take(
        &mut self,
        eye: &mut Eye,
        outputs: &mut Outputs<'_>,
        (number, mut image): (u64, Image),
        rate: Rate,
        since: Option<Duration>,
    ) -> Result<String, CliError> {
        if self.film.frames == 0 {
            self.begin(outputs, (image.width, image.height), rate)?;
        }
        self.film.frames += 1;
        let (mut detections, timing) = eye.look(&image)?;
        let mut ids = Vec::new();
        if let Some(tracker) = &mut self.tracker {
            let tracked = tracker.update(number, &detections);
            detections = tracked.iter().map(|t| t.detection).collect();
            ids = tracked.iter().map(|t| t.id).collect();
            self.film.tracks = self.film.tracks.max(ids.last().copied());
            if let Some(table) = &mut self.table {
                table.write(rows(outputs, number, &tracked).as_bytes())?;
            }
        }
        let stem = format!("{}_{number}", self.source.stem);
        let path = &self.source.path;
        let picture = Picture { path, stem: &stem, frame: Some(number), detections: &detections, ids: &ids };
        outputs.add(&picture, &image)?;
        if let Some(writer) = &mut self.writer {
            outputs.draw(&picture, &mut image);
            let written = match since {
                Some(since) => writer.write_until(image, since),
                None => writer.write(&image),
            };
            if let Err(error) = written {
                (self.broken, self.writer) = (Some(error), None);
            }
        }
        let [height, width] = eye.last_size;
        let inference = timing.inference.as_secs_f64() * 1e3;
        Ok(format!("{height}x{width} {}, {inference:.1}ms", counts(&detections, outputs.names())))
    }

    /// Lets the last frame stay in the video of a live source that is silent.
    fn stay(&mut self, since: Duration) {
        if let Some(Err(error)) = self.writer.as_mut().map(|writer| writer.stay_until(since)) {
            (self.broken, self.writer) = (Some(error), None);
        }
    }

    /// Opens what is written, now that size and rate are known.
    fn begin(&mut self, outputs: &Outputs<'_>, size: (usize, usize), rate: Rate) -> Result<(), CliError> {
        let args = outputs.args();
        if args.track || args.save_tracks.is_some() {
            self.tracker = Some(Tracker::new(TrackerOptions::new(args.suppression.conf_thres, rate.per_second())));
            self.film.tracks = Some(0);
        }
        let Some(run) = outputs.run() else { return Ok(()) };
        if let Some(format) = args.save_tracks {
            let (extension, head) = match format {
                TrackFormat::Csv => ("csv", "frame,track,class,name,score,x1,y1,x2,y2\n"),
                TrackFormat::Jsonl => ("jsonl", ""),
            };
            let mut table = GrowingFile::create(&run.join("tracks").join(format!("{}.{extension}", self.source.stem)))?;
            table.write(head.as_bytes())?;
            self.table = Some(table);
        }
        if !args.nosave {
            let path = run.join(format!("{}.mp4", self.source.stem));
            match Writer::create(self.ffmpeg, &path, size, rate) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => self.broken = Some(error),
            }
        }
        Ok(())
    }

    /// Gives the files their names, and tells why the video has none.
    ///
    /// # Errors
    /// A table that cannot be written; the video is finished all the same.
    fn finish(mut self) -> Result<(Film, Option<VideoError>), CliError> {
        match self.writer.take().map(Writer::finish) {
            Some(Ok(saved)) => self.film.saved = Some(saved),
            Some(Err(error)) => self.broken = Some(error),
            None => {}
        }
        self.table.map_or(Ok(()), GrowingFile::finish)?;
        Ok((self.film, self.broken))
    }
}

/// The followed objects of a frame as lines of a table.
fn rows(outputs: &Outputs<'_>, frame: u64, tracked: &[Tracked]) -> String {
    let row = |Tracked { id, detection }: &Tracked| {
        let Detection { xyxy, score, class } = *detection;
        let (name, score) = (class_name(outputs.names(), class), shown(score, 1e5));
        let [x1, y1, x2, y2] = xyxy.map(|v| shown(v, 1e3));
        match outputs.args().save_tracks {
            Some(TrackFormat::Jsonl) => {
                let value = json!({"frame": frame, "track": id, "class": class, "name": name, "score": score,
                                   "box": [x1, y1, x2, y2]});
                format!("{value}\n")
            }
            _ => format!("{frame},{id},{class},{},{score},{x1},{y1},{x2},{y2}\n", csv_field(&name)),
        }
    };
    tracked.iter().map(row).collect()
}

/// What became of a video or stream, and what went wrong.
pub(super) type Outcome = (Film, Option<String>);

/// What went wrong with reading a source and with writing its video.
fn outcome(film: Film, read: Option<VideoError>, written: Option<VideoError>) -> Outcome {
    let errors: Vec<String> = read.iter().chain(&written).map(VideoError::to_string).collect();
    (film, (!errors.is_empty()).then(|| errors.join("; ")))
}

/// Detects in every frame of a video. What is wrong with the video comes beside what was done.
///
/// # Errors
/// A file that cannot be written; what was done is kept.
pub(super) fn film(
    eye: &mut Eye,
    outputs: &mut Outputs<'_>,
    ffmpeg: &Ffmpeg,
    (source, input): (&Source, &Input),
    place: &str,
    printer: &Printer,
) -> Result<Outcome, CliError> {
    let mut roll = Roll::new(source, ffmpeg, false);
    let mut reader = match Reader::open(ffmpeg, input, outputs.args().vid_stride) {
        Ok(reader) => reader,
        Err(error) => return Ok(outcome(roll.film, Some(error), None)),
    };
    let stride = outputs.args().vid_stride;
    let (mut rate, mut of_all) = (Rate::USUAL, String::new());
    let mut number = 0;
    let error = loop {
        if interrupt::is_asked() {
            break None;
        }
        let image = match reader.next_frame() {
            Ok(Some(image)) => image,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        number += 1;
        if number == 1 {
            rate = reader.rate().unwrap_or(Rate::USUAL).every(stride);
            of_all = reader.expected_frames().map_or_else(String::new, |frames| format!("/{frames}"));
        }
        match roll.take(eye, outputs, (number, image), rate, None) {
            Ok(words) => {
                printer.result(&format!("video {place} ({number}{of_all}) {}: {words}", source.path.display()));
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ = roll.finish();
                return Err(error);
            }
        }
    };
    let (film, broken) = roll.finish()?;
    Ok(outcome(film, error, broken))
}

/// Detects in the newest frames of all live sources, until they end or Ctrl-C comes.
///
/// # Errors
/// A file that cannot be written; what was done of all sources is kept.
pub(super) fn live(
    eye: &mut Eye,
    outputs: &mut Outputs<'_>,
    ffmpeg: &Ffmpeg,
    sources: &[(&Source, &Input)],
    printer: &Printer,
) -> Result<Vec<Outcome>, CliError> {
    let inputs: Vec<Input> = sources.iter().map(|(_, input)| (*input).clone()).collect();
    for (index, input) in inputs.iter().enumerate() {
        printer.say(&format!("{index}: {input}; Ctrl-C ends it"));
    }
    let reopen = Reopen { tries: outputs.args().reopen, ..Reopen::default() };
    let mut set = LiveSet::open(ffmpeg, &inputs, outputs.args().vid_stride, reopen);
    let mut rolls: Vec<Roll<'_>> = sources.iter().map(|(source, _)| Roll::new(source, ffmpeg, true)).collect();
    let mut errors: Vec<Option<VideoError>> = inputs.iter().map(|_| None).collect();
    let mut begun: Vec<Option<Instant>> = vec![None; inputs.len()];
    let mut failure = None;
    while !interrupt::is_asked() {
        for (roll, begun) in rolls.iter_mut().zip(&begun) {
            if let Some(due) = begun.and_then(|begun| begun.elapsed().checked_sub(BEHIND)) {
                roll.stay(due);
            }
        }
        let (index, frame) = match set.next(PATIENCE) {
            Next::Frame(index, frame) => (index, frame),
            Next::Nothing => continue,
            Next::Changed(index, Change::Lost { reason, attempt, of }) => {
                let source = &inputs[index];
                printer.warn(&format!("{index}: {source} is lost: {reason}; opening it again ({attempt} of {of})"));
                continue;
            }
            Next::Changed(index, Change::Back { after }) => {
                printer.say(&format!("{index}: {} is back after {:.1} s", inputs[index], after.as_secs_f64()));
                continue;
            }
            Next::Ended(index, error) => {
                let others = errors.iter().filter(|error| error.is_none()).count() - 1;
                if others > 0 {
                    // The last one ends the command, which tells all errors again.
                    printer.warn(&format!("{index}: {error}; {others} still going"));
                }
                (errors[index], begun[index]) = (Some(error), None);
                continue;
            }
            Next::AllEnded => break,
        };
        let since = frame.arrived - *begun[index].get_or_insert(frame.arrived);
        let rate = set.rate(index).filter(|rate| LIVE_RATES.contains(&rate.per_second())).unwrap_or(Rate::USUAL);
        let rate = rate.every(outputs.args().vid_stride);
        let words = match rolls[index].take(eye, outputs, (frame.number, frame.image), rate, Some(since)) {
            Ok(words) => words,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        rolls[index].film.latencies.add(frame.arrived.elapsed());
        printer.result(&format!("{index}: {words}"));
    }
    for (index, roll) in rolls.iter_mut().enumerate() {
        roll.film.dropped = set.dropped(index);
    }
    // Cameras first: videos may take a moment to be finished.
    drop(set);
    // All of them, before the first failure ends the command.
    let finished: Vec<Result<_, CliError>> = rolls.into_iter().map(Roll::finish).collect();
    if let Some(failure) = failure {
        return Err(failure);
    }
    let outcomes = finished.into_iter().zip(errors);
    outcomes.map(|(finished, error)| finished.map(|(film, broken)| outcome(film, error, broken))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_told_by_median_and_95th_percentile() {
        let mut latencies = Latencies::default();
        (1..=100).rev().for_each(|ms| latencies.add(Duration::from_millis(ms)));
        // Nearest rank: the 50th and the 95th of a hundred.
        assert_eq!(latencies.ranks(), Some([50.0, 95.0]));
        let film = Film {
            path: "rtsp://a".into(),
            frames: 100,
            dropped: 7,
            latencies,
            is_live: true,
            saved: None,
            tracks: None,
        };
        assert!(film.latency_line().unwrap().starts_with("rtsp://a: 100 frames looked at, 7 dropped; "));
        assert_eq!(Film { latencies: Latencies::default(), ..film }.latency_line(), None);
    }
}
