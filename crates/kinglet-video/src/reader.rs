//! Frames of one source, one after another.
//!
//! ffmpeg decodes, turns the picture upright as the file says, and hands over PPM frames through a pipe.

use crate::ffmpeg::{GLANCE, exited};
use crate::log::Log;
use crate::ppm;
use crate::{Ffmpeg, Input, Rate, VideoError};
use kinglet_vision::Image;
use std::io::{self, BufReader, ErrorKind};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Bytes of the pipe's buffer on this side.
const BUFFER: usize = 1 << 16;

/// Reads the frames of a source.
#[derive(Debug)]
pub struct Reader {
    input: Input,
    child: Arc<Mutex<Child>>,
    stream: BufReader<ChildStdout>,
    log: Log,
    frames: usize,
    /// Errors that had come when the last frame did.
    errors_before: usize,
    stride: usize,
}

/// Ends a [`Reader`] from another thread.
#[derive(Debug, Clone)]
pub(crate) struct Stopper(Arc<Mutex<Child>>);

impl Stopper {
    /// Ends the process; the reader then sees the end of its stream.
    pub fn stop(&self) {
        // Where it has ended already there is nothing to do.
        let _ = lock(&self.0).kill();
    }
}

impl Reader {
    /// Opens a source, of which every `stride`-th frame is used. What is wrong with it shows with the first frame.
    ///
    /// # Errors
    /// ffmpeg cannot be started.
    pub fn open(ffmpeg: &Ffmpeg, input: &Input, stride: usize) -> Result<Self, VideoError> {
        let stride = stride.max(1);
        let mut command = ffmpeg.command();
        command.args(input.arguments());
        // Numbered anew at a fixed rate, frames are neither doubled nor dropped to fit their times. `V`: no cover pictures.
        command.args([
            "-map",
            "0:V:0",
            "-vf",
            &format!("select='not(mod(n,{stride}))',settb=1/25,setpts=N"),
            "-r",
            "25",
        ]);
        command.args(["-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "-"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| ffmpeg.not_started(&error))?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let log = Log::listen(child.stderr.take().expect("standard error is piped"));
        Ok(Reader {
            input: input.clone(),
            child: Arc::new(Mutex::new(child)),
            stream: BufReader::with_capacity(BUFFER, stdout),
            log,
            frames: 0,
            errors_before: 0,
            stride,
        })
    }

    /// The rate that the source names, if it does, of all its frames. To be asked after the first one.
    pub fn rate(&self) -> Option<Rate> {
        self.log.described().0
    }

    /// About how many frames there are to use. To be asked after the first frame.
    pub fn expected_frames(&self) -> Option<usize> {
        let (rate, length) = self.log.described();
        let frames = (rate?.per_second() * length?.as_secs_f64()).round() as usize;
        Some(frames.div_ceil(self.stride))
    }

    /// The next frame; `None` at the end of a sound source.
    ///
    /// # Errors
    /// A source that cannot be opened, is damaged or cut off.
    pub fn next_frame(&mut self) -> Result<Option<Image>, VideoError> {
        match ppm::next_frame(&mut self.stream) {
            Ok(Some(image)) => {
                self.frames += 1;
                self.errors_before = self.log.count();
                return Ok(Some(image));
            }
            Ok(None) => {}
            // Cut off: ffmpeg says below why.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) => {
                let (input, reason) = (self.input.to_string(), error.to_string());
                return Err(VideoError::Frame { input, frame: self.frames + 1, reason });
            }
        }
        let status = exit(&self.child);
        let error = if self.input.is_live() && self.frames > 0 {
            self.log.end(self.errors_before, self.input.name())
        } else {
            self.log.errors().into_iter().next()
        };
        let sound = status.as_ref().is_ok_and(|status| status.success()) && error.is_none();
        if sound && self.frames > 0 {
            return Ok(None);
        }
        let reason = match (error, status) {
            (Some(error), _) => format!("`{}`", self.input.discreet(&error)),
            (None, Ok(status)) if status.success() => "nothing; there is no frame".to_owned(),
            (None, Ok(status)) => format!("nothing; it ended with {status}"),
            (None, Err(error)) => format!("nothing; {error}"),
        };
        let input = self.input.to_string();
        Err(match self.frames {
            0 => VideoError::Open { input, advice: self.input.advice(&reason), reason },
            frames => VideoError::Damaged { input, frames, reason },
        })
    }

    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(self.child.clone())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // Both fail where it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Waits until the process has ended, which has closed its output. In between, the lock is free for a stopper.
fn exit(child: &Mutex<Child>) -> io::Result<ExitStatus> {
    let since = Instant::now();
    loop {
        if let Some(status) = exited(&mut lock(child), since)? {
            return Ok(status);
        }
        std::thread::sleep(GLANCE);
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
