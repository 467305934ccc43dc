//! One process-wide pool of threads that run the tasks of a kernel.
//!
//! A kernel cuts its work into tasks by the problem's size alone and calls [`parallel_for`]; which thread runs a task,
//! and how many there are, never changes a result. Workers spin briefly between calls and then sleep.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle thread spins before it sleeps: longer than the gap between the layers of a network, short enough
/// not to take time from other processes.
const SPIN: Duration = Duration::from_micros(30);

static WANTED: AtomicUsize = AtomicUsize::new(0);

/// Sets how many threads kernels use, the calling thread included. Zero means one for every available processor.
pub fn set_threads(n: usize) {
    WANTED.store(n, Ordering::Relaxed);
}

/// How many threads kernels use, the calling thread included.
pub fn threads() -> usize {
    static DEFAULT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    match WANTED.load(Ordering::Relaxed) {
        0 => *DEFAULT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from)),
        n => n,
    }
}

/// A pointer that tasks may share. Each task must write to its own places only.
#[derive(Debug)]
pub struct SendPtr<T>(pub *mut T);

impl<T> Clone for SendPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SendPtr<T> {}
// SAFETY: the holder dereferences it in `unsafe` code, which answers for disjoint access.
unsafe impl<T: Send> Send for SendPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SendPtr<T> {}

impl<T> SendPtr<T> {
    /// The pointer. A method, so that a closure captures the whole wrapper.
    pub fn get(self) -> *mut T {
        self.0
    }
}

/// What one call of [`parallel_for`] shares with the workers; it lives on the caller's stack.
struct Job<'a> {
    run: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    /// Runs tasks until none is left. A panic ends the job early and is kept for the caller.
    fn work(&self) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= self.tasks {
                    break;
                }
                (self.run)(task);
            }
        }));
        if let Err(payload) = result {
            self.next.store(self.tasks, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(payload);
        }
    }
}

