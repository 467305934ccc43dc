//! Detections as COCO results, to be read by pycocotools and its relatives.
//!
//! Source: the results format of cocodataset.org: `[{image_id, category_id, bbox: [x, y, width, height], score}]`.

use kinglet_vision::nms::Detection;
use serde::Serialize;

/// COCO numbers its 80 classes 1 to 90 with gaps; this is the number of class `i`.
pub const COCO_CATEGORIES: [u32; 80] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27, 28, 31, 32, 33, 34, 35,
    36, 37, 38, 39, 40, 41, 42, 43, 44, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65,
    67, 70, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 84, 85, 86, 87, 88, 89, 90,
];

/// A number where the file name is one, else the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ImageId {
    /// From a name such as `000000000139`.
    Number(u64),
    /// Any other name.
    Name(String),
}

impl ImageId {
    /// Of a file name without its extension.
    pub fn from_stem(stem: &str) -> Self {
        let digits = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit());
        match stem.parse() {
            Ok(number) if digits => Self::Number(number),
            _ => Self::Name(stem.to_owned()),
        }
    }
}

/// One detection in COCO's form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CocoRecord {
    /// Which image.
    pub image_id: ImageId,
    /// Which class.
    pub category_id: u64,
    /// Left, top, width, height in pixels of the original image, three decimals.
    pub bbox: [f64; 4],
    /// Five decimals.
    pub score: f64,
}

/// The category of a class: COCO's own number where `coco91` is asked for, else the class index.
pub fn coco_category(class: usize, coco91: bool) -> u64 {
    let known = if coco91 { COCO_CATEGORIES.get(class).copied() } else { None };
    known.map_or(class as u64, u64::from)
}

/// The records of one image. `category` gives the number of a class; detections of a class without one are left out.
pub fn coco_records(
    image_id: &ImageId,
    detections: &[Detection],
    category: impl Fn(usize) -> Option<u64>,
) -> Vec<CocoRecord> {
    let round = |value: f32, scale: f64| (f64::from(value) * scale).round_ties_even() / scale;
    detections
        .iter()
        .filter_map(|detection| {
            let [x1, y1, x2, y2] = detection.xyxy;
            Some(CocoRecord {
                image_id: image_id.clone(),
                category_id: category(detection.class)?,
                bbox: [x1, y1, x2 - x1, y2 - y1].map(|value| round(value, 1e3)),
                score: round(detection.score, 1e5),
            })
        })
        .collect()
}

/// The JSON text of a record, or of a results file's list of them.
pub fn to_json(records: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(records).expect("numbers and text serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_coco_form() {
        let detection = Detection { xyxy: [1.0, 2.0, 11.125_4, 22.5], score: 0.876_543_2, class: 79 };
        let records = coco_records(&ImageId::from_stem("000000000139"), &[detection], |c| Some(coco_category(c, true)));
        assert_eq!(
            to_json(&records),
            r#"[{"image_id":139,"category_id":90,"bbox":[1.0,2.0,10.125,20.5],"score":0.87654}]"#
        );
        let named = coco_records(&ImageId::from_stem("street-7"), &[detection], |c| Some(coco_category(c, false)));
        assert_eq!(named[0].image_id, ImageId::Name("street-7".into()));
        assert_eq!(named[0].category_id, 79);
        assert!(coco_records(&ImageId::Number(1), &[detection], |_| None).is_empty());
        assert_eq!(ImageId::from_stem("+5"), ImageId::Name("+5".into()));
    }

    #[test]
    fn categories_rise_and_skip_the_unused_numbers() {
        assert!(COCO_CATEGORIES.is_sorted());
        for unused in [12, 26, 29, 30, 45, 66, 68, 69, 71, 83] {
            assert!(!COCO_CATEGORIES.contains(&unused));
        }
    }
}
