"""What a rule sees while it lowers one ONNX node: where to write, in which form, and how to refuse."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import UnsupportedOps
from edgewright.export.tflite.builder import Builder
from edgewright.export.tflite.layout import Form
from edgewright.export.tflite.tensor import Quantization, Tensor


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
    ) -> None:
        self.op_type, self.name, self.rank = op_type, name, rank
        self.ys = tuple(ys)
        self.read_form, self.y_form = forms
        self._builder = builder
        self._activation = activation
        self.activation_used = activation == "NONE"

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
        self._builder.emit(code, inputs, outputs, options)
        return outputs[0]

    def temp(
        self, suffix: str, like: Tensor, shape: Sequence[int] | None = None, *, quantization: Quantization | None = None
    ) -> Tensor:
        """A tensor between two operators of this node."""
        return self._builder.tensor(
            f"{self.y.name}/{suffix}",
            like.shape if shape is None else shape,
            like.dtype,
            quantization or like.quantization,
        )

    def constant(self, array: NDArray[Any], name: str, quantization: Quantization | None = None) -> Tensor:
        return self._builder.constant(np.ascontiguousarray(array).reshape(array.shape), name, quantization)

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
