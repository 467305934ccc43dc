//! `kinglet bench`: how long detection takes, stage by stage.

use super::bench_report::{Setting, Times, peak_rss_mb, rounded};
use super::bench_train;
use super::chosen_model::{choose, expect_few_objects, size};
use crate::args::{BenchArgs, BenchCommand, DetectionBench};
use crate::errors::CliError;
use crate::printer::Printer;
use crate::table::table;
use kinglet_data::Rng;
use kinglet_data::synthetic::draw_scene;
use kinglet_runtime::{Detector, Fit, Fitted, StepTiming, Timing};
use kinglet_vision::decode::{self, Limits};
use kinglet_vision::encode::jpeg_bytes;
use kinglet_vision::{Image, Letterbox, NmsOptions};
use serde_json::json;
use std::borrow::Cow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The model that is timed where none is named.
pub(super) const DEFAULT_MODEL: &str = "kinglet_small";
/// The drawn picture: four scenes of this size, side by side.
const SCENE: (usize, usize) = (320, 240);
const QUALITY: u8 = 90;
const STAGES: [&str; 5] = ["decode", "letterbox", "infer", "nms", "total"];

/// Times detection, or training steps.
///
/// # Errors
/// No such model or image.
pub fn run(args: BenchArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    match args.command {
        Some(BenchCommand::Train(train)) => bench_train::run(train, printer),
        None => detection(args.detection, printer),
    }
}

/// One run: the time of each stage, and how many objects were found.
fn once(
    detector: &mut Detector,
    file: &[u8],
    size: [usize; 2],
    batch: usize,
) -> Result<([Duration; 4], usize), CliError> {
    let begin = Instant::now();
    let images: Vec<Image> = (0..batch)
        .map(|_| decode::decode(file, &Limits::default()).map(|decoded| decoded.image).map_err(CliError::input))
        .collect::<Result<_, _>>()?;
    let decoded = begin.elapsed();
    let begin = Instant::now();
    let stride = detector.max_stride();
    let fitted: Vec<Fitted<'_>> =
        images.iter().map(|image| Fitted::new(Cow::Borrowed(image), size, Fit::Full, stride)).collect();
    let resized = begin.elapsed();
    let (t, found) = detect(detector, fitted.iter())?;
    Ok(([decoded, resized + t.preprocess, t.inference, t.nms], found))
}

/// Detects in a batch: the times, and how many objects were found.
fn detect<'a>(
    detector: &mut Detector,
    images: impl Iterator<Item = &'a Fitted<'a>>,
) -> Result<(Timing, usize), CliError> {
    let options = NmsOptions::default();
    let batch: Vec<_> = images.map(|image| (image, &options)).collect();
    let (found, timing) = detector.detect_fitted(&batch).map_err(CliError::input)?;
    Ok((timing, found.iter().map(Vec::len).sum()))
}

/// A letterboxed picture as values in 0..=1.
pub(super) fn input(image: &Image, [height, width]: [usize; 2]) -> Vec<f32> {
    let letterbox = Letterbox::plan(image.height, image.width, [height, width], false, true, 1);
    letterbox.apply(image).data.iter().map(|&b| f32::from(b) / 255.0).collect()
}

/// A JPEG of 640x480 with things in it.
fn drawn_picture() -> Result<Vec<u8>, CliError> {
    let mut picture = Image::new(2 * SCENE.0, 2 * SCENE.1, [0; 3]);
    let scenes = (0..).map(|i| draw_scene(&mut Rng::for_sample(0, 0, i)).0);
    let fitting = scenes.filter(|scene| (scene.width, scene.height) == SCENE).take(4);
    for (i, scene) in fitting.enumerate() {
        picture.paste(&scene, (i % 2 * SCENE.0) as isize, (i / 2 * SCENE.1) as isize);
    }
    jpeg_bytes(&picture, QUALITY).map_err(|e| CliError::input(format!("cannot encode the drawn picture: {e}")))
}

