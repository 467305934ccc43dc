//! A written file, run by another engine, against Kinglet's own.
//!
//! The other engine is rten, which shares no code with Kinglet. It computes every operator but `NonMaxSuppression`: its own
//! ignores images and classes, so the operator is computed here as the specification defines it. ONNX Runtime, which
//! follows it, is asked by the checks of this project.
//! Where the file letterboxes, its letterboxed picture is held against Kinglet's, to a grey level, and what follows is computed
//! from the file's: so a difference of rounding does not hide one of arithmetic.
//! Units: values are compared in pixels of the network's input, boxes in those of the output.

use crate::export::{DECODED, ExportOptions, INPUT, Input, OUTPUT, Output, RAW, raw_name};
use crate::letterbox::LETTERBOXED;
use crate::suppress::{BOXES, CHOSEN, COLUMNS, SCORES, Suppression};
use kinglet_nn::{Head, SizeError};
use kinglet_runtime::Detector;
use kinglet_tensor::Shape;
use kinglet_vision::boxes::{clip, iou};
use kinglet_vision::{Detection, Image, Letterbox, NmsOptions, nms, resize};
use rten::{Model as File, ModelOptions, Value, ValueView};

/// Name of the other engine.
pub const ENGINE: &str = "rten 0.27";

/// Values may differ by this much of the largest one: the order of sums in single precision.
const VALUES: f32 = 1e-4;
/// Grey levels by which resizing may differ, for one pixel and on average: fixed-point arithmetic cuts two terms to quarters
/// of a level before they are added and rounded.
const LEVELS: [f32; 2] = [1.0, 0.25];
/// Lowest IoU of a pair of boxes.
const OVERLAP: f32 = 0.999;
/// Largest difference of a pair's scores; also how near a threshold explains a box without a partner.
const SCORES_APART: f32 = 1e-3;
/// Scores that differ by less may come in either order.
const TIE: f32 = 1e-4;
/// Pixels by which corners may differ and still be the same.
const CORNERS: f32 = 1e-2;

/// One run of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The picture, or the first of several.
    pub name: String,
    /// Shape of the input.
    pub input: Vec<usize>,
    /// Largest difference of raw levels or decoded rows, relative to the largest value.
    pub values: f32,
    /// Where the file letterboxes: grey levels of difference, largest and mean.
    pub levels: Option<[f32; 2]>,
    /// Detections of Kinglet's engine.
    pub boxes: usize,
    /// Detections without a partner, on either side, that no threshold nearby explains.
    pub alone: usize,
    /// Lowest IoU of a pair.
    pub overlap: f32,
    /// Largest difference of a pair's scores.
    pub score: f32,
}

impl Case {
    /// What disagrees, in words.
    pub fn fault(&self) -> Option<String> {
        if self.values > VALUES {
            return Some(format!("values differ by {:.1e} of the largest, expected {VALUES:.0e} at most", self.values));
        }
        if let Some([most, mean]) = self.levels
            && (most > LEVELS[0] + 1e-3 || mean > LEVELS[1])
        {
            return Some(format!("the letterboxed picture differs by {most:.1} grey levels, {mean:.3} on average"));
        }
        if self.alone > 0 {
            return Some(format!("{} boxes of {} have no partner", self.alone, self.boxes));
        }
        if self.overlap < OVERLAP {
            return Some(format!("a box overlaps its partner by {:.4}, expected {OVERLAP} at least", self.overlap));
        }
        (self.score > SCORES_APART)
            .then(|| format!("a score differs by {:.1e}, expected {SCORES_APART:.0e} at most", self.score))
    }
}

/// Why a file could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The other engine refuses the file, or stops on the way.
    #[error("{ENGINE} cannot run the file: {reason}")]
    Engine {
        /// What it says.
        reason: String,
    },
    /// A size that Kinglet's engine refuses.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// An output of another kind than the one exported.
    #[error("{ENGINE} gives `{name}` with another shape than the exported model's: {found:?}")]
    Shape {
        /// The output.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
}

fn engine(error: impl std::fmt::Display) -> VerifyError {
    VerifyError::Engine { reason: error.to_string() }
}

