//! Batches: order, determinism, shapes, and labels that stay with their pixels.

use crate::Fixture;
use kinglet_data::loader::{rect_shape, resized_size};
use kinglet_data::{AugmentParams, Batch, Dataset, Loader, LoaderOptions, NoProgress, ScanOptions, Split};
use kinglet_vision::Image;
use std::fs;

/// Colours of the squares by class, easy to tell from each other and from grey.
const COLOURS: [[u8; 3]; 2] = [[230, 20, 20], [20, 20, 230]];

/// Black pictures with one coloured square each, boxed exactly.
fn squares(f: &Fixture, count: usize, side: usize, polygon: bool) {
    for i in 0..count {
        let (w, h) = [(64, 64), (64, 48), (40, 64)][i % 3];
        let mut image = Image::new(w, h, [0; 3]);
        let (x, y) = (4 + i % 5, 6 + i % 7);
        for py in y..y + side {
            for px in x..x + side {
                image.set_pixel(px, py, COLOURS[i % 2]);
            }
        }
        f.image(&format!("images/train/{i:03}.png"), &image);
        let (fw, fh, s) = (w as f32, h as f32, side as f32);
        let (x, y) = (x as f32, y as f32);
        let line = if polygon {
            let (l, r, t, b) = (x / fw, (x + s) / fw, y / fh, (y + s) / fh);
            format!("{} {l} {t} {r} {t} {r} {b} {l} {b}", i % 2)
        } else {
            format!("{} {} {} {} {}", i % 2, (x + s / 2.0) / fw, (y + s / 2.0) / fh, s / fw, s / fh)
        };
        f.write(&format!("labels/train/{i:03}.txt"), line);
    }
}

fn strong() -> AugmentParams {
    AugmentParams {
        hsv_h: 0.015,
        hsv_s: 0.7,
        hsv_v: 0.4,
        degrees: 20.0,
        translate: 0.2,
        scale: 0.6,
        shear: 5.0,
        perspective: 0.0005,
        flipud: 0.5,
        fliplr: 0.5,
        mosaic: 0.7,
        mixup: 0.3,
        copy_paste: 0.5,
    }
}

fn options(workers: usize) -> LoaderOptions {
    LoaderOptions { workers, ..LoaderOptions::train(64, 4, strong(), 11) }
}

#[test]
fn bytes_do_not_depend_on_the_number_of_workers() {
    let f = Fixture::two_classes();
    squares(&f, 11, 20, true);
    let set = f.train();
    let run = |workers, cache_images| -> Vec<Batch> {
        Loader::new(set.clone(), LoaderOptions { cache_images, ..options(workers) }).epoch(2, None).collect()
    };
    let one = run(1, false);
    assert_eq!(one.iter().map(|b| b.n).collect::<Vec<_>>(), [4, 4, 3]);
    assert_eq!(one, run(3, false));
    assert_eq!(one, run(2, true));
    let other: Vec<Batch> = Loader::new(set, options(2)).epoch(3, None).collect();
    assert_ne!(one[0].images, other[0].images);
    assert_ne!(one[0].indices, other[0].indices);
}

/// Without a cache only the part of a JPEG that a mosaic shows is decoded.
#[test]
fn pictures_in_memory_and_seen_parts_of_files_give_the_same_bytes() {
    let f = Fixture::two_classes();
    for (i, (width, height)) in [(128, 128), (128, 96), (64, 48), (150, 75), (45, 60), (64, 64)].into_iter().enumerate()
    {
        let mut image = Image::new(width, height, [0; 3]);
        image.data.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * at / 7 % 251) as u8);
        f.image(&format!("images/train/{i}.jpg"), &image);
        f.write(&format!("labels/train/{i}.txt"), "1 0.5 0.5 0.4 0.6");
    }
    let set = f.train();
    let turned = AugmentParams { degrees: 20.0, shear: 5.0, ..AugmentParams::scratch_low() };
    for params in [AugmentParams::scratch_low(), turned, strong()] {
        let run = |cache_images, epoch| -> Vec<Batch> {
            let options = LoaderOptions { cache_images, ..LoaderOptions::train(64, 4, params, 5) };
            Loader::new(set.clone(), options).epoch(epoch, None).collect()
        };
        for epoch in 0..20 {
            assert!(run(true, epoch) == run(false, epoch), "{params:?}, epoch {epoch}");
        }
    }
}

