//! What `kinglet bench` measures and how it shows it: times of many runs, memory.
//!
//! Units: milliseconds; MB of 2^20 bytes. A percentile is the smallest time that so many of the runs do not exceed
//! (nearest rank); the median of an even number of runs is the mean of the middle two.

use crate::printer::counted;
use serde_json::json;
use std::time::Duration;

/// Times of one stage over all runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Times {
    ms: Vec<f64>,
}

impl Times {
    /// Adds a run.
    pub fn push(&mut self, time: Duration) {
        self.ms.push(time.as_secs_f64() * 1e3);
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The middle time; 0 where nothing ran.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let n = sorted.len();
        if n == 0 {
            return 0.0;
        }
        (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
    }

    /// The time that 95 of 100 runs do not exceed.
    pub fn p95(&self) -> f64 {
        let sorted = self.sorted();
        let rank = (sorted.len() * 95).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    /// The shortest time.
    pub fn least(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(0.0)
    }

    /// As JSON, with every run.
    pub fn json(&self) -> serde_json::Value {
        let samples: Vec<f64> = self.ms.iter().map(|&ms| rounded(ms)).collect();
        json!({
            "median_ms": rounded(self.median()), "p95_ms": rounded(self.p95()), "min_ms": rounded(self.least()),
            "samples_ms": samples,
        })
    }
}

/// To a tenth of a microsecond: what a clock can tell.
pub(crate) fn rounded(ms: f64) -> f64 {
    (ms * 1e4).round() / 1e4
}

/// Most memory that this process has had, where the system tells.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib / 1024.0 * 10.0).round() / 10.0)
}

/// The machine as this process uses it.
pub(crate) struct Setting {
    /// Threads that compute.
    pub threads: usize,
    /// Instruction set.
    pub isa: &'static str,
    /// Operations a second that a bare multiply-add loop reaches.
    pub peak_flops: f64,
}

/// Repeats of the loop that measures the ceiling: some hundredths of a second.
const PEAK_REPEATS: usize = 5;

impl Setting {
    /// Measures the ceiling.
    pub fn measure() -> Self {
        Setting {
            threads: kinglet_kernels::threads::threads(),
            isa: kinglet_kernels::simd::isa().name(),
            peak_flops: kinglet_kernels::peak::peak_flops(PEAK_REPEATS),
        }
    }

    /// Measures the ceiling once more, after the work: the higher one holds, since other programs can only lower it.
    pub fn measure_again(&mut self) {
        self.peak_flops = self.peak_flops.max(kinglet_kernels::peak::peak_flops(PEAK_REPEATS));
    }

    /// Part of the ceiling that `flops` operations in `ms` milliseconds reach.
    pub fn share(&self, flops: f64, ms: f64) -> f64 {
        if ms > 0.0 { flops / (ms / 1e3) / self.peak_flops } else { 0.0 }
    }

    /// `2 threads, avx2+fma`.
    pub fn words(&self) -> String {
        format!("{}, {}", counted(self.threads, "thread"), self.isa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ms: &[u64]) -> Times {
        let mut times = Times::default();
        ms.iter().for_each(|&ms| times.push(Duration::from_millis(ms)));
        times
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let t = times(&[5, 1, 3]);
        assert_eq!((t.median(), t.p95(), t.least()), (3.0, 5.0, 1.0));
        assert_eq!(times(&[1, 2, 3, 10]).median(), 2.5);
        // Of twenty runs the nineteenth is the 95th percentile.
        let twenty: Vec<u64> = (1..=20).collect();
        assert_eq!(times(&twenty).p95(), 19.0);
        assert_eq!((Times::default().median(), Times::default().p95()), (0.0, 0.0));
    }

    #[test]
    fn a_ceiling_measured_again_is_never_lower() {
        let mut setting = Setting { threads: 1, isa: "scalar", peak_flops: f64::MAX };
        setting.measure_again();
        assert_eq!(setting.peak_flops, f64::MAX);
        setting.peak_flops = 1.0;
        setting.measure_again();
        assert!(setting.peak_flops > 1e6);
    }

    #[test]
    fn a_share_is_work_over_time_over_the_ceiling() {
        let setting = Setting { threads: 1, isa: "scalar", peak_flops: 1e9 };
        // 5 million operations in 10 ms are 0.5 GFLOP/s.
        assert!((setting.share(5e6, 10.0) - 0.5).abs() < 1e-12);
        assert_eq!(setting.share(5e6, 0.0), 0.0);
    }
}
