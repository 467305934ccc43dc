//! The `ffmpeg` executable: whether it is there and works, and how it is started.
//!
//! It runs as a process of its own: no codec is linked, and a crash of one costs one video.

use crate::VideoError;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// It may take so long to exit once it has closed its pipe.
const EXIT: Duration = Duration::from_secs(2);
/// Its exit, and that of threads that read from it, is looked for so often.
pub(crate) const GLANCE: Duration = Duration::from_millis(2);

/// A working `ffmpeg`.
#[derive(Debug, Clone)]
pub struct Ffmpeg {
    program: PathBuf,
    has_x264: bool,
}

impl Ffmpeg {
    /// Finds `ffmpeg` on the path, or takes the one that is named, and asks it which encoders it has.
    ///
    /// # Errors
    /// No such program, or another one.
    pub fn find(named: Option<&Path>) -> Result<Self, VideoError> {
        let program = named.unwrap_or(Path::new("ffmpeg")).to_owned();
        let mut asking = command(&program);
        asking.args(["-hide_banner", "-loglevel", "error", "-encoders"]);
        let output = asking.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
            ErrorKind::NotFound => VideoError::Missing { program: program.clone() },
            _ => VideoError::Program { program: program.clone(), reason: error.to_string() },
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !text.contains("ppm") {
            let reason = format!("`-encoders` ended with {} and lists no `ppm`", output.status);
            return Err(VideoError::Program { program, reason });
        }
        Ok(Ffmpeg { program, has_x264: text.split_whitespace().any(|word| word == "libx264") })
    }

    /// A command line that reads nothing from the terminal and tells everything with its level.
    pub(crate) fn command(&self) -> Command {
        let mut command = command(&self.program);
        command.args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-y"]);
        command
    }

    /// Encoder and its settings: H.264 where there is x264, else MPEG-4, which every build has.
    pub(crate) fn encoder(&self) -> &'static [&'static str] {
        if self.has_x264 {
            &["-c:v", "libx264", "-preset", "veryfast", "-crf", "23"]
        } else {
            &["-c:v", "mpeg4", "-q:v", "4"]
        }
    }

    /// A failed start as an error.
    pub(crate) fn not_started(&self, error: &std::io::Error) -> VideoError {
        VideoError::Program { program: self.program.clone(), reason: error.to_string() }
    }
}

/// The program, in a process group of its own: Ctrl-C is for Kinglet, which then ends it in order.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    #[cfg(windows)]
    {
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
        std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NEW_PROCESS_GROUP);
    }
    command
}

/// The exit status of a process that closed its pipe at `since`, if it has one. It is ended where it stays too long.
///
/// # Errors
/// That, or trouble of the system's.
pub(crate) fn exited(child: &mut Child, since: Instant) -> io::Result<Option<ExitStatus>> {
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    if since.elapsed() < EXIT {
        return Ok(None);
    }
    child.kill()?;
    child.wait()?;
    let reason = format!("it closed its pipe and did not exit for {} s", EXIT.as_secs());
    Err(io::Error::new(ErrorKind::TimedOut, reason))
}
