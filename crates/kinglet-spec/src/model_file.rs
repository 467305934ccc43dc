//! The keys and rows of a model file, each with its place, before any rule is applied.
//!
//! Source: YOLOv5's keys: nc, depth_multiple, width_multiple, anchors, backbone, head; optional ch, activation,
//! channel_multiple; inplace and names have no meaning here. Rows are `[from, number, module, args]`. Own additions: the
//! name of a model as `backbone`, and levels such as `P4` as `from`.

use crate::block::Activation;
use crate::error::SpecErrorKind;
use crate::levels::{COARSEST, Reference, STOCK};
use crate::limits;
use crate::nearest::nearest_names;
use crate::value::{parse_float, parse_int};
use crate::yaml::{Data, Key, Node, Place, Trouble};

const KEYS: &[&str] = &[
    "nc",
    "depth_multiple",
    "width_multiple",
    "anchors",
    "backbone",
    "head",
    "ch",
    "activation",
    "channel_multiple",
    "inplace",
    "names",
];

/// What `anchors` says.
pub(crate) enum Anchors {
    /// Pixels, a list a level.
    Given(Vec<Vec<[f32; 2]>>),
    /// That many a level, to be computed from data.
    Count(usize),
}

/// What a file's multiples make of its rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Multiples {
    pub depth: f64,
    pub width: f64,
    /// Scaled channels are rounded up to a multiple of this.
    pub channel: usize,
}

/// Pictures are read as red, green and blue.
pub(crate) const IMAGE_CHANNELS: usize = 3;

/// YOLOv5 rounds channels up to multiples of 8.
pub(crate) const CHANNEL_MULTIPLE: usize = 8;

pub(crate) struct ModelFile<'a> {
    pub nc: Option<(usize, Place)>,
    pub multiples: Multiples,
    pub anchors: Anchors,
    pub anchors_place: Place,
    pub activation: Activation,
    /// The model whose backbone is to stand before `rows`, which are those of the head alone then.
    pub backbone_of: Option<(&'a str, Place)>,
    pub rows: Vec<Row<'a>>,
    pub backbone_len: usize,
}

#[derive(Clone)]
pub(crate) struct Row<'a> {
    pub place: Place,
    /// Those of the file that the row comes from.
    pub multiples: Multiples,
    pub from: Vec<Reference>,
    pub from_places: Vec<Place>,
    pub number: usize,
    pub number_place: Place,
    pub module: &'a str,
    pub module_place: Place,
    pub args: &'a [Node<'a>],
    pub args_place: Place,
}

type Result<T> = std::result::Result<T, Trouble>;

fn wrong(what: impl Into<String>, expected: impl Into<String>, found: &Node<'_>) -> Trouble {
    let kind = SpecErrorKind::Value { what: what.into(), expected: expected.into(), found: found.describe() };
    Trouble::at(found.place, kind)
}

impl<'a> ModelFile<'a> {
    pub(crate) fn read(root: &'a Node<'a>) -> Result<Self> {
        let Data::Map(entries) = &root.data else {
            return Err(wrong("a model file", "a mapping with the keys `nc`, `anchors`, `backbone` and `head`", root));
        };
        if let Some((key, _)) = entries.iter().find(|(k, _)| !KEYS.contains(&k.name.as_str())) {
            return Err(unknown_key(key));
        }
        let get = |name: &str| entries.iter().find(|(k, _)| k.name == name).map(|(_, v)| v);
        let require = |key: &'static str, hint: &str| {
            get(key).ok_or_else(|| Trouble::nowhere(SpecErrorKind::MissingKey { key }).hint(hint))
        };
        let whole = |key: &str, most: usize| -> Result<Option<(usize, Place)>> {
            let Some(node) = get(key) else { return Ok(None) };
            let value = node.text().and_then(parse_int).and_then(|v| usize::try_from(v).ok()).filter(|v| *v > 0);
            match value {
                Some(v) if v <= most => Ok(Some((v, node.place))),
                _ => Err(wrong(format!("`{key}`"), format!("a whole number from 1 to {most}"), node)),
            }
        };
        let multiple = |key: &str| -> Result<f64> {
            let Some(node) = get(key) else { return Ok(1.0) };
            let value = node.text().and_then(parse_float);
            value.filter(|v| *v > 0.0 && *v <= limits::MULTIPLE).ok_or_else(|| {
                wrong(format!("`{key}`"), format!("a number above 0 and at most {}", limits::MULTIPLE), node)
            })
        };

        let nc = whole("nc", limits::CLASSES)?;
        let depth_multiple = multiple("depth_multiple")?;
        let width_multiple = multiple("width_multiple")?;
        if let Some(node) = get("ch").filter(|node| node.text().and_then(parse_int) != Some(IMAGE_CHANNELS as i64)) {
            return Err(wrong("`ch`", "3: pictures are read as red, green and blue; leave the line out", node));
        }
        let channel_multiple = whole("channel_multiple", 1024)?.map_or(CHANNEL_MULTIPLE, |c| c.0);
        let multiples = Multiples { depth: depth_multiple, width: width_multiple, channel: channel_multiple };
        let activation = match get("activation") {
            None => Activation::default(),
            Some(node) => node
                .text()
                .and_then(Activation::from_written)
                .ok_or_else(|| wrong("`activation`", format!("one of `{}`", Activation::WRITTEN.join("`, `")), node))?,
        };

