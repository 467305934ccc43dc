//! What is looked at: a file, a stream, a camera, the screen; and how ffmpeg is told to open it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Microseconds that a server may take for the next bytes of a video.
const SILENCE: &str = "30000000";

/// Microseconds of a stream that ffmpeg looks at before its first frame. It takes five seconds by itself, and frames that
/// come meanwhile are lost.
const ANALYSIS: &str = "1000000";

/// A part of the screen in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Pixels from the left edge.
    pub left: usize,
    /// Pixels from the top edge.
    pub top: usize,
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

/// A source of frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A video file: every frame counts.
    File(PathBuf),
    /// A video behind a URL: every frame counts.
    Remote(String),
    /// A stream behind a URL: the newest frame counts.
    Stream(String),
    /// A camera, by its device file, or by its number where the system has none.
    Camera(String),
    /// A screen.
    Screen {
        /// Which one.
        number: usize,
        /// The part of it; all of it otherwise.
        area: Option<Area>,
        /// The X11 display, `:0`; other systems have none.
        display: String,
    },
}

impl Input {
    /// A camera of this machine, counted from 0.
    pub fn camera(number: u32) -> Self {
        Input::Camera(if cfg!(target_os = "linux") { format!("/dev/video{number}") } else { number.to_string() })
    }

    /// Whether the newest frame counts, instead of every one.
    pub fn is_live(&self) -> bool {
        !matches!(self, Input::File(_) | Input::Remote(_))
    }

    /// The arguments that open it.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        match self {
            Input::File(path) => {
                // A file may be a playlist: it must not lead to other places.
                let mut arguments = words(&["-protocol_whitelist", "file", "-i"]);
                let mut name = OsString::from("file:");
                name.push(path);
                arguments.push(name);
                arguments
            }
            Input::Remote(url) => words(&["-rw_timeout", SILENCE, "-i", url]),
            Input::Stream(url) => {
                let transport: &[&str] = if url.starts_with("rtsp") { &["-rtsp_transport", "tcp"] } else { &[] };
                let live = ["-fflags", "nobuffer", "-flags", "low_delay", "-analyzeduration", ANALYSIS, "-i", url];
                words(&[transport, &live].concat())
            }
            Input::Camera(device) if cfg!(target_os = "macos") => {
                words(&["-f", "avfoundation", "-framerate", "30", "-i", &format!("{device}:none")])
            }
            Input::Camera(device) if cfg!(windows) => words(&["-f", "dshow", "-i", &format!("video={device}")]),
            // A compressed frame that arrived in part would be filled up with the one before.
            Input::Camera(device) => words(&["-err_detect", "explode", "-f", "v4l2", "-i", device]),
            Input::Screen { number, area, display } => screen(*number, *area, display),
        }
    }

    /// What ffmpeg calls it in its errors; no file and no screen goes away.
    pub(crate) fn name(&self) -> &str {
        match self {
            Input::Remote(name) | Input::Stream(name) | Input::Camera(name) => name,
            Input::File(_) | Input::Screen { .. } => "demuxing",
        }
    }

    /// What to try where it cannot be opened, and ffmpeg says why.
    pub(crate) fn advice(&self, reason: &str) -> &'static str {
        match self {
            Input::Camera(_) if cfg!(target_os = "linux") && reason.contains("Permission denied") => {
                "cameras are for the group `video`: `sudo usermod -aG video $USER`, then log in anew"
            }
            Input::File(_) => "play the file to see whether it is whole",
            Input::Remote(_) | Input::Stream(_) => {
                "try the address with `ffplay`, and check name, password and network"
            }
            Input::Camera(_)
                if reason.contains("Inappropriate ioctl") || reason.contains("ot a video capture device") =>
            {
                "this device gives no pictures: a camera has several, often two; try its other numbers, which \
                 `v4l2-ctl --list-devices` shows"
            }
            Input::Camera(_) if reason.contains("busy") => "another program is using this camera; close it",
            Input::Camera(_) if cfg!(target_os = "linux") => "`ls /dev/video*` lists the cameras",
            Input::Camera(_) => "`ffmpeg -devices` tells how this system's cameras are listed",
            Input::Screen { .. } => "on Linux, DISPLAY must name a screen of X11; Wayland's cannot be read",
        }
    }

    /// What to try where it is open and nothing comes.
    pub(crate) fn advice_for_silence(&self) -> &'static str {
        match self {
            Input::Camera(_) => "plug the camera in anew, and see whether another program gets pictures from it",
            _ => "see whether it still sends, with `ffplay` or its own page",
        }
    }

    /// Takes the password out of what ffmpeg says about this source.
    pub(crate) fn discreet(&self, text: &str) -> String {
        match self {
            Input::Remote(url) | Input::Stream(url) => text.replace(url.as_str(), &without_password(url)),
            _ => text.to_owned(),
        }
    }
}

