"""A file for any length of its open axes: the graph is lowered at two lengths, and both results become one.

a[37,24] = RESHAPE(x[37,4,6], (37,24))        a[1,24] = RESHAPE(x[1,4,6], (-1,24)), signatures (-1,24), (-1,4,6)
a[164,24] = RESHAPE(x[164,4,6], (164,24))  ⇒
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import UnsupportedOps
from edgewright.export.onnx.opening import Trial
from edgewright.export.tflite.builder import Op, Subgraph
from edgewright.export.tflite.kernels import version_of
from edgewright.export.tflite.lengths import Lengths
from edgewright.export.tflite.tensor import Tensor

WINDOW_AXES = {"strideH": 1, "strideW": 2}
RANK_OF_STRIDED = 4
"""The most axes that the kernels of STRIDED_SLICE take in every runtime."""


def for_any_length(first: Subgraph, second: Subgraph, trials: tuple[Trial, ...]) -> Subgraph:
    """What both say, for any length. Raises UnsupportedOps naming each operator that an open length is baked into."""
    if [op.code for op in first.ops] != [op.code for op in second.ops]:
        pairs = zip(first.ops, second.ops, strict=False)
        odd = next((a for a, b in pairs if a.code != b.code), first.ops[-1])
        raise UnsupportedOps(
            "tflite", {odd.code: (f"another length needs other operators; {trials[0].advice}", [_name(odd)])}
        )
    merger = _Merger(trials)
    inputs = [merger.tensor(a, b) for a, b in zip(first.inputs, second.inputs, strict=True)]
    merger.lengths = Lengths(list(zip(first.inputs, second.inputs, inputs, strict=True)))
    ops = [op for a, b in zip(first.ops, second.ops, strict=True) for op in merger.ops(a, b)]
    if merger.refused:
        raise UnsupportedOps("tflite", merger.refused)
    outputs = [merger.tensor(a, b) for a, b in zip(first.outputs, second.outputs, strict=True)]
    return Subgraph(first.name, tuple(ops), tuple(inputs), tuple(outputs))


class _Merger:
    """Tensors of the merged graph by those of the first, and what cannot be merged."""

    def __init__(self, trials: tuple[Trial, ...]) -> None:
        self._trials = trials
        self.lengths = Lengths(())
        self.refused: dict[str, tuple[str, list[str]]] = {}
        self._made: dict[Tensor, Tensor] = {}

    def ops(self, a: Op, b: Op) -> list[Op]:
        """The operator for any length, behind those that compute lengths for it."""
        a, b = _clamped(a, b)
        reason = _why_not(a, b)
        pairs = [] if reason else list(zip(a.inputs, b.inputs, strict=True))
        given = [None if x is None or y is None else self._operand(a, b, k, x, y) for k, (x, y) in enumerate(pairs)]
        if baked := [x.name for (x, _), tensor in zip(pairs, given, strict=True) if x is not None and tensor is None]:
            reason = f"an open length is baked into its constant {', '.join(baked)}"
        if reason is not None:
            first, names = self.refused.get(a.code, (f"{reason}; {self._trials[0].advice}", []))
            self.refused[a.code] = first, [*names, _name(a)]
            return []
        made = tuple(self.tensor(x, y) for x, y in zip(a.outputs, b.outputs, strict=True))
        before = self.lengths.taken()
        return [*before, replace(a, inputs=tuple(given), outputs=made, options=_options(a, b, self._trials))]

    def _operand(self, a: Op, b: Op, index: int, x: Tensor, y: Tensor) -> Tensor | None:
        if x in self._made or x.data is None:
            return self.tensor(x, y)
        data = _for_any(a, b, index, x, y)
        if data is x.data:
            return self.tensor(x, y)
        if data is not None:  # for this operator only
            return replace(x, data=data)
        computed = self.lengths.like(x, y)
        if computed is not None:
            self._made[x] = computed
        return computed

    def tensor(self, a: Tensor, b: Tensor) -> Tensor:
        if a not in self._made:
            shape = tuple(_begin(x, y, self._trials) for x, y in zip(a.shape, b.shape, strict=True))
            opened = tuple(axis for axis, (x, y) in enumerate(zip(a.shape, b.shape, strict=True)) if x != y)
            self._made[a] = replace(a, shape=shape, open_axes=opened)
        return self._made[a]


def _begin(first: int, second: int, trials: tuple[Trial, ...]) -> int:
    """The length that an axis has to begin with, if it grows by whole numbers; else 1, which the runtime corrects."""
    if first == second:
        return first
    for trial in trials:
        grows, rest = divmod(second - first, trial.second - trial.first)
        if rest == 0:
            return max(first - grows * (trial.first - trial.begin), 1)
    return 1


def _why_not(a: Op, b: Op) -> str | None:
    """Why two operators cannot be written as one; None when they can."""
    if _plain(a.options) != _plain(b.options):
        return "its options depend on an open length"
    if len(a.inputs) != len(b.inputs):
        return "an open length needs other operands"
    if any(_is_constant(x) != _is_constant(y) for x, y in zip(a.inputs, b.inputs, strict=True)):
        return "an open length needs other operands"
    return _why_not_padded(a, b)


def _why_not_padded(a: Op, b: Op) -> str | None:
    """SAME with a stride pads by what is left over of the length; ONNX pads by a fixed amount."""
    where = 2 if a.code == "TRANSPOSE_CONV" else 0  # of the input
    x, y = a.inputs[where], b.inputs[where]
    if a.options.get("padding") != "SAME" or x is None or y is None:
        return None
    strided = [axis for option, axis in WINDOW_AXES.items() if a.options[option] > 1]
    if any(x.shape[axis] != y.shape[axis] for axis in strided):
        return "its padding depends on an open length: pad by a fixed amount in an operator of its own"
    return None


def _for_any(op: Op, other: Op, index: int, x: Tensor, y: Tensor) -> NDArray[Any] | None:
    """The constant operand that serves for both lengths; None where there is none."""
    a, b = x.data, y.data
    assert a is not None and b is not None
    if a.shape != b.shape:
        return None
    if np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return a
    varies = a != b
    if (op.code, index) in (("RESHAPE", 1), ("SPLIT_V", 1)) and varies.sum() == 1:
        return np.where(varies, np.int32(-1), a)
    if (op.code, index) == ("SLICE", 2) and all(_goes_to_end(each)[varies].all() for each in (op, other)):
        return np.where(varies, np.int32(-1), a)  # to the end, wherever it is
    if (op.code, index) == ("STRIDED_SLICE", 2) and _masks(op, varies):
        return a
    return None


def _clamped(a: Op, b: Op) -> tuple[Op, Op]:
    """x[:100], x[-30:] and x[:-5] of an axis of any length: a STRIDED_SLICE, which stops at the borders."""
    if (a.code, b.code) != ("SLICE", "SLICE") or not all(_is_constant(x) for op in (a, b) for x in op.inputs[1:]):
        return a, b
    (begin, end, length), (begins, ends, lengths) = _bounds(a), _bounds(b)
    stops = (end == length) & (ends < lengths)
    counted = [(x != y) & (x - length == y - lengths) for x, y in ((begin, begins), (end, ends))]  # from the end
    masked = (end == length) & (ends == lengths)
    told = (counted[0] | (begin == begins)) & (masked | stops | counted[1] | (end == ends))
    if not (stops | counted[0] | (counted[1] & ~masked)).any() or not told.all() or len(length) > RANK_OF_STRIDED:
        return a, b
    limits = [np.where(each, y - lengths, y) for each, y in zip(counted, (begins, np.where(masked, 0, ends)))]
    options = {"endMask": sum(1 << int(axis) for axis in np.flatnonzero(masked))}
    given = b.inputs[1]
    assert given is not None
    bounds = [replace(given, data=each.astype(np.int32)) for each in (*limits, np.ones_like(begin))]
    version = version_of("STRIDED_SLICE", [b.inputs[0], *bounds], b.outputs[0], options)
    return (
        Op("STRIDED_SLICE", version, (a.inputs[0], *bounds), a.outputs, options),
        Op("STRIDED_SLICE", version, (b.inputs[0], *bounds), b.outputs, options),
    )


def _bounds(op: Op) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Where a SLICE begins and ends, and how long its operand is, by axis."""
    begin, size = op.inputs[1], op.inputs[2]
    assert begin is not None and begin.data is not None and size is not None and size.data is not None
    return begin.data, begin.data + size.data, _lengths(op)


