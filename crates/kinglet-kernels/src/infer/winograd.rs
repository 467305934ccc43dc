//! A 3x3 convolution by Winograd's algorithm, between places of the arena.

use std::sync::Arc;

use super::{Place, check_apart};
use crate::conv::gemm::lanes;
use crate::conv::winograd::{self, Maps, WinogradWeights};
use crate::{Activation, ConvShape};

/// A 3x3 convolution for one shape and place.
#[derive(Debug)]
pub struct Winograd {
    inner: winograd::Winograd,
    weights: Arc<WinogradWeights>,
    bias: Arc<[f32]>,
    activation: Activation,
    x: Place,
    y: Place,
    residual: Option<Place>,
    work: usize,
    end: usize,
}

impl Winograd {
    /// Whether this convolution can be done so, and gains by it.
    pub fn suits(s: &ConvShape) -> bool {
        winograd::Winograd::suits(s)
    }

    /// Floats of the work space that it needs in the arena.
    pub fn work_len(s: &ConvShape) -> usize {
        winograd::Winograd::work_len(s)
    }

    /// Prepares the convolution of the map at `x` into `y`. `bias` comes from [`super::padded_bias`]; the work space
    /// of [`Self::work_len`] begins at `work`.
    ///
    /// # Panics
    /// If places or weights do not fit the shape, or input, output and work space overlap.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        s: &ConvShape,
        weights: Arc<WinogradWeights>,
        bias: Arc<[f32]>,
        activation: Activation,
        x: Place,
        y: Place,
        residual: Option<Place>,
        work: usize,
    ) -> Winograd {
        assert!(Winograd::suits(s) && x.c == s.c_in && y.c == s.c_out, "convolution: channels of {s:?}");
        let inner = winograd::Winograd::new(s);
        assert!(weights.fit(s), "weights of another convolution");
        assert_eq!(bias.len(), s.c_out.next_multiple_of(lanes()), "convolution: length of the padded bias");
        let [x_rows, y_rows] = [s.input, s.output].map(|[h, w]| s.batch * h * w);
        check_apart("convolution", &x, x_rows, &y, y_rows);
        let mut end = x.end(x_rows).max(y.end(y_rows));
        if let Some(r) = residual {
            assert!(r == y || r.apart(y_rows, &y, y_rows), "convolution: residual {r:?} and output {y:?} overlap");
            assert_eq!(r.c, y.c, "convolution: channels of the residual");
            end = end.max(r.end(y_rows));
        }
        let len = Winograd::work_len(s);
        if len > 0 {
            let space = Place { at: work, ld: len, c: len };
            let apart = space.apart(1, &x, x_rows) && space.apart(1, &y, y_rows);
            assert!(apart && residual.is_none_or(|r| space.apart(1, &r, y_rows)), "convolution: work space overlaps");
            end = end.max(space.end(1));
        }
        let work = if len > 0 { work } else { 0 };
        Winograd { inner, weights, bias, activation, x, y, residual, work, end }
    }

    /// Computes the output.
    ///
    /// # Panics
    /// If the arena is too short, or the instruction set changed since the weights were packed.
    pub fn run(&self, arena: &mut [f32]) {
        assert!(arena.len() >= self.end, "arena of {} floats instead of {}", arena.len(), self.end);
        let base = arena.as_mut_ptr();
        // SAFETY: `end` covers every place, and `new` has seen to it that they are apart.
        unsafe {
            let maps = Maps {
                x: base.add(self.x.at),
                x_ld: self.x.ld,
                y: base.add(self.y.at),
                y_ld: self.y.ld,
                residual: self.residual.map_or(std::ptr::null(), |r| base.add(r.at).cast_const()),
                r_ld: self.residual.map_or(0, |r| r.ld),
                bias: self.bias.as_ptr(),
                activation: self.activation,
                work: base.add(self.work),
            };
            self.inner.run(self.weights.packed(), &maps);
        }
    }
}
