//! Changes to a model file that people otherwise make by hand: another backbone, another block, one more row.
//!
//! Every reference keeps what it referred to, with two exceptions that are the point of the change: the head takes a new
//! backbone by levels, and a `-1` right behind an inserted row means that row.
//! Oracle: models that the MobileNetV3 tutorial has its readers make by hand (kinglet-nn's tests).

use crate::block::BlockKind;
use crate::error::{SpecError, SpecErrorKind};
use crate::graph::{GraphSpec, Source};
use crate::layout::layout;
use crate::levels::{Reference, level_of};
use crate::model_file::{ModelFile, Row, read_row};
use crate::page::{Page, Pages};
use crate::resolve::{ResolveOptions, resolve, root, run};
use crate::yaml::Trouble;

/// What to change.
#[derive(Clone, Copy, Debug)]
pub enum Edit<'a> {
    /// The backbone of another model file, up to the coarsest level that the head takes.
    Backbone {
        /// That file's text.
        text: &'a str,
        /// Its name for messages.
        file: &'a str,
    },
    /// Another block in place of a row's.
    Replace {
        /// The row.
        row: usize,
        /// Repeats.
        number: usize,
        /// `BLOCK [ARGS]`.
        with: &'a str,
    },
    /// A row more.
    Insert {
        /// The number that the new row has afterwards.
        at: usize,
        /// Repeats.
        number: usize,
        /// `BLOCK [ARGS]`.
        with: &'a str,
    },
}

/// Changes a model file; the new text is the result's `yaml`, and has been read again.
///
/// # Errors
/// What is wrong with either file, or with the change.
pub fn edit(
    text: &str,
    file: &str,
    registry: &[&'static dyn BlockKind],
    options: &ResolveOptions,
    change: &Edit<'_>,
) -> Result<GraphSpec, SpecError> {
    // A named backbone is written out first: its rows can then be changed like any.
    let before = resolve(text, file, registry, options)?;
    let (name, second, other) = match *change {
        Edit::Backbone { text, file } => {
            let nc = options.nc.or(Some(before.nc));
            let other = resolve(text, file, registry, &ResolveOptions { nc, ..options.clone() })?;
            (file, other.yaml.clone(), Some(other))
        }
        Edit::Replace { number, with, .. } | Edit::Insert { number, with, .. } => {
            ("--with", row_text(with, number), None)
        }
    };
    let pages = Pages(vec![Page::new(file, &before.yaml), Page::new(name, &second)]);
    let changed = || {
        let (first, second) = (root(&before.yaml, 0)?, root(&second, 1)?);
        let mut model = ModelFile::read(&first)?;
        match *change {
            Edit::Backbone { .. } => {
                let other = other.as_ref().expect("a backbone's file has been resolved");
                swap_backbone(&mut model, &before, &ModelFile::read(&second)?, other)?;
            }
            Edit::Replace { row, .. } => {
                let last = model.rows.len() - 1;
                let old = model.rows.get_mut(row).ok_or_else(|| no_row("replace", row, last))?;
                let new = read_row(&second, row, old.multiples)?;
                *old = Row { from: old.from.clone(), from_places: old.from_places.clone(), ..new };
            }
            Edit::Insert { at, .. } => {
                let last = model.rows.len() - 1;
                if at > last {
                    return Err(no_row("insert at", at, last));
                }
                let new = read_row(&second, at, model.multiples)?;
                insert(&mut model, &before, at, new);
            }
        }
        let graph = run(&pages, registry, options, &model)?;
        Ok(layout(&model, &graph, &pages))
    };
    let text = changed().map_err(|trouble| pages.error(trouble))?;
    resolve(&text, file, registry, options)
}

/// A row of a model file around `BLOCK [ARGS]`.
fn row_text(with: &str, number: usize) -> String {
    let (block, args) = with.split_at(with.find('[').unwrap_or(with.len()));
    let args = if args.is_empty() { "[]" } else { args.trim_end() };
    format!("[-1, {number}, {}, {args}]", block.trim().trim_end_matches(',').trim_end())
}

fn no_row(what: &str, row: usize, last: usize) -> Trouble {
    let kind = SpecErrorKind::Value {
        what: format!("the row to {what}"),
        expected: format!("from 0 to {last}"),
        found: format!("`{row}`"),
    };
    Trouble::nowhere(kind).hint("`kinglet inspect` numbers the rows")
}

/// Puts the row before those from `at` on.
fn insert<'a>(model: &mut ModelFile<'a>, before: &GraphSpec, at: usize, new: Row<'a>) {
    let moved = |row: usize| (row + usize::from(row >= at)) as i64;
    for (row, layer) in model.rows.iter_mut().zip(&before.layers) {
        for (from, source) in row.from.iter_mut().zip(&layer.inputs) {
            *from = match (*from, source) {
                (Reference::Row(-1), _) if layer.index == at => Reference::Row(-1),
                (from, Source::Image) => from,
                (Reference::Row(n), Source::Layer(taken)) if n < 0 => {
                    Reference::Row(moved(*taken) - moved(layer.index))
                }
                (_, Source::Layer(taken)) => Reference::Row(moved(*taken)),
            };
        }
    }
    model.rows.insert(at, new);
    model.backbone_len += usize::from(at < model.backbone_len);
}

/// Replaces the backbone by the one of `other`, whose references by level the head keeps.
fn swap_backbone<'a>(
    model: &mut ModelFile<'a>,
    before: &GraphSpec,
    other: &ModelFile<'a>,
    other_graph: &GraphSpec,
) -> Result<(), Trouble> {
    let old_len = model.backbone_len;
    let mut head = model.rows.split_off(old_len);
    let mut coarsest = 0;
    // Levels first; numbers within the head need the new backbone's length.
    for (row, layer) in head.iter_mut().zip(&before.layers[old_len..]) {
        for ((from, source), place) in row.from.iter_mut().zip(&layer.inputs).zip(&row.from_places) {
            let Source::Layer(taken) = *source else { continue };
            if taken >= old_len {
                continue;
            }
            let tapped = &before.layers[taken];
            let level = level_of(tapped, before.image.height).ok_or_else(|| {
                let message =
                    format!("layer {taken} is {}, which is no level that another backbone has", tapped.output);
                Trouble::at(*place, SpecErrorKind::HeadLevels { message })
            })?;
            *from = Reference::Level(level);
            coarsest = coarsest.max(level);
        }
    }
    let rows = &other_graph.layers[..other.backbone_len];
    let tap = rows.iter().rposition(|layer| level_of(layer, other_graph.image.height) == Some(coarsest));
    let new_len = tap.map_or(rows.len(), |tap| tap + 1);
    for from in head.iter_mut().flat_map(|row| &mut row.from) {
        if let Reference::Row(n) = from
            && *n >= 0
        {
            *n += new_len as i64 - old_len as i64;
        }
    }
    model.rows = other.rows[..new_len].to_vec();
    model.rows.extend(head);
    model.backbone_len = new_len;
    Ok(())
}
