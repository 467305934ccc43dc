//! Applies the model file's rules row by row: references, depth, width, arguments, shapes, and the head's checks.
//!
//! Source: YOLOv5's parser, restated. `from` is relative to the row where negative and counts across backbone and head
//! where not; -1 of row 0 is the image. Channels are scaled and rounded up to 8 except where they equal
//! na * (nc + 5). Strides come from the shapes: no trial run.

use crate::anchors;
use crate::block::{Activation, BlockKind, Context, Repeats, Shape, Width, find_block};
use crate::cursor::ArgCursor;
use crate::diagnostic::{Diagnostic, Severity};
use crate::error::{SpecError, SpecErrorKind};
use crate::graph::{GraphSpec, LayerSpec, Source};
use crate::layout::layout;
use crate::levels::{self, Reference, STOCK};
use crate::limits;
use crate::model_file::{Anchors, IMAGE_CHANNELS, ModelFile, Multiples, Row};
use crate::nearest::nearest_names;
use crate::page::{Page, Pages};
use crate::rounding::{repeats_after_depth, scaled_channels};
use crate::value::{Value, quoted};
use crate::yaml::{self, Place, Trouble};

/// What the caller knows beyond the model file.
#[derive(Clone, Debug)]
pub struct ResolveOptions {
    /// Number of classes of the data set; replaces the file's.
    pub nc: Option<usize>,
    /// Height and width of the image that shapes are computed for; multiples of the largest stride.
    pub image: [usize; 2],
    /// Name and text of each model whose backbone a file may name.
    pub models: &'static [(&'static str, &'static str)],
}

impl Default for ResolveOptions {
    /// The file's own classes, a colour image of 256 x 256, and no other models.
    fn default() -> Self {
        Self { nc: None, image: [256, 256], models: &[] }
    }
}

/// Reads and checks a model file. `file` is the name shown in messages; nothing is opened.
///
/// # Errors
/// The first thing that is wrong, with its place and what to do about it.
pub fn resolve(
    text: &str,
    file: &str,
    registry: &[&'static dyn BlockKind],
    options: &ResolveOptions,
) -> Result<GraphSpec, SpecError> {
    let alone = Pages(vec![Page::new(file, text)]);
    let root = root(text, 0).map_err(|t| alone.error(t))?;
    let head = ModelFile::read(&root).map_err(|t| alone.error(t))?;
    if head.backbone_of.is_none() {
        return run(&alone, registry, options, &head).map_err(|t| alone.error(t));
    }
    let (name, other) = backbone_of(&head, options).map_err(|t| alone.error(t))?;
    let pages = Pages(vec![Page::new(file, text), Page::new(&format!("{name}.yaml"), other)]);
    let combined = || {
        let root = self::root(other, 1)?;
        let other = ModelFile::read(&root)?;
        let model = head.on_backbone(&other);
        let mut graph = run(&pages, registry, options, &model).map_err(|t| counted_on(t, name, &model))?;
        let note = other_activation(other.activation, model.activation);
        graph.warnings.extend(note.map(|message| Diagnostic::new(Severity::Note, message)));
        graph.yaml = layout(&model, &graph, &pages);
        Ok(graph)
    };
    combined().map_err(|t| pages.error(t))
}

/// What to tell where a backbone comes from a file with another `activation` than the one that takes it.
pub fn other_activation(own: Activation, here: Activation) -> Option<String> {
    (own != here).then(|| {
        format!(
            "the backbone's own file has `activation: {own}`; here its blocks that name none have `activation: {here}`"
        )
    })
}

/// The text as a tree.
pub(crate) fn root(text: &str, page: usize) -> Result<yaml::Node<'_>, Trouble> {
    if text.len() > limits::TEXT_BYTES {
        let what = "the size of the model file in bytes".into();
        return Err(Trouble::nowhere(SpecErrorKind::Limit { what, limit: limits::TEXT_BYTES }));
    }
    yaml::parse(text, page)?.ok_or_else(|| {
        let hint = "the zoo's files, such as `yolov5n.yaml`, are a place to begin";
        Trouble::nowhere(SpecErrorKind::Empty).hint(hint)
    })
}

