//! Batches, made by several threads, delivered in order.
//!
//! Shapes: a batch's pixels are `[n, h, w, 3]` bytes (NHWC, RGB); targets are fractions of the batch's picture size.
//! Every sample's randomness comes from (seed, epoch, sample) alone and workers hand in whole numbered batches, so
//! the bytes do not depend on the number of workers. At most `workers + 2` batches exist at a time.

use crate::augment::mosaic::{self, Tile};
use crate::augment::perspective::Perspective;
use crate::augment::{self, AugmentParams, Object, Scene, copy_paste, mixup};
use crate::finding::{Finding, FindingKind, Severity};
use crate::rng::Rng;
use crate::scan::{Dataset, reason, thread_count};
use kinglet_vision::image::{Region, Rows};
use kinglet_vision::{Image, LETTERBOX_GREY, Letterbox, decode};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// How to make batches.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// Picture side in pixels, a multiple of `stride`.
    pub img: usize,
    /// Pictures a batch; the last one may be smaller.
    pub batch: usize,
    /// Training augmentation; `None` for validation.
    pub augment: Option<AugmentParams>,
    /// Rectangular batches: samples sorted by aspect, no mosaic, no shuffling.
    pub rect: bool,
    /// Shapes of rectangular batches are multiples of this.
    pub stride: usize,
    /// Padding of rectangular batches in strides (YOLOv5: 0.5 for validation, 0 for training).
    pub pad: f64,
    /// Another order every epoch (not with `rect`).
    pub shuffle: bool,
    /// The seed of everything random.
    pub seed: u64,
    /// Threads; 0 for as many as the machine has.
    pub workers: usize,
    /// Keep decoded, resized pictures in memory, if they fit into half of what is free.
    pub cache_images: bool,
    /// Bytes of free memory that others will take: [`Loader::cache_bytes`] of a loader made before.
    pub promised: u64,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions {
            img: 640,
            batch: 16,
            augment: None,
            rect: false,
            stride: 32,
            pad: 0.0,
            shuffle: false,
            seed: 0,
            workers: 0,
            cache_images: false,
            promised: 0,
        }
    }
}

impl LoaderOptions {
    /// For training: augmented and shuffled.
    pub fn train(img: usize, batch: usize, params: AugmentParams, seed: u64) -> Self {
        LoaderOptions { img, batch, augment: Some(params), shuffle: true, seed, ..Self::default() }
    }

    /// For validation: rectangular batches with YOLOv5's padding of half a stride.
    pub fn val(img: usize, batch: usize) -> Self {
        LoaderOptions { img, batch, rect: true, pad: 0.5, ..Self::default() }
    }
}

/// One box of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Picture within the batch.
    pub image: usize,
    /// Class number.
    pub class: usize,
    /// Centre and size as fractions of the batch's picture size.
    pub cxcywh: [f32; 4],
}

/// Where a picture came from and how to map boxes back. Meaningful where there was no mosaic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleInfo {
    /// Sample in the data set.
    pub sample: usize,
    /// Original width and height in pixels.
    pub original: (usize, usize),
    /// Picture pixels for an original pixel, in x and y.
    pub gain: [f32; 2],
    /// Where the picture begins, in x and y.
    pub pad: [f32; 2],
}

impl SampleInfo {
    /// A corner-form box of the batch's picture in pixels of the original, clipped to it.
    pub fn to_original(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let (w, h) = (self.original.0 as f32, self.original.1 as f32);
        let x = |v: f32| ((v - self.pad[0]) / self.gain[0]).clamp(0.0, w);
        let y = |v: f32| ((v - self.pad[1]) / self.gain[1]).clamp(0.0, h);
        [x(x1), y(y1), x(x2), y(y2)]
    }
}

/// Pictures and boxes for one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Pixels `[n, h, w, 3]`, RGB.
    pub images: Vec<u8>,
    /// Pictures.
    pub n: usize,
    /// Rows of each.
    pub h: usize,
    /// Columns of each.
    pub w: usize,
    /// Boxes, ordered by picture.
    pub targets: Vec<Target>,
    /// Sample of each picture.
    pub indices: Vec<usize>,
    /// Origin of each picture.
    pub infos: Vec<SampleInfo>,
    /// Pictures that could not be decoded; they are grey and without boxes here. Each is told once in a loader's life.
    pub findings: Vec<Finding>,
}

