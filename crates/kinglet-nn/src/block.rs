//! What a block is, and its entry in the registry.

use crate::recorder::Recorder;
use kinglet_spec::{ArgCursor, BlockKind, Context, Repeats, Shape, SpecErrorKind, Width};
use kinglet_tensor::Var;
use std::any::Any;
use std::marker::PhantomData;

/// A kind of layer that a model file may name. A value of the type is one planned layer: its checked arguments.
pub trait Block: Sized + Send + Sync + 'static {
    /// The name in model files.
    const NAME: &'static str;
    /// Other spellings, such as `nn.Upsample`.
    const ALIASES: &'static [&'static str] = &[];
    /// The arguments after the input channels, with defaults, as shown by `kinglet blocks`.
    const ARGUMENTS: &'static str;
    /// One sentence for `kinglet blocks`.
    const SUMMARY: &'static str;
    /// Whether the width multiple scales the first argument.
    const WIDTH: Width = Width::Scaled;
    /// What a repeat count means.
    const REPEATS: Repeats = Repeats::Stacked;
    /// Whether this is a detection head.
    const HEAD: bool = false;

    /// Reads the arguments and checks them against the shapes of the inputs (of one image); gives the output's shape.
    ///
    /// # Errors
    /// A wrong argument, or inputs that the block cannot take.
    fn plan(args: &mut ArgCursor<'_>, inputs: &[Shape], context: &Context) -> Result<(Self, Shape), SpecErrorKind>;

    /// Records the operations, declaring parameters on the way. Cannot fail: `plan` has accepted the inputs.
    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var;
}

/// The part of a planned block that a model calls.
trait Planned: Send + Sync {
    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var;
}

impl<B: Block> Planned for B {
    fn record(&self, m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
        Block::record(self, m, inputs)
    }
}

/// What `BlockKind::plan` hands through `kinglet-spec`, which does not look inside.
struct Opaque(Box<dyn Planned>);

/// Records a layer planned by [`Entry`].
pub(crate) fn record_planned(planned: &(dyn Any + Send + Sync), m: &mut Recorder<'_>, inputs: &[Var]) -> Var {
    let planned = planned.downcast_ref::<Opaque>().expect("the graph was resolved with this crate's registry");
    planned.0.record(m, inputs)
}

/// A block's entry in the registry.
#[derive(Debug)]
pub struct Entry<B>(PhantomData<fn() -> B>);

impl<B> Entry<B> {
    /// The entry.
    pub const NEW: Self = Entry(PhantomData);
}

impl<B: Block> BlockKind for Entry<B> {
    fn name(&self) -> &'static str {
        B::NAME
    }
    fn aliases(&self) -> &'static [&'static str] {
        B::ALIASES
    }
    fn arguments(&self) -> &'static str {
        B::ARGUMENTS
    }
    fn summary(&self) -> &'static str {
        B::SUMMARY
    }
    fn width(&self) -> Width {
        B::WIDTH
    }
    fn repeats(&self) -> Repeats {
        B::REPEATS
    }
    fn is_head(&self) -> bool {
        B::HEAD
    }
    fn plan(
        &self,
        args: &mut ArgCursor<'_>,
        inputs: &[Shape],
        context: &Context,
    ) -> Result<(Box<dyn Any + Send + Sync>, Shape), SpecErrorKind> {
        let (block, shape) = B::plan(args, inputs, context)?;
        args.finish()?;
        Ok((Box::new(Opaque(Box::new(block))), shape))
    }
}
