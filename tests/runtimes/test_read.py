"""Files → neutral op table: kinds, MACs, bytes, dtypes, the precision that is really there."""

import gc
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper

from edgewright.devices.spec import Format, Precision
from edgewright.errors import BadInput
from edgewright.export.coreml.convert import coreml_float16, coreml_int8
from edgewright.export.coreml.options import CoremlInt8Options, CoremlOptions
from edgewright.export.steps import Job
from edgewright.export.tflite.convert import (
    TfliteInt8Options,
    TfliteOptions,
    tflite_float16,
    tflite_float32,
    tflite_int8,
)
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.contract import Contract, TensorInfo
from edgewright.runtimes.micro import arena_bytes
from edgewright.runtimes.read import Model, Op, Tensor, read
from edgewright.runtimes.read.memory import activation_peak_bytes

TINY_MACS = 4 * 3 * 18 + 4 * 12
TINY_PARAMETERS = 3 * 18 + 3 + 4 * 12 + 4


@dataclass(frozen=True)
class Watch:
    """The 1-D CNN in every format; the same network, so the same multiplications."""

    onnx_float32: Model
    onnx_int8: Model
    tflite_float32: Model
    tflite_float16: Model
    tflite_int8: Model
    coreml_float16: Model
    coreml_int8: Model


@pytest.fixture(scope="module")
def watch_files(
    clean_models: Mapping[str, Path], int8_models: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("watch")
    float_file, int8_file = clean_models["watch_cnn"], int8_models["watch_cnn"]
    made = {"onnx_float32": float_file, "onnx_int8": int8_file}
    with warnings.catch_warnings():  # coremltools leaves its temporary folders to the garbage collector
        warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)
        for source, step, options, suffix in (
            (float_file, tflite_float32, TfliteOptions(), "tflite"),
            (float_file, tflite_float16, TfliteOptions(), "tflite"),
            (int8_file, tflite_int8, TfliteInt8Options(), "tflite"),
            (float_file, coreml_float16, CoremlOptions(), "mlpackage"),
            (int8_file, coreml_int8, CoremlInt8Options(compute="float32"), "mlpackage"),
        ):
            made[step.__name__] = folder / f"{step.__name__}.{suffix}"
            step(artifact_at(source), made[step.__name__], Job(), options)
        gc.collect()
    return made


@pytest.fixture(scope="module")
def watch(watch_files: dict[str, Path]) -> Watch:
    return Watch(**{name: read(path) for name, path in watch_files.items()})


def test_tiny_onnx(tiny_onnx: Path) -> None:
    model = read(tiny_onnx)
    assert (model.format, model.precision, model.macs) == (Format.ONNX, Precision.FLOAT32, TINY_MACS)
    assert [(op.name, op.kind) for op in model.ops] == [
        ("conv", "conv"), ("relu", "activation"), ("flatten", "reshape"), ("linear", "linear"),
    ]  # fmt: skip
    assert model.ops[0] == Op("conv", "conv", ("image", "w", "b"), ("c",), 216, 57 * 4, "float32", "Conv")
    assert model.tensors["c"] == Tensor("c", (1, 3, 2, 2), "float32", 48, False)
    assert model.parameters == TINY_PARAMETERS
    assert model.parameter_bytes == TINY_PARAMETERS * 4
    assert model.contract.outputs == (TensorInfo("scores", (1, 4)),)
    assert model.size_bytes == tiny_onnx.stat().st_size


def test_tiny_tflite(tiny_tflite: Path) -> None:
    model = read(tiny_tflite)
    assert (model.format, model.precision, model.macs) == (Format.TFLITE, Precision.FLOAT32, TINY_MACS)
    assert [op.op_type for op in model.ops] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert [op.weight_bytes for op in model.ops] == [57 * 4, 2 * 4, 52 * 4]
    assert (model.inputs, model.outputs, model.transposes) == (("x",), ("y",), 0)
    assert model.contract.inputs[0].permutation == (0, 2, 3, 1)


def test_torch_folder_is_read_without_torch(tiny_torch: Path) -> None:
    model = read(tiny_torch)
    assert (model.format, model.precision, model.ops) == (Format.TORCH, Precision.FLOAT32, ())
    assert model.parameters == TINY_PARAMETERS
    assert model.tensors["0.weight"] == Tensor("0.weight", (3, 2, 3, 3), "float32", 216, True)
    assert model.contract.inputs == (TensorInfo("image", (1, 2, 4, 4)),)


