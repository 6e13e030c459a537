"""Weights in 8 and 4 bits with float arithmetic, and products on integers with inputs quantized at run time."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edgewright.data import Samples
from edgewright.devices.spec import Precision
from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.export.onnx.quantize.blocks import BlockOptions, int4_weights
from edgewright.export.onnx.quantize.calibrate import open_session
from edgewright.export.onnx.quantize.dynamic import int8_dynamic
from edgewright.export.onnx.quantize.least_squares import least_error_grids
from edgewright.export.onnx.quantize.quantized import answers
from edgewright.export.onnx.quantize.weight_only import Int8WeightOptions, int8_weights
from edgewright.export.onnx.quantize.weights import WeightOptions
from edgewright.export.steps import Job
from edgewright.export.verify import snr_db
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.ort import RUNTIME
from edgewright.runtimes.read import read

Files = Mapping[str, Path]
Array = NDArray[np.float32]
RNG = np.random.default_rng(0)


def saved(path: Path, body: str, **weights: Array) -> Path:
    """A model whose weights are the inputs of that name."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> agraph {body}')
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    model = ir.from_proto(proto)
    infer_shapes(model)
    tidy_names(model)
    save_model(model, contract_of(model), path)
    return path


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape, np.float32)


def made(step: Callable[..., object], source: Path, options: WeightOptions) -> tuple[Path, dict[str, object]]:
    out = source.with_name(f"{step.__name__}.onnx")
    notes = step(artifact_at(source), out, Job(), options)
    assert isinstance(notes, dict)
    onnx.checker.check_model(onnx.load(out), full_check=True)
    return out, notes


def outputs(path: Path, x: Array, *, optimize: bool = False) -> Array:
    found: Array = open_session(load_onnx(path), (), optimize).run(None, {"x": x})[0]
    return found


def as_shipped(path: Path, x: Array) -> Array:
    """By the session that a user gets."""
    found: Array = RUNTIME.load(artifact_at(path)).run({"x": x})["y"]
    return found


def op_types(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(
    ("name", "weights_db", "dynamic_db"),
    [("watch_cnn", 45, 40), ("student_net", 40, 40), ("mobilenet_v2", 27, 26), ("resnet18", 40, 36)],
)
def test_networks(
    name: str, weights_db: float, dynamic_db: float, clean_models: Files, probes: Mapping[str, Array], tmp_path: Path
) -> None:
    source, samples = load_onnx(clean_models[name]), Samples({"input": probes[name]})
    contract = contract_of(source)
    wanted = answers(source, contract, samples)[0]
    for step, least, precision in (
        (int8_weights, weights_db, Precision.INT8_WEIGHTS),
        (int8_dynamic, dynamic_db, Precision.INT8_DYNAMIC),
    ):
        out = tmp_path / f"{step.__name__}.onnx"
        step(artifact_at(clean_models[name]), out, Job(), Int8WeightOptions())
        assert snr_db(wanted, answers(load_onnx(out), contract, samples)[0]) > least
        assert read(out).precision is precision
        assert out.stat().st_size < 0.47 * clean_models[name].stat().st_size


def test_depthwise_and_small_weights_stay_float_and_are_listed(clean_models: Files, tmp_path: Path) -> None:
    notes = int8_weights(
        artifact_at(clean_models["student_net"]), tmp_path / "m.onnx", Job(), Int8WeightOptions(smallest=600)
    )
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer}
    reasons = [row["why"] for row in notes["float_weights"]]
    assert Counter(reasons) == {
        "depthwise: few weights that decide much": 7,
        "216 weights, fewer than 600": 1,
        "128 weights, fewer than 600": 1,
        "512 weights, fewer than 600": 1,
    }
    assert sum(kind == TensorProto.INT8 for kind in kinds.values()) == 2 * len(notes["int8_weights"]) == 12
    lower = int8_weights(
        artifact_at(clean_models["student_net"]), tmp_path / "n.onnx", Job(), Int8WeightOptions(smallest=1)
    )
    assert {row["why"] for row in lower["float_weights"]} == {"depthwise: few weights that decide much"}