/// Runs the file on each picture, and with free sizes on two more sizes and a batch of two.
///
/// # Errors
/// A file that the other engine cannot run. Differences are told by [`Case::fault`].
pub fn verify(
    bytes: Vec<u8>,
    detector: &mut Detector,
    options: &ExportOptions,
    pictures: &[(String, Image)],
) -> Result<Vec<Case>, VerifyError> {
    let file = ModelOptions::with_all_ops().enable_optimization(false).load(bytes).map_err(engine)?;
    let picture = |i: usize| &pictures[i % pictures.len()];
    let batch = if options.dynamic { 1 } else { options.batch };
    let mut runs: Vec<(usize, usize, [usize; 2])> =
        (0..pictures.len()).map(|i| (i, batch, free_size(options, &picture(i).1))).collect();
    if options.dynamic && !pictures.is_empty() {
        let stride = detector.model().max_stride();
        let [h, w] = runs[0].2;
        let part = |side: usize| (side / 2).div_ceil(stride).max(1) * stride;
        runs.push((0, 2, [h + stride, w]));
        runs.push((1, 1, [part(h), part(w) + stride]));
    }
    runs.into_iter()
        .map(|(first, batch, size)| {
            let images: Vec<&Image> = (first..first + batch).map(|i| &picture(i).1).collect();
            compare(&file, detector, options, &picture(first).0, &images, size)
        })
        .collect()
}

/// Height and width of the file's input for a picture.
fn free_size(options: &ExportOptions, picture: &Image) -> [usize; 2] {
    match options.input {
        Input::Floats => options.size,
        Input::Pictures(_) if options.dynamic => [picture.height, picture.width],
        Input::Pictures(size) => size,
    }
}

/// What the file is given.
struct Given {
    /// Shape of the file's input.
    shape: Vec<usize>,
    /// The file's input where it letterboxes: `[n, h, w, 3]` bytes.
    pictures: Option<Vec<u8>>,
    /// The file's input where it does not: `[n, 3, h, w]`.
    planes: Vec<f32>,
    /// The network's input as Kinglet makes it, `[n, h, w, 3]`, and those three sizes.
    own: Vec<f32>,
    size: [usize; 3],
    letterboxes: Vec<Letterbox>,
}

impl Given {
    fn new(images: &[&Image], options: &ExportOptions, [h, w]: [usize; 2], stride: usize) -> Self {
        let n = images.len();
        let plan = |image: &&Image| Letterbox::plan(image.height, image.width, [h, w], false, true, stride);
        let (letterboxes, resized): (Vec<Letterbox>, Option<Vec<Image>>) = match options.input {
            Input::Floats => (images.iter().map(plan).collect(), None),
            Input::Pictures(_) => {
                let resized = images.iter().map(|image| resize::resize_bilinear(image, w, h)).collect();
                (vec![Letterbox::plan(h, w, options.size, true, true, stride); n], Some(resized))
            }
        };
        let image = |i: usize| resized.as_ref().map_or(images[i], |resized| &resized[i]);
        let letterboxed = (0..n).flat_map(|i| letterboxes[i].apply(image(i)).data);
        let own: Vec<f32> = letterboxed.map(|byte| f32::from(byte) / 255.0).collect();
        let (width, height) = letterboxes[0].out;
        Given {
            shape: if resized.is_some() { vec![n, h, w, 3] } else { vec![n, 3, h, w] },
            pictures: resized.map(|images| images.into_iter().flat_map(|image| image.data).collect()),
            planes: planes(&own, n),
            own,
            size: [n, height, width],
            letterboxes,
        }
    }

    fn view(&self) -> Result<ValueView<'_>, VerifyError> {
        match &self.pictures {
            Some(pictures) => ValueView::from_shape(&self.shape, pictures).map_err(engine),
            None => ValueView::from_shape(&self.shape, &self.planes).map_err(engine),
        }
    }

    /// Boxes of the network's input as those of the pictures, where the file does so.
    fn unmap(&self, mut boxes: Vec<Vec<Detection>>) -> Vec<Vec<Detection>> {
        if self.pictures.is_some() {
            for (found, letterbox) in boxes.iter_mut().zip(&self.letterboxes) {
                found.iter_mut().for_each(|d| d.xyxy = letterbox.unmap_box(d.xyxy));
            }
        }
        boxes
    }
}

