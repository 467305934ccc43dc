//! Times training batches (mosaic, perspective, HSV) on one worker: `loader_speed DATA_YAML [IMG] [--cache]`.

use kinglet_data::{AugmentParams, Dataset, Loader, LoaderOptions, NoProgress, ScanOptions, Split};
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, plain): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let yaml = plain.first().ok_or("usage: loader_speed DATA_YAML [IMG] [--cache]")?;
    let img = plain.get(1).map_or(Ok(320), |text| text.parse())?;
    let scan = ScanOptions { cache: false, ..ScanOptions::default() };
    let dataset = Arc::new(Dataset::open(yaml, Split::Train, scan, &NoProgress)?);
    let cache_images = flags.iter().any(|f| f == "--cache");
    let options =
        LoaderOptions { workers: 1, cache_images, ..LoaderOptions::train(img, 16, AugmentParams::scratch_low(), 0) };
    let loader = Loader::new(dataset, options);
    for epoch in 0..3 {
        let start = Instant::now();
        let images: usize = loader.epoch(epoch, None).map(|batch| batch.n).sum();
        let ms = start.elapsed().as_secs_f64() * 1e3 / images as f64;
        println!("epoch {epoch}: {images} images, {ms:.2} ms/image");
    }
    Ok(())
}
