//! The frame of a chart: axes with round numbers, a grid, titles, and a legend.
//!
//! Colours: Okabe and Ito's palette, told apart with any kind of colour vision.   Units: pixels.

use kinglet_vision::text::text_width;

use crate::figure::{Anchor, Figure, Paint};
use crate::table::general;

pub(crate) const SERIES: [[u8; 3]; 7] =
    [[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [213, 94, 0], [86, 180, 233], [110, 100, 90]];
pub(crate) const SMALL: f32 = 17.0;
pub(crate) const TITLE: f32 = 21.0;

/// A colour of the palette, over and over.
pub(crate) fn series(index: usize) -> Paint {
    Paint::Rgb(SERIES[index % SERIES.len()])
}

/// What the numbers of an axis are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Any.
    Plain,
    /// Whole, so that nothing between them is marked.
    Whole,
    /// Powers of two of the values.
    Powers,
}

pub(crate) struct Panel {
    pub(crate) left: f32,
    pub(crate) top: f32,
    pub(crate) width: f32,
    pub(crate) height: f32,
    pub(crate) x: (f64, f64),
    pub(crate) y: (f64, f64),
    pub(crate) scale: [Scale; 2],
}

impl Panel {
    pub(crate) fn place(&self, (x, y): (f64, f64)) -> [f32; 2] {
        let share = |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(-0.01, 1.01) as f32;
        [self.left + share(x, self.x) * self.width, self.top + self.height - share(y, self.y) * self.height]
    }

    /// Grid, numbers and axis titles.
    pub(crate) fn axes(&self, figure: &mut Figure, title: &str, x_title: &str, y_title: &str) {
        let (bottom, right) = (self.top + self.height, self.left + self.width);
        let wide = if self.scale[0] == Scale::Powers { 50 } else { 90 };
        for tick in ticks(self.x, (self.width as usize / wide).max(2), self.scale[0]) {
            let x = self.place((tick, self.y.0))[0].trunc();
            figure.rectangle([x, self.top, x + 1.0, bottom], Paint::Faint);
            figure.text([x, bottom + 14.0], &number(tick, self.scale[0]), SMALL, Anchor::Middle, Paint::Ink);
        }
        for tick in ticks(self.y, (self.height as usize / 50).max(2), self.scale[1]) {
            let y = self.place((self.x.0, tick))[1].trunc();
            figure.rectangle([self.left, y, right, y + 1.0], Paint::Faint);
            figure.text([self.left - 8.0, y], &number(tick, self.scale[1]), SMALL, Anchor::End, Paint::Ink);
        }
        figure.rectangle([self.left, bottom, right, bottom + 1.0], Paint::Ink);
        figure.rectangle([self.left, self.top, self.left + 1.0, bottom], Paint::Ink);
        let middle = self.left + self.width / 2.0;
        figure.text([middle, self.top - 18.0], title, TITLE, Anchor::Middle, Paint::Ink);
        figure.text([middle, bottom + 36.0], x_title, SMALL, Anchor::Middle, Paint::Ink);
        let beside = [(self.left - 58.0).max(10.0), self.top + self.height / 2.0];
        figure.text_upwards(beside, y_title, SMALL, Anchor::Middle, Paint::Ink);
    }

    /// A line; values that are not finite leave a gap, and a value between two gaps is a dot.
    pub(crate) fn line(&self, figure: &mut Figure, points: &[(f64, f64)], thickness: f32, paint: Paint) {
        for part in points.split(|(x, y)| !x.is_finite() || !y.is_finite()) {
            let placed: Vec<[f32; 2]> = part.iter().map(|point| self.place(*point)).collect();
            let thickness = if placed.len() == 1 { 7.0 } else { thickness };
            figure.line(&placed, thickness, paint);
        }
    }
}

fn number(tick: f64, scale: Scale) -> String {
    match scale {
        Scale::Powers => general(tick.exp2(), 5),
        Scale::Plain => general(tick, 4),
        Scale::Whole => format!("{tick:.0}"),
    }
}

