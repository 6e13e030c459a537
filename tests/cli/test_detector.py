"""A detector that ends in NonMaxSuppression, from an ONNX file through the command line."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from edgewright.cli import _load_commands, app
from edgewright.runtimes.runtime import ROWS

BODY = """(float[N,3,16,16] image) => (float[n,4] found, int64[n,3] rows) {
  a = Conv <strides = [2,2], pads = [1,1,1,1]> (image, w) b = Relu(a)
  places = Conv(b, w_places) p = Transpose <perm = [0,2,3,1]> (places) boxes = Reshape(p, four)
  marks = Conv(b, w_marks) q = Reshape(marks, by_class) scores = Sigmoid(q)
  rows = NonMaxSuppression <center_point_box = 1> (boxes, scores, k, iou, least)
  first = Gather <axis = 1> (rows, zero) last = Slice(rows, two, three, one)
  where = Concat <axis = 1> (first, last) found = GatherND(boxes, where) }"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("detector"), np.random.default_rng(0)
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> agraph {BODY}')
    weights = {"w": (8, 3, 3, 3), "w_places": (4, 8, 1, 1), "w_marks": (2, 8, 1, 1)}
    constants = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in weights.items()}
    constants |= {name: np.array([k]) for k, name in enumerate(("zero", "one", "two", "three"))}
    constants |= {"iou": np.array([0.4], np.float32), "least": np.array([0.7], np.float32), "k": np.array([20])}
    constants |= {"four": np.array([-1, 64, 4]), "by_class": np.array([-1, 2, 64])}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "data.npz", image=rng.normal(size=(32, 3, 16, 16)).astype(np.float32))
    return folder


def call(*words: object) -> str:
    _load_commands()
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_converted_verified_and_run(files: Path) -> None:
    """The file is for one image a call, the ONNX file takes any number: its rows are counted image by image too."""
    store = ("--store", files / "store")
    out = files / "net.tflite"
    shown = call("convert", files / "net.onnx", out, "--data", files / "data.npz", *store)
    assert "rows found by both 100.00%" in shown
    call("run", out, "--data", files / "data.npz", "--out", files / "found.npz")
    with np.load(files / "found.npz") as found:
        counts = found[f"rows{ROWS}"]
        assert len(counts) == 32 and counts.sum() == len(found["rows"]) == len(found["found"]) > 32
    assert "rows found by both 100.00%" in call("verify", files / "net.onnx", out, "--data", files / "data.npz")


def test_int8_up_to_the_boxes(files: Path) -> None:
    shown = call("convert", files / "net.onnx", files / "net8.tflite", "--precision", "int8", "--data",
                 files / "data.npz", "--store", files / "store")  # fmt: skip
    assert "tflite:int8" in shown and "rows found by both 9" in shown
