"""What a lowering rule sees: coremltools' MIL builder, and the ONNX node that is being lowered."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import UnsupportedOps

if TYPE_CHECKING:
    import onnx_ir as ir

Value = Any
"""An input of a rule: a numpy array when constant, else a MIL Var. coremltools carries no types."""


class MilBuilder:
    """Passed to every rule. `mb` makes operations; `dtype` is the arithmetic of the node that is being lowered."""

    def __init__(self, mb: Any, opset: str) -> None:
        self.mb = mb
        self.opset = opset
        self.node: ir.Node
        self.dtype: type[np.floating[Any]] = np.float32

    def real(self, value: float | NDArray[Any]) -> Any:
        """A number or array as a constant of the node's arithmetic."""
        return np.asarray(value, self.dtype) if np.ndim(value) else self.dtype(value)

    def constant(self, value: Value, what: str) -> NDArray[Any]:
        """The array behind a constant input. Raises UnsupportedOps when it is computed at run time."""
        if isinstance(value, np.ndarray):
            return value
        raise self.refusal(f"its {what} is computed at run time, Core ML wants a constant")

    def integers(self, value: Value, what: str) -> list[int]:
        """A constant input as Python integers."""
        return [int(n) for n in self.constant(value, what).reshape(-1)]

    def refusal(self, reason: str) -> UnsupportedOps:
        """The error to raise when this case of the operator cannot be expressed."""
        return UnsupportedOps("coreml", {self.node.op_type: (reason, [self.node.name or self.node.op_type])})

    def refuse_used_output(self, index: int) -> None:
        """Refuse the node when somebody reads its output at `index`."""
        outputs = self.node.outputs
        if len(outputs) > index and outputs[index].name and (outputs[index].uses() or outputs[index].is_graph_output()):
            raise self.refusal(f"its output {index} is read, Core ML has none")

    def shape(self, index: int = 0) -> list[int]:
        """The static shape of the node's output. Raises UnsupportedOps when the graph does not tell it."""
        output = self.node.outputs[index]
        if output.shape is None or not output.shape.is_static():
            raise self.refusal("the shape of its output is not known beforehand")
        return static_shape(output)

    def is_real(self, value: Value) -> bool:
        """Whether a value holds floating-point numbers."""
        return element_type(value).startswith("float")


def static_shape(value: "ir.Value") -> list[int]:
    """The lengths of a tensor; clean ONNX has no other than static ones. A scalar and an unknown shape are []."""
    return [int(n) for n in value.shape.numpy()] if value.shape is not None and value.shape.is_static() else []


def is_compressed(value: Value) -> bool:
    """Whether a value is a weight that stays compressed in the file (one of MIL's constexpr operations)."""
    operation = getattr(value, "op", None)
    return operation is not None and str(operation.op_type).startswith("constexpr_")


def element_type(value: Value) -> str:
    """numpy's name of a value's element type."""
    if isinstance(value, np.ndarray):
        return str(value.dtype.name)
    from coremltools.converters.mil.mil import types  # type: ignore[import-untyped]

    return str(np.dtype(types.nptype_from_builtin(value.dtype)).name)


def interleaved(begins: Iterable[int], ends: Iterable[int]) -> list[int]:
    """ONNX's [begins…, ends…] padding in MIL's order: begin and end of each dimension in turn."""
    return [n for pair in zip(begins, ends, strict=True) for n in pair]
