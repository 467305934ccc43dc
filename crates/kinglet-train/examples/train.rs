//! Trains a model file on a data set without the command line: the shortest use of the trainer.

use kinglet_train::events::{BatchDone, EpochDone, Observer};
use kinglet_train::options::{Recipe, TrainOptions};
use kinglet_train::trainer::Trainer;
use std::sync::atomic::AtomicBool;

struct Print;

impl Observer for Print {
    fn note(&mut self, message: &str) {
        eprintln!("{message}");
    }
    fn batch(&mut self, b: &BatchDone) {
        if b.batch + 1 == b.batches {
            eprint!("{:.1} img/s wait {:.2} mem {} MB | ", b.images_per_second, b.waiting, b.memory >> 20);
        }
    }
    fn epoch(&mut self, e: &EpochDone) {
        let [b, o, c] = e.train_losses;
        eprint!("epoch {} box {b:.5} obj {o:.5} cls {c:.5}", e.epoch);
        if let Some(v) = &e.validation {
            let r = &v.report;
            eprint!(" P {:.3} R {:.3} mAP50 {:.4} mAP {:.4}", r.precision, r.recall, r.map50, r.map50_95);
            r.per_class.iter().for_each(|c| eprint!(" {}:{:.3}/{:.2}", c.name, c.ap50, c.r));
            eprint!(" vloss {:.4} {:.4} {:.4}", v.losses[0], v.losses[1], v.losses[2]);
        }
        eprintln!(" {:.1} s", e.elapsed.as_secs_f64());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, cfg, data, dir, img, epochs, seed, recipe] = args.as_slice() else {
        return Err("usage: train MODEL.yaml DATA.yaml DIR IMG EPOCHS SEED kinglet|yolov5".into());
    };
    let options = TrainOptions {
        model_file: cfg.clone(),
        recipe: if recipe == "yolov5" { Recipe::Yolov5 } else { Recipe::Kinglet },
        epochs: epochs.parse()?,
        img: img.parse()?,
        seed: seed.parse()?,
        save_period: std::env::var("SAVE_PERIOD").ok().and_then(|n| n.parse().ok()),
        workers: 1,
        ..TrainOptions::new(&std::fs::read_to_string(cfg)?, data, dir)
    };
    std::fs::create_dir_all(dir)?;
    let mut trainer = Trainer::new(options, &mut Print)?;
    trainer.run(&AtomicBool::new(false), &mut Print)?;
    Ok(())
}
