"""Weights past protobuf: the same bytes, the same values, no copies."""

import io
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.errors import BadModel
from edgewright.export.onnx.file import contract_of, forget_weights, load_onnx, reopen, save_model
from edgewright.export.onnx.wire import SMALL_BYTES, split_model, write_model

RANDOM = np.random.default_rng(0)
WEIGHTS = {
    "float": RANDOM.standard_normal((40, 30)).astype(np.float32),
    "half": RANDOM.standard_normal((40, 30)).astype(np.float16),
    "brain": RANDOM.standard_normal((40, 30)).astype(ml_dtypes.bfloat16),
    "codes": RANDOM.integers(-128, 128, (3, 1, 700)).astype(np.int8),
    "long": np.arange(300),
    "small": np.arange(4, dtype=np.float32),
}


def model(**weights: np.ndarray) -> onnx.ModelProto:
    """Each weight is an initializer that an Identity gives."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in weights]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    outputs = [helper.make_tensor_value_info(f"{t.name}_out", t.data_type, t.dims) for t in tensors]
    graph = helper.make_graph(nodes, "g", [], outputs, tensors)
    made = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    helper.set_model_props(made, {"key": "value"})  # a field behind the graph
    return made


def test_large_initializers_are_views_of_the_file() -> None:
    content = model(**WEIGHTS).SerializeToString()
    shell, weights = split_model(content)
    assert list(weights) == ["float", "half", "brain", "codes", "long"]
    for name, tensor in weights.items():
        array = tensor.numpy()
        np.testing.assert_array_equal(array, WEIGHTS[name])
        assert array.dtype == WEIGHTS[name].dtype
        assert np.shares_memory(array, np.frombuffer(content, np.uint8))
    held = {tensor.name: tensor for tensor in onnx.load_model_from_string(shell).graph.initializer}
    assert list(held) == list(WEIGHTS)
    assert [len(tensor.raw_data) for tensor in held.values()] == [0, 0, 0, 0, 0, 16]
    assert [tuple(tensor.dims) for tensor in held.values()] == [array.shape for array in WEIGHTS.values()]


def test_what_is_written_is_what_protobuf_writes() -> None:
    whole = model(**WEIGHTS)
    content = whole.SerializeToString(deterministic=True)
    shell, weights = split_model(content)
    out = io.BytesIO()
    write_model(onnx.load_model_from_string(shell), weights, out)
    assert out.getvalue() == content


def test_values_that_are_no_whole_bytes_stay_with_protobuf() -> None:
    packed = helper.make_tensor("w", TensorProto.INT4, [4 * SMALL_BYTES], bytes(2 * SMALL_BYTES), raw=True)
    listed = helper.make_tensor("v", TensorProto.FLOAT, [SMALL_BYTES], [1.0] * SMALL_BYTES)
    whole = model(small=WEIGHTS["small"])
    whole.graph.initializer.extend([packed, listed])
    content = whole.SerializeToString(deterministic=True)
    assert split_model(content) == (content, {})


@pytest.mark.parametrize("cut", [1, 9, 1500, 4000])
def test_a_cut_file_is_refused(cut: int, tmp_path: Path) -> None:
    content = model(**WEIGHTS).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content[:-cut])
    with pytest.raises(BadModel, match="not readable as ONNX"):
        load_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("dims", [[40, 31], [-1, 30], [2400], [1]])
def test_weights_of_another_size_than_they_say_are_refused(dims: list[int], tmp_path: Path) -> None:
    whole = model(float=WEIGHTS["float"])
    whole.graph.initializer[0].dims[:] = dims
    onnx.save(whole, tmp_path / "m.onnx")
    with pytest.raises(BadModel, match="initializer float: 4800 bytes for FLOAT"):
        load_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["float", "small"])
def test_a_name_twice_is_refused(name: str, tmp_path: Path) -> None:
    whole = model(**{name: WEIGHTS[name]})
    whole.graph.initializer.append(whole.graph.initializer[0])
    onnx.save(whole, tmp_path / "m.onnx")
    with pytest.raises(BadModel, match=f"more than one initializer is called {name}"):
        load_onnx(tmp_path / "m.onnx")


def test_saving_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    onnx.save(model(**WEIGHTS), tmp_path / "in.onnx")
    loaded = load_onnx(tmp_path / "in.onnx")
    for name in ("a", "b"):
        save_model(loaded, contract_of(loaded), tmp_path / f"{name}.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    again = reopen(tmp_path / "a.onnx")
    for name, array in WEIGHTS.items():
        tensor = again.graph.initializers[name].const_value
        assert tensor is not None
        np.testing.assert_array_equal(tensor.numpy(), array)
    forget_weights(again)
    assert all(value.const_value is None for value in again.graph.initializers.values())