impl Batch {
    /// Pixels as numbers from 0 to 1, in the order of `images`.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.images.len()];
        self.write_f32(&mut out);
        out
    }

    /// As [`Batch::to_f32`], into a buffer of the caller; only the common length is written.
    pub fn write_f32(&self, out: &mut [f32]) {
        // A division, not a multiplication by 1/255: exactly the value that `x / 255` gives elsewhere.
        for (o, &b) in out.iter_mut().zip(&self.images) {
            *o = f32::from(b) / 255.0;
        }
    }
}

/// Makes batches from a data set, epoch after epoch.
#[derive(Debug, Clone)]
pub struct Loader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dataset: Arc<Dataset>,
    options: LoaderOptions,
    /// Resized pictures, where they fit into memory.
    cache: Option<Vec<OnceLock<Arc<Image>>>>,
    /// What the cache takes once it is full.
    cache_bytes: u64,
    notes: Vec<String>,
    /// Samples that could not be decoded, why, and whether a batch has told it.
    broken: Mutex<BTreeMap<usize, (Finding, bool)>>,
}

/// Free memory in bytes where the system tells: the machine's, or what is left of the container's share.
pub fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let machine = line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024;
    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?.trim().parse().ok()
    };
    let container = number("max").zip(number("current")).map(|(max, current)| max.saturating_sub(current));
    Some(container.map_or(machine, |left| left.min(machine)))
}

/// Width and height of a picture resized so that its long side is `img`.
pub fn resized_size(width: usize, height: usize, img: usize) -> (usize, usize) {
    let ratio = img as f64 / width.max(height).max(1) as f64;
    let side = |v: usize| ((v as f64 * ratio).ceil() as usize).clamp(1, img.max(1));
    (side(width), side(height))
}

/// Rows and columns of a rectangular batch of pictures with these aspects (height / width).
pub fn rect_shape(aspects: &[f64], img: usize, stride: usize, pad: f64) -> [usize; 2] {
    let low = aspects.iter().copied().fold(f64::MAX, f64::min);
    let high = aspects.iter().copied().fold(0.0, f64::max);
    let shape = if high < 1.0 && high > 0.0 {
        [high, 1.0]
    } else if low > 1.0 && low < f64::MAX {
        [1.0, 1.0 / low]
    } else {
        [1.0, 1.0]
    };
    shape.map(|s| ((s * img as f64 / stride as f64 + pad).ceil() as usize).max(1) * stride)
}

impl Loader {
    /// A loader over `dataset`. A batch or stride of 0 counts as 1.
    pub fn new(dataset: Arc<Dataset>, options: LoaderOptions) -> Self {
        let mut options = options;
        options.batch = options.batch.max(1);
        options.stride = options.stride.max(1);
        options.img = options.img.max(1);
        options.workers = thread_count(options.workers);
        let mut notes = Vec::new();
        let (mut cache, mut cache_bytes) = (None, 0);
        if options.cache_images {
            let bytes: u64 = dataset
                .samples
                .iter()
                .map(|s| resized_size(s.width, s.height, options.img))
                .map(|(w, h)| (w * h * 3) as u64)
                .sum();
            match available_memory() {
                Some(free) if bytes.saturating_add(options.promised) > free / 2 => notes.push(format!(
                    "images of `{}` are not cached: they need {} MB{} and {} MB are free (at most half is taken)",
                    dataset.split.key(),
                    bytes >> 20,
                    match options.promised >> 20 {
                        0 => String::new(),
                        promised => format!(" besides {promised} MB for others"),
                    },
                    free >> 20
                )),
                _ => {
                    cache = Some((0..dataset.samples.len()).map(|_| OnceLock::new()).collect());
                    cache_bytes = bytes;
                }
            }
        }
        Loader { inner: Arc::new(Inner { dataset, options, cache, cache_bytes, notes, broken: Mutex::default() }) }
    }

    /// Whether the sample's picture could not be decoded when a batch wanted it.
    pub fn is_broken(&self, sample: usize) -> bool {
        self.inner.broken().contains_key(&sample)
    }

    /// The pictures that could not be decoded so far, in the order of the samples.
    pub fn broken(&self) -> Vec<Finding> {
        self.inner.broken().values().map(|(finding, _)| finding.clone()).collect()
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.inner.dataset
    }

