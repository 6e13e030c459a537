"""The integer constant that an operator of an int8 model reads through a DequantizeLinear."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.graph import constant

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Codes:
    """An integer initializer, and its scales: one an element of `axis`, or one for all."""

    value: "ir.Value"
    scales: Floats
    axis: int

    @property
    def name(self) -> str:
        return str(self.value.name)

    def integers(self) -> NDArray[Any]:
        assert self.value.const_value is not None
        return self.value.const_value.numpy()

    def spread(self) -> Floats:
        """The scales, shaped to multiply the codes."""
        shape = [1] * self.integers().ndim
        shape[self.axis] = -1
        return self.scales.reshape(shape)

    def real(self) -> Floats:
        return self.integers().astype(np.float64) * self.spread()

    def write(self, integers: NDArray[Any]) -> None:
        """Other codes of the same type and shape."""
        import onnx_ir as ir

        self.value.const_value = ir.tensor(integers.astype(self.integers().dtype), name=self.name)


def codes_of(node: "ir.Node", index: int) -> Codes | None:
    """The integers behind an input of `node`; None where it is no such constant."""
    value = node.inputs[index] if index < len(node.inputs) else None
    source = value.producer() if value is not None else None
    if source is None or source.op_type != "DequantizeLinear":
        return None
    codes, scales = source.inputs[0], constant(source, 1)
    if codes is None or codes.const_value is None or scales is None:
        return None
    return Codes(codes, scales.astype(np.float64), source.attributes.get_int("axis", 1) if scales.ndim else 0)
