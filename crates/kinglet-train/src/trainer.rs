//! The training loop.
//!
//! Source: YOLOv5's recipe (`Recipe::Yolov5`); `Recipe::Kinglet` departs from it in the settings of `Plan`, each explained
//! in `docs/recipe.md`. Everything random derives from (seed, epoch, index), so a run that is killed and resumed ends with
//! the same bits as one that is not.

use crate::TrainError;
use crate::checkpoint::{self, Header, Progress};
use crate::early_stopping::EarlyStopping;
use crate::ema::{Ema, EmaRule};
use crate::events::{BatchDone, EpochDone, Finished, Observer, Started, Validation};
use crate::guard::{self, Divergence, MAX_HALVINGS, Retreat, Symptom};
use crate::hyp::Hyp;
use crate::loss::{Loss, LossOptions};
use crate::multi_scale;
use crate::options::{Recipe, TrainOptions};
use crate::schedule::{MIN_WARMUP_ITERATIONS, NOMINAL_BATCH, Schedule, Warmup, scaled_weight_decay};
use crate::step::{TrainStep, optimiser};
use crate::validate::{nms_options, validate};
use kinglet_data::{
    AugmentParams, Batch, Dataset, Loader, LoaderOptions, Rng, Sample, ScanOptions, Source, Split, autoanchor, weights,
};
use kinglet_nn::{Model, Summary, WeightsFile};
use kinglet_runtime::Detector;
use kinglet_spec::ResolveOptions;
use kinglet_tensor::BATCH_NORM_MOMENTUM;
use kinglet_vision::Detection;
use kinglet_vision::resize::resize_numbers;
use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The settings in which the recipes differ.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Plan {
    /// Images that an optimiser step should see.
    nominal: usize,
    /// The fewest iterations of the warm-up.
    least_warmup: usize,
    /// Factor on the learning rate of weights and normalisation weights, and of biases after the warm-up.
    lr_scale: f64,
    /// How the average forgets.
    ema: EmaRule,
    /// How far BatchNorm's running statistics move towards those of a batch.
    norm_momentum: f32,
}

/// The smallest number of images that an optimiser step of our own recipe sees.
const SMALL_NOMINAL: usize = 16;
/// The momentum of BatchNorm in our own recipe: statistics trail the weights by three batches, and the average of weights and
/// statistics smooths both alike.
const FRESH_NORM_MOMENTUM: f32 = 0.3;

impl Plan {
    fn new(recipe: Recipe, batch: usize, batches: usize, epochs: usize) -> Self {
        match recipe {
            Recipe::Yolov5 => Plan {
                nominal: NOMINAL_BATCH,
                least_warmup: MIN_WARMUP_ITERATIONS,
                lr_scale: 1.0,
                ema: EmaRule::YOLOV5,
                norm_momentum: BATCH_NORM_MOMENTUM,
            },
            Recipe::Kinglet => Plan {
                nominal: batch.max(SMALL_NOMINAL),
                least_warmup: 0,
                lr_scale: (NOMINAL_BATCH as f64 / batch.max(SMALL_NOMINAL) as f64).max(1.0).sqrt(),
                ema: EmaRule::for_steps(batches * epochs),
                norm_momentum: FRESH_NORM_MOMENTUM,
            },
        }
    }
}

/// How the batches of an epoch ended.
enum Outcome {
    Done(EpochEnd),
    Interrupted,
    Diverged(Divergence),
}

/// What is left of an epoch once its batches are done.
struct EpochEnd {
    /// Mean losses: box, objectness, class.
    losses: [f64; 3],
    /// Time over its batches, and the part of it that was spent waiting for data.
    times: [Duration; 2],
    /// Learning rates of the last batch.
    lrs: [f64; 3],
}

/// A training run.
#[derive(Debug)]
pub struct Trainer {
    options: TrainOptions,
    hyp: Hyp,
    plan: Plan,
    step: TrainStep,
    train: Arc<Dataset>,
    val: Option<Loader>,
    loader: Loader,
    detector: Detector,
    stopping: EarlyStopping,
    progress: Progress,
}

