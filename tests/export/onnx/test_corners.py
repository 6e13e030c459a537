"""Resize from corner to corner by factors that give no whole length."""

from pathlib import Path

import ai_edge_litert.interpreter as litert
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from edgewright.export.onnx.foreign import import_onnx
from edgewright.export.onnx.passes.corners import align_by_lengths
from edgewright.export.onnx.simplify import simplify
from edgewright.export.tflite.convert import convert


def resize(factors: tuple[float, ...], **given: object) -> onnx.ModelProto:
    node = helper.make_node("Resize", ["x", "", "factors"], ["y"], "resize", **given)
    shapes = {"x": (1, 2, 9, 7), "y": (1, 2, int(9 * factors[2]), int(7 * factors[3]))}
    ends = [helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    factor = numpy_helper.from_array(np.array(factors, np.float32), "factors")
    graph = helper.make_graph([node], "graph", ends[:1], ends[1:], [factor])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_the_last_element_is_read_as_torch_reads_it(mode: str, tmp_path: Path) -> None:
    """9 · 1.5 and 7 · 0.5 are 13 and 3 to torch and onnxruntime."""
    path, out = tmp_path / "given.onnx", tmp_path / "clean.onnx"
    onnx.save(resize((1, 1, 1.5, 0.5), mode=mode, coordinate_transformation_mode="align_corners"), path)
    assert import_onnx(path, out)["passes"]["align_by_lengths"] == 1
    x = np.random.default_rng(0).standard_normal((1, 2, 9, 7)).astype(np.float32)
    torch_mode = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x), scale_factor=(1.5, 0.5), mode=torch_mode, align_corners=True
    ).numpy()
    for source in (path, out):
        given = onnxruntime.InferenceSession(source).run(None, {"x": x})[0]
        np.testing.assert_allclose(given, wanted, atol=5e-6)
    runner = litert.Interpreter(model_content=convert(ir.load(out)).content).get_signature_runner()
    np.testing.assert_allclose(runner(x=x)["y"], wanted, atol=5e-6)


@pytest.mark.parametrize(
    ("factors", "transformation", "antialias"),
    [((1, 1, 2, 3), "align_corners", 0), ((1, 1, 1.5, 0.5), "half_pixel", 0), ((1, 1, 1.5, 0.5), "align_corners", 1)],
)
def test_others_keep_their_factors(factors: tuple[float, ...], transformation: str, antialias: int) -> None:
    proto = resize(factors, mode="linear", coordinate_transformation_mode=transformation, antialias=antialias)
    model = ir.from_proto(proto)
    simplify(model)
    assert align_by_lengths(model) == 0


@pytest.mark.parametrize("nearest", ["ceil", "floor"])
def test_a_symmetric_grid_parts_whole_numbers_as_onnxruntime_does(nearest: str) -> None:
    proto = resize(
        (1, 1, 1.5, 0.5), mode="nearest", nearest_mode=nearest, coordinate_transformation_mode="half_pixel_symmetric"
    )
    x = np.random.default_rng(0).standard_normal((1, 2, 9, 7)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
    model = ir.from_proto(proto)
    simplify(model)
    runner = litert.Interpreter(model_content=convert(model).content).get_signature_runner()
    assert np.array_equal(runner(x=x)["y"], wanted)