    /// The options in force.
    pub fn options(&self) -> &LoaderOptions {
        &self.inner.options
    }

    /// Bytes that cached pictures take once all are there; 0 where none are cached.
    pub fn cache_bytes(&self) -> u64 {
        self.inner.cache_bytes
    }

    /// Notes for the user, such as a cache that does not fit.
    pub fn notes(&self) -> &[String] {
        &self.inner.notes
    }

    /// Batches of an epoch in its usual order.
    pub fn batches(&self) -> usize {
        self.inner.dataset.samples.len().div_ceil(self.inner.options.batch)
    }

    /// The usual order of the samples in `epoch`.
    pub fn order(&self, epoch: usize) -> Vec<usize> {
        let samples = &self.inner.dataset.samples;
        let mut order: Vec<usize> = (0..samples.len()).collect();
        if self.inner.options.rect {
            // Exact comparison of h1/w1 with h2/w2; equal aspects keep their order.
            order.sort_by_key(|&i| (samples[i].height as u128 * 1_000_000_007) / samples[i].width.max(1) as u128);
        } else if self.inner.options.shuffle {
            // Not a sample number, so the stream is no sample's.
            Rng::for_sample(self.inner.options.seed, epoch, usize::MAX).shuffle(&mut order);
        }
        order
    }

    /// Starts the workers for `epoch`. `order` names the samples instead of the usual order (repeats are fine;
    /// numbers beyond the data set are left out).
    pub fn epoch(&self, epoch: usize, order: Option<Vec<usize>>) -> EpochIter {
        let samples = self.inner.dataset.samples.len();
        let mut order = order.unwrap_or_else(|| self.order(epoch));
        order.retain(|&i| i < samples);
        let total = order.len().div_ceil(self.inner.options.batch);
        let workers = self.inner.options.workers.min(total);
        let shared = Arc::new(Shared {
            state: Mutex::new(State { next: 0, wanted: 0, ready: BTreeMap::new(), stop: false, failed: false }),
            changed: Condvar::new(),
            ahead: workers + 1,
            total,
        });
        let order = Arc::new(order);
        let threads = (0..workers)
            .map(|_| {
                let (inner, shared, order) = (self.inner.clone(), shared.clone(), order.clone());
                std::thread::spawn(move || work(&inner, &shared, &order, epoch))
            })
            .collect();
        EpochIter { inner: self.inner.clone(), shared, threads }
    }

    /// Makes one batch on the calling thread: `position` is its number within the epoch.
    pub fn make_batch(&self, epoch: usize, position: usize, samples: &[usize]) -> Batch {
        let (mut batch, found) = self.inner.make_batch(epoch, position, samples);
        batch.findings = found.into_iter().map(|(_, finding)| finding).collect();
        batch
    }
}

#[derive(Debug)]
struct State {
    next: usize,
    wanted: usize,
    ready: BTreeMap<usize, (Batch, Found)>,
    stop: bool,
    failed: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Batches that may be under way before the one that is wanted next is taken.
    ahead: usize,
    total: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the consumer when a worker dies by a panic, so that it does not wait for ever.
struct FailureGuard<'a>(&'a Shared);

impl Drop for FailureGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().failed = true;
            self.0.changed.notify_all();
        }
    }
}

fn work(inner: &Inner, shared: &Shared, order: &[usize], epoch: usize) {
    let _guard = FailureGuard(shared);
    loop {
        let position = {
            let mut state = shared.lock();
            loop {
                if state.stop || state.next >= shared.total {
                    return;
                }
                if state.next < state.wanted + shared.ahead {
                    break;
                }
                state = shared.wait(state);
            }
            state.next += 1;
            state.next - 1
        };
        let first = position * inner.options.batch;
        let samples = &order[first..(first + inner.options.batch).min(order.len())];
        let batch = inner.make_batch(epoch, position, samples);
        shared.lock().ready.insert(position, batch);
        shared.changed.notify_all();
    }
}

