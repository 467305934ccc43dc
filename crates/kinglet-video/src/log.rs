//! What ffmpeg says on standard error: the source's rate and length, and errors.
//!
//! Lines look like `[mov @ 0x55] [error] moov atom not found`, since levels are asked for.

use crate::Rate;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Errors that are kept: of a file the first ones say what is wrong, and later ones follow from them. A camera that ran for
/// hours had bad frames on the way, and its last ones say why it ended.
const KEPT: usize = 4;
/// ffmpeg describes its input before the first frame, and its pipe closes when it ends; so this passes only where it says
/// nothing at all, or where a process that it started holds the pipe.
const PATIENCE: Duration = Duration::from_secs(2);
/// Seconds from which on a start is a gap before the first frame; lesser ones come of the order of frames.
const LATE: f64 = 0.5;

#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Rate of the first video stream.
    pub rate: Option<Rate>,
    /// Length of the source.
    pub length: Option<Duration>,
    /// The first errors.
    pub errors: Vec<String>,
    /// The last errors.
    latest: VecDeque<String>,
    /// Errors so far.
    count: usize,
    /// The length counts from zero, not from the first frame, as MP4 has it.
    counts_from_zero: bool,
    /// The input has been described, or there is nothing more to come.
    described: bool,
    /// There is nothing more to come.
    is_over: bool,
}

impl Said {
    /// Takes a line in.
    fn hear(&mut self, line: &str) {
        let (level, text) = level(line);
        match level {
            "error" | "fatal" | "panic" => {
                self.count += 1;
                if self.errors.len() < KEPT {
                    self.errors.push(text.trim().to_owned());
                }
                self.latest.push_back(text.trim().to_owned());
                if self.latest.len() > KEPT {
                    self.latest.pop_front();
                }
            }
            "info" if !self.described => self.describe(text.trim()),
            _ => {}
        }
    }

    /// Why a source ended that gave frames until `before` errors had come: an error that speaks of the source, else the
    /// first one since then. Bad frames on the way are no reason.
    fn end(&self, before: usize, source: &str) -> Option<&String> {
        let of_source = |text: &&String| text.contains(source) || text.contains("demuxing");
        let since = self.latest.len().saturating_sub(self.count - before);
        self.latest.iter().rev().find(of_source).or_else(|| self.latest.get(since))
    }

    fn describe(&mut self, text: &str) {
        if text.starts_with("Output #") {
            self.described = true;
        } else if let Some(rest) = text.strip_prefix("Duration: ") {
            let start = rest.split(", ").find_map(|part| part.strip_prefix("start: ")?.parse::<f64>().ok());
            let late = start.filter(|&start| self.counts_from_zero && start >= LATE).unwrap_or(0.0);
            let late = Duration::try_from_secs_f64(late).unwrap_or_default();
            self.length = self.length.or_else(|| clock(rest.split(',').next()?)?.checked_sub(late));
        } else if text.starts_with("Input #0, mov,") {
            self.counts_from_zero = true;
        } else if text.starts_with("Stream #0") && text.contains(": Video: ") && !text.contains("(attached pic)") {
            let rate = |unit| text.split(", ").find_map(|part| Rate::parse(part.strip_suffix(unit)?));
            self.rate = self.rate.or_else(|| rate(" fps")).or_else(|| rate(" tbr"));
        }
    }
}

/// Level and text of a line; the name of the part that speaks is left out.
fn level(line: &str) -> (&str, &str) {
    let mut rest = line;
    while let Some((inside, after)) = rest.strip_prefix('[').and_then(|r| r.split_once("] ")) {
        if ["info", "warning", "error", "fatal", "panic"].contains(&inside) {
            return (inside, after);
        }
        rest = after;
    }
    ("", line)
}

/// `00:01:02.50` as a time.
fn clock(text: &str) -> Option<Duration> {
    let mut parts = text.trim().splitn(3, ':');
    let (hours, minutes): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()?.checked_add(Duration::from_secs(hours * 3600 + minutes * 60))
}

/// Listens to a process in a thread of its own, so that its pipe never fills.
#[derive(Debug)]
pub(crate) struct Log {
    said: Arc<(Mutex<Said>, Condvar)>,
}

