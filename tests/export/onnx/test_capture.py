"""torch → clean ONNX: the five networks, and modules that cannot be captured."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgewright.errors import BadModel
from edgewright.export.capture import capture_module
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.simplify import simplify
from tests.models import NETWORKS

OPS = {
    "watch_cnn": {"Conv": 3, "Relu": 3, "MaxPool": 3, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1},
    "student_net": {"Conv": 15, "Clip": 8, "MaxPool": 4, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1},
    "mobilenet_v2": {"Conv": 52, "Clip": 35, "Add": 11, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1},
    "resnet18": {"Conv": 20, "Relu": 17, "Add": 8, "MaxPool": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1},
    "efficientnet_lite0": {"Conv": 49, "Clip": 33, "Add": 10, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1},
}


def run(path: Path, feeds: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, dict(feeds))
    return outputs


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_clean_and_answer_as_torch(
    name: str, clean_models: Mapping[str, Path], probes: Mapping[str, NDArray[np.float32]]
) -> None:
    proto = onnx.load(clean_models[name])
    onnx.checker.check_model(proto, full_check=True)
    assert Counter(node.op_type for node in proto.graph.node) == OPS[name]
    assert len({node.name for node in proto.graph.node}) == len(proto.graph.node)
    assert {info.name for info in proto.graph.value_info} >= {node.output[0] for node in proto.graph.node[:-1]}
    assert "models.py" not in str(proto)
    contract = contract_of(load_onnx(clean_models[name]))
    assert [info.name for info in contract.inputs + contract.outputs] == ["input", "output"]
    module = NETWORKS[name][0]()
    with torch.no_grad():
        wanted = module(torch.from_numpy(probes[name])).numpy()
    given = np.concatenate([run(clean_models[name], {"input": probe[None]})[0] for probe in probes[name]])
    np.testing.assert_allclose(given, wanted, atol=1e-4)
    assert len(set(wanted.argmax(1))) > 2


class Several(nn.Module):
    """Two inputs, two outputs, an LSTM whose weights the exporter slices and joins."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)

    def forward(self, signal: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        states, _ = self.lstm(signal)
        return states * gain, nn.functional.silu(states)


def test_names_order_and_constants_of_a_recurrent_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, signal, gain = Several().eval(), torch.randn(1, 5, 3), torch.randn(1, 5, 4)
    model, counts = simplify(capture_module(module, {"a": signal, "b": gain}, ["scaled", "gated"]))
    assert [value.name for value in model.graph.inputs] == ["a", "b"]
    assert [value.name for value in model.graph.outputs] == ["scaled", "gated"]
    ops = Counter(node.op_type for node in model.graph)
    assert ops["LSTM"] == 1
    assert ops["Sigmoid"] == 1
    assert not {"Slice", "Concat", "Identity"} & set(ops)
    assert counts["fold_constants"] > 0
    save_model(model, contract_of(model), tmp_path / "m.onnx")
    given = run(tmp_path / "m.onnx", {"a": signal.numpy(), "b": gain.numpy()})
    with torch.no_grad():
        for ours, wanted in zip(given, module(signal, gain), strict=True):
            np.testing.assert_allclose(ours, wanted.numpy(), atol=1e-6)


def test_the_same_module_gives_the_same_bytes(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Hardswish(), nn.Flatten(), nn.Linear(12, 2)).eval()
    for name in ("a.onnx", "b.onnx"):
        model, _ = simplify(capture_module(module, {"x": torch.zeros(1, 2, 6)}))
        save_model(model, contract_of(model), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node] == [
        "Conv",
        "HardSwish",
        "Flatten",
        "Gemm",
    ]


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(f"the sensor of {x.ndim} axes is upside down")


@pytest.mark.parametrize(
    ("module", "reason"), [(Branching(), "torch.where"), (Raising(), "the sensor of 2 axes is upside down")]
)
def test_what_torch_cannot_export_says_why(module: nn.Module, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadModel, match=rf"(?s)torch cannot export {type(module).__name__}.*{reason}"):
        capture_module(module, {"x": torch.zeros(1, 4)})
    assert capfd.readouterr().out == ""


def test_nan_weights_are_named() -> None:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[1, 2] = torch.nan
    with pytest.raises(BadModel, match=r"Sequential: NaN or infinity in 1 weight\(s\): 0.weight"):
        capture_module(nn.Sequential(layer), {"x": torch.zeros(1, 4)})


def test_a_name_for_both_ends_is_refused() -> None:
    with pytest.raises(BadModel, match=r"share the name\(s\) \['x'\]"):
        capture_module(nn.ReLU(), {"x": torch.zeros(1, 4)}, ["x"])


def test_logging_is_left_as_it_was() -> None:
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    capture_module(nn.ReLU(), {"x": torch.zeros(1, 4)})
    assert logger.level == before
