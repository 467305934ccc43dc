//! Pages of `docs/` that say what the program says: each holds a part that is made from the program's own tables.
//!
//! With `KINGLET_WRITE_DOCS` set, these parts are written anew.

use crate::command_reference;
use kinglet_cli::zoo;
use kinglet_nn::{Model, REGISTRY, Summary};
use kinglet_spec::{BlockKind, Repeats, ResolveOptions, Width};
use kinglet_train::hyp::{Hyp, KEYS, builtin, builtin_names};
use std::path::{Path, PathBuf};

/// Between these stands what is made.
const MARKS: [&str; 2] =
    ["<!-- made by KINGLET_WRITE_DOCS=1 cargo test --release -p kinglet-cli pages -->\n", "<!-- end -->\n"];

/// The folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares the made part of a page, or writes it.
fn check(page: &str, made: &str) {
    let path = root().join("docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let start = text.find(MARKS[0]).expect("the page has the first mark") + MARKS[0].len();
    let end = start + text[start..].find(MARKS[1]).expect("the page has the second mark");
    if std::env::var_os("KINGLET_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{made}{}", &text[..start], &text[end..])).unwrap();
        return;
    }
    let differs = text[start..end].lines().zip(made.lines()).find(|(old, new)| old != new);
    assert!(&text[start..end] == made, "docs/{page} is out of date: {differs:?}; run with KINGLET_WRITE_DOCS=1");
}

#[test]
fn the_page_of_commands_is_that_of_the_program() {
    check("commands.md", &command_reference::markdown());
}

#[test]
fn the_page_of_hyperparameters_is_that_of_the_program() {
    let sets: Vec<Hyp> = builtin_names().map(|n| Hyp::parse(builtin(n).unwrap(), n).unwrap()).collect();
    let mut text = String::from("| key |");
    builtin_names().for_each(|name| text.push_str(&format!(" {name} |")));
    text.push_str(" may be | evolves in | what it is |\n|---|");
    text.push_str(&"---|".repeat(sets.len() + 3));
    text.push('\n');
    for (place, k) in KEYS.iter().enumerate() {
        text.push_str(&format!("| `{}` |", k.key));
        sets.iter().for_each(|hyp| text.push_str(&format!(" {} |", hyp.entries()[place].1)));
        let evolves = k.evolves.map_or(String::new(), |(low, high)| format!("{low} to {high}"));
        text.push_str(&format!(" {} to {} | {evolves} | {} |\n", k.low, k.high, k.doc));
    }
    check("hyperparameters.md", &text);
}

/// The headers of the files in which blocks are defined, with the text of each file.
fn block_files() -> Vec<String> {
    let folder = root().join("crates/kinglet-nn/src/blocks");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// Where a block comes from, as the header of its file says: a paper, or another program.
fn source(block: &dyn BlockKind, files: &[String]) -> String {
    let name = format!("NAME: &'static str = \"{}\"", block.name());
    let file = files.iter().find(|text| text.contains(&name)).expect("every block has a file");
    let header: Vec<&str> = file.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let found = header.join(" ");
    let paper = found.split_once("Source: ").and_then(|(_, rest)| linked(rest));
    let program = || match block.name() {
        name if name.starts_with("nn.") => "PyTorch",
        _ if header[0].contains("YOLOv5's") => "YOLOv5",
        _ => "",
    };
    paper.unwrap_or_else(|| program().to_owned())
}

/// The first paper that a text names, with a link.
fn linked(text: &str) -> Option<String> {
    let (authors, rest) = text.split_once(", arXiv:")?;
    let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let number = number.trim_end_matches('.');
    // Authors and year: what stands before the number, back to the last mark that ends a part of a sentence.
    let start = authors.rfind(['(', ':', ';']).map_or(0, |at| at + 1);
    Some(format!("[{}](https://arxiv.org/abs/{number})", authors[start..].trim()))
}

#[test]
fn the_page_of_blocks_is_that_of_the_registry() {
    let files = block_files();
    let mut text = String::from("| block | arguments | what it does | source |\n|---|---|---|---|\n");
    for block in REGISTRY {
        let mut name = format!("`{}`", block.name());
        block.aliases().iter().for_each(|alias| name.push_str(&format!(", `{alias}`")));
        let source = source(*block, &files);
        text.push_str(&format!("| {name} | {} | {} | {source} |\n", block.arguments(), block.summary()));
    }
    let names = |keep: fn(&dyn BlockKind) -> bool| {
        let kept = REGISTRY.iter().filter(|b| keep(**b)).map(|b| format!("`{}`", b.name()));
        kept.collect::<Vec<_>>().join(", ")
    };
    let inside = names(|b| !b.is_head() && !matches!(b.repeats(), Repeats::Stacked));
    let unscaled = names(|b| !b.is_head() && !matches!(b.width(), Width::Scaled));
    text.push_str(&format!("\nA row's number repeats the inner part of {inside}; all others are stacked.\n"));
    text.push_str(&format!("\nThe width multiple scales the first argument of all but {unscaled}.\n"));
    check("blocks.md", &text);
}

/// A built-in model at 640 pixels and 80 classes.
fn summary(name: &str) -> Summary {
    let found = zoo::model(name).unwrap();
    let options = ResolveOptions { image: [640; 2], ..ResolveOptions::default() };
    Summary::new(&Model::from_yaml(&found.text, &found.file, &options).unwrap())
}

/// Digits in groups of three.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|c| std::str::from_utf8(c).unwrap()).collect();
    groups.join(",")
}

#[test]
fn the_page_of_models_is_that_of_the_zoo() {
    let mut text = String::from("| name | parameters | GFLOP | strides | what it is | source |\n");
    text.push_str("|---|---:|---:|---|---|---|\n");
    let mut models: Vec<Summary> = zoo::names().map(summary).collect();
    models.sort_by_key(|model| (model.macs, model.params));
    for model in models {
        let file = zoo::model(&model.name).unwrap().text;
        let comment: Vec<&str> = file.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let source = comment.iter().find_map(|line| line.strip_prefix("# Source: ").or(line.strip_prefix("Source: ")));
        let strides: Vec<String> = model.strides.iter().map(usize::to_string).collect();
        text.push_str(&format!(
            "| `{}` | {} | {:.2} | {} | {} | {} |\n",
            model.name,
            grouped(model.params),
            model.gflops(),
            strides.join(" "),
            comment[0].trim_end_matches('.'),
            source.and_then(linked).unwrap_or_default(),
        ));
    }
    check("models.md", &text);
}

#[test]
fn the_journey_begins_with_the_tutorials_model() {
    let page = std::fs::read_to_string(root().join("docs/tutorial-journey.md")).unwrap();
    let text = zoo::model("yolov5_mobilenetv3").unwrap().text;
    let (_, rows) = text.split_once("\n\n").expect("a comment stands above the model");
    assert!(page.contains(rows.trim_end()), "copy zoo/models/yolov5_mobilenetv3.yaml into docs/tutorial-journey.md");
}

#[test]
fn models_that_the_readme_lists_have_the_numbers_of_the_zoo() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut seen = 0;
    for line in readme.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        if cells.len() == 4 && zoo::names().any(|known| known == name) {
            let model = summary(name);
            assert_eq!(cells[1..3], [grouped(model.params), format!("{:.2}", model.gflops())], "{line}");
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} models");
}