impl Log {
    /// Listens.
    pub fn listen(stderr: impl Read + Send + 'static) -> Self {
        let said = Arc::new((Mutex::new(Said::default()), Condvar::new()));
        let shared = said.clone();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stderr);
            let mut bytes = Vec::new();
            // Names of files need not be UTF-8, and an unreadable pipe is a closed one.
            while stream.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
                lock(&shared.0).hear(String::from_utf8_lossy(&bytes).trim_end());
                bytes.clear();
                shared.1.notify_all();
            }
            let mut said = lock(&shared.0);
            (said.described, said.is_over) = (true, true);
            shared.1.notify_all();
        });
        Log { said }
    }

    /// Rate and length of the source, as far as they are known once its first frame has come.
    pub fn described(&self) -> (Option<Rate>, Option<Duration>) {
        let said = self.wait(|said| said.described);
        (said.rate, said.length)
    }

    /// The first errors, once the process has ended.
    pub fn errors(&self) -> Vec<String> {
        self.wait(|said| said.is_over).errors.clone()
    }

    /// Errors so far.
    pub fn count(&self) -> usize {
        lock(&self.said.0).count
    }

    /// Why a live source ended after its last frame, before which `before` errors had come.
    pub fn end(&self, before: usize, source: &str) -> Option<String> {
        self.wait(|said| said.is_over).end(before, source).cloned()
    }

    fn wait(&self, done: impl Fn(&Said) -> bool) -> MutexGuard<'_, Said> {
        let waited = self.said.1.wait_timeout_while(lock(&self.said.0), PATIENCE, |said| !done(said));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_length_and_errors_are_read_from_what_ffmpeg_says() {
        let mut said = Said::default();
        for line in [
            "[info] Input #0, mov,mp4, from 'file:[error] a.mp4':",
            "[info]   Duration: 00:01:03.50, start: 0.000000, bitrate: 46 kb/s",
            "[info]   Stream #0:0: Video: mjpeg, yuvj420p, 9x9, 90k tbr, 90k tbn (attached pic)",
            "[info]   Stream #0:1[0x1](und): Video: h264 (High), yuv420p, 320x240 [SAR 1:1], 40 kb/s, 29.97 fps, 30 tbr, 30k tbn",
            "[info] Output #0, image2pipe, to 'pipe:':",
            "[info]   Stream #0:0(und): Video: ppm, rgb24, 320x240, 25 fps, 25 tbn",
            "[mov,mp4 @ 0x559e] [error] moov atom not found",
            "[h264 @ 0x1] [warning] something",
        ] {
            said.hear(line);
        }
        assert_eq!(said.rate, Some(Rate { frames: 30000, seconds: 1001 }));
        assert_eq!(said.length, Some(Duration::from_millis(63_500)));
        assert_eq!(said.errors, ["moov atom not found"]);
    }

    #[test]
    fn a_length_is_that_of_the_frames_where_they_begin_late() {
        // MPEG-TS begins at 1.4 by itself, and its length does not hold that.
        for (format, start, milliseconds) in [
            ("mov,mp4,m4a", "start: 1.200000, ", Some(1000)),
            ("mov,mp4,m4a", "start: 0.080000, ", Some(2200)),
            ("mov,mp4,m4a", "start: -0.100000, ", Some(2200)),
            ("mov,mp4,m4a", "", Some(2200)),
            ("mov,mp4,m4a", "start: 5000.000000, ", None),
            ("mpegts", "start: 1.400000, ", Some(2200)),
        ] {
            let mut said = Said::default();
            said.hear(&format!("[info] Input #0, {format}, from 'file:a':"));
            said.hear(&format!("[info]   Duration: 00:00:02.20, {start}bitrate: 46 kb/s"));
            assert_eq!(said.length, milliseconds.map(Duration::from_millis), "{format} {start}");
        }
    }

    #[test]
    fn why_a_live_source_ended_is_not_what_was_wrong_with_earlier_frames() {
        let mut said = Said::default();
        let bad = ["[mjpeg @ 0x1] [error] huffman table decode error", "[error] Error while decoding stream #0:0"];
        (0..3).flat_map(|_| bad).for_each(|line| said.hear(line));
        assert_eq!(said.end(6, "/dev/video0"), None, "the stream was over");
        said.hear("[error] ioctl(VIDIOC_QBUF): No such device");
        assert_eq!(said.end(6, "/dev/video0").unwrap(), "ioctl(VIDIOC_QBUF): No such device");
        said.hear("[error] /dev/video0: No such device");
        said.hear(bad[0]);
        assert_eq!(said.end(6, "/dev/video0").unwrap(), "/dev/video0: No such device");
        // Read after the last frame had come, or before.
        assert_eq!(said.end(9, "/dev/video0").unwrap(), "/dev/video0: No such device");
        assert_eq!(said.errors[0], "huffman table decode error");
    }

    #[test]
    fn a_source_without_rate_and_length_has_none() {
        let log =
            Log::listen(&b"[info]   Duration: N/A, start: 0\n[info]   Stream #0:0: Video: h264, 90k tbn\n\xff\n"[..]);
        assert_eq!(log.described(), (None, None));
    }
}
