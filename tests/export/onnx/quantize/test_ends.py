"""Files that take and give codes: fed with codes, they give the codes of the file with float ends."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgewright.devices.spec import Precision
from edgewright.errors import BadInput
from edgewright.export.onnx.file import contract_of, save_model
from edgewright.export.onnx.quantize.ends import IoType, set_io
from edgewright.export.onnx.quantize.recode import CodesForm, recode
from edgewright.export.steps import Job
from edgewright.export.tflite.convert import TfliteInt8Options, tflite_int8
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import TensorInfo
from edgewright.runtimes.runtime import run_samples, runtimes

Probes = dict[str, NDArray[np.float32]]
RUNTIMES = ("litert", "tflite-runtime", "tflite-micro")
NET = "student_net"


def lowered(truth: Path, out: Path, io: IoType, layout: str = "original") -> dict[str, int]:
    options = TfliteInt8Options(layout=layout, io=io)  # type: ignore[arg-type]
    ops: dict[str, int] = tflite_int8(artifact_at(truth, Precision.INT8), out, Job(), options)["ops"]
    return ops


def run(path: Path, runtime: str, probes: Probes) -> NDArray[np.float32]:
    session = runtimes()[runtime].load(artifact_at(path, Precision.INT8))
    return run_samples(session, {"input": probes[NET]})["output"]


@pytest.mark.parametrize("io", ["int8", "uint8"])
@pytest.mark.parametrize("layout", ["original", "nhwc"])
def test_tflite_with_codes_answers_like_the_one_with_floats(
    int8_models: Mapping[str, Path], probes: Probes, tmp_path: Path, io: IoType, layout: str
) -> None:
    float_ops = lowered(int8_models[NET], tmp_path / "float.tflite", "float", layout)
    ops = lowered(int8_models[NET], tmp_path / "codes.tflite", io, layout)
    assert (float_ops["QUANTIZE"], float_ops["DEQUANTIZE"]) == (1, 1)
    assert (ops.get("QUANTIZE", 0), ops.get("DEQUANTIZE", 0)) == ({"int8": 0, "uint8": 2}[io], 0)
    for runtime in RUNTIMES:
        codes, floats = (run(tmp_path / f"{name}.tflite", runtime, probes) for name in ("codes", "float"))
        assert np.array_equal(codes, floats), runtime


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_litert_fed_with_codes(int8_models: Mapping[str, Path], probes: Probes, tmp_path: Path, io: IoType) -> None:
    """The interpreter itself, by the scales in the file: what an app does that knows nothing of a contract."""
    lowered(int8_models[NET], tmp_path / "float.tflite", "float")
    lowered(int8_models[NET], tmp_path / "codes.tflite", io)
    given = []
    interpreter = Interpreter(str(tmp_path / "codes.tflite"))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (source["name"], target["name"]) == ("input", "output")
    assert source["dtype"] == target["dtype"] == np.dtype(io)
    session = runtimes()["litert"].load(artifact_at(tmp_path / "codes.tflite", Precision.INT8))
    for info, details in ((session.contract.inputs[0], source), (session.contract.outputs[0], target)):
        assert (info.scale, info.zero_point) == details["quantization"]
        assert (info.dtype, info.file_dtype) == ("float32", io)
    (scale, zero), limits = source["quantization"], np.iinfo(io)
    for x in probes[NET]:
        codes = np.clip(np.rint(x / np.float32(scale)) + zero, limits.min, limits.max).astype(io)
        interpreter.set_tensor(source["index"], codes[None])
        interpreter.invoke()
        given.append(interpreter.get_tensor(target["index"])[0])
    scale, zero = target["quantization"]
    wanted = run(tmp_path / "float.tflite", "litert", probes)
    assert np.array_equal(np.rint(wanted / np.float32(scale)) + zero, np.array(given, np.float32))


@pytest.mark.parametrize("io", ["int8", "uint8"])
@pytest.mark.parametrize("form", ["s8s8", "u8u8"])
def test_onnx_with_codes(
    int8_models: Mapping[str, Path], probes: Probes, tmp_path: Path, form: CodesForm, io: IoType
) -> None:
    model = ir.load(int8_models[NET])
    recode(model, form)
    contract = set_io(model, io)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert [(v.name, v.dtype.name) for v in (*model.graph.inputs, *model.graph.outputs)] == [  # type: ignore[union-attr]
        ("input", io.upper()),
        ("output", io.upper()),
    ]
    assert contract_of(model) == contract
    save_model(model, contract, tmp_path / "codes.onnx")
    assert np.array_equal(
        run(tmp_path / "codes.onnx", "onnxruntime", probes), run(int8_models[NET], "onnxruntime", probes)
    )


def model_of(graph: str) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {graph}'))


def test_integers_stay_and_an_output_of_input_codes_is_its_own_tensor() -> None:
    model = model_of(
        "(float[2] x, int64[2] ids) => (float[2] y, int64[2] same) <float s = {0.5}, int8 z = {3}>"
        "{ q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) same = Identity (ids) }"
    )
    contract = set_io(model, "int8")
    assert contract.inputs == (TensorInfo("x", (2,), "float32", None, "int8", 0.5, 3), TensorInfo("ids", (2,), "int64"))
    assert contract.outputs[0] == TensorInfo("y", (2,), "float32", None, "int8", 0.5, 3)
    assert [node.op_type for node in model.graph] == ["Identity", "Identity"]
    reference = onnx.reference.ReferenceEvaluator(ir.to_proto(model))
    given = reference.run(None, {"x": np.array([-7, 100], np.int8), "ids": np.array([5, 6])})
    assert [array.tolist() for array in given] == [[-7, 100], [5, 6]]


def test_ends_without_a_grid_are_named_all_at_once() -> None:
    model = model_of("(float[2] a, float[2] b) => (float[2] y, float[2] a) { y = Add (a, b) }")
    with pytest.raises(BadInput, match=r"input a is an output too; input b is read by Add; output y comes from Add"):
        set_io(model, "uint8")
    assert [node.op_type for node in model.graph] == ["Add"]


def test_codes_twice_and_an_unknown_type(int8_models: Mapping[str, Path], tmp_path: Path) -> None:
    model = ir.load(int8_models[NET])
    with pytest.raises(BadInput, match=r"io 'int': did you mean 'int8'"):
        TfliteInt8Options(io="int")  # type: ignore[arg-type]
    save_model(model, set_io(model, "int8"), tmp_path / "codes.onnx")
    with pytest.raises(BadInput, match=r"input, output hold\(s\) codes already"):
        lowered(tmp_path / "codes.onnx", tmp_path / "codes.tflite", "uint8")
    assert not (tmp_path / "codes.tflite").exists()
