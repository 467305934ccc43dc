//! Validates checkpoints twice: with the BatchNorm statistics they were saved with, and with statistics measured afresh
//! for their weights over a few training batches. The difference is what stale statistics cost (`docs/recipe.md`).

use kinglet_data::{AugmentParams, Dataset, Loader, LoaderOptions, NoProgress, ScanOptions, Split};
use kinglet_runtime::Detector;
use kinglet_tensor::{Mode, Session};
use kinglet_train::checkpoint::load_model;
use kinglet_train::validate::{nms_options, validate};
use std::path::Path;
use std::sync::Arc;

const BATCHES: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data, checkpoints @ ..] = args.as_slice() else {
        return Err("usage: batch_norm_study DATA.yaml CHECKPOINT...".into());
    };
    let open = |split| Dataset::open(data, split, ScanOptions::default(), &NoProgress).map(Arc::new);
    let (train, val) = (open(Split::Train)?, open(Split::Val)?);
    println!("{:<40} {:>20} {:>20}", "checkpoint", "saved mAP50 / mAP", "afresh mAP50 / mAP");
    for path in checkpoints {
        let loaded = load_model(Path::new(path))?;
        let mut model = loaded.model;
        let loader = Loader::new(val.clone(), LoaderOptions::val(loaded.img, 32));
        let score = |model: &kinglet_nn::Model| {
            let mut detector = Detector::new(model.clone());
            validate(&mut detector, &loader, &nms_options(), None, &mut |_, _| (), &mut |_, _| ())
        };
        let saved = score(&model)?.report;
        let batches = LoaderOptions::train(loaded.img, 16, AugmentParams::scratch_low(), 0);
        let mut session = Session::default();
        for (i, batch) in Loader::new(train.clone(), batches).epoch(0, None).take(BATCHES).enumerate() {
            let recording = model.record(batch.n, [batch.h, batch.w])?;
            let mode = Mode::Train { momentum: 1.0 / (i + 1) as f32 };
            session.forward(&recording.graph, &mut model.params, &batch.to_f32(), mode);
        }
        let afresh = score(&model)?.report;
        println!(
            "{path:<40} {:>11.4} / {:.4} {:>11.4} / {:.4}",
            saved.map50, saved.map50_95, afresh.map50, afresh.map50_95
        );
    }
    Ok(())
}
