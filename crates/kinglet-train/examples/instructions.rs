//! Runs a small forward pass or training step some times, for a profiler to count: `instructions forward|step REPEATS`.
//!
//! `benches/instructions.sh` compares the counts with bounds.

use kinglet_data::Target;
use kinglet_nn::Model;
use kinglet_runtime::Detector;
use kinglet_spec::ResolveOptions;
use kinglet_train::hyp::Hyp;
use kinglet_train::step::TrainStep;

const SIDE: usize = 64;
const BATCH: usize = 1;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [what, repeats] = args.as_slice() else { return Err("usage: instructions forward|step REPEATS".into()) };
    let repeats: usize = repeats.parse()?;
    kinglet_kernels::threads::set_threads(1);
    let yaml = include_str!("../../../zoo/models/yolov5_mobilenetv3.yaml");
    let mut model = Model::from_yaml(yaml, "yolov5_mobilenetv3.yaml", &ResolveOptions::default())?;
    model.params.initialise(0);
    let images: Vec<f32> = (0..BATCH * SIDE * SIDE * 3).map(|i| (i * 7919 % 256) as f32 / 255.0).collect();
    match what.as_str() {
        "forward" => {
            let mut detector = Detector::new(model);
            for _ in 0..repeats {
                detector.forward(&images[..SIDE * SIDE * 3], [1, SIDE, SIDE])?;
            }
        }
        "step" => {
            let mut step = TrainStep::with_sgd(model, &Hyp::default(), SIDE);
            let targets: Vec<Target> =
                (0..BATCH).map(|image| Target { image, class: 0, cxcywh: [0.4, 0.6, 0.3, 0.2] }).collect();
            for _ in 0..repeats {
                step.forward_backward(&images, [BATCH, SIDE, SIDE], &targets)?;
                step.update([0.001; 3], 0.9);
            }
        }
        other => return Err(format!("`{other}`: forward or step").into()),
    }
    Ok(())
}
