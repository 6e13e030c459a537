"""Files that others made: onnx's own example models answer as recorded after the import."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.file import contract_of, load_onnx
from edgewright.export.onnx.foreign import import_onnx

EXAMPLES = Path(onnx.__file__).parent / "backend" / "test" / "data"
CASES = sorted(
    case.parent
    for family in ("pytorch-converted", "pytorch-operator")
    for case in (EXAMPLES / family).glob("*/model.onnx")
    if onnx.load(case).graph.input[0].type.tensor_type.elem_type != onnx.TensorProto.DOUBLE  # beyond float32's range
)
CHANNEL_SLOPES = [case for case in CASES if case.name.endswith("d_multiparam")]


def recorded(folder: Path, kind: str) -> list[NDArray[np.float32]]:
    files = sorted(folder.glob(f"{kind}_*.pb"), key=lambda file: int(file.stem.split("_")[1]))
    return [numpy_helper.to_array(onnx.load_tensor(file)) for file in files]


def run(path: Path, arrays: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    outputs: list[NDArray[np.float32]] = session.run(None, dict(zip(names, arrays, strict=False)))
    return outputs


@pytest.mark.parametrize("case", [case for case in CASES if case not in CHANNEL_SLOPES], ids=lambda case: case.name)
def test_answers_as_recorded(case: Path, tmp_path: Path) -> None:
    notes = import_onnx(case / "model.onnx", tmp_path / "out.onnx")
    assert notes["batch_fixed_to_1"] == []
    model = load_onnx(tmp_path / "out.onnx")
    assert model.opset_imports[""] == 21
    assert all(node.op_type not in ("Constant", "Identity", "Dropout", "BatchNormalization") for node in model.graph)
    for recording in sorted(case.glob("test_data_set_*")):
        given = run(tmp_path / "out.onnx", recorded(recording, "input"))
        for ours, wanted in zip(given, recorded(recording, "output"), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-3, atol=1e-5)


def test_there_are_enough_cases() -> None:
    assert len(CASES) > 100
    assert len(CHANNEL_SLOPES) == 3


@pytest.mark.parametrize("case", CHANNEL_SLOPES, ids=lambda case: case.name)
def test_what_the_converter_gets_wrong_is_refused(case: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="PRelu of opset 6 broadcasts its slopes along channels"):
        import_onnx(case / "model.onnx", tmp_path / "out.onnx")


def parsed(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "in.onnx"
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> agraph {body}'), path)
    return path


def test_an_open_batch_becomes_one(tmp_path: Path) -> None:
    path = parsed(
        tmp_path,
        "(float[n,4,6] x) => (float[n,24] y) <int64[2] to = {-1, 24}> { r = Relu(x) y = Reshape(r, to) }",
    )
    notes = import_onnx(path, tmp_path / "out.onnx")
    assert notes["batch_fixed_to_1"] == ["x"]
    assert notes["imported_opset"] == 17
    model = load_onnx(tmp_path / "out.onnx")
    assert [node.op_type for node in model.graph] == ["Relu", "Flatten"]
    contract = contract_of(model)
    assert contract.inputs[0].shape == (1, 4, 6)
    assert contract.outputs[0].shape == (1, 24)
    x = np.random.default_rng(0).normal(size=(1, 4, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(tmp_path / "out.onnx", [x])[0], np.maximum(x, 0).reshape(1, 24))


def test_other_open_lengths_are_all_named(tmp_path: Path) -> None:
    path = parsed(tmp_path, "(float[n,c,6] x, float[2,w] z) => (float[n,c,6] y) { y = Relu(x) }")
    with pytest.raises(
        BadInput, match=r"'x' has an open length 'c' at axis 1.*; 'z' has an open length 'w' at axis 1"
    ) as e:
        import_onnx(path, tmp_path / "out.onnx")
    assert "say which, as in --shape x=1,<c>,6;" in str(e.value) and "--shape z=2,<w>" in str(e.value)


def test_what_depends_on_data_is_refused(tmp_path: Path) -> None:
    path = parsed(tmp_path, "(float[4] x) => (int64[1,k] y) { y = NonZero(x) }")
    with pytest.raises(BadModel, match="NonZero 'y'"):
        import_onnx(path, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_sequences_are_refused(tmp_path: Path) -> None:
    path = parsed(
        tmp_path,
        "(float[4] x) => (int64 y) { s = SplitToSequence(x) y = SequenceLength(s) }",
    )
    with pytest.raises(BadModel, match="SequenceLength, SplitToSequence"):
        import_onnx(path, tmp_path / "out.onnx")


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    case = EXAMPLES / "pytorch-converted" / "test_BatchNorm2d_eval" / "model.onnx"
    import_onnx(case, tmp_path / "a.onnx")
    import_onnx(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_refusal_is_a_sentence_without_the_libraries_own_tracebacks(tmp_path: Path) -> None:
    """In a process of its own: logging without a handler writes to stderr only there."""
    case = EXAMPLES / "simple" / "test_sequence_model1" / "model.onnx"
    words = ["-m", "edgewright", "convert", case, tmp_path / "x.tflite", "--store", tmp_path / "store"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "SequenceAt" in done.stderr and "sequences and optionals cannot be compiled ahead" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.tflite").exists()
