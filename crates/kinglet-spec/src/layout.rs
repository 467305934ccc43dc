//! A resolved model as the text of a model file, laid out as the zoo's files are: a comment behind each row says its
//! number, and its level where one begins or is detected on. What else people wrote above and behind a row stays there.
//!
//! Oracle: what is written resolves to the same graph (tests of `edit` and of named backbones).

use crate::block::Activation;
use crate::graph::{GraphSpec, Source};
use crate::levels::level_of;
use crate::model_file::{Anchors, CHANNEL_MULTIPLE, ModelFile, Row};
use crate::page::Pages;
use crate::yaml::{Data, Node};

/// What stands above the rows.
const FIELDS: &str = "[from, number, module, args]";

/// The text, without a header. Where rows have different multiples, these are applied and the file's are 1.
pub(crate) fn layout(model: &ModelFile<'_>, graph: &GraphSpec, pages: &Pages<'_>) -> String {
    let applied = model.common_multiples().is_none();
    let mut lines = vec![
        format!("nc: {} # number of classes", graph.nc),
        format!("depth_multiple: {:?} # repeats of a row", graph.depth_multiple),
        format!("width_multiple: {:?} # channels of a row", graph.width_multiple),
    ];
    let channel_multiple = if applied { common_divisor(graph) } else { model.multiples.channel };
    if channel_multiple != CHANNEL_MULTIPLE {
        lines.push(format!(
            "channel_multiple: {channel_multiple} # scaled channels are rounded up to multiples of this"
        ));
    }
    if model.activation != Activation::default() {
        lines.push(format!("activation: {} # of blocks that name none", model.activation));
    }
    lines.extend(anchors(model, graph));

    let rows: Vec<String> = model.rows.iter().enumerate().map(|(i, row)| row_text(row, graph, i, applied)).collect();
    let widest = rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
    let mut coarsest = 1;
    lines.push(format!("\n# {FIELDS}\nbackbone:"));
    for ((layer, row), text) in graph.layers.iter().zip(&model.rows).zip(&rows) {
        if layer.index == graph.backbone_len {
            lines.push("\nhead:".into());
        }
        let detected = graph.layers[graph.head].inputs.contains(&Source::Layer(layer.index));
        let begins = layer.index < graph.backbone_len && layer.stride > coarsest;
        let level = level_of(layer, graph.image.height).filter(|_| begins || detected);
        let level = level.map_or(String::new(), |level| format!(" P{level}/{}", layer.stride));
        coarsest = coarsest.max(layer.stride);
        let (above, behind) = pages.comments(row.place);
        lines.extend(above.into_iter().filter(|line| *line != FIELDS).map(|line| format!("  # {line}")));
        let behind = behind.map(own_words).unwrap_or_default();
        lines.push(format!("{text:<widest$} # {}{level}{behind}", layer.index));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What is left of a comment behind a row without its number and level, which are written anew: `# 4-P3/8`, `# 17 (P3/8-small)`.
fn own_words(comment: &str) -> String {
    let is_level = |word: &str| {
        let level = word.trim_start_matches(['(', '-']).strip_prefix('P').and_then(|rest| rest.split_once('/'));
        level.is_some_and(|(number, _)| number.parse::<u32>().is_ok())
    };
    let number = comment.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = number.len() < comment.len() && (number.is_empty() || number.starts_with([' ', '-', ':']));
    let words = if numbered { number.trim_start_matches(':') } else { comment };
    words.split_whitespace().filter(|word| !is_level(word)).fold(String::new(), |text, word| text + " " + word)
}

fn anchors(model: &ModelFile<'_>, graph: &GraphSpec) -> Vec<String> {
    if let Anchors::Count(n) = model.anchors {
        return vec![format!("anchors: {n} # a level, computed from the data")];
    }
    let level = |(sizes, stride): (&Vec<[f32; 2]>, &usize)| {
        let sizes: Vec<String> = sizes.iter().flatten().map(f32::to_string).collect();
        format!("  - [{}] # P{}/{stride}", sizes.join(", "), stride.ilog2())
    };
    std::iter::once("anchors:".to_owned()).chain(graph.anchors.iter().zip(&graph.head_strides).map(level)).collect()
}

/// The largest power of two up to YOLOv5's 8 that all channels are multiples of, so that none is rounded.
fn common_divisor(graph: &GraphSpec) -> usize {
    let shared = graph.layers.iter().filter_map(|l| l.c_out).fold(0, |bits, c_out| bits | c_out);
    (1 << shared.trailing_zeros().min(CHANNEL_MULTIPLE.ilog2())) as usize
}

fn row_text(row: &Row<'_>, graph: &GraphSpec, index: usize, applied: bool) -> String {
    let layer = &graph.layers[index];
    let from = match &layer.from[..] {
        [one] => one.to_string(),
        many => format!("{many:?}"),
    };
    let number = if applied { layer.number } else { row.number };
    let mut args: Vec<String> = row.args.iter().map(node_text).collect();
    if let (true, Some(c_out), Some(first)) = (applied, layer.c_out, args.first_mut()) {
        *first = c_out.to_string();
    }
    format!("  - [{from}, {number}, {}, [{}]]", scalar_text(row.module), args.join(", "))
}

fn node_text(node: &Node<'_>) -> String {
    match &node.data {
        Data::Scalar(text) => scalar_text(text),
        Data::List(items) => format!("[{}]", items.iter().map(node_text).collect::<Vec<_>>().join(", ")),
        Data::Map(_) => unreachable!("the resolver refuses mappings in arguments"),
    }
}

/// A scalar within a list; in quotes where it would not mean itself.
fn scalar_text(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "-+._~".contains(c))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-+._~()=/".contains(c))
        && text != "-";
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}
