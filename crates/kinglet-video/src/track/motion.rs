//! Where a box will be: a Kalman filter of constant velocity.
//!
//! Source: the filter of DeepSORT (Wojke et al. 2017, arXiv:1703.07402), which ByteTrack uses: the state is centre,
//! aspect ratio, height and their velocities, with deviations in proportion to the height.
//! The motion couples each quantity with its own velocity only, and all noise is independent, so the filter of eight
//! dimensions is four filters of two.   Units: pixels and frames.
//! Oracle: a step worked by hand, and the filter of eight dimensions with full matrices, in the tests below.

use kinglet_vision::{cxcywh_to_xyxy, xyxy_to_cxcywh};

/// Deviation of a position, in heights.
const POSITION: f64 = 1.0 / 20.0;
/// Deviation of a velocity, in heights a frame.
const VELOCITY: f64 = 1.0 / 160.0;
/// Deviation of the aspect ratio, of its velocity, and of its measurement.
const ASPECT: f64 = 1e-2;
const ASPECT_VELOCITY: f64 = 1e-5;
const ASPECT_MEASURED: f64 = 1e-1;
/// A box and a frame have extents above this.
const LEAST: f64 = 1e-3;

/// One quantity, its velocity, and their covariance.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    value: f64,
    velocity: f64,
    /// Variance of the value, covariance, variance of the velocity.
    covariance: [f64; 3],
}

impl Axis {
    fn new(value: f64, deviations: [f64; 2]) -> Self {
        let [value_deviation, velocity_deviation] = deviations;
        let covariance = [value_deviation.powi(2), 0.0, velocity_deviation.powi(2)];
        Axis { value, velocity: 0.0, covariance }
    }

    /// A frame later.
    fn predict(&mut self, noise: [f64; 2]) {
        let [p, c, v] = self.covariance;
        self.value += self.velocity;
        self.covariance = [p + 2.0 * c + v + noise[0].powi(2), c + v, v + noise[1].powi(2)];
    }

    /// After a measurement.
    fn correct(&mut self, measured: f64, noise: f64) {
        let [p, c, v] = self.covariance;
        let gain = [p / (p + noise.powi(2)), c / (p + noise.powi(2))];
        let surprise = measured - self.value;
        self.value += gain[0] * surprise;
        self.velocity += gain[1] * surprise;
        self.covariance = [p - gain[0] * p, c - gain[0] * c, v - gain[1] * c];
    }
}

/// A moving box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Motion {
    /// Centre in x and y, aspect ratio (width by height), height.
    axes: [Axis; 4],
}

impl Motion {
    /// A box at rest.
    pub fn new(xyxy: [f32; 4]) -> Self {
        let measured = measurement(xyxy);
        let height = measured[3];
        let place = [2.0 * POSITION * height, 10.0 * VELOCITY * height];
        let deviations = [place, place, [ASPECT, ASPECT_VELOCITY], place];
        Motion { axes: std::array::from_fn(|i| Axis::new(measured[i], deviations[i])) }
    }

    /// A frame later. The height of what is lost stays, or it would grow or shrink without end.
    pub fn predict(&mut self, is_lost: bool) {
        if is_lost {
            self.axes[3].velocity = 0.0;
        }
        let height = self.axes[3].value;
        let place = [POSITION * height, VELOCITY * height];
        let noise = [place, place, [ASPECT, ASPECT_VELOCITY], place];
        self.axes.iter_mut().zip(noise).for_each(|(axis, noise)| axis.predict(noise));
        self.axes[3].value = self.axes[3].value.max(LEAST);
    }

    /// After the box was seen at `xyxy`.
    pub fn correct(&mut self, xyxy: [f32; 4]) {
        let place = POSITION * self.axes[3].value;
        let noise = [place, place, ASPECT_MEASURED, place];
        let measured = measurement(xyxy);
        for (axis, (measured, noise)) in self.axes.iter_mut().zip(measured.into_iter().zip(noise)) {
            axis.correct(measured, noise);
        }
    }

    /// The box.
    pub fn xyxy(&self) -> [f32; 4] {
        let [x, y, aspect, height] = self.axes.map(|axis| axis.value);
        cxcywh_to_xyxy([x, y, (aspect * height).max(0.0), height].map(|v| v as f32))
    }
}