/// The tensors to ask the file for, up to suppression; the letterboxed picture is the last one.
fn wanted(options: &ExportOptions, levels: usize) -> Vec<String> {
    let letterboxes = matches!(options.input, Input::Pictures(_));
    let mut names: Vec<String> = match options.output {
        Output::Raw => (0..levels).map(raw_name).collect(),
        Output::Decoded if letterboxes => vec![DECODED.to_owned(), OUTPUT.to_owned()],
        Output::Decoded => vec![OUTPUT.to_owned()],
        Output::Detections(_) => [DECODED, BOXES, SCORES].map(str::to_owned).to_vec(),
    };
    names.extend(letterboxes.then(|| LETTERBOXED.to_owned()));
    names
}

/// One run of the file beside Kinglet's engine. `size` is height and width of the file's input.
fn compare(
    file: &File,
    detector: &mut Detector,
    options: &ExportOptions,
    name: &str,
    images: &[&Image],
    size: [usize; 2],
) -> Result<Case, VerifyError> {
    let (head, stride) = (detector.model().head(), detector.model().max_stride());
    let given = Given::new(images, options, size, stride);
    let n = images.len();
    let mut values = run(file, vec![(INPUT, given.view()?)], &wanted(options, head.strides.len()))?;
    let letterboxed = if given.pictures.is_some() { values.pop() } else { None };

    // Kinglet's network takes the very input that the file's network had.
    let letterboxed = letterboxed.map(|found| interleaved(&found.data, n));
    let network = letterboxed.as_ref().unwrap_or(&given.own);
    let (values_differ, rows) = compare_values(detector, &head, network, given.size, options, &values)?;

    let suppression = match options.output {
        Output::Detections(suppression) => Some(suppression),
        _ => None,
    };
    let s = suppression.unwrap_or_default();
    let nms_options =
        NmsOptions { conf: s.conf, iou: s.iou, max_det: s.max_det, agnostic: s.agnostic, ..NmsOptions::default() };
    let suppressed = |rows: &[f32]| -> Vec<Vec<Detection>> {
        rows.chunks_exact(rows.len() / n).map(|rows| nms(rows, head.nc, &nms_options)).collect()
    };
    // Boxes: as `detect` makes them of this very input, against those of the file's own output. Suppression inside the file is
    // held against ours of the same rows, since a rounding may decide between two boxes of the same score.
    let own_boxes = given.unmap(match suppression {
        Some(_) => suppressed(&rows),
        None => detector.detect_batch(network, given.size, &nms_options)?.0,
    });
    let file_boxes: Vec<Vec<Detection>> = match options.output {
        Output::Raw => given.unmap(suppressed(&rows)),
        Output::Decoded if given.pictures.is_some() => {
            // The file's rows are in pixels of the picture already.
            let (mut boxes, [h, w]) = (suppressed(&values[1].data), size);
            boxes.iter_mut().flatten().for_each(|d| d.xyxy = clip(d.xyxy, w as f32, h as f32));
            boxes
        }
        Output::Decoded => suppressed(&rows),
        Output::Detections(_) => {
            let chosen = choose(&values[1], &values[2], &s);
            let chosen = ValueView::from_shape([chosen.len() / 3, 3], &chosen).map_err(engine)?;
            let decoded = ValueView::from_shape(&values[0].shape, &values[0].data).map_err(engine)?;
            let inputs = vec![(INPUT, given.view()?), (DECODED, decoded), (CHOSEN, chosen)];
            let found = run(file, inputs, &[OUTPUT.to_owned()])?;
            found[0].expect(&[n, s.max_det, COLUMNS])?;
            found[0].data.chunks_exact(s.max_det * COLUMNS).map(detections).collect()
        }
    };
    let mut case = Case {
        name: name.to_owned(),
        values: values_differ,
        levels: letterboxed.map(|found| differences(&found, &given.own)),
        input: given.shape,
        boxes: own_boxes.iter().map(Vec::len).sum(),
        alone: 0,
        overlap: 1.0,
        score: 0.0,
    };
    let tie = if suppression.is_some() { 0.0 } else { TIE };
    own_boxes.iter().zip(&file_boxes).for_each(|(own, found)| pair(&mut case, own, found, &s, tie));
    Ok(case)
}

