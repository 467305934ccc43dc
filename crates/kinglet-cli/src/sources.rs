//! From `--source` to a list of images, videos and streams, and a name of its own for each.

use crate::errors::CliError;
use crate::printer::counted;
use kinglet_data::convert::unique_stem;
use kinglet_video::{Area, Input};
use kinglet_vision::decode::{EXTENSIONS, UNDECODABLE_EXTENSIONS, has_image_extension, is_other_picture};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Extensions of videos, YOLOv5's and webm.
const VIDEOS: [&str; 12] = ["asf", "avi", "gif", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "webm", "wmv"];
/// Beginnings of addresses that are streams.
const SCHEMES: [&str; 11] = ["http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp", "mms"];
/// Longest stem made from an address.
const STEM: usize = 60;

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An image file.
    Image,
    /// A video, or something live.
    Frames(Input),
}

/// An image, video or stream to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file, or how a stream is called.
    pub path: PathBuf,
    /// Its name without extension, made unique: files of the same name in several folders stay apart.
    pub stem: String,
    /// What it is.
    pub kind: Kind,
}

/// The images, videos and streams that `--source` names, and remarks on what is passed over.
///
/// # Errors
/// Nothing there, or something that cannot be looked at.
pub fn expand(source: &str) -> Result<(Vec<Source>, Vec<String>), CliError> {
    let path = Path::new(source);
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if let Some(input) = live_or_remote(source)? {
        return Ok((streams(vec![input]), Vec::new()));
    }
    if path.is_file() && extension == "streams" {
        let inputs: Result<Vec<Input>, CliError> = lines(path)?.iter().map(|line| stream_of_list(path, line)).collect();
        return Ok((streams(inputs?), Vec::new()));
    }
    let mut notes = Vec::new();
    let found = if path.is_dir() {
        from_folder(path, &mut notes)?
    } else if path.is_file() && extension == "txt" {
        from_list(path)?
    } else if path.is_file() {
        vec![path.to_owned()]
    } else if source.contains(['*', '?', '[']) {
        from_pattern(source, &mut notes)?
    } else {
        return Err(CliError::input(format!(
            "`{source}` does not exist; expected an image or video, a folder, a pattern such as 'images/*.jpg', a .txt \
             list, a camera's number, an address such as rtsp://..., or `screen`"
        )));
    };
    Ok((named(found), notes))
}

/// The images among what `source` names, and remarks on what is passed over.
///
/// # Errors
/// As [`expand`].
pub fn images(source: &str) -> Result<(Vec<Source>, Vec<String>), CliError> {
    let (mut sources, notes) = expand(source)?;
    sources.retain(|source| source.kind == Kind::Image);
    Ok((sources, notes))
}

/// A camera, a screen, or what is behind an address; `None` for files.
fn live_or_remote(source: &str) -> Result<Option<Input>, CliError> {
    let words: Vec<&str> = source.split_whitespace().collect();
    if let Some((scheme, rest)) = source.split_once("://") {
        return address(source, &scheme.to_lowercase(), rest).map(Some);
    }
    if let (Ok(number), false) = (source.parse(), Path::new(source).exists()) {
        return Ok(Some(Input::camera(number)));
    }
    if ["/dev/video", "/dev/v4l/"].iter().any(|start| source.starts_with(start)) || is_device(Path::new(source)) {
        return Ok(Some(Input::Camera(source.to_owned())));
    }
    if words.first() == Some(&"screen") && !Path::new(source).exists() {
        return screen(source, &words[1..]).map(Some);
    }
    Ok(None)
}

/// Whether it is a device, or a link to one: cameras have names that stay the same wherever they are plugged in.
#[cfg(unix)]
fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|m| m.file_type().is_char_device())
}

#[cfg(not(unix))]
fn is_device(_: &Path) -> bool {
    false
}

fn address(source: &str, scheme: &str, rest: &str) -> Result<Input, CliError> {
    if !SCHEMES.contains(&scheme) {
        let known = SCHEMES.join(", ");
        return Err(CliError::input(format!(
            "`{source}`: `{scheme}` is no stream; expected one of {known}, or a file"
        )));
    }
    let place = Path::new(rest.split(['?', '#']).next().unwrap_or(rest));
    if has_image_extension(place) || is_other_picture(place) && !is_video(place) {
        return Err(CliError::input(format!(
            "`{source}` is one image, and images are not downloaded; fetch the file and name it"
        )));
    }
    let host = rest.split('/').next().unwrap_or(rest).to_lowercase();
    if ["youtube.com", "youtu.be"].iter().any(|site| host == *site || host.ends_with(&format!(".{site}"))) {
        return Err(CliError::input(format!(
            "`{source}` is a page, no stream; find the video's own address, or fetch the file and name it"
        )));
    }
    let is_film = scheme.starts_with("http") && is_video(place);
    Ok(if is_film { Input::Remote(source.to_owned()) } else { Input::Stream(source.to_owned()) })
}