fn augmentation(hyp: &Hyp) -> AugmentParams {
    AugmentParams {
        hsv_h: hyp.hsv_h,
        hsv_s: hyp.hsv_s,
        hsv_v: hyp.hsv_v,
        degrees: hyp.degrees,
        translate: hyp.translate,
        scale: hyp.scale,
        shear: hyp.shear,
        perspective: hyp.perspective,
        flipud: hyp.flipud,
        fliplr: hyp.fliplr,
        mosaic: hyp.mosaic,
        mixup: hyp.mixup,
        copy_paste: hyp.copy_paste,
    }
}

impl Trainer {
    /// Reads the data set, builds the model and loads what weights there are.
    ///
    /// # Errors
    /// Whatever is wrong with the settings, the model file, the data or the weights.
    pub fn new(options: TrainOptions, observer: &mut dyn Observer) -> Result<Self, TrainError> {
        Self::build(options, None, observer)
    }

    /// Goes on with a run from its last checkpoint, to `epochs` epochs where that is given. It writes to the folder in which
    /// the checkpoint lies now, not to where the run began: another run may be there.
    ///
    /// # Errors
    /// A checkpoint of a finished run, or one that is damaged.
    pub fn resume(path: &Path, epochs: Option<usize>, observer: &mut dyn Observer) -> Result<Self, TrainError> {
        let file = WeightsFile::load(path)?;
        let header = checkpoint::header(&file, path)?;
        let wrong = |message: &str| TrainError::Checkpoint { path: path.to_owned(), message: message.into() };
        let (Some(mut options), Some(progress)) = (header.options.clone(), &header.progress) else {
            return Err(wrong(
                "holds weights but no training state: it is of a finished run that had stopped early, or not a `last` file. Resume \
                 from another run's weights/last.safetensors, or start a new run from these weights with `kinglet train \
                 --weights`",
            ));
        };
        if let Some(epochs) = epochs.filter(|&e| e != options.epochs) {
            observer.note(&format!(
                "the run goes to {epochs} epochs instead of {}; its schedule stretches with them",
                options.epochs
            ));
            options.epochs = epochs;
        }
        options.dir = checkpoint::run_folder(path);
        if progress.epochs_done >= options.epochs {
            return Err(wrong(&format!(
                "is of a finished run: it has reached epoch {} of {}; give a larger --epochs to go on",
                progress.epochs_done, options.epochs
            )));
        }
        file.check_finite(path)?;
        Self::build(options, Some((path, header, file)), observer)
    }

    /// The settings.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }

    /// The first epoch that is still to do.
    pub fn epochs_done(&self) -> usize {
        self.progress.epochs_done
    }

