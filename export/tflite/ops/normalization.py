"""Normalizations that no pass folded away."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.tflite.broadcast import BROADCAST_RANK, emit_broadcast
from edgewright.export.tflite.layout import is_constant
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir


def _has_fixed_statistics(node: "ir.Node") -> bool:
    return all(map(is_constant, node.inputs[1:])) and node.attributes.get_int("training_mode", 0) == 0


@TFLITE.lower("BatchNormalization", layout="axis", fits=_has_fixed_statistics)
def batch_normalization(
    b: NodeBuilder,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 9.999999747378752e-06,
    momentum: float = 0.8999999761581421,  # noqa: ARG001
    training_mode: int = 0,  # noqa: ARG001
) -> Tensor:
    """x · s + t with s = scale / √(variance + ε) and t = shift − mean · s, per channel."""
    b.need_float()
    values = [b.need_constant(tensor, "statistics").astype(np.float64) for tensor in (scale, shift, mean, variance)]
    factor = values[0] / np.sqrt(values[3] + epsilon)
    spread = [1] * len(x.shape)
    if b.rank > 1:
        spread[b.axis(1)] = -1
    factors = b.constant(factor.astype(np.float32).reshape(spread), f"{b.y.name}/factor")
    offsets = b.constant((values[1] - values[2] * factor).astype(np.float32).reshape(spread), f"{b.y.name}/offset")
    scaled = emit_broadcast(b, "MUL", [x, factors], to=b.temp("scaled", x))
    return emit_broadcast(b, "ADD", [scaled, offsets])


@TFLITE.lower("InstanceNormalization", layout="axis")
def instance_normalization(
    b: NodeBuilder, x: Tensor, scale: Tensor, shift: Tensor, *, epsilon: float = 9.999999747378752e-06
) -> Tensor:
    """Each channel of each sample by its own mean and variance."""
    return _by_groups(b, x, scale, shift, scale.shape[0], epsilon)


@TFLITE.lower("GroupNormalization", layout="axis")
def group_normalization(
    b: NodeBuilder,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    *,
    epsilon: float = 9.999999747378752e-06,
    num_groups: int,
    stash_type: int = 1,  # noqa: ARG001 (TFLite computes in float32)
) -> Tensor:
    """Channels in groups of neighbours, each by the mean and variance of the group in one sample."""
    return _by_groups(b, x, scale, shift, num_groups, epsilon)


def _by_groups(b: NodeBuilder, x: Tensor, scale: Tensor, shift: Tensor, groups: int, epsilon: float) -> Tensor:
    """On N×positions×groups×members channels last; on N×groups×members×positions where x lies as in ONNX.

    Groups of one channel need no such split while the axes are few enough to broadcast.
    """
    b.need_float()
    batch, channels, at = x.shape[0], scale.shape[0], b.axis(1)
    last, positions = at == len(x.shape) - 1, prod(x.shape) // (x.shape[0] * channels)
    if groups == channels and len(x.shape) <= BROADCAST_RANK:
        split, over = x.shape, [axis for axis in range(1, len(x.shape)) if axis != at]
        spread = tuple(channels if axis == at else 1 for axis in range(len(x.shape)))
    elif last:
        split, over = (batch, positions, groups, channels // groups), [1, 3]
        spread = (1, 1, *split[2:])
    else:
        split, over = (batch, groups, channels // groups, positions), [2, 3]
        spread = (1, *split[1:3], 1)
    affine = [
        (code, b.reshape(parameter, spread))
        for code, parameter, neutral in (("MUL", scale, 1), ("ADD", shift, 0))
        if _acts(parameter, neutral)
    ]
    target = b.y if b.y.shape == split else b.temp("split", x, split)
    made, _, _ = _normalized(b, b.reshape(x, split), over, epsilon, None if affine else target)
    for number, (code, parameter) in enumerate(affine, 1):
        made = b.emit(code, [made, parameter], to=target if number == len(affine) else b.temp("scaled", made))
    return made if made is b.y else b.reshape(made, b.y.shape, b.y)


@TFLITE.lower("LayerNormalization", layout="nchw")
def layer_normalization(
    b: NodeBuilder,
    x: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 9.999999747378752e-06,
    stash_type: int = 1,  # noqa: ARG001 (TFLite computes in float32)
) -> list[Tensor]:
    """d / √(mean(d²) + ε) · scale + shift with d = x − mean(x), over the axes from `axis` on; mean and 1/√ as asked."""
    b.need_float()
    first, rows = axis % len(x.shape), x
    if len(x.shape) > BROADCAST_RANK:  # what is normalized together becomes a row
        length = prod(x.shape[first:])
        rows, first = b.reshape(x, (prod(x.shape[:first]), length)), 1
        scale = _as_row(b, scale, length)
        shift = None if shift is None else _as_row(b, shift, length)
    affine = [(code, row) for code, row, neutral in (("MUL", scale, 1), ("ADD", shift, 0)) if _acts(row, neutral)]
    whole = b.y if rows.shape == b.y.shape else b.temp("rows", rows)
    made, mean, inverse = _normalized(b, rows, range(first, len(rows.shape)), epsilon, None if affine else whole)
    for number, (code, row) in enumerate(affine, 1):
        made = b.emit(code, [made, row], to=whole if number == len(affine) else b.temp("scaled", made))
    given = [whole, mean, inverse][: len(b.ys)]
    return [b.reshape(tensor, y.shape, y) if tensor is not y else y for tensor, y in zip(given, b.ys)]


def _acts(parameter: Tensor | None, neutral: float) -> bool:
    """Whether a scale or shift is there and changes anything."""
    return parameter is not None and (parameter.data is None or bool(np.any(parameter.data != neutral)))


def _as_row(b: NodeBuilder, parameter: Tensor, length: int) -> Tensor:
    """Scale or shift of what is normalized together, along one axis."""
    if parameter.data is not None and parameter.data.size not in (1, length):
        b.refuse("a scale or shift that broadcasts; expand it")
    return b.reshape(parameter, (prod(parameter.shape),))


def _normalized(
    b: NodeBuilder, x: Tensor, axes: Sequence[int], epsilon: float, to: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(d · i, mean, i) with d = x − mean and i = 1 / √(mean(d²) + ε); the first into `to`."""
    row = [1 if at in axes else length for at, length in enumerate(x.shape)]
    over = b.integers(axes, "axes")
    mean = b.emit("MEAN", [x, over], {"keepDims": True}, to=b.temp("mean", x, row))
    centred = b.emit("SUB", [x, mean], to=b.temp("centred", x))
    square = b.emit("MUL", [centred, centred], to=b.temp("square", x))
    variance = b.emit("MEAN", [square, over], {"keepDims": True}, to=b.temp("variance", x, row))
    safe = b.emit("ADD", [variance, b.scalar(epsilon, x, "epsilon")], to=b.temp("safe", x, row))
    inverse = b.emit("RSQRT", [safe], to=b.temp("inverse", x, row))
    return b.emit("MUL", [centred, inverse], to=to or b.temp("normal", x)), mean, inverse
