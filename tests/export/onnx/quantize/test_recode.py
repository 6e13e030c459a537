"""Other codes, the same numbers: every form answers to the last bit like the truth, and goes back to it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.file import contract_of
from edgewright.export.onnx.quantize.ends import set_io
from edgewright.export.onnx.quantize.quantized import answers
from edgewright.export.onnx.quantize.recode import FORM_KEY, FORMS, CodesForm, choose_form, recode
from edgewright.export.recoding import write_recoded
from edgewright.export.steps import Job
from edgewright.export.tflite.convert import TfliteInt8Options, tflite_int8
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.read import read
from edgewright.runtimes.runtime import run_samples, runtimes

Probes = dict[str, NDArray[np.float32]]
TYPES = {"s8s8": ("int8", "int8"), "u8s8": ("uint8", "int8"), "u8u8": ("uint8", "uint8")}


@pytest.fixture(scope="module")
def truth(int8_models: Mapping[str, Path]) -> Path:
    return int8_models["watch_cnn"]


def code_types(model: ir.Model) -> tuple[set[str], set[str]]:
    """Of activations (what Q gives) and of the second operands of the heavy operators, without biases."""
    activations = {str(n.inputs[2].dtype.name).lower() for n in model.graph if n.op_type == "QuantizeLinear"}  # type: ignore[union-attr]
    weights = set()
    for node in model.graph:
        if node.op_type in ("Conv", "Gemm"):
            above = node.inputs[1].producer()  # type: ignore[union-attr]
            assert above is not None
            weights.add(above.inputs[0].const_value.numpy().dtype.name)  # type: ignore[union-attr]
    return activations, weights


@pytest.mark.parametrize("form", FORMS)
def test_a_form_has_its_types_and_the_answers_of_the_truth(truth: Path, probes: Probes, form: CodesForm) -> None:
    model, samples = ir.load(truth), Samples({"input": probes["watch_cnn"]})
    contract = contract_of(model)
    wanted = answers(model, contract, samples)
    changed = recode(model, form)
    assert (changed > 0) == (form != "s8s8")
    assert code_types(model) == tuple({kind} for kind in TYPES[form])
    assert model.metadata_props.get(FORM_KEY) == (None if form == "s8s8" else form)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert np.array_equal(answers(model, contract, samples)[0], wanted[0])
    assert recode(model, form) == 0
    reference = onnx.reference.ReferenceEvaluator(ir.to_proto(model)).run(None, {"input": probes["watch_cnn"][:1]})
    np.testing.assert_allclose(reference[0], wanted[0][:1], atol=1.01 * _step(model))


def _step(model: ir.Model) -> float:
    last = model.graph.outputs[0].producer()
    assert last is not None
    return float(last.inputs[1].const_value.numpy())  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["u8s8", "u8u8"])
def test_a_form_goes_back_to_the_same_constants(truth: Path, form: CodesForm) -> None:
    model, back = ir.load(truth), ir.load(truth)
    recode(back, form)
    recode(back, "s8s8")
    assert set(back.graph.initializers) == set(model.graph.initializers)
    for name, value in model.graph.initializers.items():
        now = back.graph.initializers[name].const_value
        assert value.const_value is not None
        assert now is not None
        assert now.dtype == value.const_value.dtype
        assert np.array_equal(now.numpy(), value.const_value.numpy())


def test_tflite_of_a_recoded_file_is_tflite_of_the_truth(truth: Path, probes: Probes, tmp_path: Path) -> None:
    notes = write_recoded(truth, tmp_path / "u8u8.onnx", "u8u8", "float")
    assert notes == {"recoded_nodes": 24, "equal_probes": 8}
    assert read(tmp_path / "u8u8.onnx").precision == Precision.INT8
    assert read(tmp_path / "u8u8.onnx").int8_share == 1
    given = []
    for name, path in (("truth", truth), ("recoded", tmp_path / "u8u8.onnx")):
        out = tmp_path / f"{name}.tflite"
        tflite_int8(artifact_at(path, Precision.INT8), out, Job(), TfliteInt8Options())
        session = runtimes()["litert"].load(artifact_at(out, Precision.INT8))
        given.append(run_samples(session, {"input": probes["watch_cnn"]})["output"])
    assert np.array_equal(*given)


def test_codes_of_a_foreign_file_without_zero_points() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) <float s = {0.5}>'
        "{ q = QuantizeLinear <output_dtype = 3> (x, s) y = DequantizeLinear (q, s) }"
    )
    x = np.array([-3.2, 40], np.float32)
    model = ir.from_proto(proto)
    assert recode(model, "u8u8") == 2
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    given = [onnx.reference.ReferenceEvaluator(p).run(None, {"x": x})[0] for p in (proto, ir.to_proto(model))]
    assert given[0].tolist() == given[1].tolist() == [-3.0, 40.0]


def test_codes_at_the_ends_cannot_be_recoded(truth: Path) -> None:
    model = ir.load(truth)
    set_io(model, "int8")
    with pytest.raises(BadModel, match="cannot be recoded: input, output; give the file with float inputs"):
        recode(model, "u8u8")


@pytest.mark.parametrize(
    ("machine", "flags", "form", "why"),
    [
        ("x86_64", ["avx2"], "u8u8", "without VNNI"),
        ("AMD64", ["avx2", "avx512_vnni"], "u8s8", "with VNNI"),
        ("x86_64", ["avx_vnni"], "u8s8", "with VNNI"),
        ("aarch64", [], "s8s8", "signed by signed"),
        ("arm64", ["avx2"], "s8s8", "signed by signed"),
    ],
)
def test_the_form_of_a_processor(machine: str, flags: list[str], form: str, why: str) -> None:
    found, reason = choose_form("auto", machine, flags)
    assert found == form
    assert why in reason


def test_an_asked_form_and_an_unknown_one() -> None:
    assert choose_form("u8u8", "aarch64", []) == ("u8u8", "asked for")
    with pytest.raises(BadInput, match="form 'u8s9': did you mean 'u8s8'"):
        choose_form("u8s9")