/// `screen`, `screen N`, or `screen N LEFT TOP WIDTH HEIGHT`.
fn screen(source: &str, words: &[&str]) -> Result<Input, CliError> {
    let numbers: Option<Vec<usize>> = words.iter().map(|word| word.parse().ok()).collect();
    let (number, area) = match numbers.as_deref() {
        Some([]) => (0, None),
        Some(&[number]) => (number, None),
        Some(&[number, left, top, width, height]) if width > 0 && height > 0 => {
            (number, Some(Area { left, top, width, height }))
        }
        _ => {
            return Err(CliError::usage(format!(
                "`{source}`: expected 'screen', 'screen N', or 'screen N LEFT TOP WIDTH HEIGHT'"
            )));
        }
    };
    Ok(Input::Screen { number, area, display: std::env::var("DISPLAY").unwrap_or_else(|_| ":0".to_owned()) })
}

fn stream_of_list(list: &Path, line: &str) -> Result<Input, CliError> {
    match live_or_remote(line)? {
        Some(input) if input.is_live() => Ok(input),
        _ => Err(CliError::input(format!(
            "`{}`: `{line}` is not live; expected cameras and streams, one a line; name files directly or in a .txt list",
            list.display()
        ))),
    }
}

/// Sources that are no files, with stems made from their names.
fn streams(inputs: Vec<Input>) -> Vec<Source> {
    let mut taken = HashSet::new();
    let mut source = |input: Input| {
        let shown = input.to_string();
        let name = shown.split_once("://").map_or(&shown[..], |(_, rest)| rest);
        let name = ["/dev/v4l/by-id/", "/dev/v4l/by-path/", "/dev/"]
            .iter()
            .find_map(|start| name.strip_prefix(start))
            .unwrap_or(name);
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(STEM).collect();
        Source { path: PathBuf::from(&shown), stem: unique_stem(&plain, &mut taken), kind: Kind::Frames(input) }
    };
    inputs.into_iter().map(&mut source).collect()
}

fn is_video(path: &Path) -> bool {
    path.extension().is_some_and(|e| VIDEOS.contains(&&*e.to_string_lossy().to_lowercase()))
}

fn from_folder(folder: &Path, notes: &mut Vec<String>) -> Result<Vec<PathBuf>, CliError> {
    let entries = std::fs::read_dir(folder).map_err(|error| CliError::read(folder, &error))?;
    let all = usable(entries.map(|entry| entry.map(|entry| entry.path())), notes);
    if all.is_empty() {
        let kinds = [&EXTENSIONS[..], &VIDEOS[..]].concat().join(", ");
        return Err(CliError::input(format!(
            "no images or videos in `{}`; expected files ending in {kinds}",
            folder.display()
        )));
    }
    Ok(all)
}

/// The images and videos among what was found, by name, and remarks on what is passed over.
fn usable<E: std::fmt::Display>(
    found: impl Iterator<Item = Result<PathBuf, E>>,
    notes: &mut Vec<String>,
) -> Vec<PathBuf> {
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for path in found {
        match path {
            Ok(path) if path.is_file() => all.push(path),
            Ok(_) => {}
            Err(error) => errors.push(error.to_string()),
        }
    }
    if let Some(first) = errors.first() {
        notes.push(format!("{} could not be looked into and left out, first: {first}", counted(errors.len(), "place")));
    }
    all.sort();
    let passed_over = all.iter().filter(|p| is_other_picture(p) && !is_video(p)).count();
    if passed_over > 0 {
        let kinds: Vec<&str> = UNDECODABLE_EXTENSIONS.into_iter().filter(|kind| !VIDEOS.contains(kind)).collect();
        let kinds = kinds.join(", ");
        notes.push(format!(
            "{passed_over} files of kinds that are not read are left out ({kinds}); convert them to JPEG or PNG"
        ));
    }
    all.retain(|p| has_image_extension(p) || is_video(p));
    all
}

