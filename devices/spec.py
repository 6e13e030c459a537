"""What an artifact is: a file format at a precision. A `Spec` is a node of the exporter graph."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from edgewright.errors import BadInput, nearest

E = TypeVar("E", bound=StrEnum)


class Format(StrEnum):
    TORCH = "torch"
    ONNX = "onnx"
    TFLITE = "tflite"
    TFLM = "tflm"  # TFLite restricted to the operators of tflite-micro
    COREML = "coreml"


class Precision(StrEnum):
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"  # weights and activations
    INT8_WEIGHTS = "int8-weights"
    INT8_DYNAMIC = "int8-dynamic"
    INT4_WEIGHTS = "int4-weights"
    PALETTIZED = "palettized"
    SPARSE = "sparse"
    MIXED = "mixed"


SUFFIX = {
    Format.TORCH: ".torch",
    Format.ONNX: ".onnx",
    Format.TFLITE: ".tflite",
    Format.TFLM: ".tflite",
    Format.COREML: ".mlpackage",
}


@dataclass(frozen=True, order=True)
class Spec:
    """A format at a precision; prints and parses as ``tflite:int8``."""

    format: Format
    precision: Precision

    def __str__(self) -> str:
        return f"{self.format.value}:{self.precision.value}"

    @property
    def suffix(self) -> str:
        return SUFFIX[self.format]

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Raises BadInput, naming the nearest known word."""
        format_, _, precision = text.partition(":")
        return cls(_member(Format, format_, text), _member(Precision, precision or "float32", text))


def _member(kind: type[E], word: str, text: str) -> E:
    try:
        return kind(word)
    except ValueError:
        known = [member.value for member in kind]
        raise BadInput(f"{text!r}: unknown {kind.__name__.lower()} {word!r}; {nearest(word, known)}") from None
