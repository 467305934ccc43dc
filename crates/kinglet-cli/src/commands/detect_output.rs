//! What `kinglet detect` writes of one picture, be it an image or a frame: labels, crops, rows of tables, drawings.

use super::{BoxFormat, label_line};
use crate::args::DetectArgs;
use crate::errors::CliError;
use crate::output::{GrowingFile, create_folder, write_file, write_picture};
use crate::printer::Printer;
use crate::run_dir::RunDir;
use kinglet_eval::coco_json::{ImageId, coco_category, coco_records, to_json};
use kinglet_vision::draw::{DrawnBox, class_colour, draw_boxes};
use kinglet_vision::{Detection, DrawOptions, Image};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// A crop is larger than its box by this factor and this many pixels, as YOLOv5's.
const CROP_GAIN: f32 = 1.02;
const CROP_PAD: f32 = 10.0;

/// What was found in one picture.
pub(super) struct Picture<'a> {
    /// The image, the video, or the stream's name.
    pub path: &'a Path,
    /// What its own files are called.
    pub stem: &'a str,
    /// The frame of a video.
    pub frame: Option<u64>,
    /// Detections in pixels.
    pub detections: &'a [Detection],
    /// The object of each, where they are followed; empty otherwise.
    pub ids: &'a [u64],
}

/// Where detections go. Tables grow on disk, so that a stream may go on for ever.
pub(super) struct Outputs<'a> {
    args: &'a DetectArgs,
    run: Option<&'a RunDir>,
    names: &'a [String],
    coco: Option<GrowingFile>,
    /// Whether `coco` holds one already.
    has_records: bool,
    csv: Option<GrowingFile>,
    json: Json,
    /// Crops of images, which may want the same name: the second of `a.jpg` and the first of `a2.jpg`.
    crops: HashSet<PathBuf>,
}

/// How `--json` tells what was found.
pub(super) enum Json {
    /// Not at all.
    Off,
    /// All pictures in one document, at the end.
    Document(Vec<serde_json::Value>),
    /// A line for each picture, as soon as it is done.
    Lines(Printer),
}

impl<'a> Outputs<'a> {
    /// Begins the tables that are asked for.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn new(
        args: &'a DetectArgs,
        run: Option<&'a RunDir>,
        names: &'a [String],
        json: Json,
    ) -> Result<Self, CliError> {
        let table = |wanted: bool, name: &str, head: &str| -> Result<Option<GrowingFile>, CliError> {
            let Some(run) = run.filter(|_| wanted) else { return Ok(None) };
            let mut file = GrowingFile::create(&run.join(name))?;
            file.write(head.as_bytes())?;
            Ok(Some(file))
        };
        let coco = table(args.save_json, "predictions.json", "[")?;
        let csv = table(args.save_csv, "predictions.csv", "Image Name,Prediction,Confidence\n")?;
        Ok(Outputs { args, run, names, coco, has_records: false, csv, json, crops: HashSet::new() })
    }

    pub fn args(&self) -> &'a DetectArgs {
        self.args
    }

    pub fn run(&self) -> Option<&'a RunDir> {
        self.run
    }

    pub fn names(&self) -> &'a [String] {
        self.names
    }

    /// Writes and keeps all that was asked for of a picture, but for the picture itself.
    pub fn add(&mut self, picture: &Picture<'_>, image: &Image) -> Result<(), CliError> {
        let Outputs { args, names, .. } = *self;
        let value = || picture_json(picture, (image.width, image.height), names);
        match &mut self.json {
            Json::Off => {}
            Json::Document(pictures) => pictures.push(value()),
            Json::Lines(printer) => printer.line(&value()),
        }
        if let Some(file) = &mut self.coco {
            let category = |class| Some(coco_category(class, names.len() == 80));
            for record in coco_records(&ImageId::from_stem(picture.stem), picture.detections, category) {
                let comma = if self.has_records { "," } else { "" };
                file.write(format!("{comma}{}", to_json(&record)).as_bytes())?;
                self.has_records = true;
            }
        }
        if let Some(csv) = &mut self.csv {
            let file = picture.path.file_name().unwrap_or_default().to_string_lossy();
            for detection in picture.detections {
                let name = class_name(names, detection.class);
                let row = format!("{},{},{:.2}\n", csv_field(&file), csv_field(&name), detection.score);
                csv.write(row.as_bytes())?;
            }
        }
        let Some(run) = self.run else { return Ok(()) };
        if args.save_txt && !picture.detections.is_empty() {
            let size = (image.width, image.height);
            let format = if args.save_format == "1" { BoxFormat::Corners } else { BoxFormat::Centre };
            let line = |d: &Detection| label_line(d, size, format, args.save_conf) + "\n";
            let text: String = picture.detections.iter().map(line).collect();
            write_file(&run.join("labels").join(format!("{}.txt", picture.stem)), text.as_bytes())?;
        }
        if args.save_crop {
            self.save_crops(run, picture, image)?;
        }
        Ok(())
    }

    fn save_crops(&mut self, run: &RunDir, picture: &Picture<'_>, image: &Image) -> Result<(), CliError> {
        let mut numbers: HashMap<usize, usize> = HashMap::new();
        for detection in picture.detections {
            let number = numbers.entry(detection.class).or_insert(0);
            let folder = run.join("crops").join(folder_name(&class_name(self.names, detection.class)));
            create_folder(&folder)?;
            let file = loop {
                *number += 1;
                let file = folder.join(crop_name(picture, *number));
                if picture.frame.is_some() || self.crops.insert(file.clone()) {
                    break file;
                }
            };
            if let Some(crop) = crop(image, detection.xyxy) {
                write_picture(&file, &crop)?;
            }
        }
        Ok(())
    }

    /// Draws frames and labels, with the objects' numbers where they are followed.
    pub fn draw(&self, picture: &Picture<'_>, image: &mut Image) {
        let options = DrawOptions {
            line_thickness: self.args.line_thickness.unwrap_or(0),
            hide_labels: self.args.hide_labels,
            hide_conf: self.args.hide_conf,
        };
        let drawn = picture.detections.iter().enumerate().map(|(i, d)| {
            let name = class_name(self.names, d.class);
            let (text, colour) = match picture.ids.get(i) {
                Some(id) => (format!("#{id} {name}"), class_colour(*id as usize)),
                None => (name, class_colour(d.class)),
            };
            DrawnBox { xyxy: d.xyxy, score: d.score, text, colour }
        });
        draw_boxes(image, drawn.collect(), &options);
    }

    /// Draws on an image and writes it, unless that is not wanted.
    pub fn save_drawn(&self, picture: &Picture<'_>, image: &mut Image) -> Result<(), CliError> {
        let (Some(run), false) = (self.run, self.args.nosave) else { return Ok(()) };
        self.draw(picture, image);
        write_picture(&run.join(format!("{}.{}", picture.stem, picture_extension(picture.path))), image)
    }

    /// Ends the tables, and gives the pictures that `--json` has not told yet.
    pub fn finish(self) -> Result<Json, CliError> {
        if let Some(mut file) = self.coco {
            file.write(b"]")?;
            file.finish()?;
        }
        self.csv.map_or(Ok(()), GrowingFile::finish)?;
        Ok(self.json)
    }
}

