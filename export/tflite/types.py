"""What a rule can say about the element types of a node, before it is lowered."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def computes_in(*names: str) -> "Callable[[ir.Node], bool]":
    """Whether all operands are of these element types (names as in onnx: FLOAT, INT32, …); unknown ones pass."""

    def fits(node: "ir.Node") -> bool:
        return all(value is None or value.dtype is None or value.dtype.name in names for value in node.inputs)

    return fits