def test_each_kind_of_weight_has_a_scale_for_each_output(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx",
        "(float[1,8,6,6] x) => (float[1,1,14,14,10] y) {"
        "a = Conv(x, c) b = ConvTranspose<strides=[2,2]>(a, t) shape = Constant<value_ints=[1,14,14,6]>()"
        "d = Reshape(b, shape) e = MatMul(d, m) flat = Constant<value_ints=[196,12]>() f = Reshape(e, flat)"
        "g = Gemm<transB=1>(f, r) h = Gemm(g, s, bias)"
        "last = Constant<value_ints=[1,1,14,14,10]>() y = Reshape(h, last)}",
        c=normal(4, 8, 1, 1), t=normal(4, 6, 4, 4), m=normal(6, 12), r=normal(8, 12), s=normal(8, 10), bias=normal(10),
    )  # fmt: skip
    x = normal(1, 8, 6, 6)
    out, notes = made(int8_weights, source, Int8WeightOptions(smallest=1))
    proto = onnx.load(out)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert {name: held[f"{name}_scale"].shape for name in "ctmrs"} == {
        "c": (4,), "t": (6,), "m": (12,), "r": (8,), "s": (10,),
    }  # fmt: skip
    assert all(
        held[f"{name}_int8"].dtype == np.int8 and abs(held[f"{name}_int8"].astype(int)).max() <= 127 for name in "ctmrs"
    )
    assert notes == {"int8_weights": ["c", "t", "m", "r", "s"], "blocks": {}, "float_weights": []}
    reference = onnx.reference.ReferenceEvaluator(proto).run(None, {"x": x})[0]
    assert snr_db(reference, outputs(out, x)) > 100
    assert snr_db(outputs(source, x), outputs(out, x)) > 35
    assert snr_db(outputs(source, x), as_shipped(out, x)) > 35


def test_a_weight_with_two_readers_is_stored_once(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx", "(float[2,8] x) => (float[2,8] y) { a = MatMul(x, w) b = Relu(a) y = MatMul(b, w) }",
        w=normal(8, 8),
    )  # fmt: skip
    out, _ = made(int8_weights, source, Int8WeightOptions(smallest=1))
    assert op_types(out) == ["DequantizeLinear", "MatMul", "Relu", "MatMul"]
    dynamic, _ = made(int8_dynamic, source, WeightOptions(smallest=1))
    held = onnx.load(dynamic).graph.initializer
    assert [tensor.name for tensor in held if tensor.data_type == TensorProto.UINT8] == ["w_uint8", "w_zero_point"]
    x = normal(2, 8)
    assert snr_db(outputs(source, x), outputs(dynamic, x)) > 30


