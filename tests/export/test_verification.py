"""Without data the samples are drawn: how many."""

import onnx
import pytest

from edgewright.export.verification import Verifier
from edgewright.progress import Silent
from edgewright.runtimes.artifact import artifact_at


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        pytest.param("1, 6, 100", (16, 6, 100), id="sixteen of what is small"),
        pytest.param("1, 3, 160, 160", (4, 3, 160, 160), id="four photos at least"),
        pytest.param("1, 3, 104, 104", (8, 3, 104, 104), id="what fits into the budget"),
        pytest.param("2, 6, 100", (32, 6, 100), id="sixteen batches"),
        pytest.param("n, 6, 100", (16, 6, 100), id="an open batch"),
    ],
)
def test_fewer_probes_are_drawn_for_large_inputs(shape, drawn, tmp_path):
    path = tmp_path / "m.onnx"
    text = f'<ir_version: 8, opset_import: ["" : 18]> m (float[{shape}] x) => (float[{shape}] y) {{ y = Relu(x) }}'
    onnx.save(onnx.parser.parse_model(text), path)
    samples = Verifier(None, Silent()).samples(artifact_at(path))
    assert samples.origin == "synthetic" and samples.inputs["x"].shape == drawn
