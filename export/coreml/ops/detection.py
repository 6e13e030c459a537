"""NonMaxSuppression, box after box as ONNX defines it; how many rows it gives is known when it runs.

MIL's own operation takes one threshold for all classes and gives a fixed number of boxes, so a loop does it, of every
class of every batch at once: the best box that is left is kept, and those that it overlaps too much are dropped.
"""

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.ops.control import scalar
from edgewright.export.coreml.ops.selection import gathered

NOTHING = np.int32(-1)


@COREML.lower("NonMaxSuppression", layout="nchw")
def non_max_suppression(
    b: MilBuilder,
    boxes: Value,
    scores: Value,
    max_output_boxes_per_class: Value = None,
    iou_threshold: Value = None,
    score_threshold: Value = None,
    *,
    center_point_box: int = 0,
) -> Value:
    """[rows, 3]: batch, class, box. Of equal scores the first box comes first."""
    if b.opset < "iOS16":
        raise b.refusal("it needs target iOS16 / watchOS9 or later")
    if 0 in scores.shape:
        raise b.refusal("it has no boxes to choose among")
    corners = _corners(b, boxes, center_point_box)
    limit = np.float32(0) if iou_threshold is None else scalar(b, iou_threshold)
    lowest = None if score_threshold is None else scalar(b, score_threshold)
    most = _most(b, max_output_boxes_per_class, scores.shape[2])
    return _rows(b, _kept(b, corners, scores, most, limit, lowest))


def _most(b: MilBuilder, most: Value, count: int) -> Value:
    """How many boxes of a class are kept at most; a computed number is cut to those that there are by the loop."""
    known = most is None or isinstance(most, np.ndarray)
    if known and (most is None or most.item() <= 0):
        raise b.refusal("it keeps no box: give max_output_boxes_per_class")
    return np.int32(min(most.item(), count)) if known else scalar(b, most)


def _corners(b: MilBuilder, boxes: Value, centers: int) -> Value:
    """[batches, boxes, 4]: the two smaller coordinates, then the two larger ones."""
    mb = b.mb
    first, second = mb.split(x=boxes, split_sizes=[2, 2], axis=2)
    if not centers:
        pair = [mb.minimum(x=first, y=second), mb.maximum(x=first, y=second)]
    else:
        half = mb.real_div(x=second, y=np.float32(2))
        pair = [mb.sub(x=first, y=half), mb.add(x=first, y=half)]
    return mb.concat(values=pair, axis=2, interleave=False)


def _kept(b: MilBuilder, corners: Value, scores: Value, most: Value, limit: Value, lowest: Value) -> Value:
    """[turns, batches, classes] int32: the box that is kept in each turn, -1 for none."""
    mb, (batches, classes, count) = b.mb, scores.shape
    numbers = np.arange(count, dtype=np.int32)
    turns = int(most) if isinstance(most, np.integer) else count
    last = turns if isinstance(most, np.integer) else mb.minimum(x=most, y=np.int32(count))
    alive = mb.greater(x=scores, y=lowest) if lowest is not None else mb.equal(x=scores, y=scores)

    def goes_on(turn: Value, left: Value, _: Value) -> Value:
        some = mb.reduce_max(x=mb.cast(x=left, dtype="int32"), axes=[0, 1, 2], keep_dims=False)
        return mb.logical_and(x=mb.less(x=turn, y=last), y=mb.greater(x=some, y=np.int32(0)))

    def once(turn: Value, left: Value, found: Value) -> tuple[Value, ...]:
        rest = b.chosen(left, scores, np.full(scores.shape, -np.inf, np.float32))
        best = mb.equal(x=rest, y=mb.reduce_max(x=rest, axes=[-1], keep_dims=True))
        candidates = b.chosen(mb.logical_and(x=left, y=best), numbers, np.full(scores.shape, count, np.int32))
        place = mb.reduce_min(x=candidates, axes=[-1], keep_dims=True)
        there = mb.minimum(x=mb.squeeze(x=place, axes=[2]), y=np.int32(count - 1))
        batch = mb.gather(x=corners, indices=there, axis=1, batch_dims=1, **b.unchecked())
        near = _overlaps(b, mb.expand_dims(x=batch, axes=[2]), mb.expand_dims(x=corners, axes=[1]), limit)
        gone = mb.logical_or(x=near, y=mb.equal(x=place, y=numbers.reshape(1, 1, count)))
        chosen = b.chosen(mb.less(x=place, y=np.int32(count)), place, np.full(place.shape, NOTHING))
        grown = mb.scatter(
            data=found,
            indices=mb.expand_dims(x=turn, axes=[0]),
            updates=mb.reshape(x=chosen, shape=[1, batches, classes]),
            axis=0,
            mode="update",
            **b.unchecked(),
        )
        return mb.add(x=turn, y=np.int32(1)), mb.logical_and(x=left, y=mb.logical_not(x=gone)), grown

    none = mb.identity(x=np.full((turns, batches, classes), NOTHING))
    start = (mb.identity(x=np.int32(0)), alive, none)
    return mb.while_loop(_cond=goes_on, _body=once, loop_vars=start)[2]


def _overlaps(b: MilBuilder, one: Value, all_: Value, limit: Value) -> Value:
    """Whether the intersection is more of the union than `limit`; a box without area overlaps none. [..., boxes]."""
    mb, zero = b.mb, np.float32(0)

    def corners(boxes: Value) -> tuple[Value, Value]:
        low, high = mb.split(x=boxes, split_sizes=[2, 2], axis=3)
        return low, high

    def area(low: Value, high: Value) -> Value:
        width, height = mb.split(x=mb.sub(x=high, y=low), split_sizes=[1, 1], axis=3)
        positive = mb.logical_and(x=mb.greater(x=width, y=zero), y=mb.greater(x=height, y=zero))
        product = mb.mul(x=width, y=height)
        return mb.squeeze(x=mb.mul(x=product, y=mb.cast(x=positive, dtype="fp32")), axes=[3])

    (low, high), (other_low, other_high) = corners(one), corners(all_)
    common = area(mb.maximum(x=low, y=other_low), mb.minimum(x=high, y=other_high))
    first, second = area(low, high), area(other_low, other_high)
    union = mb.sub(x=mb.add(x=first, y=second), y=common)
    share = mb.greater(x=mb.real_div(x=common, y=union), y=limit)
    for number in (common, first, second, union):
        share = mb.logical_and(x=share, y=mb.greater(x=number, y=zero))
    return share


def _rows(b: MilBuilder, kept: Value) -> Value:
    mb = b.mb
    by_class = mb.transpose(x=kept, perm=[1, 2, 0])
    places = mb.non_zero(x=mb.greater_equal(x=by_class, y=np.int32(0)))
    boxes = mb.gather_nd(x=by_class, indices=places, batch_dims=0, **b.unchecked())
    classes = gathered(b, places, np.array([0, 1], np.int32), 1)
    return mb.concat(values=[classes, mb.expand_dims(x=boxes, axes=[1])], axis=1, interleave=False)
