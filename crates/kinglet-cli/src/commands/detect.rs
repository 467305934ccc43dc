//! `kinglet detect`: images in; pictures, labels, crops, tables out.

use super::ensemble::Ensemble;
use super::{BoxFormat, label_line, load_weights, raised};
use crate::args::DetectArgs;
use crate::errors::CliError;
use crate::output::{create_folder, write_file};
use crate::printer::Printer;
use crate::run_dir::RunDir;
use crate::sources::{self, Source};
use kinglet_eval::coco_json::{CocoRecord, ImageId, coco_category, coco_records, to_json};
use kinglet_runtime::{Detector, Fit, Timing};
use kinglet_vision::decode::{self, Limits};
use kinglet_vision::draw::draw_detections;
use kinglet_vision::encode::{jpeg_bytes, png_bytes};
use kinglet_vision::{Detection, DrawOptions, Image, NmsOptions};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Quality of the JPEG files written here: hardly any loss.
const JPEG_QUALITY: u8 = 95;
/// A crop is larger than its box by this factor and this many pixels, as YOLOv5's.
const CROP_GAIN: f32 = 1.02;
const CROP_PAD: f32 = 10.0;

/// Detects in all images of the source.
///
/// # Errors
/// No weights, no images, an output folder that cannot be written. An unreadable image is told, counted, and passed over.
pub fn run(args: DetectArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    kinglet_kernels::threads::set_threads(args.machine.threads);
    let (sources, notes) = sources::expand(&args.source)?;
    notes.iter().for_each(|note| printer.warn(note));
    let loaded = Ensemble::load(&args.weights, !args.imgsz.is_empty(), printer)?;
    let (names, img) = (loaded.names.clone(), loaded.img);
    if let Some(class) = args.classes.iter().find(|&&class| class >= names.len()) {
        return Err(CliError::usage(format!(
            "--classes {class}: the weights know the classes 0 to {}: {}",
            names.len().saturating_sub(1),
            names.join(", ")
        )));
    }
    let mut detector = loaded.detector(args.augment)?;
    let stride = detector.max_stride();
    let wanted = match args.imgsz[..] {
        [side] => [side; 2],
        [height, width] => [height, width],
        _ => [img; 2],
    };
    let size = wanted.map(|side| raised(side, stride));
    if size != wanted {
        printer.say(&format!("image size {wanted:?} raised to {size:?}, multiples of the model's stride {stride}"));
    }
    let options = NmsOptions {
        conf: args.conf_thres,
        iou: args.iou_thres,
        max_det: args.max_det,
        classes: (!args.classes.is_empty()).then(|| args.classes.clone()),
        agnostic: args.agnostic_nms,
        ..NmsOptions::default()
    };
    let saves_anything = !args.nosave || args.save_txt || args.save_crop || args.save_json || args.save_csv;
    let run = if saves_anything { Some(RunDir::create(&args.project, &args.name, args.exist_ok)?) } else { None };

    let mut total = Timing::default();
    let (mut done, mut failed, mut results) = (0, Vec::new(), Vec::new());
    let mut coco: Vec<CocoRecord> = Vec::new();
    let mut csv = String::from("Image Name,Prediction,Confidence\n");
    let mut last_size = size;
    for (index, source) in sources.iter().enumerate() {
        let place = format!("image {}/{} {}", index + 1, sources.len(), source.path.display());
        let decoded = match decode::read(&source.path, &Limits::default()) {
            Ok(decoded) => decoded,
            Err(error) => {
                printer.warn(&format!("image {}/{}: {error}", index + 1, sources.len()));
                failed.push(json!({"image": source.path, "error": error.to_string()}));
                continue;
            }
        };
        let (detections, used, timing) =
            detector.detect(&decoded.image, size, Fit::Stride, &options).map_err(CliError::input)?;
        total += timing;
        (done, last_size) = (done + 1, used);
        let shape = format!("{}x{}", used[0], used[1]);
        let inference = timing.inference.as_secs_f64() * 1e3;
        printer.result(&format!("{place}: {shape} {}{inference:.1}ms", counts(&detections, &names)));
        let (width, height) = (decoded.image.width, decoded.image.height);
        if args.json {
            results.push(image_json(source, (width, height), &detections, &names));
        }
        let category = |class| Some(coco_category(class, names.len() == 80));
        coco.extend(coco_records(&ImageId::from_stem(&source.stem), &detections, category));
        for detection in &detections {
            let image = source.path.file_name().unwrap_or_default().to_string_lossy();
            let name = class_name(&names, detection.class);
            csv.push_str(&format!("{},{},{:.2}\n", csv_field(&image), csv_field(&name), detection.score));
        }
        if let Some(run) = &run {
            save(&args, run, source, decoded.image, &detections, &names)?;
        }
    }
    if let Some(run) = &run {
        if args.save_json {
            write_file(&run.join("predictions.json"), to_json(&coco).as_bytes())?;
        }
        if args.save_csv {
            write_file(&run.join("predictions.csv"), csv.as_bytes())?;
        }
    }
    let speed = speed_ms(&total, done);
    if done > 0 {
        printer.say(&speed_line(speed, [1, last_size[0], last_size[1]]));
    }
    if let Some(run) = &run {
        printer.say(&format!("Results saved to {}", run.path().display()));
    }
    if args.json {
        printer.data(&json!({
            "images": results, "failed": failed,
            "speed_ms": {"preprocess": speed[0], "inference": speed[1], "nms": speed[2]},
            "saved_to": run.as_ref().map(|r| r.path()),
        }));
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(CliError::input(format!("{} of {} images could not be read; the others are done", failed.len(), sources.len())))
}

/// Milliseconds an image: pre-process, inference, NMS.
fn speed_ms(total: &Timing, images: usize) -> [f64; 3] {
    let each = |d: Duration| d.as_secs_f64() * 1e3 / images.max(1) as f64;
    [each(total.preprocess), each(total.inference), each(total.nms)]
}

/// `Speed: 0.3ms pre-process, 12.1ms inference, 0.5ms NMS per image at shape (1, 3, 640, 640)`.
pub(crate) fn speed_line([preprocess, inference, nms]: [f64; 3], [n, h, w]: [usize; 3]) -> String {
    format!(
        "Speed: {preprocess:.1}ms pre-process, {inference:.1}ms inference, {nms:.1}ms NMS per image at shape ({n}, 3, {h}, {w})"
    )
}

fn class_name(names: &[String], class: usize) -> String {
    names.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// `12 RBCs, 1 WBC, ` or `(no detections), `.
pub(crate) fn counts(detections: &[Detection], names: &[String]) -> String {
    if detections.is_empty() {
        return "(no detections), ".to_owned();
    }
    let mut text = String::new();
    for (class, name) in names.iter().enumerate() {
        let n = detections.iter().filter(|d| d.class == class).count();
        if n > 0 {
            text.push_str(&format!("{n} {name}{}, ", if n > 1 { "s" } else { "" }));
        }
    }
    text
}

fn image_json(
    source: &Source,
    (width, height): (usize, usize),
    found: &[Detection],
    names: &[String],
) -> serde_json::Value {
    let detections: Vec<serde_json::Value> = found
        .iter()
        .map(|d| {
            json!({
                "class": d.class, "name": class_name(names, d.class), "confidence": shown(d.score, 1e5),
                "box": d.xyxy.map(|v| shown(v, 1e3)),
            })
        })
        .collect();
    json!({"image": source.path, "width": width, "height": height, "detections": detections})
}

/// A number with as many decimals as `scale` has zeros, instead of the digits that single precision does not have.
fn shown(value: f32, scale: f64) -> f64 {
    (f64::from(value) * scale).round_ties_even() / scale
}

/// A CSV field, quoted where it must be.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A folder name from a class name.
fn folder_name(class: &str) -> String {
    let name: String =
        class.chars().map(|c| if "/\\:*?\"<>|".contains(c) || c.is_control() { '_' } else { c }).collect();
    if name.trim_matches('.').is_empty() { "_".to_owned() } else { name }
}

/// Writes what was asked for of one image.
fn save(
    args: &DetectArgs,
    run: &RunDir,
    source: &Source,
    mut image: Image,
    detections: &[Detection],
    names: &[String],
) -> Result<(), CliError> {
    if args.save_txt && !detections.is_empty() {
        let size = (image.width, image.height);
        let format = if args.save_format == "1" { BoxFormat::Corners } else { BoxFormat::Centre };
        let text: String = detections.iter().map(|d| label_line(d, size, format, args.save_conf) + "\n").collect();
        write_file(&run.join("labels").join(format!("{}.txt", source.stem)), text.as_bytes())?;
    }
    if args.save_crop {
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        for detection in detections {
            let number = numbers.entry(detection.class).or_insert(0);
            *number += 1;
            let suffix = if *number > 1 { number.to_string() } else { String::new() };
            let folder = run.join("crops").join(folder_name(&class_name(names, detection.class)));
            create_folder(&folder)?;
            if let Some(crop) = crop(&image, detection.xyxy) {
                save_image(&crop, &folder.join(format!("{}{suffix}.jpg", source.stem)))?;
            }
        }
    }
    if !args.nosave {
        let draw = DrawOptions {
            line_thickness: args.line_thickness.unwrap_or(0),
            hide_labels: args.hide_labels,
            hide_conf: args.hide_conf,
        };
        draw_detections(&mut image, detections, names, &draw);
        save_image(&image, &run.join(format!("{}.{}", source.stem, picture_extension(&source.path))))?;
    }
    Ok(())
}

/// JPEG stays JPEG; everything else becomes PNG, which loses nothing.
fn picture_extension(path: &Path) -> &'static str {
    match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
        Some("jpg" | "mpo") => "jpg",
        Some("jpeg") => "jpeg",
        _ => "png",
    }
}

