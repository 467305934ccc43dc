//! `detect` on videos and streams: through a made-up ffmpeg, so that every machine runs these, and through the real one.
//!
//! The made-up one hands over frames that the test has drawn, and "encodes" by keeping the raw frames.

use crate::end_to_end::{BEST, trained};
use crate::program::{Ran, command, files, kinglet};
use kinglet_video::{Ffmpeg, Input, Rate, Reader, Writer};
use kinglet_vision::{Image, decode};
use std::path::{Path, PathBuf};

const LOW: &str = "--conf 0.0001 --max-det 5 --img 64";

fn weights() -> PathBuf {
    trained().join(BEST)
}

/// An image of the training set; what is found in it is beside the point.
fn scene() -> Image {
    let folder = trained().join("data/images/train");
    let file = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).min().unwrap();
    decode::read(&file, &decode::Limits::default()).unwrap().image
}

fn ppm(image: &Image) -> Vec<u8> {
    let mut bytes = format!("P6\n{} {}\n255\n", image.width, image.height).into_bytes();
    bytes.extend(&image.data);
    bytes
}

/// A folder with an ffmpeg that reads as `body` says; `$PPM` is a file with a frame.
#[cfg(unix)]
fn made_up(body: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let frame = folder.path().join("frame.ppm");
    std::fs::write(&frame, ppm(&scene())).unwrap();
    std::fs::write(folder.path().join("clip.mp4"), "").unwrap();
    let script = folder.path().join("ffmpeg");
    let text = format!(
        "#!/bin/sh\nPPM='{}'\nfor last; do :; done\ncase \"$*\" in\n*-encoders*) echo ' V..... ppm'; exit 0;;\n\
         *rawvideo*) cat > \"${{last#file:}}\"; exit 0;;\nesac\n{body}\n",
        frame.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[cfg(unix)]
fn detect(folder: &Path, more: &str) -> Ran {
    let ffmpeg = folder.join("ffmpeg");
    kinglet(folder, &format!("detect --weights {} --ffmpeg {} {LOW} {more}", weights().display(), ffmpeg.display()))
}

/// What ffmpeg says of a clip of three frames.
#[cfg(unix)]
const CLIP: &str = "echo '[info]   Duration: 00:00:00.30, start: 0' >&2\n\
    echo '[info]   Stream #0:0: Video: h264, 9x9, 10 fps, 10 tbr' >&2\necho '[info] Output #0' >&2\n\
    cat $PPM $PPM $PPM";

#[cfg(unix)]
#[test]
fn every_frame_of_a_video_is_told_labelled_and_drawn() {
    let folder = made_up(CLIP);
    let line = "--source clip.mp4 --save-txt --save-crop --save-csv --save-json --track --save-tracks csv --json";
    let ran = detect(folder.path(), line).ok();
    let told: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("video 1/1 (")).collect();
    assert_eq!(told.len(), 3, "{}", ran.stderr);
    assert!(told[1].starts_with("video 1/1 (2/3) clip.mp4: "), "{}", told[1]);
    let run = folder.path().join("runs/detect/exp");
    let written = files(&run);
    for file in ["clip.mp4", "labels/clip_1.txt", "labels/clip_3.txt", "predictions.csv", "tracks/clip.csv"] {
        assert!(written.iter().any(|name| name == file), "{file}: {written:?}");
    }
    assert!(written.iter().all(|name| !name.ends_with(".tmp")), "{written:?}");
    // The encoder got the three frames, drawn upon.
    let scene = scene();
    let raw = std::fs::read(run.join("clip.mp4")).unwrap();
    assert_eq!(raw.len(), 3 * scene.data.len());
    assert_ne!(raw[..scene.data.len()], scene.data[..], "frames and labels are drawn");

    // The three frames are the same, so each object keeps its number in all of them.
    // Standard output is a line for each frame, and one that sums up.
    let value: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    assert_eq!(value.len(), 4, "{}", ran.stdout);
    let tracks = |frame: usize| -> Vec<u64> {
        let detections = value[frame]["detections"].as_array().unwrap();
        detections.iter().map(|d| d["track"].as_u64().unwrap()).collect()
    };
    assert!(!tracks(0).is_empty());
    assert_eq!((tracks(0), tracks(1)), (tracks(1), tracks(2)));
    assert_eq!((&value[2]["frame"], &value[3]["videos"][0]["frames"]), (&3.into(), &3.into()));
    let table = std::fs::read_to_string(run.join("predictions.json")).unwrap();
    let records: Vec<serde_json::Value> = serde_json::from_str(&table).unwrap();
    assert_eq!(records.len(), 3 * tracks(0).len());
    let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 3 * tracks(0).len());
    let table = std::fs::read_to_string(run.join("tracks/clip.csv")).unwrap();
    assert!(table.starts_with("frame,track,class,name,score,x1,y1,x2,y2\n1,1,"), "{table}");
    assert_eq!(table.lines().count(), 1 + 3 * tracks(0).len());
}