fn from_pattern(pattern: &str, notes: &mut Vec<String>) -> Result<Vec<PathBuf>, CliError> {
    let paths = glob::glob(pattern).map_err(|error| CliError::input(format!("`{pattern}` is no pattern: {error}")))?;
    let found = usable(paths, notes);
    if found.is_empty() {
        let remarks = notes.iter().map(|note| format!("; {note}")).collect::<String>();
        return Err(CliError::input(format!("no image or video matches `{pattern}`{remarks}")));
    }
    Ok(found)
}

fn from_list(list: &Path) -> Result<Vec<PathBuf>, CliError> {
    let folder = list.parent().unwrap_or(Path::new("."));
    let lines = lines(list)?;
    if let Some(line) = lines.iter().find(|line| line.contains("://")) {
        let shown = live_or_remote(line)?.map_or_else(|| line.clone(), |input| input.to_string());
        return Err(CliError::input(format!(
            "`{}`: `{shown}` is no file; expected paths of images and videos; name cameras and streams in a list that \
             ends in .streams, and a video behind an address directly",
            list.display()
        )));
    }
    let found = lines.into_iter().map(|line| {
        // As data lists are read: beside the list first, then from the current folder.
        let line = line.replace('\\', "/");
        let beside = folder.join(&line);
        if beside.exists() { beside } else { PathBuf::from(line) }
    });
    Ok(found.collect())
}

/// The lines of a list, without empty ones and comments.
fn lines(list: &Path) -> Result<Vec<String>, CliError> {
    let text = std::fs::read_to_string(list).map_err(|error| CliError::read(list, &error))?;
    let wanted = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let found: Vec<String> = text.lines().map(str::trim).filter(wanted).map(str::to_owned).collect();
    if found.is_empty() {
        return Err(CliError::input(format!("`{}` names nothing; expected one source a line", list.display())));
    }
    Ok(found)
}

