"""Mixed plans: what stays float, why, how little of it, and that every backend follows the plan."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.errors import BadInput, BadModel
from edgewright.export.coreml.convert import coreml_mixed
from edgewright.export.coreml.options import CoremlInt8Options
from edgewright.export.onnx.file import contract_of, load_onnx
from edgewright.export.onnx.quantize.goal import Goal, Score, goal_of
from edgewright.export.onnx.quantize.mixed import MixedOptions, quantize_mixed
from edgewright.export.onnx.quantize.plan import plan_int8
from edgewright.export.onnx.quantize.quantized import Judge
from edgewright.export.onnx.quantize.search import Unit, search, without_heavy
from edgewright.export.steps import Job
from edgewright.export.tflite.convert import TfliteOptions, tflite_mixed
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.mil.evaluate import evaluate
from edgewright.runtimes.read import read
from edgewright.runtimes.runtime import pick, run_samples
from tests.export.onnx.quantize.vit import inputs
from tests.models import samples

BUDGET = MixedOptions("average")


def answers(path: Path, x: Any, runtime: str | None = None) -> Any:
    found, why = pick(artifact_at(path).spec.format, runtime)
    assert found is not None, why
    return run_samples(found.load(artifact_at(path)), {"input": x})["output"]


@pytest.fixture(scope="module")
def mixed(vit_file: Path, vit_job: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("mixed") / "mixed.onnx"
    return path, quantize_mixed(artifact_at(vit_file), path, vit_job, BUDGET)


def test_the_transformer_comes_out_usable(mixed: tuple[Path, dict[str, Any]], vit_file: Path, vit_int8: Path) -> None:
    path, notes = mixed
    x = inputs(32, seed=9)[0].numpy()
    wanted = answers(vit_file, x)
    assert snr_db(wanted, answers(vit_int8, x)) < 20
    assert snr_db(wanted, answers(path, x)) > 24
    table = read(path)
    assert table.precision is Precision.MIXED
    assert table.int8_share > 0.95
    assert notes["goal"] == "at least 25 dB on 32 samples"
    assert notes["goal_met"] is True


def test_what_stays_float_is_listed_with_what_it_gains(mixed: tuple[Path, dict[str, Any]]) -> None:
    path, notes = mixed
    kept = notes["kept_float"]
    assert kept
    assert all(row["why"].startswith("kept float: +") and row["why"].endswith(" dB") for row in kept)
    listed = {row["node"] for row in notes["float_ops"]}
    assert {row["node"] for row in kept} <= listed
    model = onnx.load(path)
    quantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    reads = {node.name: node.input[1] in quantized for node in model.graph.node if node.op_type in ("Gemm", "Conv")}
    assert reads == {name: name not in listed for name in reads}
    reasons = {row["op"]: row["why"] for row in notes["float_ops"]}
    assert reasons["LayerNormalization"] == "no int8 form"
    assert reasons["Add"] == "only float operators read it"


def test_the_same_file_for_the_same_input(
    mixed: tuple[Path, dict[str, Any]], vit_file: Path, vit_job: Job, tmp_path: Path
) -> None:
    again = tmp_path / "again.onnx"
    quantize_mixed(artifact_at(vit_file), again, vit_job, BUDGET)
    assert again.read_bytes() == mixed[0].read_bytes()


def test_tflite_follows_the_plan(mixed: tuple[Path, dict[str, Any]], vit_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "mixed.tflite"
    notes = tflite_mixed(artifact_at(mixed[0], Precision.MIXED), out, Job(), TfliteOptions())
    ours, theirs = read(mixed[0]), read(out)
    assert theirs.precision is Precision.MIXED
    assert theirs.int8_share == pytest.approx(ours.int8_share)
    assert notes["ops"]["GELU"] == 2
    assert notes["ops"]["RSQRT"] == 5
    x = inputs(16, seed=9)[0].numpy()
    wanted, truth = answers(vit_file, x), answers(mixed[0], x)
    for runtime in ("litert", "tflite-runtime"):
        found = answers(out, x, runtime)
        assert snr_db(truth, found) > 25
        assert snr_db(wanted, found) > 23


def test_core_ml_follows_the_plan(mixed: tuple[Path, dict[str, Any]], vit_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "mixed.mlpackage"
    options = CoremlInt8Options(compute="float32")
    coreml_mixed(artifact_at(mixed[0], Precision.MIXED), out, Job(), options)
    assert read(out).precision is Precision.MIXED
    assert read(out).int8_share == pytest.approx(read(mixed[0]).int8_share)
    x = inputs(4, seed=9)[0].numpy()
    found = np.concatenate([evaluate(out, {"input": sample[None]})["output"] for sample in x])
    assert snr_db(answers(vit_file, x), found) > 22


def test_where_int8_is_within_the_budget_all_of_it_is_int8(clean_models: dict[str, Path], tmp_path: Path) -> None:
    job = Job(calibration=Samples({"input": samples("watch_cnn", 32, seed=1).numpy()}))
    notes = quantize_mixed(artifact_at(clean_models["watch_cnn"]), tmp_path / "m.onnx", job, MixedOptions())
    assert (notes["kept_float"], notes["goal_met"], notes["score"]) == ([], True, notes["int8_score"])
    assert read(tmp_path / "m.onnx").precision is Precision.INT8


def test_a_budget_that_only_float_meets_is_an_error_with_advice(clean_models: dict[str, Path], tmp_path: Path) -> None:
    job = Job(calibration=Samples({"input": samples("watch_cnn", 16, seed=1).numpy()}))
    with pytest.raises(BadModel, match=r"at least 90 dB on 4 samples needs every convolution.*float16"):
        quantize_mixed(artifact_at(clean_models["watch_cnn"]), tmp_path / "m.onnx", job, MixedOptions(snr_db=90))
    assert not (tmp_path / "m.onnx").exists()


def test_labels_decide_only_where_they_can_show_the_drop(vit_file: Path, vit_job: Job) -> None:
    model = load_onnx(vit_file)
    contract = contract_of(model)
    assert vit_job.validation is not None
    coarse = goal_of(model, contract, vit_job.validation, vit_job.validation, 0.01, 25.0)
    assert (coarse.labelled, coarse.snr_db) == (None, 25.0)
    fine = goal_of(model, contract, vit_job.validation, vit_job.validation, 0.1, 25.0)
    assert fine.labelled is not None
    assert fine.snr_db == 18.0
    assert fine.score(model) == Score(200.0, 0.0)
    assert fine.met(Score(18.0, 0.1))
    assert not fine.met(Score(30.0, 0.11))
    assert not fine.met(Score(17.9))


@pytest.mark.parametrize("wrong", [{"accuracy_drop": -0.1}, {"accuracy_drop": 1.0}, {"snr_db": 0.0}])
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="accuracy_drop is a fraction"):
        MixedOptions(**wrong)  # type: ignore[arg-type]


UNITS = [Unit((name,), macs, noise) for name, macs, noise in (("a", 0.0, 0.5), ("b", 0.0, 0.1), ("c", 0.4, 0.3))]
UNITS += [Unit((name,), 0.3, 0.01) for name in ("d", "e")]


def noise_of(keep_float: Any) -> Score:
    """Noise powers add up, as those of independent roundings do."""
    left = sum(unit.noise for unit in UNITS if unit.nodes[0] not in keep_float)
    return Score(float(-10 * np.log10(max(left, 1e-20))))


@pytest.fixture
def goal() -> Goal:
    return Goal(Judge(Contract((), ()), Samples({}), []), 4.0, 0.01, None, None)


def test_the_search_keeps_the_cheapest_that_meet_the_goal(goal: Goal) -> None:
    """Left in int8: b + c + d + e = 0.42 → 3.8 dB misses 4 dB; without b it is 0.32 → 4.9 dB."""
    found = search(UNITS, noise_of, goal, lambda _done: None)
    assert list(found.keep_float) == ["a", "b"]
    assert found.keep_float["b"] == "kept float: +1.2 dB"
    assert found.score.snr_db == pytest.approx(4.95, abs=0.01)


def test_the_search_refuses_what_only_float_reaches(goal: Goal) -> None:
    with pytest.raises(BadModel, match="all but the one that costs least"):
        search(UNITS, noise_of, replace(goal, snr_db=50.0), lambda _done: None)


def test_int8_islands_without_a_product_are_not_worth_it(vit_file: Path) -> None:
    model = load_onnx(vit_file)
    heavy = {str(node.name): "kept" for node in model.graph if node.op_type in ("MatMul", "Gemm", "Conv")}
    plan = plan_int8(model, heavy)
    assert {node.op_type for node in plan.int8} >= {"Softmax", "Mul"}
    assert set(without_heavy(plan)) == {node.name for node in plan.int8}
    assert without_heavy(plan_int8(load_onnx(vit_file))) == {}


def recurrent_file(path: Path, steps: int, classes: int) -> Path:
    """LSTM(6 → 8) over `steps`, its last state through a product."""
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.normal(size=(1, 32, 6)) / 3,
        "r": generator.normal(size=(1, 32, 8)) / 3,
        "g": generator.normal(size=(classes, 8)),
    }
    nodes = [
        onnx.helper.make_node("Transpose", ["input"], ["steps"], "transpose", perm=[1, 0, 2]),
        onnx.helper.make_node("LSTM", ["steps", "w", "r"], ["", "last"], "lstm", hidden_size=8),
        onnx.helper.make_node("Flatten", ["last"], ["flat"], "flatten", axis=1),
        onnx.helper.make_node("Gemm", ["flat", "g"], ["output"], "head", transB=1),
    ]
    shapes = (("input", [1, steps, 6]), ("output", [1, classes]))
    info = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes]
    constants = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = onnx.helper.make_graph(nodes, "recurrent", info[:1], info[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def frames(count: int, steps: int, seed: int = 1) -> Samples:
    return Samples({"input": np.random.default_rng(seed).normal(size=(count, steps, 6)).astype(np.float32)})


def test_a_recurrent_layer_stays_float_with_its_reason(tmp_path: Path) -> None:
    path = recurrent_file(tmp_path / "float.onnx", 5, 4)
    job = Job(calibration=frames(32, 5))
    notes = quantize_mixed(artifact_at(path), tmp_path / "mixed.onnx", job, MixedOptions(snr_db=15.0))
    (why,) = (row["why"] for row in notes["float_ops"] if row["op"] == "LSTM")
    assert why.startswith("recurrent")
    assert read(tmp_path / "mixed.onnx").precision is Precision.MIXED


@pytest.mark.parametrize(
    ("steps", "snr_db_wanted", "why"),
    [
        (50, 25.0, "less than 1% of the work lies beside"),
        (5, 45.0, "no plan with a product in int8 reaches at least 45 dB"),
    ],
)
def test_a_recurrent_layer_has_int8_weights_in_a_float_network(
    steps: int, snr_db_wanted: float, why: str, tmp_path: Path
) -> None:
    """Where the product behind it is little work, and where no int8 product meets the goal."""
    path, mixed, file = recurrent_file(tmp_path / "float.onnx", steps, 4), tmp_path / "m.onnx", tmp_path / "m.tflite"
    notes = quantize_mixed(
        artifact_at(path), mixed, Job(calibration=frames(32, steps)), MixedOptions(snr_db=snr_db_wanted)
    )
    (kept,) = notes["kept_float"]
    assert (kept["op"], kept["why"][: len(why)]) == ("Gemm", why)
    assert (len(notes["int8_weights"]), notes["goal_met"]) == (2, True)
    tflite_mixed(artifact_at(mixed, Precision.MIXED), file, Job(), TfliteOptions())
    x = frames(8, steps, seed=2).inputs["input"]
    wanted = answers(path, x)
    for runtime in ("litert", "tflite-runtime"):
        assert snr_db(wanted, answers(file, x, runtime)) > 40