#[cfg(unix)]
#[test]
fn images_among_tracked_videos_keep_to_the_score_that_was_asked_for() {
    let folder = made_up(CLIP);
    std::fs::copy(trained().join("data/images/train/0000.jpg"), folder.path().join("photo.jpg")).unwrap();
    std::fs::write(folder.path().join("both.txt"), "photo.jpg\nclip.mp4\n").unwrap();
    // A detector that is surer of itself: three epochs give hardly a score above what tracks are kept with.
    let mut weights = kinglet_nn::WeightsFile::load(&weights()).unwrap();
    let head = weights.tensors.iter_mut().filter(|(name, _)| name.contains(".m.") && name.ends_with("bias"));
    head.for_each(|(_, tensor)| tensor.1.iter_mut().for_each(|bias| *bias += 4.0));
    std::fs::write(folder.path().join("sure.safetensors"), weights.to_bytes().unwrap()).unwrap();
    let photo = |source: &str, conf: f64| -> Vec<serde_json::Value> {
        let line = format!("detect --weights sure.safetensors --ffmpeg {}/ffmpeg", folder.path().display());
        let line = format!("{line} --img 64 --nosave --json --conf {conf} --source {source}");
        let text = kinglet(folder.path(), &line).ok().stdout;
        let first: serde_json::Value = serde_json::Deserializer::from_str(&text).into_iter().next().unwrap().unwrap();
        let image = if first["images"].is_array() { &first["images"][0] } else { &first };
        assert_eq!(image["image"], "photo.jpg", "{text}");
        image["detections"].as_array().unwrap().clone()
    };
    let all: Vec<f64> = photo("photo.jpg", 0.1).iter().map(|d| d["confidence"].as_f64().unwrap()).collect();
    let (most, least) = (all[0], all[all.len() - 1]);
    assert!(least < most, "{all:?}");
    let conf = (least + most) / 2.0;
    let alone = photo("photo.jpg", conf);
    assert!((1..all.len()).contains(&alone.len()), "{all:?}");
    assert_eq!(photo("both.txt --track", conf), alone);
}

#[cfg(unix)]
#[test]
fn tracks_come_as_json_lines_too_and_nosave_writes_no_video() {
    let folder = made_up(CLIP);
    detect(folder.path(), "--source clip.mp4 --save-tracks jsonl --nosave").ok();
    assert_eq!(files(&folder.path().join("runs/detect/exp")), ["tracks/clip.jsonl"]);
    let text = std::fs::read_to_string(folder.path().join("runs/detect/exp/tracks/clip.jsonl")).unwrap();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["frame"].as_u64().is_some_and(|frame| (1..=3).contains(&frame)) && value["box"][3].is_number());
    }
    assert!(text.lines().count() >= 3, "{text}");
}

#[cfg(unix)]
#[test]
fn a_broken_video_is_told_what_was_done_is_kept_and_the_others_follow() {
    let folder = made_up("case \"$*\" in *bad*) cat $PPM $PPM; echo '[error] bad block' >&2;; *) cat $PPM;; esac");
    std::fs::write(folder.path().join("bad.mp4"), "").unwrap();
    let ran = detect(folder.path(), "--source *.mp4 --save-txt");
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains("video 1/2: `bad.mp4` is damaged or cut off: after 2 frames ffmpeg says: `bad block`"));
    assert!(ran.stderr.contains("1 of 2 sources could not be read or written; the others are done"), "{}", ran.stderr);
    let written = files(&folder.path().join("runs/detect/exp"));
    for file in ["bad.mp4", "clip.mp4", "labels/bad_2.txt", "labels/clip_1.txt"] {
        assert!(written.iter().any(|name| name == file), "{file}: {written:?}");
    }
    // A single source's error is the command's, and an empty run folder goes away.
    let ran = detect(folder.path(), "--source nothing.mp4");
    assert!(ran.stderr.contains("`nothing.mp4` does not exist"), "{}", ran.stderr);
}

