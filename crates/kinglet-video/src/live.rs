//! Live sources: of each one, the newest frame counts, and what came in between is dropped and counted.
//!
//! A thread a source reads as fast as frames come, so that nothing piles up in pipes and queues, and what is looked at
//! is never older than one look. A source that ends is opened again some times, and every loss is told at once.

use crate::ffmpeg::GLANCE;
use crate::reader::Stopper;
use crate::{Ffmpeg, Input, Rate, Reader, VideoError};
use kinglet_vision::Image;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A frame of a live source.
#[derive(Debug)]
pub struct LiveFrame {
    /// The picture.
    pub image: Image,
    /// Which frame of its source this is, counted from 1, those that were dropped included.
    pub number: u64,
    /// When it had arrived in full.
    pub arrived: Instant,
}

/// A source that was just opened may be silent so many times as long: cameras and servers take time to begin.
const BEGINNING: u32 = 3;
/// Stopping waits so long for sources to end; videos are to be finished after that.
const ENDING: Duration = Duration::from_secs(3);
/// A camera that is away for hours is asked for so often.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Why a source is lost that ended without an error.
const OVER: &str = "the stream is over";

/// When a source counts as lost, and how often it is opened again.
#[derive(Debug, Clone, Copy)]
pub struct Reopen {
    /// So often in a row without a frame.
    pub tries: u32,
    /// Time before the first; before each other one twice as long, up to a minute.
    pub pause: Duration,
    /// A source without a frame for so long is lost, though its connection stands.
    pub silence: Duration,
}

impl Reopen {
    /// The pause before a try, counted from 1.
    fn pause_before(&self, attempt: u32) -> Duration {
        self.pause.saturating_mul(2u32.saturating_pow(attempt - 1)).min(LONGEST_PAUSE)
    }
}

impl Default for Reopen {
    fn default() -> Self {
        Reopen { tries: 5, pause: Duration::from_secs(1), silence: Duration::from_secs(10) }
    }
}

/// What there is to look at next.
#[derive(Debug)]
pub enum Next {
    /// The newest frame of a source.
    Frame(usize, LiveFrame),
    /// Nothing came in time.
    Nothing,
    /// A source was lost, or came back.
    Changed(usize, Change),
    /// A source has ended, and why.
    Ended(usize, VideoError),
    /// All sources have ended.
    AllEnded,
}

/// What became of a source that was open before.
#[derive(Debug)]
pub enum Change {
    /// It is opened again.
    Lost {
        /// Why, in few words.
        reason: String,
        /// Which try this is, counted from 1.
        attempt: u32,
        /// So many tries in a row.
        of: u32,
    },
    /// Frames come again.
    Back {
        /// Time without one.
        after: Duration,
    },
}

#[derive(Debug, Default)]
struct Place {
    changes: VecDeque<Change>,
    newest: Option<LiveFrame>,
    dropped: u64,
    rate: Option<Rate>,
    stopper: Option<Stopper>,
    /// When the last frame came, while the source is read. One that was just opened has more time.
    heard: Option<Instant>,
    /// Whether it was stopped because nothing came.
    is_silent: bool,
    ended: Option<VideoError>,
    is_over: bool,
}

#[derive(Debug)]
struct Shared {
    places: Mutex<Vec<Place>>,
    news: Condvar,
    stopping: Mutex<bool>,
    woken: Condvar,
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> MutexGuard<'_, bool> {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what became of a source.
    fn tell(&self, index: usize, change: Change) {
        self.places()[index].changes.push_back(change);
        self.news.notify_all();
    }