/// The batches of one epoch. Dropping it early stops the workers.
#[derive(Debug)]
pub struct EpochIter {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Iterator for EpochIter {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut state = self.shared.lock();
        if state.wanted >= self.shared.total {
            return None;
        }
        loop {
            let wanted = state.wanted;
            if let Some((mut batch, found)) = state.ready.remove(&wanted) {
                state.wanted += 1;
                self.shared.changed.notify_all();
                drop(state);
                // Here, where batches pass in order: which one tells of a picture must not depend on the threads.
                let news = found.into_iter().filter(|(sample, _)| self.inner.is_news(*sample));
                batch.findings = news.map(|(_, finding)| finding).collect();
                return Some(batch);
            }
            if state.failed {
                // A bug of ours in a worker: pass its panic on rather than end the epoch as if it were over.
                state.stop = true;
                drop(state);
                self.shared.changed.notify_all();
                for thread in self.threads.drain(..) {
                    if let Err(panic) = thread.join() {
                        std::panic::resume_unwind(panic);
                    }
                }
                return None;
            }
            state = self.shared.wait(state);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.shared.total - self.shared.lock().wanted;
        (left, Some(left))
    }
}

impl ExactSizeIterator for EpochIter {}

impl Drop for EpochIter {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A worker's panic after the last batch was taken has nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Samples that could not be decoded, and why.
type Found = Vec<(usize, Finding)>;

struct Made {
    image: Image,
    boxes: Vec<(usize, [f32; 4])>,
    info: SampleInfo,
}

impl Inner {
    fn broken(&self) -> MutexGuard<'_, BTreeMap<usize, (Finding, bool)>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a batch tells of this picture for the first time.
    fn is_news(&self, sample: usize) -> bool {
        self.broken().get_mut(&sample).is_some_and(|(_, told)| !std::mem::replace(told, true))
    }

    /// A batch without its findings, and what was found.
    fn make_batch(&self, epoch: usize, position: usize, samples: &[usize]) -> (Batch, Found) {
        let o = &self.options;
        let [h, w] = if o.rect {
            let aspect = |&i: &usize| self.dataset.samples[i].height as f64 / self.dataset.samples[i].width as f64;
            rect_shape(&samples.iter().map(aspect).collect::<Vec<_>>(), o.img, o.stride, o.pad)
        } else {
            [o.img, o.img]
        };
        let n = samples.len();
        let mut batch = Batch {
            images: Vec::with_capacity(n * h * w * 3),
            n,
            h,
            w,
            targets: Vec::new(),
            indices: samples.to_vec(),
            infos: Vec::with_capacity(n),
            findings: Vec::new(),
        };
        let mut found = Vec::new();
        for (image, &sample) in samples.iter().enumerate() {
            // A weighted order may name a sample twice in an epoch; the position keeps its pictures apart.
            let slot = position * o.batch + image;
            let mut rng = Rng::for_sample(o.seed ^ (slot as u64).rotate_left(32), epoch, sample);
            let made = self.make_sample(sample, [h, w], &mut rng, &mut found);
            batch.images.extend_from_slice(&made.image.data);
            batch.targets.extend(made.boxes.into_iter().map(|(class, cxcywh)| Target { image, class, cxcywh }));
            batch.infos.push(made.info);
        }
        (batch, found)
    }

    /// The picture with its long side at `img`, from the cache or the file, where `region` of it is enough; grey, with a
    /// finding, where that fails.
    fn load(&self, index: usize, region: Option<Region>, findings: &mut Found) -> (Arc<Image>, bool) {
        if let Some(image) = self.cache.as_ref().and_then(|c| c[index].get()) {
            return (image.clone(), true);
        }
        let sample = &self.dataset.samples[index];
        let (w, h) = resized_size(sample.width, sample.height, self.options.img);
        let by_area = self.options.augment.is_none() && w <= sample.width && h <= sample.height;
        // Another time another part of a cached picture is seen.
        let region = region.filter(|_| self.cache.is_none()).unwrap_or_else(|| Region::whole(w, h));
        let image = match decode::read_resized(&sample.path, &decode::Limits::default(), (w, h), by_area, &region) {
            Ok(image) => Arc::new(image),
            Err(error) => {
                let finding = Finding {
                    file: sample.path.clone(),
                    line: None,
                    kind: FindingKind::UnreadableImage,
                    severity: Severity::Dropped,
                    value: reason(error),
                };
                self.broken().entry(index).or_insert_with(|| (finding.clone(), false));
                findings.push((index, finding));
                return (Arc::new(Image::new(w, h, LETTERBOX_GREY)), false);
            }
        };
        if let Some(cache) = &self.cache {
            // Two workers may decode the same picture at once; both results are equal.
            let _ = cache[index].set(image.clone());
        }
        (image, true)
    }

