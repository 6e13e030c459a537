"""What a lowering rule sees: coremltools' MIL builder, and the ONNX node that is being lowered."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import UnsupportedOps

if TYPE_CHECKING:
    import onnx_ir as ir

Value = Any
"""An input of a rule: a numpy array when constant, else a MIL Var. coremltools carries no types."""

CODES = ("int8", "uint8")
"""Element types of a Var that quantize gave. Any other integers, of whatever size in ONNX, are int32."""


class MilBuilder:
    """Passed to every rule. `mb` makes operations; `dtype` is the arithmetic of the node that is being lowered."""

    def __init__(self, mb: Any, opset: str) -> None:
        self.mb = mb
        self.opset = opset
        self.node: ir.Node
        self.dtype: type[np.floating[Any]] = np.float32
        self.inner: Callable[[ir.Graph, Sequence[Value]], list[Value]]

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

    def number(self, value: Value) -> Value:
        """Truth as int32, for operations that know numbers only; anything else as it is."""
        if element_type(value) != "bool":
            return value
        return value.astype(np.int32) if isinstance(value, np.ndarray) else self.mb.cast(x=value, dtype="int32")

    def typed(self, result: Value, like: Value) -> Value:
        """The result on `number(like)`, as truth again if `like` is truth."""
        if element_type(like) != "bool" or element_type(result) == "bool":
            return result
        return self.mb.not_equal(x=result, y=np.int32(0))

    def chosen(self, condition: Value, x: Value, y: Value) -> Value:
        """Where `condition`, `x`, else `y`, broadcast: MIL infers what the shapes of `x` and `y` alone would give."""
        shapes = [np.shape(value) if _is_constant(value) else tuple(value.shape) for value in (condition, x, y)]
        shape = np.broadcast_shapes(*shapes)
        if np.broadcast_shapes(*shapes[1:]) != shape:
            x = self.expanded(x, shape)
        return self.mb.select(cond=condition, a=x, b=y)

    def expanded(self, x: Value, shape: Sequence[int]) -> Value:
        """`x` repeated along axes of length 1, and along new ones in front."""
        if _is_constant(x):
            return np.array(np.broadcast_to(x, shape))
        before = [1] * (len(shape) - len(x.shape)) + list(x.shape)
        aligned = x if list(x.shape) == before else self.mb.reshape(x=x, shape=before)
        reps = [n // own for n, own in zip(shape, before)]
        return self.mb.tile(x=aligned, reps=reps) if set(reps) - {1} else aligned

    def from_front(self, indices: Value, lengths: Value) -> Value:
        """Indices that count from the front, as MIL wants them from iOS17 on. Refuses constants out of bounds."""
        if isinstance(indices, np.ndarray):
            counted = np.where(indices < 0, indices + lengths, indices).astype(np.int32)
            if (counted < 0).any() or (counted >= lengths).any():
                raise self.refusal("an index out of bounds")
            return counted
        shifted = self.mb.add(x=indices, y=np.asarray(lengths, np.int32)[()])
        return self.mb.select(cond=self.mb.less(x=indices, y=np.int32(0)), a=shifted, b=indices)

    def unchecked(self) -> dict[str, bool]:
        """What gathering and scattering operations are told from iOS17 on, where they ask."""
        return {} if self.opset < "iOS17" else {"validate_indices": False}

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


def _is_constant(value: Value) -> bool:
    return isinstance(value, np.ndarray | np.generic)


def is_compressed(value: Value) -> bool:
    """Whether a value is a weight that stays compressed in the file (one of MIL's constexpr operations)."""
    operation = getattr(value, "op", None)
    return operation is not None and str(operation.op_type).startswith("constexpr_")


def element_type(value: Value) -> str:
    """numpy's name of a value's element type."""
    if _is_constant(value):
        return str(value.dtype.name)
    from coremltools.converters.mil.mil import types  # type: ignore[import-untyped]

    return str(np.dtype(types.nptype_from_builtin(value.dtype)).name)


def interleaved(begins: Iterable[int], ends: Iterable[int]) -> list[int]:
    """ONNX's [begins…, ends…] padding in MIL's order: begin and end of each dimension in turn."""
    return [n for pair in zip(begins, ends, strict=True) for n in pair]