/// The largest difference between the file's values and those of Kinglet's network on the same input, and the file's decoded
/// rows, `[n, cells, 5 + nc]`.
fn compare_values(
    detector: &mut Detector,
    head: &Head,
    network: &[f32],
    size: [usize; 3],
    options: &ExportOptions,
    values: &[Found],
) -> Result<(f32, Vec<f32>), VerifyError> {
    let n = size[0];
    let raw = detector.forward(network, size)?;
    if options.output != Output::Raw {
        let rows: Vec<Vec<f32>> = (0..n).map(|i| head.decode(&raw.levels, &raw.shapes, i)).collect();
        values[0].expect(&[n, rows[0].len() / head.values(), head.values()])?;
        return Ok((relative(&values[0].data, &rows.concat()), values[0].data.clone()));
    }
    let (mut worst, mut levels) = (0f32, Vec::new());
    for ((value, level), shape) in values.iter().zip(&raw.levels).zip(&raw.shapes) {
        value.expect(&[n, shape.c, shape.h, shape.w])?;
        let found = channels_last(&value.data, *shape);
        worst = worst.max(relative(&found, level));
        levels.push(found);
    }
    let levels: Vec<&[f32]> = levels.iter().map(Vec::as_slice).collect();
    Ok((worst, (0..n).flat_map(|i| head.decode(&levels, &raw.shapes, i)).collect()))
}