    fn make_sample(&self, index: usize, [h, w]: [usize; 2], rng: &mut Rng, findings: &mut Found) -> Made {
        let sample = &self.dataset.samples[index];
        let info = SampleInfo { sample: index, original: (sample.width, sample.height), gain: [1.0; 2], pad: [0.0; 2] };
        if let Some(params) = &self.options.augment
            && !self.options.rect
            && rng.chance(params.mosaic)
        {
            let mut scene = self.mosaic(index, params, rng, findings);
            if rng.chance(params.mixup) {
                let other = rng.below(self.dataset.samples.len());
                let other = self.mosaic(other, params, rng, findings);
                scene = mixup::mixup(scene, other, rng);
            }
            let (image, boxes) = augment::finish(scene, params, rng);
            return Made { image, boxes, info };
        }

        let (resized, ok) = self.load(index, None, findings);
        let scale_up = self.options.augment.is_some();
        let letterbox = Letterbox::plan(resized.height, resized.width, [h, w], false, scale_up, self.options.stride);
        let image = letterbox.apply(&resized);
        let (new_w, new_h) = (letterbox.new_size.0 as f32, letterbox.new_size.1 as f32);
        let pad = letterbox.pad.map(|p| p as f32);
        let place = |label| Object::place(label, new_w, new_h, pad[0], pad[1]);
        let objects = if ok { sample.labels.iter().map(place).collect() } else { Vec::new() };
        let info = SampleInfo { gain: [new_w / sample.width as f32, new_h / sample.height as f32], pad, ..info };
        let scene = Scene { image, objects };
        match &self.options.augment {
            Some(params) => {
                let warp = Perspective::draw(params, (w, h), (w, h), rng);
                let (image, boxes) = augment::finish(warp.apply(scene, (w, h)), params, rng);
                Made { image, boxes, info }
            }
            None => {
                let boxes = augment::normalise(&scene.objects, w, h);
                Made { image: scene.image, boxes, info }
            }
        }
    }

    /// A mosaic of the sample and three others, copy-pasted and warped to the final size.
    fn mosaic(&self, index: usize, params: &AugmentParams, rng: &mut Rng, findings: &mut Found) -> Scene {
        let size = self.options.img;
        let centre = mosaic::draw_centre(size, rng);
        let mut members: [usize; 4] =
            std::array::from_fn(|i| if i == 0 { index } else { rng.below(self.dataset.samples.len()) });
        rng.shuffle(&mut members);
        let (from, to) = ((2 * size, 2 * size), (size, size));
        // Copy-paste draws before the warp and may mirror anything into view.
        let warp = (params.copy_paste == 0.0).then(|| Perspective::draw(params, from, to, rng));
        let loaded: [(Arc<Image>, bool); 4] = std::array::from_fn(|position| {
            let sample = &self.dataset.samples[members[position]];
            let (w, h) = resized_size(sample.width, sample.height, size);
            let (left, top) = mosaic::corner(position, (w, h), centre);
            let place = [left as f64, top as f64, (left + w as isize) as f64, (top + h as isize) as f64];
            let Some(warp) = warp else { return self.load(members[position], None, findings) };
            let Some([x1, y1, x2, y2]) = warp.seen(place, to) else {
                return (Arc::new(Image::new(w, h, LETTERBOX_GREY)), false);
            };
            let range = |first: f64, last: f64, start: isize, side: usize| {
                let within = |x: f64| (x - start as f64).clamp(0.0, side as f64);
                within(first).floor() as usize..within(last).ceil() as usize
            };
            let region = Region { columns: range(x1, x2, left, w), rows: range(y1, y2, top, h) };
            self.load(members[position], Some(region), findings)
        });
        let tiles: [Tile<'_>; 4] = std::array::from_fn(|i| Tile {
            image: &loaded[i].0,
            labels: if loaded[i].1 { &self.dataset.samples[members[i]].labels } else { &[] },
        });
        let scene = mosaic::compose(tiles, size, centre);
        if let Some(warp) = warp {
            return warp.apply(scene, to);
        }
        let mut scene = Scene { image: scene.image.picture().into_owned(), objects: scene.objects };
        copy_paste::copy_paste(&mut scene, params.copy_paste, rng);
        Perspective::draw(params, from, to, rng).apply(scene, to)
    }
}
