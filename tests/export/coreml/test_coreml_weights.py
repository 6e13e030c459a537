"""Compressed weights in ML programs: int8 for each channel, int4 in blocks; float16 around them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.errors import BadInput
from edgewright.export.coreml.convert import coreml_int4_weights, coreml_int8_weights
from edgewright.export.coreml.options import CoremlInt4Options, CoremlOptions
from edgewright.export.onnx.file import contract_of, save_model
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.export.onnx.quantize.blocks import BlockOptions, int4_weights
from edgewright.export.onnx.quantize.weight_only import Int8WeightOptions, int8_weights
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Job
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.mil.evaluate import evaluate
from edgewright.runtimes.read import read
from tests.export.coreml.packages import op_types, operations

Array = NDArray[np.float32]


def answer(path: Path, name: str, x: Array) -> Array:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    found: Array = ort.InferenceSession(path, options).run(None, {name: x})[0]
    return found


@pytest.mark.parametrize(("target", "op"), [("iOS17", "affine_dequantize"), ("iOS18", "blockwise_shift_scale")])
@pytest.mark.parametrize("name", ["watch_cnn", "student_net", "resnet18"])
def test_int8_weights_stay_int8(
    name: str, target: str, op: str, clean_models: Mapping[str, Path], probes: Mapping[str, Array], tmp_path: Path
) -> None:
    source, out, x = tmp_path / "m.onnx", tmp_path / "m.mlpackage", probes[name][:1]
    notes = int8_weights(artifact_at(clean_models[name]), source, Job(), Int8WeightOptions())
    coreml_int8_weights(artifact_at(source, Precision.INT8_WEIGHTS), out, Job(), CoremlOptions(target=target))
    assert op_types(out).count(f"constexpr_{op}") == len(notes["int8_weights"])
    assert snr_db(answer(source, "input", x), evaluate(out, {"input": x})["output"]) > 55
    assert snr_db(answer(source, "input", x), evaluate(out, {"input": x}, arithmetic="float16-storage")["output"]) > 40
    assert read(out).precision is Precision.INT8_WEIGHTS


@pytest.mark.parametrize("name", ["watch_cnn", "student_net", "resnet18"])
def test_int4_weights_stay_int4(
    name: str, clean_models: Mapping[str, Path], probes: Mapping[str, Array], tmp_path: Path
) -> None:
    source, out, x = tmp_path / "m.onnx", tmp_path / "m.mlpackage", probes[name][:1]
    notes = int4_weights(artifact_at(clean_models[name]), source, Job(), BlockOptions())
    coreml_int4_weights(artifact_at(source, Precision.INT4_WEIGHTS), out, Job(), CoremlInt4Options())
    table = read(out)
    assert sum(tensor.dtype == "int4" for tensor in table.tensors.values()) == len(notes["int4_weights"])
    assert table.precision is Precision.INT4_WEIGHTS
    assert snr_db(answer(source, "input", x), evaluate(out, {"input": x})["output"]) > 50


def test_int4_needs_ios18() -> None:
    with pytest.raises(BadInput, match="coreml:int4-weights needs target iOS18 / watchOS11 or later, not iOS17"):
        CoremlInt4Options(target="iOS17")


def test_an_operator_that_overflows_reads_its_weights_in_float32(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = ", ".join(f"{value:.5f}" for value in rng.standard_normal(64 * 16))
    text = (
        f"(float[1,64] x) => (float[1,16] y) <float[64,16] w = {{{numbers}}}, float down = {{40000}}>"
        "{ a = MatMul(x, w) b = Div(a, down) y = Tanh(b) }"
    )
    model = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> agraph {text}'))
    infer_shapes(model)
    clean, source, out = tmp_path / "clean.onnx", tmp_path / "m.onnx", tmp_path / "m.mlpackage"
    save_model(simplify(model)[0], contract_of(model), clean)
    int8_weights(artifact_at(clean), source, Job(), Int8WeightOptions())
    samples = Samples({"x": 5000 * rng.standard_normal((16, 64), np.float32)})
    notes = coreml_int8_weights(artifact_at(source, Precision.INT8_WEIGHTS), out, Job(samples), CoremlOptions())
    assert len(notes["overflowing"]) == 2
    x = samples.inputs["x"][:1]
    assert snr_db(answer(source, "x", x), evaluate(out, {"x": x}, arithmetic="float16-storage")["y"]) > 50
    assert "constexpr_affine_dequantize" in op_types(out)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_scale_for_all_places_of_a_kernel_is_written_once(
    symmetric: bool, clean_models: Mapping[str, Path], probes: Mapping[str, Array], tmp_path: Path
) -> None:
    x, source = probes["resnet18"][:1], tmp_path / "m.onnx"
    size_bytes, shapes = {}, {}
    for shared in (False, True):
        options = BlockOptions(symmetric=symmetric, across_kernel=shared)
        int4_weights(artifact_at(clean_models["resnet18"]), source, Job(), options)
        out = tmp_path / f"{shared}.mlpackage"
        coreml_int4_weights(artifact_at(source, Precision.INT4_WEIGHTS), out, Job(), CoremlInt4Options())
        size_bytes[shared] = artifact_at(out).size_bytes
        shapes[shared] = {scale_shape[2:] for scale_shape in scale_shapes(out) if len(scale_shape) == 4}
        assert snr_db(answer(source, "input", x), evaluate(out, {"input": x})["output"]) > 55
    assert shapes == {False: {(1, 1), (3, 3)}, True: {(1, 1)}}
    assert size_bytes[True] < 0.95 * size_bytes[False]


def scale_shapes(package: Path) -> list[tuple[int, ...]]:
    found = []
    for operation in operations(package):
        if operation.type == "constexpr_blockwise_shift_scale":
            kind = operation.inputs["scale"].arguments[0].value.type.tensorType
            found.append(tuple(dimension.constant.size for dimension in kind.dimensions))
    return found