/// A pointer to the caller's [`Job`] with its lifetime erased.
#[derive(Clone, Copy)]
struct JobPtr(*const Job<'static>);
// SAFETY: `Job` is only used through shared references and its parts are `Sync`; the caller keeps it alive while
// any worker is inside.
unsafe impl Send for JobPtr {}

struct Slot {
    job: Option<JobPtr>,
    /// Workers that may still enter the job.
    seats: usize,
    /// Workers asleep on `wake`.
    sleeping: usize,
    /// Workers started so far.
    workers: usize,
}

struct Pool {
    /// Held by the caller whose job is running.
    busy: Mutex<()>,
    slot: Mutex<Slot>,
    /// Counts jobs; a change tells workers to look at the slot.
    generation: AtomicUsize,
    /// Workers inside the job. Raised under `slot`.
    active: AtomicUsize,
    wake: Condvar,
    done: Condvar,
}

static POOL: Pool = Pool {
    busy: Mutex::new(()),
    slot: Mutex::new(Slot { job: None, seats: 0, sleeping: 0, workers: 0 }),
    generation: AtomicUsize::new(0),
    active: AtomicUsize::new(0),
    wake: Condvar::new(),
    done: Condvar::new(),
};

thread_local! {
    /// Whether this thread is inside a task.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spins until `ready` or [`SPIN`] has passed; says whether it became ready.
fn spin(ready: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..32 {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return false;
        }
    }
}

fn worker() {
    INSIDE.set(true);
    // Zero, not the present count: the job that this worker was started for may already be posted.
    let mut seen = 0;
    loop {
        if !spin(|| POOL.generation.load(Ordering::Acquire) != seen) {
            let mut slot = lock(&POOL.slot);
            while POOL.generation.load(Ordering::Acquire) == seen {
                slot.sleeping += 1;
                slot = POOL.wake.wait(slot).unwrap_or_else(PoisonError::into_inner);
                slot.sleeping -= 1;
            }
        }
        let mut slot = lock(&POOL.slot);
        seen = POOL.generation.load(Ordering::Acquire);
        let Some(job) = slot.job.filter(|_| slot.seats > 0) else { continue };
        slot.seats -= 1;
        POOL.active.fetch_add(1, Ordering::Relaxed);
        drop(slot);
        // SAFETY: the caller removes the job from the slot and waits for `active` to be zero before it returns.
        unsafe { &*job.0 }.work();
        if POOL.active.fetch_sub(1, Ordering::Release) == 1 {
            let _slot = lock(&POOL.slot);
            POOL.done.notify_one();
        }
    }
}

/// Runs `f(0)`, ..., `f(tasks - 1)`, each once, on this thread and the pool's; returns when all are done.
///
/// A call from inside a task, or while another thread's call is running, runs its tasks in order on its own thread.
///
/// # Panics
/// With the payload of a task that panicked.
pub fn parallel_for(tasks: usize, f: impl Fn(usize) + Sync) {
    let helpers = threads().min(tasks).saturating_sub(1);
    let busy = if helpers == 0 || INSIDE.get() { None } else { try_busy() };
    let Some(busy) = busy else {
        (0..tasks).for_each(f);
        return;
    };
    let job = Job { run: &f, tasks, next: AtomicUsize::new(0), panic: Mutex::new(None) };
    {
        let mut slot = lock(&POOL.slot);
        while slot.workers < helpers {
            let name = format!("kinglet-{}", slot.workers + 1);
            // Fewer threads than asked for are enough: the caller works too.
            if std::thread::Builder::new().name(name).spawn(worker).is_err() {
                break;
            }
            slot.workers += 1;
        }
        slot.job = Some(JobPtr((&raw const job).cast()));
        slot.seats = helpers;
        POOL.generation.fetch_add(1, Ordering::Release);
        if slot.sleeping > 0 {
            POOL.wake.notify_all();
        }
    }
    INSIDE.set(true);
    job.work();
    INSIDE.set(false);
    lock(&POOL.slot).job = None;
    let idle = || POOL.active.load(Ordering::Acquire) == 0;
    if !spin(idle) {
        let mut slot = lock(&POOL.slot);
        while !idle() {
            slot = POOL.done.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
    drop(busy);
    let payload = lock(&job.panic).take();
    if let Some(payload) = payload {
        resume_unwind(payload);
    }
}

fn try_busy() -> Option<MutexGuard<'static, ()>> {
    match POOL.busy.try_lock() {
        Ok(guard) => Some(guard),
        Err(std::sync::TryLockError::Poisoned(e)) => Some(e.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => None,
    }
}

/// Calls `f(i, part)` for the `i`-th part of `chunk` elements of `data` (the last may be shorter), in parallel.
///
/// # Panics
/// If `chunk` is zero while `data` is not empty, or with a task's panic.
pub fn parallel_chunks_mut<T: Send>(data: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let len = data.len();
    if len == 0 {
        return;
    }
    assert!(chunk > 0, "chunk must be positive");
    let base = SendPtr(data.as_mut_ptr());
    parallel_for(len.div_ceil(chunk), |i| {
        let start = i * chunk;
        // SAFETY: the ranges of different tasks do not overlap and lie inside `data`, which is borrowed mutably.
        let part = unsafe { std::slice::from_raw_parts_mut(base.get().add(start), chunk.min(len - start)) };
        f(i, part);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for tasks in [0, 1, 2, 3, 100, 1000] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            parallel_for(tasks, |i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn nested_and_concurrent_calls_finish() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let total = AtomicUsize::new(0);
                        parallel_for(8, |i| {
                            parallel_for(4, |j| {
                                total.fetch_add(i * 4 + j, Ordering::Relaxed);
                            });
                        });
                        assert_eq!(total.load(Ordering::Relaxed), 31 * 32 / 2);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let caught = catch_unwind(|| parallel_for(64, |i| assert!(i != 40, "task forty")));
        let payload = caught.expect_err("the panic must propagate");
        let text =
            payload.downcast_ref::<&str>().map(ToString::to_string).or(payload.downcast_ref::<String>().cloned());
        assert!(text.is_some_and(|t| t.contains("task forty")));
        every_task_runs_once();
    }

    #[test]
    fn chunks_cover_the_slice() {
        let mut data = vec![0usize; 1003];
        parallel_chunks_mut(&mut data, 10, |i, part| part.iter_mut().enumerate().for_each(|(j, v)| *v = i * 10 + j));
        assert!(data.iter().enumerate().all(|(i, &v)| i == v));
    }
}
