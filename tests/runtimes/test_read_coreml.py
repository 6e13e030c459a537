"""Compressed Core ML packages, made by coremltools itself: what the reader says of stored weights."""

import gc
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.devices.spec import Precision
from edgewright.errors import BadModel
from edgewright.runtimes.contract import Contract, TensorInfo
from edgewright.runtimes.read import Model, read

logging.getLogger("coremltools").setLevel(logging.ERROR)
WEIGHT = np.random.default_rng(0).standard_normal((64, 32, 3, 3)).astype(np.float32)


def saved(path: Path, target: str, kind: str = "plain") -> Path:
    """coremltools leaves temporary folders to the garbage collector, and divides by zero for what it pruned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compressed(package(target), kind).save(str(path))
        gc.collect()
    return path


def package(target: str) -> Any:
    import coremltools as ct
    from coremltools.converters.mil import Builder

    version = getattr(ct.target, target)

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 32, 8, 8))], opset_version=version)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        return Builder.relu(x=Builder.conv(x=x, weight=WEIGHT, pad_type="same"), name="y")

    return ct.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        minimum_deployment_target=version,
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )


def compressed(model: Any, kind: str) -> Any:
    import coremltools.optimize.coreml as optimize

    if kind == "plain":
        return model
    if kind == "palettized":
        setting: Any = optimize.OpPalettizerConfig(nbits=4, mode="uniform")
        return optimize.palettize_weights(model, optimize.OptimizationConfig(global_config=setting))
    if kind == "sparse":
        setting = optimize.OpMagnitudePrunerConfig(target_sparsity=0.75)
        return optimize.prune_weights(model, optimize.OptimizationConfig(global_config=setting))
    blocks = {"granularity": "per_block", "block_size": 16} if kind == "int4" else {}
    setting = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", dtype=kind, **blocks)
    return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=setting))


CASES = (  # target, how, precision, dtype and bytes of the stored weight, number of scales, their axis
    ("iOS16", "plain", Precision.FLOAT16, "float16", 36864, 0, None),
    ("iOS16", "int8", Precision.INT8_WEIGHTS, "int8", 18432 + 64 * 3 + 4, 64, 0),
    ("iOS16", "palettized", Precision.PALETTIZED, "uint4", 9216 + 16 * 2 + 4 * 4, 0, None),
    ("iOS16", "sparse", Precision.SPARSE, "float16", 4608 * 2 + 2304 + 4 * 4, 0, None),
    ("iOS18", "int8", Precision.INT8_WEIGHTS, "int8", 18432 + 64 * 2, 64, 0),
    ("iOS18", "int4", Precision.INT4_WEIGHTS, "int4", 9216 + 128 * 2, 128, None),
    ("iOS18", "palettized", Precision.PALETTIZED, "uint4", 9216 + 16 * 2, 0, None),
)


@pytest.mark.parametrize(("target", "kind", "precision", "dtype", "stored", "scales", "axis"), CASES)
def test_stored_weights(
    target: str,
    kind: str,
    precision: Precision,
    dtype: str,
    stored: int,
    scales: int,
    axis: int | None,
    tmp_path: Path,
) -> None:
    model = read(saved(tmp_path / "net.mlpackage", target, kind))
    weight = conv_weight(model)
    assert model.precision is precision
    assert (weight.shape, weight.dtype, weight.constant) == ((64, 32, 3, 3), dtype, True)
    assert weight.bytes == stored
    assert (len(weight.scale or ()), weight.quantized_dimension) == (scales, axis)
    assert weight.coding == (kind if kind in ("palettized", "sparse") else "plain")
    assert [op.op_type for op in model.ops if op.op_type != "cast"] == ["conv", "relu"]
    assert model.macs == 64 * 64 * 32 * 9
    weight_file = tmp_path / "net.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    assert stored <= weight_file.stat().st_size + 64  # a few small parts lie in the program


def test_foreign_package_has_a_derived_contract(tmp_path: Path) -> None:
    model = read(saved(tmp_path / "net.mlpackage", "iOS16"))
    assert model.contract == Contract((TensorInfo("x", (1, 32, 8, 8)),), (TensorInfo("y", (1, 64, 8, 8)),))


def test_damaged_weight_file(tmp_path: Path) -> None:
    saved(tmp_path / "net.mlpackage", "iOS16")
    weight_file = tmp_path / "net.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    weight_file.write_bytes(weight_file.read_bytes()[:1000])
    with pytest.raises(BadModel, match="no weight record at offset 64"):
        read(tmp_path / "net.mlpackage")
    weight_file.unlink()
    with pytest.raises(BadModel, match="absent or outside the package"):
        read(tmp_path / "net.mlpackage")


def conv_weight(model: Model) -> Any:
    conv = next(op for op in model.ops if op.kind == "conv")
    return model.tensors[conv.inputs[1]]
