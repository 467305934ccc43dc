//! Evolution of hyperparameters, from outside.

use crate::end_to_end::{BEST, TRAIN, folder_with_data, trained};
use crate::program::{Ran, command, files, kinglet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const EVOLVE: &str = "--data data/data.yaml --cfg kinglet_small --img 64 --batch 4 --epochs 1 --workers 2 --seed 5";

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join("runs/evolve/exp").join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

#[test]
fn an_evolution_goes_on_to_the_same_table() {
    let (whole, parts) = (folder_with_data(), folder_with_data());
    let line = format!("evolve {EVOLVE} --generations 4");
    let ran = kinglet(whole.path(), &line).ok();
    assert!(ran.stdout.contains("The best of 4 trainings is number "), "{}", ran.all());
    assert!(ran.stderr.contains("kinglet train --hyp runs/evolve/exp/hyp_evolve.yaml"), "{}", ran.stderr);
    // As users of YOLOv5 type it, prefixes included; then more generations.
    kinglet(parts.path(), &format!("train {EVOLVE} --evol 2")).ok();
    let ran = kinglet(parts.path(), "train --resume_evolve runs/evolve/exp/evolve.csv --evolve 4").ok();
    assert!(ran.stderr.contains("going on with runs/evolve/exp after 2 trainings"), "{}", ran.stderr);
    assert_eq!(read(parts.path(), "evolve.csv"), read(whole.path(), "evolve.csv"));
    assert_eq!(read(parts.path(), "hyp_evolve.yaml"), read(whole.path(), "hyp_evolve.yaml"));
    let written = files(&whole.path().join("runs/evolve/exp"));
    assert_eq!(written, ["evolve.csv", "evolve.json", "evolve.png", "evolve.svg", "hyp_evolve.yaml"]);

    let table = read(whole.path(), "evolve.csv");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').map(str::trim).collect()).collect();
    assert_eq!((rows.len(), rows[0].len()), (5, 7 + 29));
    assert_eq!(
        rows[0][..8].join(" "),
        "metrics/precision metrics/recall metrics/mAP_0.5 metrics/mAP_0.5:0.95 val/box_loss \
        val/obj_loss val/cls_loss lr0"
    );
    assert!(table.lines().all(|line| line.split(',').all(|cell| cell.len() >= 20)), "{table}");
    // The first training has the user's values, the next ones others.
    assert_eq!((rows[1][7], rows[1][9]), ("0.01", "0.937"));
    assert!((2..5).all(|row| rows[row][7..] != rows[1][7..]), "{table}");
    // The best values are a file that a training takes.
    kinglet(whole.path(), &format!("train {EVOLVE} --hyp runs/evolve/exp/hyp_evolve.yaml --noplots")).ok();
}

#[test]
fn populations_evolve_the_augmentation_alone() {
    let folder = folder_with_data();
    let hyps = folder.path().join("hyps");
    std::fs::create_dir(&hyps).unwrap();
    std::fs::write(hyps.join("a.yaml"), "lr0: 0.02\ndegrees: 12.5\n").unwrap();
    let line = format!("evolve {EVOLVE} --generations 2 --population 4 --ancestors hyps --json --noplots");
    let ran = kinglet(folder.path(), &line).ok();
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    // Four, then two children: two of the first four go on.
    assert_eq!((&value["trainings"], &value["of"]), (&6.into(), &6.into()));
    assert_eq!(value["best"]["hyp"]["lr0"], 0.01, "the user's: it does not evolve");
    let table = read(folder.path(), "evolve.csv");
    let column = |name: &str| {
        let place = table.lines().next().unwrap().split(',').position(|cell| cell.trim() == name).unwrap();
        table.lines().skip(1).map(|line| line.split(',').nth(place).unwrap().trim()).collect::<Vec<_>>()
    };
    assert_eq!(column("lr0"), ["0.01"; 6]);
    assert_eq!(column("degrees")[1], "12.5");
    assert!(!folder.path().join("runs/evolve/exp/evolve.png").exists());
}

#[test]
fn an_evolution_deletes_its_own_training_alone_whatever_its_file_says() {
    let folder = folder_with_data();
    kinglet(folder.path(), &format!("evolve {EVOLVE} --generations 1 --noplots")).ok();
    let kept = folder.path().join("precious/thesis.txt");
    std::fs::create_dir(kept.parent().unwrap()).unwrap();
    std::fs::write(&kept, "years of work").unwrap();
    // Edited by hand, or of an evolution that was moved.
    let file = folder.path().join("runs/evolve/exp/evolve.json");
    let mut settings: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    settings["options"]["dir"] = kept.parent().unwrap().to_str().unwrap().into();
    std::fs::write(&file, settings.to_string()).unwrap();
    std::fs::rename(folder.path().join("runs/evolve/exp"), folder.path().join("moved")).unwrap();
    kinglet(folder.path(), "evolve --resume moved --generations 2 --noplots").ok();
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "years of work");
    assert_eq!(files(&folder.path().join("precious")), ["thesis.txt"]);
    assert_eq!(files(&folder.path().join("moved")), ["evolve.csv", "evolve.json", "hyp_evolve.yaml"]);
    assert!(!folder.path().join("runs/evolve/exp").exists());
}