/// Applies all rules to what was read.
pub(crate) fn run(
    pages: &Pages<'_>,
    registry: &[&'static dyn BlockKind],
    options: &ResolveOptions,
    model: &ModelFile<'_>,
) -> Result<GraphSpec, Trouble> {
    Resolver::new(pages, registry, options, model)?.run(model)
}

/// The model that `backbone` names, among those that the caller knows.
fn backbone_of(model: &ModelFile<'_>, options: &ResolveOptions) -> Result<(&'static str, &'static str), Trouble> {
    let (written, place) = model.backbone_of.expect("asked for where a name is given");
    let stem = written.strip_suffix(".yaml").unwrap_or(written);
    if let Some(found) = options.models.iter().find(|(name, _)| *name == stem) {
        return Ok(*found);
    }
    let kind = SpecErrorKind::UnknownBackbone { written: quoted(written).trim_matches('`').to_owned() };
    let trouble = Trouble::at(place, kind);
    let names = || options.models.iter().map(|(name, _)| *name);
    let near = nearest_names(stem, names());
    let trouble = match near.is_empty() {
        false => trouble.hint(format!("did you mean `{}`?", near.join("` or `"))),
        true if options.models.is_empty() => trouble.note("no models are built in here"),
        true => trouble.note(format!("the built-in models are {}", names().collect::<Vec<_>>().join(", "))),
    };
    Err(trouble.hint("give the rows of a backbone of your own, or put them in with `kinglet swap --backbone FILE`"))
}

/// Adds how the layers of a message are counted, which the file with a named backbone does not show.
fn counted_on(trouble: Trouble, name: &str, model: &ModelFile<'_>) -> Trouble {
    let (backbone, last) = (model.backbone_len, model.rows.len() - 1);
    let stock = STOCK.len();
    let lacks_level = matches!(*trouble.kind, SpecErrorKind::MissingLevel { .. });
    let trouble = trouble
        .note(format!(
            "layers 0 to {} are the backbone of `{name}`; the head's layers {backbone} to {last} are {stock} to {} in this \
             file's numbers",
            backbone - 1,
            last - backbone + stock
        ))
        .hint("numbers in the head count as on YOLOv5's backbone of ten rows; a level may be written as such, e.g. P4");
    if lacks_level {
        return trouble;
    }
    trouble.hint(format!(
        "for a head with another backbone, put that backbone's rows back: `kinglet swap --cfg FILE --backbone {name}` then \
         moves every number"
    ))
}

struct Resolver<'a> {
    pages: &'a Pages<'a>,
    registry: &'a [&'static dyn BlockKind],
    image: Shape,
    nc: usize,
    /// Outputs a cell of the head, na * (nc + 5): the channel count that is not scaled.
    head_outputs: usize,
    /// As given, until the head is reached.
    anchors: Vec<Vec<[f32; 2]>>,
    layers: Vec<LayerSpec>,
    stacked: usize,
    head_strides: Vec<usize>,
    warnings: Vec<Diagnostic>,
}

