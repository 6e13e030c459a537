"""What a package holds and says: no file beside those that Core ML reads, the same bytes, every optional parameter.

The loader of watchOS 11 refuses a gelu without its mode, although coremltools has a default for it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import onnx
import pytest
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry
from numpy.typing import NDArray
from onnx import numpy_helper

from edgewright.export.coreml.convert import convert
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.metadata import Metadata
from edgewright.runtimes.artifact import digest_of, files_of
from tests.export.coreml.packages import op_types, read_spec

SAYS_NONE = {
    "conv": {"bias"},
    "conv_transpose": {"bias", "output_shape"},
    "lstm": {"bias", "peephole", "clip", "weight_ih_back", "weight_hh_back", "bias_back", "peephole_back"},
    "split": {"num_splits"},
}
"""Parameters that coremltools has no default for: leaving them out is how a program says that there is none."""

GRAPH = """g (float[1,4,8,8] x, int64[2] at, float[1,6,4] steps)
    => (float[2,4] y, float[1,4,16,16] big, float[6,1,1,4] last) {
    a = Conv <pads = [1, 1, 1, 1], group = 4> (x, w, b) a1 = Gelu <approximate = "tanh"> (a) a2 = LeakyRelu (a1)
    a3 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a2) a4 = AveragePool <kernel_shape = [2, 2]> (a3)
    a5 = Pad (a4, around) a6 = ConvTranspose <strides = [2, 2]> (a5, up) a7 = InstanceNormalization (a6, one, zero)
    a8 = GlobalAveragePool (a7) a9 = Flatten (a8) a10 = Gemm <transB = 1> (a9, v) a11 = Softmax (a10)
    a12 = ReduceMax <keepdims = 0> (a11, axis) a13 = Clip (a11, low, high) a14 = Concat <axis = 0> (a13, a10)
    g1 = Gather (a14, at) g2 = LayerNormalization (g1, one, zero) g3 = HardSigmoid (g2) g4 = Elu (g3) g5 = Celu (g4)
    k, i = TopK <axis = 1> (g5, many) g6 = CumSum (g5, last_axis) p1, p2 = Split <axis = 1, num_outputs = 2> (g6)
    q = Concat <axis = 1> (p2, p1) m = MatMul (q, v) n = Mod <fmod = 1> (m, high) o = Where (mask, n, m) y = Add (o, k)
    big = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (a2, , factors)
    t = Transpose <perm = [1, 0, 2]> (steps) last, h, c = LSTM <hidden_size = 4> (t, lw, lr)
}"""


def constants() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    floats = {"w": (4, 1, 3, 3), "b": (4,), "up": (4, 4, 2, 2), "v": (4, 4), "lw": (1, 16, 4), "lr": (1, 16, 4)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in floats.items()} | {
        "one": np.ones(4, np.float32),
        "zero": np.zeros(4, np.float32),
        "around": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "axis": np.array([1]),
        "low": np.array(0.1, np.float32),
        "high": np.array(0.9, np.float32),
        "many": np.array([4]),
        "last_axis": np.array(1),
        "mask": np.array([True, False, True, False]),
        "factors": np.array([1, 1, 2, 2], np.float32),
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {GRAPH}')
    made.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants().items())
    for number, node in enumerate(made.graph.node):
        node.name = f"{node.op_type}_{number}"
    path = tmp_path_factory.mktemp("parameters") / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(made, strict_mode=True), path)
    return path


def absent(block: Any, target: Any) -> Iterator[tuple[str, str]]:
    """(operation, parameter) for each that coremltools calls optional and the file leaves out."""
    for operation in block.operations:
        if operation.type not in ("const", "cond", "while_loop") and not operation.type.startswith("constexpr_"):
            versions = SSAOpRegistry.core_ops[operation.type]
            latest = max((v for v in versions if v.value <= target.value), key=lambda v: int(v.value))
            kinds = versions[latest].input_spec.input_types
            yield from (
                (operation.type, name) for name, kind in kinds.items() if kind.optional and name not in operation.inputs
            )
        for inner in operation.blocks:
            yield from absent(inner, target)


@pytest.mark.parametrize("compute", [np.float32, np.float16])
@pytest.mark.parametrize("target", ["iOS16", "iOS17", "iOS18"])
def test_every_optional_parameter_is_said(
    target: str, compute: type[np.floating[Any]], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.mlpackage"
    convert(model, out, CoremlOptions(target), compute)
    function = read_spec(out).mlProgram.functions["main"]
    found = set(absent(function.block_specializations[function.opset], ct.target[target]))
    assert {(kind, name) for kind, name in found if name not in SAYS_NONE.get(kind, ())} == set()
    assert len(set(op_types(out))) > 20


@pytest.mark.parametrize("options", [CoremlOptions(), CoremlOptions(io="float16", metadata=Metadata(user={"a": "b"}))])
def test_two_conversions_give_the_same_files_and_no_others(options: CoremlOptions, model: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"{name}.mlpackage" for name in ("one", "two")]
    for out in outs:
        convert(model, out, options, np.float16)
    assert [file.relative_to(outs[0]).as_posix() for file in files_of(outs[0])] == [
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
        "Manifest.json",
    ]
    assert digest_of(outs[0]) == digest_of(outs[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.mlpackage", "two.mlpackage"]
    assert not [key for key in read_spec(outs[0]).description.metadata.userDefined if "coremltools" in key]
