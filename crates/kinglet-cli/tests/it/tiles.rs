//! Tiles on images far larger than the network's input.

use crate::program::kinglet;
use crate::torch::shared;
use kinglet_vision::encode::write_jpeg;
use kinglet_vision::{Image, Limits, decode, resize};
use std::path::{Path, PathBuf};

const SIZE: (usize, usize) = (2560, 1920);
const CELL: (usize, usize) = (320, 240);

/// Photographs with their labels, as cells of large pictures.
fn large_pictures(photographs: &Path, into: &Path) {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(photographs.join("images/val2017")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let (columns, rows) = (SIZE.0 / CELL.0, SIZE.1 / CELL.1);
    for kind in ["images", "labels"] {
        std::fs::create_dir_all(into.join(kind)).unwrap();
    }
    for (number, files) in files.chunks_exact(columns * rows).enumerate() {
        let mut picture = Image::new(SIZE.0, SIZE.1, [0; 3]);
        let mut labels = String::new();
        for (i, file) in files.iter().enumerate() {
            let (column, row) = (i % columns, i / columns);
            let image = decode::read(file, &Limits::default()).unwrap().image;
            let image = resize::resize_bilinear(&image, CELL.0, CELL.1);
            picture.paste(&image, (column * CELL.0) as isize, (row * CELL.1) as isize);
            let stem = file.file_stem().unwrap().to_string_lossy();
            let text =
                std::fs::read_to_string(photographs.join(format!("labels/val2017/{stem}.txt"))).unwrap_or_default();
            for line in text.lines() {
                let mut words = line.split(' ');
                let class = words.next().unwrap();
                let [x, y, w, h] = std::array::from_fn(|_| words.next().unwrap().parse::<f64>().unwrap());
                let (columns, rows) = (columns as f64, rows as f64);
                let (x, y) = ((x + column as f64) / columns, (y + row as f64) / rows);
                labels.push_str(&format!("{class} {x:.6} {y:.6} {:.6} {:.6}\n", w / columns, h / rows));
            }
        }
        write_jpeg(&picture, into.join(format!("images/{number}.jpg")), 95).unwrap();
        std::fs::write(into.join(format!("labels/{number}.txt")), labels).unwrap();
    }
}

#[test]
fn tiles_find_what_is_small_in_large_pictures() {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    large_pictures(&shared.join("data/coco256"), folder.path());
    let yaml = std::fs::read_to_string(shared.join("data/coco256/coco256.yaml")).unwrap();
    let names = &yaml[yaml.find("names:").unwrap()..];
    std::fs::write(folder.path().join("data.yaml"), format!("path: .\ntrain: images\nval: images\n{names}")).unwrap();
    let map50 = |more: &str| {
        let weights = shared.join("weights/yolov5n-coco.pt");
        let line =
            format!("val --weights {} --data data.yaml --batch 1 --max-det 3000 --json {more}", weights.display());
        let value: serde_json::Value = serde_json::from_str(&kinglet(folder.path(), &line).ok().stdout).unwrap();
        value["map50"].as_f64().unwrap()
    };
    let (whole, tiled) = (map50(""), map50("--tile"));
    eprintln!("mAP50 {whole:.3} of the whole pictures, {tiled:.3} in tiles");
    assert!(tiled > whole + 0.1, "mAP50 {whole} of the whole pictures, {tiled} in tiles");
}

#[test]
fn an_object_on_a_border_between_tiles_is_found_once() {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    // A photograph with one large object, which the detector finds once when it is alone.
    let weights = shared.join("weights/yolov5n-coco.pt");
    let detect = |more: &str| {
        let line = format!(
            "detect --weights {} --source a.png --nosave --conf 0.4 --img 640 --json {more}",
            weights.display()
        );
        let value: serde_json::Value = serde_json::from_str(&kinglet(folder.path(), &line).ok().stdout).unwrap();
        value["images"][0]["detections"].as_array().unwrap().clone()
    };
    let photographs = shared.join("data/coco256/images/val2017");
    let mut files: Vec<PathBuf> = std::fs::read_dir(photographs).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut tried = 0;
    for file in &files {
        let image = decode::read(file, &Limits::default()).unwrap().image;
        let image = resize::resize_bilinear(&image, 320, 240);
        kinglet_vision::encode::write_png(&image, folder.path().join("a.png")).unwrap();
        let alone = detect("");
        let [object] = &alone[..] else { continue };
        let corners: Vec<f64> = object["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let inside = corners[0] > 20.0 && corners[1] > 20.0 && corners[2] < 300.0 && corners[3] < 220.0;
        // Smaller than the overlap of 0.3 x 640 = 192 px, so that some tile shows it whole.
        if !inside || object["confidence"].as_f64().unwrap() < 0.6 || corners[2] - corners[0] > 180.0 {
            continue;
        }
        tried += 1;
        // Tiles of 640 with 30 % of overlap in 1920 px begin at 0, 427, 853 and 1280: the border at 640 cuts the object.
        let middle = (corners[0] + corners[2]) / 2.0;
        let left = 640.0 - middle;
        let mut large = Image::new(1920, 640, [114; 3]);
        large.paste(&image, left.round() as isize, 200);
        kinglet_vision::encode::write_png(&large, folder.path().join("a.png")).unwrap();
        let found = detect("--tile --tile-overlap 0.3");
        let of_class = found.iter().filter(|d| d["class"] == object["class"]).count();
        assert_eq!(of_class, 1, "{}: {found:?}", file.display());
        if tried == 3 {
            break;
        }
    }
    assert!(tried > 0, "no photograph shows one object alone");
}
