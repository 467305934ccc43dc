//! `kinglet bench train`: how long a training step takes, and on what.

use super::bench::{DEFAULT_MODEL, input, percent};
use super::bench_report::{Setting, Times, peak_rss_mb, rounded};
use super::chosen_model::{choose, size};
use crate::args::TrainBench;
use crate::errors::CliError;
use crate::output::write_file;
use crate::printer::Printer;
use crate::table::table;
use kinglet_data::synthetic::draw_scene;
use kinglet_data::{Rng, Target};
use kinglet_nn::{Recording, WeightsFile};
use kinglet_tensor::{OpTiming, Pass};
use kinglet_train::hyp::Hyp;
use kinglet_train::loss::LossParts;
use kinglet_train::step::TrainStep;
use kinglet_vision::Letterbox;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Losses that a saved case records.
const CASE_STEPS: usize = 3;
/// Learning rate and momentum of the measured steps: small enough that random weights stay finite.
const LEARNING_RATE: f64 = 1e-3;
const MOMENTUM: f64 = 0.9;

/// Drawn pictures and their objects.
struct Batch {
    images: Vec<f32>,
    targets: Vec<Target>,
    size: [usize; 3],
}

/// Draws the batch; classes wrap around at `nc`.
fn drawn_batch(n: usize, size: [usize; 2], nc: usize) -> Batch {
    let [height, width] = size;
    let (mut images, mut targets) = (Vec::with_capacity(n * height * width * 3), Vec::new());
    for image in 0..n {
        let (picture, labels) = draw_scene(&mut Rng::for_sample(0, 1, image));
        let letterbox = Letterbox::plan(picture.height, picture.width, size, false, true, 1);
        images.extend(input(&picture, size));
        for label in labels {
            let [cx, cy, w, h] = label.cxcywh;
            let (pw, ph) = (picture.width as f32, picture.height as f32);
            let corners = [(cx - w / 2.0) * pw, (cy - h / 2.0) * ph, (cx + w / 2.0) * pw, (cy + h / 2.0) * ph];
            let [x1, y1, x2, y2] = letterbox.map_box(corners);
            let (fw, fh) = (width as f32, height as f32);
            let cxcywh = [(x1 + x2) / 2.0 / fw, (y1 + y2) / 2.0 / fh, (x2 - x1) / fw, (y2 - y1) / fh];
            targets.push(Target { image, class: label.class % nc, cxcywh });
        }
    }
    Batch { images, targets, size: [n, height, width] }
}

/// Operations of a step, two for each multiply-add: those of the forward pass, twice as many for the gradients of inputs
/// and weights; the image needs no gradient.
fn flops(recording: &Recording) -> f64 {
    let image = recording.graph.input();
    let nodes = recording.graph.nodes().iter();
    nodes.map(|node| 2.0 * node.macs as f64 * if node.inputs.contains(&image) { 2.0 } else { 3.0 }).sum()
}