/// Gives each file a stem that no other one has: `a`, `a-2`, `a-3`. The frames of a video `a` are called `a_1`, `a_2`, so
/// beside an image of such a name it is another.
pub fn named(paths: Vec<PathBuf>) -> Vec<Source> {
    let stem_of = |path: &Path| path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let like_frames: HashSet<String> = paths
        .iter()
        .filter(|path| !is_video(path))
        .filter_map(|path| {
            let stem = stem_of(path).to_lowercase();
            let (video, number) = stem.rsplit_once('_')?;
            (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(|| video.to_owned())
        })
        .collect();
    let mut taken = HashSet::new();
    paths
        .into_iter()
        .map(|path| {
            let wanted = stem_of(&path);
            let mut stem = unique_stem(&wanted, &mut taken);
            if !is_video(&path) {
                return Source { path, stem, kind: Kind::Image };
            }
            while like_frames.contains(&stem.to_lowercase()) {
                stem = unique_stem(&wanted, &mut taken);
            }
            Source { stem, kind: Kind::Frames(Input::File(path.clone())), path }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_names_in_several_folders_stay_apart() {
        let paths = ["x/a.jpg", "y/a.jpg", "z/A.png", "a-2.jpg"].map(PathBuf::from).to_vec();
        let stems: Vec<String> = named(paths).into_iter().map(|s| s.stem).collect();
        assert_eq!(stems, ["a", "a-2", "A-3", "a-2-2"]);
    }

    #[test]
    fn a_video_has_no_frame_with_the_name_of_an_image() {
        let paths = ["b.mp4", "B_1.jpg", "c.mp4", "c_x.jpg", "c-2_07.jpg", "d_1.jpg"].map(PathBuf::from).to_vec();
        let stems: Vec<String> = named(paths).into_iter().map(|s| s.stem).collect();
        assert_eq!(stems, ["b-2", "B_1", "c", "c_x", "c-2_07", "d_1"]);
    }

    #[test]
    fn folders_patterns_and_lists_give_sorted_images() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.jpg", "a.PNG", "notes.txt", "c.heic"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::write(dir.path().join("list.txt"), "# a comment\n./b.jpg\n\nmissing.jpg\n").unwrap();
        let stems = |source: String| expand(&source).unwrap().0.into_iter().map(|s| s.stem).collect::<Vec<_>>();
        let root = dir.path().display();
        assert_eq!(stems(format!("{root}")), ["a", "b"]);
        assert_eq!(stems(format!("{root}/*.jpg")), ["b"]);
        assert_eq!(stems(format!("{root}/list.txt")), ["b", "missing"]);
        for source in [format!("{root}"), format!("{root}/*")] {
            let notes = expand(&source).unwrap().1;
            assert!(notes.len() == 1 && notes[0].starts_with("1 files of kinds that are not read"), "{notes:?}");
        }
        let error = expand(&format!("{root}/*.heic")).unwrap_err().to_string();
        assert!(error.contains("convert them to JPEG or PNG"), "{error}");
    }

    #[test]
    fn videos_lie_among_the_images_of_folders_patterns_and_lists() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.jpg", "a.MP4", "notes.md", "c.heic", "d.gif"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::write(dir.path().join("list.txt"), "a.MP4\nb.jpg\n").unwrap();
        let root = dir.path().display();
        for (source, expected) in [
            (format!("{root}"), &[("a", true), ("b", false), ("d", true)][..]),
            (format!("{root}/*.*"), &[("a", true), ("b", false), ("d", true)]),
            (format!("{root}/list.txt"), &[("a", true), ("b", false)]),
            (format!("{root}/a.MP4"), &[("a", true)]),
        ] {
            let found = expand(&source).unwrap().0;
            let found: Vec<(&str, bool)> =
                found.iter().map(|s| (&*s.stem, matches!(s.kind, Kind::Frames(Input::File(_))))).collect();
            assert_eq!(found, expected, "{source}");
        }
    }

    fn input(source: &str) -> (Input, String) {
        let source = expand(source).unwrap().0.remove(0);
        match source.kind {
            Kind::Frames(input) => (input, source.stem),
            Kind::Image => panic!("an image: {source:?}"),
        }
    }

    #[test]
    fn addresses_are_videos_or_streams() {
        let url = "rtsp://me:secret@10.0.0.5:554/live";
        assert_eq!(input(url), (Input::Stream(url.into()), "me_____10_0_0_5_554_live".into()));
        assert_eq!(input("https://host/a/film.mp4?x=1").0, Input::Remote("https://host/a/film.mp4?x=1".into()));
        assert_eq!(input("http://host/live.m3u8").0, Input::Stream("http://host/live.m3u8".into()));
        assert_eq!(input("/dev/video3"), (Input::Camera("/dev/video3".into()), "video3".into()));
        let area = Some(Area { left: 1, top: 2, width: 3, height: 4 });
        assert!(matches!(input("screen 1 1 2 3 4").0, Input::Screen { number: 1, area: a, .. } if a == area));
        assert!(matches!(input("screen"), (Input::Screen { number: 0, area: None, .. }, stem) if stem == "screen_0"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_number_is_a_camera() {
        assert_eq!(input("0"), (Input::Camera("/dev/video0".into()), "video0".into()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_camera_has_lasting_names() {
        let name = "/dev/v4l/by-id/usb-Maker_Camera-index0";
        assert_eq!(input(name), (Input::Camera(name.into()), "usb_Maker_Camera_index0".into()));
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("door");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(input(&link.to_string_lossy()).0, Input::Camera(link.to_string_lossy().into()));
    }

    #[test]
    fn a_list_of_streams_holds_live_sources_only() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("all.streams");
        std::fs::write(&list, "# cameras\nrtsp://a/live\nrtsp://a/live\n").unwrap();
        let found = expand(&list.to_string_lossy()).unwrap().0;
        assert_eq!(found.iter().map(|s| &*s.stem).collect::<Vec<_>>(), ["a_live", "a_live-2"]);
        std::fs::write(&list, "rtsp://a/live\nfilm.mp4\n").unwrap();
        let error = expand(&list.to_string_lossy()).unwrap_err().to_string();
        assert!(error.contains("all.streams") && error.contains("`film.mp4` is not live"), "{error}");
        let list = dir.path().join("all.txt");
        std::fs::write(&list, "a.jpg\nrtsp://me:secret@a/live\n").unwrap();
        let error = expand(&list.to_string_lossy()).unwrap_err().to_string();
        assert!(error.contains("`rtsp://me:***@a/live` is no file") && error.contains(".streams"), "{error}");
    }

    #[test]
    fn what_is_not_supported_says_so() {
        for (source, words) in [
            ("https://a/b.jpg", "not downloaded"),
            ("https://www.youtube.com/watch?v=x", "a page"),
            ("ftp://a/b.mp4", "no stream"),
            ("screen 1 2", "LEFT TOP"),
            ("film.mp4", "does not exist"),
            ("no/such.jpg", "does not exist"),
            ("no/such/*.jpg", "no image or video matches"),
        ] {
            let error = expand(source).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
