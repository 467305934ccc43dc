//! Convolutions (placeholder header: written below).

/// The geometry of a two-dimensional convolution, NHWC.
///
/// Weights are in PyTorch's order, `[c_out, c_in / groups, kernel_h, kernel_w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images in the batch.
    pub batch: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Input channels.
    pub c_in: usize,
    /// Output height and width.
    pub output: [usize; 2],
    /// Output channels.
    pub c_out: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Stride along height and width.
    pub stride: [usize; 2],
    /// Zero padding above and left (also below and right).
    pub padding: [usize; 2],
    /// Dilation along height and width.
    pub dilation: [usize; 2],
    /// Groups; `c_in` and `c_out` are multiples of it.
    pub groups: usize,
}