/// Writes a picture in the format of the path's extension.
pub(crate) fn save_image(image: &Image, path: &Path) -> Result<(), CliError> {
    let png = path.extension().is_some_and(|e| e == "png");
    let bytes = if png { png_bytes(image) } else { jpeg_bytes(image, JPEG_QUALITY) };
    let bytes = bytes.map_err(|e| CliError::input(format!("cannot encode `{}`: {e}", path.display())))?;
    write_file(path, &bytes)
}

/// The part of the picture around a box; nothing where the box lies outside.
fn crop(image: &Image, [x1, y1, x2, y2]: [f32; 4]) -> Option<Image> {
    let (cx, cy) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
    let (w, h) = ((x2 - x1) * CROP_GAIN + CROP_PAD, (y2 - y1) * CROP_GAIN + CROP_PAD);
    let clip = |v: f32, side: usize| v.clamp(0.0, side as f32) as usize;
    let (left, right) = (clip(cx - w / 2.0, image.width), clip(cx + w / 2.0, image.width));
    let (top, bottom) = (clip(cy - h / 2.0, image.height), clip(cy + h / 2.0, image.height));
    (right > left && bottom > top).then(|| image.crop(left, top, right - left, bottom - top))
}

/// Draws the detections of every image of a folder into `into`: what the demo shows. Gives the number of images.
///
/// # Errors
/// As [`run`].
pub(crate) fn draw_folder(weights: &Path, folder: &Path, into: &Path) -> Result<usize, CliError> {
    let (sources, _) = sources::expand(&folder.to_string_lossy())?;
    let loaded = load_weights(weights)?;
    let side = raised(loaded.img, loaded.model.max_stride());
    let mut detector = Detector::new(loaded.model);
    for source in &sources {
        let mut image = decode::read(&source.path, &Limits::default()).map_err(CliError::input)?.image;
        let options = NmsOptions::default();
        let (detections, ..) = detector.detect(&image, [side; 2], Fit::Stride, &options).map_err(CliError::input)?;
        draw_detections(&mut image, &detections, &loaded.names, &DrawOptions::default());
        save_image(&image, &into.join(format!("{}.{}", source.stem, picture_extension(&source.path))))?;
    }
    Ok(sources.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(class: usize) -> Detection {
        Detection { xyxy: [40.0, 40.0, 60.0, 60.0], score: 0.9, class }
    }

    #[test]
    fn counts_are_in_words() {
        let names = ["RBC", "WBC"].map(String::from);
        assert_eq!(counts(&[detection(1), detection(0), detection(0)], &names), "2 RBCs, 1 WBC, ");
        assert_eq!(counts(&[], &names), "(no detections), ");
    }

    #[test]
    fn crops_have_a_margin_and_stay_inside() {
        let image = Image::new(100, 100, [0; 3]);
        // 20 x 1.02 + 10 = 30.4: from 34.8 to 65.2.
        let inner = crop(&image, [40.0, 40.0, 60.0, 60.0]).unwrap();
        assert_eq!((inner.width, inner.height), (31, 31));
        let edge = crop(&image, [0.0, 90.0, 10.0, 120.0]).unwrap();
        assert_eq!((edge.width, edge.height), (15, 16));
        assert!(crop(&image, [300.0, 300.0, 310.0, 310.0]).is_none());
    }

    #[test]
    fn class_names_cannot_leave_the_folder() {
        assert_eq!(["a/b", "..", "cat"].map(folder_name), ["a_b", "_", "cat"]);
    }
}
