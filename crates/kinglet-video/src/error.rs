//! What can go wrong with `ffmpeg` and with videos.

use std::path::PathBuf;

/// Why frames cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// There is no such program.
    #[error(
        "`{}` was not found; videos, cameras and streams are read and written through it: install it with `{}`, or \
         name it with --ffmpeg", program.display(), install_line()
    )]
    Missing {
        /// The program as it was looked for.
        program: PathBuf,
    },
    /// The program is there and does not work.
    #[error("`{}` does not work as ffmpeg: {reason}; name another one with --ffmpeg", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// What it said, or the system.
        reason: String,
    },
    /// No frame came.
    #[error("cannot read `{input}`: ffmpeg says: {reason}; {advice}")]
    Open {
        /// The source, as it is shown.
        input: String,
        /// What ffmpeg said.
        reason: String,
        /// The next step.
        advice: &'static str,
    },
    /// Frames came, and then trouble.
    #[error(
        "`{input}` is damaged or cut off: after {frames} frames ffmpeg says: {reason}; what was found so far is kept"
    )]
    Damaged {
        /// The source, as it is shown.
        input: String,
        /// Frames that were read.
        frames: usize,
        /// What ffmpeg said.
        reason: String,
    },
    /// A live source that went away.
    #[error("`{input}` ended after {frames} frames and did not come back: {reason}")]
    Ended {
        /// The source, as it is shown.
        input: String,
        /// Frames that came.
        frames: u64,
        /// What was found at the last try.
        reason: String,
    },
    /// A live source whose connection stands, but nothing comes.
    #[error("`{input}` gave no frame for {} s; {advice}", time.as_secs_f64())]
    Silent {
        /// The source, as it is shown.
        input: String,
        /// So long.
        time: std::time::Duration,
        /// The next step.
        advice: &'static str,
    },
    /// A frame that cannot be taken.
    #[error("frame {frame} of `{input}` cannot be taken: {reason}")]
    Frame {
        /// The source, as it is shown.
        input: String,
        /// The frame, counted from 1.
        frame: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A video that cannot be written.
    #[error("cannot write `{}`: {reason}; choose a folder that can be written with --project, or leave videos out with --nosave", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What ffmpeg or the system said.
        reason: String,
    },
}

impl VideoError {
    /// What was found, for where the source is named already and the next step is Kinglet's.
    pub(crate) fn into_reason(self) -> String {
        match self {
            VideoError::Open { reason, .. } | VideoError::Damaged { reason, .. } => format!("ffmpeg says: {reason}"),
            VideoError::Silent { time, .. } => format!("no frame for {} s", time.as_secs_f64()),
            other => other.to_string(),
        }
    }
}

/// How ffmpeg is installed on this system.
fn install_line() -> &'static str {
    match std::env::consts::OS {
        "macos" => "brew install ffmpeg",
        "windows" => "winget install ffmpeg",
        _ => "apt-get install ffmpeg",
    }
}
