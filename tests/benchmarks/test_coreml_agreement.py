"""The int8 package against the QDQ graph, and what a conversion costs: on small networks that are made here."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgewright.benchmarks.coreml import agreement, cost, driver
from edgewright.benchmarks.exporters.drivers.probe import Job
from edgewright.benchmarks.exporters.files import Network as Float
from edgewright.benchmarks.quantization.networks import Network
from edgewright.runtimes.artifact import digest_of

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[1,2,6,6] x) => (float[1,3] y)
<float xs = {0.03125}, int8 xz = {-4}, float[3] ws = {0.01, 0.02, 0.04}, int8[3] wz = {0, 0, 0},
 float cs = {0.05}, int8 cz = {3}, float ys = {0.02}, int8 yz = {0}> {
    xq = QuantizeLinear (x, xs, xz)
    xd = DequantizeLinear (xq, xs, xz)
    wd = DequantizeLinear <axis = 0> (w, ws, wz)
    c = Conv (xd, wd)
    cq = QuantizeLinear (c, cs, cz)
    cd = DequantizeLinear (cq, cs, cz)
    p = GlobalAveragePool (cd)
    pf = Flatten (p)
    yq = QuantizeLinear (pf, ys, yz)
    y = DequantizeLinear (yq, ys, yz)
}"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("agreement")
    model = onnx.parser.parse_model(TEXT)
    draw = np.random.default_rng(0)
    weights = draw.integers(-127, 128, (3, 2, 3, 3)).astype(np.int8)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), folder / "int8.onnx")
    x = draw.uniform(-3.5, 3.9, (12, 2, 6, 6)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, split=np.repeat(["calibration", "test"], [2, 10]))
    return Network("watch", folder, folder / "data.npz")


def test_float32_is_the_graph_and_float16_is_not(network: Network) -> None:
    scales = agreement.scales_of(network.file("int8.onnx"))
    assert scales == pytest.approx({"xd": 0.03125, "cd": 0.05, "y": 0.02})
    rows = {c: agreement.summary(network, c, agreement.compared(network, c, scales), scales) for c in agreement.COMPUTE}
    assert [rows["float32"][key] for key in ("samples", "equal %", "max steps", "top-1 %")] == [10, 100, 0, 100]
    assert rows["float32"]["op by op: max steps"] == 0
    assert all(bar.met for bar in agreement.judged("watch", rows["float32"]))
    assert rows["float16"]["op by op: differ in 10⁶"] != 0


def test_an_operator_that_differs_is_named(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if onnxruntime's convolution gave two steps more."""
    scales = agreement.scales_of(network.file("int8.onnx"))
    whole = agreement.recorded

    def recorded(network: Network, names: list[str]) -> object:
        return ((feed, truth | {"cd": truth["cd"] + np.float32(0.1)}) for feed, truth in whole(network, names))

    monkeypatch.setattr(agreement, "recorded", recorded)
    found = agreement.compared(network, "float32", scales)
    row = agreement.summary(network, "float32", found, scales)
    assert (row["first at"], found.steps["cd"], found.steps["xd"]) == ("cd", 2, 0)
    assert not all(bar.met for bar in agreement.judged("watch", row))


def test_a_conversion_in_a_process_is_measured(tmp_path: Path) -> None:
    small = """<ir_version: 8, opset_import: ["" : 18]>
        small (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) { y = Relu(x) }"""
    network = Float("small", tmp_path)
    onnx.save(onnx.parser.parse_model(small), network.onnx)
    np.save(network.samples("test"), np.ones((2, 3, 8, 8), np.float32))
    costs = cost.converted(network, network, tmp_path / "made.mlpackage")
    assert costs["cpu_s"] > 0
    assert costs["peak_bytes"] >= 0
    driver.convert(Job(str(network.onnx), str(tmp_path / "again")))
    assert digest_of(tmp_path / "again.mlpackage") == digest_of(tmp_path / "made.mlpackage")
    load, image = cost.evaluated(network, tmp_path / "made.mlpackage")
    assert load >= 0
    assert image >= 0
