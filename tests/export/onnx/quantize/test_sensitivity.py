"""What each operator adds, gathers and costs, against figures that onnxruntime gives for hand-made graphs."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray

from edgewright.data import Samples
from edgewright.errors import BadInput
from edgewright.export.cumulative import gathered
from edgewright.export.onnx.file import contract_of, load_onnx
from edgewright.export.onnx.quantize.local import merge, only
from edgewright.export.onnx.quantize.sensitivity import Sensitivity, measure
from edgewright.export.tflite.convert import convert
from edgewright.export.verify import snr_db
from edgewright.progress import Silent
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.read import read
from edgewright.runtimes.runtime import pick
from tests.export.onnx.quantize.vit import inputs


def run(model: ir.Model | Path, x: NDArray[np.float32], names: list[str]) -> list[NDArray[np.float32]]:
    proto = onnx.load(model) if isinstance(model, Path) else ir.to_proto(model)
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    pieces = [session.run(names, {"input": sample[None]}) for sample in x]
    return [np.concatenate([piece[index] for piece in pieces]) for index in range(len(names))]


@pytest.fixture(scope="module")
def measured(vit_file: Path, vit_int8: Path) -> Sensitivity:
    floating = load_onnx(vit_file)
    return measure(floating, load_onnx(vit_int8), contract_of(floating), probes(), Silent(), outputs=True)


def probes() -> Samples:
    return Samples({"input": inputs(8, 3)[0].numpy()})


def test_cumulative_figures_are_those_of_the_running_model(
    measured: Sensitivity, vit_file: Path, vit_int8: Path
) -> None:
    x = probes().inputs["input"]
    rows = [row for row in measured.ops if row.op == "MatMul"]
    names = [row.tensor for row in rows]
    wanted = [snr_db(a, b) for a, b in zip(run(vit_file, x, names), run(vit_int8, x, names), strict=True)]
    assert [row.cumulative_db for row in rows] == pytest.approx(wanted, abs=0.02)
    assert all(row.int8 for row in rows)


def test_local_noise_is_that_of_the_operator_on_exact_inputs(
    measured: Sensitivity, vit_file: Path, vit_int8: Path
) -> None:
    """Recomputed with numpy from the file's own codes and scales, for a product of a constant matrix."""
    node = next(node for node in onnx.load(vit_int8).graph.node if node.name == "node_MatMul_11")
    table = read(vit_int8)
    op = next(op for op in table.ops if op.name == "node_MatMul_11")
    (left,) = run(vit_file, probes().inputs["input"], ["layer_norm"])
    (exact,) = run(vit_file, probes().inputs["input"], [op.outputs[0].removesuffix("_raw")])
    initializers = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(vit_int8).graph.initializer}
    codes = initializers[op.inputs[1]].astype(np.float64) * np.array(table.tensors[op.inputs[1]].scale)
    raw = on_grid(left, table.tensors[op.inputs[0]]) @ codes
    local = snr_db(exact, on_grid(raw, table.tensors[op.outputs[0]]))
    (row,) = (row for row in measured.ops if row.node == node.name)
    assert row.local_db == pytest.approx(local, abs=0.05)


def on_grid(real: NDArray[np.float32], tensor: object) -> NDArray[np.float64]:
    scale, zero = tensor.scale[0], tensor.zero_point[0]  # type: ignore[attr-defined]
    return (np.clip(np.rint(real / np.float64(scale)) + zero, -128, 127) - zero) * scale


def test_what_carries_values_adds_nothing_and_the_culprit_is_named(measured: Sensitivity) -> None:
    moved = [row for row in measured.ops if row.op in ("Reshape", "Transpose", "Squeeze")]
    assert moved
    assert all(abs(row.added) < 1e-6 for row in moved)
    assert measured.samples == 8
    assert measured.culprit == max(measured.ops, key=lambda row: row.added).tensor == "output"
    kinds = {row.op: row.int8 for row in measured.ops}
    assert (kinds["MatMul"], kinds["Gelu"], kinds["LayerNormalization"], kinds["Input"]) == (True, False, False, False)


def test_an_operator_alone_costs_what_its_graph_gives(measured: Sensitivity, vit_file: Path, vit_int8: Path) -> None:
    merged = merge(load_onnx(vit_file), load_onnx(vit_int8))
    branch = next(branch for branch in merged.branches if branch.node == "node_MatMul_11")
    alone = only(merged, branch)
    kinds = [node.op_type for node in alone.graph]
    assert (kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (2, 3)
    x = probes().inputs["input"]
    (wanted,), (answer,) = run(vit_file, x, ["output"]), run(alone, x, ["output"])
    (row,) = (row for row in measured.ops if row.node == branch.node)
    assert row.output_db == pytest.approx(snr_db(wanted, answer), abs=0.02)
    head = next(row for row in measured.ops if row.op == "Gemm")
    assert head.output_db == head.local_db


def test_a_tflite_file_has_cumulative_figures_by_name(
    measured: Sensitivity, vit_file: Path, vit_int8: Path, tmp_path: Path
) -> None:
    path = tmp_path / "int8.tflite"
    path.write_bytes(convert(load_onnx(vit_int8)).content)
    sessions = [pick(artifact_at(each).spec.format)[0].load(artifact_at(each)) for each in (path, vit_file)]  # type: ignore[union-attr]
    few = Samples({"input": probes().inputs["input"][:8]})
    found = gathered(read(path), *sessions, few, Silent())
    by_onnx = {row.tensor: row.cumulative_db for row in measured.ops}
    by_tflite = {row.tensor: row.cumulative_db for row in found.ops}
    shared = set(by_onnx) & set(by_tflite)
    assert len(shared) > 30
    assert np.median([abs(by_onnx[name] - by_tflite[name]) for name in shared]) < 2
    assert found.culprit == "output"
    assert all(row.local_db is None for row in found.ops)


def test_models_without_common_names_are_refused(vit_file: Path, clean_models: dict[str, Path]) -> None:
    stranger = load_onnx(clean_models["watch_cnn"])
    for node in stranger.graph:
        node.outputs[0].name = f"other_{node.outputs[0].name}"
    with pytest.raises(BadInput, match="clean float file"):
        merge(load_onnx(vit_file), stranger)
