"""Small torch modules through coremltools' own frontend: the evaluator answers as torch does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgewright.runtimes.mil.interpreter import Machine
from edgewright.runtimes.mil.program import open_program


class Fn(nn.Module):
    def __init__(self, function: Callable[..., Any], *modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.inner = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.inner)


def seq(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules)


IMAGE, ROWS, TIME = (1, 6, 9, 8), (3, 12), (2, 7, 6)
MODELS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "conv": (IMAGE, lambda: seq(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())),
    "conv same": (IMAGE, lambda: nn.Conv2d(6, 4, (3, 5), padding="same")),
    "grouped dilated": (IMAGE, lambda: nn.Conv2d(6, 9, 3, padding=2, dilation=2, groups=3)),
    "depthwise": (IMAGE, lambda: seq(nn.Conv2d(6, 6, 3, groups=6), nn.ReLU6(), nn.Conv2d(6, 3, 1))),
    "conv1d": ((2, 6, 20), lambda: seq(nn.Conv1d(6, 5, 5, 2), nn.BatchNorm1d(5), nn.Hardswish())),
    "conv3d": ((1, 2, 5, 6, 7), lambda: nn.Conv3d(2, 4, 3, (1, 2, 1), 1)),
    "transposed": (IMAGE, lambda: nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1)),
    "transposed grouped": (IMAGE, lambda: nn.ConvTranspose2d(6, 4, (2, 3), (2, 1), groups=2)),
    "transposed 1d": ((1, 4, 9), lambda: nn.ConvTranspose1d(4, 3, 4, 3, 1)),
    "max pool": (IMAGE, lambda: seq(nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2))),
    "max pool ceil": (IMAGE, lambda: nn.MaxPool2d(2, 2, ceil_mode=True)),
    "average pool": (IMAGE, lambda: nn.AvgPool2d(3, 2, 1)),
    "average pool ceil": (IMAGE, lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
    "adaptive": (IMAGE, lambda: seq(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))),
    "mlp": (ROWS, lambda: seq(nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 5), nn.LogSoftmax(-1))),
    "gelu tanh": (ROWS, lambda: nn.GELU("tanh")),
    "activations": (ROWS, lambda: seq(nn.SiLU(), nn.ELU(0.7), nn.Softplus(), nn.Mish(), nn.LeakyReLU(0.2))),
    "hard": (ROWS, lambda: seq(nn.Hardsigmoid(), nn.Hardtanh(-0.2, 0.7), nn.Softsign(), nn.Tanh())),
    "prelu": (IMAGE, lambda: nn.PReLU(6, 0.3)),
    "layer norm": (TIME, lambda: nn.LayerNorm((7, 6))),
    "group norm": (IMAGE, lambda: nn.GroupNorm(3, 6)),
    "instance norm": (IMAGE, lambda: nn.InstanceNorm2d(6, affine=True)),
    "lrn": (IMAGE, lambda: nn.LocalResponseNorm(3, 0.3)),
    "lstm": (TIME, lambda: Fn(lambda x, m: m(x)[0], nn.LSTM(6, 5, 2, batch_first=True))),
    "lstm both ways": (TIME, lambda: Fn(lambda x, m: m(x), nn.LSTM(6, 4, bidirectional=True))),
    "gru": (TIME, lambda: Fn(lambda x, m: m(x)[0], nn.GRU(6, 5, batch_first=True))),
    "gru both ways": (TIME, lambda: Fn(lambda x, m: m(x)[0], nn.GRU(6, 5, bidirectional=True))),
    "rnn": (TIME, lambda: Fn(lambda x, m: m(x)[0], nn.RNN(6, 5))),
    "attention": (TIME, lambda: Fn(lambda x, m: m(x, x, x)[0], nn.MultiheadAttention(6, 2, batch_first=True))),
    "encoder layer": (TIME, lambda: nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)),
    "sdpa": ((1, 2, 5, 4), lambda: Fn(lambda x: F.scaled_dot_product_attention(x, x, x))),
    "bilinear": (IMAGE, lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
    "bilinear corners": (IMAGE, lambda: nn.Upsample((13, 5), mode="bilinear", align_corners=True)),
    "nearest": (IMAGE, lambda: nn.Upsample(scale_factor=3, mode="nearest")),
    "grid sample": (
        (1, 2, 5, 5),
        lambda: Fn(lambda x: F.grid_sample(x, x.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)),
    ),
    "shuffle": ((1, 8, 3, 4), lambda: seq(nn.PixelShuffle(2), nn.PixelUnshuffle(2))),
    "pads": (IMAGE, lambda: seq(nn.ReflectionPad2d((1, 2, 0, 1)), nn.ReplicationPad2d(1), nn.ZeroPad2d((0, 1, 2, 0)))),
    "reductions": (TIME, lambda: Fn(lambda x: x.mean(1) + x.amax(1) - x.amin(1) + x.std(1) + x.logsumexp(1))),
    "norms": (TIME, lambda: Fn(lambda x: F.normalize(x, dim=1) + x.norm(dim=2, keepdim=True))),
    "slices": (TIME, lambda: Fn(lambda x: torch.cat([x[:, 1:6:2], x[:, -2:].flip(1)], 1).transpose(0, 1))),
    "split stack": (TIME, lambda: Fn(lambda x: torch.stack(x.split(2, 2)).permute(1, 0, 2, 3).squeeze(1))),
    "top k": (ROWS, lambda: Fn(lambda x: x.topk(4, 1)[0])),
    "sorted": (ROWS, lambda: Fn(lambda x: x.sort(1)[0].cumsum(0))),
    "triangles": (TIME, lambda: Fn(lambda x: x.tril(-1) + x.triu(2))),
    "gather": (TIME, lambda: Fn(lambda x: x[:, [3, 0, 6]] + x.gather(1, x[:, :3].long().abs()))),
    "where": (ROWS, lambda: Fn(lambda x: torch.where((x > 0) & (x < 1), x.sqrt(), x.square()).nan_to_num())),
    "einsum": (TIME, lambda: Fn(lambda x: torch.einsum("bij,bkj->bik", x, x))),
    "trigonometry": (ROWS, lambda: Fn(lambda x: x.sin() * x.cos() + x.atan() - x.tanh().asin() + x.erf() + x.exp2())),
    "division": (
        ROWS,
        lambda: Fn(lambda x: x.remainder(0.7) + x.div(0.3, rounding_mode="floor") + (1 - x).abs().log()),
    ),
    "embedding": (ROWS, lambda: Fn(lambda x, m: m(x.abs().floor().long()), nn.Embedding(9, 4))),
}


@pytest.fixture
def traced_attention() -> Iterator[None]:
    """torch's fused attention cannot be traced."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(was)


@pytest.mark.usefixtures("traced_attention")
@pytest.mark.parametrize("name", MODELS)
def test_answers_like_torch(name: str, saved: Callable[[Any], Path]) -> None:
    shape, make = MODELS[name]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module, x = make().eval(), torch.randn(shape)
    with torch.no_grad():
        answer = module(x)
    package = saved(lambda place: converted(module, x, place))
    outputs = list(Machine(open_program(package)).call({"x": x.numpy()}).outputs.values())
    expected = flat(answer)
    assert len(outputs) == len(expected)
    for found, wanted in zip(outputs, expected, strict=True):
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def converted(module: nn.Module, x: Tensor, place: str) -> Any:
    import coremltools as ct

    with torch.no_grad():
        traced = torch.jit.trace(module, x, check_trace=False)
    return ct.convert(
        traced,
        inputs=[ct.TensorType("x", x.shape)],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
        package_dir=place,
    )


def flat(answer: Any) -> list[np.ndarray[Any, Any]]:
    if isinstance(answer, Tensor):
        return [answer.numpy()]
    return [array for part in answer for array in flat(part)]