def _goes_to_end(op: Op) -> NDArray[np.bool_]:
    """Along which axes a SLICE goes to the end of what it cuts."""
    _, end, lengths = _bounds(op)
    return np.asarray(end == lengths)


def _lengths(op: Op) -> NDArray[Any]:
    assert op.inputs[0] is not None
    return np.array(op.inputs[0].shape)


def _masks(op: Op, varies: NDArray[Any]) -> bool:
    """Whether the ends that vary are the borders of the operand, or behind them, or masked anyway."""
    end, stride = op.inputs[2], op.inputs[3]
    assert end is not None and end.data is not None and stride is not None and stride.data is not None
    return bool(((end.data >= _lengths(op)) & (stride.data > 0))[varies].all())


def _options(a: Op, b: Op, trials: tuple[Trial, ...]) -> Mapping[str, Any]:
    """With subgraphs for any length, and masks where a STRIDED_SLICE goes to the end."""
    merged: dict[str, Any] = {
        name: for_any_length(option, b.options[name], trials) if isinstance(option, Subgraph) else option
        for name, option in a.options.items()
    }
    if a.code == "STRIDED_SLICE":
        ends = [tensor.data for tensor in (a.inputs[2], b.inputs[2]) if tensor is not None and tensor.data is not None]
        open_ends = sum(1 << int(axis) for axis in np.flatnonzero(ends[0] != ends[1])) if len(ends) == 2 else 0
        merged["endMask"] = merged.get("endMask", 0) | open_ends
    return merged


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: isinstance(option, Subgraph) or option for name, option in options.items()}


def _is_constant(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.data is not None


def _name(op: Op) -> str:
    return op.outputs[0].name