    fn build(
        mut options: TrainOptions,
        resumed: Option<(&Path, Header, WeightsFile)>,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        let hyp = options.hyperparameters()?;
        if let Some(n) = hyp.anchors {
            options.model_yaml = crate::hyp::with_anchors(&options.model_yaml, n).ok_or_else(|| {
                TrainError::Option(format!(
                    "cannot replace the anchors of `{}`; write `anchors: {n}` there",
                    options.model_file
                ))
            })?;
        }
        if options.epochs == 0 || options.batch == 0 {
            return Err(TrainError::Option(format!(
                "epochs and batch must be at least 1, found {} and {}",
                options.epochs, options.batch
            )));
        }
        let source = Source::open(&options.data)?;
        let train = Arc::new(scan(&source, Split::Train, &options, observer)?);
        let val = if source.has(Split::Val) { Some(scan(&source, Split::Val, &options, observer)?) } else { None };
        let val = val.filter(|v| !v.samples.is_empty());
        if val.is_none() {
            observer.note("there are no validation images: the last weights are saved, nothing tells which are best");
        }
        let resolve = ResolveOptions { nc: Some(train.nc()), image: [options.img; 2], ..Default::default() };
        let mut model = Model::from_yaml(&options.model_yaml, &options.model_file, &resolve)?;
        model.spec.warnings.iter().for_each(|w| observer.note(&w.to_string()));
        model.params.initialise(options.seed);
        let frozen = |name: &str| model.layer_of(name).is_some_and(|layer| options.freeze.contains(&layer));
        let learns: Vec<bool> = model.params.iter().map(|(_, p)| p.kind.learns() && !frozen(&p.name)).collect();
        let nominal = Plan::new(options.recipe, options.batch, 1, 1).nominal;
        let decay = scaled_weight_decay(hyp.weight_decay, options.batch, nominal);
        let optim = optimiser(options.optimizer, &model, hyp.momentum, decay, &learns);
        let base = LoaderOptions::train(options.img, options.batch, augmentation(&hyp), options.seed);
        let (rect, stride) = (options.rect, model.max_stride());
        // Cached pictures cost memory only where there is plenty: the loader decides.
        let usual = LoaderOptions { workers: options.workers, cache_images: true, stride, ..base };
        let loader = Loader::new(train.clone(), LoaderOptions { rect, shuffle: !rect, ..usual });
        let val = val.map(|v| {
            let base = LoaderOptions::val(options.img, options.batch * 2);
            let (workers, promised) = (options.workers, loader.cache_bytes());
            Loader::new(Arc::new(v), LoaderOptions { workers, cache_images: true, promised, stride, ..base })
        });
        let loaders = std::iter::once(&loader).chain(&val);
        loaders.flat_map(Loader::notes).for_each(|n| observer.note(n));
        if resumed.is_none() {
            start_weights(&options, &mut model, &train.names, observer)?;
            if !options.noautoanchor {
                fit_anchors(&mut model, &train, &hyp, options.img, options.seed, observer);
            }
        }
        let progress = Progress {
            epochs_done: 0,
            best_fitness: None,
            best_epoch: 0,
            ema_updates: 0,
            optim_steps: 0,
            last_step: -1,
            balance: Vec::new(),
            halvings: 0,
            class_maps: vec![0.0; train.nc()],
        };
        let plan = Plan::new(options.recipe, options.batch, loader.batches(), options.epochs);
        let head = model.head();
        let loss_options = LossOptions::scaled(&hyp, head.strides.len(), head.nc, options.img);
        let loss = Loss::new(loss_options, head.nc, &head.strides);
        let stopping = EarlyStopping::new(options.patience);
        let ema = Ema::new(model.params.values().to_vec()).with_rule(plan.ema);
        let detector = Detector::new(model.clone());
        let step = TrainStep::new(model, loss, optim, ema).with_norm_momentum(plan.norm_momentum);
        let mut trainer = Trainer { detector, step, options, hyp, plan, train, val, loader, stopping, progress };
        match resumed {
            Some((path, header, file)) => trainer.restore(path, header, &file)?,
            None => trainer.forget_best()?,
        }
        Ok(trainer)
    }