/// A tensor of the other engine.
struct Found {
    name: String,
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Found {
    fn expect(&self, shape: &[usize]) -> Result<(), VerifyError> {
        if self.shape == shape {
            return Ok(());
        }
        Err(VerifyError::Shape { name: self.name.clone(), found: self.shape.clone() })
    }
}

fn run(file: &File, inputs: Vec<(&str, ValueView<'_>)>, wanted: &[String]) -> Result<Vec<Found>, VerifyError> {
    let id = |name: &str| file.node_id(name).map_err(engine);
    let inputs = inputs.into_iter().map(|(name, value)| Ok((id(name)?, value.into())));
    let inputs = inputs.collect::<Result<Vec<_>, VerifyError>>()?;
    let outputs = wanted.iter().map(|name| id(name)).collect::<Result<Vec<_>, _>>()?;
    let values = file.run(inputs, &outputs, None).map_err(engine)?;
    let found = |(name, value): (&String, Value)| {
        let maps = name == LETTERBOXED || name.starts_with(RAW);
        let (shape, data) = if maps { dense::<4>(value) } else { dense::<3>(value) }?;
        Ok(Found { name: name.clone(), shape, data })
    };
    wanted.iter().zip(values).map(found).collect()
}

/// Extents and values of floats with so many dimensions.
fn dense<const RANK: usize>(value: Value) -> Result<(Vec<usize>, Vec<f32>), VerifyError> {
    let (shape, data) = value.into_shape_vec::<f32, RANK>().map_err(engine)?;
    Ok((shape.to_vec(), data))
}

/// What `NonMaxSuppression` keeps: (image, class, box) by image, class and falling score.
fn choose(boxes: &Found, scores: &Found, options: &Suppression) -> Vec<i32> {
    let (cells, classes) = (boxes.shape[1], scores.shape[1]);
    let mut kept = Vec::new();
    for (at, scores) in scores.data.chunks_exact(cells.max(1)).enumerate() {
        let (image, class) = (at / classes, at % classes);
        let of = |cell: usize| -> [f32; 4] { std::array::from_fn(|k| boxes.data[(image * cells + cell) * 4 + k]) };
        let mut order: Vec<usize> = (0..cells).filter(|&cell| scores[cell] > options.conf).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut chosen: Vec<usize> = Vec::new();
        for cell in order {
            if chosen.len() < options.max_det && chosen.iter().all(|&better| iou(of(better), of(cell)) <= options.iou) {
                chosen.push(cell);
            }
        }
        kept.extend(chosen.iter().flat_map(|&cell| [image, class, cell].map(|i| i as i32)));
    }
    kept
}

/// Rows of the output to the first empty one.
fn detections(rows: &[f32]) -> Vec<Detection> {
    rows.chunks_exact(COLUMNS)
        .take_while(|row| row[4] != 0.0)
        .map(|row| Detection { xyxy: [row[0], row[1], row[2], row[3]], score: row[4], class: row[5] as usize })
        .collect()
}

/// IoU; boxes with the same corners overlap wholly even where they have hardly any area.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    if a.iter().zip(&b).all(|(a, b)| (a - b).abs() < CORNERS) { 1.0 } else { iou(a, b) }
}

/// Pairs each detection with the nearest one of its class, and notes what is left.
fn pair(case: &mut Case, own: &[Detection], found: &[Detection], s: &Suppression, tie: f32) {
    let mut free: Vec<Option<&Detection>> = found.iter().map(Some).collect();
    let mut alone: Vec<(&Detection, &[Detection])> = Vec::new();
    for detection in own {
        let overlap = |other: &Detection| match other.class == detection.class {
            true => overlap(other.xyxy, detection.xyxy),
            false => 0.0,
        };
        let best = free.iter().enumerate().filter_map(|(i, f)| f.map(|f| (i, overlap(f), f)));
        // Boxes that are clipped to the picture may be the same; then the nearest score decides.
        let apart = |other: &Detection| (other.score - detection.score).abs();
        let nearest = best.max_by(|a, b| a.1.total_cmp(&b.1).then(apart(b.2).total_cmp(&apart(a.2))));
        match nearest.filter(|(_, overlap, _)| *overlap > s.iou) {
            Some((i, overlap, partner)) => {
                // Of two boxes whose scores differ by a rounding, each side may have kept another one.
                if overlap >= OVERLAP || apart(partner) >= tie {
                    case.overlap = case.overlap.min(overlap);
                }
                case.score = case.score.max((partner.score - detection.score).abs());
                free[i] = None;
            }
            None => alone.push((detection, found)),
        }
    }
    alone.extend(free.into_iter().flatten().map(|detection| (detection, own)));
    // Rounding may carry a box over a threshold: the lowest score, the largest overlap, the last place of the list.
    let explained = |(detection, others): &(&Detection, &[Detection])| {
        let near_overlap = |other: &&Detection| {
            (s.agnostic || other.class == detection.class)
                && (iou(other.xyxy, detection.xyxy) - s.iou).abs() < SCORES_APART
        };
        (detection.score - s.conf).abs() < SCORES_APART
            || others.iter().find(near_overlap).is_some()
            || own.len().max(found.len()) == s.max_det
    };
    case.alone += alone.iter().filter(|entry| !explained(entry)).count();
}

/// Difference of two values; a NaN is as far from everything as can be.
fn apart(found: f32, want: f32) -> f32 {
    let difference = (found - want).abs();
    if difference.is_nan() { f32::INFINITY } else { difference }
}

/// Largest difference, relative to the largest value.
fn relative(found: &[f32], want: &[f32]) -> f32 {
    let largest = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    found.iter().zip(want).map(|(&f, &w)| apart(f, w)).fold(0f32, f32::max) / largest
}

/// Grey levels of difference: largest and mean.
fn differences(found: &[f32], want: &[f32]) -> [f32; 2] {
    let levels = || found.iter().zip(want).map(|(&f, &w)| 255.0 * apart(f, w));
    let sum: f64 = levels().map(f64::from).sum();
    [levels().fold(0f32, f32::max), (sum / want.len().max(1) as f64) as f32]
}

/// `[n, pixels, 3]` as `[n, 3, pixels]`.
fn planes(values: &[f32], n: usize) -> Vec<f32> {
    let image = values.len() / n;
    let plane = |image: &'_ [f32], c: usize| image.iter().skip(c).step_by(3).copied().collect::<Vec<f32>>();
    values.chunks_exact(image).flat_map(|image| (0..3).flat_map(move |c| plane(image, c))).collect()
}

/// `[n, 3, pixels]` as `[n, pixels, 3]`.
fn interleaved(values: &[f32], n: usize) -> Vec<f32> {
    let pixels = values.len() / n / 3;
    values.chunks_exact(3 * pixels).flat_map(|i| (0..3 * pixels).map(|at| i[at % 3 * pixels + at / 3])).collect()
}

/// `[n, c, h, w]` as `[n, h, w, c]`.
fn channels_last(values: &[f32], s: Shape) -> Vec<f32> {
    let (pixels, image) = (s.pixels(), s.pixels() * s.c);
    (0..values.len()).map(|at| values[at / image * image + at % s.c * pixels + at % image / s.c]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example boxes of the operator's page: three near 0, two near 10, one at 100.
    fn example(images: usize, classes: usize) -> (Found, Found) {
        let corners = [[0.0, 1.0], [0.1, 1.1], [-0.1, 0.9], [10.0, 11.0], [10.1, 11.1], [100.0, 101.0]];
        let boxes = corners.iter().flat_map(|[from, to]| [0.0, *from, 1.0, *to]).collect::<Vec<f32>>();
        let scores = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3].repeat(images * classes);
        let found = |shape: Vec<usize>, data| Found { name: String::new(), shape, data };
        (found(vec![images, 6, 4], boxes.repeat(images)), found(vec![images, classes, 6], scores))
    }

    #[test]
    fn suppression_gives_the_examples_of_the_specification() {
        let (boxes, scores) = example(1, 1);
        let options = Suppression { conf: 0.0, iou: 0.5, max_det: 3, agnostic: false };
        assert_eq!(choose(&boxes, &scores, &options), [0, 0, 3, 0, 0, 0, 0, 0, 5]);
        assert_eq!(choose(&boxes, &scores, &Suppression { conf: 0.4, ..options }), [0, 0, 3, 0, 0, 0]);
        let options = Suppression { max_det: 2, ..options };
        let (boxes, scores) = example(1, 2);
        assert_eq!(choose(&boxes, &scores, &options), [0, 0, 3, 0, 0, 0, 0, 1, 3, 0, 1, 0]);
        let (boxes, scores) = example(2, 1);
        assert_eq!(choose(&boxes, &scores, &options), [0, 0, 3, 0, 0, 0, 1, 0, 3, 1, 0, 0]);
    }

    #[test]
    fn a_value_that_is_no_number_differs_from_all() {
        assert_eq!(relative(&[1.0, f32::NAN, 2.0], &[1.0, 1.0, 2.0]), f32::INFINITY);
        assert_eq!(relative(&[1.0, 2.5], &[1.0, 2.0]), 0.25);
        // 51 / 255 and 0 levels.
        assert_eq!(differences(&[0.2, 1.0], &[0.4, 1.0]), [51.0, 25.5]);
        assert_eq!(differences(&[f32::NAN, 1.0], &[0.0, 1.0])[0], f32::INFINITY);
    }

    #[test]
    fn boxes_without_a_partner_are_counted_unless_a_threshold_is_near() {
        let detection = |x: f32, score| Detection { xyxy: [x, 0.0, x + 10.0, 10.0], score, class: 0 };
        let s = Suppression::default();
        let with = |own: &[Detection], found: &[Detection], tie: f32| {
            let mut case = Case {
                name: String::new(),
                input: Vec::new(),
                values: 0.0,
                levels: None,
                boxes: own.len(),
                alone: 0,
                overlap: 1.0,
                score: 0.0,
            };
            pair(&mut case, own, found, &s, tie);
            case
        };
        let count = |own: &[Detection], found: &[Detection]| with(own, found, 0.0);
        let (a, b) = (detection(0.0, 0.9), detection(50.0, 0.8));
        assert_eq!(count(&[a, b], &[a, b]).fault(), None);
        assert_eq!(count(&[a, b], &[a]).fault().unwrap(), "1 boxes of 2 have no partner");
        assert_eq!(count(&[a], &[a, b]).alone, 1);
        assert_eq!(count(&[a, detection(50.0, 0.2505)], &[a]).alone, 0);
        // A tenth of a pixel: 9.9 / 10.1.
        let moved = count(&[a], &[detection(0.1, 0.9)]);
        assert_eq!(with(&[a], &[detection(0.1, 0.9)], TIE).fault(), None);
        assert!((moved.overlap - 0.9802).abs() < 1e-4 && moved.fault().unwrap().starts_with("a box overlaps"));
        assert!(count(&[a], &[detection(0.0, 0.89)]).fault().unwrap().starts_with("a score differs by 1.0e-2"));
    }
}
