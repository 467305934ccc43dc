//! What people are told when something is wrong, and the exit code.

use crate::program::kinglet;
use insta::assert_snapshot;

/// Runs in a folder with a few files; gives code and both streams.
fn told(line: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "bad.yaml",
        "nc: 2\nanchors: 3\nbackbone:\n  - [-1, 1, Konv, [16]]\nhead:\n  - [[-1], 1, Detect, [nc, anchors]]\n",
    );
    write("data.yaml", "train: images/train\nval: images/val\nnames: [a, b]\n");
    write("hyp.yaml", "lr0: fast\n");
    write("broken.safetensors", "no weights");
    write("words.txt", "no image");
    kinglet(folder.path(), line).all()
}

#[test]
fn an_unknown_block_in_a_model_file() {
    assert_snapshot!(told("inspect bad.yaml"));
}

#[test]
fn a_model_that_does_not_exist() {
    assert_snapshot!(told("inspect yolo5n"));
}

#[test]
fn a_block_that_does_not_exist() {
    assert_snapshot!(told("blocks Convv"));
}

#[test]
fn a_data_yaml_that_does_not_exist() {
    assert_snapshot!(told("train --data nothing.yaml"));
}

#[test]
fn images_that_do_not_exist() {
    assert_snapshot!(told("train --data data.yaml --cfg kinglet_small --img 64"));
}

#[test]
fn wrong_hyperparameters() {
    assert_snapshot!(told("train --data data.yaml --cfg kinglet_small --img 64 --hyp hyp.yaml"));
}

#[test]
fn layers_to_freeze_that_do_not_exist() {
    assert_snapshot!(told("train --data data.yaml --cfg kinglet_small --img 64 --freeze 100"));
}

#[test]
fn a_gpu() {
    assert_snapshot!(told("train --data data.yaml --device 0"));
}

#[test]
fn flags_of_yolov5_that_are_refused() {
    assert_snapshot!(told("train --data data.yaml --quad"));
}

#[test]
fn flags_of_yolov5_that_are_left_out() {
    assert_snapshot!(told("detect --half --weights broken.safetensors --source words.txt --view-img"));
}

#[test]
fn nothing_to_resume() {
    assert_snapshot!(told("train --resume"));
}

#[test]
fn weights_that_do_not_exist() {
    assert_snapshot!(told("detect --weights nothing.safetensors --source words.txt"));
}

#[test]
fn a_source_that_does_not_exist() {
    assert_snapshot!(told("detect --weights broken.safetensors --source pictures"));
}

#[test]
fn a_score_above_one() {
    assert_snapshot!(told("detect --weights broken.safetensors --source words.txt --conf 25"));
}

#[test]
fn numbers_that_make_no_sense() {
    let lines = [
        "--epochs -3",
        "--batch 0",
        "--batch -5",
        "--img 0",
        "--patience -1",
        "--workers -1",
        "--freeze -1",
        "--seed -1",
        "--label-smoothing 2",
        "--epochs abc",
    ];
    let mut all = String::new();
    for flags in lines {
        let text = told(&format!("train --data data.yaml --cfg kinglet_small {flags}"));
        assert!(text.starts_with("code: 2"), "{text}");
        all.push_str(&format!("{flags}\n{}\n", text.lines().find(|line| line.starts_with("error")).unwrap()));
    }
    assert_snapshot!(all);
}

#[test]
fn a_checkpoint_to_resume_that_does_not_exist() {
    assert_snapshot!(told("train --resume nothing.safetensors"));
}

#[test]
fn a_checkpoint_to_resume_that_is_none() {
    assert_snapshot!(told("train --resume broken.safetensors"));
}

#[test]
fn a_failed_start_leaves_no_run_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data.yaml"), "train: images\nval: images\nnames: [a]\n").unwrap();
    let ran = kinglet(folder.path(), "train --data data.yaml --cfg kinglet_small --img 64");
    assert_eq!(ran.code, 1, "{}", ran.all());
    assert!(!folder.path().join("runs/train/exp").exists());
}
