"""Open lengths: one file for several shapes, answers compared with ONNX Runtime on the model as it came."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from coremltools.converters.mil.frontend.milproto.load import load
from numpy.typing import NDArray
from torch import Tensor, nn

from edgewright.errors import BadInput, BadModel, UnsupportedOps
from edgewright.export.coreml.convert import convert
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.onnx.foreign import import_onnx
from edgewright.export.onnx.passes.batch import InputShape, input_shapes, split_shapes
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import digest_of
from edgewright.runtimes.mil.session import MilSession
from tests.export.coreml.packages import op_types, read_spec

Shape = tuple[int, ...]
WEIGHTS = "Data/com.apple.CoreML/weights"


class Joined(nn.Module):
    """Halves an image, doubles it again and joins both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.deep = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.last = nn.Conv2d(12, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x).relu()
        deep = nn.functional.interpolate(self.deep(first).relu(), scale_factor=2.0, mode="bilinear")
        out: Tensor = self.last(torch.cat([first, deep], 1))
        return out


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.mix(x).reshape(n, t, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-1, -2) * 0.5).softmax(-1)
        out: Tensor = self.out((weights @ v).transpose(1, 2).reshape(n, t, d))
        return out


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cells = kind(6, 8, batch_first=True)  # type: ignore[call-arg]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cells(x)[0][:, -1]
        return out


class Cuts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 1:-1], x[:, 2:], x[:, -3:], x[:, :3]], 1)


def classifier() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5))


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU6(), nn.Conv2d(4, 2, 1))


def signal_net() -> nn.Module:
    pooled = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4), nn.Softmax(-1))
    return nn.Sequential(nn.Conv1d(6, 8, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3), pooled)


def imported(folder: Path, network: nn.Module, shape: Shape, text: str) -> tuple[Path, Path]:
    """The model as torch writes it, open where `text` says so, and its clean form."""
    asked = input_shapes(split_shapes([text]))
    path, clean = folder / "given.onnx", folder / "clean.onnx"
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(shape),),
            str(path),
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {axis: f"n{axis}" for axis in asked["x"].open_axes}},
            dynamo=False,
        )
    import_onnx(path, clean, asked)
    return path, clean


def noise(shape: Shape) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


CASES: list[tuple[Any, Shape, str, list[Shape]]] = [
    (classifier, (1, 3, 8, 8), "x=1..8,3,8,8", [(1, 3, 8, 8), (5, 3, 8, 8), (8, 3, 8, 8)]),
    (convolutional, (1, 3, 32, 33), "x=1,3,32?16..64,33?16..64", [(1, 3, 32, 33), (1, 3, 17, 64)]),
    (Joined, (1, 3, 32, 32), "x=1,3,32,32|1,3,48,48|1,3,64,64", [(1, 3, n, n) for n in (32, 48, 64)]),
    (Joined, (1, 3, 32, 48), "x=1,3,32,48|1,3,48,64", [(1, 3, 32, 48), (1, 3, 48, 64)]),
    (signal_net, (1, 6, 100), "x=1..3,6,100?10..200", [(1, 6, 100), (2, 6, 33), (3, 6, 200)]),
    (Attention, (1, 20, 16), "x=1,20?1..64,16", [(1, 20, 16), (1, 7, 16), (1, 64, 16)]),
    (lambda: Recurrent(nn.LSTM), (1, 20, 6), "x=1,20?1..64,6", [(1, 20, 6), (1, 7, 6)]),
    (Cuts, (1, 20, 6), "x=1,20?5..64,6", [(1, 20, 6), (1, 7, 6)]),
]