#[cfg(unix)]
#[test]
fn an_interrupted_evolution_says_how_to_go_on() {
    let folder = folder_with_data();
    let line = format!("evolve {EVOLVE} --generations 500 --noplots");
    let child = command(folder.path(), &line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !folder.path().join("runs/evolve/exp/evolve.csv").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.all());
    assert!(ran.stderr.contains("Go on with: kinglet evolve --resume runs/evolve/exp"), "{}", ran.stderr);
    let rows = read(folder.path(), "evolve.csv").lines().count() - 1;
    let ran = kinglet(folder.path(), &format!("evolve --resume --generations {}", rows + 1)).ok();
    assert!(ran.stderr.contains(&format!("after {rows} training")), "{}", ran.stderr);
}

/// Killed outright in the middle of a training, whose folder is then left behind.
#[cfg(unix)]
#[test]
fn an_evolution_that_is_killed_begins_its_training_anew() {
    let (whole, cut) = (folder_with_data(), folder_with_data());
    let line = format!("evolve {EVOLVE} --generations 2 --noplots");
    kinglet(whole.path(), &line).ok();
    let mut child = command(cut.path(), &line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let training = cut.path().join("runs/evolve/exp/training");
    while !training.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Where it was done sooner there is nothing to end.
    let _ = child.kill();
    child.wait().unwrap();
    kinglet(cut.path(), "evolve --resume --noplots").ok();
    assert_eq!(read(cut.path(), "evolve.csv"), read(whole.path(), "evolve.csv"));
    assert_eq!(files(&cut.path().join("runs/evolve/exp")), ["evolve.csv", "evolve.json", "hyp_evolve.yaml"]);
}

#[test]
fn flags_that_an_evolution_has_no_use_for_are_told_and_fewer_generations_keep_what_was_done() {
    let folder = folder_with_data();
    let line = format!("evolve {EVOLVE} --generations 2 --noplots --nosave --noval --save-period 1 --name cfg");
    let ran = kinglet(folder.path(), &line).ok();
    assert!(
        ran.stderr.contains("warning: --save-period has no effect: each training of an evolution"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{}", ran.stderr);
    let run = folder.path().join("runs/evolve/kinglet_small");
    assert_eq!(files(&run), ["evolve.csv", "evolve.json", "hyp_evolve.yaml"]);
    let ran = kinglet(folder.path(), "evolve --resume --generations 1 --noplots").ok();
    assert!(ran.stdout.starts_with("The best of 2 trainings is number "), "{}", ran.all());
}

#[test]
fn mistakes_are_named() {
    let folder = folder_with_data();
    let told = |line: &str, code: i32, text: &str| {
        let ran = kinglet(folder.path(), line);
        assert!(ran.code == code && ran.stderr.contains(text), "{line}: {}", ran.all());
    };
    told("evolve", 2, "an evolution needs a data set; name one with --data");
    told("evolve --resume", 1, "no evolution to resume: no evolve.json in the folders of `runs/evolve`");
    told("evolve --resume data", 1, "`data` is no folder of an evolution");
    told(&format!("evolve {EVOLVE} --population 9"), 2, "belong to the genetic scheme");
    told(&format!("evolve {EVOLVE} --scheme genetic --population 3"), 2, "--population 3: expected at least 4");
    told(&format!("evolve {EVOLVE} --ancestors data/images"), 1, "`data/images` has no .yaml file");
    told("train --ancestors data", 2, "add --evolve");
    told(&format!("evolve {EVOLVE} --ui"), 2, "--ui shows one training");
    assert!(!folder.path().join("runs").exists(), "{:?}", files(&folder.path().join("runs")));
    kinglet(folder.path(), &format!("evolve {EVOLVE} --generations 1 --noplots")).ok();
    let table = folder.path().join("runs/evolve/exp/evolve.csv");
    let text = std::fs::read_to_string(&table).unwrap();
    for (from, to, line) in [("metrics/recall", "recall", 1), ("0.937", "fast", 2), ("0.937", "NaN", 2)] {
        std::fs::write(&table, text.replace(from, to)).unwrap();
        told("evolve --resume", 1, &format!("runs/evolve/exp/evolve.csv:{line}: expected"));
    }
    // A byte that is no text, as an editor of another encoding may leave it: told, and the table stays.
    let bytes = [text.replace("0.937", "0.9").as_bytes(), b"\xb7\n"].concat();
    std::fs::write(&table, &bytes).unwrap();
    told("evolve --resume", 1, "runs/evolve/exp/evolve.csv:3: expected");
    assert_eq!(std::fs::read(&table).unwrap(), bytes);
}

#[test]
fn a_run_that_cannot_stay_finite_gives_up_and_says_where() {
    let folder = folder_with_data();
    // Numbers, but squared for a variance they are none any more.
    let mut weights = kinglet_nn::WeightsFile::load(&trained().join(BEST)).unwrap();
    let first = weights.tensors.iter_mut().find(|(name, _)| name.starts_with("model.0.") && name.ends_with("weight"));
    first.unwrap().1.1.fill(3e38);
    std::fs::write(folder.path().join("large.safetensors"), weights.to_bytes().unwrap()).unwrap();
    let ran = kinglet(folder.path(), &format!("{TRAIN} --weights large.safetensors"));
    assert_eq!(ran.code, 1, "{}", ran.all());
    let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("warning: epoch 1, ")).collect();
    assert_eq!(warnings.len(), 3, "{}", ran.stderr);
    for (warning, lr) in warnings.iter().zip(["0.005", "0.0025", "0.00125"]) {
        assert!(warning.contains("batch 1: the loss is ") && warning.contains("layer 0 (Conv3BN)"), "{warning}");
        assert!(
            warning.ends_with(&format!("; the run goes on from the start with the learning rate {lr}")),
            "{warning}"
        );
    }
    assert!(ran.stderr.contains("halved 3 times") && ran.stderr.contains("smaller lr0"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("--resume"), "it would diverge again: {}", ran.stderr);
}

#[test]
fn a_run_that_diverges_goes_on_with_half_the_learning_rate() {
    let folder = folder_with_data();
    // Each update multiplies the weights by 1 - 20 x 0.25 = -4: twice lr0 for steps of 16 images, and a quarter of the decay.
    let hyp = "lr0: 10\nlrf: 1\nweight_decay: 1\nwarmup_epochs: 0\nmomentum: 0\n";
    std::fs::write(folder.path().join("hyp.yaml"), hyp).unwrap();
    let flags = "--epochs 60 --noval --noplots --recipe kinglet --hyp hyp.yaml";
    let ran = kinglet(folder.path(), &TRAIN.replace("--epochs 3", flags)).ok();
    assert!(ran.stderr.contains("the weights are not finite, first in layer "), "{}", ran.stderr);
    assert!(ran.stderr.contains("the run goes on from the end of epoch "), "{}", ran.stderr);
    let csv = std::fs::read_to_string(folder.path().join("runs/train/exp/results.csv")).unwrap();
    let rows: Vec<Vec<f64>> =
        csv.lines().skip(1).map(|line| line.split(',').map(|v| v.trim().parse().unwrap()).collect()).collect();
    let epochs: Vec<f64> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(epochs, (0..60).map(f64::from).collect::<Vec<_>>(), "each epoch once");
    assert_eq!(rows[0][12], 20.0);
    assert!(rows[59][12] <= 10.0, "{csv}");
}

#[test]
fn a_finished_run_goes_on_to_more_epochs() {
    let folder = folder_with_data();
    for file in files(&trained().join("runs/train/exp")) {
        let to = folder.path().join("runs/train/exp").join(&file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(trained().join("runs/train/exp").join(&file), to).unwrap();
    }
    let ran = kinglet(folder.path(), "train --resume --epochs 6 --noplots --seed 0 --batch 2 --threads 2").ok();
    let warning = "a resumed run keeps its settings; --batch-size, --seed left out, and only --epochs counts";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
    assert!(ran.stderr.contains("goes to 6 epochs instead of 3; its schedule stretches"), "{}", ran.stderr);
    let csv = std::fs::read_to_string(folder.path().join("runs/train/exp/results.csv")).unwrap();
    let rates: Vec<f64> =
        csv.lines().skip(1).map(|line| line.split(',').nth(12).unwrap().trim().parse().unwrap()).collect();
    assert_eq!(rates.len(), 6);
    // After the warm-up of 3 epochs: lr0 = 0.01, twice that with steps of 16 images in place of 64 (the square root of 4),
    // times (1 - e/6) (1 - 0.01) + 0.01 for the epochs 4 and 5.
    for (epoch, rate) in [(4.0, rates[4]), (5.0, rates[5])] {
        let expected = 0.02 * ((1.0 - epoch / 6.0) * 0.99 + 0.01);
        assert!((rate - expected).abs() < 1e-5, "epoch {epoch}: {rate} instead of {expected}");
    }
}

#[test]
fn the_batch_is_chosen_by_memory() {
    let folder = folder_with_data();
    let line = TRAIN.replace("--batch 4", "--batch -1").replace("--epochs 3", "--epochs 1 --noplots");
    let ran = kinglet(folder.path(), &line).ok();
    assert!(ran.stderr.contains("images a step need about") && ran.stderr.contains("MB are free"), "{}", ran.stderr);
    let opt = std::fs::read_to_string(folder.path().join("runs/train/exp/opt.yaml")).unwrap();
    let batch: usize = opt.lines().find_map(|line| line.strip_prefix("batch_size: ")).unwrap().parse().unwrap();
    assert!((1..=64).contains(&batch), "{opt}");
}