impl<'a> Resolver<'a> {
    fn new(
        pages: &'a Pages<'a>,
        registry: &'a [&'static dyn BlockKind],
        options: &ResolveOptions,
        model: &ModelFile<'_>,
    ) -> Result<Self, Trouble> {
        let mut warnings = Vec::new();
        let nc = match (model.nc, options.nc) {
            (Some((file_nc, _)), Some(nc)) if file_nc != nc => {
                let message = format!("nc {file_nc} in the model file is replaced by {nc} of the data set");
                // The usual course: not worth showing the line.
                warnings.push(Diagnostic::new(Severity::Note, message));
                nc
            }
            (_, Some(nc)) => nc,
            (Some((nc, _)), None) => nc,
            (None, None) => {
                let hint = "give the number of classes, e.g. `nc: 80`";
                return Err(Trouble::nowhere(SpecErrorKind::MissingKey { key: "nc" }).hint(hint));
            }
        };
        if nc == 0 || nc > limits::CLASSES {
            let kind = SpecErrorKind::Value {
                what: "the number of classes".into(),
                expected: format!("a whole number from 1 to {}", limits::CLASSES),
                found: format!("`{nc}`"),
            };
            return Err(Trouble::nowhere(kind));
        }
        let [height, width] = options.image;
        for (what, value, most) in
            [("the image's height", height, limits::SIDE), ("the image's width", width, limits::SIDE)]
        {
            if value == 0 || value > most {
                let expected = format!("from 1 to {most}");
                let found = format!("`{value}`");
                return Err(Trouble::nowhere(SpecErrorKind::Value { what: what.into(), expected, found }));
            }
        }
        let (per_level, anchors) = match &model.anchors {
            Anchors::Given(levels) => (levels.first().map_or(0, Vec::len), levels.clone()),
            Anchors::Count(n) => (*n, Vec::new()),
        };
        Ok(Self {
            pages,
            registry,
            image: Shape { channels: IMAGE_CHANNELS, height, width },
            nc,
            head_outputs: per_level * (nc + 5),
            anchors,
            layers: Vec::new(),
            stacked: 0,
            head_strides: Vec::new(),
            warnings,
        })
    }

    fn run(mut self, model: &ModelFile<'_>) -> Result<GraphSpec, Trouble> {
        for (index, row) in model.rows.iter().enumerate() {
            let layer = self.layer(model, row, index)?;
            self.layers.push(layer);
        }
        let head = self.layers.len() - 1;
        if !self.layers[head].kind.is_head() {
            let heads: Vec<&str> = self.registry.iter().filter(|b| b.is_head()).map(|b| b.name()).collect();
            let name = heads.first().copied().unwrap_or("Detect");
            let kind = SpecErrorKind::Head { message: format!("the model has no detection head (`{name}`)") };
            let place = model.rows[head].place;
            let hint = format!("end the head with a row such as `[[17, 20, 23], 1, {name}, [nc, anchors]]`");
            return Err(Trouble::at(place, kind).note(format!("layer {head} is the last row")).hint(hint));
        }
        self.warn_of_unused(model);
        // Rows of different multiples are those of two files; written out as one, their values stand as they are.
        let multiples = model.common_multiples().unwrap_or(Multiples { depth: 1.0, width: 1.0, ..model.multiples });
        let name = self.pages.0[0].file.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
        Ok(GraphSpec {
            name,
            nc: self.nc,
            depth_multiple: multiples.depth,
            width_multiple: multiples.width,
            anchors: self.anchors,
            placeholder_anchors: matches!(model.anchors, Anchors::Count(_)),
            activation: model.activation,
            layers: self.layers,
            head,
            head_strides: self.head_strides,
            backbone_len: model.backbone_len,
            warnings: self.warnings,
            image: self.image,
            yaml: self.pages.0[0].text.to_owned(),
        })
    }

    fn layer(&mut self, model: &ModelFile<'_>, row: &Row<'_>, index: usize) -> Result<LayerSpec, Trouble> {
        let block = self.find(row, index)?;
        if block.is_head() && index + 1 != model.rows.len() {
            let kind = SpecErrorKind::Head { message: format!("`{}` must be the last row", block.name()) };
            let note = format!("layer {index} of layers 0 to {}", model.rows.len() - 1);
            return Err(Trouble::at(row.place, kind).note(note).hint("move the row to the end of `head`"));
        }
        let inputs = self.inputs(model, row, index)?;
        let shapes: Vec<Shape> = inputs.iter().map(|s| self.shape(*s)).collect();
        let strides: Vec<usize> = shapes.iter().map(|s| self.stride(*s)).collect();

        let number = repeats_after_depth(row.number, row.multiples.depth);
        if number > limits::REPEATS {
            let what = format!("`number` of layer {index} after the depth multiple");
            return Err(Trouble::at(row.number_place, SpecErrorKind::Limit { what, limit: limits::REPEATS }));
        }
        if block.is_head() {
            if row.number != 1 {
                let what = format!("`number` of `{}`", block.name());
                let found = format!("`{}`", row.number);
                let kind = SpecErrorKind::Value { what, expected: "1".into(), found };
                return Err(Trouble::at(row.number_place, kind));
            }
            self.check_head(model, row, &inputs, &shapes)?;
        }

        let mut values = self.values(row, index)?;
        let c_out = match (block.width(), values.first()) {
            (Width::Scaled, Some(Value::Int(written))) if *written > 0 => {
                let written = usize::try_from(*written).unwrap_or(usize::MAX);
                let c_out = self.scale(row, index, written)?;
                values[0] = Value::Int(i64::try_from(c_out).unwrap_or(i64::MAX));
                Some(c_out)
            }
            _ => None,
        };

        if let (true, Some(Value::Int(written))) = (block.is_head(), values.first())
            && i64::try_from(self.nc).ok() != Some(*written)
        {
            let (name, expected) = ("nc".to_owned(), format!("`nc`, which is {}", self.nc));
            let kind = SpecErrorKind::Argument { name, index: 0, expected, found: format!("`{written}`") };
            return Err(self.blame(kind, row, index, block, &inputs));
        }

        let (stacked, inside) = match block.repeats() {
            Repeats::Stacked => (number, 1),
            Repeats::Inside => (1, number),
        };
        self.stacked += stacked;
        if self.stacked > limits::STACKED_LAYERS {
            let what = "the number of layers after repeats".into();
            return Err(Trouble::at(row.place, SpecErrorKind::Limit { what, limit: limits::STACKED_LAYERS }));
        }
        let mut context = Context {
            nc: self.nc,
            anchors: self.anchors.clone(),
            strides,
            default_activation: model.activation,
            repeats: inside,
            c_out,
        };
        let mut planned = Vec::with_capacity(stacked);
        let mut current = shapes.clone();
        let mut output = None;
        for _ in 0..stacked {
            let mut cursor = ArgCursor::new(&values, &self.anchors);
            let (layer, shape) = block
                .plan(&mut cursor, &current, &context)
                // A block that forgets to end reading must not let surplus arguments pass.
                .and_then(|planned| cursor.finish().map(|()| planned))
                .and_then(|planned| check_output(planned.1).map(|()| planned))
                .map_err(|kind| self.blame(kind, row, index, block, &inputs))?;
            planned.push(layer);
            context.strides = vec![self.stride(shape)];
            current = vec![shape];
            output = Some(shape);
        }
        let output = output.expect("a repeat count is at least one");
        Ok(LayerSpec {
            index,
            from: row.from.iter().zip(&inputs).map(|(from, input)| as_number(*from, *input, index)).collect(),
            c_out,
            args_text: self.args_text(block, &values, &shapes, inside),
            inputs,
            number,
            block: block.name(),
            kind: block,
            written: row.module.to_owned(),
            planned,
            input_shapes: shapes,
            output,
            stride: self.stride(output),
            location: self.pages.location(row.place),
        })
    }

    fn find(&self, row: &Row<'_>, index: usize) -> Result<&'static dyn BlockKind, Trouble> {
        if let Some(block) = find_block(self.registry, row.module) {
            return Ok(block);
        }
        let kind = SpecErrorKind::UnknownBlock { written: quoted(row.module).trim_matches('`').to_owned() };
        let mut trouble = Trouble::at(row.module_place, kind).note(format!("layer {index} names it"));
        let names = self.registry.iter().flat_map(|b| std::iter::once(b.name()).chain(b.aliases().iter().copied()));
        let near = nearest_names(row.module, names);
        if !near.is_empty() {
            trouble = trouble.hint(format!("did you mean `{}`?", near.join("` or `")));
        }
        Err(trouble.hint("`kinglet blocks` lists every block with its arguments"))
    }

    fn inputs(&self, model: &ModelFile<'_>, row: &Row<'_>, index: usize) -> Result<Vec<Source>, Trouble> {
        let resolve = |(from, place): (&Reference, &Place)| {
            let from = match *from {
                Reference::Level(level) => return self.tap(model, level, index, *place),
                Reference::Row(from) => from,
            };
            if from == -1 && index == 0 {
                return Ok(Source::Image);
            }
            let absolute = if from < 0 { i64::try_from(index).unwrap_or(i64::MAX).saturating_add(from) } else { from };
            match usize::try_from(absolute) {
                Ok(layer) if layer < index => Ok(Source::Layer(layer)),
                _ => Err(reference_trouble(from, index, model.rows.len(), *place)),
            }
        };
        row.from.iter().zip(&row.from_places).map(resolve).collect()
    }

    /// The backbone's row for a level that the head names.
    fn tap(&self, model: &ModelFile<'_>, level: u32, index: usize, place: Place) -> Result<Source, Trouble> {
        let height = self.image.height;
        if index < model.backbone_len {
            let expected = "a layer number; levels are for rows of the head".into();
            let kind = SpecErrorKind::Value {
                what: format!("`from` of layer {index}"),
                expected,
                found: format!("`P{level}`"),
            };
            return Err(Trouble::at(place, kind));
        }
        let backbone = &self.layers[..model.backbone_len];
        if let Some(layer) = levels::tap(backbone, level, height) {
            return Ok(Source::Layer(layer));
        }
        let has: Vec<String> = (0..=level.max(16))
            .filter_map(|l| Some(format!("P{l} (layer {})", levels::tap(backbone, l, height)?)))
            .collect();
        let kind = SpecErrorKind::MissingLevel { level, stride: 1 << level };
        Err(Trouble::at(place, kind)
            .note(format!("layer {index} asks for it; the backbone has {}", has.join(", ")))
            .hint("take a head for these levels, or another backbone"))
    }

    fn values(&self, row: &Row<'_>, index: usize) -> Result<Vec<Value>, Trouble> {
        let read = |node: &yaml::Node<'_>| {
            Value::from_node(node, self.nc).ok_or_else(|| {
                let what = format!("`args` of layer {index}");
                let expected = "a list of numbers, names and lists".into();
                Trouble::at(node.place, SpecErrorKind::Value { what, expected, found: node.describe() })
            })
        };
        row.args.iter().map(read).collect()
    }

    /// Channels after the width multiple, with a warning where the special case keeps them.
    fn scale(&mut self, row: &Row<'_>, index: usize, written: usize) -> Result<usize, Trouble> {
        let Multiples { width, channel, .. } = row.multiples;
        let rule = |head| scaled_channels(written, width, channel, head);
        let (c_out, usual) = (rule(self.head_outputs), rule(0));
        if c_out > limits::CHANNELS {
            let what = format!("`c_out` of layer {index} after the width multiple");
            let place = row.args.first().map_or(row.args_place, |a| a.place);
            return Err(Trouble::at(place, SpecErrorKind::Limit { what, limit: limits::CHANNELS }));
        }
        if c_out != usual {
            let per_level = self.head_outputs / (self.nc + 5);
            let message = format!(
                "layer {index}: {written} equals {per_level} x (nc + 5) and so is not scaled to {usual}, as in YOLOv5"
            );
            let mut warning = Diagnostic::new(Severity::Warning, message)
                .note("weights made with YOLOv5 depend on it, so it is kept")
                .hint(format!("to have it scaled, write another number, e.g. {}", written + 1));
            self.pages.put(&mut warning, row.args.first().map_or(row.args_place, |a| a.place));
            self.warnings.push(warning);
        }
        Ok(c_out)
    }

    fn shape(&self, source: Source) -> Shape {
        match source {
            Source::Image => self.image,
            Source::Layer(index) => self.layers[index].output,
        }
    }

    fn stride(&self, shape: Shape) -> usize {
        self.image.height.div_ceil(shape.height.max(1))
    }

    /// `layer 18 gets layer 17 [256 x 40 x 40] and layer 6 [40 x 80 x 80]`.
    fn gets(&self, index: usize, inputs: &[Source]) -> String {
        let named: Vec<String> = inputs
            .iter()
            .take(8)
            .map(|source| match source {
                Source::Image => format!("the image [{}]", self.image),
                Source::Layer(layer) => format!("layer {layer} [{}]", self.layers[*layer].output),
            })
            .collect();
        let more = if inputs.len() > named.len() {
            format!(" and {} more", inputs.len() - named.len())
        } else {
            String::new()
        };
        let Shape { height, width, .. } = self.image;
        format!("layer {index} gets {}{more}, for an image of {height} x {width}", named.join(" and "))
    }

    /// Places a block's complaint and adds what the block does not know: layer numbers, shapes, remedies.
    fn blame(
        &self,
        kind: SpecErrorKind,
        row: &Row<'_>,
        index: usize,
        block: &'static dyn BlockKind,
        inputs: &[Source],
    ) -> Trouble {
        let place = match &kind {
            SpecErrorKind::Argument { index, .. } => row.args.get(*index).map_or(row.args_place, |a| a.place),
            SpecErrorKind::SurplusArguments { taken, .. } => row.args.get(*taken).map_or(row.args_place, |a| a.place),
            SpecErrorKind::MissingArgument { .. } => row.args_place,
            _ => row.place,
        };
        let about_arguments = matches!(
            &kind,
            SpecErrorKind::Argument { .. }
                | SpecErrorKind::SurplusArguments { .. }
                | SpecErrorKind::MissingArgument { .. }
        );
        let sizes_differ = matches!(kind, SpecErrorKind::SizesDiffer);
        let mut trouble = Trouble::at(place, kind);
        if trouble.kind.speaks_of_a_block() {
            trouble.block = Some(block.name());
        }
        if about_arguments {
            return trouble.note(format!("layer {index} is {}({})", block.name(), block.arguments()));
        }
        trouble = trouble.note(self.gets(index, inputs));
        if sizes_differ { self.remedies(trouble, inputs, index) } else { trouble }
    }

    /// Names earlier rows of the size that the first input has, nearest to each input that has another.
    fn remedies(&self, mut trouble: Trouble, inputs: &[Source], index: usize) -> Trouble {
        let size = |s: Shape| (s.height, s.width);
        let Some(wanted) = inputs.first().map(|s| size(self.shape(*s))) else { return trouble };
        let fitting: Vec<usize> = (0..index)
            .filter(|l| size(self.layers[*l].output) == wanted && !inputs.contains(&Source::Layer(*l)))
            .collect();
        let other = inputs.iter().find_map(|s| match s {
            Source::Layer(l) if size(self.shape(*s)) != wanted => Some(*l),
            _ => None,
        });
        let Some(other) = other else { return trouble };
        // Of two equally near, the later one: an inserted row moves numbers up.
        match fitting.iter().copied().min_by_key(|l| (l.abs_diff(other), usize::MAX - l)) {
            Some(near) => {
                trouble = trouble.hint(format!(
                    "layer {near} [{}] is the one nearest to layer {other} that is {} x {}; earlier layers of that size: {}",
                    self.layers[near].output,
                    wanted.0,
                    wanted.1,
                    ranges(&fitting)
                ));
            }
            None => trouble = trouble.hint(format!("no other earlier layer is {} x {}", wanted.0, wanted.1)),
        }
        trouble.hint("after a row is inserted or removed, every number in `from` behind it moves by one")
    }

    /// Levels, strides and anchors of the head; leaves `self.anchors` in the order of the levels.
    fn check_head(
        &mut self,
        model: &ModelFile<'_>,
        row: &Row<'_>,
        inputs: &[Source],
        shapes: &[Shape],
    ) -> Result<(), Trouble> {
        let index = self.layers.len();
        let head_levels = |message: String| SpecErrorKind::HeadLevels { message };
        if let Anchors::Given(levels) = &model.anchors
            && levels.len() != shapes.len()
        {
            let message = format!("the head has {} inputs, but `anchors` has {} levels", shapes.len(), levels.len());
            let note = format!("`anchors` begins in line {}", model.anchors_place.line);
            return Err(Trouble::at(row.from_places[0], head_levels(message))
                .note(note)
                .note(self.gets(index, inputs))
                .hint("give one line of anchors for each input of the head, finest first"));
        }
        let mut strides: Vec<usize> = Vec::new();
        for (level, shape) in shapes.iter().enumerate() {
            let rows = self.image.height / shape.height.max(1);
            let exact = rows * shape.height == self.image.height && rows * shape.width == self.image.width;
            if !exact || !rows.is_power_of_two() {
                let message = format!(
                    "input {level} of the head is {} x {}, which is no power-of-two part of the image's {} x {}",
                    shape.height, shape.width, self.image.height, self.image.width
                );
                return Err(self.levels_trouble(head_levels(message), row.from_places[level], inputs));
            }
            if let Some(twin) = strides.iter().position(|s| *s == rows) {
                let message = format!("inputs {twin} and {level} of the head both have stride {rows}");
                return Err(self.levels_trouble(head_levels(message), row.from_places[level], inputs));
            }
            strides.push(rows);
        }
        if !strides.is_sorted() && !strides.iter().rev().is_sorted() {
            let list: Vec<String> = strides.iter().map(usize::to_string).collect();
            let message = format!("the strides of the head's inputs are out of order: {}", list.join(", "));
            let trouble = Trouble::at(row.from_places[0], head_levels(message)).note(self.gets(index, inputs));
            return Err(trouble.hint("list the finest level first"));
        }

        if strides.len() == 3 && strides.iter().any(|s| ![8, 16, 32].contains(s)) {
            let list: Vec<String> = strides.iter().map(usize::to_string).collect();
            let mut warning = Diagnostic::new(
                Severity::Warning,
                format!("the head's inputs have strides {}; three levels usually have 8, 16 and 32", list.join(", ")),
            )
            .note(self.gets(index, inputs));
            warning.hints = self.layers_of_missing_strides(&strides);
            self.pages.put(&mut warning, row.from_places[0]);
            self.warnings.push(warning);
        }

        let fitted = anchors::fit(&model.anchors, &strides);
        let mut warn = |message: String, hint: &str| {
            let mut warning = Diagnostic::new(Severity::Warning, message).hint(hint);
            self.pages.put(&mut warning, model.anchors_place);
            self.warnings.push(warning);
        };
        if fitted.reversed {
            warn(
                "the levels of `anchors` are in the opposite order of the head's inputs and are reversed".into(),
                "list small anchors first, and the finest level first in the head",
            );
        }
        if let Some((finer, coarser)) = fitted.unordered {
            warn(
                format!(
                    "the anchors for stride {} are larger on average than those for stride {}",
                    strides[finer], strides[coarser]
                ),
                "anchors are expected to grow with the stride",
            );
        }
        if let Some(level) = fitted.tiny {
            warn(
                format!(
                    "the anchors for stride {} are smaller on average than one cell of {0} x {0} pixels",
                    strides[level]
                ),
                "check which layers the head takes: three levels usually have strides 8, 16 and 32",
            );
        }
        self.anchors = fitted.anchors;
        self.head_strides = strides;
        Ok(())
    }

    fn levels_trouble(&self, kind: SpecErrorKind, place: Place, inputs: &[Source]) -> Trouble {
        let taken: Vec<usize> = inputs.iter().map(|s| self.stride(self.shape(*s))).collect();
        let mut trouble = Trouble::at(place, kind).note(self.gets(self.layers.len(), inputs));
        trouble.hints = self.layers_of_missing_strides(&taken);
        trouble
    }

    /// For each usual stride that no input of the head has: the layers that have it.
    fn layers_of_missing_strides(&self, taken: &[usize]) -> Vec<String> {
        let mut hints = Vec::new();
        for stride in [8, 16, 32, 64].into_iter().filter(|s| !taken.contains(s)) {
            let layers: Vec<usize> = self.layers.iter().filter(|l| l.stride == stride).map(|l| l.index).collect();
            if !layers.is_empty() {
                hints.push(format!("layers of stride {stride}: {}", ranges(&layers)));
            }
        }
        hints
    }

    fn warn_of_unused(&mut self, model: &ModelFile<'_>) {
        let mut used = vec![false; self.layers.len()];
        for source in self.layers.iter().flat_map(|l| &l.inputs) {
            if let Source::Layer(layer) = source {
                used[*layer] = true;
            }
        }
        used[self.layers.len() - 1] = true;
        for index in (0..used.len()).filter(|i| !used[*i]).collect::<Vec<_>>() {
            let message = format!("the output of layer {index} ({}) is never used", self.layers[index].block);
            let mut warning = Diagnostic::new(Severity::Warning, message);
            // The usual cause is a number that did not move with an inserted or removed row.
            let near = |from: &i64| usize::try_from(*from).ok().filter(|l| l.abs_diff(index) == 1);
            let slip = self.layers.iter().find_map(|l| l.from.iter().find_map(near).map(|taken| (l, taken)));
            if let Some((layer, taken)) = slip {
                warning = warning.note(format!(
                    "layer {} ({}) takes layer {taken} ({}), one beside it",
                    layer.index, layer.block, self.layers[taken].block
                ));
            }
            let hint = "if a row was inserted or removed above, move the numbers in the `from` of later rows";
            warning = warning.hint(hint);
            self.pages.put(&mut warning, model.rows[index].place);
            self.warnings.push(warning);
        }
    }

    fn args_text(&self, block: &'static dyn BlockKind, values: &[Value], inputs: &[Shape], inside: usize) -> String {
        let mut shown: Vec<String> = values
            .iter()
            .map(|v| if *v == Value::Anchors { anchors_text(&self.anchors) } else { v.to_string() })
            .collect();
        if block.repeats() == Repeats::Inside && !shown.is_empty() {
            shown.insert(1, inside.to_string());
        }
        if block.width() == Width::Scaled
            && let Some(input) = inputs.first()
        {
            shown.insert(0, input.channels.to_string());
        }
        if block.is_head() {
            let channels: Vec<String> = inputs.iter().map(|s| s.channels.to_string()).collect();
            shown.push(format!("[{}]", channels.join(", ")));
        }
        format!("[{}]", shown.join(", "))
    }
}

