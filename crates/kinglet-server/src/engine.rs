//! The thread that runs the network: images that arrive together are computed together.
//!
//! Images of one shape make a batch. The thread waits for more only while some are known to be on their way, and never
//! longer than the window.

use crate::metrics::Metrics;
use crate::upload::Wanted;
use kinglet_runtime::{Detector, Fit, Fitted};
use kinglet_vision::{Detection, Image, LETTERBOX_GREY, NmsOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What became of an image.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Best first, in pixels of the image.
    pub detections: Vec<Detection>,
    /// From being ready to being computed.
    pub waited: Duration,
    /// The forward pass of its batch.
    pub inference: Duration,
    /// Images in its batch.
    pub batch: usize,
}

/// An image that is ready, and whoever waits for it.
struct Job {
    image: Fitted<'static>,
    wanted: Arc<Wanted>,
    answer: oneshot::Sender<Answer>,
    ready: Instant,
    /// Its place in the queue, free when it is answered.
    place: OwnedSemaphorePermit,
}

/// The door to the thread.
#[derive(Debug)]
pub(crate) struct Engine {
    jobs: Option<Sender<Job>>,
    coming: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// An image that is being decoded: the thread may wait for it.
#[derive(Debug)]
pub(crate) struct Coming(Arc<AtomicUsize>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Engine {
    /// Starts the thread. It ends when the engine is dropped.
    pub fn start(
        detector: Detector,
        size: [usize; 2],
        max_batch: usize,
        window: Duration,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Engine> {
        let (jobs, queue) = channel();
        let coming = Arc::new(AtomicUsize::new(0));
        let counter = coming.clone();
        let work = move || work(detector, size, &queue, max_batch.max(1), window, &counter, &metrics);
        let thread = std::thread::Builder::new().name("engine".into()).spawn(work)?;
        Ok(Engine { jobs: Some(jobs), coming, thread: Some(thread) })
    }

    /// Announces an image.
    pub fn coming(&self) -> Coming {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Coming(self.coming.clone())
    }

    /// Hands an image in; nothing comes back where the thread has died.
    pub fn detect(
        &self,
        image: Fitted<'static>,
        wanted: Arc<Wanted>,
        place: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let job = Job { image, wanted, answer, ready: Instant::now(), place };
        if let Some(jobs) = &self.jobs {
            // Where it has died, the receiver hears of it.
            let _ = jobs.send(job);
        }
        receiver
    }

    /// Whether the thread lives.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

fn work(
    mut detector: Detector,
    size: [usize; 2],
    queue: &Receiver<Job>,
    max_batch: usize,
    window: Duration,
    coming: &AtomicUsize,
    metrics: &Metrics,
) {
    warm_up(&mut detector, size);
    while let Ok(first) = queue.recv() {
        let mut jobs = gather(first, queue, max_batch, window, coming);
        // Nobody waits for these any more: the client went away, or its time was up.
        jobs.retain(|job| !job.answer.is_closed());
        while let Some(first) = jobs.first() {
            let shape = first.image.shape();
            let (batch, rest) = jobs.into_iter().partition(|job| job.image.shape() == shape);
            jobs = rest;
            detect(&mut detector, batch, metrics);
        }
    }
}

/// Packs the weights, so that the first request need not wait for it.
fn warm_up(detector: &mut Detector, [height, width]: [usize; 2]) {
    let grey = Image::new(width, height, LETTERBOX_GREY);
    // What is wrong with the size is told to the first request.
    let _ = detector.detect(&grey, [height, width], Fit::Full, &NmsOptions::default());
}

/// The first job and those that come with it.
fn gather(first: Job, queue: &Receiver<Job>, max_batch: usize, window: Duration, coming: &AtomicUsize) -> Vec<Job> {
    let deadline = Instant::now() + window;
    let mut jobs = vec![first];
    while jobs.len() < max_batch {
        let left = if coming.load(Ordering::Relaxed) > 0 {
            deadline.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        match queue.recv_timeout(left) {
            Ok(job) => jobs.push(job),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    jobs
}

/// Computes a batch and answers.
fn detect(detector: &mut Detector, batch: Vec<Job>, metrics: &Metrics) {
    let begun = Instant::now();
    let images: Vec<(&Fitted<'_>, &NmsOptions)> = batch.iter().map(|job| (&job.image, &job.wanted.nms)).collect();
    // Sizes were raised to the model's stride before the server began.
    let Ok((found, timing)) = detector.detect_fitted(&images) else { return };
    let waits: Vec<Duration> = batch.iter().map(|job| begun.saturating_duration_since(job.ready)).collect();
    metrics.batch(batch.len(), waits.iter().sum(), &timing);
    let n = batch.len();
    for ((job, mut detections), waited) in batch.into_iter().zip(found).zip(waits) {
        let back =
            |xyxy| if job.wanted.clip { job.image.to_original(xyxy) } else { job.image.to_beyond_original(xyxy) };
        detections.iter_mut().for_each(|d| d.xyxy = back(d.xyxy));
        // Free before the answer is heard: whoever asks again at once must not be refused for the sake of this image.
        drop(job.place);
        // Whoever does not listen any more needs no answer.
        let _ = job.answer.send(Answer { detections, waited, inference: timing.inference, batch: n });
    }
}
