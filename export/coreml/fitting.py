"""Which nodes a rule takes as they are, by the element types of what they read; the others are decomposed first."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

REAL = ("FLOAT", "FLOAT16")
WHOLE = ("INT32", "INT64")
"""Computed in int32. Smaller integers are held in it as well, but must be cut to size after arithmetic."""


def real(node: "ir.Node") -> bool:
    """The first input is of floats."""
    return _kind(node) in REAL


def numbers(node: "ir.Node") -> bool:
    """The first input is of floats, or of integers that need no cutting to size."""
    return _kind(node) in REAL + WHOLE


def not_small(node: "ir.Node") -> bool:
    """As `numbers`, or of truth."""
    return numbers(node) or _kind(node) == "BOOL"


def _kind(node: "ir.Node") -> str:
    value = node.inputs[0] if node.inputs else None
    return value.dtype.name if value is not None and value.dtype is not None else "FLOAT"
