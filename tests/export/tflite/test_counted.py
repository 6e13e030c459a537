"""NonMaxSuppression and what follows it: as onnxruntime has it, for any number of boxes, or refused."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray

from edgewright.errors import BadModel, UnsupportedOps
from edgewright.export.onnx.quantize.plan import FEW_ROWS, plan_int8
from edgewright.export.onnx.simplify import simplify
from edgewright.export.tflite.convert import Converted, convert
from edgewright.runtimes.tflite_session import TfliteSession, open_interpreter

Arrays = Mapping[str, NDArray[Any]]


def parsed(body: str, constants: Mapping[str, Any]) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> agraph {body}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items())
    return model


def suppression(
    shape: Sequence[int], inputs: str = "k, iou, least", center: int = 0, **constants: Any
) -> onnx.ModelProto:
    batches, classes, count = shape
    arrays = {"k": np.array([5]), "iou": np.array([0.5], np.float32), "least": np.array([0.2], np.float32)} | constants
    return parsed(
        f"""(float[{batches},{count},4] boxes, float[{batches},{classes},{count}] scores) => (int64[n,3] y)
        {{ y = NonMaxSuppression <center_point_box = {center}> (boxes, scores, {inputs}) }}""",
        {name: array for name, array in arrays.items() if name in inputs.split(", ")},
    )


def lowered(model: onnx.ModelProto, **options: Any) -> Converted:
    simplified, _ = simplify(ir.from_proto(model))
    return convert(simplified, **options)


def sessions(content: bytes, folder: Path) -> dict[str, TfliteSession]:
    """The file in LiteRT with XNNPACK and without, and in the old tflite-runtime."""
    path = folder / "model.tflite"
    path.write_bytes(content)
    makers = {
        "xnnpack": partial(open_interpreter, "ai_edge_litert"),
        "builtin": lambda where, threads, _: open_interpreter("ai_edge_litert", where, threads, keep_inner=True),
        "tflite-runtime": partial(open_interpreter, "tflite_runtime"),
    }
    return {name: TfliteSession(path, 1, make) for name, make in makers.items()}


def truth(model: onnx.ModelProto, inputs: Arrays) -> list[NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    given: list[NDArray[Any]] = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, dict(inputs))
    return given


def checked(model: onnx.ModelProto, feeds: Sequence[Arrays], folder: Path, tolerance: float = 0) -> list[int]:
    """Every runtime answers as onnxruntime does; gives the number of rows of the first output at each feed."""
    wanted = [truth(model, feed) for feed in feeds]
    for name, session in sessions(lowered(model).content, folder).items():
        for number, (feed, answers) in enumerate(zip(feeds, wanted, strict=True)):
            for given, answer in zip(session.run(feed).values(), answers, strict=True):
                assert (given.shape, given.dtype) == (answer.shape, answer.dtype), (name, number)
                np.testing.assert_allclose(given, answer, rtol=0, atol=tolerance, err_msg=f"{name} {number}")
    return [len(answers[0]) for answers in wanted]


def crowd(rng: np.random.Generator, shape: Sequence[int], levels: int = 5) -> Arrays:
    """Boxes on a grid: many overlap by just the threshold, have no area, are flipped; many scores are equal."""
    batches, classes, count = shape
    return {
        "boxes": rng.integers(-2, 4, (batches, count, 4)).astype(np.float32),
        "scores": (rng.integers(0, levels, (batches, classes, count)) / levels).astype(np.float32),
    }


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize(
    ("shape", "constants"),
    [
        ((1, 1, 30), {}),
        ((1, 1, 30), {"iou": np.array([0], np.float32)}),
        ((2, 3, 12), {"iou": np.array([1 / 3], np.float32), "k": np.array([2**63 - 1])}),
        ((3, 1, 1), {"k": np.array([1])}),
        ((1, 4, 9), {"k": np.array([2]), "least": np.array([0.6], np.float32)}),
    ],
)
def test_boxes_in_ties_without_area_and_at_the_threshold(
    shape: tuple[int, int, int], constants: dict[str, NDArray[Any]], center: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(sum(shape))
    checked(suppression(shape, center=center, **constants), [crowd(rng, shape) for _ in range(4)], tmp_path)


def test_from_no_box_to_as_many_as_there_can_be(tmp_path: Path) -> None:
    apart = np.arange(8, dtype=np.float32)[None, :, None] * 3 + np.array([0, 0, 1, 1], np.float32)
    scores = [np.full((1, 2, 8), 0.1, np.float32), np.full((1, 2, 8), 0.5, np.float32)]
    scores.append(np.where(np.arange(16).reshape(1, 2, 8) == 11, scores[1], scores[0]))
    counts = checked(suppression((1, 2, 8)), [{"boxes": apart, "scores": s} for s in (*scores, scores[0])], tmp_path)
    assert counts == [0, 10, 1, 0]


def test_absent_operands_mean_what_onnxruntime_takes_them_for(tmp_path: Path) -> None:
    feed = crowd(np.random.default_rng(3), (1, 2, 9))
    feed["scores"][0, 0, :3] = [-1, -np.inf, -1]
    for inputs in ("k", "k, iou", "k, , least"):
        checked(suppression((1, 2, 9), inputs), [feed], tmp_path)


def test_the_number_to_keep_and_the_least_score_may_be_computed(tmp_path: Path) -> None:
    body = """(float[1,7,4] boxes, float[1,2,7] scores, int64[1] k, float[1] least) => (int64[n,3] y)
        { y = NonMaxSuppression (boxes, scores, k, iou, least) }"""
    model = parsed(body, {"iou": np.array([0.5], np.float32)})
    feed = crowd(np.random.default_rng(0), (1, 2, 7), 9)
    pairs = [(2, 0.1), (0, 0.1), (-3, 0.1), (2**40, 0.1), (7, 0.6)]
    feeds = [{**feed, "k": np.array([k]), "least": np.array([least], np.float32)} for k, least in pairs]
    assert checked(model, feeds, tmp_path)[:3] == [4, 0, 0]


DETECTOR = """(float[1,3,16,16] image) => (float[n,6] found, float[m,6] best, int64[n] classes, float[n,2,2] corners) {
  a = Conv <strides = [2,2], pads = [1,1,1,1]> (image, w) b = Relu(a)
  places = Conv(b, w_places) p = Transpose <perm = [0,2,3,1]> (places) offsets = Reshape(p, four)
  shift, size = Split <axis = 2> (offsets) center = Add(shift, grid) half = Abs(size)
  low = Sub(center, half) high = Add(center, half) boxes = Concat <axis = 2> (low, high)
  marks = Conv(b, w_marks) q = Reshape(marks, by_class) scores = Sigmoid(q)
  rows = NonMaxSuppression(boxes, scores, k, iou, least)
  of_batch = Gather <axis = 1> (rows, zero) number = Slice(rows, two, three, one)
  where = Concat <axis = 1> (of_batch, number)
  box = GatherND(boxes, where) score = GatherND(scores, rows) column = Unsqueeze(score, one)
  c = Slice(rows, one, two, one) classes = Squeeze(c, one) kind = Cast <to = 1> (c)
  found = Concat <axis = 1> (box, column, kind) best = Slice(found, zero, eight, zero)
  flat = Reshape(boxes, rows_of_four) index = Squeeze(number, one) again = Gather(flat, index)
  corners = Reshape(again, pairs) }"""


def detector() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), -1).reshape(1, 64, 2)
    weights = {"w": (8, 3, 3, 3), "w_places": (4, 8, 1, 1), "w_marks": (3, 8, 1, 1)}
    constants: dict[str, Any] = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in weights.items()}
    constants |= {name: np.array([k]) for k, name in enumerate(("zero", "one", "two", "three"))}
    constants |= {"k": np.array([20]), "iou": np.array([0.4], np.float32), "least": np.array([0.6], np.float32)}
    constants |= {"four": np.array([1, 64, 4]), "by_class": np.array([1, 3, 64]), "rows_of_four": np.array([-1, 4])}
    constants |= {"grid": grid.astype(np.float32), "eight": np.array([8]), "pairs": np.array([-1, 2, 2])}
    return parsed(DETECTOR, constants)


def images(count: int) -> NDArray[np.float32]:
    """From black, in which nothing is found, to bright ones."""
    rng = np.random.default_rng(1)
    brightness = np.linspace(0, 1, count)[:, None, None, None]
    return (rng.normal(size=(count, 3, 16, 16)) * brightness).astype(np.float32)


def test_a_detector_with_what_exporters_leave_behind_it(tmp_path: Path) -> None:
    counts = checked(detector(), [{"image": image[None]} for image in images(6)], tmp_path, tolerance=1e-5)
    assert counts[0] == 0 and counts[-1] > 10
    converted = lowered(detector())
    assert [info.shape for info in converted.contract.outputs] == [(None, 6), (None, 6), (None,), (None, 2, 2)]
    codes = [op.code for op in converted.ops]
    assert codes.count("NON_MAX_SUPPRESSION_V4") == 3 and codes.count("STRIDED_SLICE") == 1  # the eight best
    assert lowered(detector()).content == converted.content


def test_what_follows_stays_float_in_a_plan() -> None:
    model, _ = simplify(ir.from_proto(detector()))
    kept = {node.op_type for node, why in plan_int8(model).reasons.items() if why == FEW_ROWS}
    assert {"GatherND", "Concat", "Slice"} <= kept
    assert {"Conv", "Sigmoid"} <= {node.op_type for node in plan_int8(model).int8}


@pytest.mark.parametrize(
    ("follower", "op", "reason"),
    [
        ("s = ReduceSum(y) z = Cast <to = 1> (s)", "ReduceSum", "known only when the file runs"),
        ("s = Shape(y) z = Cast <to = 1> (s)", "Shape", "known only when the file runs"),
        ("s = Slice(y, one, last, zero) z = Cast <to = 1> (s)", "Slice", "other than the first 3 or more"),
        ("s = Slice(y, zero, one, zero) z = Cast <to = 1> (s)", "Slice", "other than the first 3 or more"),
        ("s = Slice(y, zero, minus, zero) z = Cast <to = 1> (s)", "Slice", "other than the first 3 or more"),
        ("s = Gather(y, minus) z = Cast <to = 1> (s)", "GATHER", "baked into its constant"),
    ],
)
def test_a_follower_that_needs_the_number_ahead_is_refused(follower: str, op: str, reason: str) -> None:
    model = suppression((1, 2, 9))
    numbers = {"zero": [0], "one": [1], "minus": [-1], "last": [2**31]}
    model = parsed(
        f"""(float[1,9,4] boxes, float[1,2,9] scores) => (float[a,b] z)
        {{ y = NonMaxSuppression (boxes, scores, k, iou, least) {follower} }}""",
        {"k": np.array([5]), "iou": np.array([0.5], np.float32), "least": np.array([0.2], np.float32)}
        | {
            name: np.array(value) for name, value in numbers.items() if f"{name}," in follower or f"{name})" in follower
        },
    )
    with pytest.raises(UnsupportedOps) as caught:
        lowered(model)
    assert reason in caught.value.missing[op][0]


def test_refusals_say_what_to_do() -> None:
    def refused(model: onnx.ModelProto, **options: Any) -> str:
        with pytest.raises(UnsupportedOps) as caught:
            lowered(model, **options)
        return caught.value.missing["NonMaxSuppression"][0]

    assert "give max_output_boxes_per_class" in refused(suppression((1, 1, 9), ", iou"))
    assert "give max_output_boxes_per_class" in refused(suppression((1, 1, 9), k=np.array([-7])))
    assert "use TopK" in refused(suppression((1, 1, 9), iou=np.array([1], np.float32)))
    assert "at most 256" in refused(suppression((1, 300, 9)))
    assert "in the app" in refused(suppression((1, 1, 9)), micro=True)
    computed = """(float[1,9,4] boxes, float[1,1,9] scores, float[1] iou) => (int64[n,3] y)
        { y = NonMaxSuppression (boxes, scores, k, iou) }"""
    assert refused(parsed(computed, {"k": np.array([5])})) == "iou_threshold must be constant"
    other = parsed("(float[6] x) => (int64[a,b] y) { y = NonZero(x) }", {})
    with pytest.raises(BadModel, match="no static shape"):
        lowered(other)
