"""Equalized networks compute the same function, with channels of like range; int8 then survives spread channels."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgewright.data import Samples
from edgewright.export.capture import capture_module
from edgewright.export.onnx.file import contract_of
from edgewright.export.onnx.quantize.channels import Channels, observe_channels, outlier_notes
from edgewright.export.onnx.quantize.equalize import channel_groups, equalize, replay
from edgewright.export.onnx.quantize.factors import decode, encode
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.quantized import answers
from edgewright.export.onnx.quantize.truth import make_truth
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Job
from edgewright.export.verify import snr_db
from edgewright.progress import Silent
from tests.models import Residual


def spread(convolution: nn.Module, following: nn.Module, factor: float) -> None:
    """Outputs × s, the reader's inputs / s, s from 1 / factor to factor: the function stays."""
    steps = torch.logspace(-np.log10(factor), np.log10(factor), convolution.weight.shape[0])
    with torch.no_grad():
        convolution.weight.mul_(steps.reshape(-1, *[1] * (convolution.weight.ndim - 1)))
        convolution.bias.mul_(steps)
        axis = 0 if getattr(following, "groups", 1) > 1 else 1
        shape = [1] * following.weight.ndim
        shape[axis] = -1
        following.weight.div_(steps.reshape(shape))


def depthwise() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.Conv2d(16, 8, 1),
        nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    spread(body[0], body[1], 10)
    spread(body[1], body[3], 10)
    return body


def transposed() -> nn.Module:
    torch.manual_seed(1)
    body = nn.Sequential(nn.ConvTranspose2d(3, 8, 2, 2), nn.LeakyReLU(0.1), nn.ConvTranspose2d(8, 4, 2, 2, groups=2))
    with torch.no_grad():
        steps = torch.logspace(-1, 1, 8)
        body[0].weight.mul_(steps.reshape(1, -1, 1, 1))
        body[0].bias.mul_(steps)
        body[2].weight.div_(steps.reshape(-1, 1, 1, 1))
    return nn.Sequential(*body, nn.Conv2d(4, 2, 1))


def residual() -> nn.Module:
    torch.manual_seed(2)
    first, inner, last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
    return nn.Sequential(first, nn.ReLU(), Residual(nn.Sequential(inner, nn.ReLU())), last)


def bounded() -> nn.Module:
    torch.manual_seed(3)
    first, second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8)
    with torch.no_grad():
        first.weight[:4] *= 20  # reaches 6
        first.weight[4:] *= 0.05
    return nn.Sequential(first, nn.ReLU6(), second, nn.ReLU6(), nn.Conv2d(8, 4, 1))


def captured(build: Callable[[], nn.Module]) -> ir.Model:
    module = build().eval()
    return simplify(capture_module(module, {"input": torch.zeros(1, 3, 12, 12)}, ["output"]))[0]


def drawn(count: int, seed: int) -> Samples:
    return Samples({"input": np.random.default_rng(seed).normal(0, 1, (count, 3, 12, 12)).astype(np.float32)})


@pytest.mark.parametrize(
    ("build", "groups"),
    [(depthwise, 3), (transposed, 2), (residual, 1), (bounded, 2)],
    ids=["depthwise", "transposed", "residual", "bounded"],
)
def test_the_function_stays_and_the_channels_come_nearer(build: Callable[[], nn.Module], groups: int) -> None:
    model = captured(build)
    contract, samples = contract_of(model), drawn(16, 0)
    found = channel_groups(model)
    assert len(found) == groups
    names = {str(value.name) for group in found for value in group.tensors}
    before = observe_channels(model, contract, names, samples, Silent())
    wanted = answers(model, contract, samples)
    again = model.clone()
    factors = equalize(found, before)
    assert factors
    replay(again, decode(encode(factors)))
    for given, other in zip(answers(model, contract, samples), answers(again, contract, samples), strict=True):
        assert np.array_equal(given, other)
    assert min(map(snr_db, wanted, answers(model, contract, samples))) > 100
    after = observe_channels(model, contract, names, samples, Silent())
    unevenness = [np.mean([uneven(seen[name]) for name in names]) for seen in (before, after)]
    assert unevenness[1] < unevenness[0]


def uneven(channels: Channels) -> float:
    """The standard deviation of the octaves of the channels' spans."""
    return float(np.std(np.log2(channels.span[channels.span > 0])))


def test_a_tensor_that_someone_else_reads_is_left_alone() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inner = self.first(x)
            return self.second(inner) * torch.sigmoid(inner)

    assert channel_groups(captured(Branching)) == []


def test_spread_channels_come_back_and_are_named() -> None:
    """Per-tensor activations lose the small channels; equalization gives them back. The float function is the same."""
    model = captured(depthwise)
    contract, job = contract_of(model), Job(drawn(64, 1), drawn(32, 2))
    wanted = answers(model, contract, drawn(64, 3))
    found = {}
    for on in (False, True):
        truth = make_truth(model, contract, job, QuantizeOptions(equalize=on, correct_bias=False), "model")
        found[on] = min(map(snr_db, wanted, answers(truth.quantized.model, contract, drawn(64, 3))))
    assert found[True] > found[False] + 6
    assert truth.notes["weights"] == "equalized"
    assert truth.notes["outlier_channels"][0]["times_median"] > 8


def test_inputs_of_unlike_channels_are_scaled_in_float_on_request() -> None:
    """Three sensors of unlike units on one input: without a factor each, the small ones fall between two codes."""
    torch.manual_seed(4)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    units = torch.tensor([0.02, 1.0, 30.0]).reshape(1, -1, 1, 1)
    with torch.no_grad():
        module[0].weight.div_(units)
    model = captured(lambda: module)
    contract = contract_of(model)

    def data(seed: int) -> Samples:
        return Samples({"input": drawn(48, seed).inputs["input"] * units.numpy()})

    wanted, found = answers(model, contract, data(3)), {}
    for on in (False, True):
        options = QuantizeOptions(scale_inputs=on)
        truth = make_truth(model.clone(), contract, Job(data(1), data(2)), options, "model")
        found[on] = min(map(snr_db, wanted, answers(truth.quantized.model, contract, data(3))))
    assert found[True] > found[False] + 10
    assert truth.notes["weights"].endswith("inputs scaled")
    [row] = truth.notes["float_ops"]
    assert (row["op"], row["node"]) == ("Mul", "input_scaling")
    assert "like ranges" in row["why"]


def test_outlier_channels_of_a_tensor() -> None:
    ones = np.ones(9)
    wide = Channels(-ones, np.array([*ones[:8], 39.0]), ones)
    assert wide.outliers() == [(8, 20.0)]
    assert outlier_notes({"a": wide, "b": Channels(-ones, ones, ones)}) == [
        {"tensor": "a", "channel": 8, "times_median": 20.0}
    ]


def test_channels_that_a_clip_makes_zero_are_left_alone() -> None:
    """A bound of zero, which nothing exceeds: no division by it."""

    class Zeroed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.clamp(x, 0.0, 0.0)

    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 1), Zeroed(), nn.Conv2d(8, 4, 1))

    model, samples = captured(build), drawn(8, 0)
    groups = channel_groups(model)
    assert [bound for group in groups for _, bound in group.bounds] == [0.0]
    names = {str(value.name) for group in groups for value in group.tensors}
    assert equalize(groups, observe_channels(model, contract_of(model), names, samples, Silent())) == {}
