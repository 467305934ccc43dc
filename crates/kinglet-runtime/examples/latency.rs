//! Prints how long a model takes: `latency MODEL.yaml NC SIZE THREADS REPEATS`. The table lists every step at its best.

use kinglet_nn::Model;
use kinglet_runtime::{Detector, StepTiming};
use kinglet_spec::ResolveOptions;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, nc, size, threads, repeats] = args.as_slice() else {
        return Err("usage: latency MODEL.yaml NC SIZE THREADS REPEATS".into());
    };
    let (nc, side, repeats): (usize, usize, usize) = (nc.parse()?, size.parse()?, repeats.parse()?);
    kinglet_kernels::threads::set_threads(threads.parse()?);
    let options = ResolveOptions { nc: Some(nc), image: [side; 2], ..Default::default() };
    let mut model = Model::from_yaml(&std::fs::read_to_string(model)?, model, &options)?;
    model.params.initialise(0);
    let mut detector = Detector::new(model);
    let images: Vec<f32> = (0..side * side * 3).map(|i| (i * 7919 % 256) as f32 / 255.0).collect();
    let size = [1, side, side];
    let mut best = detector.profile(&images, size, 0.25)?;
    let mut times: Vec<Duration> = Vec::with_capacity(repeats);
    for _ in 0..repeats.max(1) {
        let start = Instant::now();
        detector.forward(&images, size)?;
        times.push(start.elapsed());
        let steps = detector.profile(&images, size, 0.25)?;
        best.iter_mut().zip(steps).for_each(|(best, step)| best.time = best.time.min(step.time));
    }
    times.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    println!("layer  step                   output                    ms   GFLOP/s");
    for StepTiming { layer, op, shape, macs, time } in &best {
        let speed = 2.0 * *macs as f64 / time.as_secs_f64() / 1e9;
        println!("{layer:5}  {op:20}  {:20} {:8.3}  {speed:8.1}", shape.to_string(), ms(*time));
    }
    let steps: Duration = best.iter().map(|s| s.time).sum();
    let at = |share: f64| ms(times[((times.len() - 1) as f64 * share) as usize]);
    println!(
        "best {:.2} ms, median {:.2}, p95 {:.2}; sum of the steps' best {:.2}",
        at(0.0),
        at(0.5),
        at(0.95),
        ms(steps)
    );
    println!("{:.1} MiB of packed weights and arena", detector.memory_bytes() as f64 / f64::from(1 << 20));
    Ok(())
}
