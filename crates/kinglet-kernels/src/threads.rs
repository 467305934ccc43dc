//! One process-wide pool of threads that run the tasks of a kernel.
//!
//! A kernel cuts its work into tasks by the problem's size alone and calls [`parallel_for`]; which thread runs a task,
//! and how many there are, never changes a result. Workers spin briefly between calls and then sleep.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle thread spins before it sleeps: longer than nearly all gaps between the layers of a network, short
/// enough not to take time from other processes. Waking a sleeper takes 25 us on a virtual machine; with 30 us to spin, a
/// training step slept 220 times.
const SPIN: Duration = Duration::from_micros(500);
/// More threads than this are not used.
const MOST_THREADS: usize = 1 << 15;
/// More shares than this are not made of a job: further threads begin where others do.
const MOST_SHARES: usize = 16;

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

/// Neighbouring tasks that a thread begins with. On cache lines of its own, and their neighbours.
#[derive(Default)]
#[repr(align(128))]
struct Share {
    next: AtomicUsize,
    end: usize,
}

/// What one call of [`parallel_for`] shares with the workers; it lives on the caller's stack.
///
/// Neighbouring tasks mostly write neighbouring memory, down to parts of one cache line, and read the same inputs. So
/// threads begin far apart, at the same part of every job, and take from each other's share only at the end.
struct Job<'a> {
    run: &'a (dyn Fn(usize) + Sync),
    shares: [Share; MOST_SHARES],
    count: usize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<'a> Job<'a> {
    /// `tasks` in as many shares as there are threads.
    fn new(run: &'a (dyn Fn(usize) + Sync), tasks: usize, threads: usize) -> Job<'a> {
        let count = threads.clamp(1, MOST_SHARES);
        let mut shares: [Share; MOST_SHARES] = Default::default();
        let mut next = 0;
        for (i, share) in shares[..count].iter_mut().enumerate() {
            let end = next + (tasks - next) / (count - i);
            *share = Share { next: AtomicUsize::new(next), end };
            next = end;
        }
        Job { run, shares, count, panic: Mutex::new(None) }
    }

    /// Runs tasks until none is left, those of share `first` before those of others. A panic ends the job early and is
    /// kept for the caller.
    fn work(&self, first: usize) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            for i in 0..self.count {
                let share = &self.shares[(first + i) % self.count];
                loop {
                    let task = share.next.fetch_add(1, Ordering::Relaxed);
                    if task >= share.end {
                        break;
                    }
                    (self.run)(task);
                }
            }
        }));
        if let Err(payload) = result {
            self.shares.iter().for_each(|share| share.next.store(share.end, Ordering::Relaxed));
            lock(&self.panic).get_or_insert(payload);
        }
    }
}

/// A place to wait for something that another thread brings about, and says so.
struct Bell {
    sleepers: AtomicUsize,
    mutex: Mutex<()>,
    condvar: Condvar,
}

impl Bell {
    const fn new() -> Bell {
        Bell { sleepers: AtomicUsize::new(0), mutex: Mutex::new(()), condvar: Condvar::new() }
    }

    /// Returns once `ready`; spins for [`SPIN`], then sleeps. `ready` loads sequentially consistently, as what it loads
    /// is stored before [`ring`](Bell::ring): a sleeper that is not counted yet then sees it.
    fn wait(&self, ready: impl Fn() -> bool) {
        if spin(&ready) {
            return;
        }
        let mut guard = lock(&self.mutex);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !ready() {
            guard = self.condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes who sleeps. Costs nothing where nobody does.
    fn ring(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Whoever is counted has either seen what happened, or is asleep once this has the mutex.
            drop(lock(&self.mutex));
            self.condvar.notify_all();
        }
    }
}

/// What workers see of the job: its number in the upper half, then how many workers may still enter it, and how many
/// are inside, 16 bits each. One word, so that entering is one exchange.
struct Ticket(AtomicU64);

impl Ticket {
    const JOB: u64 = 1 << 32;
    const SEAT: u64 = 1 << 16;
    const INSIDE: u64 = 1;

    fn load(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn job(ticket: u64) -> u64 {
        ticket / Self::JOB
    }

    fn seats(ticket: u64) -> u64 {
        ticket % Self::JOB / Self::SEAT
    }

    fn inside(ticket: u64) -> u64 {
        ticket % Self::SEAT
    }

    /// Posts the next job, for this many workers. Nobody is inside the last one.
    fn post(&self, seats: usize) {
        let next = Self::job(self.load()).wrapping_add(1).wrapping_mul(Self::JOB);
        self.0.store(next + seats as u64 * Self::SEAT, Ordering::SeqCst);
    }

    /// The job's number, and whether the calling worker is inside now.
    fn enter(&self) -> (u64, bool) {
        let enter = |ticket| (Self::seats(ticket) > 0).then_some(ticket - Self::SEAT + Self::INSIDE);
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter) {
            Ok(ticket) => (Self::job(ticket), true),
            Err(ticket) => (Self::job(ticket), false),
        }
    }

    /// Leaves; says whether nobody is inside any more.
    fn leave(&self) -> bool {
        Self::inside(self.0.fetch_sub(Self::INSIDE, Ordering::SeqCst)) == 1
    }

