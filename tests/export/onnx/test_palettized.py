"""Packed indices and tables in ONNX: what onnxruntime unfolds equals what was stored, and the bytes are saved."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import nn

from edgewright.compress.cluster import Cluster, cluster_weights
from edgewright.compress.passes import Given
from edgewright.errors import BadInput, BadModel
from edgewright.export.capture import capture_module
from edgewright.export.coreml.compressed.options import PaletteOptions
from edgewright.export.coreml.compressed.steps import coreml_palettized
from edgewright.export.onnx.file import contract_of, save_model
from edgewright.export.onnx.palettized import PackedOptions, onnx_palettized
from edgewright.export.onnx.simplify import simplify
from edgewright.export.onnx.unpacking import parts_of
from edgewright.export.steps import Job, Notes
from edgewright.runtimes.artifact import artifact_at

X = torch.randn(1, 12, 10, 10, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    """Odd sizes throughout; norms with scales of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(12, 33, 3), nn.BatchNorm2d(33), nn.ReLU(),
            nn.Conv2d(33, 33, 3, groups=33), nn.BatchNorm2d(33), nn.ReLU(),
            nn.ConvTranspose2d(33, 15, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(15, 77),
        )  # fmt: skip
        for layer in net:
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 2)
    return net.eval()


def onnx_of(module: nn.Module, path: Path) -> Path:
    model = capture_module(module, {"x": X})
    contract = contract_of(model)
    save_model(simplify(model)[0], contract, path)
    return path


def stored(source: Path, out: Path, **choices: Any) -> Notes:
    return onnx_palettized(artifact_at(source), out, Job(), PackedOptions(**choices))


def answer(path: Path) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X.numpy()})[0]


@pytest.mark.parametrize("bits", range(1, 9))
def test_indices_of_every_width_come_back(bits):
    indices = np.random.default_rng(bits).integers(0, 1 << bits, 1001).astype(np.uint8)
    parts = parts_of(indices, bits)
    whole = np.zeros(1001, np.uint8)
    for width, shift, packed in parts:
        fields = packed[:, None] >> np.arange(0, 8, width, dtype=np.uint8) & np.uint8((1 << width) - 1)
        whole |= fields.reshape(-1)[:1001] << np.uint8(shift)
    assert np.array_equal(whole, indices)
    assert sum(packed.nbytes for *_, packed in parts) <= 1001 * bits / 8 + len(parts)


@pytest.mark.parametrize("bits", range(1, 9))
def test_clustered_weights_are_stored_without_loss_in_their_bits(bits, tmp_path):
    shared, _ = cluster_weights(network(), Cluster(bits=bits, smallest=1000), Given({"x": X}))
    source = onnx_of(shared, tmp_path / "source.onnx")
    notes = stored(source, tmp_path / "out.onnx", bits=8, mode="unique", smallest=1000)
    assert [(row["bits"], row["exact"]) for row in notes["stored_weights"]] == [(bits, True)] * 3
    assert np.array_equal(answer(tmp_path / "out.onnx"), answer(source))
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)
    (by_reference,) = ReferenceEvaluator(str(tmp_path / "out.onnx")).run(None, {"x": X.numpy()})
    np.testing.assert_allclose(by_reference, shared(X).detach().numpy(), atol=1e-5)
    saved = sum(row["bytes_before"] - row["bytes_after"] for row in notes["stored_weights"])
    assert source.stat().st_size - (tmp_path / "out.onnx").stat().st_size > saved - 9000  # names and operators
    for row in notes["stored_weights"]:
        assert row["entropy_bytes"] <= row["huffman_bytes"]
        assert row["entropy_bytes"] <= np.prod(row["shape"]) * bits / 8 + 1


def test_without_folding_norms_first_a_layer_has_too_many_values(tmp_path):
    """What settling the norms is for: the same tables in front of norms with scales fold into other values."""
    module = network()
    with torch.no_grad():
        module[0].weight.copy_((module[0].weight * 40).round() / 40)
    notes = stored(onnx_of(module, tmp_path / "a.onnx"), tmp_path / "b.onnx", bits=4, smallest=1000)
    assert not any(row["exact"] for row in notes["stored_weights"])


def test_onnxruntime_holds_no_trace_of_unpacking(tmp_path):
    source = onnx_of(network(), tmp_path / "source.onnx")
    stored(source, tmp_path / "out.onnx", bits=6, group_channels=11, smallest=100)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "out.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "folded.onnx").graph.node}
    assert kinds <= {"Conv", "ConvTranspose", "Relu", "GlobalAveragePool", "Flatten", "Gemm", "ReduceMean", "Reshape"}


def test_groups_of_channels_have_tables_of_their_own_and_lose_less(tmp_path):
    source, wanted = onnx_of(network(), tmp_path / "source.onnx"), network()(X).detach().numpy()
    errors = []
    for group in (0, 11, 3):
        out = tmp_path / f"{group}.onnx"
        notes = stored(source, out, bits=2, depthwise_bits=2, group_channels=group, smallest=1000)
        assert {row["name"]: row["group_channels"] for row in notes["stored_weights"]}
        errors.append(float(np.square(answer(out) - wanted).sum()))
    assert errors[0] > errors[1] > errors[2]


def test_core_ml_keeps_the_same_tables(tmp_path):
    shared, _ = cluster_weights(network(), Cluster(bits=4, smallest=1000), Given({"x": X}))
    source = onnx_of(shared, tmp_path / "source.onnx")
    options = PaletteOptions(bits=8, mode="unique", smallest=1000)
    notes = coreml_palettized(artifact_at(source), tmp_path / "net.mlpackage", Job(), options)
    assert [(row["bits"], row["exact"]) for row in notes["stored_weights"]] == [(4, True)] * 3


def test_the_same_source_gives_the_same_bytes(tmp_path):
    source = onnx_of(network(), tmp_path / "source.onnx")
    for name in ("a", "b"):
        stored(source, tmp_path / f"{name}.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_refusals_say_what_and_why(tmp_path):
    with pytest.raises(BadInput, match="bits is 9; it is 1 to 8; unknown mode 'uniq'"):
        PackedOptions(bits=9, mode="uniq")
    source = onnx_of(network(), tmp_path / "source.onnx")
    with pytest.raises(BadModel, match=r"no weight can be stored so(.|\n)*more than 256 values"):
        stored(source, tmp_path / "out.onnx", bits=8, mode="unique")
    assert len(ir.load(source).graph) > 5