def test_one_network_has_the_same_macs_everywhere(watch: Watch) -> None:
    expected = 100 * 16 * 6 * 5 + 50 * 32 * 16 * 5 + 25 * 48 * 32 * 5 + 48 * 7
    assert {model.macs for model in vars(watch).values()} == {expected}


def test_true_precision(watch: Watch) -> None:
    assert {name: model.precision.value for name, model in vars(watch).items()} == {
        name: name.rpartition("_")[2] for name in vars(watch)
    }


def test_int8_share(watch: Watch) -> None:
    shares = {name: model.int8_share for name, model in vars(watch).items()}
    assert shares == {name: float(name.endswith("int8")) for name in shares}


def test_qdq_reads_as_integer_operators(watch: Watch) -> None:
    ops = watch.onnx_int8.ops
    inner = [op for op in ops if op.kind not in ("quantize", "dequantize")]
    assert (ops[0].kind, ops[-1].kind, len(ops) - len(inner)) == ("quantize", "dequantize", 2)
    assert {op.compute_dtype for op in inner} == {"int8"}
    first = inner[0]
    weight = watch.onnx_int8.tensors[first.inputs[1]]
    assert (weight.dtype, weight.shape, weight.bytes, weight.quantized_dimension) == ("int8", (16, 6, 5), 480, 0)
    assert weight.scale is not None
    assert len(weight.scale) == 16
    assert weight.zero_point == (0,) * 16
    hidden = watch.onnx_int8.tensors[first.outputs[0]]
    assert (hidden.dtype, hidden.bytes, hidden.quantized_dimension) == ("int8", 1600, None)


def test_scales_are_those_of_the_one_truth(watch: Watch) -> None:
    """Input, output and weights of every backend carry the scales of the QDQ file."""
    models = (watch.onnx_int8, watch.tflite_int8, watch.coreml_int8)
    ends = [[model.tensors[name] for name in (model.ops[0].outputs[0], model.ops[-1].inputs[0])] for model in models]
    for tensors in zip(*ends, strict=True):
        assert len({(np.float32(t.scale[0]), t.zero_point) for t in tensors if t.scale}) == 1
    weights = []
    for model in models:
        convs = [op for op in model.ops if op.kind == "conv"]
        found = [next(model.tensors[n] for n in op.inputs if len(model.tensors[n].scale or ()) > 1) for op in convs]
        weights.append([np.float32(tensor.scale).tolist() for tensor in found])
    assert weights[0] == weights[1] == weights[2]


def test_float16_stores_half(watch: Watch) -> None:
    for model in (watch.tflite_float16, watch.coreml_float16):
        assert model.kinds["dequantize"] == 0
        heavy = [op for op in model.ops if op.macs]
        full = sum(op.weight_bytes for op in watch.onnx_float32.ops if op.macs)
        assert 0.45 < sum(op.weight_bytes for op in heavy) / full < 0.55
    assert {op.compute_dtype for op in watch.tflite_float16.ops if op.macs} == {"float32"}
    assert {op.compute_dtype for op in watch.coreml_float16.ops if op.macs} == {"float16"}


@pytest.mark.parametrize("network", ["student_net", "mobilenet_v2"])
def test_depthwise_is_told_from_dense(network: str, int8_models: Mapping[str, Path]) -> None:
    model = read(int8_models[network])
    wanted = {"student_net": (8, 7), "mobilenet_v2": (35, 17)}[network]
    assert (model.kinds["conv"], model.kinds["depthwise_conv"]) == wanted
    assert model.int8_share == 1.0


def test_a_float_operator_between_qdq_makes_it_mixed(make_onnx: Any, tmp_path: Path) -> None:
    """x → Q → DQ → MatMul(int8) → Q → DQ → MatMul(float) → y"""
    import onnx

    constants = {
        "s": np.float32(0.1), "z": np.int8(0), "w": np.ones((4, 4), np.int8), "v": np.ones((4, 4), np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["h"]),
        helper.make_node("QuantizeLinear", ["h", "s", "z"], ["hq"]),
        helper.make_node("DequantizeLinear", ["hq", "s", "z"], ["hd"]),
        helper.make_node("MatMul", ["hd", "v"], ["y"]),
    ]
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    onnx.save(make_onnx(nodes, {"x": (1, 4)}, {"y": (1, 4)}, arrays), tmp_path / "mixed.onnx")
    model = read(tmp_path / "mixed.onnx")
    assert [(op.kind, op.compute_dtype, op.macs) for op in model.ops] == [
        ("quantize", "float32", 0), ("linear", "int8", 16), ("dequantize", "float32", 0), ("linear", "float32", 16),
    ]  # fmt: skip
    assert model.ops[1].inputs == ("xq", "w")
    assert model.tensors["h"].dtype == "int8"
    assert (model.precision, model.int8_share) == (Precision.MIXED, 0.5)


