"""Bias correction: a rounded weight shifts the mean of its output channel; the bias takes the shift back.

    E[W x] - E[W_int8 x] = (W - W_int8) E[x]        with E[x] of each input channel, measured on calibration samples

Nagel et al. 2019 (arXiv 1906.04721, 4.2), Finkelstein et al. 2019 (arXiv 1906.03193). Nothing else moves: scales stay.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.graph import integers, nodes_of
from edgewright.export.onnx.quantize.calibrate import tensors_by_batch
from edgewright.export.onnx.quantize.codes import Codes, codes_of
from edgewright.export.onnx.quantize.layers import by_output, inputs_of
from edgewright.export.onnx.quantize.plan import WEIGHTED
from edgewright.export.onnx.quantize.quantized import Quantized
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]


def correct_biases(quantized: Quantized, means: Mapping[str, Floats]) -> Quantized:
    """A copy of `quantized` whose int8 layers with a bias answer, on average, as their float weights would.

    `means` holds E[x] [channels] by the layer's name, as `channel_means` gives it.
    """
    model, masters = quantized.model.clone(), dict(quantized.masters)
    for node in nodes_of(model, *WEIGHTED):
        weight, bias, mean = codes_of(node, 1), codes_of(node, 2), means.get(str(node.name))
        if weight is None or bias is None or mean is None:
            continue
        lost = by_output(node, masters[weight.name] - weight.real())
        shift = (lost.sum(2) * mean[inputs_of(lost, len(mean))]).sum(1) / _outputs_each(node)
        masters[bias.name] = masters[bias.name] + shift
        _encode(bias, masters[bias.name])
    return Quantized(model, quantized.plan, masters)


def channel_means(model: "ir.Model", contract: Contract, samples: Samples, progress: Progress) -> dict[str, Floats]:
    """For each Conv, ConvTranspose and Gemm of the float model, by name, the mean [channels] of its input."""
    layers = {str(node.name): str(node.inputs[0].name) for node in nodes_of(model, *WEIGHTED)}  # type: ignore[union-attr]
    names = set(layers.values())
    totals: dict[str, Floats] = {}
    count = 0
    for values in tensors_by_batch(model, contract, names, samples, progress, "measure means"):
        count += 1
        for name, value in values.items():
            totals[name] = totals.get(name, 0.0) + _mean(value)
    return {layer: totals[tensor] / count for layer, tensor in layers.items()}


def _mean(value: NDArray[Any]) -> Floats:
    """Over all axes but the second."""
    rows = np.moveaxis(value, min(1, value.ndim - 1), 0) if value.ndim else value.reshape(1)
    mean: Floats = rows.reshape(len(rows), -1).mean(1, dtype=np.float64)
    return mean


def _outputs_each(node: "ir.Node") -> int:
    """How many elements of a channel of the output share the taps of one element of the input."""
    return int(np.prod(integers(node, "strides", (1,)))) if node.op_type == "ConvTranspose" else 1


def _encode(bias: Codes, real: Floats) -> None:
    limits = np.iinfo(np.int32)
    bias.write(np.clip(np.rint(real / bias.scales), limits.min, limits.max))