def test_a_weight_that_is_read_in_another_way_stays_float(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx",
        "(float[2,8] x) => (float[2,8] y) { a = MatMul(x, w) b = MatMul(a, v) i = Constant<value_ints=[1,0]>()"
        "g = Gather(w, i) y = Add(b, g) }",
        w=normal(8, 8), v=normal(8, 8),
    )  # fmt: skip
    _, notes = made(int8_weights, source, Int8WeightOptions(smallest=1))
    assert notes["int8_weights"] == ["v"]
    assert [row["why"] for row in notes["float_weights"]] == ["its weight is also read in another way"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers_keep_a_float_state(op: str, gates: int, directions: int, tmp_path: Path) -> None:
    hidden, inputs = 12, 16
    direction = "bidirectional" if directions == 2 else "forward"
    gained = np.linspace(0.1, 2, directions * gates * hidden, dtype=np.float32).reshape(directions, -1, 1)
    source = saved(
        tmp_path / "m.onnx",
        f"(float[5,1,{inputs}] x) => (float[5,{directions},1,{hidden}] y)"
        f'{{ y = {op}<hidden_size={hidden}, direction="{direction}">(x, w, r) }}',
        w=gained * normal(directions, gates * hidden, inputs) / 4,
        r=gained * normal(directions, gates * hidden, hidden) / 4,
    )
    out, notes = made(int8_weights, source, Int8WeightOptions(smallest=64))
    assert op_types(out) == ["DequantizeLinear", "DequantizeLinear", op]
    assert notes["int8_weights"] == ["w", "r"]
    x = normal(5, 1, inputs)
    assert snr_db(outputs(source, x), outputs(out, x)) > 40
    assert snr_db(outputs(source, x), as_shipped(out, x)) > 40
    table = read(out)
    assert table.precision is Precision.INT8_WEIGHTS
    assert table.parameter_bytes < 0.4 * read(source).parameter_bytes


def test_dynamic_products_run_on_integers(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx",
        "(float[3,5,32] x) => (float[3,5,24] y) { q = MatMul(x, w) k = MatMul(x, v) a = Add(q, k)"
        "s = Constant<value_ints=[15,24]>() b = Reshape(a, s) c = Gemm<transB=1>(b, u, bias)"
        "t = Constant<value_ints=[3,5,24]>()"
        "y = Reshape(c, t) }",
        w=normal(32, 24), v=normal(32, 24), u=normal(24, 24), bias=normal(24),
    )  # fmt: skip
    out, notes = made(int8_dynamic, source, WeightOptions(smallest=1))
    kinds = op_types(out)
    assert kinds.count("DynamicQuantizeLinear") == 2  # one for x, which two products read
    assert kinds.count("MatMulInteger") == 3
    assert not {"MatMul", "Gemm", "ConvInteger"} & set(kinds)
    assert notes == {"dynamic_weights": ["w", "v", "u"], "int8_weights": [], "float_weights": []}
    x = normal(3, 5, 32)
    reference = onnx.reference.ReferenceEvaluator(onnx.load(out)).run(None, {"x": x})[0]
    for optimize in (False, True):
        assert snr_db(outputs(source, x), outputs(out, x, optimize=optimize)) > 30
        assert snr_db(reference, outputs(out, x, optimize=optimize)) > 50
    table, before = read(out), read(source)
    assert (table.precision, table.macs) == (Precision.INT8_DYNAMIC, before.macs)


def test_full_range_products_do_not_saturate(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx", "(float[1,64] x) => (float[1,4] y) { y = MatMul(x, w) }", w=np.full((64, 4), 3, np.float32)
    )
    out, _ = made(int8_dynamic, source, WeightOptions(smallest=1))
    x = np.full((1, 64), 5, np.float32)
    for optimize in (False, True):
        np.testing.assert_allclose(outputs(out, x, optimize=optimize), 960, rtol=1e-5)


def test_convolutions_alone_have_no_dynamic_form(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx", "(float[1,8,4,4] x) => (float[1,16,4,4] y) { y = Conv(x, w) }", w=normal(16, 8, 1, 1)
    )
    with pytest.raises(BadModel, match="no Gemm, MatMul has a weight to quantize; choose another precision"):
        int8_dynamic(artifact_at(source), tmp_path / "out.onnx", Job(), WeightOptions(smallest=1))
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("name", "least_db"), [("watch_cnn", 20), ("student_net", 13), ("resnet18", 13)],
)  # fmt: skip
def test_int4_networks(
    name: str, least_db: float, clean_models: Files, probes: Mapping[str, Array], tmp_path: Path
) -> None:
    source, samples = load_onnx(clean_models[name]), Samples({"input": probes[name]})
    contract = contract_of(source)
    notes = int4_weights(artifact_at(clean_models[name]), tmp_path / "m.onnx", Job(), BlockOptions())
    found = answers(load_onnx(tmp_path / "m.onnx"), contract, samples)[0]
    assert snr_db(answers(source, contract, samples)[0], found) > least_db
    table = read(tmp_path / "m.onnx")
    assert table.precision is Precision.INT4_WEIGHTS
    assert set(notes["int4_weights"].values()) <= {8, 16, 32}
    assert sum(t.dtype == "int4" for t in table.tensors.values()) == len(notes["int4_weights"])


