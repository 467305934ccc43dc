//! The closed list of what a checkpoint may import, and what each becomes here.
//!
//! Nothing is ever called. A class of a model becomes an inert object that keeps its attributes; a few constructors of
//! containers and tensors are followed, since the numbers lie behind them; everything else is refused.

/// The type of a storage's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    F16,
    Bf16,
    F32,
    F64,
    /// Whole numbers or booleans of so many bytes: counters, never weights.
    Whole(usize),
}

impl Dtype {
    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        match self {
            Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
            Dtype::Whole(size) => size,
        }
    }

    /// As people write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Dtype::F16 => "fp16",
            Dtype::Bf16 => "bf16",
            Dtype::F32 => "fp32",
            Dtype::F64 => "fp64",
            Dtype::Whole(_) => "whole numbers",
        }
    }
}

/// What an import becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    /// A mapping.
    Dict,
    /// A set, kept as a list.
    Set,
    /// A storage class.
    Storage(Dtype),
    /// `_rebuild_tensor` and its later versions: a view of a storage.
    RebuildTensor,
    /// A parameter: its tensor.
    RebuildParameter,
    /// The type of a shape: its tuple.
    Size,
    /// `copyreg._reconstructor`: an object of its first argument.
    Reconstructor,
    /// Anything of a model: an object that only keeps what it was given.
    Inert,
}

/// Packages whose classes are parts of models or of the settings beside them.
const INERT_PACKAGES: &[&str] =
    &["models", "utils", "yolov5", "ultralytics", "torch.nn", "torchvision", "timm", "numpy.dtypes"];

/// Single names beside them.
const INERT: &[(&str, &str)] = &[
    ("_codecs", "encode"),
    ("argparse", "Namespace"),
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib", "PureWindowsPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib._local", "WindowsPath"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("__builtin__", "object"),
    ("builtins", "object"),
    ("torch", "device"),
    ("torch", "dtype"),
    ("torch", "float16"),
    ("torch", "bfloat16"),
    ("torch", "float32"),
    ("torch", "float64"),
    ("torch", "int64"),
    ("torch.serialization", "_get_layout"),
];

/// What `module.name` becomes; nothing where it is refused.
pub(super) fn resolve(module: &str, name: &str) -> Option<Global> {
    // Where a module has two spellings, they are those of Python 2 and 3.
    Some(match (module, name) {
        ("collections", "OrderedDict" | "defaultdict") | ("__builtin__" | "builtins", "dict") => Global::Dict,
        ("__builtin__" | "builtins", "set" | "frozenset" | "list") => Global::Set,
        ("copy_reg" | "copyreg", "_reconstructor") => Global::Reconstructor,
        ("torch", "Size") => Global::Size,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::RebuildParameter,
        ("torch" | "torch.storage" | "torch.cuda", _) if name.ends_with("Storage") => Global::Storage(storage(name)?),
        _ if INERT.contains(&(module, name)) => Global::Inert,
        _ if INERT_PACKAGES
            .iter()
            .any(|p| module.strip_prefix(p).is_some_and(|r| r.is_empty() || r.starts_with('.'))) =>
        {
            Global::Inert
        }
        _ => return None,
    })
}

fn storage(name: &str) -> Option<Dtype> {
    Some(match name {
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::Bf16,
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "LongStorage" => Dtype::Whole(8),
        "IntStorage" => Dtype::Whole(4),
        "ShortStorage" => Dtype::Whole(2),
        "CharStorage" | "ByteStorage" | "BoolStorage" | "UntypedStorage" => Dtype::Whole(1),
        _ => return None,
    })
}
