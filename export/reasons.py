"""Why no file format for devices has an ONNX operator: what `edgewright ops` and refusals say where a rule lacks."""

from collections.abc import Mapping
from types import MappingProxyType

_SEQUENCES = "sequences and optionals cannot be compiled ahead: use tensors of fixed shape"
_TEXT = "strings: prepare text in the app, and give numbers"
_RANDOM = "random numbers: draw them in the app, and make them an input"
_TRAINING = "training: export the network without its loss and optimizer"
_BY_VALUES = "the shape of its output depends on values, which is not known ahead: give constants, or do it in the app"

_BY_REASON: Mapping[str, tuple[str, ...]] = {
    _SEQUENCES: (
        *("ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"),
        *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength"),
        *("SequenceMap", "SplitToSequence"),
    ),
    _TEXT: ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"),
    _RANDOM: ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    _TRAINING: tuple(f"ai.onnx.preview.training::{op}" for op in ("Adagrad", "Adam", "Gradient", "Momentum")),
    _BY_VALUES: ("Compress", "NonMaxSuppression", "NonZero", "Unique"),
    "in training mode it draws random numbers: export the network in evaluation mode": ("Dropout",),
    "no operator reads the bits of one type as another": ("BitCast",),
    "an operator in preview: use Attention": ("ai.onnx.preview::FlexAttention",),
    "an image file is decoded in the app: make the pixels an input": ("ImageDecoder",),
    "only matrices up to 3 × 3 are expanded: compute it in the app": ("Det",),
    "its length, axis, step or window must be constant: fix them in the model": ("DFT", "STFT"),
    "only kernels up to 256 terms, of float32 scales, are computed exactly: quantize with QDQ pairs instead": (
        *("ConvInteger", "QLinearConv"),
    ),
    "regions that are computed choose which windows are pooled: crop in the app": ("MaxRoiPool",),
}

REASONS: Mapping[str, str] = MappingProxyType({op: reason for reason, ops in _BY_REASON.items() for op in ops})
