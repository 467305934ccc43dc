//! The one source of randomness of this crate: xoshiro256++ seeded through SplitMix64.
//!
//! Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators" (arXiv:1805.01407); gamma variates by
//! Marsaglia and Tsang (2000). Every stream is derived from explicit numbers (seed, epoch, sample), so results depend
//! neither on the clock nor on how many threads share the work.

/// A small, fast, reproducible generator. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng {
    s: [u64; 4],
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// A stream for `seed`.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Rng { s: std::array::from_fn(|_| split_mix(&mut state)) }
    }

    /// The stream of one sample in one epoch: the same whichever thread draws from it, and in whatever order.
    pub fn for_sample(seed: u64, epoch: usize, index: usize) -> Self {
        let mut state = seed;
        let mut mixed = split_mix(&mut state);
        for part in [epoch as u64, index as u64] {
            let mut next = mixed ^ part.wrapping_mul(0xD6E8_FEB8_6659_FD93);
            mixed = split_mix(&mut next);
        }
        Rng::new(mixed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.s;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // Multiply-shift: the bias of at most n / 2^64 is far below anything these draws decide.
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Standard normal, by the polar method.
    pub fn normal(&mut self) -> f64 {
        loop {
            let (u, v) = (self.uniform(-1.0, 1.0), self.uniform(-1.0, 1.0));
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return u * (-2.0 * s.ln() / s).sqrt();
            }
        }
    }

    /// Gamma with `shape` >= 1 and scale 1.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape.max(1.0) - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Beta(`a`, `b`) for `a`, `b` >= 1.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a), self.gamma(b));
        x / (x + y)
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_outputs_match_the_published_generator() {
        // xoshiro256++ from state {1, 2, 3, 4}: the reference C program's first three outputs.
        let mut rng = Rng { s: [1, 2, 3, 4] };
        assert_eq!([rng.next_u64(), rng.next_u64(), rng.next_u64()], [41943041, 58720359, 3588806011781223]);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::new(7);
        let n = 40_000;
        let moments = |draw: &mut dyn FnMut() -> f64| {
            let xs: Vec<f64> = (0..n).map(|_| draw()).collect();
            let mean = xs.iter().sum::<f64>() / n as f64;
            (mean, xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64)
        };
        let (mean, var) = moments(&mut || rng.unit());
        assert!((mean - 0.5).abs() < 0.01 && (var - 1.0 / 12.0).abs() < 0.005);
        let (mean, var) = moments(&mut || rng.normal());
        assert!(mean.abs() < 0.02 && (var - 1.0).abs() < 0.03);
        // Beta(32, 32): variance 1 / (4 * 65).
        let (mean, var) = moments(&mut || rng.beta(32.0, 32.0));
        assert!((mean - 0.5).abs() < 0.003 && (var - 1.0 / 260.0).abs() < 0.0003);
    }

    #[test]
    fn streams_of_samples_differ_and_repeat() {
        let draw = |e, i| Rng::for_sample(3, e, i).next_u64();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(2, 1));
        assert_ne!(draw(0, 1), draw(0, 2));
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Rng::new(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
