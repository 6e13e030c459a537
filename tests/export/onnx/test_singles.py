"""Files of float16 and float64 are computed in float32, and say in their contract what they were."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edgewright import api
from edgewright.export.onnx.file import contract_of, load_onnx
from edgewright.export.onnx.foreign import import_onnx
from edgewright.export.onnx.passes.batch import input_shapes
from edgewright.export.verify import snr_db
from edgewright.runtimes.mil.session import MilSession
from edgewright.runtimes.ort import OnnxSession
from edgewright.runtimes.tflite_view import open_tflite

OTHERS = (TensorProto.FLOAT16, TensorProto.DOUBLE)
# constants of float16 are written by their bits: 2 and 1
BRANCHES = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (TYPE[N,3,8,8] x, int64[1] n, bool c) => (TYPE[N,4] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w, b) r = Relu (a)
        k = Constant <value = TYPE[1] {16384}> () m = Mul (r, k)
        s = If (c) <then_branch = t () => (TYPE[1] p) { p = Cast <to = NUMBER> (n) },
                    else_branch = e () => (TYPE[1] q) { q = Constant <value = TYPE[1] {15360}> () }>
        d = Add (m, s) y = ReduceMean <keepdims = 0> (d, axes)
    }"""
PRODUCT = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (TYPE[N,8] x) => (TYPE[N,4] y) { a = MatMul (x, w) y = Tanh (a) }"""


def saved(path: Path, text: str, kind: str, shapes: dict[str, tuple[int, ...]]) -> Path:
    number = {"float16": TensorProto.FLOAT16, "double": TensorProto.DOUBLE}[kind]
    model = onnx.parser.parse_model(text.replace("TYPE", kind).replace("NUMBER", str(number)))
    random, dtype = np.random.default_rng(0), onnx.helper.tensor_dtype_to_np_dtype(number)
    arrays: dict[str, NDArray[Any]] = {k: random.normal(size=shape).astype(dtype) for k, shape in shapes.items()}
    if "axes" in text:
        arrays["axes"] = np.array([2, 3])
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def half_net(folder: Path) -> Path:
    return saved(folder / "half.onnx", BRANCHES, "float16", {"w": (4, 3, 3, 3), "b": (4,)})


def floats_in(path: Path) -> set[int]:
    """Element types of all values and constants, those of branches too."""
    model = load_onnx(path)
    values = [value for graph in model.graphs() for value in (*graph.inputs, *graph.initializers.values())]
    values += [output for node in model.graph.all_nodes() for output in node.outputs]
    return {int(value.dtype) for value in values if value.dtype is not None}


@pytest.mark.parametrize("condition", [True, False])
def test_a_float16_file_answers_as_it_did(condition: bool, tmp_path: Path) -> None:
    source, out = half_net(tmp_path), tmp_path / "clean.onnx"
    notes = import_onnx(source, out)
    assert notes["passes"]["compute_in_float32"] > 8
    assert not floats_in(out) & set(OTHERS)
    contract = contract_of(load_onnx(out))
    held = [(info.name, info.dtype, info.file_dtype) for info in (*contract.inputs, *contract.outputs)]
    assert held == [
        ("x", "float16", "float32"), ("n", "int64", None), ("c", "bool", None), ("y", "float16", "float32"),
    ]  # fmt: skip
    x = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float16)
    inputs = {"x": x, "n": np.array([3]), "c": np.array(condition)}
    wanted, found = (OnnxSession(path, 1).run(inputs)["y"] for path in (source, out))
    assert found.dtype == wanted.dtype == np.float16
    assert snr_db(wanted.astype(np.float32), found.astype(np.float32)) > 55


def test_a_float64_file_is_computed_in_float32(tmp_path: Path) -> None:
    source = saved(tmp_path / "d.onnx", PRODUCT, "double", {"w": (8, 4)})
    out = tmp_path / "clean.onnx"
    import_onnx(source, out, input_shapes({"x": ("2?", 8)}))
    assert not floats_in(out) & set(OTHERS)
    [info] = contract_of(load_onnx(out)).inputs
    assert (info.dtype, info.file_dtype, info.open_axes) == ("float64", "float32", (0,))
    x = np.random.default_rng(1).normal(size=(2, 8))
    wanted, found = (OnnxSession(path, 1).run({"x": x})["y"] for path in (source, out))
    assert found.dtype == wanted.dtype == np.float64
    assert snr_db(wanted, found) > 120


def test_float64_inside_a_float32_graph_stays(tmp_path: Path) -> None:
    path, out = tmp_path / "m.onnx", tmp_path / "clean.onnx"
    text = """<ir_version: 10, opset_import: ["" : 21]> g (float[1,4] x) => (float[1,4] y) {
        a = Cast <to = 11> (x) b = CumSum (a, axis) y = Cast <to = 1> (b) }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.array(1), "axis"))
    onnx.save(model, path)
    assert import_onnx(path, out)["passes"]["compute_in_float32"] == 0
    assert TensorProto.DOUBLE in floats_in(out)


def test_other_formats_are_made_of_float16_files(tmp_path: Path) -> None:
    source, x = half_net(tmp_path), np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float16)
    inputs = {"x": x, "n": np.array([3]), "c": np.array(True)}
    wanted = OnnxSession(source, 1).run(inputs)["y"].astype(np.float32)
    made = {}
    for precision in ("float32", "float16"):
        for suffix in ("tflite", "mlpackage"):
            out = tmp_path / f"{precision}.{suffix}"
            done = api.convert(str(source), out, precision=precision, store=tmp_path / "store")
            made[out.name] = done.out
    assert open_tflite(made["float32.tflite"]).contract.inputs[0].file_dtype == "float32"
    session = MilSession(made["float16.mlpackage"])
    assert (session.contract.inputs[0].dtype, session.contract.inputs[0].file_dtype) == ("float16", "float32")
    assert snr_db(wanted, session.run(inputs)["y"].astype(np.float32)) > 50
    again = api.convert(str(source), tmp_path / "same.onnx", precision="float16", store=tmp_path / "store")
    assert again.out.read_bytes() == source.read_bytes()