#[test]
fn every_sample_comes_once_and_a_given_order_is_kept() {
    let f = Fixture::two_classes();
    squares(&f, 7, 20, false);
    let loader = Loader::new(f.train(), options(2));
    let mut seen: Vec<usize> = loader.epoch(0, None).flat_map(|b| b.indices).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..7).collect::<Vec<_>>());
    let order = vec![3, 3, 1, 99, 0, 6];
    let given: Vec<usize> = loader.epoch(0, Some(order)).flat_map(|b| b.indices).collect();
    assert_eq!(given, [3, 3, 1, 0, 6]);
    let twice: Vec<Batch> = loader.epoch(0, Some(vec![3, 3])).collect();
    let half = twice[0].images.len() / 2;
    assert_ne!(twice[0].images[..half], twice[0].images[half..], "a repeated sample gets its own augmentation");
}

#[test]
fn dropping_the_iterator_early_stops_the_workers() {
    let f = Fixture::two_classes();
    squares(&f, 12, 20, false);
    let loader = Loader::new(f.train(), LoaderOptions { batch: 1, ..options(3) });
    let mut epoch = loader.epoch(0, None);
    assert_eq!(epoch.len(), 12);
    assert!(epoch.next().is_some());
    drop(epoch);
    assert_eq!(loader.epoch(1, None).count(), 12);
    assert_eq!(loader.epoch(1, Some(Vec::new())).count(), 0);
}

#[test]
fn batch_larger_than_the_set_gives_one_batch() {
    let f = Fixture::two_classes();
    squares(&f, 3, 20, false);
    let batches: Vec<Batch> =
        Loader::new(f.train(), LoaderOptions { batch: 64, ..options(0) }).epoch(0, None).collect();
    assert_eq!((batches.len(), batches[0].n, batches[0].images.len()), (1, 3, 3 * 64 * 64 * 3));
}

#[test]
fn boxes_stay_inside_and_have_area_after_strong_augmentation() {
    let f = Fixture::two_classes();
    squares(&f, 9, 24, true);
    let loader = Loader::new(f.train(), options(2));
    let mut targets = 0;
    for epoch in 0..12 {
        for batch in loader.epoch(epoch, None) {
            for t in &batch.targets {
                let [cx, cy, w, h] = t.cxcywh;
                assert!(cx - w / 2.0 >= -1e-5 && cx + w / 2.0 <= 1.0 + 1e-5, "{t:?}");
                assert!(cy - h / 2.0 >= -1e-5 && cy + h / 2.0 <= 1.0 + 1e-5, "{t:?}");
                assert!(w * 64.0 > 1.9 && h * 64.0 > 1.9 && t.image < batch.n && t.class < 2, "{t:?}");
                targets += 1;
            }
        }
    }
    assert!(targets > 100, "{targets}");
}

/// The extent of the pixels of a class's colour in one picture of a batch.
pub(crate) fn extent_of(batch: &Batch, image: usize, class: usize) -> Option<[f32; 4]> {
    let plane = &batch.images[image * batch.h * batch.w * 3..][..batch.h * batch.w * 3];
    let mut e = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    for (i, p) in plane.chunks_exact(3).enumerate() {
        let (own, other) = if class == 0 { (p[0], p[2]) } else { (p[2], p[0]) };
        // Half way from black or grey to the colour: the edge to within a pixel.
        if own > 125 && other < 85 {
            let (x, y) = ((i % batch.w) as f32, (i / batch.w) as f32);
            e = [e[0].min(x), e[1].min(y), e[2].max(x + 1.0), e[3].max(y + 1.0)];
        }
    }
    (e[2] > e[0]).then_some(e)
}