        let anchors_node = require(
            "anchors",
            "give a list of `width,height` pairs in pixels for each level, or `anchors: 3` to have three a level \
             computed from the data",
        )?;
        let anchors = read_anchors(anchors_node)?;
        let backbone = require("backbone", "a model file lists its rows under `backbone:` and `head:`")?;
        let head = require("head", "a model file lists its rows under `backbone:` and `head:`")?;
        let mut rows = Vec::new();
        let backbone_of = backbone_name(backbone)?;
        if backbone_of.is_none() {
            read_rows("backbone", backbone, 0, multiples, &mut rows)?;
        }
        let backbone_len = rows.len();
        // Under a named backbone the head's rows count on from those of YOLOv5's.
        let before = if backbone_of.is_some() { STOCK.len() } else { 0 };
        read_rows("head", head, before, multiples, &mut rows)?;
        Ok(Self {
            nc,
            multiples,
            anchors,
            anchors_place: anchors_node.place,
            activation,
            backbone_of,
            rows,
            backbone_len,
        })
    }
}

impl<'a> ModelFile<'a> {
    /// The multiples of all rows, where they are the same.
    pub(crate) fn common_multiples(&self) -> Option<Multiples> {
        self.rows.iter().all(|row| row.multiples == self.multiples).then_some(self.multiples)
    }

    /// This file's keys and head behind the backbone of `other`, whose multiples that keeps.
    pub(crate) fn on_backbone(mut self, other: &ModelFile<'a>) -> Self {
        let backbone = &other.rows[..other.backbone_len];
        for from in self.rows.iter_mut().flat_map(|row| &mut row.from) {
            *from = from.on_backbone(backbone.len());
        }
        self.rows.splice(..0, backbone.iter().cloned());
        self.backbone_len = backbone.len();
        self.backbone_of = None;
        self
    }
}

fn unknown_key(key: &Key) -> Trouble {
    let trouble = Trouble::at(key.place, SpecErrorKind::UnknownKey { key: key.name.clone() });
    match nearest_names(&key.name, KEYS.iter().copied()).first() {
        Some(near) => trouble.hint(format!("did you mean `{near}`?")),
        None if ["train", "val", "path", "test"].contains(&key.name.as_str()) => trouble
            .hint("this looks like a data set file; a model file is given with `--cfg`, a data set with `--data`"),
        None => trouble.hint(format!("the keys are {}", KEYS.join(", "))),
    }
}

fn read_anchors(node: &Node<'_>) -> Result<Anchors> {
    const EXPECTED: &str = "a list for each level of `width,height` pairs in pixels, or the number of anchors a level";
    let levels = match &node.data {
        Data::Scalar(text) => {
            let count = parse_int(text).and_then(|v| usize::try_from(v).ok());
            return match count {
                Some(n) if (1..=limits::ANCHORS).contains(&n) => Ok(Anchors::Count(n)),
                _ => Err(wrong("`anchors`", EXPECTED, node)),
            };
        }
        Data::List(levels) if !levels.is_empty() && levels.len() <= limits::LIST => levels,
        _ => return Err(wrong("`anchors`", EXPECTED, node)),
    };
    let mut all: Vec<Vec<[f32; 2]>> = Vec::new();
    for (number, level) in levels.iter().enumerate() {
        let what = || format!("level {number} of `anchors`");
        let Some(values) = level.list() else {
            return Err(wrong(what(), "a list of `width,height` pairs in pixels", level));
        };
        let mut sizes = Vec::new();
        for value in values {
            let size = value.text().and_then(parse_float).map(|v| v as f32);
            match size.filter(|v| *v > 0.0 && v.is_finite()) {
                Some(v) => sizes.push(v),
                None => return Err(wrong(what(), "widths and heights above 0, in pixels", value)),
            }
        }
        if sizes.is_empty() || sizes.len() % 2 == 1 || sizes.len() > 2 * limits::ANCHORS {
            return Err(wrong(what(), "an even number of values, `width,height` for each anchor", level));
        }
        let pairs: Vec<[f32; 2]> = sizes.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
        if let Some(first) = all.first().filter(|f| f.len() != pairs.len()) {
            let expected = format!("as long as level 0, {} anchors", first.len());
            return Err(wrong(what(), expected, level));
        }
        all.push(pairs);
    }
    Ok(Anchors::Given(all))
}

