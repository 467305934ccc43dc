//! Videos through the real ffmpeg where there is one, and its failures through made-up ones.

use kinglet_video::{Change, Ffmpeg, Input, LiveSet, Next, Rate, Reader, Reopen, VideoError, Writer};
use kinglet_vision::Image;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The machine's ffmpeg; without one the test has nothing to try.
fn real() -> Option<Ffmpeg> {
    let found = Ffmpeg::find(None);
    if let Err(error) = &found {
        eprintln!("skipped: {error}");
    }
    found.ok()
}

/// A grey picture with a square of this colour at (x, y): colours and places survive compression well enough.
fn picture(width: usize, height: usize, (x, y): (usize, usize), colour: [u8; 3]) -> Image {
    let mut image = Image::new(width, height, [90; 3]);
    image.paste(&Image::new(16, 16, colour), x as isize, y as isize);
    image
}

fn is_near(found: [u8; 3], expected: [u8; 3]) -> bool {
    found.into_iter().zip(expected).all(|(a, b)| a.abs_diff(b) < 40)
}

/// A video whose red square moves by 4 px a frame.
fn write_clip(ffmpeg: &Ffmpeg, path: &Path, (width, height): (usize, usize), rate: Rate, frames: usize) {
    let mut writer = Writer::create(ffmpeg, path, (width, height), rate).unwrap();
    for i in 0..frames {
        writer.write(&picture(width, height, (4 * i, 20), [220, 40, 40])).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), path);
}