/// An entry of `from` as a number. A level is the row before, or a row of that number.
fn as_number(from: Reference, input: Source, index: usize) -> i64 {
    match (from, input) {
        (Reference::Row(n), _) => n,
        (Reference::Level(_), Source::Layer(layer)) if layer + 1 < index => i64::try_from(layer).unwrap_or(i64::MAX),
        (Reference::Level(_), _) => -1,
    }
}

fn anchors_text(anchors: &[Vec<[f32; 2]>]) -> String {
    let level = |level: &Vec<[f32; 2]>| {
        let sizes: Vec<String> = level.iter().flatten().map(f32::to_string).collect();
        format!("[{}]", sizes.join(", "))
    };
    let levels: Vec<String> = anchors.iter().map(level).collect();
    format!("[{}]", levels.join(", "))
}

fn reference_trouble(from: i64, index: usize, rows: usize, place: Place) -> Trouble {
    let trouble = Trouble::at(place, SpecErrorKind::Reference { from, layer: index });
    let trouble = trouble.note(format!("this is layer {index} of layers 0 to {}", rows - 1));
    let behind = "after a row is inserted or removed, every number in `from` behind it moves by one";
    match usize::try_from(from) {
        Ok(layer) if layer == index => {
            trouble.note("a layer cannot be its own input").hint("-1 is the row just before")
        }
        Ok(layer) if layer < rows => trouble.note(format!("layer {layer} comes later")).hint(behind),
        Ok(layer) => trouble.note(format!("there is no layer {layer}")).hint(behind),
        Err(_) if index == 0 => trouble.hint("the first row can only have -1, the image"),
        Err(_) => {
            let hint = format!("-1 is the row just before; the first row is 0, or -{index} from here");
            trouble.note("it points to before the first row").hint(hint)
        }
    }
}

fn check_output(shape: Shape) -> Result<(), SpecErrorKind> {
    let Shape { channels, height, width } = shape;
    if channels == 0 || height == 0 || width == 0 {
        return Err(SpecErrorKind::EmptyOutput { channels, height, width });
    }
    if channels > limits::CHANNELS {
        return Err(SpecErrorKind::Limit { what: "the number of output channels".into(), limit: limits::CHANNELS });
    }
    if height > limits::SIDE || width > limits::SIDE {
        return Err(SpecErrorKind::Limit { what: "the output's height or width".into(), limit: limits::SIDE });
    }
    Ok(())
}

/// `0 to 3, 5, 8 and 9` style list of sorted numbers.
fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &n in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == n => *end = n,
            _ => runs.push((n, n)),
        }
    }
    let shown: Vec<String> = runs
        .iter()
        .take(12)
        .map(|(a, b)| match b - a {
            0 => a.to_string(),
            1 => format!("{a}, {b}"),
            _ => format!("{a} to {b}"),
        })
        .collect();
    let more = if runs.len() > 12 { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}