/// Times training steps.
///
/// # Errors
/// No such model; a size that it cannot take; a case that cannot be written.
pub fn run(args: TrainBench, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = &printer.json(args.json);
    kinglet_kernels::threads::set_threads(args.machine.threads);
    let chosen = choose(&args.model, Some(DEFAULT_MODEL), printer)?;
    let size = size(&[args.imgsz], &chosen, printer);
    let batch = drawn_batch(args.batch_size, size, chosen.model.spec.nc);
    let mut setting = Setting::measure();
    let hyp = Hyp::default();
    let mut step = TrainStep::with_sgd(chosen.model, &hyp, size[0]);
    let work = flops(step.recording(batch.size)?);
    if let Some(path) = &args.save_case {
        // A step of its own, so that the measurement begins with the same weights.
        save_case(path, TrainStep::with_sgd(step.model().clone(), &hyp, size[0]), &batch, size[0])?;
        printer.say(&format!("case written to {}", path.display()));
    }

    let (mut times, mut passes, mut updates) = (Times::default(), Times::default(), Times::default());
    let mut loss = LossParts::default();
    for run in 0..args.runs.warmup + args.runs.repeats {
        if run == args.runs.warmup && args.per_op {
            step.session_mut().set_timing(true);
            step.session_mut().clear_timings();
        }
        let begin = Instant::now();
        loss = step.forward_backward(&batch.images, batch.size, &batch.targets)?;
        let middle = begin.elapsed();
        step.update([LEARNING_RATE; 3], MOMENTUM);
        let all = begin.elapsed();
        if run >= args.runs.warmup {
            times.push(all);
            passes.push(middle);
            updates.push(all - middle);
        }
    }
    setting.measure_again();
    let timings = step.session().timings().to_vec();
    let share = setting.share(work, times.median());
    let (memory, n) = (peak_rss_mb(), args.batch_size);
    let images_per_s = n as f64 * 1e3 / times.median().max(1e-9);

    printer.result(&format!(
        "{} at {}x{}, batch {n}, {}, {} objects\n",
        chosen.stem,
        size[1],
        size[0],
        setting.words(),
        batch.targets.len()
    ));
    let rows: Vec<Vec<String>> = [("forward, loss, backward", &passes), ("update", &updates), ("step", &times)]
        .into_iter()
        .map(|(part, t)| vec![part.to_owned(), format!("{:.1}", t.median()), format!("{:.1}", t.p95())])
        .collect();
    printer.result(&table(&["part", "median ms", "p95 ms"], &rows));
    let by_op = summed(&timings, |t| t.op.to_owned());
    let by_layer = summed(&timings, |t| format!("{:>3}", t.layer));
    if args.per_op {
        printer.result(&format!("\n{}", sums_table("operation", &by_op, args.runs.repeats, &setting)));
        printer.result(&format!("\n{}", sums_table("layer", &by_layer, args.runs.repeats, &setting)));
    }
    printer.result(&format!(
        "\n{images_per_s:.1} images a second; {}{:.0} % of the {:.0} GFLOP/s that multiply-adds alone reach",
        memory.map_or(String::new(), |mb| format!("{mb:.0} MB of memory at most; ")),
        100.0 * share,
        setting.peak_flops / 1e9
    ));
    if args.json {
        printer.data(&json!({
            "model": chosen.stem, "image": size, "batch": n, "objects": batch.targets.len(),
            "step": times.json(), "passes": passes.json(), "update": updates.json(),
            "images_per_s": rounded(images_per_s), "gflop_per_step": rounded(work / 1e9), "share_of_peak": rounded(share),
            "peak_gflops": rounded(setting.peak_flops / 1e9), "threads": setting.threads, "isa": setting.isa,
            "peak_rss_mb": memory, "session_mb": rounded(step.session().allocated_bytes() as f64 / f64::from(1 << 20)),
            "last_loss": parts_json(&loss), "warmup": args.runs.warmup, "repeats": args.runs.repeats,
            "by_op": sums_json(&by_op, args.runs.repeats), "by_layer": sums_json(&by_layer, args.runs.repeats),
        }));
    }
    Ok(ExitCode::SUCCESS)
}

/// Forward, recompute and backward time, and multiply-adds, of all measured steps.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Sum {
    ms: [f64; 3],
    macs: u64,
}

impl Sum {
    fn total(&self) -> f64 {
        self.ms.iter().sum()
    }
}

fn summed(timings: &[OpTiming], key: impl Fn(&OpTiming) -> String) -> BTreeMap<String, Sum> {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for timing in timings {
        let sum = sums.entry(key(timing)).or_default();
        let pass = match timing.pass {
            Pass::Forward => 0,
            Pass::Recompute => 1,
            Pass::Backward => 2,
        };
        sum.ms[pass] += timing.time.as_secs_f64() * 1e3;
        sum.macs += timing.macs;
    }
    sums
}

