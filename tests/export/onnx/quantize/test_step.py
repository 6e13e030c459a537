"""The step as a whole: five networks against the float model and against onnxruntime's own quantizer."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from edgewright.data import Samples
from edgewright.errors import BadData, BadInput, BadModel
from edgewright.export.onnx.file import contract_of, load_onnx
from edgewright.export.onnx.quantize.candidates import UNCLEAR_DB
from edgewright.export.onnx.quantize.observation import ESTIMATORS
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.step import quantize
from edgewright.export.steps import Job
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at
from tests.models import NETWORKS, samples

Images = NDArray[np.float32]
LEAST_DB = {"watch_cnn": 28, "student_net": 22, "mobilenet_v2": 11, "resnet18": 27, "efficientnet_lite0": 12}
"""Weights before the head are random, and the deep networks exaggerate. Measured 35, 26, 15, 31 and 16."""


def run(path: Path, inputs: Images, optimize: bool = False) -> Images:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if optimize:
        options.add_session_config_entry("session.x64quantprecision", "1")
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": image[None]})[0] for image in inputs])


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Images) -> None:
        self._rows: Iterator[dict[str, Images]] = iter([{"input": image[None]} for image in inputs])

    def get_next(self) -> dict[str, Images] | None:
        return next(self._rows, None)


@pytest.fixture(scope="module", params=NETWORKS)
def made(
    request: pytest.FixtureRequest, clean_models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path, dict[str, Any]]:
    """Name, float file, int8 file and notes of a network whose estimator was chosen by measuring."""
    name, out = request.param, tmp_path_factory.mktemp("auto") / "int8.onnx"
    data = {part: Samples({"input": samples(request.param, 32, seed).numpy()}) for part, seed in (("c", 1), ("v", 2))}
    notes = quantize(artifact_at(clean_models[name]), out, Job(data["c"], data["v"]), QuantizeOptions())
    return name, clean_models[name], out, notes


def test_fidelity(made: tuple[str, Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    name, source, out, _ = made
    probes = samples(name, 64, seed=3).numpy()
    wanted, ours = run(source, probes), run(out, probes)
    assert snr_db(wanted, ours) > LEAST_DB[name]
    quantize_static(
        str(source),
        str(tmp_path / "peer.onnx"),
        Reader(samples(name, 32, seed=1).numpy()),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    peer = run(tmp_path / "peer.onnx", probes)
    assert snr_db(wanted, ours) > snr_db(wanted, peer) - 0.5


def test_fused_int8_kernels_agree_with_the_graph_as_written(made: tuple[str, Path, Path, dict[str, Any]]) -> None:
    """Exact kernels may round a tie the other way: outputs stay within a few steps, inside the quantization error."""
    name, source, out, _ = made
    probes = samples(name, 8, seed=3).numpy()
    plain, fused = run(out, probes), run(out, probes, optimize=True)
    assert abs(snr_db(run(source, probes), plain) - snr_db(run(source, probes), fused)) < 1
    proto = onnx.load(out)
    scale = next(t for t in proto.graph.initializer if t.name == proto.graph.node[-1].input[1])
    steps = np.abs(plain - fused) / numpy_helper.to_array(scale)
    assert np.median(steps) <= 2
    assert (plain.argmax(1) == fused.argmax(1)).mean() >= 0.75


def test_every_tensor_of_a_cnn_is_int8(made: tuple[str, Path, Path, dict[str, Any]]) -> None:
    _, source, out, notes = made
    proto = onnx.load(out)
    onnx.checker.check_model(proto, full_check=True)
    assert notes["float_ops"] == []
    assert notes["int8_share"] == 1.0
    makers = {node.output[0]: node for node in proto.graph.node}
    for node in proto.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            sources = [makers[name].op_type for name in node.input if name in makers]
            fused = node.op_type in ("Relu", "Clip")
            assert fused or set(sources) == {"DequantizeLinear"}, node.name
    assert makers["output"].op_type == "DequantizeLinear"
    ranks = {t.name: len(t.dims) for t in proto.graph.initializer}
    assert {ranks[node.input[1]] for node in proto.graph.node if node.op_type == "QuantizeLinear"} == {0}
    assert contract_of(load_onnx(out)) == contract_of(load_onnx(source))
    assert out.stat().st_size < 0.5 * source.stat().st_size


def test_the_best_estimator_is_chosen_and_all_figures_noted(made: tuple[str, Path, Path, dict[str, Any]]) -> None:
    *_, notes = made
    for form in notes["tried_db"].values():
        assert list(form)[:5] == list(ESTIMATORS)
    chosen = notes["tried_db"][notes["weights"]]
    assert chosen[notes["estimator"]] == max(chosen[name] for name in ESTIMATORS)
    assert {f"{notes['estimator']}, biases as they were", f"{notes['estimator']}, gptq"} <= set(chosen)
    assert "equalized" in notes["tried_db"]
    figures = {way: db for form in notes["tried_db"].values() for way, db in form.items()}
    (feedback,) = (db for way, db in figures.items() if way.endswith("gptq"))
    others = max(db for form in notes["tried_db"].values() for way, db in form.items() if not way.endswith("gptq"))
    assert notes["snr_db"] == (feedback if feedback > others - UNCLEAR_DB else others)
    assert notes["snr_db"] in notes["tried_db"][notes["weights"]].values()
    assert notes["snr_measured_on"] == "32 validation samples"
    assert notes["form"] == "s8s8"
    assert "Arm" in notes["form_why"]
    assert notes["calibration_samples"] == 32


def test_without_validation_a_quarter_is_held_out(clean_models: Mapping[str, Path], tmp_path: Path) -> None:
    source, data = artifact_at(clean_models["watch_cnn"]), Samples({"input": samples("watch_cnn", 40).numpy()})
    notes = quantize(source, tmp_path / "a.onnx", Job(data), QuantizeOptions(samples=32))
    assert (notes["calibration_samples"], notes["snr_measured_on"]) == (24, "8 held-out calibration samples")
    notes = quantize(source, tmp_path / "b.onnx", Job(data.first(1)), QuantizeOptions("minmax"))
    assert (notes["calibration_samples"], notes["snr_measured_on"]) == (1, "1 calibration samples")
    assert list(notes["tried_db"]["as given"]) == ["minmax", "minmax, biases as they were", "minmax, gptq"]


def test_same_bytes(clean_models: Mapping[str, Path], tmp_path: Path) -> None:
    job = Job(Samples({"input": samples("watch_cnn", 20).numpy()}))
    for name in ("a.onnx", "b.onnx"):
        quantize(artifact_at(clean_models["watch_cnn"]), tmp_path / name, job, QuantizeOptions())
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def with_nan() -> dict[str, Images]:
    array = samples("watch_cnn", 4).numpy()
    array[2, 3, 5] = np.nan
    return {"input": array}


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (with_nan(), "'input' holds NaN or infinity"),
        ({"other": np.zeros((4, 6, 100), np.float32)}, r"no array for input 'input' \(it has \['other'\]\)"),
        ({"input": np.zeros((4, 3, 100), np.float32)}, r"has shape \(4, 3, 100\), the model wants \(1, 6, 100\)"),
        ({"input": np.full((4, 6, 100), 3e38, np.float32)}, "computes NaN or infinity in .* on a calibration sample"),
    ],
)
def test_unusable_samples(
    inputs: dict[str, Images], reason: str, clean_models: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadData, match=reason):
        quantize(artifact_at(clean_models["watch_cnn"]), tmp_path / "out.onnx", Job(Samples(inputs)), QuantizeOptions())
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("calibration", [None, Samples({"input": np.zeros((0, 6, 100), np.float32)})])
def test_without_data_int8_is_refused(
    calibration: Samples | None, clean_models: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="int8 needs DATA"):
        quantize(artifact_at(clean_models["watch_cnn"]), tmp_path / "out.onnx", Job(calibration), QuantizeOptions())


def test_options_are_checked() -> None:
    with pytest.raises(BadInput, match="estimator is auto, minmax, average, percentile, mse, entropy"):
        QuantizeOptions("median")  # type: ignore[arg-type]
    for samples_wanted in (0, "many", 2.5):
        with pytest.raises(BadInput, match="samples at least 1"):
            QuantizeOptions(samples=samples_wanted)  # type: ignore[arg-type]


def test_a_model_that_would_stay_in_float_is_refused_with_the_reasons(tmp_path: Path) -> None:
    text = (
        '<ir_version: 10, opset_import: ["" : 21]> agraph (float[1,4] x) => (float[1,8] y)'
        "{ [pair] p = Concat<axis=1>(x, x) [up] y = Exp(p) }"
    )
    onnx.save(onnx.parser.parse_model(text), tmp_path / "in.onnx")
    job = Job(Samples({"x": np.ones((4, 4), np.float32)}))
    with pytest.raises(
        BadModel, match=r"(?s)no operator .* in int8.*Concat \(pair\): no int8 neigh.*Exp \(up\): no int8"
    ):
        quantize(artifact_at(tmp_path / "in.onnx"), tmp_path / "out.onnx", job, QuantizeOptions())