    /// Removes the best weights of an earlier run in this folder: they would be taken for this run's.
    fn forget_best(&self) -> Result<(), TrainError> {
        let path = self.options.dir.join("weights/best.safetensors");
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(TrainError::Io { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Takes over the state of a checkpoint.
    fn restore(&mut self, path: &Path, header: Header, file: &WeightsFile) -> Result<(), TrainError> {
        let damaged = |message: String| TrainError::Checkpoint { path: path.to_owned(), message };
        if header.names != self.train.names {
            return Err(damaged(format!(
                "has the classes {:?}, the data set now has {:?}",
                header.names, self.train.names
            )));
        }
        let step = &mut self.step;
        checkpoint::take_anchors(&mut step.model, &header, path)?;
        let saved =
            header.progress.ok_or_else(|| damaged("lacks the progress of its run: the file is damaged".into()))?;
        let averaged = tensors(file, &step.model, "").map_err(damaged)?;
        let trained = tensors(file, &step.model, "train.").map_err(damaged)?;
        step.model.params.values_mut().iter_mut().zip(&trained).for_each(|(to, from)| to.clone_from(from));
        step.ema = Ema::restore(averaged, saved.ema_updates).with_rule(self.plan.ema);
        step.optim
            .restore(saved.optim_steps, |name| file.tensors.get(&format!("optim.{name}")).map(|t| t.1.as_slice()))?;
        if !saved.balance.is_empty() {
            if saved.balance.len() != step.loss.balance().len() || !saved.balance.iter().all(|b| b.is_finite()) {
                return Err(damaged(format!("has the weights {:?} of its levels: it is damaged", saved.balance)));
            }
            step.loss.set_balance(&saved.balance);
        }
        step.restore_gradients(|name| file.tensors.get(&format!("grad.{name}")).map(|t| t.1.as_slice()));
        self.stopping = match saved.best_fitness {
            Some(best) => EarlyStopping::restore(self.options.patience, best, saved.best_epoch),
            None => EarlyStopping::new(self.options.patience),
        };
        self.detector = Detector::new(step.model.clone());
        self.progress = saved;
        Ok(())
    }

    /// Goes back to the last saved state with half the learning rate.
    ///
    /// # Errors
    /// Where that has been done often enough.
    fn go_back(&mut self, divergence: Divergence, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let halvings = self.progress.halvings + 1;
        if halvings > MAX_HALVINGS {
            return Err(TrainError::Diverged { divergence, halvings: MAX_HALVINGS, lr0: self.hyp.lr0 });
        }
        let path = self.options.dir.join("weights/last.safetensors");
        let file = WeightsFile::load(&path)?;
        let header = checkpoint::header(&file, &path)?;
        self.restore(&path, header, &file)?;
        self.progress.halvings = halvings;
        let (epochs_done, lr) = (self.progress.epochs_done, self.hyp.lr0 * self.lr_share());
        observer.diverged(&Retreat { divergence, epochs_done, lr });
        Ok(())
    }

    /// What is left of the learning rate after it was halved.
    fn lr_share(&self) -> f64 {
        0.5f64.powi(self.progress.halvings as i32)
    }

    /// Trains to the last epoch, or until `stop` is set (checked after each batch) or nothing improves any more.
    ///
    /// # Errors
    /// A disk that is full; numbers that do not stay finite, whatever the learning rate.
    pub fn run(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Finished, TrainError> {
        let weights = self.options.dir.join("weights");
        std::fs::create_dir_all(&weights).map_err(|source| TrainError::Io {
            action: "create",
            path: weights.clone(),
            source,
        })?;
        let (last, best) = (weights.join("last.safetensors"), weights.join("best.safetensors"));
        let batches = self.loader.batches();
        let summary = Summary::new(&self.step.model);
        observer.started(&Started {
            summary: &summary,
            train: &self.train,
            val: self.val.as_ref().map(|l| &**l.dataset()),
            val_batch: self.val.as_ref().map_or(0, |l| l.options().batch),
            img: self.options.img,
            anchors: &self.step.model.anchors,
            epoch: self.progress.epochs_done,
            epochs: self.options.epochs,
            batches,
            threads: kinglet_kernels::threads::threads(),
            isa: kinglet_kernels::simd::isa().name(),
        });
        // The state to go back to.
        self.save(&last, true)?;
        let (start, first) = (Instant::now(), self.progress.epochs_done);
        let mut stopped_early = false;
        let mut interrupted = false;
        let mut times = [Duration::ZERO; 2];
        while self.progress.epochs_done < self.options.epochs && !stopped_early {
            let epoch = self.progress.epochs_done;
            let begun = Instant::now();
            let EpochEnd { losses: train_losses, times: [training, waiting], lrs } =
                match self.epoch(epoch, stop, observer)? {
                    Outcome::Done(end) => end,
                    Outcome::Interrupted => {
                        interrupted = true;
                        break;
                    }
                    Outcome::Diverged(divergence) => {
                        self.go_back(divergence, observer)?;
                        continue;
                    }
                };
            times = [times[0] + training, times[1] + waiting];
            let is_last = epoch + 1 == self.options.epochs;
            let validation = if self.options.noval && !is_last { None } else { self.validate(observer)? };
            let mut is_best = validation.is_none() && self.val.is_none();
            if let Some(v) = &validation {
                let verdict = self.stopping.update(epoch, v.report.fitness());
                (is_best, stopped_early) = (verdict.is_best, verdict.stop);
                self.progress.best_fitness = Some(self.stopping.best_fitness());
                self.progress.best_epoch = self.stopping.best_epoch();
                self.progress.class_maps = vec![v.report.map50_95; self.train.nc()];
                v.report.per_class.iter().for_each(|c| self.progress.class_maps[c.class] = c.ap);
            }
            self.progress.epochs_done = epoch + 1;
            let finished = is_last || stopped_early;
            if !self.options.nosave || finished {
                if is_best {
                    self.save(&best, false)?;
                }
                if self.options.save_period.is_some_and(|n| n > 0 && (epoch + 1).is_multiple_of(n)) {
                    self.save(&weights.join(format!("epoch{epoch}.safetensors")), false)?;
                }
                // With all that a run needs to go on, in case its epochs turn out to be too few.
                self.save(&last, !stopped_early)?;
            }
            observer.epoch(&EpochDone {
                epoch,
                epochs: self.options.epochs,
                train_losses,
                validation,
                lrs,
                is_best,
                elapsed: begun.elapsed(),
            });
        }
        let validation = match (&self.val, interrupted || !best.exists()) {
            (Some(_), false) => Some(self.validate_file(&best, observer)?),
            _ => None,
        };
        Ok(Finished {
            epochs: self.progress.epochs_done - first,
            elapsed: start.elapsed(),
            waiting: times[1].as_secs_f64() / times[0].as_secs_f64().max(f64::MIN_POSITIVE),
            last,
            best,
            best_epoch: self.progress.best_epoch,
            validation,
            stopped_early,
            interrupted,
        })
    }

    /// One pass over the images.
    fn epoch(&mut self, epoch: usize, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let epochs = self.options.epochs;
        let loader = self.loader.clone();
        let batches = loader.batches();
        let schedule = if self.options.cos_lr { Schedule::Cosine } else { Schedule::Linear };
        let factor = schedule.factor(epoch, epochs, self.hyp.lrf) * self.plan.lr_scale;
        let warmup = Warmup::new(&self.hyp, batches, self.options.batch, self.plan.nominal, self.plan.least_warmup);
        let mut losses = [0.0; 3];
        let mut lrs = [0.0; 3];
        let (begun, mut waiting, mut seen) = (Instant::now(), Duration::ZERO, 0);
        let mut iter = loader.epoch(epoch, self.sampling(epoch));
        for index in 0..batches {
            let asked = Instant::now();
            let Some(batch) = iter.next() else { break };
            waiting += asked.elapsed();
            batch.findings.iter().for_each(|f| observer.note(&f.to_string()));
            observer.batch_made(epoch, index, &batch);
            let iteration = index + batches * epoch;
            let rates = warmup.at(iteration, factor);
            lrs = rates.lrs.map(|lr| lr * self.lr_share());
            let diverged = |symptom, place| {
                Ok(Outcome::Diverged(Divergence { epoch: epoch + 1, batch: index + 1, symptom, place }))
            };
            let (images, size) = self.images(epoch, index, &batch);
            let parts = self.step.forward_backward(&images, size, &batch.targets)?;
            let parts = [parts.box_, parts.obj, parts.cls];
            let total = parts.iter().sum::<f64>();
            if !total.is_finite() {
                return diverged(Symptom::Loss(total), guard::place_of_loss(&mut self.step, &images, size));
            }
            if iteration as i64 - self.progress.last_step >= rates.accumulate as i64 {
                if !self.step.update(lrs, rates.momentum).is_finite() {
                    return diverged(Symptom::Gradient, guard::place_of_gradient(&self.step));
                }
                self.progress.last_step = iteration as i64;
            }
            for (mean, part) in losses.iter_mut().zip(parts) {
                *mean = (*mean * index as f64 + part) / (index + 1) as f64;
            }
            seen += batch.n;
            observer.batch(&BatchDone {
                epoch,
                epochs,
                batch: index,
                batches,
                losses,
                instances: batch.targets.len(),
                size: size[1].max(size[2]),
                images_per_second: seen as f64 / begun.elapsed().as_secs_f64(),
                waiting: waiting.as_secs_f64() / begun.elapsed().as_secs_f64(),
                memory: self.step.session().allocated_bytes(),
            });
            if stop.load(Ordering::Relaxed) {
                return Ok(Outcome::Interrupted);
            }
        }
        let times = [begun.elapsed(), waiting];
        let values = [self.step.model.params.values(), self.step.ema.values()];
        if let Some(place) = values.into_iter().find_map(|values| guard::broken_values(&self.step.model, values)) {
            let symptom = Symptom::Weights;
            return Ok(Outcome::Diverged(Divergence { epoch: epoch + 1, batch: batches, symptom, place }));
        }
        Ok(Outcome::Done(EpochEnd { losses, times, lrs }))
    }

    /// The order of the samples, where classes that are badly found are to be drawn more often.
    fn sampling(&self, epoch: usize) -> Option<Vec<usize>> {
        if !self.options.image_weights {
            return None;
        }
        let samples = &self.train.samples;
        let classes = weights::class_weights(samples, self.train.nc());
        let classes = weights::epoch_class_weights(&classes, &self.progress.class_maps);
        let images = weights::image_weights(samples, &classes);
        let mut rng = Rng::for_sample(self.options.seed, epoch, usize::MAX - 1);
        Some(weights::weighted_order(&images, samples.len(), &mut rng))
    }

    /// The pictures of a batch as numbers, and their shape.
    fn images(&self, epoch: usize, index: usize, batch: &Batch) -> (Vec<f32>, [usize; 3]) {
        let (images, size) = (batch.to_f32(), [batch.h, batch.w]);
        if self.options.multi_scale {
            let mut rng = Rng::for_sample(self.options.seed, epoch, usize::MAX - 2 - index);
            let to = multi_scale::draw_size(size, self.options.img, self.step.model.max_stride(), &mut rng);
            if to != size {
                return (resize_numbers(&images, batch.n, size, to), [batch.n, to[0], to[1]]);
            }
        }
        (images, [batch.n, size[0], size[1]])
    }

    fn validate(&mut self, observer: &mut dyn Observer) -> Result<Option<Validation>, TrainError> {
        let Some(loader) = &self.val else { return Ok(None) };
        self.detector.set_values(self.step.ema.values());
        let mut loss = self.step.loss.clone();
        let known = loader.broken().len();
        let hearing = RefCell::new(&mut *observer);
        let progress = &mut |done, all| hearing.borrow_mut().validating(done, all);
        let sink = &mut |sample: &Sample, found: &[Detection]| hearing.borrow_mut().validated(sample, found);
        let validation = validate(&mut self.detector, loader, &nms_options(), Some(&mut loss), progress, sink);
        if known == 0 {
            loader.broken().iter().for_each(|f| observer.note(&f.to_string()));
        }
        validation.map(Some)
    }

    fn validate_file(&mut self, path: &Path, observer: &mut dyn Observer) -> Result<Validation, TrainError> {
        let loaded = checkpoint::load_model(path)?;
        let loader = self.val.as_ref().expect("the caller has seen it");
        let observer = RefCell::new(observer);
        let progress = &mut |done, all| observer.borrow_mut().validating(done, all);
        let sink = &mut |sample: &_, found: &[_]| observer.borrow_mut().detected(sample, found);
        let mut detector = Detector::new(loaded.model);
        validate(&mut detector, loader, &nms_options(), None, progress, sink)
    }

    /// Saves the averaged weights, with all that a run needs to go on where `resumable`.
    fn save(&mut self, path: &Path, resumable: bool) -> Result<(), TrainError> {
        self.progress.ema_updates = self.step.ema.updates();
        self.progress.optim_steps = self.step.optim.steps();
        self.progress.balance = self.step.loss.balance().to_vec();
        let mut file = WeightsFile::default();
        file.insert_model(&self.step.model, "", self.step.ema.values());
        if resumable {
            file.insert_model(&self.step.model, "train.", self.step.model.params.values());
            for (name, values) in self.step.optim.state() {
                file.insert(format!("optim.{name}"), &[values.len()], values);
            }
            // Batches since the last update: the next one counts them.
            for (name, values) in self.step.pending_gradients() {
                file.insert(format!("grad.{name}"), &[values.len()], values);
            }
        }
        checkpoint::set_header(
            &mut file,
            &Header {
                version: checkpoint::VERSION,
                model_yaml: self.options.model_yaml.clone(),
                model_file: self.options.model_file.clone(),
                names: self.train.names.clone(),
                anchors: self.step.model.anchors.clone(),
                img: self.options.img,
                options: Some(self.options.clone()),
                progress: resumable.then(|| self.progress.clone()),
            },
        );
        let bytes = file.to_bytes().expect("shapes agree with values by construction");
        checkpoint::write_atomically(path, &bytes)
    }
}

/// How far a scan is, written by its threads and read by the one that tells the observer.
#[derive(Default)]
struct ScanProgress {
    done: AtomicUsize,
    total: AtomicUsize,
}

impl kinglet_data::Progress for ScanProgress {
    fn advance(&self, done: usize, total: usize) {
        self.done.fetch_max(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
}

/// Scans a split, telling the observer how far it is.
fn scan(
    source: &Source,
    split: Split,
    options: &TrainOptions,
    observer: &mut dyn Observer,
) -> Result<Dataset, TrainError> {
    let scan = ScanOptions { single_cls: options.single_cls, workers: options.workers, ..ScanOptions::default() };
    let progress = ScanProgress::default();
    let dataset = std::thread::scope(|scope| {
        let scanning = scope.spawn(|| Dataset::scan(source.clone(), split, scan, &progress));
        while !scanning.is_finished() {
            let (done, total) = (progress.done.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
            if total > 0 {
                observer.scanning(split.key(), done, total);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        scanning.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    observer.scanned(&dataset);
    Ok(dataset)
}

/// Copies what fits of the weights that the run starts from. `names` are the data set's classes.
fn start_weights(
    options: &TrainOptions,
    model: &mut Model,
    names: &[String],
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let Some(path) = &options.weights else { return Ok(()) };
    let file = WeightsFile::load(path)?;
    file.check_finite(path)?;
    let (header, count) = (checkpoint::header(&file, path), file.tensors.len());
    let transfer = file.transfer(model);
    if let (true, Some((name, found, expected))) = (transfer.by_structure, transfer.mismatched.first()) {
        return Err(TrainError::Checkpoint {
            path: path.clone(),
            message: format!(
                "is of another backbone than `{}`: tensor `{name}` is {found:?}, its place in the model {expected:?}; choose the \
                 model file of the same size, or leave --weights out",
                options.model_file
            ),
        });
    }
    if transfer.loaded.is_empty() {
        return Err(TrainError::Checkpoint {
            path: path.clone(),
            message: format!(
                "is of another model: none of its {} tensors has a name and shape of `{}`; leave --weights out to start from random weights",
                count, options.model_file
            ),
        });
    }
    observer.transferred(path, &transfer);
    let Ok(header) = header else { return Ok(()) };
    if let Some(class) = names.iter().zip(&header.names).position(|(new, old)| new != old)
        && names.len() == header.names.len()
        && names.iter().all(|name| header.names.contains(name))
    {
        observer.note(&format!(
            "the weights number the same classes in another order (class {class} is `{}` there, `{}` in the data set): the head \
             begins with their scores exchanged, and learns the data set's",
            header.names[class], names[class]
        ));
    }
    // The same model file: the weights belong to the anchors they were trained with.
    if header.model_yaml == options.model_yaml {
        checkpoint::take_anchors(model, &header, path)?;
    }
    Ok(())
}

fn tensors(file: &WeightsFile, model: &Model, prefix: &str) -> Result<Vec<Vec<f32>>, String> {
    let one = |name: &str, len: usize| match file.tensors.get(&format!("{prefix}{name}")) {
        Some((_, values)) if values.len() == len => Ok(values.clone()),
        _ => Err(format!("lacks `{prefix}{name}` in the right size: the file is damaged")),
    };
    model.params.iter().map(|(_, p)| one(&p.name, p.len())).collect()
}

/// Replaces the anchors where too many boxes have no fitting one.
fn fit_anchors(model: &mut Model, train: &Dataset, hyp: &Hyp, img: usize, seed: u64, observer: &mut dyn Observer) {
    let mut rng = Rng::for_sample(seed, usize::MAX, 0);
    let sizes = train.box_sizes(img, Some(&mut rng));
    let flat: Vec<[f32; 2]> = model.anchors.iter().flatten().copied().collect();
    if sizes.is_empty() || flat.is_empty() {
        return;
    }
    let fit = autoanchor::check_anchors(&sizes, &flat, hyp.anchor_t);
    let verdict = format!(
        "anchors: {:.1} % of {} boxes have a fitting one ({:.2} anchors a box)",
        fit.bpr * 100.0,
        sizes.len(),
        fit.aat
    );
    if fit.is_good() && !model.spec.placeholder_anchors {
        observer.note(&verdict);
        return;
    }
    let found = autoanchor::kmean_anchors(flat.len(), &train.box_sizes(img, None), hyp.anchor_t, 1000, &mut rng);
    let better = autoanchor::check_anchors(&sizes, &found, hyp.anchor_t);
    if found.len() != flat.len() || (better.bpr <= fit.bpr && !model.spec.placeholder_anchors) {
        observer.note(&format!("{verdict}; anchors computed from the data are no better, the model file's stay"));
        return;
    }
    autoanchor::deal(&found, &model.spec.head_strides, &mut model.anchors);
    observer.note(&format!(
        "{verdict}; computed from the data instead ({:.1} % fit): {:.1?}",
        better.bpr * 100.0,
        model.anchors
    ));
}
