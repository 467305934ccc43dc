//! Frames into an mp4 file, which appears whole or not at all.

use crate::ffmpeg::{GLANCE, exited};
use crate::log::Log;
use crate::{Ffmpeg, Rate, VideoError};
use kinglet_vision::{Draft, Image, resize};
use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

/// Writes a video.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    stdin: Option<ChildStdin>,
    log: Log,
    /// It goes away with the writer, unless it is finished.
    draft: Option<Draft>,
    path: PathBuf,
    size: (usize, usize),
    rate: Rate,
    frames: usize,
    /// The newest frame of those that come by time.
    latest: Option<Image>,
}

impl Writer {
    /// Begins a video of this size and rate; the folder must exist. Odd sides get a line of their last colour more,
    /// since H.264 has none.
    ///
    /// # Errors
    /// ffmpeg cannot be started.
    pub fn create(ffmpeg: &Ffmpeg, path: &Path, size: (usize, usize), rate: Rate) -> Result<Self, VideoError> {
        let draft = Draft::begin(path)
            .map_err(|error| VideoError::Write { path: path.to_owned(), reason: error.to_string() })?;
        let mut command = ffmpeg.command();
        command.args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", &format!("{}x{}", size.0, size.1)]);
        command.args(["-framerate", &rate.to_string(), "-i", "-"]);
        if size.0 % 2 + size.1 % 2 > 0 {
            let (right, bottom) = (size.0 % 2, size.1 % 2);
            let sides = format!("pad=iw+{right}:ih+{bottom},fillborders=0:{right}:0:{bottom}:smear");
            command.args(["-vf", &sides]);
        }
        command.args(ffmpeg.encoder()).args(["-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"]);
        let mut target = std::ffi::OsString::from("file:");
        target.push(draft.place());
        command.arg(target).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| ffmpeg.not_started(&error))?;
        let log = Log::listen(child.stderr.take().expect("standard error is piped"));
        let stdin = child.stdin.take();
        Ok(Writer { child, stdin, log, draft: Some(draft), path: path.to_owned(), size, rate, frames: 0, latest: None })
    }

    /// Adds a frame. One of another size is brought to that of the video.
    ///
    /// # Errors
    /// A full disk, or another trouble of ffmpeg's.
    pub fn write(&mut self, image: &Image) -> Result<(), VideoError> {
        self.write_times(image, 1)
    }

    /// Adds a frame that came at `time`, so that the video plays as fast as life did: the frame before stays until then, and
    /// where the next is not due yet, the newer one takes its turn.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_until(&mut self, image: Image, time: Duration) -> Result<(), VideoError> {
        let missing = self.rate.frames_until(time).saturating_sub(self.frames);
        match self.latest.replace(image) {
            Some(before) if missing > 1 => {
                self.write_times(&before, missing - 1)?;
                self.write_latest(1)
            }
            _ => self.write_latest(missing),
        }
    }

    /// Repeats the newest frame up to a time at which no other has come, less the last turn, which the next frame may
    /// take. Once another comes, the video is what it would be without this, with no long gap left to fill; where none does,
    /// it ends with that frame standing still.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn stay_until(&mut self, time: Duration) -> Result<(), VideoError> {
        self.write_latest(self.rate.frames_until(time).saturating_sub(self.frames + 1))
    }

    fn write_latest(&mut self, times: usize) -> Result<(), VideoError> {
        let Some(image) = self.latest.take() else { return Ok(()) };
        let written = self.write_times(&image, times);
        self.latest = Some(image);
        written
    }

    fn write_times(&mut self, image: &Image, times: usize) -> Result<(), VideoError> {
        let image = match self.size {
            size if size == (image.width, image.height) => Cow::Borrowed(image),
            (width, height) => Cow::Owned(resize::resize_bilinear(image, width, height)),
        };
        for _ in 0..times {
            let stdin = self.stdin.as_mut().expect("it is open until the end");
            if let Err(error) = stdin.write_all(&image.data) {
                return Err(self.failed(&error.to_string()));
            }
            self.frames += 1;
        }
        Ok(())
    }

    /// Ends the video and gives the file its name.
    ///
    /// # Errors
    /// As [`Self::write`]; nothing is left behind then.
    pub fn finish(mut self) -> Result<PathBuf, VideoError> {
        self.stdin = None;
        let status = self.child.wait();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(self.failed(&format!("ffmpeg ended with {status}"))),
            Err(error) => return Err(self.failed(&error.to_string())),
        }
        match self.draft.take().map_or(Ok(()), Draft::finish) {
            Ok(()) => Ok(self.path.clone()),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    /// The error, with ffmpeg's own words where it has any.
    fn failed(&mut self, reason: &str) -> VideoError {
        self.stdin = None;
        let since = Instant::now();
        while let Ok(None) = exited(&mut self.child, since) {
            std::thread::sleep(GLANCE);
        }
        let said = self.log.errors();
        let reason = said.first().map_or_else(|| reason.to_owned(), |said| format!("ffmpeg says: `{said}`"));
        VideoError::Write { path: self.path.clone(), reason }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Best effort, where it has not ended by itself: nothing writes to the draft any more when that goes away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
