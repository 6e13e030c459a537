"""Inverse functions of the circle, all by ATAN2, which is exact near 0 and ±1 alike."""

from math import prod

import numpy as np

from edgewright.export.tflite.broadcast import emit_broadcast
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

FEW = 64
"""So many ones are shorter than the operator that repeats one."""
PLAIN = {"fusedActivationFunction": "NONE"}


@TFLITE.lower("Atan")
def atan(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.emit("ATAN2", [x, _ones(b, x)])


@TFLITE.lower("Asin")
def asin(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.emit("ATAN2", [x, _other_leg(b, x)])


@TFLITE.lower("Acos")
def acos(b: NodeBuilder, x: Tensor) -> Tensor:
    return b.emit("ATAN2", [_other_leg(b, x), x])


def _ones(b: NodeBuilder, x: Tensor) -> Tensor:
    """As many as `x` has: ATAN2 does not broadcast."""
    if prod(x.shape) <= FEW:
        return b.constant(np.ones(x.shape, x.dtype), f"{b.y.name}/ones")
    one = b.scalar(1, x, "one")
    return b.emit("BROADCAST_TO", [one, b.integers(x.shape, "shape")], to=b.temp("ones", x))


def _other_leg(b: NodeBuilder, x: Tensor) -> Tensor:
    """√((1 - x)(1 + x)), of the right triangle with hypotenuse 1 and leg x."""
    one = b.scalar(1, x, "one")
    less = emit_broadcast(b, "SUB", [one, x], PLAIN, to=b.temp("less", x))
    more = emit_broadcast(b, "ADD", [x, one], PLAIN, to=b.temp("more", x))
    return b.emit("SQRT", [b.emit("MUL", [less, more], PLAIN, to=b.temp("square", x))], to=b.temp("leg", x))
