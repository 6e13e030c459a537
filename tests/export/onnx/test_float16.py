"""float16 inside, float32 at the boundary."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from edgewright.errors import UnsupportedOps
from edgewright.export.onnx.file import contract_of, load_onnx
from edgewright.export.onnx.float16 import float16, halve
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.export.steps import Job, NoOptions
from edgewright.runtimes.artifact import artifact_at
from tests.models import NETWORKS


def parse(body: str) -> ir.Model:
    model = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> agraph {body}'))
    infer_shapes(model)
    return model


def run(model: onnx.ModelProto, feeds: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, dict(feeds))
    return outputs


def snr_db(wanted: NDArray[np.float32], given: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((wanted - given) ** 2)))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(
    name: str, clean_models: Mapping[str, Path], probes: Mapping[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    source = clean_models[name]
    notes = float16(artifact_at(source), tmp_path / "half.onnx", Job(), NoOptions())
    assert notes == {"float32_ops": []}
    half, single = onnx.load(tmp_path / "half.onnx"), onnx.load(source)
    assert {tensor.data_type for tensor in half.graph.initializer} == {TensorProto.FLOAT16}
    assert [node.op_type for node in half.graph.node].count("Cast") == 2
    assert (tmp_path / "half.onnx").stat().st_size < 0.56 * source.stat().st_size
    assert contract_of(load_onnx(tmp_path / "half.onnx")) == contract_of(load_onnx(source))
    pairs = [(run(single, {"input": p[None]})[0], run(half, {"input": p[None]})[0]) for p in probes[name][:4]]
    wanted, given = (np.concatenate(column) for column in zip(*pairs, strict=True))
    assert given.dtype == np.float32
    assert snr_db(wanted, given) > 40


def test_same_bytes(clean_models: Mapping[str, Path], tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        float16(artifact_at(clean_models["watch_cnn"]), tmp_path / name, Job(), NoOptions())
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_constants_beyond_float16_keep_their_operator() -> None:
    model = parse(
        "(float[3] x) => (float[3] y) <float[3] big = {1e6, 1, 1}, float tiny = {1e-12}, float two = {2}>"
        "{ a = Mul(x, two) b = Mul(a, big) c = Div(b, big) d = Add(c, tiny) y = Relu(d) }"
    )
    x = np.array([1, -2, 3], np.float32)
    wanted = run(ir.to_proto(model), {"x": x})[0]
    kept = halve(model)
    assert [node.op_type for node in kept] == ["Mul", "Div", "Add"]
    too_big = "big reaches 1e+06; float16 ends at 65504"
    assert list(kept.values()) == [too_big, too_big, "tiny would become zero in float16"]
    proto = ir.to_proto(model)
    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    assert kinds == {"big": TensorProto.FLOAT, "tiny": TensorProto.FLOAT, "two_float16": TensorProto.FLOAT16}
    np.testing.assert_allclose(run(proto, {"x": x})[0], wanted, rtol=2e-3)


def test_inputs_that_must_be_float32_stay() -> None:
    model = parse(
        "(float[1,1,2,2] x) => (float[1,1,4,4] y, float[1,1,2,2] r) <float[4] scales = {1, 1, 2, 2}>"
        '{ r = Relu(x) y = Resize<mode="nearest">(r, , scales) }'
    )
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    wanted = run(ir.to_proto(model), {"x": x})
    assert halve(model) == {}
    proto = ir.to_proto(model)
    assert [node.op_type for node in proto.graph.node] == ["Cast", "Relu", "Resize", "Cast", "Cast"]
    assert [tensor.name for tensor in proto.graph.initializer] == ["scales"]
    for ours, theirs in zip(run(proto, {"x": x}), wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_integers_pass_through() -> None:
    model = parse(
        "(int64[2] i, float[4] x) => (float[2] y, int64[1] n)"
        "{ g = Gather(x, i) f = Cast<to=1>(i) y = Add(g, f) n = Shape(x) }"
    )
    feeds = {"i": np.array([3, 1]), "x": np.arange(4, dtype=np.float32)}
    halve(model)
    y, n = run(ir.to_proto(model), feeds)
    np.testing.assert_array_equal(y, np.array([6, 2], np.float32))
    assert n == 4


def test_control_flow_is_refused() -> None:
    body = "then_branch = t () => (float[1] a) { a = Neg(x) }, else_branch = e () => (float[1] b) { b = Relu(x) }"
    model = parse(f"(bool c, float[1] x) => (float[1] y) {{ y = If<{body}>(c) }}")
    with pytest.raises(UnsupportedOps, match="If × 1: its body would stay float32"):
        halve(model)