/// Checks boxes against pixels wherever a class has exactly one target in a picture.
fn assert_boxes_fit(params: AugmentParams, count: usize, tolerance: f32) {
    let f = Fixture::two_classes();
    squares(&f, count, 24, false);
    let loader = Loader::new(f.train(), LoaderOptions::train(128, 4, params, 5));
    let mut checked = 0;
    for epoch in 0..16 {
        for batch in loader.epoch(epoch, None) {
            for image in 0..batch.n {
                for class in 0..2 {
                    let own: Vec<_> = batch.targets.iter().filter(|t| t.image == image && t.class == class).collect();
                    let extents = extent_of(&batch, image, class);
                    if own.is_empty() {
                        continue;
                    }
                    // Several squares of one class: compare the union.
                    let mut union = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
                    for t in &own {
                        let [cx, cy, w, h] = t.cxcywh.map(|v| v * 128.0);
                        union = [
                            union[0].min(cx - w / 2.0),
                            union[1].min(cy - h / 2.0),
                            union[2].max(cx + w / 2.0),
                            union[3].max(cy + h / 2.0),
                        ];
                    }
                    let e = extents.unwrap_or_else(|| panic!("no pixels of class {class} for {own:?}"));
                    // A square of which too little is left has pixels but no box: then the extent is the larger one.
                    let inside =
                        (0..4).all(|i| if i < 2 { e[i] <= union[i] + tolerance } else { e[i] >= union[i] - tolerance });
                    assert!(inside, "epoch {epoch} image {image}: pixels {e:?} boxes {union:?}");
                    checked += usize::from((0..4).all(|i| (e[i] - union[i]).abs() <= tolerance));
                }
            }
        }
    }
    let expected = 16 * count;
    assert!(checked * 10 >= expected * 6, "{checked} of {expected} pictures fit exactly");
}

#[test]
fn boxes_follow_their_pixels_through_letterbox_scale_and_flips() {
    let params = AugmentParams { translate: 0.1, scale: 0.3, fliplr: 0.5, flipud: 0.5, ..AugmentParams::none() };
    assert_boxes_fit(params, 9, 1.6);
}

#[test]
fn boxes_follow_their_pixels_through_a_mosaic() {
    let params =
        AugmentParams { mosaic: 1.0, fliplr: 0.5, flipud: 0.5, translate: 0.1, scale: 0.2, ..AugmentParams::none() };
    assert_boxes_fit(params, 9, 2.1);
}

#[test]
fn validation_keeps_pixels_and_maps_boxes_back() {
    let f = Fixture::two_classes();
    squares(&f, 9, 20, false);
    let set = f.train();
    let loader = Loader::new(set.clone(), LoaderOptions { workers: 2, ..LoaderOptions::val(64, 3) });
    let aspects: Vec<f32> =
        loader.order(0).iter().map(|&i| set.samples[i].height as f32 / set.samples[i].width as f32).collect();
    assert!(aspects.is_sorted());
    let mut images = 0;
    for batch in loader.epoch(0, None) {
        assert!(batch.h.is_multiple_of(32) && batch.w.is_multiple_of(32));
        for t in &batch.targets {
            let info = &batch.infos[t.image];
            let (w, h) = (batch.w as f32, batch.h as f32);
            let [cx, cy, bw, bh] = t.cxcywh;
            let xyxy = [(cx - bw / 2.0) * w, (cy - bh / 2.0) * h, (cx + bw / 2.0) * w, (cy + bh / 2.0) * h];
            let back = info.to_original(xyxy);
            let label = &set.samples[info.sample].labels[0];
            let (ow, oh) = (info.original.0 as f32, info.original.1 as f32);
            let [lx, ly, lw, lh] = label.cxcywh;
            let expected = [(lx - lw / 2.0) * ow, (ly - lh / 2.0) * oh, (lx + lw / 2.0) * ow, (ly + lh / 2.0) * oh];
            assert!(back.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.01), "{back:?} {expected:?}");
            let pixels = extent_of(&batch, t.image, t.class).unwrap();
            assert!(pixels.iter().zip(xyxy).all(|(a, b)| (a - b).abs() < 1.01), "{pixels:?} {xyxy:?}");
        }
        images += batch.n;
        let floats = batch.to_f32();
        assert_eq!(floats.len(), batch.n * batch.h * batch.w * 3);
        assert!(floats.iter().zip(&batch.images).all(|(f, b)| *f == f32::from(*b) / 255.0));
        assert_eq!(batch.images[0], 114);
    }
    assert_eq!(images, 9);
}