/// Round numbers within a range, about `count` of them; three at least where the scale has as many.
fn ticks((one, other): (f64, f64), count: usize, scale: Scale) -> Vec<f64> {
    // An axis may fall.
    let (low, high) = (one.min(other), one.max(other));
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let within = |step: f64| {
        let step = if scale == Scale::Plain { step } else { step.max(1.0) };
        let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
        (first..=last).map(|i| i as f64 * step).collect::<Vec<f64>>()
    };
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let fitting = steps.iter().position(|step| *step >= rough * 0.999).unwrap_or(steps.len() - 1);
    let mut finer = steps[..=fitting].iter().rev().map(|step| within(*step));
    finer.find(|marks| marks.len() >= 3).unwrap_or_else(|| within(steps[0]))
}

/// The range of all finite values, a little widened; never empty.
pub(crate) fn range(values: impl Iterator<Item = f64>, room: f64) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    let spread = if high > low { high - low } else { high.abs().max(1.0) };
    // A single value still needs an axis of some length.
    let room = if high > low { room } else { room.max(0.05) };
    (low - room * spread, high + room * spread)
}

/// Names beside a stroke of their colour, one below the other.
pub(crate) fn legend(figure: &mut Figure, left: f32, top: f32, entries: &[(String, Paint)]) {
    for (i, (name, paint)) in entries.iter().enumerate() {
        let y = top + i as f32 * 24.0 + 10.0;
        figure.rectangle([left, y - 2.0, left + 22.0, y + 2.0], *paint);
        figure.text([left + 30.0, y], name, SMALL, Anchor::Start, Paint::Ink);
    }
}

/// Shortens a name to a width in pixels.
pub(crate) fn fitted(name: &str, width: usize) -> String {
    if text_width(name, SMALL) <= width {
        return name.to_owned();
    }
    let mut short: String = name.to_owned();
    while !short.is_empty() && text_width(&short, SMALL) + text_width("…", SMALL) > width {
        short.pop();
    }
    short + "…"
}

/// White over light to dark blue.
pub(crate) fn heat(share: f64) -> [u8; 3] {
    let stops = [[247.0, 249.0, 252.0], [198.0, 219.0, 239.0], [86.0, 150.0, 205.0], [8.0, 48.0, 107.0]];
    let at = share.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
    let low = (at as usize).min(stops.len() - 2);
    let part = at - low as f64;
    std::array::from_fn(|i| (stops[low][i] * (1.0 - part) + stops[low + 1][i] * part).round_ties_even() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(ticks((0.0, 1.0), 5, Scale::Plain), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks((3.0, 97.0), 5, Scale::Plain), [20.0, 40.0, 60.0, 80.0]);
        for (low, high) in [(0.0, 1e-9), (-5.0, 1e6), (0.013, 0.0131)] {
            let marks = ticks((low, high), 4, Scale::Plain);
            assert!((1..=6).contains(&marks.len()), "{marks:?}");
        }
    }

    #[test]
    fn epochs_are_whole_and_sizes_double() {
        assert_eq!(ticks((0.0, 1.0), 3, Scale::Whole), [0.0, 1.0]);
        assert_eq!(ticks((-0.1, 0.1), 3, Scale::Whole), [0.0]);
        assert_eq!(ticks((1.0, 8.0), 2, Scale::Whole), [2.0, 4.0, 6.0, 8.0]);
        let marks = ticks((1.0, 4.5), 8, Scale::Powers);
        assert_eq!(marks.iter().map(|m| number(*m, Scale::Powers)).collect::<Vec<_>>(), ["2", "4", "8", "16"]);
    }

    #[test]
    fn ranges_of_nothing_and_of_one_value_can_be_drawn() {
        assert_eq!(range([].into_iter(), 0.1), (0.0, 1.0));
        assert_eq!(range([f64::NAN].into_iter(), 0.1), (0.0, 1.0));
        let (low, high) = range([3.0].into_iter(), 0.1);
        assert!(low < 3.0 && high > 3.0);
        let (low, high) = range([0.0].into_iter(), 0.0);
        assert!(low < 0.0 && high > 0.0);
    }
}