#[cfg(unix)]
#[test]
fn an_encoder_that_fails_costs_its_own_video_alone() {
    let folder = made_up(CLIP);
    // The second video's encoder dies at once.
    let script = std::fs::read_to_string(folder.path().join("ffmpeg")).unwrap();
    let dies = "*rawvideo*) if test -e dead; then echo '[error] no encoder' >&2; exit 1; fi; touch dead;";
    std::fs::write(folder.path().join("ffmpeg"), script.replace("*rawvideo*)", dies)).unwrap();
    std::fs::write(folder.path().join("late.mp4"), "").unwrap();
    let line = "--source *.mp4 --save-txt --save-csv --save-json --track --save-tracks csv";
    let ran = detect(folder.path(), line);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains("late.mp4`: ffmpeg says: `no encoder`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 of 2 sources could not be read or written; the others"), "{}", ran.stderr);
    let run = folder.path().join("runs/detect/exp");
    let written = files(&run);
    for file in ["clip.mp4", "labels/late_3.txt", "predictions.csv", "predictions.json", "tracks/late.csv"] {
        assert!(written.iter().any(|name| name == file), "{file}: {written:?}");
    }
    assert!(written.iter().all(|name| name != "late.mp4" && !name.ends_with(".tmp")), "{written:?}");
    let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
    assert!(table.contains("\nclip.mp4,") && table.contains("\nlate.mp4,"), "{table}");

    // One of two cameras, whichever comes first: the other's recording is kept. Neither gives frames a second time.
    let folder = made_up(
        "case \"$*\" in *east*) seen=east;; *) seen=west;; esac\nmkdir $seen || exit 1\n\
         cat $PPM; sleep 0.3; cat $PPM; sleep 0.3; cat $PPM",
    );
    let script = std::fs::read_to_string(folder.path().join("ffmpeg")).unwrap();
    let dies = "*rawvideo*) mkdir dead 2>&- && exit 1;";
    std::fs::write(folder.path().join("ffmpeg"), script.replace("*rawvideo*)", dies)).unwrap();
    std::fs::write(folder.path().join("all.streams"), "tcp://east\ntcp://west\n").unwrap();
    let ran = detect(folder.path(), "--source all.streams --save-csv --reopen 1");
    assert_eq!(ran.code, 1, "{}", ran.all());
    let written = files(&folder.path().join("runs/detect/exp"));
    let recorded = written.iter().filter(|name| ["east.mp4", "west.mp4"].contains(&&***name)).count();
    assert!(written.len() == 2 && recorded == 1 && written.iter().any(|n| n == "predictions.csv"), "{}", ran.all());
}

/// The first source gives two frames with a break, and is then gone for good; the second one ends sooner.
#[cfg(unix)]
#[test]
fn a_live_source_that_is_lost_and_comes_back_is_told_at_once() {
    let folder = made_up(
        "case \"$*\" in *west*) echo '[error] refused' >&2; exit 1;; esac\n\
         if mkdir once 2>&-; then cat $PPM; elif mkdir twice 2>&-; then cat $PPM; else echo '[error] no route' >&2; fi",
    );
    std::fs::write(folder.path().join("all.streams"), "tcp://east\ntcp://west\n").unwrap();
    let ran = detect(folder.path(), "--source all.streams --nosave --reopen 2");
    assert_eq!(ran.code, 1, "{}", ran.all());
    for words in [
        "warning: 1: cannot read `tcp://west`: ffmpeg says: `refused`; ",
        "; 1 still going\n",
        "warning: 0: tcp://east is lost: the stream is over; opening it again (1 of 2)\n",
        "0: tcp://east is back after ",
        "warning: 0: tcp://east is lost: ffmpeg says: `no route`; opening it again (2 of 2)\n",
        "`tcp://east` ended after 2 frames and did not come back: ",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
}

/// As a camera does: bad frames on the way, some frames later it is unplugged, and then not there.
#[cfg(unix)]
#[test]
fn a_camera_that_is_unplugged_is_told_as_such_and_not_by_an_earlier_bad_frame() {
    let folder = made_up(
        "mkdir once 2>&- || { echo '[error] Cannot open video device /dev/video0: No such file or directory' >&2; exit 1; }\n\
         cat $PPM; echo '[mjpeg @ 0x1] [error] huffman table decode error' >&2; sleep 0.2; cat $PPM\n\
         sleep 0.2; echo '[error] ioctl(VIDIOC_QBUF): No such device' >&2; echo '[error] /dev/video0: No such device' >&2",
    );
    let ran = detect(folder.path(), "--source /dev/video0 --reopen 2");
    assert_eq!(ran.code, 1, "{}", ran.all());
    for words in [
        "/dev/video0 is lost: ffmpeg says: `/dev/video0: No such device`; opening it again (1 of 2)\n",
        "lost: ffmpeg says: `Cannot open video device /dev/video0: No such file or directory`; opening it again (2 of 2)\n",
        "`/dev/video0` ended after 2 frames and did not come back: ",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert_eq!(files(&folder.path().join("runs/detect/exp")), ["video0.mp4"]);
}

#[test]
fn a_missing_ffmpeg_is_named_with_the_line_that_installs_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("clip.mp4"), "").unwrap();
    let weights = weights();
    let line = format!("detect --weights {} --source clip.mp4 --ffmpeg no-such-program", weights.display());
    let ran = kinglet(folder.path(), &line);
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(ran.stderr.contains("`no-such-program` was not found") && ran.stderr.contains("install ffmpeg"));
    assert_eq!(files(folder.path()), ["clip.mp4"], "no run folder is left");
    let image = trained().join("data/images/train/0000.jpg");
    let ran =
        kinglet(folder.path(), &format!("detect --weights {} --source {} --track", weights.display(), image.display()));
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.stderr.contains("has images only"), "{}", ran.stderr);
}

