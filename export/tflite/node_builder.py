"""What a rule sees while it lowers one ONNX node: where to write, in which form, and how to refuse."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgewright.errors import UnsupportedOps
from edgewright.export.tflite.builder import Builder, Subgraph
from edgewright.export.tflite.layout import ORIGINAL, Form
from edgewright.export.tflite.tensor import Quantization, Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

Inline = Callable[[Builder, "ir.Graph", Sequence[Tensor]], list[Tensor]]
"""Writes an inner graph of ONNX by a builder, given the tensors of its inputs; gives those of its outputs."""


class NodeBuilder:
    """`ys` are the tensors that the node must fill (`y` the first), `form` and `rank` those of its first operand.

    `read_form` holds the form in which the first operand is read, `y_form` the one in which `y` is made.
    """

    def __init__(
        self,
        builder: Builder,
        op_type: str,
        name: str,
        ys: Sequence[Tensor],
        rank: int,
        forms: tuple[Form, Form],
        activation: str,
        inline: Inline,
    ) -> None:
        self.op_type, self.name, self.rank = op_type, name, rank
        self.ys = tuple(ys)
        self.read_form, self.y_form = forms
        self._builder = builder
        self._activation = activation
        self.activation_used = activation == "NONE"
        self._inline = inline

    @property
    def y(self) -> Tensor:
        return self.ys[0]

    @property
    def activation(self) -> str:
        """The fused activation; whoever asks must write it into an operator."""
        self.activation_used = True
        return self._activation

    @property
    def dynamic(self) -> bool:
        """Whether float operators with int8 weights multiply integers."""
        return self._builder.dynamic

    @property
    def micro(self) -> bool:
        """Whether the file is for tflite-micro."""
        return self._builder.micro

    def axis(self, axis: int) -> int:
        """Where the file holds an axis of the first operand."""
        return self.read_form.axis(axis, self.rank)

    def emit(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        options: Mapping[str, Any] | None = None,
        to: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Append an operator that fills `to` (default: `y`); the first of them is returned."""
        outputs = [self.y] if to is None else [to] if isinstance(to, Tensor) else list(to)
        if reason := self._builder.lacks(code, inputs):
            self.refuse(reason)
        self._builder.emit(code, inputs, outputs, options)
        return outputs[0]

    def temp(
        self,
        suffix: str,
        like: Tensor,
        shape: Sequence[int] | None = None,
        *,
        quantization: Quantization | None = None,
        dtype: DTypeLike = None,
    ) -> Tensor:
        """A tensor between two operators of this node; with `dtype` it is no longer quantized as `like` is."""
        return self._builder.tensor(
            f"{self.y.name}/{suffix}",
            like.shape if shape is None else shape,
            like.dtype if dtype is None else dtype,
            quantization or (like.quantization if dtype is None else None),
        )

    def constant(self, array: NDArray[Any], name: str, quantization: Quantization | None = None) -> Tensor:
        return self._builder.constant(np.asarray(array), name, quantization)

    def integers(self, values: Sequence[int] | Sequence[tuple[int, int]] | NDArray[Any], suffix: str) -> Tensor:
        """An int32 parameter: axes, sizes, paddings."""
        return self.constant(np.array(values, np.int32), f"{self.y.name}/{suffix}")

    def scalar(self, value: float, like: Tensor, suffix: str) -> Tensor:
        """A constant of rank 0 that meets `like`: float, or its code at the scale of `like`."""
        name = f"{self.y.name}/{suffix}"
        if like.quantization is None:
            return self.constant(np.array(value, like.dtype), name)
        return self.constant(np.array(like.quantization.code(value), np.int8), name, like.quantization)

    def reshape(self, tensor: Tensor, shape: Sequence[int], to: Tensor | None = None) -> Tensor:
        return self._builder.reshape(tensor, shape, to)

    def transpose(self, tensor: Tensor, order: Sequence[int], to: Tensor | None = None) -> Tensor:
        return self._builder.transpose(tensor, order, to)

    def inner(self, suffix: str) -> "NodeBuilder":
        """A builder for a subgraph that an operator of this node calls."""
        name = f"{self.name}/{suffix}"
        return NodeBuilder(
            self._builder.inner(), self.op_type, name, self.ys, 0, (ORIGINAL, ORIGINAL), "NONE", self._inline
        )

    def tensor(self, suffix: str, shape: Sequence[int], dtype: Any) -> Tensor:
        """A tensor to be filled."""
        return self._builder.tensor(f"{self.y.name}/{suffix}", shape, dtype)

    def like(self, tensor: Tensor, name: str) -> Tensor:
        """A tensor to be filled, of the shape and type of another."""
        return self._builder.tensor(name, tensor.shape, tensor.dtype, tensor.quantization)

    def lower(self, graph: "ir.Graph", operands: Sequence[Tensor]) -> list[Tensor]:
        """Write an inner graph of the node here; what it gives are tensors that operators fill, each once."""
        return self._inline(self._builder, graph, operands)

    def subgraph(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Subgraph:
        """What was written here, closed. A constant that one of its operators gives is no output of its own."""
        return Subgraph(self.name, tuple(self._builder.live(outputs)), tuple(inputs), tuple(outputs))

    def refuse(self, reason: str) -> NoReturn:
        """This node cannot be expressed; the others are still looked at, then all reasons are raised together."""
        raise UnsupportedOps("tflite", {self.op_type: (reason, [self.name])})

    def need_constant(self, tensor: Tensor, what: str) -> NDArray[Any]:
        if tensor.data is None:
            self.refuse(f"{what} must be constant")
        return tensor.data

    def need_float(self) -> None:
        """Refuse int8, for rules that compute in float only."""
        if self.y.is_int8:
            self.refuse("no exact int8 form")
