//! `kinglet blocks`: what a model file may name.

use crate::args::BlocksArgs;
use crate::errors::CliError;
use crate::printer::Printer;
use kinglet_nn::REGISTRY;
use kinglet_spec::{BlockKind, Repeats, Width};
use serde_json::json;
use std::process::ExitCode;

/// Prints all blocks or one.
///
/// # Errors
/// A name that no block has.
pub fn run(args: BlocksArgs, printer: &Printer) -> Result<ExitCode, CliError> {
    let printer = printer.json(args.json);
    let one = args.name.as_deref().map(find).transpose()?;
    if args.json {
        let value = match one {
            Some(block) => block_json(block),
            None => REGISTRY.iter().map(|block| block_json(*block)).collect(),
        };
        printer.data(&value);
    } else if let Some(block) = one {
        printer.result(&details(block));
    } else {
        printer.result(&table());
    }
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<&'static dyn BlockKind, CliError> {
    let known = || REGISTRY.iter().flat_map(|b| std::iter::once(b.name()).chain(b.aliases().iter().copied()));
    let exact = kinglet_spec::find_block(REGISTRY, name);
    let block = exact.or_else(|| REGISTRY.iter().copied().find(|b| b.name().eq_ignore_ascii_case(name)));
    block.ok_or_else(|| {
        let hint = match kinglet_spec::nearest_names(name, known()).first() {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`kinglet blocks` lists them all".to_owned(),
        };
        CliError::input(format!("no block is called `{name}`; {hint}"))
    })
}

fn table() -> String {
    let width = |text: fn(&dyn BlockKind) -> &'static str| REGISTRY.iter().map(|b| text(*b).len()).max().unwrap_or(0);
    let (names, arguments) = (width(|b| b.name()), width(|b| b.arguments()));
    let mut lines = vec![format!("{:<names$}  {:<arguments$}  {}", "block", "arguments", "what it does")];
    for block in REGISTRY {
        let line = format!("{:<names$}  {:<arguments$}  {}", block.name(), block.arguments(), block.summary());
        lines.push(line);
    }
    lines.push(String::new());
    lines.push(
        "A row of a model file: [from, number, block, [arguments]]; `kinglet blocks NAME` tells more.".to_owned(),
    );
    lines.join("\n")
}

fn width_words(block: &dyn BlockKind) -> &'static str {
    match block.width() {
        Width::Scaled => "the width multiple scales the first argument",
        _ => "the width multiple changes nothing",
    }
}

fn repeat_words(block: &dyn BlockKind) -> &'static str {
    match block.repeats() {
        Repeats::Stacked => "the block is stacked so often",
        _ => "the block repeats its inner part so often",
    }
}

fn details(block: &dyn BlockKind) -> String {
    let mut lines = vec![format!("{}({})", block.name(), block.arguments()), format!("  {}", block.summary())];
    if !block.aliases().is_empty() {
        lines.push(format!("  also written: {}", block.aliases().join(", ")));
    }
    lines.push(format!("  width: {}", width_words(block)));
    lines.push(format!("  number: {}", repeat_words(block)));
    if block.is_head() {
        lines.push("  a detection head: exactly one, as the last row".to_owned());
    }
    lines.join("\n")
}

fn block_json(block: &dyn BlockKind) -> serde_json::Value {
    json!({
        "name": block.name(), "aliases": block.aliases(), "arguments": block.arguments(), "summary": block.summary(),
        "head": block.is_head(),
    })
}
