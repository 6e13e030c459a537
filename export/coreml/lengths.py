"""A program for any length of its open axes: it is written at two lengths, and both become one.

a[1,37,24] = reshape(x[1,37,4,6], [1,37,24])       a[1,?,24] = reshape(x[1,?,4,6], [1,-1,24])
a[1,164,24] = reshape(x[1,164,4,6], [1,164,24])  ⇒
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import UnsupportedOps
from edgewright.export.onnx.opening import ADVICE, Trial
from edgewright.runtimes.mil.constants import decode
from edgewright.runtimes.read.mil_proto import Weights, shape_of

Shape = tuple[int | None, ...]


def for_any_length(spec: Any, other: Any, weights: Weights, others: Weights, trials: Sequence[Trial]) -> None:
    """Write the first specification for any lengths, in place; `other` is the same model with longer open axes.

    Raises UnsupportedOps naming every operation that an open length is baked into, and that length.
    """
    pairs = [_main(each) for each in (spec, other)]
    merger = _Merger(weights, others, trials)
    for a, b in zip(pairs[0].inputs, pairs[1].inputs, strict=True):
        merger.value(a, b)
    merger.block(*(function.block_specializations[function.opset] for function in pairs))
    merger.raise_refusals()


def _main(spec: Any) -> Any:
    return spec.mlProgram.functions["main"]


class _Merger:
    """What is known of both programs by name, and what cannot be merged."""

    def __init__(self, weights: Weights, others: Weights, trials: Sequence[Trial]) -> None:
        self._weights = weights, others
        self._trials = trials
        self._shapes: dict[str, tuple[Shape, Shape]] = {}
        self._constants: dict[str, Any] = {}
        self._varying: dict[str, tuple[Any, Any]] = {}
        self._readers: Counter[str] = Counter()
        self._refused: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def raise_refusals(self) -> None:
        if self._refused:
            raise UnsupportedOps(
                "coreml",
                {
                    kind: (f"{'; '.join(rows)}; {ADVICE}", list({name: 0 for names in rows.values() for name in names}))
                    for kind, rows in self._refused.items()
                },
            )

    def value(self, a: Any, b: Any) -> None:
        """An input or result: lengths that differ are unknown from here on."""
        if a.type.WhichOneof("type") != "tensorType":
            return
        ours, theirs = a.type.tensorType, b.type.tensorType
        self._shapes[a.name] = shape_of(ours), shape_of(theirs)
        for mine, yours in zip(ours.dimensions, theirs.dimensions):
            if mine != yours:
                mine.unknown.variadic = False

    def block(self, a: Any, b: Any) -> None:
        for mine, yours in zip(a.inputs, b.inputs):
            self.value(mine, yours)
        for operation in a.operations:
            self._readers.update(name for argument in operation.inputs.values() for name in _names(argument))
        for mine, yours in zip(a.operations, b.operations):
            if mine.type != yours.type or len(mine.outputs) != len(yours.outputs):
                return self._refuse(mine, "another length needs other operations")
            self._operation(mine, yours)
        if len(a.operations) != len(b.operations):
            longest = max(a.operations, b.operations, key=len)
            self._refuse(longest[-1], "another length needs other operations")
        return None

    def _operation(self, a: Any, b: Any) -> None:
        for key, value in a.attributes.items():
            if key != "name":
                self._attribute(a, key, value, b.attributes[key])
        for key, argument in a.inputs.items():
            if _names(argument) != _names(b.inputs[key]):
                self._refuse(a, f"another length needs another {key}")
        for key in sorted(a.inputs):
            for name in _names(a.inputs[key]):
                if name in self._varying:
                    self._adapt(a, key, name)
        for mine, yours in zip(a.outputs, b.outputs):
            self.value(mine, yours)
        for mine, yours in zip(a.blocks, b.blocks):
            self.block(mine, yours)

    def _attribute(self, operation: Any, key: str, a: Any, b: Any) -> None:
        name = operation.outputs[0].name
        if operation.type == "const":
            self._constants[name] = a
        one, two = (decode(value, weights) for value, weights in zip((a, b), self._weights))
        if _same(one, two):
            return
        if operation.type == "const" and isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
            self._varying[name] = one, two
        else:
            self._refuse(operation, f"an open length is baked into its {key}")

    def _adapt(self, operation: Any, key: str, name: str) -> None:
        """Let the constant that an operation reads serve for both lengths."""
        one, two = self._varying[name]
        x = next(iter(_names(operation.inputs["x"])), "") if "x" in operation.inputs else ""
        alone = self._readers[name] == 1 and one.shape == two.shape and x in self._shapes
        made = self._for_any(operation, key, one, two, *self._shapes[x]) if alone else None
        if made is None:
            self._refuse(operation, f"its {key} {self._which(one, two)}")
        else:
            self._constants[name].immediateValue.tensor.ints.values[:] = [int(n) for n in made.ravel()]

    def _for_any(
        self, operation: Any, key: str, a: NDArray[Any], b: NDArray[Any], x: Shape, other: Shape
    ) -> NDArray[Any] | None:
        varies = a != b
        if (operation.type, key) == ("reshape", "shape"):
            return _shape_for_any(a, varies, [m == p and n == q for m, n, p, q in zip(x, other, a, b)], len(x))
        lengths = np.array(x), np.array(other)
        if operation.type == "slice_by_size" and key == "size":
            begin = self._integers(operation, "begin")
            ends = begin is not None and ((begin + a == lengths[0]) & (begin + b == lengths[1]))[varies].all()
            return np.where(varies, -1, a) if ends else None
        if operation.type != "slice_by_index" or key not in ("begin", "end"):
            return None
        masks = [self._integers(operation, f"{mask}_mask") for mask in (key, "squeeze")]
        stride = self._integers(operation, "stride")
        if any(mask is None or mask[varies].any() for mask in masks) or stride is None or (stride[varies] < 1).any():
            return None
        from_end = a - lengths[0]
        if (from_end != b - lengths[1])[varies].any() or (from_end > 0)[varies].any():
            return None
        borders = varies & (from_end == 0)
        if borders.any() and (key == "begin" or not self._mask(operation, "end_mask", borders)):
            return None
        return np.where(varies, from_end, a)

    def _integers(self, operation: Any, key: str) -> NDArray[Any] | None:
        """A constant parameter that is the same at both lengths."""
        name = next(iter(_names(operation.inputs[key])), "") if key in operation.inputs else ""
        value = self._constants.get(name)
        return None if value is None or name in self._varying else np.asarray(decode(value, self._weights[0]))

    def _mask(self, operation: Any, key: str, where: NDArray[np.bool_]) -> bool:
        """Let a slice go to the border along these axes; whether it has a mask of its own that can say so."""
        name = next(iter(_names(operation.inputs[key])), "") if key in operation.inputs else ""
        mask = self._integers(operation, key)
        if mask is None or self._readers[name] != 1:
            return False
        self._constants[name].immediateValue.tensor.bools.values[:] = [bool(n) for n in mask | where]
        return True

    def _refuse(self, operation: Any, reason: str) -> None:
        self._refused[operation.type][reason].append(operation.outputs[0].name)

    def _which(self, a: NDArray[Any], b: NDArray[Any]) -> str:
        """The open lengths, by what they begin with, that a constant depends on."""
        if a.shape != b.shape:
            a, b = np.array(a.shape), np.array(b.shape)
        apart = (b - a)[a != b] if a.shape == b.shape and a.dtype.kind in "iu" else np.array([])
        found = [f"{trial.begin}?" for trial in self._trials if (apart % (trial.second - trial.first) == 0).any()]
        return f"depends on the open length {' and '.join(found)}" if found else "depends on an open length"


def _shape_for_any(
    shape: NDArray[Any], varies: NDArray[np.bool_], kept: Sequence[bool], rank: int
) -> NDArray[Any] | None:
    """-1 for the length that varies; of several, 0 for those that stay where they are."""
    if varies.sum() == 1:
        return np.where(varies, -1, shape)
    if len(shape) != rank:
        return None
    moved = varies & ~np.array(kept)
    return np.where(moved, -1, np.where(varies, 0, shape)) if moved.sum() <= 1 else None


def _names(argument: Any) -> list[str]:
    return [binding.name for binding in argument.arguments if binding.WhichOneof("binding") == "name"]


def _same(a: Any, b: Any) -> bool:
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return bool(a == b) if type(a) is type(b) else False
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