/// The name where `backbone` has one instead of rows.
fn backbone_name<'a>(node: &'a Node<'a>) -> Result<Option<(&'a str, Place)>> {
    let name = |node: &'a Node<'a>| node.text().filter(|t| !t.is_empty() && parse_float(t).is_none());
    if let Some(name) = name(node) {
        return Ok(Some((name, node.place)));
    }
    // A row is never a bare word, so one at the top of the list was meant as a name.
    match node.list().unwrap_or_default().first().and_then(|item| Some((name(item)?, item))) {
        None => Ok(None),
        Some((name, item)) => {
            let expected = "either the name of a model or a list of rows `[from, number, module, args]`, not both";
            Err(wrong("`backbone`", expected, item)
                .hint(format!("to take the backbone of `{name}`, write `backbone: {name}` and no rows under it")))
        }
    }
}

/// Appends a section's rows; the first of the file is number `before`.
fn read_rows<'a>(
    section: &str,
    node: &'a Node<'a>,
    before: usize,
    multiples: Multiples,
    rows: &mut Vec<Row<'a>>,
) -> Result<()> {
    let Some(items) = node.list() else {
        let expected = match section {
            "backbone" => "a list of rows `[from, number, module, args]`, or the name of a model",
            _ => "a list of rows `[from, number, module, args]`",
        };
        return Err(wrong(format!("`{section}`"), expected, node));
    };
    if items.is_empty() {
        return Err(wrong(format!("`{section}`"), "a list with at least one row", node));
    }
    for item in items {
        if rows.len() >= limits::LAYERS {
            let kind = SpecErrorKind::Limit { what: "the number of rows".into(), limit: limits::LAYERS };
            return Err(Trouble::at(item.place, kind));
        }
        rows.push(read_row(item, before + rows.len(), multiples)?);
    }
    Ok(())
}

fn wrong_from(what: String, found: &Node<'_>) -> Trouble {
    let trouble = wrong(what, "a layer number or a list of layer numbers", found);
    match found.text() {
        Some(text) if text.starts_with('P') => {
            trouble.hint(format!("a level of the backbone is written P1 to P{COARSEST}; P4 is the one of stride 16"))
        }
        _ => trouble,
    }
}

/// Reads the row of that number.
pub(crate) fn read_row<'a>(node: &'a Node<'a>, index: usize, multiples: Multiples) -> Result<Row<'a>> {
    let Some(fields) = node.list() else {
        return Err(wrong(format!("layer {index}"), "a row `[from, number, module, args]`", node));
    };
    let [from, number, module, args] = fields else {
        let trouble = Trouble::at(node.place, SpecErrorKind::RowFields { found: fields.len() });
        let trouble = trouble.note(format!("this is layer {index}"));
        return Err(if fields.len() > 4 && fields[3].list().is_none() {
            trouble.hint("put the arguments in brackets of their own: `[-1, 1, Conv, [64, 3, 2]]`")
        } else if fields.len() == 3 && fields[2].list().is_some() {
            trouble.hint("the number of repeats is missing: `[-1, 1, Conv, [64, 3, 2]]`")
        } else {
            trouble.hint("an example: `[-1, 1, Conv, [64, 3, 2]]`")
        });
    };

    let what = |field: &str| format!("`{field}` of layer {index}");
    let one = |n: &Node<'_>| n.text().and_then(parse_int);
    let reference = |n: &Node<'_>| n.text().and_then(Reference::from_written);
    let (from_values, from_places) = match &from.data {
        Data::List(items) if !items.is_empty() && items.len() <= limits::LIST => {
            let mut values = Vec::new();
            for item in items {
                let Some(value) = reference(item) else {
                    return Err(wrong_from(what("from"), item));
                };
                values.push(value);
            }
            (values, items.iter().map(|i| i.place).collect())
        }
        _ => match reference(from) {
            Some(value) => (vec![value], vec![from.place]),
            None => return Err(wrong_from(what("from"), from)),
        },
    };

    let repeats = one(number).and_then(|v| usize::try_from(v).ok()).filter(|v| *v >= 1);
    let number_value = match repeats {
        Some(v) if v <= limits::REPEATS => v,
        Some(_) => {
            let kind = SpecErrorKind::Limit { what: what("number"), limit: limits::REPEATS };
            return Err(Trouble::at(number.place, kind));
        }
        None => return Err(wrong(what("number"), "a whole number of at least 1", number)),
    };

    let name = module.text().filter(|t| !t.is_empty() && parse_float(t).is_none());
    let Some(module_name) = name else {
        return Err(wrong(what("module"), "the name of a block", module).hint("`kinglet blocks` lists every block"));
    };
    let Some(arg_nodes) = args.list() else {
        let shown = args.text().unwrap_or("...");
        return Err(wrong(what("args"), "a list", args).hint(format!("write `[{shown}]`")));
    };
    if arg_nodes.len() > limits::LIST {
        let kind = SpecErrorKind::Limit { what: what("args"), limit: limits::LIST };
        return Err(Trouble::at(args.place, kind));
    }
    Ok(Row {
        place: node.place,
        multiples,
        from: from_values,
        from_places,
        number: number_value,
        number_place: number.place,
        module: module_name,
        module_place: module.place,
        args: arg_nodes,
        args_place: args.place,
    })
}