fn screen(number: usize, area: Option<Area>, display: &str) -> Vec<OsString> {
    let size = area.map(|a| format!("{}x{}", a.width, a.height));
    let mut words: Vec<String> = Vec::new();
    let mut push = |parts: &[&str]| words.extend(parts.iter().map(|&part| part.to_owned()));
    if cfg!(target_os = "macos") {
        push(&["-f", "avfoundation", "-framerate", "30", "-i", &format!("Capture screen {number}:none")]);
    } else if cfg!(windows) {
        push(&["-f", "gdigrab", "-framerate", "30"]);
        if let (Some(a), Some(size)) = (area, &size) {
            push(&["-offset_x", &a.left.to_string(), "-offset_y", &a.top.to_string(), "-video_size", size]);
        }
        push(&["-i", "desktop"]);
    } else {
        push(&["-f", "x11grab", "-framerate", "30"]);
        if let Some(size) = &size {
            push(&["-video_size", size]);
        }
        let at = area.map_or(String::new(), |a| format!("+{},{}", a.left, a.top));
        // `:0` and `:0.0` both name a display; the screen's number follows the point.
        let display = display.split_once('.').map_or(display, |(display, _)| display);
        push(&["-i", &format!("{display}.{number}{at}")]);
    }
    words.into_iter().map(OsString::from).collect()
}

/// An address without its password.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..host_end].rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((name, host)) => format!("{scheme}://{name}:***@{host}{}", &rest[host_end..]),
        None => url.to_owned(),
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::File(path) => write!(f, "{}", path.display()),
            Input::Remote(url) | Input::Stream(url) => f.write_str(&without_password(url)),
            Input::Camera(device) => f.write_str(device),
            Input::Screen { number, .. } => write!(f, "screen {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let stream = Input::Stream("rtsp://me:secret@10.0.0.5:554/live?a=b@c".into());
        assert_eq!(stream.to_string(), "rtsp://me:***@10.0.0.5:554/live?a=b@c");
        assert!(!stream.discreet("rtsp://me:secret@10.0.0.5:554/live?a=b@c: no route").contains("secret"));
        assert_eq!(Input::Stream("udp://@239.0.0.1:1234".into()).to_string(), "udp://@239.0.0.1:1234");
        assert_eq!(Input::Remote("http://host/a.mp4".into()).to_string(), "http://host/a.mp4");
    }

    #[test]
    fn a_file_is_never_taken_for_an_option_or_an_address() {
        let words = Input::File("-y".into()).arguments();
        assert_eq!(words, ["-protocol_whitelist", "file", "-i", "file:-y"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_camera_that_is_not_allowed_and_one_that_is_not_there_are_told_apart() {
        let camera = Input::camera(0);
        assert!(
            camera.advice("`Cannot open video device /dev/video0: Permission denied`").contains("usermod -aG video")
        );
        assert!(camera.advice("`/dev/video0: No such file or directory`").starts_with("`ls /dev/video*`"));
        assert!(camera.advice("`ioctl(VIDIOC_G_INPUT): Inappropriate ioctl for device`").contains("other numbers"));
        assert!(camera.advice("`ioctl(VIDIOC_STREAMON): Device or resource busy`").starts_with("another program"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_part_of_the_screen_is_named_as_x11grab_wants_it() {
        let area = Some(Area { left: 10, top: 20, width: 300, height: 200 });
        let words = Input::Screen { number: 1, area, display: ":0.0".into() }.arguments();
        assert_eq!(words, ["-f", "x11grab", "-framerate", "30", "-video_size", "300x200", "-i", ":0.1+10,20"]);
    }
}
