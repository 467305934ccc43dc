//! `kinglet detect`: images, videos and streams in; pictures, videos, labels, crops, tables out.

use super::detect_frames::{self, Film};
use super::detect_output::{Json, Outputs, Picture, counts, picture_extension};
use super::ensemble::Ensemble;
use super::{image_size, load_weights};
use crate::args::DetectArgs;
use crate::errors::CliError;
use crate::interrupt;
use crate::output::write_picture;
use crate::printer::Printer;
use crate::run_dir::RunDir;
use crate::sources::{self, Kind, Source};
use kinglet_runtime::{Detector, Fit, Tiling, Timing, raised};
use kinglet_video::track::TrackerOptions;
use kinglet_video::{Ffmpeg, VideoError};
use kinglet_vision::decode::{self, Limits};
use kinglet_vision::{Detection, DrawOptions, Image, NmsOptions, draw_detections};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The detector with all that was asked of it, and what it has done so far.
pub(super) struct Eye {
    detector: Detector,
    size: [usize; 2],
    options: NmsOptions,
    tiling: Option<Tiling>,
    total: Timing,
    looks: usize,
    /// Height and width that the network saw last.
    pub last_size: [usize; 2],
}

impl Eye {
    /// Detects; boxes in pixels of the image.
    pub fn look(&mut self, image: &Image) -> Result<(Vec<Detection>, Timing), CliError> {
        let Eye { detector, size, options, tiling, .. } = self;
        let outcome = match tiling {
            Some(tiling) => detector.detect_tiled(image, *size, tiling, options),
            None => detector.detect(image, *size, Fit::Stride, options),
        };
        let (detections, used, timing) = outcome.map_err(CliError::input)?;
        self.total += timing;
        (self.looks, self.last_size) = (self.looks + 1, used);
        Ok((detections, timing))
    }

    /// Milliseconds an image: pre-process, inference, NMS.
    fn speed_ms(&self) -> [f64; 3] {
        let each = |d: Duration| d.as_secs_f64() * 1e3 / self.looks.max(1) as f64;
        [each(self.total.preprocess), each(self.total.inference), each(self.total.nms)]
    }
}