def test_weights_alone_are_int8_weights(make_onnx: Any, tmp_path: Path) -> None:
    import onnx

    arrays = {"s": np.asarray(np.float32(0.1)), "z": np.asarray(np.int8(0)), "w": np.ones((4, 4), np.int8)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("MatMul", ["x", "wd"], ["y"]),
    ]
    onnx.save(make_onnx(nodes, {"x": (1, 4)}, {"y": (1, 4)}, arrays), tmp_path / "weights.onnx")
    model = read(tmp_path / "weights.onnx")
    assert model.precision is Precision.INT8_WEIGHTS
    assert model.ops == (Op("y", "linear", ("x", "w"), ("y",), 16, 16, "float32", "MatMul"),)


def linear_tflite(tflite_file: Any, quantized: Any, path: Path, *, decoded: bool) -> Path:
    """A float linear layer on int8 weights: `decoded` by a DEQUANTIZE, else read by the kernel itself."""
    file = tflite_file()
    x, y = file.tensor("x", (1, 3)), file.tensor("y", (1, 2))
    w = file.constant("w", np.ones((2, 3), np.int8), quantized(0.25, 0))
    if decoded:
        wide = file.tensor("wide", (2, 3))
        file.operator("DEQUANTIZE", [w], [wide], version=2)
        w = wide
    file.operator("FULLY_CONNECTED", [x, w, -1], [y], schema.FullyConnectedOptionsT(), version=9)
    saved: Path = file.save(path, [x], [y], None)
    return saved


def test_tflite_hybrid_is_dynamic_and_decoded_is_not(tflite_file: Any, quantized: Any, tmp_path: Path) -> None:
    dynamic = read(linear_tflite(tflite_file, quantized, tmp_path / "a.tflite", decoded=False))
    stored = read(linear_tflite(tflite_file, quantized, tmp_path / "b.tflite", decoded=True))
    assert (dynamic.precision, dynamic.ops[0].compute_dtype) == (Precision.INT8_DYNAMIC, "int8")
    assert (stored.precision, stored.ops[0].compute_dtype) == (Precision.INT8_WEIGHTS, "float32")
    assert [op.op_type for op in stored.ops] == ["FULLY_CONNECTED"]
    assert (stored.ops[0].weight_bytes, stored.ops[0].macs) == (6, 6)


def test_tflite_float_operator_between_qdq_stays_float(tflite_file: Any, quantized: Any, tmp_path: Path) -> None:
    """TFLite runs what is written: it fuses no QDQ."""
    file = tflite_file()
    x = file.tensor("x", (1, 3), "int8", quantized=quantized(0.5, 0))
    wide, high = file.tensor("wide", (1, 3)), file.tensor("high", (1, 3))
    y = file.tensor("y", (1, 3), "int8", quantized=quantized(0.5, 0))
    file.operator("DEQUANTIZE", [x], [wide], version=2)
    file.operator("RELU", [wide], [high])
    file.operator("QUANTIZE", [high], [y])
    model = read(file.save(tmp_path / "relu.tflite", [x], [y], None))
    assert [(op.kind, op.compute_dtype) for op in model.ops] == [
        ("dequantize", "float32"), ("activation", "float32"), ("quantize", "float32"),
    ]  # fmt: skip


def test_tflite_operators_that_give_nothing_compute_in_no_float(tflite_file: Any, tmp_path: Path) -> None:
    file = tflite_file()
    x, y = file.tensor("x", (1, 3), "int8"), file.tensor("y", (1, 3), "int8")
    file.operator("CALL_ONCE", [], [])
    file.operator("ASSIGN_VARIABLE", [x], [])
    file.operator("RELU", [x], [y])
    model = read(file.save(tmp_path / "state.tflite", [x], [y], None))
    assert [op.compute_dtype for op in model.ops] == ["unknown", "int8", "int8"]


