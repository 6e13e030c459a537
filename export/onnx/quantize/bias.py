"""Bias correction: a rounded weight shifts the mean of its output channel; the bias takes the shift back.

    E[W x] - E[W_int8 x] = (W - W_int8) E[x]        with E[x] of each input channel, measured on calibration samples

Nagel et al. 2019 (arXiv 1906.04721, 4.2), Finkelstein et al. 2019 (arXiv 1906.03193). Nothing else moves: scales stay.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.export.onnx.graph import constant, integers, nodes_of
from edgewright.export.onnx.quantize.calibrate import batches, open_session
from edgewright.export.onnx.quantize.choose import Quantized
from edgewright.export.onnx.quantize.layers import by_output, inputs_of
from edgewright.export.onnx.quantize.plan import WEIGHTED
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Codes:
    """An integer initializer behind a DequantizeLinear, and its scales, one an element of `axis` (or of all)."""

    value: "ir.Value"
    scales: Floats
    axis: int

    @property
    def name(self) -> str:
        return str(self.value.name)

    def real(self) -> Floats:
        assert self.value.const_value is not None
        codes = self.value.const_value.numpy().astype(np.float64)
        spread = [1] * codes.ndim
        spread[self.axis] = -1
        return codes * self.scales.reshape(spread)


def correct_biases(quantized: Quantized, contract: Contract, samples: Samples, progress: Progress) -> Quantized:
    """A copy of `quantized` whose int8 layers with a bias answer, on average, as their float weights would."""
    model, masters = quantized.model.clone(), dict(quantized.masters)
    layers = list(_layers(model))
    if not layers:
        return quantized
    means = _channel_means(model, contract, {name for _, name, _, _ in layers}, samples, progress)
    for node, name, weight, bias in layers:
        lost = by_output(node, masters[weight.name] - weight.real())
        shift = (lost.sum(2) * means[name][inputs_of(lost, len(means[name]))]).sum(1) / _outputs_each(node)
        masters[bias.name] = masters[bias.name] + shift
        _encode(bias, masters[bias.name])
    return Quantized(model, quantized.plan, masters)


def _layers(model: "ir.Model") -> "Iterator[tuple[ir.Node, str, Codes, Codes]]":
    """Operators with an integer weight and bias: node, name of the input, weight, bias."""
    for node in nodes_of(model, *WEIGHTED):
        weight, bias, value = _codes(node, 1), _codes(node, 2), node.inputs[0]
        if weight is not None and bias is not None and value is not None:
            yield node, str(value.name), weight, bias


def _codes(node: "ir.Node", index: int) -> Codes | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    source = value.producer() if value is not None else None
    if source is None or source.op_type != "DequantizeLinear":
        return None
    codes, scales = source.inputs[0], constant(source, 1)
    if codes is None or codes.const_value is None or scales is None:
        return None
    return Codes(codes, scales.astype(np.float64), source.attributes.get_int("axis", 1) if scales.ndim else 0)


def _outputs_each(node: "ir.Node") -> int:
    """How many elements of a channel of the output share the taps of one element of the input."""
    return int(np.prod(integers(node, "strides", (1,)))) if node.op_type == "ConvTranspose" else 1


def _encode(bias: Codes, real: Floats) -> None:
    import onnx_ir as ir

    limits = np.iinfo(np.int32)
    codes = np.clip(np.rint(real / bias.scales), limits.min, limits.max).astype(np.int32)
    bias.value.const_value = ir.tensor(codes, name=bias.name)


def _channel_means(
    model: "ir.Model", contract: Contract, names: Collection[str], samples: Samples, progress: Progress
) -> dict[str, Floats]:
    """The mean [channels] of each tensor [n, channels, ...] over the samples."""
    wanted = sorted(names)
    session = open_session(model, wanted, optimize=False)
    totals: dict[str, Floats] = {}
    count = 0
    with progress.task("correct biases", len(samples)) as advance:
        for batch in batches(contract, samples):
            for name, value in zip(wanted, session.run(wanted, batch), strict=True):
                mean = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1).mean(1, dtype=np.float64)
                totals[name] = totals.get(name, 0.0) + mean
            count += 1
            advance(len(next(iter(batch.values()))))
    return {name: total / count for name, total in totals.items()}
