//! Options of training and detection that change files and results: each does what it says.

use crate::end_to_end::{BEST, TRAIN, folder_with_data, trained};
use crate::program::{files, kinglet};
use kinglet_nn::WeightsFile;
use std::path::Path;

/// The tensors and the header of a checkpoint.
fn checkpoint(file: &Path) -> (WeightsFile, serde_json::Value) {
    let file = WeightsFile::load(file).unwrap();
    let header = serde_json::from_str(&file.metadata["kinglet"]).unwrap();
    (file, header)
}

#[test]
fn anchors_of_a_hyperparameter_file_are_computed_and_kept() {
    let folder = folder_with_data();
    std::fs::write(folder.path().join("hyp.yaml"), "anchors: 4\n").unwrap();
    let line = TRAIN.replace("--epochs 3", "--epochs 1 --noplots --hyp hyp.yaml");
    let ran = kinglet(folder.path(), &line).ok();
    assert!(ran.stderr.contains("4 anchors a level are computed from the labels"), "{}", ran.stderr);
    let (_, header) = checkpoint(&folder.path().join(BEST));
    let anchors = header["anchors"].as_array().unwrap();
    assert_eq!(anchors.len(), 3);
    for (level, stride) in anchors.iter().zip([8.0, 16.0, 32.0]) {
        assert_eq!(level.as_array().unwrap().len(), 4);
        // Stand-ins are squares of the level's stride; these are not.
        assert!(level[0][0] != level[0][1] && level[0][0] != stride * 2.0, "{anchors:?}");
    }
    let written = std::fs::read_to_string(folder.path().join("runs/train/exp/hyp.yaml")).unwrap();
    assert!(written.contains("anchors: 4"), "{written}");
    kinglet(folder.path(), &format!("val --weights {BEST} --data data/data.yaml")).ok();
    let ran = kinglet(folder.path(), &format!("{line} --noautoanchor"));
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.stderr.contains("leave one of them out"), "{}", ran.stderr);
}

#[test]
fn every_training_option_runs() {
    let folder = folder_with_data();
    let hyp = "mixup: 0.5\ncopy_paste: 0.9\ndegrees: 20\nshear: 5\nperspective: 0.0005\nflipud: 0.5\nfl_gamma: 1.5\n";
    std::fs::write(folder.path().join("hyp.yaml"), hyp).unwrap();
    let line = TRAIN.replace("--epochs 3", "--epochs 2 --noplots");
    let run = |name: &str, flags: &str| {
        let ran = kinglet(folder.path(), &format!("{line} --name {name} {flags}")).ok();
        (ran, files(&folder.path().join("runs/train").join(name)))
    };
    run("adamw", "--optimizer adamw --cos-lr --label-smoothing 0.1 --workers 0 --cache disk");
    run("rect", "--rect --image-weights --optimizer Adam");
    run("scales", "--multi-scale --hyp hyp.yaml --recipe yolov5");
    let (_, written) = run("period", "--save-period 1 --noautoanchor");
    assert!(written.contains(&"weights/epoch0.safetensors".to_owned()), "{written:?}");
    let (_, written) = run("nosave", "--nosave");
    assert!(written.contains(&"weights/last.safetensors".to_owned()), "{written:?}");
    let (ran, _) = run("noval", "--noval");
    assert_eq!(ran.stderr.matches(" all ").count(), 1, "{}", ran.stderr);
    let (ran, _) = run("patience", "--patience 1 --epochs 60");
    assert!(ran.stderr.contains("stopped early"), "{}", ran.stderr);
    let (ran, written) = run("noval", "--noval --exist-ok");
    assert!(ran.stderr.contains("runs/train/noval") && !written.is_empty(), "{}", ran.stderr);
    assert!(!folder.path().join("runs/train/noval2").exists());
}

#[test]
fn frozen_layers_do_not_learn() {
    let folder = folder_with_data();
    let line = TRAIN.replace("--epochs 3", "--epochs 2 --noplots");
    // `--freeze 3` is the first three layers, `--freeze 0 1 3` exactly those.
    kinglet(folder.path(), &format!("{line} --name three --freeze 3")).ok();
    kinglet(folder.path(), &format!("{line} --name some --freeze 0 1 3")).ok();
    let weights = |name: &str| checkpoint(&folder.path().join(format!("runs/train/{name}/weights/last.safetensors"))).0;
    let (three, some) = (weights("three"), weights("some"));
    let learnt = |layer: usize| {
        let prefix = format!("model.{layer}.");
        let own = |name: &&String| name.starts_with(&prefix) && name.ends_with(".weight");
        three.tensors.keys().filter(own).any(|name| three.tensors[name] != some.tensors[name])
    };
    // 0 and 1 are frozen in both runs, 2 and 3 in one each, 4 in none.
    assert_eq!([0, 1, 2, 3, 4].map(learnt), [false, false, true, true, true]);
}

#[test]
fn single_class_training_has_one_class_and_is_measured_with_the_same_flag() {
    let folder = folder_with_data();
    let line = TRAIN.replace("--epochs 3", "--epochs 1 --noplots --single-cls");
    kinglet(folder.path(), &line).ok();
    let (_, header) = checkpoint(&folder.path().join(BEST));
    assert_eq!(header["names"], serde_json::json!(["object"]));
    let val = format!("val --weights {BEST} --data data/data.yaml");
    kinglet(folder.path(), &format!("{val} --single-cls --task test")).ok();
    let ran = kinglet(folder.path(), &val);
    assert!(ran.code == 1 && ran.stderr.contains("--single-cls"), "{}", ran.all());
}

#[test]
fn label_files_of_detect_come_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, images) = (trained().join(BEST), trained().join("data/images/test"));
    let line = format!("detect --weights {} --source {} --nosave", weights.display(), images.display());
    let all = "--save-txt --conf 0.0001 --max-det 4 --agnostic-nms --classes 0 1";
    kinglet(folder.path(), &format!("{line} {all} --name centre")).ok();
    kinglet(folder.path(), &format!("{line} {all} --name corners --save-format 1 --save-conf")).ok();
    let labels = |name: &str| {
        let folder = folder.path().join("runs/detect").join(name).join("labels");
        let mut rows: Vec<Vec<f64>> = Vec::new();
        for file in files(&folder) {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            rows.extend(text.lines().map(|line| line.split(' ').map(|v| v.parse().unwrap()).collect()));
        }
        rows
    };
    let (centre, corners) = (labels("centre"), labels("corners"));
    assert!(!centre.is_empty() && centre.len() == corners.len());
    for (c, k) in centre.iter().zip(&corners) {
        assert_eq!((c.len(), k.len(), c[0]), (5, 6, k[0]));
        assert!(c[0] <= 1.0, "a class that was not asked for");
        // Six digits in the file: the sum of two of them is off by a unit of the last.
        assert!((k[1] + k[3] - 2.0 * c[1]).abs() < 4e-6 && (k[4] - k[2] - c[4]).abs() < 4e-6, "{c:?} {k:?}");
    }
}