@pytest.mark.parametrize(
    ("transposed", "groups", "kind", "macs"),
    [(False, 1, "conv", 16 * 4 * 4 * 9), (False, 4, "depthwise_conv", 16 * 4 * 9), (True, 1, "conv", 36 * 4 * 4 * 9)],
)
def test_convolution_macs(transposed: bool, groups: int, kind: str, macs: int, make_onnx: Any, tmp_path: Path) -> None:
    import onnx

    node = helper.make_node("ConvTranspose" if transposed else "Conv", ["x", "w"], ["y"], group=groups)
    side = 8 if transposed else 4
    weight = np.zeros((4, 4 // groups, 3, 3), np.float32)
    onnx.save(make_onnx([node], {"x": (1, 4, 6, 6)}, {"y": (1, 4, side, side)}, {"w": weight}), tmp_path / "c.onnx")
    model = read(tmp_path / "c.onnx")
    assert (model.ops[0].kind, model.macs) == (kind, macs)


@pytest.mark.parametrize(("trans_b", "shape"), [(0, (5, 3)), (1, (3, 5))])
def test_gemm_macs(trans_b: int, shape: tuple[int, int], make_onnx: Any, tmp_path: Path) -> None:
    import onnx

    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=trans_b)
    proto = make_onnx([node], {"x": (2, 5)}, {"y": (2, 3)}, {"w": np.zeros(shape, np.float32)})
    onnx.save(proto, tmp_path / "g.onnx")
    assert read(tmp_path / "g.onnx").macs == 2 * 3 * 5


def test_open_batch_counts_once(make_onnx: Any, tmp_path: Path) -> None:
    import onnx

    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    proto = make_onnx([node], {"x": ("n", 5)}, {"y": ("n", 3)}, {"w": np.zeros((5, 3), np.float32)})
    onnx.save(proto, tmp_path / "open.onnx")
    model = read(tmp_path / "open.onnx")
    assert model.contract == Contract((TensorInfo("x", (None, 5)),), (TensorInfo("y", (None, 3)),))
    assert (model.macs, model.tensors["y"].bytes) == (15, 12)


def test_peak_by_hand(make_onnx: Any, tmp_path: Path) -> None:
    """x → a → b; b + a → y: each 64 bytes; while the sum is made x, a, b and y are all held."""
    import onnx

    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Abs", ["a"], ["b"]),
        helper.make_node("Add", ["b", "a"], ["y"]),
    ]
    onnx.save(make_onnx(nodes, {"x": (16,)}, {"y": (16,)}, {}), tmp_path / "sum.onnx")
    model = read(tmp_path / "sum.onnx")
    assert activation_peak_bytes(model) == 4 * 64
    assert activation_peak_bytes(model, ends_stay=False) == 3 * 64


def test_peak_rounds_up_to_16_bytes(make_onnx: Any, tmp_path: Path) -> None:
    import onnx

    onnx.save(make_onnx([helper.make_node("Relu", ["x"], ["y"])], {"x": (1,)}, {"y": (1,)}, {}), tmp_path / "r.onnx")
    assert activation_peak_bytes(read(tmp_path / "r.onnx")) == 32


@pytest.mark.parametrize("name", ["tflite_float32", "tflite_int8"])
def test_peak_is_just_below_the_measured_arena(name: str, watch: Watch, watch_files: dict[str, Path]) -> None:
    """tflite-micro's arena adds about 2 kB of structures for 12 operators to what the tensors need."""
    peak = activation_peak_bytes(getattr(watch, name), ends_stay=False)
    arena = arena_bytes(watch_files[name])
    assert peak < arena < peak + 4096


@pytest.mark.parametrize(
    ("network", "published"),
    [("alexnet", 0.66e9), ("resnet50", 4.09e9), ("vgg19", 19.6e9), ("densenet121", 2.83e9), ("squeezenet", 0.35e9)],
)
def test_published_macs(network: str, published: float) -> None:
    """Files that ship with onnx; MACs from the model cards and papers of these networks, rounded there."""
    import onnx

    folder = Path(onnx.__file__).parent / "backend/test/data/light"
    found = [file for file in folder.glob("*.onnx") if network in file.name]
    assert read(found[0]).macs == pytest.approx(published, rel=0.01)


def test_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "model.pb").write_bytes(b"")
    with pytest.raises(BadInput, match="known endings"):
        read(tmp_path / "model.pb")