    /// Waits, but not beyond the stop. Whether to go on.
    fn pause(&self, time: Duration) -> bool {
        let waited = self.woken.wait_timeout_while(self.stopping(), time, |stopping| !*stopping);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Several live sources, each read by a thread of its own.
#[derive(Debug)]
pub struct LiveSet {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    turn: usize,
    silence: Duration,
}

impl LiveSet {
    /// Opens all sources.
    pub fn open(ffmpeg: &Ffmpeg, inputs: &[Input], stride: usize, mut reopen: Reopen) -> Self {
        // Frames that the stride leaves out are not heard: a slow camera sends one a second.
        reopen.silence += Duration::from_secs(stride.saturating_sub(1) as u64);
        let shared = Arc::new(Shared {
            places: Mutex::new(inputs.iter().map(|_| Place::default()).collect()),
            news: Condvar::new(),
            stopping: Mutex::new(false),
            woken: Condvar::new(),
        });
        let threads = inputs.iter().cloned().enumerate().map(|(index, input)| {
            let (shared, ffmpeg) = (shared.clone(), ffmpeg.clone());
            std::thread::spawn(move || follow(&shared, index, &ffmpeg, &input, stride, reopen))
        });
        LiveSet { threads: threads.collect(), shared, turn: 0, silence: reopen.silence }
    }

    /// The newest frame that has not been given yet, the sources taking turns; waits for it. Sources that have fallen silent
    /// are stopped on this occasion, and then opened again.
    pub fn next(&mut self, patience: Duration) -> Next {
        for place in self.shared.places().iter_mut() {
            if place.heard.is_some_and(|heard| heard.elapsed() > self.silence) {
                (place.heard, place.is_silent) = (None, true);
                place.stopper.iter().for_each(Stopper::stop);
            }
        }
        let nothing_new = |places: &mut Vec<Place>| {
            let has_news = |p: &Place| !p.changes.is_empty() || p.newest.is_some() || (p.ended.is_some() && !p.is_over);
            !places.iter().any(has_news) && !places.iter().all(|p| p.is_over)
        };
        let waited = self.shared.news.wait_timeout_while(self.shared.places(), patience, nothing_new);
        let (mut places, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some((index, change)) =
            places.iter_mut().enumerate().find_map(|(index, place)| Some((index, place.changes.pop_front()?)))
        {
            return Next::Changed(index, change);
        }
        let count = places.len();
        for index in (self.turn..self.turn + count).map(|i| i % count.max(1)) {
            let place = &mut places[index];
            if let Some(frame) = place.newest.take() {
                self.turn = index + 1;
                return Next::Frame(index, frame);
            }
            if let Some(error) = place.ended.take() {
                place.is_over = true;
                return Next::Ended(index, error);
            }
        }
        if places.iter().all(|place| place.is_over) { Next::AllEnded } else { Next::Nothing }
    }

    /// Frames of a source that were replaced before anyone looked at them.
    pub fn dropped(&self, index: usize) -> u64 {
        self.shared.places()[index].dropped
    }

    /// The rate that a source names, of all its frames.
    pub fn rate(&self, index: usize) -> Option<Rate> {
        self.shared.places()[index].rate
    }
}

impl Drop for LiveSet {
    fn drop(&mut self) {
        *self.shared.stopping() = true;
        self.shared.woken.notify_all();
        for place in self.shared.places().iter() {
            place.stopper.iter().for_each(Stopper::stop);
        }
        let begin = Instant::now();
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && begin.elapsed() < ENDING {
                std::thread::sleep(GLANCE);
            }
            // Where `ffmpeg` is a script, what it started may hold the pipe: then the thread is left behind.
            if thread.is_finished() {
                // A panic there is told by the thread itself.
                let _ = thread.join();
            }
        }
    }
}

/// How far a source has come.
#[derive(Default)]
struct Progress {
    /// Frames so far.
    number: u64,
    /// When the last one came.
    heard: Option<Instant>,
    /// Nothing has come since it was opened again.
    is_lost: bool,
}

/// Reads one source until it ends for good or everything stops.
fn follow(shared: &Shared, index: usize, ffmpeg: &Ffmpeg, input: &Input, stride: usize, reopen: Reopen) {
    let mut progress = Progress::default();
    let mut tries = 0;
    let error = loop {
        let before = progress.number;
        let end = match Reader::open(ffmpeg, input, stride) {
            Ok(reader) => read(shared, index, reader, &mut progress, reopen.silence),
            Err(error) => Some(error),
        };
        let came = progress.number > before;
        let end = if std::mem::take(&mut shared.places()[index].is_silent) {
            let time = if came { reopen.silence } else { BEGINNING * reopen.silence };
            Some(VideoError::Silent { input: input.to_string(), time, advice: input.advice_for_silence() })
        } else {
            end
        };
        if came {
            tries = 0;
        }
        // What never gave a frame is a mistake in the address, not a loss.
        if progress.number == 0 || tries == reopen.tries {
            break end;
        }
        if *shared.stopping() {
            return;
        }
        tries += 1;
        progress.is_lost = true;
        let reason = end.map_or_else(|| OVER.to_owned(), VideoError::into_reason);
        shared.tell(index, Change::Lost { reason, attempt: tries, of: reopen.tries });
        if !shared.pause(reopen.pause_before(tries)) {
            return;
        }
    };
    let places = &mut *shared.places();
    places[index].ended = Some(match error {
        Some(error) if progress.number == 0 => error,
        error => VideoError::Ended {
            input: input.to_string(),
            frames: progress.number,
            reason: error.map_or_else(|| OVER.to_owned(), |error| error.to_string()),
        },
    });
    places[index].stopper = None;
    shared.news.notify_all();
}

/// Reads until the stream ends, and says what was wrong, if anything was.
fn read(
    shared: &Shared,
    index: usize,
    mut reader: Reader,
    progress: &mut Progress,
    silence: Duration,
) -> Option<VideoError> {
    {
        let place = &mut shared.places()[index];
        let begin = Instant::now() + (BEGINNING - 1) * silence;
        (place.stopper, place.heard) = (Some(reader.stopper()), Some(begin));
    }
    if *shared.stopping() {
        reader.stopper().stop();
    }
    let mut rate = None;
    loop {
        let image = match reader.next_frame() {
            Ok(Some(image)) => image,
            end => {
                shared.places()[index].heard = None;
                return end.err();
            }
        };
        let arrived = Instant::now();
        let before = progress.heard.replace(arrived);
        if std::mem::take(&mut progress.is_lost) {
            shared.tell(index, Change::Back { after: before.map_or(Duration::ZERO, |before| arrived - before) });
        }
        progress.number += 1;
        rate = rate.or_else(|| reader.rate());
        let place = &mut shared.places()[index];
        (place.rate, place.heard) = (rate, Some(arrived));
        let replaced = place.newest.replace(LiveFrame { image, number: progress.number, arrived });
        place.dropped += u64::from(replaced.is_some());
        shared.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::Reopen;
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds = [1, 2, 3, 6, 7, 1000].map(|attempt| Reopen::default().pause_before(attempt).as_secs());
        assert_eq!(seconds, [1, 2, 4, 32, 60, 60]);
        let soon = Reopen { pause: Duration::from_millis(1), ..Reopen::default() };
        assert_eq!(soon.pause_before(3), Duration::from_millis(4));
    }
}