fn sums_table(head: &str, sums: &BTreeMap<String, Sum>, steps: usize, setting: &Setting) -> String {
    let all: f64 = sums.values().map(Sum::total).sum();
    let each = |ms: f64| format!("{:.2}", ms / steps.max(1) as f64);
    let rows: Vec<Vec<String>> = sums
        .iter()
        .map(|(key, sum)| {
            let mut row = vec![key.clone()];
            row.extend(sum.ms.map(each));
            row.push(each(sum.total()));
            row.push(percent(sum.total() / all.max(1e-9)));
            let share = setting.share(2.0 * sum.macs as f64, sum.total());
            row.push(if sum.macs == 0 { String::new() } else { percent(share) });
            row
        })
        .collect();
    table(&[head, "forward ms", "recompute ms", "backward ms", "all ms", "of time", "of ceiling"], &rows)
}

fn sums_json(sums: &BTreeMap<String, Sum>, steps: usize) -> serde_json::Value {
    let each = |ms: f64| rounded(ms / steps.max(1) as f64);
    let rows = sums.iter().map(|(key, sum)| {
        let [forward, recompute, backward] = sum.ms.map(each);
        let value = json!({
            "forward_ms": forward, "recompute_ms": recompute, "backward_ms": backward,
            "macs": sum.macs / steps.max(1) as u64,
        });
        (key.trim().to_owned(), value)
    });
    serde_json::Value::Object(rows.collect())
}

fn parts_json(loss: &LossParts) -> serde_json::Value {
    json!({"total": loss.total, "box": loss.box_, "obj": loss.obj, "cls": loss.cls})
}

/// Writes the batch, the first weights, and the losses of a few steps.
fn save_case(path: &Path, mut step: TrainStep, batch: &Batch, img: usize) -> Result<(), CliError> {
    let mut file = WeightsFile::default();
    file.insert_model(step.model(), "", step.model().params.values());
    let [n, h, w] = batch.size;
    file.insert("case.images", &[n, h, w, 3], &batch.images);
    let rows = batch.targets.iter().map(|t| [[t.image as f32, t.class as f32].as_slice(), &t.cxcywh].concat());
    let rows: Vec<f32> = rows.flatten().collect();
    file.insert("case.targets", &[batch.targets.len(), 6], &rows);
    let spec = step.model().spec.clone();
    let anchors = step.model().anchors.clone();
    let mut losses = Vec::new();
    for _ in 0..CASE_STEPS {
        let loss = step.forward_backward(&batch.images, batch.size, &batch.targets)?;
        let norm = step.update([LEARNING_RATE; 3], MOMENTUM);
        losses.push(json!({"loss": parts_json(&loss), "gradient_norm": norm}));
    }
    let ema_norm: f64 = step.ema().values().iter().flatten().map(|v| f64::from(*v).powi(2)).sum();
    let case = json!({
        "nc": spec.nc, "strides": spec.head_strides, "anchors": anchors, "img": img, "lr": LEARNING_RATE,
        "momentum": MOMENTUM, "weight_decay": Hyp::default().weight_decay, "steps": losses,
        "ema_norm": ema_norm.sqrt(),
    });
    file.metadata.insert("case".into(), case.to_string());
    file.metadata.insert("model_yaml".into(), spec.yaml.clone());
    let bytes = file.to_bytes().map_err(CliError::input)?;
    write_file(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn targets_of_the_drawn_batch_lie_in_their_images() {
        let batch = drawn_batch(4, [96, 128], 2);
        assert_eq!(batch.images.len(), 4 * 96 * 128 * 3);
        assert!(batch.targets.len() > 4);
        for t in &batch.targets {
            let [cx, cy, w, h] = t.cxcywh;
            assert!(t.image < 4 && t.class < 2);
            assert!(cx - w / 2.0 > -1e-3 && cx + w / 2.0 < 1.001 && cy - h / 2.0 > -1e-3 && cy + h / 2.0 < 1.001);
        }
    }

    #[test]
    fn times_of_one_operation_add_up_by_pass() {
        let timing =
            |node, pass, ms| OpTiming { node, layer: 2, op: "conv", pass, macs: 10, time: Duration::from_millis(ms) };
        let all = [timing(1, Pass::Forward, 2), timing(3, Pass::Forward, 3), timing(3, Pass::Backward, 7)];
        let sums = summed(&all, |t| t.op.to_owned());
        assert_eq!(sums["conv"], Sum { ms: [5.0, 0.0, 7.0], macs: 30 });
    }
}