/// Runs a command until it has printed a line, sends it Ctrl-C, and gives its exit code and the rest of its words.
#[cfg(unix)]
fn interrupted(folder: &Path, more: &str) -> (Option<i32>, String) {
    use std::io::{BufRead, BufReader, Read};
    let line = format!("detect --weights {} --ffmpeg {}/ffmpeg {LOW} {more}", weights().display(), folder.display());
    let mut running = command(folder, &line);
    let mut child = running.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    (child.wait().unwrap().code(), words)
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_video_and_a_stream_with_whole_files() {
    let folder = made_up("while true; do cat $PPM || exit; done");
    let (code, words) = interrupted(folder.path(), "--source clip.mp4 --track --save-tracks csv");
    assert_eq!(code, Some(130), "{words}");
    let written = files(&folder.path().join("runs/detect/exp"));
    assert_eq!(written, ["clip.mp4", "tracks/clip.csv"], "{words}");
    let raw = std::fs::metadata(folder.path().join("runs/detect/exp/clip.mp4")).unwrap().len() as usize;
    assert!(raw > 0 && raw.is_multiple_of(scene().data.len()), "whole frames only: {raw}");

    // The second stream never gives a frame.
    let folder = made_up("case \"$*\" in *silent*) exec sleep 1000;; esac\nwhile true; do cat $PPM || exit; done");
    std::fs::write(folder.path().join("all.streams"), "tcp://busy\ntcp://silent\n").unwrap();
    let (code, words) = interrupted(folder.path(), "--source all.streams");
    assert_eq!(code, Some(130), "{words}");
    assert_eq!(files(&folder.path().join("runs/detect/exp")), ["busy.mp4"], "{words}");
    let told = words.lines().find(|line| line.starts_with("tcp://busy: ")).unwrap_or_else(|| panic!("{words}"));
    for part in [" frames looked at, ", " dropped; ", "ms (median), ", "ms (p95)"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_real_video_comes_back_with_its_size_rate_and_length() {
    let ffmpeg = match Ffmpeg::find(None) {
        Ok(ffmpeg) => ffmpeg,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let (scene, rate) = (scene(), Rate { frames: 24000, seconds: 1001 });
    let path = folder.path().join("clip.mkv.mp4");
    let mut writer = Writer::create(&ffmpeg, &path, (scene.width, scene.height), rate).unwrap();
    (0..12).for_each(|_| writer.write(&scene).unwrap());
    writer.finish().unwrap();
    for (name, more, frames, slower) in [("all", "", 12, 1), ("some", "--vid-stride 5", 3, 5)] {
        let line = format!("detect --weights {} --source clip.mkv.mp4 {LOW} --name {name} {more}", weights().display());
        let ran = kinglet(folder.path(), &line).ok();
        assert!(ran.stdout.contains(&format!("video 1/1 ({frames}/{frames}) clip.mkv.mp4: ")), "{}", ran.stdout);
        let written = folder.path().join("runs/detect").join(name).join("clip.mkv.mp4");
        let mut reader = Reader::open(&ffmpeg, &Input::File(written), 1).unwrap();
        let mut found = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            found.push(frame);
        }
        assert_eq!((found.len(), found[0].width, found[0].height), (frames, scene.width, scene.height));
        let written = reader.rate().unwrap().per_second();
        assert!((written - rate.per_second() / f64::from(slower)).abs() < 0.01, "{written}");
    }
}
