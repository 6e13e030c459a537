"""Rounding with error feedback: what one weight loses by rounding, the weights beside it make good.

Weights are rounded one input at a time, and the error is spread over the inputs still to come so that the layer's
outputs stay nearest to the float ones on calibration data: GPTQ (Frantar et al. 2022, arXiv 2210.17323), in closed form
after Optimal Brain Surgeon (Hassibi & Stork 1992). Inputs count by their covariance: the bias takes what is left in the
mean. Scales stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.graph import constant, integers, nodes_of
from edgewright.export.onnx.quantize.calibrate import tensors_by_batch
from edgewright.export.onnx.quantize.codes import codes_of
from edgewright.export.onnx.quantize.layers import as_held, by_output
from edgewright.export.onnx.quantize.quantized import Quantized
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]
DRAWN = 64  # positions of a sample that count: neighbours say the same
LARGEST = 1024  # inputs of a block: beyond, a layer falls into blocks that do not help each other
DAMPING = 0.01  # of the mean variance: calibration does not know the rest


@dataclass
class Covariance:
    """Running sums over patches of a layer's input: [blocks, size, size], [blocks, size], and how many patches."""

    products: Floats
    sums: Floats
    count: int = 0

    def add(self, patches: Floats) -> None:
        """`patches` [blocks, size, positions]."""
        self.products += patches @ patches.transpose(0, 2, 1)
        self.sums += patches.sum(2)
        self.count += patches.shape[2]

    def value(self) -> Floats:
        mean = self.sums / self.count
        return self.products / self.count - mean[:, :, None] * mean[:, None, :]


def covariances(model: "ir.Model", contract: Contract, samples: Samples, progress: Progress) -> dict[str, Covariance]:
    """For each Conv and Gemm of the float model, by name, how its inputs vary together."""
    layers = [node for node in nodes_of(model, "Conv", "Gemm") if _is_plain(node)]
    inputs = {str(node.name): str(node.inputs[0].name) for node in layers}  # type: ignore[union-attr]
    found: dict[str, Covariance] = {}
    for values in tensors_by_batch(model, contract, set(inputs.values()), samples, progress, "measure covariances"):
        for node in layers:
            name = str(node.name)
            patches = _patches(node, values[inputs[name]])
            blocks, size, _ = patches.shape
            known = found.setdefault(name, Covariance(np.zeros((blocks, size, size)), np.zeros((blocks, size))))
            known.add(patches)
    return found


def round_with_feedback(quantized: Quantized, known: Mapping[str, Covariance], limit: int) -> Quantized:
    """A copy of `quantized` with the weights of the layers in `known` rounded anew, on the same scales, in ±limit."""
    made = Quantized(quantized.model.clone(), quantized.plan, quantized.masters)
    for node in nodes_of(made.model, "Conv", "Gemm"):
        weight = codes_of(node, 1)
        if weight is None or str(node.name) not in known or weight.name not in made.masters:
            continue
        held = made.masters[weight.name]
        real = by_output(node, held)
        steps = by_output(node, np.broadcast_to(weight.spread(), held.shape))
        codes = _rounded(real / steps, known[str(node.name)].value(), limit)
        weight.write(as_held(node, codes, held.shape))
    return made


def _rounded(weight: Floats, covariance: Floats, limit: int) -> Floats:
    """Codes [outputs, inputs, taps] for a weight in steps of its grid; `covariance` [blocks, size, size]."""
    outputs, inputs, taps = weight.shape
    blocks, size, _ = covariance.shape
    if size * blocks == inputs * taps:  # one group, its inputs in blocks
        pieces = weight.reshape(outputs, blocks, size).swapaxes(0, 1)
        return _feedback(pieces, covariance, limit).swapaxes(0, 1).reshape(weight.shape)
    return _feedback(weight.reshape(blocks, outputs // blocks, size), covariance, limit).reshape(weight.shape)


def _feedback(weight: Floats, covariance: Floats, limit: int) -> Floats:
    """Codes [blocks, outputs, size], each block by itself, the inputs that vary most first."""
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    order = np.argsort(-variance, axis=1, kind="stable")[:, None]
    floor = DAMPING * variance.mean(1)[:, None, None] + 1e-12
    damped = covariance + floor * np.eye(covariance.shape[1])
    damped = np.take_along_axis(np.take_along_axis(damped, order.swapaxes(1, 2), 1), order, 2)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(1, 2)
    rest, codes = np.take_along_axis(weight, order, 2), np.empty_like(weight)
    for index in range(weight.shape[2]):
        codes[:, :, index] = np.clip(np.rint(rest[:, :, index]), -limit, limit)
        error = (rest[:, :, index] - codes[:, :, index]) / upper[:, None, index, index]
        rest[:, :, index + 1 :] -= error[:, :, None] * upper[:, None, index, index + 1 :]
    found = np.empty_like(codes)
    np.put_along_axis(found, order, codes, 2)
    return found


def _is_plain(node: "ir.Node") -> bool:
    plain = node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
    return constant(node, 1) is not None and plain and node.inputs[0] is not None


def _patches(node: "ir.Node", x: NDArray[Any]) -> Floats:
    """What each output element sees of the input: [blocks, size, positions], at positions evenly drawn."""
    weight = constant(node, 1)
    assert weight is not None
    if node.op_type == "Gemm":
        return _blocks(x.T[None].astype(np.float64))
    spatial, groups = x.ndim - 2, node.attributes.get_int("group", 1)
    kernel = weight.shape[2:]
    pads, strides, dilations = (
        integers(node, "pads", (0,) * 2 * spatial), integers(node, "strides", (1,) * spatial),
        integers(node, "dilations", (1,) * spatial),
    )  # fmt: skip
    padded = np.pad(x, [(0, 0), (0, 0), *zip(pads[:spatial], pads[spatial:])])
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations))
    axes: Any = tuple(range(2, x.ndim))  # numpy's stubs know one axis only
    windows = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=axes)
    steps = tuple(slice(None, None, stride) for stride in strides)
    taps = tuple(slice(None, None, dilation) for dilation in dilations)
    windows = windows[(slice(None), slice(None), *steps, *taps)]  # [n, channels, *positions, *kernel]
    places = np.stack(np.unravel_index(_drawn(windows.shape[2 : 2 + spatial]), windows.shape[2 : 2 + spatial]))
    seen = windows[(slice(None), slice(None), *places)]  # [n, channels, places, *kernel]
    seen = seen.reshape(*seen.shape[:3], -1).transpose(1, 3, 0, 2)  # [channels, taps, n, places]
    return _blocks(seen.reshape(groups, -1, seen.shape[2] * seen.shape[3]).astype(np.float64))


def _drawn(shape: tuple[int, ...]) -> NDArray[np.int64]:
    total = int(np.prod(shape))
    return np.unique(np.linspace(0, total - 1, min(total, DRAWN)).astype(np.int64))


def _blocks(patches: Floats) -> Floats:
    """[groups, size, positions] → one group of too many inputs in as few equal blocks as fit."""
    groups, size, positions = patches.shape
    if groups > 1 or size <= LARGEST:
        return patches
    count = next(n for n in range(-(-size // LARGEST), size + 1) if size % n == 0)
    return patches.reshape(count, size // count, positions)