fn measurement(xyxy: [f32; 4]) -> [f64; 4] {
    let [x, y, w, h] = xyxy_to_cxcywh(xyxy).map(f64::from);
    let h = h.max(LEAST);
    [x, y, w / h, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_agrees_with_one_worked_by_hand() {
        let mut axis = Axis { value: 10.0, velocity: 2.0, covariance: [4.0, 1.0, 1.0] };
        // x = 10 + 2; P = [4 + 2 + 1 + 1, 1 + 1, 1 + 0] with noise of deviation 1 and 0.
        axis.predict([1.0, 0.0]);
        assert_eq!(axis, Axis { value: 12.0, velocity: 2.0, covariance: [8.0, 2.0, 1.0] });
        // S = 8 + 2^2 = 12, K = [2/3, 1/6], surprise 3: x = 14, v = 2.5; P = [8/3, 2/3, 1 - 1/3].
        axis.correct(15.0, 2.0);
        assert!((axis.value - 14.0).abs() < 1e-12 && (axis.velocity - 2.5).abs() < 1e-12, "{axis:?}");
        for (got, want) in axis.covariance.into_iter().zip([8.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]) {
            assert!((got - want).abs() < 1e-12, "{axis:?}");
        }
    }

    type Square = [[f64; 8]; 8];

    fn product(a: &Square, b: &Square) -> Square {
        std::array::from_fn(|i| std::array::from_fn(|j| (0..8).map(|k| a[i][k] * b[k][j]).sum()))
    }

    fn transposed(a: &Square) -> Square {
        std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
    }

    fn diagonal(values: [f64; 8]) -> Square {
        std::array::from_fn(|i| std::array::from_fn(|j| if i == j { values[i] * values[i] } else { 0.0 }))
    }

    /// The inverse of the upper left 4 x 4 block, by Gauss and Jordan.
    fn inverse(mut a: [[f64; 4]; 4]) -> [[f64; 4]; 4] {
        let mut out: [[f64; 4]; 4] = std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))));
        for column in 0..4 {
            let pivot = a[column][column];
            a[column].iter_mut().for_each(|v| *v /= pivot);
            out[column].iter_mut().for_each(|v| *v /= pivot);
            for row in (0..4).filter(|&row| row != column) {
                let factor = a[row][column];
                for k in 0..4 {
                    a[row][k] -= factor * a[column][k];
                    out[row][k] -= factor * out[column][k];
                }
            }
        }
        out
    }

    #[test]
    fn four_filters_of_two_are_the_filter_of_eight() {
        let boxes = [
            [10.0, 20.0, 50.0, 120.0],
            [14.0, 21.0, 55.0, 124.0],
            [17.0, 25.0, 58.0, 122.0],
            [25.0, 24.0, 70.0, 130.0],
        ];
        let mut motion = Motion::new(boxes[0]);
        // The same with full matrices: x (8), P (8 x 8), F = identity with ones where a velocity adds to its value.
        let z = |b: [f32; 4]| {
            let (w, h) = (f64::from(b[2] - b[0]), f64::from(b[3] - b[1]));
            [f64::from(b[0] + b[2]) / 2.0, f64::from(b[1] + b[3]) / 2.0, w / h, h]
        };
        let first = z(boxes[0]);
        let mut x: [f64; 8] = std::array::from_fn(|i| if i < 4 { first[i] } else { 0.0 });
        let h = first[3];
        let (p, v) = (h / 20.0, h / 160.0);
        let mut cov = diagonal([2.0 * p, 2.0 * p, 1e-2, 2.0 * p, 10.0 * v, 10.0 * v, 1e-5, 10.0 * v]);
        let f: Square = std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j || i + 4 == j))));
        for seen in &boxes[1..] {
            motion.predict(false);
            motion.correct(*seen);

            let (p, v) = (x[3] / 20.0, x[3] / 160.0);
            x = std::array::from_fn(|i| (0..8).map(|j| f[i][j] * x[j]).sum());
            cov = product(&product(&f, &cov), &transposed(&f));
            let noise = diagonal([p, p, 1e-2, p, v, v, 1e-5, v]);
            cov = std::array::from_fn(|i| std::array::from_fn(|j| cov[i][j] + noise[i][j]));
            let p = x[3] / 20.0;
            let measured = [p, p, 1e-1, p];
            let s = std::array::from_fn(|i| {
                std::array::from_fn(|j| cov[i][j] + if i == j { measured[i] * measured[i] } else { 0.0 })
            });
            let s_inverse = inverse(s);
            let gain: [[f64; 4]; 8] =
                std::array::from_fn(|i| std::array::from_fn(|j| (0..4).map(|k| cov[i][k] * s_inverse[k][j]).sum()));
            let z = z(*seen);
            let surprise: [f64; 4] = std::array::from_fn(|i| z[i] - x[i]);
            x = std::array::from_fn(|i| x[i] + (0..4).map(|k| gain[i][k] * surprise[k]).sum::<f64>());
            let before = cov;
            cov = std::array::from_fn(|i| {
                std::array::from_fn(|j| before[i][j] - (0..4).map(|k| gain[i][k] * before[k][j]).sum::<f64>())
            });
            for (i, axis) in motion.axes.iter().enumerate() {
                let want = [x[i], x[i + 4], cov[i][i], cov[i][i + 4], cov[i + 4][i + 4]];
                let [pp, pv, vv] = axis.covariance;
                for (got, want) in [axis.value, axis.velocity, pp, pv, vv].into_iter().zip(want) {
                    assert!((got - want).abs() < 1e-9 * want.abs().max(1.0), "axis {i}: {axis:?}, {want}");
                }
            }
        }
    }

    #[test]
    fn a_steady_motion_is_learnt_and_goes_on() {
        let at = |t: f32| [10.0 + 5.0 * t, 20.0 - 2.0 * t, 50.0 + 5.0 * t, 100.0 - 2.0 * t];
        let mut motion = Motion::new(at(0.0));
        for t in 1..30 {
            motion.predict(false);
            motion.correct(at(t as f32));
        }
        (0..5).for_each(|_| motion.predict(true));
        for (got, want) in motion.xyxy().into_iter().zip(at(34.0)) {
            assert!((got - want).abs() < 1.0, "{:?} instead of {:?}", motion.xyxy(), at(34.0));
        }
    }
}
