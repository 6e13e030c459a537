"""Lengths of foreign files: fixed as asked for, or open in the TFLite file, which then answers at any of them."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # type: ignore[import-untyped]
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

import edgewright
from edgewright.errors import BadInput, BadModel, UnsupportedOps
from edgewright.export.onnx.file import load_onnx
from edgewright.export.onnx.foreign import import_onnx
from edgewright.export.onnx.passes.batch import InputShape, input_shape, input_shapes, split_shapes
from edgewright.export.tflite.convert import Converted, convert

RNG = np.random.default_rng(0)

CNN = """(float[n,3,8,8] x) => (float[n,5] y) {
  a = Conv <pads = [1,1,1,1]> (x, w) b = Relu(a) c = MaxPool <kernel_shape = [2,2], strides = [2,2]> (b)
  s = Shape(c) zero = Constant <value = int64[1] {0}> () n1 = Gather(s, zero)
  rest = Constant <value = int64[1] {-1}> () to = Concat <axis = 0> (n1, rest) f = Reshape(c, to)
  g = Gemm(f, m) y = Softmax(g) }"""

GRU = """(float[t,n,4] x) => (float[m,n,6] y) {
  r, h = GRU <hidden_size = 6> (x, w, u) d = Squeeze(r, one) last = Constant <value = int64[1] {-1}> ()
  y = Gather(d, last) }"""

UP = """(float[n,3,h,8] x) => (float[n,2,k,16] y) { y = ConvTranspose <strides = [2,2]> (x, w) }"""

BIASED_UP = """(float[n,3,h,8] x) => (float[n,2,k,16] y) { y = ConvTranspose <strides = [2,2]> (x, w, b) }"""

HEADS = """(float[n,6,4] x) => (float[n,k,6] y) {
  apart = Constant <value = int64[4] {0,6,2,2}> () h = Reshape(x, apart) q = Transpose <perm = [0,2,1,3]> (h)
  k1 = Transpose <perm = [0,2,3,1]> (h) p = MatMul(q, k1) a = Softmax(p)
  s = Shape <end = 1> (x) rest = Constant <value = int64[2] {12,6}> () to = Concat <axis = 0> (s, rest)
  y = Reshape(a, to) }"""


def constants(**shapes: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    return {name: (RNG.standard_normal(shape) * 0.3).astype(np.float32) for name, shape in shapes.items()}


NETWORKS = {
    "cnn": (CNN, constants(w=(4, 3, 3, 3), m=(64, 5))),
    "gru": (GRU, constants(w=(1, 18, 4), u=(1, 18, 6)) | {"one": np.array([1])}),
    "heads": (HEADS, {}),
    "up": (UP, constants(w=(3, 2, 2, 2))),
    "biased up": (BIASED_UP, constants(w=(3, 2, 2, 2), b=(2,))),
}


def saved(tmp_path: Path, name: str) -> Path:
    body, arrays = NETWORKS[name]
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> agraph {body}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, key) for key, array in arrays.items())
    onnx.save(model, tmp_path / f"{name}.onnx")
    return tmp_path / f"{name}.onnx"


def opened(path: Path, *lengths: int | str, half: bool = False) -> Converted:
    out = path.with_name("clean.onnx")
    import_onnx(path, out, input_shapes({"x": lengths}))
    return convert(ir.load(out), half=half)


def largest_error(path: Path, content: bytes, shapes: list[tuple[int, ...]]) -> float:
    """Of LiteRT with and without XNNPACK, against onnxruntime, over inputs of all these shapes."""
    session, errors = onnxruntime.InferenceSession(path), []
    for resolver in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        runner = Interpreter(
            model_content=content, num_threads=1, experimental_op_resolver_type=resolver
        ).get_signature_runner()
        for shape in shapes:
            x = RNG.standard_normal(shape).astype(np.float32)
            [wanted], given = session.run(None, {"x": x}), runner(x=x)["y"]
            assert given.shape == wanted.shape
            errors.append(np.abs(given - wanted).max())
    return float(max(errors))


def signatures(content: bytes) -> dict[str, tuple[list[int], list[int] | None]]:
    """Shape and shape signature of the named ends."""
    tensors = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0].tensors
    return {
        t.name.decode(): (t.shape.tolist(), None if t.shapeSignature is None else t.shapeSignature.tolist())
        for t in tensors
        if t.name in (b"x", b"y")
    }


@pytest.mark.parametrize("half", [False, True])
def test_an_open_batch_of_a_cnn(tmp_path: Path, half: bool) -> None:
    path = saved(tmp_path, "cnn")
    converted = opened(path, "1?", 3, 8, 8, half=half)
    assert signatures(converted.content) == {"x": ([1, 3, 8, 8], [-1, 3, 8, 8]), "y": ([1, 5], [-1, 5])}
    assert [info.open_axes for info in (*converted.contract.inputs, *converted.contract.outputs)] == [(0,), (0,)]
    assert [op.code for op in converted.ops if op.code != "DEQUANTIZE"] == [
        *("TRANSPOSE", "CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED", "SOFTMAX")
    ]
    error = largest_error(path, converted.content, [(1, 3, 8, 8), (3, 3, 8, 8), (7, 3, 8, 8)])
    assert error < (5e-3 if half else 1e-5)


def test_an_open_batch_of_a_transposed_convolution_with_a_bias(tmp_path: Path) -> None:
    path = saved(tmp_path, "biased up")
    converted = opened(path, "1?", 3, 4, 8)
    assert largest_error(path, converted.content, [(1, 3, 4, 8), (3, 3, 4, 8)]) < 1e-5


def test_shapes_are_written_with_one_free_length(tmp_path: Path) -> None:
    path = saved(tmp_path, "heads")
    converted = opened(path, "1?", 6, 4)
    written = [op.inputs[1].data.tolist() for op in converted.ops if op.code == "RESHAPE"]  # type: ignore[union-attr]
    assert written == [[-1, 6, 2, 2], [-1, 12, 6]]
    assert largest_error(path, converted.content, [(1, 6, 4), (2, 6, 4), (11, 6, 4)]) < 1e-5


@pytest.mark.parametrize(
    ("lengths", "shapes"),
    [((5, "1?", 4), [(5, 1, 4), (5, 3, 4)]), (("5?", 1, 4), [(5, 1, 4), (9, 1, 4), (2, 1, 4)])],
    ids=["batch", "sequence"],
)
def test_open_lengths_of_a_recurrent_network(
    tmp_path: Path, lengths: tuple[int | str, ...], shapes: list[tuple[int, ...]]
) -> None:
    path = saved(tmp_path, "gru")
    converted = opened(path, *lengths)
    assert "WHILE" in {op.code for op in converted.ops}
    assert largest_error(path, converted.content, shapes) < 1e-5


def test_lengths_that_a_kernel_needs_are_read_off_the_input(tmp_path: Path) -> None:
    """Both are open: with the same length to begin with they would move together."""
    path = saved(tmp_path, "up")
    converted = opened(path, "1?", 3, "8?", 8)
    assert {"SHAPE", "CONCATENATION", "GATHER"} <= {op.code for op in converted.ops}
    assert signatures(converted.content)["y"] == ([1, 2, 16, 16], [-1, 2, -1, 16])
    assert largest_error(path, converted.content, [(1, 3, 8, 8), (3, 3, 8, 8), (2, 3, 5, 8)]) < 1e-5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_whole_road_with_an_open_batch(tmp_path: Path, precision: str) -> None:
    path, out = saved(tmp_path, "cnn"), tmp_path / "out.tflite"
    np.savez(tmp_path / "data.npz", x=RNG.standard_normal((48, 3, 8, 8)).astype(np.float32))
    edgewright.convert(
        str(path), out, precision=precision, data=str(tmp_path / "data.npz"), shapes={"x": ("1?", 3, 8, 8)},
        store=tmp_path / "store",
    )  # fmt: skip
    session, reference = edgewright.load(out), onnxruntime.InferenceSession(path)
    for batch in (1, 4, 9):
        x = RNG.standard_normal((batch, 3, 8, 8)).astype(np.float32)
        given, [wanted] = session.run({"x": x})["y"], reference.run(None, {"x": x})
        assert given.shape == wanted.shape
        assert np.abs(given - wanted).max() < (0.1 if precision == "int8" else 1e-5)
    assert [row.open_axes for row in edgewright.inspect(out).contract.inputs] == [(0,)]
    with pytest.raises(BadInput, match=r"input 'x' wants shape \?×3×8×8, got 1×3×8×9"):
        session.run({"x": np.zeros((1, 3, 8, 9), np.float32)})


def parsed(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "in.onnx"
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> agraph {body}'), path)
    return path


def test_a_length_inside_a_shape_is_refused(tmp_path: Path) -> None:
    path = parsed(tmp_path, "(float[n,4] x) => (float[2,2] y) <int64[2] to = {2, 2}> { y = Reshape(x, to) }")
    with pytest.raises(BadModel, match=r"\(Reshape\): its constant shape has one length inside"):
        opened(path, "1?", 4)


def test_constants_along_an_open_axis_are_refused(tmp_path: Path) -> None:
    body = "(float[1,n] x) => (float[1,n] y) { s = Shape(x) w = ConstantOfShape(s) z = Exp(w) y = Add(x, z) }"
    path = parsed(tmp_path, body)
    with pytest.raises(BadModel, match=r"give that axis a fixed length in --shape:\n.*\(Add\): its constant"):
        opened(path, 1, "3?")


def test_padding_that_depends_on_the_length_is_refused(tmp_path: Path) -> None:
    body = "(float[1,1,8,n] x) => (float[1,1,4,k] y) <float[1,1,3,3] w = {1,1,1,1,1,1,1,1,1}>"
    path = parsed(tmp_path, body + '{ y = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (x, w) }')
    with pytest.raises(BadModel, match=r"give that axis a fixed length in --shape:\n.*\(Conv\): its attributes"):
        opened(path, 1, 1, 8, "8?")


def test_a_kernel_that_pads_by_the_length_is_refused(tmp_path: Path) -> None:
    """At odd lengths TFLite pads these windows as the file says, at even ones it does not."""
    body = "(float[1,1,8,n] x) => (float[1,1,4,k] y) <float[1,1,1,3] w = {1,1,1}>"
    path = parsed(tmp_path, body + "{ y = Conv <pads = [0,1,0,1], strides = [1,2]> (x, w) }")
    with pytest.raises(UnsupportedOps, match="give that axis a fixed length in --shape"):
        opened(path, 1, 1, 8, "8?")


def test_shapes_of_a_foreign_file_are_fixed(tmp_path: Path) -> None:
    path = parsed(tmp_path, "(float[n,c,6] x, float[2,w] z) => (float[n,c,6] y) { y = Relu(x) }")
    out = tmp_path / "out.onnx"
    import_onnx(path, out, input_shapes({"x": (1, 3, 6), "z": (2, 5)}))
    assert [list(value.shape or ()) for value in load_onnx(out).graph.inputs] == [[1, 3, 6], [2, 5]]
    with pytest.raises(BadInput, match=r"no input 'q'.*'x' is n×c×6 in the file, not 1×3×7"):
        import_onnx(path, out, input_shapes({"x": (1, 3, 7), "z": (2, 5), "q": (1,)}))


def test_how_shapes_are_written() -> None:
    assert input_shapes(split_shapes(["x=1?,3,16000?", "a/b:0=4"])) == {
        "x": InputShape((1, 3, 16000), (0, 2)),
        "a/b:0": InputShape((4,)),
    }
    assert str(input_shape("x", ["?", 3])) == "1?,3"
    for wrong in (["x"], ["=1"], ["x="], ["x=1", "x=2"]):
        with pytest.raises(BadInput, match="wanted NAME=LENGTH"):
            split_shapes(wrong)
    for lengths in ([1, "?"], [0], [-1], ["a"], [1.5]):
        with pytest.raises(BadInput, match=r"as in x=1\?,3,224,224"):
            input_shape("x", lengths)  # type: ignore[arg-type]


def test_open_lengths_are_for_files_of_apps_made_of_onnx_models(tmp_path: Path) -> None:
    path = saved(tmp_path, "cnn")
    with pytest.raises(BadInput, match=r"open lengths are for \.tflite and \.mlpackage files, not for onnx:float32"):
        edgewright.convert(str(path), tmp_path / "out.onnx", shapes={"x": ("1?", 3, 8, 8)})
    with pytest.raises(BadInput, match=r"shapes are for \.onnx files"):
        edgewright.convert("net.py:make", tmp_path / "out.tflite", shapes={"x": (1, 3, 8, 8)}, store=tmp_path)