fn detection(args: DetectionBench, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    kinglet_kernels::threads::set_threads(args.machine.threads);
    let mut chosen = choose(&args.model, Some(DEFAULT_MODEL), printer)?;
    let size = size(&args.size.imgsz, &chosen, printer);
    let batch = args.batch_size;
    let file = match &args.source {
        Some(path) => std::fs::read(path).map_err(|error| CliError::read(path, &error))?,
        None => drawn_picture()?,
    };
    let picture = decode::decode(&file, &Limits::default()).map_err(|error| match &args.source {
        Some(path) => CliError::input(format!("`{}`: {error}", path.display())),
        None => CliError::input(error),
    })?;
    let picture = picture.image;
    let mut setting = Setting::measure();
    let recording = chosen.model.record(batch, size).map_err(CliError::input)?;
    let macs: u64 = recording.graph.nodes().iter().map(|node| node.macs).sum();
    if !chosen.trained {
        // At a quarter of the size, not to show in the memory that is measured.
        let small = size.map(|side| super::raised(side / 2, chosen.model.max_stride()));
        expect_few_objects(&mut chosen.model, &input(&picture, small), small, NmsOptions::default().conf)?;
    }
    let mut detector = Detector::new(chosen.model).all_scores(args.all_scores);
    let mut times: [Times; 5] = Default::default();
    let mut found = 0;
    let alone = args.infer_only.then(|| Fitted::new(Cow::Borrowed(&picture), size, Fit::Full, detector.max_stride()));
    for run in 0..args.runs.warmup + args.runs.repeats {
        let (stages, objects) = if let Some(fitted) = &alone {
            let (timing, objects) = detect(&mut detector, std::iter::repeat_n(fitted, batch))?;
            ([Duration::ZERO, Duration::ZERO, timing.inference, Duration::ZERO], objects)
        } else {
            once(&mut detector, &file, size, batch)?
        };
        if run < args.runs.warmup {
            continue;
        }
        stages.iter().zip(&mut times).for_each(|(&stage, times)| times.push(stage));
        times[4].push(stages.iter().sum());
        found = objects;
    }
    let layers = if args.per_layer {
        let values: Vec<f32> = input(&picture, size).repeat(batch);
        per_layer(&mut detector, &values, [batch, size[0], size[1]], args.runs.repeats)?
    } else {
        Vec::new()
    };
    setting.measure_again();
    let share = setting.share(2.0 * macs as f64, times[2].median());
    let images_per_s = batch as f64 * 1e3 / times[4].median().max(1e-9);
    let memory = peak_rss_mb();

    printer.result(&format!(
        "{} at {}x{}, batch {batch}, {}, a picture of {}x{}\n",
        chosen.stem,
        size[1],
        size[0],
        setting.words(),
        picture.width,
        picture.height
    ));
    let measured = || STAGES.iter().zip(&times).filter(|(stage, _)| !args.infer_only || **stage == "infer");
    let rows: Vec<Vec<String>> = measured()
        .map(|(stage, t)| vec![(*stage).to_owned(), format!("{:.2}", t.median()), format!("{:.2}", t.p95())])
        .collect();
    printer.result(&table(&["stage", "median ms", "p95 ms"], &rows));
    if !layers.is_empty() {
        printer.result(&format!("\n{}", layer_table(&layers, &setting)));
    }
    printer.result(&format!(
        "\n{images_per_s:.1} images a second; {}infer at {:.0} % of the {:.0} GFLOP/s that multiply-adds alone reach",
        memory.map_or(String::new(), |mb| format!("{mb:.0} MB of memory at most; ")),
        100.0 * share,
        setting.peak_flops / 1e9
    ));
    if !chosen.trained && !args.infer_only {
        printer.say("random parameters, by which one cell in a hundred may hold an object: a trained model's nms takes another time");
    }
    if args.json {
        let stages: serde_json::Map<String, serde_json::Value> =
            measured().map(|(stage, t)| ((*stage).to_owned(), t.json())).collect();
        printer.data(&json!({
            "model": chosen.stem, "trained": chosen.trained, "image": size, "batch": batch,
            "source": [picture.height, picture.width], "stages": stages, "images_per_s": rounded(images_per_s),
            "threads": setting.threads, "isa": setting.isa, "peak_rss_mb": memory,
            "macs": macs, "peak_gflops": rounded(setting.peak_flops / 1e9), "infer_share_of_peak": rounded(share),
            "all_scores": args.all_scores, "engine_mb": rounded(detector.memory_bytes() as f64 / f64::from(1 << 20)), "detections": found,
            "warmup": args.runs.warmup, "repeats": args.runs.repeats, "layers": layers_json(&layers),
        }));
    }
    Ok(ExitCode::SUCCESS)
}

/// Median time of each step of the network.
fn per_layer(
    detector: &mut Detector,
    values: &[f32],
    size: [usize; 3],
    repeats: usize,
) -> Result<Vec<(StepTiming, Times)>, CliError> {
    let mut steps: Vec<(StepTiming, Times)> = Vec::new();
    for _ in 0..repeats {
        let run = detector.profile(values, size, NmsOptions::default().conf).map_err(CliError::input)?;
        if steps.is_empty() {
            steps = run.iter().map(|&step| (step, Times::default())).collect();
        }
        steps.iter_mut().zip(&run).for_each(|((_, times), step)| times.push(step.time));
    }
    Ok(steps)
}

fn layer_table(layers: &[(StepTiming, Times)], setting: &Setting) -> String {
    let total: f64 = layers.iter().map(|(_, times)| times.median()).sum();
    let rows: Vec<Vec<String>> = layers
        .iter()
        .map(|(step, times)| {
            let ms = times.median();
            let share = if step.macs == 0 { String::new() } else { percent(setting.share(2.0 * step.macs as f64, ms)) };
            vec![
                format!("{} {}", step.layer, step.op),
                step.shape.to_string(),
                format!("{:.2}", step.macs as f64 / 1e6),
                format!("{ms:.3}"),
                percent(ms / total.max(1e-9)),
                share,
            ]
        })
        .collect();
    table(&["layer", "output", "M mult-adds", "median ms", "of time", "of ceiling"], &rows)
}

/// `12.3 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn layers_json(layers: &[(StepTiming, Times)]) -> serde_json::Value {
    layers
        .iter()
        .map(|(step, times)| {
            let s = step.shape;
            json!({
                "layer": step.layer, "op": step.op, "shape": [s.n, s.h, s.w, s.c], "macs": step.macs,
                "median_ms": rounded(times.median()), "min_ms": rounded(times.least()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawn_picture_is_always_the_same_and_of_its_size() {
        let picture = drawn_picture().unwrap();
        assert_eq!(picture, drawn_picture().unwrap());
        let decoded = decode::decode(&picture, &Limits::default()).unwrap().image;
        assert_eq!((decoded.width, decoded.height), (640, 480));
    }
}
