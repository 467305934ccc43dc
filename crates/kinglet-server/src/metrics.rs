//! Counters in the text format of Prometheus.
//!
//! Source: the exposition format 0.0.4. Units: seconds and bytes, as its conventions ask.

use kinglet_runtime::Timing;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram of request times.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Default, Clone)]
struct Histogram {
    /// Requests no slower than each bound, and those that are slower than all.
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

#[derive(Debug, Default)]
struct Counters {
    /// By method, route and status.
    requests: BTreeMap<(String, String, u16), u64>,
    seconds: BTreeMap<String, Histogram>,
    batches: u64,
    images: u64,
    decode: Duration,
    wait: Duration,
    stages: Timing,
}

/// What the server has done since it began.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counters>);

impl Metrics {
    fn counters(&self) -> MutexGuard<'_, Counters> {
        // Counters are numbers: whatever a panic left there is still a number.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered.
    pub fn request(&self, method: &str, route: &str, status: u16, elapsed: Duration) {
        let mut counters = self.counters();
        *counters.requests.entry((method.to_owned(), route.to_owned(), status)).or_default() += 1;
        let histogram = counters.seconds.entry(route.to_owned()).or_default();
        let seconds = elapsed.as_secs_f64();
        let slot = BOUNDS.iter().position(|&bound| seconds <= bound).unwrap_or(BOUNDS.len());
        histogram.counts[slot] += 1;
        histogram.sum += seconds;
    }

    /// A picture was decoded and resized.
    pub fn decoded(&self, elapsed: Duration) {
        self.counters().decode += elapsed;
    }

    /// A batch was computed; its images have waited so long in all.
    pub fn batch(&self, images: usize, waited: Duration, timing: &Timing) {
        let mut counters = self.counters();
        counters.batches += 1;
        counters.images += images as u64;
        counters.wait += waited;
        counters.stages += *timing;
    }

    /// Seconds that an image needs of the engine, so far.
    pub fn seconds_per_image(&self) -> f64 {
        let counters = self.counters();
        let Timing { preprocess, inference, nms } = counters.stages;
        (preprocess + inference + nms).as_secs_f64() / counters.images.max(1) as f64
    }

    /// The text; `queued` images are in the house, `capacity` fit.
    pub fn render(&self, queued: usize, capacity: usize) -> String {
        let counters = self.counters();
        let mut text = String::new();
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a string cannot fail, here and below.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        };
        head(&mut text, "kinglet_requests_total", "counter", "Requests answered.");
        for ((method, route, status), count) in &counters.requests {
            let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
            let _ = writeln!(text, "kinglet_requests_total{{{labels}}} {count}");
        }
        head(&mut text, "kinglet_request_seconds", "histogram", "Time from a request's head to its answer.");
        for (route, histogram) in &counters.seconds {
            let mut below = 0;
            for (bound, count) in BOUNDS.iter().map(f64::to_string).chain(["+Inf".into()]).zip(histogram.counts) {
                below += count;
                let _ = writeln!(text, "kinglet_request_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {below}");
            }
            let _ = writeln!(text, "kinglet_request_seconds_sum{{route=\"{route}\"}} {}", histogram.sum);
            let _ = writeln!(text, "kinglet_request_seconds_count{{route=\"{route}\"}} {below}");
        }
        let stages = &counters.stages;
        head(&mut text, "kinglet_stage_seconds_total", "counter", "Time of all images in each stage.");
        for (stage, spent) in [
            ("decode", counters.decode),
            ("wait", counters.wait),
            ("preprocess", stages.preprocess),
            ("inference", stages.inference),
            ("nms", stages.nms),
        ] {
            let _ = writeln!(text, "kinglet_stage_seconds_total{{stage=\"{stage}\"}} {}", spent.as_secs_f64());
        }
        for (name, kind, help, value) in [
            ("kinglet_images_total", "counter", "Images detected in.", counters.images),
            (
                "kinglet_batches_total",
                "counter",
                "Batches computed; images by batches is the mean batch.",
                counters.batches,
            ),
            ("kinglet_queue_images", "gauge", "Images received and not yet answered.", queued as u64),
            ("kinglet_queue_capacity", "gauge", "Most images in the queue; more are refused.", capacity as u64),
        ] {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        if let Some(bytes) = resident_bytes() {
            head(&mut text, "process_resident_memory_bytes", "gauge", "Memory of the process.");
            let _ = writeln!(text, "process_resident_memory_bytes {bytes}");
        }
        text
    }
}

/// Memory of this process, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_everything_below_their_bound() {
        let metrics = Metrics::default();
        for ms in [4, 5, 6, 20_000] {
            metrics.request("POST", "/v2/detect", 200, Duration::from_millis(ms));
        }
        let text = metrics.render(3, 32);
        let value = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}\n{text}"));
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        // 4 and 5 ms lie at or below 5 ms, 6 ms below 10 ms, 20 s below infinity only.
        assert_eq!(value("kinglet_request_seconds_bucket{route=\"/v2/detect\",le=\"0.005\"}"), 2.0);
        assert_eq!(value("kinglet_request_seconds_bucket{route=\"/v2/detect\",le=\"0.01\"}"), 3.0);
        assert_eq!(value("kinglet_request_seconds_bucket{route=\"/v2/detect\",le=\"10\"}"), 3.0);
        assert_eq!(value("kinglet_request_seconds_bucket{route=\"/v2/detect\",le=\"+Inf\"}"), 4.0);
        assert_eq!(value("kinglet_request_seconds_count"), 4.0);
        assert!((value("kinglet_request_seconds_sum") - 20.015).abs() < 1e-9);
        assert_eq!(value("kinglet_requests_total{method=\"POST\",route=\"/v2/detect\",status=\"200\"}"), 4.0);
        assert_eq!(value("kinglet_queue_images "), 3.0);
    }
}
