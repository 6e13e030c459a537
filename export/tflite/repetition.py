"""A body repeated by WHILE.

The loop carries a counter, a flag where the body may end it, the states, a buffer for each column that the steps fill,
and what stays the same; of the last, body output and body input are one tensor, which runtimes do not copy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgewright.export.tflite.builder import Subgraph
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.tensor import Tensor

Step = Callable[[NodeBuilder, Tensor, Tensor | None, list[Tensor], list[Tensor]], list[Tensor]]
"""Writes one step: builder of the body, counter, flag, states, rows → new flag (if there is one), states and rows."""


@dataclass(frozen=True)
class Column:
    """A tensor with one row a step along `axis`, first to last or `backwards`."""

    tensor: Tensor
    axis: int = 0
    backwards: bool = False

    @property
    def length(self) -> int:
        return self.tensor.shape[self.axis]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.tensor.shape[: self.axis] + self.tensor.shape[self.axis + 1 :]


@dataclass(frozen=True)
class Repetition:
    """`trips`: the number of steps (int32, rank 0; None: until the flag falls). `kept`: states that never change."""

    b: NodeBuilder
    trips: Tensor | None
    flag: Tensor | None
    states: Sequence[Tensor]
    kept: set[int]
    read: Sequence[Column]
    made: Sequence[Column]
    step: Step

    def write(self) -> list[Tensor]:
        """Emit the WHILE; gives the last states and the filled columns."""
        b = self.b
        if any(column.length == 0 for column in self.made):
            b.refuse("it stacks what its steps give, but has none")
        counter = b.constant(np.array(0, np.int32), f"{b.y.name}/first")
        flag = [] if self.flag is None else [self.flag]
        changing = [state for k, state in enumerate(self.states) if k not in self.kept]
        fixed = [t for t in dict.fromkeys(self._fixed()) if t.data is None]
        carried = [counter, *flag, *changing, *[self._buffer(column) for column in self.made], *fixed]
        options = {"condSubgraphIndex": self._condition(carried), "bodySubgraphIndex": self._body(carried, fixed)}
        ends = iter([y for k, y in enumerate(b.ys) if k not in self.kept])
        skipped = 1 + len(flag)
        outputs = [b.like(tensor, f"{b.y.name}/left_{k}") for k, tensor in enumerate(carried)]
        filled = len(carried) - len(fixed)
        outputs[skipped:filled] = list(ends)
        b.emit("WHILE", carried, options, to=outputs)
        return [self.states[k] if k in self.kept else y for k, y in enumerate(b.ys)]

    def _fixed(self) -> list[Tensor]:
        kept = [self.states[k] for k in sorted(self.kept)]
        return [*kept, *(column.tensor for column in self.read), *([] if self.trips is None else [self.trips])]

    def _buffer(self, column: Column) -> Tensor:
        """Zeros that an operator makes: as a constant they would lie in the file."""
        y = column.tensor
        shape = self.b.constant(np.array(y.shape, np.int32), f"{y.name}/shape")
        zero = self.b.scalar(0, y, f"{y.name}/zero")
        return self.b.emit("FILL", [shape, zero], to=self.b.like(y, f"{y.name}/empty"))

    def _condition(self, carried: Sequence[Tensor]) -> Subgraph:
        inner = self.b.inner("cond")
        inputs = [inner.like(tensor, tensor.name) for tensor in carried]
        inside = dict(zip(carried, inputs))
        going = inner.tensor("going", (), np.bool_)
        if self.trips is None:
            inner.emit("LOGICAL_AND", [inputs[1], inputs[1]], to=going)
            return inner.subgraph(inputs, [going])
        inner.emit("LESS", [inputs[0], inside.get(self.trips, self.trips)], to=going)
        if self.flag is None:
            return inner.subgraph(inputs, [going])
        both = inner.emit("LOGICAL_AND", [going, inputs[1]], to=inner.tensor("both", (), np.bool_))
        return inner.subgraph(inputs, [both])

    def _body(self, carried: Sequence[Tensor], fixed: Sequence[Tensor]) -> Subgraph:
        inner = self.b.inner("body")
        inputs = [inner.like(tensor, tensor.name) for tensor in carried]
        place = {tensor: inputs[len(inputs) - len(fixed) + k] for k, tensor in enumerate(fixed)}
        counter, rest = inputs[0], iter(inputs[1:])
        flag = None if self.flag is None else next(rest)
        held = [place.get(s, s) if k in self.kept else next(rest) for k, s in enumerate(self.states)]
        at = {False: counter, True: counter}
        if any(column.backwards for column in (*self.read, *self.made)):
            at[True] = self._from_end(inner, counter)
        rows = [self._row(inner, column, place.get(column.tensor, column.tensor), at) for column in self.read]
        results = self.step(inner, counter, flag, held, rows)
        flags, results = results[: self.flag is not None], results[self.flag is not None :]
        if any(result.shape != state.shape for result, state in zip(results, held)):
            self.b.refuse("a state changes its shape from step to step")
        states = [result for k, result in enumerate(results[: len(held)]) if k not in self.kept]
        filled = [
            self._fill(inner, column, next(rest), row, at) for column, row in zip(self.made, results[len(held) :])
        ]
        one = inner.constant(np.array(1, np.int32), "one")
        following = inner.emit(
            "ADD", [counter, one], {"fusedActivationFunction": "NONE"}, to=inner.like(counter, "next")
        )
        return inner.subgraph(inputs, [following, *flags, *states, *filled, *place.values()])

    def _from_end(self, inner: NodeBuilder, counter: Tensor) -> Tensor:
        length = next(column.length for column in (*self.read, *self.made))
        last = inner.constant(np.array(length - 1, np.int32), "last")
        return inner.emit(
            "SUB", [last, counter], {"fusedActivationFunction": "NONE"}, to=inner.like(counter, "from_end")
        )

    def _row(self, inner: NodeBuilder, column: Column, tensor: Tensor, at: dict[bool, Tensor]) -> Tensor:
        row = inner.temp(f"{tensor.name}/row", tensor, column.row_shape)
        return inner.emit("GATHER", [tensor, at[column.backwards]], {"axis": column.axis, "batchDims": 0}, to=row)

    def _fill(self, inner: NodeBuilder, column: Column, buffer: Tensor, row: Tensor, at: dict[bool, Tensor]) -> Tensor:
        shape = tuple(1 if axis == column.axis else n for axis, n in enumerate(buffer.shape))
        unit = np.array([int(axis == column.axis) for axis in range(len(shape))], np.int32)
        where = inner.tensor("where", (len(shape),), np.int32)
        inner.emit(
            "MUL", [at[column.backwards], inner.constant(unit, "unit")], {"fusedActivationFunction": "NONE"}, to=where
        )
        inputs = [buffer, inner.reshape(row, shape), where]
        return inner.emit("DYNAMIC_UPDATE_SLICE", inputs, to=inner.like(buffer, f"{buffer.name}/filled"))