@pytest.mark.parametrize(("make", "shape", "text", "lengths"), CASES)
def test_one_file_answers_at_every_length(
    make: Any, shape: Shape, text: str, lengths: list[Shape], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    path, clean = imported(tmp_path, make(), shape, text)
    out = tmp_path / "m.mlpackage"
    convert(clean, out, CoremlOptions(), np.float32)
    spec, session, reference = read_spec(out), MilSession(out), ort.InferenceSession(path)
    function = load(spec, spec.specificationVersion, str(out / WEIGHTS)).functions["main"]
    assert [str(n).startswith("is") for n in function.inputs["x"].shape] == [
        axis in input_shapes(split_shapes([text]))["x"].open_axes for axis in range(len(shape))
    ]
    for each in lengths:
        x = noise(each)
        assert snr_db(reference.run(None, {"x": x})[0], session.run({"x": x})["y"]) > 110


def test_the_description_says_ranges_and_the_session_holds_them(tmp_path: Path) -> None:
    _, clean = imported(tmp_path, signal_net(), (1, 6, 100), "x=1?,6,100?10..200")
    out, again = tmp_path / "m.mlpackage", tmp_path / "again.mlpackage"
    notes = convert(clean, out, CoremlOptions(), np.float16)
    convert(clean, again, CoremlOptions(), np.float16)
    assert digest_of(out) == digest_of(again)
    assert notes["open_lengths"] == ["x: 1..64,6,100?10..200"]
    array = read_spec(out).description.input[0].type.multiArrayType
    assert list(array.shape) == [1, 6, 100]
    assert [(r.lowerBound, r.upperBound) for r in array.shapeRange.sizeRanges] == [(1, 64), (6, 6), (10, 200)]
    assert list(read_spec(out).description.output[0].type.multiArrayType.shape) == []
    session = MilSession(out)
    with pytest.raises(BadInput, match="input 'x' has length 201 at axis 2, wanted 10 to 200"):
        session.run({"x": noise((1, 6, 201))})
    with pytest.raises(BadInput, match="input 'x' has length 65 at axis 0, wanted 1 to 64"):
        session.run({"x": noise((65, 6, 100))})


def test_the_description_says_the_only_shapes_and_the_session_holds_them(tmp_path: Path) -> None:
    _, clean = imported(tmp_path, convolutional(), (1, 3, 32, 32), "x=1,3,32,32|1,3,48,48|1,3,64,64")
    out = tmp_path / "m.mlpackage"
    convert(clean, out, CoremlOptions(), np.float32)
    array = read_spec(out).description.input[0].type.multiArrayType
    assert [list(shape.shape) for shape in array.enumeratedShapes.shapes] == [[1, 3, n, n] for n in (32, 48, 64)]
    with pytest.raises(BadInput, match="wants shape 1×3×32×32 or 1×3×48×48 or 1×3×64×64, got 1×3×32×64"):
        MilSession(out).run({"x": noise((1, 3, 32, 64))})


def test_a_batch_becomes_one_operation_not_a_copy_of_each_length(tmp_path: Path) -> None:
    _, clean = imported(tmp_path, classifier(), (1, 3, 8, 8), "x=1..8,3,8,8")
    out = tmp_path / "m.mlpackage"
    convert(clean, out, CoremlOptions(), np.float32)
    assert op_types(out) == ["conv", "relu", "max_pool", "reshape", "linear"]


@pytest.mark.parametrize(
    ("make", "shape", "text", "reason"),
    [
        (
            lambda: Recurrent(nn.LSTM),
            (1, 20, 6),
            "x=1..4,20,6",
            r"lstm × 1: its initial_c depends on the open length 1\?; its initial_h .* fixed length in --shape \(\w+\)",
        ),
        (lambda: Recurrent(nn.GRU), (1, 20, 6), "x=1,20?2..64,6", r"less × 1: its y depends on the open length 20\?"),
        (
            lambda: nn.Sequential(nn.Conv1d(6, 4, 3), nn.MaxPool1d(2, ceil_mode=True)),
            (1, 6, 20),
            "x=1,6,20?8..64",
            r"MaxPool \(MaxPool\): its attributes",
        ),
    ],
)
def test_what_cannot_stay_open_is_refused_by_operation_and_length(
    make: Any, shape: Shape, text: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises((UnsupportedOps, BadModel), match=reason):
        _, clean = imported(tmp_path, make(), shape, text)
        convert(clean, tmp_path / "m.mlpackage", CoremlOptions(), np.float32)
    assert not (tmp_path / "m.mlpackage").exists()


def test_lengths_that_do_not_fit_advise_choices(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"68 and 195 were tried\); give that axis a fixed length .*, or choices"):
        imported(tmp_path, Joined(), (1, 3, 32, 32), "x=1,3,32?16..64,32")


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("x=1..8,3", InputShape((1, 3), (0,), ((1, 8),))),
        ("x=4?1..8,3", InputShape((4, 3), (0,), ((1, 8),))),
        ("x=1?,20?5..64", InputShape((1, 20), (0, 1), ((1, None), (5, 64)))),
        ("x=1,64,64|1,96,96", InputShape((1, 64, 64), (1, 2), (), ((1, 64, 64), (1, 96, 96)))),
        ("x=1,64|1,64", InputShape((1, 64))),
    ],
)
def test_shapes_as_text(text: str, shape: InputShape) -> None:
    assert input_shapes(split_shapes([text])) == {"x": shape}
    assert input_shapes(split_shapes([f"x={shape}"])) == {"x": shape}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x=8..4,3", "'8..4' at axis 0"),
        ("x=9?1..8,3", r"'9\?1..8' at axis 0"),
        ("x=4?8,3", r"'4\?8' at axis 0"),
        ("x=1,32..64,32..96", "begin with different ones"),
        ("x=1,3|1,3,4", "choices are whole shapes, all with the same number of axes"),
        ("x=1,3|1..4,3", "choices are whole shapes"),
        ("x=1,64,64|1,96,128", "begin with a choice whose open lengths all differ"),
    ],
)
def test_shapes_that_are_none(text: str, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        input_shapes(split_shapes([text]))
