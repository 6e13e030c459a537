"""Constants compressed by coremltools: the evaluator's weights are, to the last bit, those that coremltools expands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.runtimes.mil.constants import unpacked
from edgewright.runtimes.mil.program import Program, open_program

Convert = Callable[[str], Any]
WEIGHT = np.random.default_rng(0).standard_normal((64, 32, 3, 3)).astype(np.float32)


def package(target: str, precision: str, place: str = "") -> Any:
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    version = getattr(ct.target, target)

    @mb.program(input_specs=[mb.TensorSpec((1, 32, 4, 4))], opset_version=version)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        return mb.conv(x=x, weight=WEIGHT, pad_type="same", name="y")

    return ct.convert(
        program,
        source="milinternal",
        minimum_deployment_target=version,
        compute_precision=getattr(ct.precision, precision),
        skip_model_load=True,
        **({"package_dir": place} if place else {}),
    )


def linear(dtype: str, granularity: str, mode: str = "linear_symmetric") -> Any:
    import coremltools.optimize.coreml as cto

    config = cto.OpLinearQuantizerConfig(mode=mode, dtype=dtype, granularity=granularity, block_size=16)
    return lambda model: cto.linear_quantize_weights(model, cto.OptimizationConfig(config))


def palette(nbits: int, **more: Any) -> Any:
    import coremltools.optimize.coreml as cto

    # Codes by chance instead of by k-means: what is tested is how they are read.
    config = cto.OpPalettizerConfig(mode="custom", nbits=None, lut_function=by_chance(nbits), **more)
    if more or nbits == 8:
        config = cto.OpPalettizerConfig(mode="uniform", nbits=nbits, **more)
    return lambda model: cto.palettize_weights(model, cto.OptimizationConfig(config))


def by_chance(nbits: int) -> Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]:
    def table(weight: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        rng = np.random.default_rng(nbits)
        return rng.standard_normal(2**nbits).astype(weight.dtype), rng.integers(0, 2**nbits, weight.size, np.uint8)

    return table


def sparse(sparsity: float = 0.6) -> Any:
    import coremltools.optimize.coreml as cto

    config = cto.OpMagnitudePrunerConfig(target_sparsity=sparsity)
    return lambda model: cto.prune_weights(model, cto.OptimizationConfig(config))


def joint(first: Any, second: str) -> Any:
    import coremltools.optimize.coreml as cto

    def compress(model: Any) -> Any:
        if second == "palette":
            config: Any = cto.OpPalettizerConfig(mode="uniform", nbits=4)
            return cto.palettize_weights(first(model), cto.OptimizationConfig(config), joint_compression=True)
        config = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", granularity="per_tensor")
        return cto.linear_quantize_weights(first(model), cto.OptimizationConfig(config), joint_compression=True)

    return compress


SCHEMES: dict[str, tuple[str, Callable[[], Any]]] = {
    "int8 per channel, iOS 16": ("iOS16", lambda: linear("int8", "per_channel")),
    "uint8 per tensor, iOS 16": ("iOS16", lambda: linear("uint8", "per_tensor", "linear")),
    "int8 per channel": ("iOS18", lambda: linear("int8", "per_channel")),
    "int8 per block": ("iOS18", lambda: linear("int8", "per_block")),
    "int4 per block": ("iOS18", lambda: linear("int4", "per_block")),
    "uint4 per block": ("iOS18", lambda: linear("uint4", "per_block", "linear")),
    **{f"palette of {n} bits, iOS 16": ("iOS16", lambda n=n: palette(n)) for n in (1, 2, 4, 6, 8)},
    **{f"palette of {n} bits": ("iOS18", lambda n=n: palette(n)) for n in (1, 2, 3, 4, 6, 8)},
    "grouped palette": (
        "iOS18",
        lambda: palette(4, granularity="per_grouped_channel", group_size=16),
    ),
    "sparse, iOS 16": ("iOS16", sparse),
    "sparse": ("iOS18", sparse),
    "sparse int8": ("iOS18", lambda: joint(sparse(), "int8")),
    "sparse palette": ("iOS18", lambda: joint(sparse(), "palette")),
    "palette of int8": ("iOS18", lambda: joint(palette(4, granularity="per_tensor"), "int8")),
}


@pytest.mark.parametrize("precision", ["FLOAT16", "FLOAT32"])
@pytest.mark.parametrize("name", SCHEMES)
def test_decoded_as_coremltools_does(name: str, precision: str, saved: Callable[[Convert], Path]) -> None:
    import coremltools.optimize.coreml as cto

    target, scheme = SCHEMES[name]
    expanded: list[NDArray[Any]] = []

    def convert(place: str) -> None:
        model = scheme()(package(target, precision))
        assert constexprs(model)
        model.save(place)
        plain = cto.decompress_weights(model)
        (conv,) = plain._mil_program.functions["main"].find_ops(op_type="conv")
        expanded.append(conv.weight.val.astype(np.float32))

    np.testing.assert_array_equal(weight_of(open_program(saved(convert))), expanded[0])


def constexprs(model: Any) -> list[str]:
    function = model.get_spec().mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    return [op.type for op in operations if op.type.startswith("constexpr_")]


def weight_of(program: Program) -> NDArray[Any]:
    (conv,) = (i for i in program.body.instructions if i.type == "conv")
    held: NDArray[Any] = conv.arguments["weight"].numpy()
    return held


@pytest.mark.parametrize("width", range(1, 9))
def test_codes_of_few_bits(width: int) -> None:
    codes = np.random.default_rng(width).integers(0, 2**width, 37, np.uint8)
    number = sum(int(code) << (width * place) for place, code in enumerate(codes))
    raw = np.frombuffer(number.to_bytes((37 * width + 7) // 8, "little"), np.uint8)
    assert unpacked(raw, width, 37).tolist() == codes.tolist()
    signed = unpacked(raw, width, 37, signed=True).astype(int)
    assert signed.tolist() == [int(c) - 2**width if c >= 2 ** (width - 1) else int(c) for c in codes]


def test_vectors_and_signs_by_hand(saved: Callable[[Convert], Path]) -> None:
    """Vector palettes, and their sparse form, written by the MIL builder, against coremltools' own expansion."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (4, 6)).astype(types.np_uint2_dtype)
    table = rng.standard_normal((2, 3, 4, 2)).astype(np.float32)
    mask = rng.integers(0, 2, (4, 6)).astype(types.np_uint1_dtype)
    some = rng.integers(0, 4, int((mask != 0).sum())).astype(types.np_uint2_dtype)
    whole: list[Any] = []

    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=ct.target.iOS18)  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        dense = mb.constexpr_lut_to_dense(indices=codes, lut=table, vector_axis=1)
        wide, held = mb.constexpr_lut_to_sparse(
            indices_mask=mask, indices_nonzero_data=some, lut=table[:1, :1], vector_axis=0
        )
        thin = mb.constexpr_sparse_to_dense(nonzero_data=held, mask=wide)
        whole.extend(value.op.materialized_val_inference() for value in (dense, thin))
        return mb.add(x=x, y=dense, name="dense"), mb.add(x=x, y=thin, name="thin")

    package_ = saved(
        lambda place: ct.convert(
            program,
            source="milinternal",
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT32,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
            package_dir=place,
        )
    )
    adds = [i for i in open_program(package_).body.instructions if i.type == "add"]
    assert len(adds) == 2
    for instruction, wanted in zip(adds, whole, strict=True):
        np.testing.assert_array_equal(instruction.arguments["y"].numpy(), wanted)
