"""ONNX files are read with distrust and written alike each time."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.errors import BadModel, WriteFailed
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.runtimes.contract import Contract, TensorInfo


def small(weight: NDArray[np.float32] | None = None) -> onnx.ModelProto:
    array = np.ones((4, 3), np.float32) if weight is None else weight
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(array, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def external(location: str) -> onnx.ModelProto:
    model = small()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "48"}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_same_model_same_bytes_and_the_contract_comes_back(tmp_path: Path) -> None:
    onnx.save(small(), tmp_path / "in.onnx")
    contract = Contract((TensorInfo("x", (None, 4)),), (TensorInfo("y", (None, 3), "float64"),))
    for name in ("a.onnx", "b.onnx"):
        save_model(load_onnx(tmp_path / "in.onnx"), contract, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert contract_of(load_onnx(tmp_path / "a.onnx")) == contract


def test_a_foreign_file_states_its_contract(tmp_path: Path) -> None:
    onnx.save(small(), tmp_path / "in.onnx")
    contract = contract_of(load_onnx(tmp_path / "in.onnx"))
    assert contract == Contract((TensorInfo("x", (1, 4)),), (TensorInfo("y", (1, 3)),))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no graph"),
        (b"\xff\xfe not a protobuf", "not readable as ONNX"),
        (small().SerializeToString()[:60], "not readable as ONNX|not a valid ONNX|holds no graph"),
    ],
)
def test_corrupt_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BadModel, match=reason):
        load_onnx(tmp_path / "m.onnx")


def test_absent_and_invalid_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="no such file"):
        load_onnx(tmp_path / "none.onnx")
    model = small()
    model.graph.node[0].input[1] = "nowhere"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadModel, match=r"not a valid ONNX model.*nowhere"):
        load_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path: Path, bad: float) -> None:
    onnx.save(small(np.full((4, 3), bad, np.float32)), tmp_path / "m.onnx")
    with pytest.raises(BadModel, match=r"NaN or infinity in 1 weight\(s\): w;"):
        load_onnx(tmp_path / "m.onnx")


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    (tmp_path / "w.bin").write_bytes(weight.tobytes())
    (tmp_path / "m.onnx").write_bytes(external("w.bin").SerializeToString())
    value = load_onnx(tmp_path / "m.onnx").graph.initializers["w"].const_value
    assert value is not None
    np.testing.assert_array_equal(value.numpy(), weight)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../w.bin", "leaves the folder"),
        ("sub/../../w.bin", "leaves the folder"),
        ("..\\w.bin", "leaves the folder"),
        ("/etc/hostname", "is absolute or empty"),
        ("C:/w.bin", "is absolute or empty"),
        ("", "is absolute or empty"),
        ("link.bin", "is a link out of the folder"),
        ("none.bin", "is missing"),
    ],
)
def test_external_data_elsewhere_is_refused(tmp_path: Path, location: str, reason: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(48))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "m.onnx").write_bytes(external(location).SerializeToString())
    with pytest.raises(BadModel, match=f"w: .*{reason}"):
        load_onnx(folder / "m.onnx")


def test_a_short_external_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    (tmp_path / "m.onnx").write_bytes(external("w.bin").SerializeToString())
    with pytest.raises(BadModel, match="external weights are not readable"):
        load_onnx(tmp_path / "m.onnx")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(small(), tmp_path / "in.onnx")
    model = load_onnx(tmp_path / "in.onnx")
    out = tmp_path / "out.onnx"

    def half(proto: onnx.ModelProto, weights: object, file: BinaryIO) -> None:  # noqa: ARG001
        file.write(proto.SerializeToString()[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgewright.export.onnx.file.write_model", half)
    with pytest.raises(WriteFailed, match="No space left on device"):
        save_model(model, contract_of(model), out)
    assert not out.exists()
