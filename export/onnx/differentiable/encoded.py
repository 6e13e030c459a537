"""A weight or bias that moves on the grid it was rounded to."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.differentiable.ops.quantize import along, rounded
from edgewright.export.onnx.quantize.grid import WEIGHT_LIMIT
from edgewright.export.onnx.quantize.narrow import NARROW_LIMIT

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor

BIAS_STEP = 64
"""Steps of a bias's grid that move an output about as far as one step of a weight: an input's code is that large."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """`start` (float64, in steps of the grid) plus `shift` (float32, trained; in `unit` steps) rounds to the codes."""

    start: "Tensor"
    shift: "Tensor"
    unit: int
    limit: int

    def codes(self) -> "Tensor":
        """Whole numbers in float64, with a straight-through gradient."""
        return rounded(self.start + self.unit * self.shift.double()).clamp(-self.limit, self.limit)


def encoded(codes: "ir.Value", master: NDArray[Any]) -> Encoded:
    """Of integer codes and the float values behind them; it starts where it gives exactly these codes."""
    import torch

    dequantize = next(node for node, _ in codes.uses() if node.op_type == "DequantizeLinear")
    scale, held = dequantize.inputs[1].const_value, codes.const_value  # type: ignore[union-attr]
    assert scale is not None
    assert held is not None
    given = torch.from_numpy(held.numpy().astype(np.float64))
    steps = torch.from_numpy(scale.numpy().astype(np.float64))
    start = torch.from_numpy(master.astype(np.float64)) / along(steps, given, dequantize.attributes.get_int("axis", 1))
    is_weight = held.dtype.itemsize == 1
    reach = NARROW_LIMIT if given.abs().max() <= NARROW_LIMIT else WEIGHT_LIMIT  # weights of 7 bits keep to them
    limit = reach if is_weight else np.iinfo(np.int32).max
    made = start.round().clamp(-limit, limit)
    shift = torch.zeros(given.shape, requires_grad=True)
    return Encoded(start.where(made == given, given), shift, 1 if is_weight else BIAS_STEP, limit)