    /// Lets no further worker in.
    fn close(&self) {
        let seats = Self::JOB - Self::SEAT;
        self.0.fetch_and(!seats, Ordering::SeqCst);
    }
}

struct Pool {
    /// How many workers have been started. Held by the caller whose job is running.
    workers: Mutex<usize>,
    /// The job: what it points to lives while `ticket` has seats or somebody inside.
    job: AtomicPtr<Job<'static>>,
    ticket: Ticket,
    posted: Bell,
    done: Bell,
}

static POOL: Pool = Pool {
    workers: Mutex::new(0),
    job: AtomicPtr::new(std::ptr::null_mut()),
    ticket: Ticket(AtomicU64::new(0)),
    posted: Bell::new(),
    done: Bell::new(),
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

/// The worker that begins with this share.
fn worker(share: usize) {
    INSIDE.set(true);
    // Zero, not the present job: the one that this worker was started for may already be posted.
    let mut seen = 0;
    loop {
        POOL.posted.wait(|| Ticket::job(POOL.ticket.load()) != seen);
        let (job, inside) = POOL.ticket.enter();
        seen = job;
        if !inside {
            continue;
        }
        // SAFETY: the caller waits until nobody is inside before it returns.
        unsafe { &*POOL.job.load(Ordering::Relaxed) }.work(share);
        if POOL.ticket.leave() {
            POOL.done.ring();
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
    let helpers = threads().min(tasks).min(MOST_THREADS).saturating_sub(1);
    let workers = if helpers == 0 || INSIDE.get() { None } else { try_lock(&POOL.workers) };
    let Some(mut workers) = workers else {
        (0..tasks).for_each(f);
        return;
    };
    while *workers < helpers {
        let share = *workers + 1;
        // Fewer threads than asked for are enough: the caller works too.
        if std::thread::Builder::new().name(format!("kinglet-{share}")).spawn(move || worker(share)).is_err() {
            break;
        }
        *workers += 1;
    }
    let job = Job::new(&f, tasks, helpers + 1);
    POOL.job.store((&raw const job).cast_mut().cast(), Ordering::Relaxed);
    POOL.ticket.post(helpers);
    POOL.posted.ring();
    INSIDE.set(true);
    job.work(0);
    INSIDE.set(false);
    POOL.ticket.close();
    POOL.done.wait(|| Ticket::inside(POOL.ticket.load()) == 0);
    drop(workers);
    let payload = lock(&job.panic).take();
    if let Some(payload) = payload {
        resume_unwind(payload);
    }
}

/// Wakes workers that sleep, so that they are at hand for work that comes within half a millisecond.
pub fn wake() {
    parallel_for(threads(), |_| {});
}

/// How many times as long threads take as if they shared the work evenly: `whole` tasks of one length, then one of
/// `last` of it, or none. The mean for two and four threads; no result depends on it.
pub(crate) fn imbalance(whole: usize, last: f64) -> f64 {
    let of = |threads: usize| {
        // The shorter task goes to a thread that has one less.
        let ahead = if whole.is_multiple_of(threads) { last } else { 1.0 };
        ((whole / threads) as f64 + ahead) * threads as f64 / (whole as f64 + last)
    };
    f64::midpoint(of(2), of(4))
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
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
    fn a_thread_begins_with_its_share_and_goes_on_with_those_of_others() {
        let seen = Mutex::new(Vec::new());
        let run = |task: usize| lock(&seen).push(task);
        let order = |tasks, threads, first| {
            Job::new(&run, tasks, threads).work(first);
            std::mem::take(&mut *lock(&seen))
        };
        assert_eq!(order(5, 2, 0), [0, 1, 2, 3, 4]);
        assert_eq!(order(5, 2, 1), [2, 3, 4, 0, 1]);
        assert_eq!(order(7, 3, 1), [2, 3, 4, 5, 6, 0, 1]);
        // More threads than tasks, or than shares; a worker beyond the threads of this call.
        for (tasks, threads, first) in [(2, 4, 3), (0, 2, 1), (100, 40, 39), (9, 2, 5)] {
            let mut all = order(tasks, threads, first);
            all.sort_unstable();
            assert_eq!(all, (0..tasks).collect::<Vec<_>>(), "{tasks} tasks, {threads} threads, from {first}");
        }
    }

    #[test]
    fn imbalance_is_that_of_the_thread_that_ends_last() {
        let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-12, "{got} instead of {want}");
        close(imbalance(8, 0.0), 1.0);
        // Nine tasks: two threads take 5 of 4.5, four take 3 of 2.25.
        close(imbalance(9, 0.0), f64::midpoint(5.0 / 4.5, 3.0 / 2.25));
        // Seven and a half one: 4 of 3.75, and 2 of 1.875.
        close(imbalance(7, 0.5), f64::midpoint(4.0 / 3.75, 2.0 / 1.875));
        // Four and a quarter one: 2.25 of 2.125, and 1.25 of 1.0625.
        close(imbalance(4, 0.25), f64::midpoint(2.25 / 2.125, 1.25 / 1.0625));
    }

    #[test]
    fn who_fell_asleep_is_woken() {
        // Workers sleep before each call, and the caller at the end of it, whichever task it takes.
        for _ in 0..20 {
            std::thread::sleep(2 * SPIN);
            let done = AtomicUsize::new(0);
            parallel_for(2, |i| {
                std::thread::sleep(2 * SPIN * (1 + 3 * i as u32));
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.load(Ordering::Relaxed), 2);
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
