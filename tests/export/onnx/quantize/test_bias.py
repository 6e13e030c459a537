"""Rounded weights shift means; corrected biases take the shift back, on the same scales."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgewright.data import Samples
from edgewright.export.capture import capture_module
from edgewright.export.onnx.file import contract_of
from edgewright.export.onnx.quantize.bias import channel_means, correct_biases
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.quantized import answers
from edgewright.export.onnx.quantize.truth import make_truth
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Job
from edgewright.progress import Silent


def layer(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "transposed":
        return nn.ConvTranspose2d(4, 8, 2, 2, groups=2)
    if kind == "depthwise":
        return nn.Conv2d(4, 4, 3, groups=4)
    return nn.Sequential(nn.Flatten(), nn.Linear(4 * 64, 5))


def coarse(model: ir.Model) -> None:
    """Round the codes of every int8 weight to multiples of 8, as a grid of 5 bits would."""
    for name, value in model.graph.initializers.items():
        if name.endswith("_int8"):
            assert value.const_value is not None
            codes = np.clip(np.round(value.const_value.numpy().astype(int) / 8) * 8, -120, 120)
            value.const_value = ir.tensor(codes.astype(np.int8), name=name)


@pytest.mark.parametrize("kind", ["linear", "depthwise", "transposed"])
def test_the_mean_of_each_channel_returns(kind: str) -> None:
    module = layer(kind).eval()
    model, _ = simplify(capture_module(module, {"input": torch.zeros(1, 4, 8, 8)}, ["output"]))
    contract = contract_of(model)
    offset = np.random.default_rng(0).uniform(0.5, 2.0, (1, 4, 8, 8) if kind == "linear" else (1, 4, 1, 1))
    noise = np.random.default_rng(1).normal(0, 0.1, (64, 4, 8, 8))
    samples = Samples({"input": (offset + noise).astype(np.float32)})
    options = QuantizeOptions(equalize=False, correct_bias=False)
    quantized = make_truth(model, contract, Job(samples, samples), options, "model").quantized
    coarse(quantized.model)
    corrected = correct_biases(quantized, channel_means(model, contract, samples, Silent()))

    def shift(int8: ir.Model) -> float:
        difference = answers(int8, contract, samples)[0] - answers(model, contract, samples)[0]
        return float(np.abs(np.moveaxis(difference, 1, 0).reshape(difference.shape[1], -1).mean(1)).max())

    assert shift(corrected.model) < 0.2 * shift(quantized.model)
    assert shift(quantized.model) > 0.005  # there was something to correct, and the given model stayed
    before, after = constants(quantized.model), constants(corrected.model)
    moved = [name for name in before if not np.array_equal(before[name], after[name])]
    assert len(moved) == 1
    assert moved[0].endswith("_int32")


def constants(model: ir.Model) -> dict[str, NDArray[Any]]:
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items() if value.const_value}
