"""Error feedback: the covariances are those of the layer's true inputs, and the rounding beats the nearest one."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgewright.data import Samples
from edgewright.export.capture import capture_module
from edgewright.export.onnx.file import contract_of
from edgewright.export.onnx.graph import nodes_of
from edgewright.export.onnx.quantize.codes import codes_of
from edgewright.export.onnx.quantize.gptq import covariances, round_with_feedback
from edgewright.export.onnx.quantize.grid import WEIGHT_LIMIT
from edgewright.export.onnx.quantize.layers import by_output
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.quantized import answers
from edgewright.export.onnx.quantize.truth import make_truth
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Job
from edgewright.progress import Silent

LAYERS = {
    "dense": lambda: nn.Conv2d(6, 8, 3, padding=1),
    "strided": lambda: nn.Conv2d(6, 4, 3, stride=2, padding=1),
    "dilated": lambda: nn.Conv2d(6, 4, (3, 2), dilation=(2, 1)),
    "grouped": lambda: nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(6, 24, 3, groups=6, padding=1),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6 * 64, 5)),
}


def captured(kind: str) -> ir.Model:
    torch.manual_seed(0)
    module = LAYERS[kind]().eval()
    return simplify(capture_module(module, {"input": torch.zeros(1, 6, 8, 8)}, ["output"]))[0]


def correlated(count: int, seed: int) -> Samples:
    """Channels that follow one another, and neighbours that agree."""
    generator = np.random.default_rng(seed)
    base = generator.normal(0, 1, (count, 1, 8, 8)).cumsum(2).cumsum(3) / 4
    own = generator.normal(0, 0.3, (count, 6, 8, 8))
    return Samples({"input": (base + own + 0.5).astype(np.float32)})


def with_weight(model: ir.Model, shift: NDArray[np.float64]) -> ir.Model:
    """The model whose weight is moved by `shift` [outputs, inputs, taps]."""
    copy = model.clone()
    (layer,) = nodes_of(copy, "Conv", "Gemm")
    value = layer.inputs[1]
    assert value is not None
    assert value.const_value is not None
    array = value.const_value.numpy()
    value.const_value = ir.tensor((array + shift.reshape(array.shape)).astype(np.float32), name=value.name)
    return copy


@pytest.mark.parametrize("kind", LAYERS)
def test_the_covariance_tells_what_a_change_of_the_weight_does(kind: str) -> None:
    model = captured(kind)
    contract, samples = contract_of(model), correlated(12, 1)
    (layer,) = nodes_of(model, "Conv", "Gemm")
    weight = layer.inputs[1].const_value.numpy()  # type: ignore[union-attr]
    shift = np.random.default_rng(2).normal(0, 0.1, by_output(layer, weight).shape)
    [covariance] = [found.value() for found in covariances(model, contract, samples, Silent()).values()]
    moved = answers(with_weight(model, shift), contract, samples)[0].astype(np.float64)
    change = np.moveaxis(moved - answers(model, contract, samples)[0], 1, 0).reshape(moved.shape[1], -1)
    rows = shift.reshape(len(covariance), -1, covariance.shape[1])
    told = np.einsum("gos,gst,got->go", rows, covariance, rows).reshape(-1)
    np.testing.assert_allclose(change.var(1), told, rtol=1e-4)


@pytest.mark.parametrize("kind", LAYERS)
def test_it_is_nearer_than_the_nearest_codes_on_the_same_scales(kind: str) -> None:
    model = captured(kind)
    contract, samples = contract_of(model), correlated(64, 3)
    options = QuantizeOptions("minmax", equalize=False, correct_bias=False, rounding="nearest")
    nearest = make_truth(model, contract, Job(samples, samples), options, "model").quantized
    found = covariances(model, contract, samples, Silent())
    made = round_with_feedback(nearest, found, WEIGHT_LIMIT)
    [covariance] = [each.value() for each in found.values()]

    def lost(int8: ir.Model) -> float:
        """The variance of what rounded weights change at the output."""
        (layer,) = nodes_of(int8, "Conv", "Gemm")
        codes = codes_of(layer, 1)
        assert codes is not None
        rows = by_output(layer, nearest.masters[codes.name] - codes.real()).reshape(
            len(covariance), -1, covariance.shape[1]
        )
        return float(np.einsum("gos,gst,got->", rows, covariance, rows))

    assert lost(made.model) < 0.75 * lost(nearest.model)
    (layer,), (before,) = nodes_of(made.model, "Conv", "Gemm"), nodes_of(nearest.model, "Conv", "Gemm")
    new, old = codes_of(layer, 1), codes_of(before, 1)
    assert new is not None
    assert old is not None
    assert np.array_equal(new.scales, old.scales)
    assert np.abs(new.integers().astype(int)).max() <= 127
    assert 0.02 < np.mean(new.integers() != old.integers()) < 0.9


def test_a_wide_layer_falls_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.export.onnx.quantize.gptq.LARGEST", 30)
    model = captured("dense")
    [found] = covariances(model, contract_of(model), correlated(4, 5), Silent()).values()
    assert found.value().shape == (2, 27, 27)


def test_dead_inputs_keep_their_weights() -> None:
    model = captured("dense")
    samples = correlated(32, 6)
    samples.inputs["input"][:, 2:4] = 0.0
    truth = make_truth(model, contract_of(model), Job(samples, samples), QuantizeOptions("minmax"), "model")
    assert "minmax, gptq" in truth.notes["tried_db"]["as given"]
    assert np.isfinite(truth.notes["snr_db"])