/// Detects in all images, videos and streams of the source.
///
/// # Errors
/// No weights, no source, an output folder that cannot be written. What cannot be read is told, counted, and passed over.
pub fn run(args: DetectArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    kinglet_kernels::threads::set_threads(args.machine.threads);
    let (sources, notes) = sources::expand(&args.source)?;
    notes.iter().for_each(|note| printer.warn(note));
    let has_frames = sources.iter().any(|source| source.kind != Kind::Image);
    if !has_frames && (args.track || args.save_tracks.is_some()) {
        return Err(CliError::usage(format!(
            "--track follows objects from frame to frame, and `{}` has images only; name a video or a stream",
            args.source
        )));
    }
    let loaded = Ensemble::load(&args.weights, !args.size.imgsz.is_empty(), printer)?;
    let (names, img) = (loaded.names.clone(), loaded.img);
    if let Some(class) = args.classes.iter().find(|&&class| class >= names.len()) {
        return Err(CliError::usage(format!(
            "--classes {class}: the weights know the classes 0 to {}: {}",
            names.len().saturating_sub(1),
            names.join(", ")
        )));
    }
    let detector = loaded.detector(args.augment)?;
    let stride = detector.max_stride();
    let size = image_size(&args.size.imgsz, img, stride, printer);
    let follows = args.track || args.save_tracks.is_some();
    let options = NmsOptions {
        // Low scores keep tracks; the tracker gives out no others.
        conf: if follows { args.suppression.conf_thres.min(TrackerOptions::LOW) } else { args.suppression.conf_thres },
        classes: (!args.classes.is_empty()).then(|| args.classes.clone()),
        agnostic: args.agnostic_nms,
        ..args.suppression.options(NmsOptions::default())
    };
    let tiling = args.tiles.tiling(size[0].min(size[1]));
    let mut eye = Eye { detector, size, options, tiling, total: Timing::default(), looks: 0, last_size: size };
    let saves_anything = !args.nosave
        || args.save_txt
        || args.save_crop
        || args.save_json
        || args.save_csv
        || args.save_tracks.is_some();
    let run =
        if saves_anything { Some(RunDir::create(&args.run.project, &args.run.name, args.run.exist_ok)?) } else { None };
    // Frames may come for ever.
    let json = match (args.json, has_frames) {
        (false, _) => Json::Off,
        (true, false) => Json::Document(Vec::new()),
        (true, true) => Json::Lines(*printer),
    };
    let mut outputs = Outputs::new(&args, run.as_ref(), &names, json)?;

    if has_frames {
        interrupt::listen("this frame");
    }
    let ffmpeg = has_frames.then(|| Ffmpeg::find(args.ffmpeg.as_deref()));
    let looked = look_at_all(&mut eye, &mut outputs, ffmpeg.as_ref(), &sources, printer);
    // The tables of what was done are kept, whatever ended it.
    let finished = outputs.finish();
    let (films, failed) = looked?;
    let mut json = finished?;
    let speed = eye.speed_ms();
    if eye.looks > 0 {
        printer.say(&speed_line(speed, [1, eye.last_size[0], eye.last_size[1]]));
    }
    films.iter().filter_map(Film::latency_line).for_each(|line| printer.say(&line));
    match &run {
        Some(run) if eye.looks > 0 => printer.say(&format!("Results saved to {}", run.path().display())),
        Some(run) => run.remove_if_empty(),
        None => {}
    }
    let mut summary = match &mut json {
        Json::Document(pictures) => json!({"images": std::mem::take(pictures)}),
        Json::Off | Json::Lines(_) => json!({}),
    };
    summary["failed"] = failed.clone().into();
    summary["videos"] = films.iter().map(Film::json).collect();
    summary["speed_ms"] = json!({"preprocess": speed[0], "inference": speed[1], "nms": speed[2]});
    summary["saved_to"] = json!(run.as_ref().map(|r| r.path()));
    match json {
        Json::Off => {}
        Json::Document(_) => printer.data(&summary),
        Json::Lines(printer) => printer.line(&summary),
    }
    if interrupt::is_asked() {
        if sources.len() == 1 {
            failed.iter().for_each(|only| printer.warn(only["error"].as_str().unwrap_or_default()));
        }
        return Ok(interrupt::exit_code());
    }
    match &failed[..] {
        [] => Ok(ExitCode::SUCCESS),
        [only] if sources.len() == 1 => Err(CliError::input(only["error"].as_str().unwrap_or_default())),
        _ => {
            let what = if has_frames { "sources could not be read or written" } else { "images could not be read" };
            Err(CliError::input(format!("{} of {} {what}; the others are done", failed.len(), sources.len())))
        }
    }
}