fn read_all(reader: &mut Reader) -> (Vec<Image>, Option<VideoError>) {
    let mut frames = Vec::new();
    loop {
        match reader.next_frame() {
            Ok(Some(image)) => frames.push(image),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_read_again_frame_by_frame() {
    let Some(ffmpeg) = real() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b'c%d.mp4");
    let rate = Rate { frames: 30000, seconds: 1001 };
    write_clip(&ffmpeg, &path, (160, 96), rate, 20);
    assert_eq!(names(folder.path()), ["a b'c%d.mp4"], "no temporary file is left");
    let mut reader = Reader::open(&ffmpeg, &Input::File(path.clone()), 1).unwrap();
    let (frames, error) = read_all(&mut reader);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((reader.rate(), reader.expected_frames()), (Some(rate), Some(20)));
    assert_eq!(frames.len(), 20);
    for (i, frame) in frames.iter().enumerate() {
        assert_eq!((frame.width, frame.height), (160, 96));
        assert!(is_near(frame.pixel(4 * i + 8, 28), [220, 40, 40]), "frame {i}: {:?}", frame.pixel(4 * i + 8, 28));
        assert!(is_near(frame.pixel(150, 80), [90; 3]), "frame {i}");
    }
    // Every third frame: 0, 3, ..., 18.
    let mut reader = Reader::open(&ffmpeg, &Input::File(path), 3).unwrap();
    let (frames, error) = read_all(&mut reader);
    assert!(error.is_none() && frames.len() == 7, "{} {error:?}", frames.len());
    assert!(is_near(frames[2].pixel(4 * 6 + 8, 28), [220, 40, 40]));
    assert_eq!((reader.rate(), reader.expected_frames()), (Some(rate), Some(7)));
}

#[test]
fn a_video_with_odd_sides_keeps_its_picture() {
    let Some(ffmpeg) = real() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.mp4");
    write_clip(&ffmpeg, &path, (101, 67), Rate::USUAL, 3);
    let (frames, _) = read_all(&mut Reader::open(&ffmpeg, &Input::File(path), 1).unwrap());
    assert_eq!((frames.len(), frames[0].width, frames[0].height), (3, 102, 68));
    assert!(is_near(frames[0].pixel(8, 28), [220, 40, 40]) && is_near(frames[0].pixel(101, 67), [90; 3]));
}

#[test]
fn a_turned_video_is_read_upright() {
    let Some(ffmpeg) = real() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (plain, turned) = (folder.path().join("plain.mp4"), folder.path().join("turned.mp4"));
    write_clip(&ffmpeg, &plain, (160, 96), Rate::USUAL, 3);
    // Older versions take the turn as metadata, newer ones as an option of the input.
    let old = ["-i", "plain.mp4", "-c", "copy", "-metadata:s:v", "rotate=90", "turned.mp4"];
    let new = ["-display_rotation:v:0", "90", "-i", "plain.mp4", "-c", "copy", "turned.mp4"];
    let is_turned = [&new[..], &old[..]].iter().any(|words| {
        let mut command = std::process::Command::new("ffmpeg");
        command.current_dir(folder.path()).args(["-y", "-loglevel", "error"]).args(*words);
        command.output().is_ok_and(|output| output.status.success())
    });
    assert!(is_turned, "this ffmpeg turns videos in neither way");
    let (frames, error) = read_all(&mut Reader::open(&ffmpeg, &Input::File(turned), 1).unwrap());
    assert!(error.is_none(), "{error:?}");
    assert_eq!((frames[0].width, frames[0].height), (96, 160));
    // The square at (8, 28) lies at the left of the top: turned by 90 degrees one way or the other.
    let corners = [frames[0].pixel(96 - 1 - 28, 8), frames[0].pixel(28, 160 - 1 - 8)];
    assert_eq!(corners.iter().filter(|&&pixel| is_near(pixel, [220, 40, 40])).count(), 1, "{corners:?}");
}

#[test]
fn a_frame_of_another_size_and_frames_by_time_fit_into_the_video() {
    let Some(ffmpeg) = real() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.mp4");
    let mut writer = Writer::create(&ffmpeg, &path, (64, 64), Rate { frames: 10, seconds: 1 }).unwrap();
    writer.write_until(picture(64, 64, (0, 0), [220, 40, 40]), Duration::ZERO).unwrap();
    // Too early for another frame; then half a second later, from a camera that has changed its size.
    writer.write_until(picture(64, 64, (0, 0), [40, 220, 40]), Duration::from_millis(50)).unwrap();
    // Nothing came for a while: the green one stays, which changes nothing in the end.
    writer.stay_until(Duration::from_millis(350)).unwrap();
    writer.write_until(Image::new(128, 32, [40, 40, 220]), Duration::from_millis(500)).unwrap();
    // Nothing comes any more.
    writer.stay_until(Duration::from_millis(850)).unwrap();
    writer.finish().unwrap();
    let (frames, _) = read_all(&mut Reader::open(&ffmpeg, &Input::File(path), 1).unwrap());
    let colours = [[220, 40, 40], [40, 220, 40], [40, 40, 220]];
    let shown: Vec<Option<usize>> =
        frames.iter().map(|frame| colours.iter().position(|&colour| is_near(frame.pixel(8, 8), colour))).collect();
    // Red at 0 s, green (which came at 0.05 s) from 0.1 to 0.4 s, blue from 0.5 to 0.7 s; another could still come for 0.8 s.
    assert_eq!(shown, [0, 1, 1, 1, 1, 2, 2, 2].map(Some));
}

#[test]
fn a_cut_off_video_gives_its_frames_and_then_an_error() {
    let Some(ffmpeg) = real() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.mp4");
    write_clip(&ffmpeg, &path, (160, 96), Rate::USUAL, 40);
    let bytes = std::fs::read(&path).unwrap();
    let cut = folder.path().join("cut.mp4");
    // The index stands at the beginning, as the writer puts it, so a part can be read.
    std::fs::write(&cut, &bytes[..bytes.len() - bytes.len() / 5]).unwrap();
    let (frames, error) = read_all(&mut Reader::open(&ffmpeg, &Input::File(cut.clone()), 1).unwrap());
    assert!(!frames.is_empty() && frames.len() < 40, "{}", frames.len());
    let Some(VideoError::Damaged { frames: told, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(*told, frames.len());
    assert!(error.unwrap().to_string().contains("cut.mp4"));

    std::fs::write(&cut, &bytes[..200]).unwrap();
    let (frames, error) = read_all(&mut Reader::open(&ffmpeg, &Input::File(cut), 1).unwrap());
    assert!(frames.is_empty() && matches!(error, Some(VideoError::Open { .. })), "{error:?}");
    let nothing = Input::File(folder.path().join("nothing.mp4"));
    let (_, error) = read_all(&mut Reader::open(&ffmpeg, &nothing, 1).unwrap());
    let text = error.unwrap().to_string();
    assert!(text.contains("nothing.mp4") && text.contains("No such file"), "{text}");
}

#[test]
fn a_video_that_cannot_be_written_leaves_nothing() {
    let Some(ffmpeg) = real() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken.mp4");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("inside"), "").unwrap();
    let mut writer = Writer::create(&ffmpeg, &path, (32, 32), Rate::USUAL).unwrap();
    writer.write(&Image::new(32, 32, [0; 3])).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("taken.mp4"), "{error}");
    let outcome = Writer::create(&ffmpeg, &folder.path().join("no/such/a.mp4"), (32, 32), Rate::USUAL);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
    drop(Writer::create(&ffmpeg, &folder.path().join("unfinished.mp4"), (32, 32), Rate::USUAL).unwrap());
    assert_eq!(names(folder.path()), ["taken.mp4"]);
}

#[test]
fn a_program_that_is_missing_or_another_one_is_named() {
    let error = Ffmpeg::find(Some(Path::new("no-such-ffmpeg"))).unwrap_err().to_string();
    assert!(error.contains("`no-such-ffmpeg` was not found") && error.contains("install ffmpeg"), "{error}");
}

#[cfg(unix)]
mod made_up {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A script that plays ffmpeg: lists an encoder where asked, and else does as the body says.
    fn script(folder: &Path, body: &str) -> PathBuf {
        let path = folder.join("ffmpeg");
        let text = format!("#!/bin/sh\ncase \"$*\" in *-encoders*) echo ' V..... ppm'; exit 0;; esac\n{body}\n");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn made_up(folder: &Path, body: &str) -> Ffmpeg {
        Ffmpeg::find(Some(&script(folder, body))).unwrap()
    }

    /// Shell words that print a frame of one pixel.
    const FRAME: &str = r"printf 'P6\n1 1\n255\nabc'";

    fn reads(body: &str, input: &Input) -> (usize, Option<VideoError>) {
        let folder = tempfile::tempdir().unwrap();
        let (frames, error) = read_all(&mut Reader::open(&made_up(folder.path(), body), input, 1).unwrap());
        (frames.len(), error)
    }

    #[test]
    fn every_way_to_end_is_told_apart() {
        let file = Input::File("a.mp4".into());
        let (frames, error) = reads(&format!("{FRAME}; {FRAME}"), &file);
        assert!(frames == 2 && error.is_none(), "{error:?}");
        for (body, frames, words) in [
            (format!("{FRAME}; echo '[x @ 0x1] [error] bad block' >&2"), 1, "after 1 frames ffmpeg says: `bad block`"),
            (format!("{FRAME}; exit 3"), 1, "exit status: 3"),
            (format!("{FRAME}; kill -9 $$"), 1, "signal: 9"),
            (format!("{FRAME}; printf 'P6\\n9 9\\n255\\nxx'; exit 1"), 1, "exit status: 1"),
            ("exit 0".to_owned(), 0, "there is no frame"),
            (
                "echo '[error] a.mp4: No such file' >&2; exit 1".to_owned(),
                0,
                "cannot read `a.mp4`: ffmpeg says: `a.mp4: No",
            ),
            ("echo hello".to_owned(), 0, "frame 1 of `a.mp4` cannot be taken: expected a PPM frame, found `hello`"),
        ] {
            let (found, error) = reads(&body, &file);
            let text = error.unwrap_or_else(|| panic!("{body}")).to_string();
            assert!(found == frames && text.contains(words), "{body}: {found} {text}");
        }
    }

    #[test]
    fn passwords_stay_out_of_errors() {
        let url = "rtsp://me:secret@host/live";
        let body = "for last; do :; done; echo \"[error] rtsp://me:secret@host/live: refused\" >&2; exit 1";
        let text = reads(body, &Input::Stream(url.into())).1.unwrap().to_string();
        assert!(text.contains("rtsp://me:***@host/live: refused") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_program_that_lists_no_encoders_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = script(folder.path(), "");
        std::fs::write(&path, "#!/bin/sh\nexit 7\n").unwrap();
        let error = Ffmpeg::find(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("does not work as ffmpeg") && error.contains("exit status: 7"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Ffmpeg::find(Some(&path)).unwrap_err().to_string().contains("Permission denied"));
    }

    const ONCE: Reopen = Reopen { tries: 1, pause: Duration::from_millis(1), silence: Duration::from_secs(60) };
    const LONG: Duration = Duration::from_secs(60);

    fn stream(name: &str) -> Input {
        Input::Stream(format!("tcp://{name}"))
    }

    #[test]
    fn of_a_live_source_the_newest_frame_is_kept_and_the_others_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        // A hundred frames at once; the source then stays open and silent, and `done` says that all have been taken.
        let body = format!(
            "echo '[info]   Stream #0:0: Video: h264, 9x9, 15 fps, 15 tbr' >&2; echo '[info] Output #0' >&2\n\
             i=0; while [ $i -lt 100 ]; do {FRAME}; i=$((i+1)); done; touch {}/done; exec sleep 1000",
            folder.path().display()
        );
        let mut set = LiveSet::open(&made_up(folder.path(), &body), &[stream("a")], 1, ONCE);
        while !folder.path().join("done").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (mut looks, mut last) = (0, 0);
        while last < 100 {
            let Next::Frame(0, frame) = set.next(LONG) else { panic!("a frame was expected after {last}") };
            assert!(frame.number > last, "{} after {last}", frame.number);
            (looks, last) = (looks + 1, frame.number);
        }
        assert_eq!(looks + set.dropped(0), 100);
        assert_eq!(set.rate(0), Some(Rate { frames: 15, seconds: 1 }));
        assert!(matches!(set.next(Duration::from_millis(1)), Next::Nothing));
        // Ends the silent process.
        drop(set);
    }

    #[test]
    fn a_source_that_ends_is_opened_again_and_its_frames_count_on() {
        let folder = tempfile::tempdir().unwrap();
        // Two frames the first time, one the second time, then nothing.
        let body = format!(
            "n=$(cat {0}/n 2>/dev/null || echo 0); echo $((n+1)) > {0}/n\n\
             case $n in 0) {FRAME}; {FRAME};; 1) {FRAME};; *) echo '[error] no route' >&2; exit 1;; esac",
            folder.path().display()
        );
        let mut set = LiveSet::open(&made_up(folder.path(), &body), &[stream("a")], 1, ONCE);
        let (mut looks, mut last, mut changes) = (0, 0, Vec::new());
        let error = loop {
            match set.next(LONG) {
                Next::Frame(_, frame) => (looks, last) = (looks + 1, frame.number),
                Next::Changed(_, Change::Lost { reason, attempt, of }) => {
                    changes.push(format!("{reason}, {attempt} of {of}"));
                }
                Next::Changed(_, Change::Back { after }) => {
                    assert!(after >= ONCE.pause, "{after:?}");
                    changes.push("back".to_owned());
                }
                Next::Ended(_, error) => break error.to_string(),
                other => panic!("{other:?}"),
            }
        };
        // Frames came in between, so each loss begins to count anew.
        assert_eq!(changes, ["the stream is over, 1 of 1", "back", "the stream is over, 1 of 1"]);
        assert_eq!((last, looks + set.dropped(0)), (3, 3));
        assert!(error.contains("`tcp://a` ended after 3 frames") && error.contains("no route"), "{error}");
        assert!(matches!(set.next(LONG), Next::AllEnded));
    }

    /// Where the wait for the process were not bounded, this would take a quarter of an hour.
    #[test]
    fn an_ffmpeg_that_closes_its_output_and_stays_is_ended() {
        let stays = format!("{FRAME}; exec sleep 1000 >&-");
        let (frames, error) = reads(&stays, &Input::File("a.mp4".into()));
        let text = error.unwrap().to_string();
        assert!(frames == 1 && text.contains("closed its pipe and did not exit for 2 s"), "{text}");

        let folder = tempfile::tempdir().unwrap();
        let deaf = made_up(folder.path(), "exec sleep 1000 <&-");
        let mut writer = Writer::create(&deaf, &folder.path().join("a.mp4"), (400, 400), Rate::USUAL).unwrap();
        let frame = Image::new(400, 400, [0; 3]);
        let error = std::iter::repeat_with(|| writer.write(&frame)).find_map(Result::err).unwrap().to_string();
        assert!(error.contains("cannot write `") && error.contains("a.mp4"), "{error}");

        // Stopping comes through while that is waited for, and where what a script started holds the pipe.
        for body in [stays, format!("{FRAME}; (sleep 20; touch $0.late); true")] {
            let folder = tempfile::tempdir().unwrap();
            let mut set = LiveSet::open(&made_up(folder.path(), &body), &[stream("a")], 1, ONCE);
            assert!(matches!(set.next(LONG), Next::Frame(..)));
            drop(set);
            assert!(!folder.path().join("ffmpeg.late").exists(), "the stop waited for a stranger");
        }
    }

    #[test]
    fn a_source_that_never_gave_a_frame_is_not_tried_again_and_the_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let body = format!(
            "case \"$*\" in *tcp://bad*) echo x >> {}/tries; echo '[error] refused' >&2; exit 1;; esac\n{FRAME}; exec sleep 1000",
            folder.path().display()
        );
        let inputs = [stream("bad"), stream("good")];
        let mut set = LiveSet::open(&made_up(folder.path(), &body), &inputs, 1, ONCE);
        let (mut frames, mut errors) = (Vec::new(), Vec::new());
        while frames.is_empty() || errors.is_empty() {
            match set.next(LONG) {
                Next::Frame(index, _) => frames.push(index),
                Next::Ended(index, error) => errors.push((index, error.to_string())),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((&frames[..], errors[0].0), (&[1][..], 0));
        assert!(errors[0].1.contains("cannot read `tcp://bad`"), "{errors:?}");
        assert_eq!(std::fs::read_to_string(folder.path().join("tries")).unwrap(), "x\n");
    }
}

/// An ffmpeg that gives a frame, then falls silent; opened again it gives nothing at all.
#[cfg(unix)]
#[test]
fn a_live_source_that_falls_silent_is_opened_again_and_then_given_up() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (script, frame) = (folder.path().join("ffmpeg"), folder.path().join("frame.ppm"));
    std::fs::write(&frame, [&b"P6\n2 1\n255\n"[..], &[9; 6]].concat()).unwrap();
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *-encoders*) echo ppm; exit 0;; esac\n\
         if mkdir {0}/seen 2>&-; then cat {0}/frame.ppm; else touch {0}/again; fi\nexec sleep 1000\n",
        folder.path().display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ffmpeg = Ffmpeg::find(Some(&script)).unwrap();
    let reopen = Reopen { tries: 1, pause: Duration::from_millis(1), silence: Duration::from_millis(100) };
    let mut set = LiveSet::open(&ffmpeg, &[Input::Stream("tcp://silent".into())], 1, reopen);
    let (mut frames, mut losses) = (0, Vec::new());
    let error = loop {
        match set.next(Duration::from_millis(20)) {
            Next::Frame(..) => frames += 1,
            Next::Changed(0, Change::Lost { reason, .. }) => losses.push(reason),
            Next::Nothing => {}
            Next::Ended(0, error) => break error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(folder.path().join("again").exists(), "it was opened a second time");
    assert_eq!((frames, &losses[..]), (1, &["no frame for 0.1 s".to_owned()][..]));
    // The second time it had longer to begin.
    assert!(error.contains("ended after 1 frames") && error.contains("gave no frame for 0.3 s"), "{error}");
}
