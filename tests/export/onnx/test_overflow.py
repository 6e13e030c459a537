"""Operators that samples drive beyond float16 stay float32: those, no others, named with what they reach."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgewright.data import Samples
from edgewright.errors import BadModel
from edgewright.export.coreml.convert import coreml_float16, coreml_mixed
from edgewright.export.coreml.options import CoremlInt8Options, CoremlOptions
from edgewright.export.onnx import overflow
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.float16 import float16
from edgewright.export.onnx.half_simulation import rounded_copy
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.export.onnx.quantize.quantized import answers
from edgewright.export.onnx.simplify import simplify
from edgewright.export.steps import Job, NoOptions
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.mil.evaluate import evaluate

PLANTED = (
    "(float[1,4,8,8] x) => (float[1,4,8,8] y) <float big = {50000}, float one = {1}> {"
    "a = Sigmoid(x) s = Add(a, a) b = Mul(s, big) c = Relu(b) d = Div(c, big) y = Add(d, one) }"
)


def parse(body: str) -> ir.Model:
    model = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> agraph {body}'))
    infer_shapes(model)
    return simplify(model)[0]


def job(shape: tuple[int, ...], count: int = 16, gain: float = 1.0) -> Job:
    return Job(Samples({"x": gain * np.random.default_rng(0).standard_normal((count, *shape), np.float32)}))


def ops(names: dict[str, str], model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph if node.name in names]


def planted(tmp_path: Path) -> tuple[Path, ir.Model, Job]:
    model, path = parse(PLANTED), tmp_path / "model.onnx"
    save_model(model, contract_of(model), path)
    return path, load_onnx(path), job((4, 8, 8), gain=8.0)


def test_a_planted_overflow_stays_float32_in_onnx(tmp_path: Path) -> None:
    path, model, data = planted(tmp_path)
    assert data.calibration is not None
    contract, samples = contract_of(model), data.calibration
    notes = float16(artifact_at(path), tmp_path / "half.onnx", data, NoOptions())
    kept = {row["node"]: row["why"] for row in notes["float32_ops"]}
    assert ops(kept, model) == ["Mul", "Relu", "Div"]
    assert [why.split(";")[0] for why in kept.values()] == ["b reaches 1e+05", "c reaches 1e+05", "c reaches 1e+05"]
    half = load_onnx(tmp_path / "half.onnx")
    wanted = answers(model, contract, samples)[0]
    assert np.isinf(answers(rounded_copy(model, ()), contract, samples)[0]).any()
    assert snr_db(wanted, answers(rounded_copy(model, kept), contract, samples)[0]) > 60
    assert snr_db(wanted, answers(half, contract, samples)[0]) > 60


def test_the_same_operators_stay_float32_in_core_ml(tmp_path: Path) -> None:
    path, model, data = planted(tmp_path)
    x = np.random.default_rng(1).standard_normal((1, 4, 8, 8), np.float32) * 8
    wanted = answers(model, contract_of(model), Samples({"x": x}))[0]
    for name, given in (("without", Job()), ("with", data)):
        out = tmp_path / f"{name}.mlpackage"
        notes = coreml_float16(artifact_at(path), out, given, CoremlOptions())
        answer = evaluate(out, {"x": x}, arithmetic="float16-storage")["y"]
        assert ops(notes["overflowing"], model) == (["Mul", "Relu", "Div"] if given is data else [])
        assert list(notes["overflowing"]) == notes["float32_nodes"]
        assert np.isfinite(answer).all() == (given is data)
    assert snr_db(wanted, answer) > 60


PLANTED_IN_MIXED = (
    "(float[1,64] x) => (float[1,64] y) <float s = {0.05}, int8 z = {0}, float big = {50000}, float one = {1}> {"
    "q = QuantizeLinear(x, s, z) h = DequantizeLinear(q, s, z) a = Sigmoid(h) t = Add(a, a)"
    "b = Mul(t, big) c = Relu(b) d = Div(c, big) e = Add(d, one)"
    "r = QuantizeLinear(e, s, z) y = DequantizeLinear(r, s, z) }"
)


@pytest.mark.parametrize("compute", ["float16", "float32"])
def test_a_float_part_of_a_mixed_plan_stays_float32_where_it_overflows(compute: str, tmp_path: Path) -> None:
    """By range alone: rounding moves codes as well, but that keeps no operator."""
    model, path = parse(PLANTED_IN_MIXED), tmp_path / "model.onnx"
    save_model(model, contract_of(model), path)
    model, data, options = load_onnx(path), job((64,), gain=3.0), CoremlInt8Options(compute=compute)
    x = np.random.default_rng(1).standard_normal((1, 64), np.float32) * 3
    wanted = answers(model, contract_of(model), Samples({"x": x}))[0]
    found = {}
    for name, given in (("without", Job()), ("with", data)):
        out = tmp_path / f"{name}.mlpackage"
        notes = coreml_mixed(artifact_at(path), out, given, options)
        found[name] = evaluate(out, {"x": x}, arithmetic="float16-storage")["y"]
        searched = given is data and compute == "float16"
        assert ops(notes["overflowing"], model) == (["Mul", "Relu", "Div"] if searched else [])
        assert list(notes["overflowing"]) == notes["float32_nodes"]
    assert np.abs(found["with"] - wanted).max() <= 0.0501  # one code
    assert (np.abs(found["without"] - wanted).max() > 0.1) == (compute == "float16")


ONES = ", ".join(["1"] * 64)


@pytest.mark.parametrize(
    ("body", "gain", "why"),
    [
        (
            f"(float[1,64] x) => (float[1,64] y) <float[64] s = {{{ONES}}}>"
            "{ a = LayerNormalization(x, s) y = Tanh(a) }",
            100.0,
            "squares",
        ),
        ("(float[1,64] x) => (float[1,1] y) { a = ReduceL2(x) y = Tanh(a) }", 100.0, "its sum of squares reaches"),
        (
            "(float[1,2,64,64] x) => (float[1,2,1,1] y) { a = GlobalAveragePool(x) y = Tanh(a) }",
            20.0,
            "its sum reaches",
        ),
    ],
)
def test_sums_inside_an_operator_count(body: str, gain: float, why: str) -> None:
    model = parse(body)
    shape = model.graph.inputs[0].shape
    assert shape is not None
    positive = np.abs(np.random.default_rng(0).standard_normal((16, *shape.numpy()[1:]), np.float32))
    found = overflow.float32_ops(model, contract_of(model), Job(Samples({"x": gain * positive})))
    (reason,) = found.values()
    assert why in reason
    assert overflow.float32_ops(model, contract_of(model), Job(Samples({"x": positive}))) == {}


def test_an_operator_that_loses_its_answer_without_overflow_is_found_by_measuring() -> None:
    model = parse(
        "(float[1,64] x) => (float[1,64] y) <float far = {16000}>"
        "{ a = Tanh(x) b = Add(a, far) c = Sub(b, far) y = Sigmoid(c) }"
    )
    contract, data = contract_of(model), job((64,))
    assert data.calibration is not None
    found = overflow.float32_ops(model, contract, data)
    assert set(ops(found, model)) == {"Add", "Sub"}
    assert all(re.match(r"float16 loses [67]\d dB in", why) for why in found.values())
    wanted = answers(model, contract, data.calibration)[0]
    assert snr_db(wanted, answers(rounded_copy(model, ()), contract, data.calibration)[0]) < 20
    assert snr_db(wanted, answers(rounded_copy(model, found), contract, data.calibration)[0]) > 40


def test_without_samples_nothing_is_measured() -> None:
    model = parse(PLANTED)
    assert overflow.float32_ops(model, contract_of(model), Job()) == {}


def test_a_mask_of_minus_infinity_is_no_overflow() -> None:
    model = parse(
        "(float[1,4] x) => (float[1,4] y) <float[1,4] mask = {0, -inf, 0, 0}> { a = Add(x, mask) y = Softmax(a) }"
    )
    assert overflow.float32_ops(model, contract_of(model), job((4,))) == {}


def test_a_model_that_no_float16_operator_is_left_of_is_refused() -> None:
    model = parse("(float[1,4] x) => (float[1,4] y) <float one = {1}> { a = Add(x, one) y = Sub(a, one) }")
    small = Job(Samples({"x": np.full((16, 4), 1e-4, np.float32)}))
    with pytest.raises(BadModel, match="no operator of it could compute in float16"):
        overflow.float32_ops(model, contract_of(model), small)