/// Looks at the sources, those that are live last and together. Gives videos and streams, and what failed, as `--json`
/// tells it.
///
/// # Errors
/// A file that cannot be written.
fn look_at_all(
    eye: &mut Eye,
    outputs: &mut Outputs<'_>,
    ffmpeg: Option<&Result<Ffmpeg, VideoError>>,
    sources: &[Source],
    printer: &Printer,
) -> Result<(Vec<Film>, Vec<serde_json::Value>), CliError> {
    let mut failed = Vec::new();
    let mut films: Vec<Film> = Vec::new();
    let mut fail = |source: &Source, key: &str, error: &dyn std::fmt::Display| {
        // A single source's error ends the command, and is told there.
        if sources.len() > 1 {
            printer.warn(&error.to_string());
        }
        failed.push(json!({key: source.path, "error": error.to_string()}));
    };
    let mut live = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        if interrupt::is_asked() {
            break;
        }
        let place = format!("{}/{}", index + 1, sources.len());
        let input = match &source.kind {
            Kind::Image => {
                if let Err(error) = image(eye, outputs, source, &place, printer)? {
                    fail(source, "image", &format!("image {place}: {error}"));
                }
                continue;
            }
            Kind::Frames(input) => input,
        };
        match ffmpeg.expect("it was looked for") {
            Err(error) => fail(source, "video", &format!("video {place}: {error}")),
            Ok(_) if input.is_live() => live.push((source, input)),
            Ok(ffmpeg) => {
                let (film, error) = detect_frames::film(eye, outputs, ffmpeg, (source, input), &place, printer)?;
                films.push(film);
                if let Some(error) = error {
                    fail(source, "video", &format!("video {place}: {error}"));
                }
            }
        }
    }
    if let (Some(Ok(ffmpeg)), false) = (ffmpeg, live.is_empty()) {
        let outcomes = detect_frames::live(eye, outputs, ffmpeg, &live, printer)?;
        for ((source, _), (film, error)) in live.iter().zip(outcomes) {
            films.push(film);
            if let Some(error) = error {
                fail(source, "stream", &error);
            }
        }
    }
    Ok((films, failed))
}

/// Detects in one image. The inner error is a matter of the image.
fn image(
    eye: &mut Eye,
    outputs: &mut Outputs<'_>,
    source: &Source,
    place: &str,
    printer: &Printer,
) -> Result<Result<(), decode::DecodeError>, CliError> {
    let mut image = match decode::read(&source.path, &Limits::default()) {
        Ok(decoded) => decoded.image,
        Err(error) => return Ok(Err(error)),
    };
    let (mut detections, timing) = eye.look(&image)?;
    // Beside videos that are tracked, the low scores come as well; they are for the tracker alone.
    detections.retain(|d| d.score > outputs.args().suppression.conf_thres);
    let [height, width] = eye.last_size;
    printer.result(&format!(
        "image {place} {}: {height}x{width} {}, {:.1}ms",
        source.path.display(),
        counts(&detections, outputs.names()),
        timing.inference.as_secs_f64() * 1e3
    ));
    let picture = Picture { path: &source.path, stem: &source.stem, frame: None, detections: &detections, ids: &[] };
    outputs.add(&picture, &image)?;
    outputs.save_drawn(&picture, &mut image)?;
    Ok(Ok(()))
}

/// `Speed: 0.3ms pre-process, 12.1ms inference, 0.5ms NMS per image at shape (1, 3, 640, 640)`.
pub(crate) fn speed_line([preprocess, inference, nms]: [f64; 3], [n, h, w]: [usize; 3]) -> String {
    format!(
        "Speed: {preprocess:.1}ms pre-process, {inference:.1}ms inference, {nms:.1}ms NMS per image at shape ({n}, 3, {h}, {w})"
    )
}

/// Draws the detections of every image of a folder into `into`: what the demo shows. Gives the number of images.
///
/// # Errors
/// As [`run`].
pub(crate) fn draw_folder(weights: &Path, folder: &Path, into: &Path) -> Result<usize, CliError> {
    let (sources, _) = sources::images(&folder.to_string_lossy())?;
    let loaded = load_weights(weights)?;
    let side = raised(loaded.img, loaded.model.max_stride());
    let mut detector = Detector::new(loaded.model);
    for source in &sources {
        let mut image = decode::read(&source.path, &Limits::default()).map_err(CliError::input)?.image;
        let options = NmsOptions::default();
        let (detections, ..) = detector.detect(&image, [side; 2], Fit::Stride, &options).map_err(CliError::input)?;
        draw_detections(&mut image, &detections, &loaded.names, &DrawOptions::default());
        write_picture(&into.join(format!("{}.{}", source.stem, picture_extension(&source.path))), &image)?;
    }
    Ok(sources.len())
}