def test_blocks_follow_what_is_summed_over(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx",
        "(float[2,64] x) => (float[2,16] y) { a = MatMul(x, w) b = Gemm<transB=1>(a, v) y = MatMul(b, u) }",
        w=normal(64, 48), v=normal(20, 48), u=normal(20, 16),
    )  # fmt: skip
    out, notes = made(int4_weights, source, BlockOptions(smallest=1))
    held = {tensor.name: tensor for tensor in onnx.load(out).graph.initializer}
    assert notes["int4_weights"] == {"w": 32, "v": 24, "u": 20}
    assert {name: tuple(held[f"{name}_scale"].dims) for name in "wvu"} == {"w": (2, 48), "v": (20, 2), "u": (1, 16)}
    assert all(held[f"{name}_int4"].data_type == TensorProto.INT4 for name in "wvu")
    x = normal(2, 64)
    assert snr_db(onnx.reference.ReferenceEvaluator(onnx.load(out)).run(None, {"x": x})[0], outputs(out, x)) > 100
    assert snr_db(outputs(source, x), outputs(out, x)) > 14
    assert snr_db(outputs(source, x), as_shipped(out, x)) > 14


def test_where_no_block_fits_weights_are_int8(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx", "(float[2,64] x) => (float[2,7] y) { a = MatMul(x, w) y = MatMul(a, v) }",
        w=normal(64, 37), v=normal(37, 7),
    )  # fmt: skip
    _, notes = made(int4_weights, source, BlockOptions(smallest=1))
    assert (notes["int4_weights"], notes["int8_weights"]) == ({"w": 32}, ["v"])
    alone = saved(tmp_path / "n.onnx", "(float[2,37] x) => (float[2,7] y) { y = MatMul(x, w) }", w=normal(37, 7))
    with pytest.raises(BadModel, match="no weight has blocks of 8 or more; choose int8-weights"):
        int4_weights(artifact_at(alone), tmp_path / "out.onnx", Job(), BlockOptions())


@pytest.mark.parametrize(("symmetric", "gain"), [(True, 0.93), (False, 0.9)])
def test_least_error_grids_beat_the_largest_entry(symmetric: bool, gain: float) -> None:
    groups = np.random.default_rng(0).standard_t(4, (200, 32)).astype(np.float32)
    groups[0], groups[1] = 0, 1e-30

    def error(scales: NDArray[Any], zeros: NDArray[Any]) -> NDArray[np.float64]:
        codes = np.clip(np.rint(groups / scales[:, None]) + zeros[:, None], -7, 7)
        squares: NDArray[np.float64] = np.square((codes - zeros[:, None]) * scales[:, None] - groups, dtype=float).sum(
            1
        )
        return squares

    scales, zeros = least_error_grids(groups, -7, 7, symmetric=symmetric)
    plain = error(np.maximum(np.abs(groups).max(1) / 7, 1e-18), np.zeros(200))
    found = error(scales, zeros)
    assert found.sum() < gain * plain.sum()
    assert (found <= plain * (1 + 1e-6)).all() or not symmetric
    assert zeros.any() != symmetric
    assert found[0] == 0 and (scales > 0).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: WeightOptions(0),
        lambda: WeightOptions(2.5),  # type: ignore[arg-type]
        lambda: BlockOptions(block_size=4),
        lambda: BlockOptions(symmetric=1),  # type: ignore[arg-type]
        lambda: BlockOptions(across_kernel=1),  # type: ignore[arg-type]
        lambda: Int8WeightOptions(block_size=4),
        lambda: Int8WeightOptions(depthwise=1),  # type: ignore[arg-type]
        lambda: Int8WeightOptions(across_kernel=1),  # type: ignore[arg-type]
    ],
)
def test_options_are_checked(make: Callable[[], WeightOptions]) -> None:
    with pytest.raises(BadInput, match=r"(smallest|block_size|symmetric|depthwise|across_kernel) is"):
        make()