pub(super) fn class_name(names: &[String], class: usize) -> String {
    names.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// `12 RBC, 1 WBC`, or `(no detections)`. Names stay as they are: nobody knows the plural of every class.
pub(crate) fn counts(detections: &[Detection], names: &[String]) -> String {
    if detections.is_empty() {
        return "(no detections)".to_owned();
    }
    let count = |class: usize| detections.iter().filter(|d| d.class == class).count();
    let counts = names.iter().enumerate().map(|(class, name)| (count(class), name)).filter(|(n, _)| *n > 0);
    counts.map(|(n, name)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
}

fn picture_json(picture: &Picture<'_>, (width, height): (usize, usize), names: &[String]) -> serde_json::Value {
    let detection = |(i, d): (usize, &Detection)| {
        let mut value = json!({
            "class": d.class, "name": class_name(names, d.class), "confidence": shown(d.score, 1e5),
            "box": d.xyxy.map(|v| shown(v, 1e3)),
        });
        if let Some(id) = picture.ids.get(i) {
            value["track"] = json!(id);
        }
        value
    };
    let detections: Vec<serde_json::Value> = picture.detections.iter().enumerate().map(detection).collect();
    let mut value = json!({"image": picture.path});
    if let Some(frame) = picture.frame {
        value["frame"] = json!(frame);
    }
    value["width"] = json!(width);
    value["height"] = json!(height);
    value["detections"] = json!(detections);
    value
}

/// A number with as many decimals as `scale` has zeros, instead of the digits that single precision does not have.
pub(super) fn shown(value: f32, scale: f64) -> f64 {
    (f64::from(value) * scale).round_ties_even() / scale
}

/// A CSV field, quoted where it must be.
pub(super) fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// The file of the `number`th object of a class. YOLOv5 counts `photo.jpg`, `photo2.jpg`; frames have numbers already, and the
/// second object of frame 1 is not the first of frame 12.
fn crop_name(picture: &Picture<'_>, number: usize) -> String {
    let stem = picture.stem;
    match (number, picture.frame) {
        (1, _) => format!("{stem}.jpg"),
        (_, None) => format!("{stem}{number}.jpg"),
        (_, Some(_)) => format!("{stem}-{number}.jpg"),
    }
}

/// A folder name from a class name.
fn folder_name(class: &str) -> String {
    let name: String =
        class.chars().map(|c| if "/\\:*?\"<>|".contains(c) || c.is_control() { '_' } else { c }).collect();
    if name.trim_matches('.').is_empty() { "_".to_owned() } else { name }
}

/// JPEG stays JPEG; everything else becomes PNG, which loses nothing.
pub(super) fn picture_extension(path: &Path) -> &'static str {
    match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
        Some("jpg" | "mpo") => "jpg",
        Some("jpeg") => "jpeg",
        _ => "png",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(class: usize) -> Detection {
        Detection { xyxy: [40.0, 40.0, 60.0, 60.0], score: 0.9, class }
    }

    #[test]
    fn counts_are_in_words() {
        let names = ["RBC", "WBC"].map(String::from);
        assert_eq!(counts(&[detection(1), detection(0), detection(0)], &names), "2 RBC, 1 WBC");
        assert_eq!(counts(&[], &names), "(no detections)");
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
    fn crops_of_frames_do_not_take_each_others_names() {
        let name = |stem: &str, frame, number| {
            crop_name(&Picture { path: Path::new("a.mp4"), stem, frame, detections: &[], ids: &[] }, number)
        };
        assert_eq!([name("a", None, 1), name("a", None, 2)], ["a.jpg", "a2.jpg"]);
        assert_eq!([name("a_1", Some(1), 2), name("a_12", Some(12), 1)], ["a_1-2.jpg", "a_12.jpg"]);
    }

    #[test]
    fn class_names_cannot_leave_the_folder() {
        assert_eq!(["a/b", "..", "cat"].map(folder_name), ["a_b", "_", "cat"]);
    }
}
