"""Scaled dot-product attention as two MatMuls and a Softmax; masks that lengths alone decide are constants."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Reach:
    """Which keys a query may see by their positions: `left` and `right` of its own, -1 without end."""

    queries: int
    keys: int
    left: int
    right: int

    @property
    def distance(self) -> NDArray[np.int64]:
        """[queries, keys]: how far a key lies to the right of the query of the same number."""
        made: NDArray[np.int64] = np.arange(self.keys)[None] - np.arange(self.queries)[:, None]
        return made

    def allowed(self, offset: int) -> NDArray[np.bool_]:
        """With `offset` keys before the first query."""
        ahead = self.distance - offset
        seen = np.ones(ahead.shape, bool)
        if self.right >= 0:
            seen &= ahead <= self.right
        if self.left >= 0:
            seen &= ahead >= -self.left
        return seen


@EXPANSIONS.lower("Attention")
def attention(
    op: Op,
    q: "ir.Value",
    k: "ir.Value",
    v: "ir.Value",
    attn_mask: "ir.Value | None" = None,
    past_key: "ir.Value | None" = None,
    past_value: "ir.Value | None" = None,
    nonpad_kv_seqlen: "ir.Value | None" = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    left_window_size: int = -1,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,  # noqa: ARG001
) -> "list[ir.Value] | None":
    """Y, present key and value, and the scores at the stage that `qk_matmul_output_mode` names."""
    import onnx_ir as ir

    if any(shape_of(x) is None for x in (q, k, v)) or q.dtype != ir.DataType.FLOAT:
        return None
    flat = len(shape_of(q) or ()) == 3
    query, (batch, heads, queries, width) = _by_head(op, q, q_num_heads)
    key, (_, groups, keys, _) = _by_head(op, k, kv_num_heads)
    value, (_, _, _, depth) = _by_head(op, v, kv_num_heads)
    past = (shape_of(past_key) or (0, 0, 0))[2]
    if past_key is not None and past_value is not None:
        key, value, keys = op("Concat", past_key, key, axis=2), op("Concat", past_value, value, axis=2), past + keys
    grouped = (batch, groups, heads // groups * queries)  # the queries of a group share its key: rows of one product
    factor = width**-0.5 if scale is None else scale
    scores = op("MatMul", op.reshape(op("Mul", query, op.like(factor, q)), (*grouped, width)), _turned(op, key))
    stages = [scores := op.reshape(scores, (batch, heads, queries, keys))]
    if softcap:
        scores = op("Mul", op("Tanh", op("Div", scores, op.like(softcap, q))), op.like(softcap, q))
    stages.append(scores)
    reach = Reach(queries, keys, left_window_size, _right(bool(is_causal), right_window_size))
    scores, empty = _masked(op, scores, attn_mask, keys, _visible(op, reach, past, nonpad_kv_seqlen))
    weights = op("Softmax", scores, axis=-1)
    if empty is not None:
        weights = op("Where", empty, op.like(0, q), weights)
    stages += [scores, weights]
    mixed = op("MatMul", op.reshape(weights, (*grouped, keys)), value)
    answer = op.reshape(mixed, (batch, heads, queries, depth))
    if flat:
        answer = op.reshape(op("Transpose", answer, perm=[0, 2, 1, 3]), (batch, queries, heads * depth))
    return [answer, key, value, stages[qk_matmul_output_mode]]


def _by_head(op: Op, x: "ir.Value", heads: int | None) -> tuple["ir.Value", tuple[int, ...]]:
    """[batch, heads, length, width] and that shape, from it or from [batch, length, heads·width]."""
    shape = shape_of(x)
    assert shape is not None
    if len(shape) == 4 or heads is None:
        return x, shape
    split = (*shape[:2], heads, shape[2] // heads)
    return op("Transpose", op.reshape(x, split), perm=[0, 2, 1, 3]), (split[0], heads, split[1], split[3])


def _turned(op: Op, key: "ir.Value") -> "ir.Value":
    made: ir.Value = op("Transpose", key, perm=[0, 1, 3, 2])
    return made


def _right(causal: bool, window: int) -> int:
    """How far a query sees ahead: not at all where it is causal."""
    return 0 if causal else window


def _visible(op: Op, reach: Reach, past: int, lengths: "ir.Value | None") -> "NDArray[np.bool_] | ir.Value | None":
    """Where a query may look: constant, or [batch, 1, queries, keys] of computed lengths; None: everywhere."""
    import onnx_ir as ir

    if lengths is None:
        seen = reach.allowed(past)
        return None if seen.all() else seen
    column = op.cast(op.reshape(lengths, (-1, 1, 1, 1)), ir.DataType.INT32)
    visible = op("Less", op.constant(np.arange(reach.keys, dtype=np.int32)), column)
    ahead = op.constant((reach.distance + reach.queries).astype(np.int32))  # of a query's own key, when all were new
    for limit, comparison, sign in ((reach.right, "LessOrEqual", 1), (reach.left, "GreaterOrEqual", -1)):
        if limit >= 0:
            edge = op("Add", column, op.constant(np.array(sign * limit, np.int32)))
            visible = op("And", visible, op(comparison, ahead, edge))
    return visible  # type: ignore[no-any-return]


def _masked(
    op: Op, scores: "ir.Value", mask: "ir.Value | None", keys: int, visible: "NDArray[np.bool_] | ir.Value | None"
) -> tuple["ir.Value", "ir.Value | None"]:
    """Scores with -∞ where nothing may be seen, and which queries see nothing at all, where that can be."""
    import onnx_ir as ir

    first = op.node.inputs[0]
    assert first is not None
    zero, hidden = op.like(0, first), op.like(-np.inf, first)
    if mask is None and visible is None:
        return scores, None
    if mask is None and isinstance(visible, np.ndarray):
        empty = ~visible.any(-1, keepdims=True)
        return op("Where", op.constant(visible), scores, hidden), op.constant(empty) if empty.any() else None
    allowed, bias = op.constant(visible) if isinstance(visible, np.ndarray) else visible, zero
    if mask is not None and mask.dtype == ir.DataType.BOOL:
        mask = _lengthened(op, mask, keys, np.array(False))
        allowed = mask if allowed is None else op("And", allowed, mask)
    elif mask is not None:
        bias = _lengthened(op, mask, keys, np.array(-np.inf, np.float32))
    if allowed is not None:
        bias = op("Where", allowed, bias, hidden)
    unseen = op("Equal", bias, hidden)
    # compared before it is reduced or added: a kernel may give the lowest number for -∞, and NaN for ∞ - ∞
    seen = op("ReduceMax", op("Where", unseen, zero, op.like(1, first)), op.integers(-1), keepdims=1)
    return op("Where", unseen, hidden, op("Add", scores, bias)), op("Equal", seen, zero)


def _lengthened(op: Op, mask: "ir.Value", keys: int, filler: NDArray[Any]) -> "ir.Value":
    """A mask for the first keys hides the others."""
    shape = shape_of(mask)
    if not shape or shape[-1] >= keys:
        return mask
    rest = op.constant(np.full((*shape[:-1], keys - shape[-1]), filler))
    made: ir.Value = op("Concat", mask, rest, axis=-1)
    return made