#[test]
fn rect_shapes_follow_the_rule() {
    // All wide: rows shrink. 0.75 * 640 / 32 + 0.5 = 15.5, so 16 rows of cells; columns 20.5, so 21.
    assert_eq!(rect_shape(&[0.5, 0.75], 640, 32, 0.5), [512, 672]);
    assert_eq!(rect_shape(&[1.5, 2.0], 640, 32, 0.0), [640, 448]);
    assert_eq!(rect_shape(&[0.5, 1.5], 640, 32, 0.5), [672, 672]);
    assert_eq!(rect_shape(&[1.0], 320, 32, 0.0), [320, 320]);
    assert_eq!(resized_size(640, 480, 320), (320, 240));
    assert_eq!(resized_size(333, 1000, 320), (107, 320));
    assert_eq!(resized_size(5000, 2, 320), (320, 1));
}

#[test]
fn image_that_vanishes_becomes_grey_with_a_finding() {
    let f = Fixture::two_classes();
    squares(&f, 4, 20, false);
    let set = f.train();
    fs::remove_file(f.path("images/train/002.png")).unwrap();
    let params = AugmentParams::none();
    let batches: Vec<Batch> = Loader::new(set, LoaderOptions::train(64, 4, params, 0)).epoch(0, None).collect();
    let batch = &batches[0];
    assert_eq!((batch.n, batch.findings.len()), (4, 1));
    assert!(batch.findings[0].file.ends_with("002.png"));
    let at = batch.indices.iter().position(|&i| i == 2).unwrap();
    assert!(batch.images[at * 64 * 64 * 3..][..64 * 64 * 3].iter().all(|&v| v == 114));
    assert!(batch.targets.iter().all(|t| t.image != at));
}

#[test]
fn a_set_of_backgrounds_and_one_sample_loads() {
    let f = Fixture::two_classes();
    f.sample("train/a", (20, 90), "");
    f.sample("val/a", (20, 90), "0 0.5 0.5 0.5 0.5");
    let lenient = ScanOptions { need_labels: false, ..ScanOptions::default() };
    let set = Dataset::open(f.path("data.yaml"), Split::Train, lenient, &NoProgress).unwrap();
    let batches: Vec<Batch> = Loader::new(std::sync::Arc::new(set), options(2)).epoch(0, None).collect();
    assert_eq!((batches.len(), batches[0].targets.len()), (1, 0));
    let val = std::sync::Arc::new(f.open(Split::Val).unwrap());
    let batches: Vec<Batch> = Loader::new(val, LoaderOptions::val(64, 8)).epoch(0, None).collect();
    assert_eq!((batches[0].h, batches[0].w, batches[0].targets.len()), (96, 32, 1));
}

#[cfg(target_os = "linux")]
#[test]
fn memory_promised_to_others_is_not_taken() {
    let f = Fixture::two_classes();
    f.sample("train/a", (128, 64), "0 0.5 0.5 0.5 0.5\n");
    f.sample("val/a", (64, 64), "0 0.5 0.5 0.5 0.5\n");
    let with =
        |promised| Loader::new(f.train(), LoaderOptions { cache_images: true, promised, ..LoaderOptions::val(64, 1) });
    // 64 x 32 pixels of three bytes.
    assert_eq!((with(0).cache_bytes(), with(0).notes().len()), (64 * 32 * 3, 0));
    let full = with(1 << 60);
    assert_eq!(full.cache_bytes(), 0);
    assert!(
        full.notes()[0].starts_with("images of `train` are not cached: they need 0 MB besides"),
        "{:?}",
        full.notes()
    );
}
