//! `docs/migrating-from-yolov5.md` tells of every flag of YOLOv5 and of Kinglet what the program does with it.
//!
//! Oracle: the flags that YOLOv5 documents, below; Kinglet's own definitions.

use crate::pages::root;
use clap::CommandFactory;
use kinglet_cli::args::{Cli, legacy};
use std::collections::BTreeSet;

/// The flags of YOLOv5's programs, of v7.0 and later, without other spellings of one.
const YOLOV5: [(&str, &str); 4] = [
    (
        "train",
        "weights cfg data hyp epochs batch-size imgsz rect resume nosave noval noautoanchor noplots evolve evolve_population \
         resume_evolve bucket cache image-weights device multi-scale single-cls optimizer sync-bn workers project name exist-ok \
         quad cos-lr label-smoothing patience freeze save-period seed local_rank entity upload_dataset bbox_interval \
         artifact_alias",
    ),
    (
        "val",
        "data weights batch-size imgsz conf-thres iou-thres max-det task device workers single-cls augment verbose save-txt \
         save-hybrid save-conf save-json project name exist-ok half dnn",
    ),
    (
        "detect",
        "weights source data imgsz conf-thres iou-thres max-det device view-img save-txt save-format save-csv save-conf \
         save-crop nosave classes agnostic-nms augment visualize update project name exist-ok line-thickness hide-labels \
         hide-conf half dnn vid-stride",
    ),
    (
        "export",
        "data weights imgsz batch-size device half inplace keras optimize int8 per-tensor dynamic cache simplify mlmodel opset \
         verbose workspace nms agnostic-nms topk-per-class topk-all iou-thres conf-thres include",
    ),
];

/// The rows of a command's table: flag without dashes, what becomes of it, remark.
fn rows(page: &str, command: &str) -> Vec<[String; 3]> {
    let section = page.split(&format!("### `{command}.py`")).nth(1).expect("a section for the command");
    let lines = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let cells = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        [cells[0].trim_matches('`').trim_start_matches("--"), cells[1], cells[2]].map(str::to_owned)
    });
    cells.collect()
}

#[test]
fn the_page_tells_what_the_program_does_with_every_flag() {
    let page = std::fs::read_to_string(root().join("docs/migrating-from-yolov5.md")).unwrap();
    let cli = Cli::command();
    for (name, flags) in YOLOV5 {
        let theirs: BTreeSet<&str> = flags.split_whitespace().collect();
        let command = cli.find_subcommand(name).unwrap();
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let ours: BTreeSet<&str> = shown.filter_map(clap::Arg::get_long).collect();
        let rows = rows(&page, name);
        let listed: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(listed.len(), rows.len(), "{name}: a flag stands there twice");
        let all: BTreeSet<&str> = theirs.union(&ours).copied().collect();
        assert_eq!(listed, all, "{name}: left the page, right YOLOv5's flags and ours");
        for [flag, fate, remark] in &rows {
            let expected = match legacy::missing(name).find(|(f, ..)| f.trim_start_matches("--") == flag) {
                Some((_, "renamed", new)) => ["renamed".to_owned(), format!("`{new}`")],
                Some((_, fate, reason)) => [fate.to_owned(), reason.to_owned()],
                None if !theirs.contains(flag.as_str()) => ["new".to_owned(), remark.clone()],
                None => {
                    assert!(ours.contains(flag.as_str()), "{name} --{flag} is neither taken nor told of");
                    assert!(["same", "changed"].contains(&fate.as_str()), "{name} --{flag}: {fate}");
                    assert!(fate == "same" || !remark.is_empty(), "{name} --{flag}: what has changed?");
                    continue;
                }
            };
            assert_eq!([fate, remark], [&expected[0], &expected[1]], "{name} --{flag}");
        }
    }
}
