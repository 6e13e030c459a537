"""NonMaxSuppression: NON_MAX_SUPPRESSION_V4 for each class of each batch, and what these give cut to length and joined.

scores → TOPK_V2 → per class: GATHER boxes → NON_MAX_SUPPRESSION_V4 → GATHER → SLICE by the count ┐
                                                 (batch, class, box) ← FLOOR_MOD ← DIV ← CONCATENATION

The kernel takes equal scores in the order of a heap, and a box that does not overlap itself again and again. So boxes
are sorted first (of equal ones the first comes first), scored by their place, and those without area moved apart.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.ops.indexing import part
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor

MOST_CLASSES = 256
"""Of all batches: each is five operators."""

PLAIN = {"fusedActivationFunction": "NONE"}


@TFLITE.lower("NonMaxSuppression", layout="nchw")
def non_max_suppression(
    b: NodeBuilder,
    boxes: Tensor,
    scores: Tensor,
    max_output_boxes_per_class: Tensor | None = None,
    iou_threshold: Tensor | None = None,
    score_threshold: Tensor | None = None,
    *,
    center_point_box: int = 0,
) -> Tensor:
    if b.micro:
        b.refuse("tflite-micro has no NON_MAX_SUPPRESSION_V4: give boxes and scores, and choose among them in the app")
    (batches, count, _), classes = boxes.shape, scores.shape[1]
    if batches * classes > MOST_CLASSES:
        b.refuse(f"{batches * classes} classes in all batches; at most {MOST_CLASSES} are written one by one")
    if 0 in (batches, count, classes):
        b.refuse("it has no boxes to choose among")
    overlap, most = _overlap(b, iou_threshold), _most(b, max_output_boxes_per_class, count)
    corners = _with_area(b, *_low_and_high(b, boxes, center_point_box))
    ranks, order = _sorted(b, b.reshape(scores, (batches * classes, count)), score_threshold)
    found: list[Tensor] = []
    of_batch = _rows(b, corners, (count, 4), "batch")
    tables = {"ranks": ranks, "order": order, "numbers": _numbered(b, order)}
    of_class = [_rows(b, table, (count,), name) for name, table in tables.items()]
    for k, (rank, by_score, number) in enumerate(zip(*of_class, strict=True)):
        box = _picked(b, of_batch[k // classes], by_score, f"boxes_{k}")
        found.append(_found(b, box, rank, number, most, overlap, k))
    return _as_rows(b, found, (batches, classes, count))


def _overlap(b: NodeBuilder, threshold: Tensor | None) -> Tensor:
    """ONNX drops what overlaps by more than the threshold, the kernel what overlaps by as much."""
    given = np.float32(0) if threshold is None else np.float32(b.need_constant(threshold, "iou_threshold").item())
    if not 0 <= given < 1:
        b.refuse(f"an iou_threshold of {given:g}: of 1 it drops no box, so use TopK; else it must be between 0 and 1")
    above = max(np.nextafter(given, np.float32(1)), np.finfo(np.float32).tiny)
    return b.constant(np.array(above, np.float32), f"{b.y.name}/iou_threshold")


def _most(b: NodeBuilder, most: Tensor | None, count: int) -> Tensor:
    """How many boxes of a class are kept, as an int32 of rank 0 from 0 to all there are."""
    if most is None or (most.data is not None and most.data.item() <= 0):
        b.refuse("it keeps no box: give max_output_boxes_per_class")
    if most.data is not None:
        return b.constant(np.array(min(most.data.item(), count), np.int32), f"{b.y.name}/most")
    given = b.reshape(most, ())
    for code, bound in (("MINIMUM", count), ("MAXIMUM", 0)):
        limit = b.constant(np.array(bound, np.int64), f"{b.y.name}/{code.lower()}")
        given = b.emit(code, [given, limit], to=b.temp(f"most_{code.lower()}", given))
    return b.emit(
        "CAST", [given], {"inDataType": "INT64", "outDataType": "INT32"}, to=b.temp("most", given, dtype=np.int32)
    )


def _low_and_high(b: NodeBuilder, boxes: Tensor, centers: int) -> tuple[Tensor, Tensor]:
    """[batches, boxes, 2] twice: the corner with the smaller coordinates, and the opposite one."""
    low, high = (b.temp(name, boxes, (*boxes.shape[:2], 2)) for name in ("low", "high"))
    pair = [b.temp(name, low) for name in ("left", "right")]
    part(b, boxes, 2, pair)
    if not centers:
        return b.emit("MINIMUM", pair, to=low), b.emit("MAXIMUM", pair, to=high)
    half = b.emit("MUL", [pair[1], b.scalar(0.5, low, "half")], PLAIN, to=b.temp("halves", low))
    return b.emit("SUB", [pair[0], half], PLAIN, to=low), b.emit("ADD", [pair[0], half], PLAIN, to=high)


def _with_area(b: NodeBuilder, low: Tensor, high: Tensor) -> Tensor:
    """[batches, boxes, 4]: the boxes; the k-th without area is (2k, 2k, 2k + 1, 2k + 1) × what lies beyond all others.

    ONNX drops no such box, nor another one because of it.
    """
    column = (*low.shape[:2], 1)
    boxes = b.temp("corners", low, (*low.shape[:2], 4))
    b.emit("CONCATENATION", [low, high], {"axis": 2, **PLAIN}, to=boxes)
    sides = b.emit("RELU", [b.emit("SUB", [high, low], PLAIN, to=b.temp("extent", low))], to=b.temp("sides", low))
    area = b.emit("REDUCE_PROD", [sides, b.integers([2], "last")], {"keepDims": True}, to=b.temp("area", low, column))
    empty = b.temp("empty", area, dtype=np.bool_)
    b.emit("EQUAL", [area, b.scalar(0, area, "zero")], to=empty)
    k = _running(b, empty, "apart_by", backwards=False)
    twice = b.emit("MUL", [k, b.scalar(2, k, "two")], PLAIN, to=b.temp("twice", k))
    corner = b.constant(np.array([0, 0, 1, 1], np.float32), f"{b.y.name}/unit")
    unit = b.emit("ADD", [twice, corner], PLAIN, to=b.temp("units", boxes))
    size = b.emit("ABS", [boxes], to=b.temp("sizes", boxes))
    most = b.emit(
        "REDUCE_MAX", [size, b.integers([0, 1, 2], "all")], {"keepDims": False}, to=b.temp("largest", low, ())
    )
    beyond = b.emit("ADD", [most, b.scalar(1, most, "one")], PLAIN, to=b.temp("beyond", most))
    apart = b.emit("MUL", [unit, beyond], PLAIN, to=b.temp("apart", boxes))
    return b.emit("SELECT_V2", [empty, apart, boxes], to=b.temp("boxes", boxes))


def _sorted(b: NodeBuilder, scores: Tensor, threshold: Tensor | None) -> tuple[Tensor, Tensor]:
    """[classes, boxes] twice: n, …, 2, 1 for those above the threshold and 0 for the others; which box it is."""
    values, order = b.temp("sorted", scores), b.temp("order", scores, dtype=np.int32)
    b.emit("TOPK_V2", [scores, b.constant(np.array(scores.shape[1], np.int32), f"{b.y.name}/all")], to=[values, order])
    passes = b.temp("passes", scores, dtype=np.bool_)
    if threshold is None:
        b.emit("GREATER_EQUAL", [values, b.scalar(-np.inf, values, "lowest")], to=passes)
    else:
        b.emit("GREATER", [values, b.reshape(threshold, ())], to=passes)
    return _running(b, passes, "ranks", backwards=True), order


def _numbered(b: NodeBuilder, order: Tensor) -> Tensor:
    """Each box by a number of its own: class · boxes + box."""
    classes, count = order.shape
    if classes == 1:
        return order
    first = b.integers(np.arange(classes)[:, None] * count, "first")
    return b.emit("ADD", [order, first], PLAIN, to=b.temp("numbers", order))


def _running(b: NodeBuilder, flags: Tensor, name: str, *, backwards: bool) -> Tensor:
    """How many flags along axis 1 are set up to each, or from each on; in float32, exact up to 2^24."""
    ones = b.temp(f"{name}_ones", flags, dtype=np.float32)
    b.emit("CAST", [flags], {"inDataType": "BOOL", "outDataType": "FLOAT32"}, to=ones)
    axis = b.constant(np.array(1, np.int32), f"{b.y.name}/{name}_axis")
    return b.emit("CUMSUM", [ones, axis], {"exclusive": False, "reverse": backwards}, to=b.temp(name, ones))


def _rows(b: NodeBuilder, table: Tensor, shape: tuple[int, ...], name: str) -> list[Tensor]:
    """The rows of a table, each of this shape."""
    count = prod(table.shape) // max(prod(shape), 1)
    if count == 1:
        return [b.reshape(table, shape)]
    rows = [b.temp(f"{name}_{k}", table, (1, *table.shape[1:])) for k in range(count)]
    return [b.reshape(row, shape) for row in part(b, table, 0, rows)]


def _picked(b: NodeBuilder, data: Tensor, indices: Tensor, name: str) -> Tensor:
    shape = (*indices.shape, *data.shape[1:])
    return b.emit("GATHER", [data, indices], {"axis": 0, "batchDims": 0}, to=b.temp(name, data, shape))


def _found(
    b: NodeBuilder, boxes: Tensor, ranks: Tensor, numbers: Tensor, most: Tensor, overlap: Tensor, k: int
) -> Tensor:
    """The numbers of the boxes that are kept of one class; how many is known when it runs."""
    kept = (int(most.data.item()),) if most.data is not None else b.y.shape[:1]
    places, count = b.temp(f"places_{k}", numbers, kept), b.temp(f"count_{k}", numbers, ())
    lowest = b.scalar(0, ranks, "no_rank")
    b.emit("NON_MAX_SUPPRESSION_V4", [boxes, ranks, most, overlap, lowest], to=[places, count])
    padded = _picked(b, numbers, places, f"padded_{k}")
    size = b.reshape(count, (1,))
    return b.emit("SLICE", [padded, b.integers([0], "begin"), size], to=b.temp(f"kept_{k}", numbers, b.y.shape[:1]))


def _as_rows(b: NodeBuilder, found: Sequence[Tensor], lengths: tuple[int, int, int]) -> Tensor:
    """Numbers (batch · classes + class) · boxes + box → [rows, 3]."""
    _, classes, count = lengths
    numbers = found[0]
    if len(found) > 1:
        numbers = b.emit("CONCATENATION", found, {"axis": 0, **PLAIN}, to=b.temp("joined", numbers))
    column = b.reshape(numbers, (*numbers.shape, 1))
    strides, bounds = b.integers([classes * count, count, 1], "strides"), b.integers(lengths, "lengths")
    whole = b.emit("DIV", [column, strides], PLAIN, to=b.temp("whole", column, b.y.shape))
    rows = b.emit("FLOOR_MOD", [whole, bounds], to=b.temp("rows", whole))
    return b.emit("CAST", [rows], {"inDataType": "INT32", "outDataType": "INT64"})
