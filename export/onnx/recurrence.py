"""What LSTM, GRU and RNN have in common: directions, layouts, sequence lengths, states, and where the weights lie."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import constant, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgewright.export.onnx.decompose import Op

Cell = Callable[["Op", "ir.Value", "Sequence[ir.Value]"], "list[ir.Value]"]
"""One step: what the input gives [batch, gates · hidden] and the states [batch, hidden] → the new states, h first."""


@dataclass(frozen=True)
class Weights:
    """The weights of one direction: W [gates · hidden, inputs], R [gates · hidden, hidden], B [2 · gates · hidden].

    `outside` writes before the loop. Of the state's bias, `summed` rows join the input's; the others meet the state.
    """

    outside: "Op"
    number: int
    rows: int
    hidden: int
    summed: int

    def times_input(self, x: "ir.Value") -> "ir.Value":
        matrix = self._matrix(self.outside, 1, 0, self.rows)
        made: ir.Value = self.outside("Gemm", x, matrix, self._bias(early=True), transB=1)
        return made

    def times_state(
        self, op: "Op", h: "ir.Value", start: int = 0, end: int | None = None, *, biased: bool = False
    ) -> "ir.Value":
        bias = self._bias(early=False) if biased else None
        made: ir.Value = op("Gemm", h, self._matrix(op, 2, start, end or self.rows), bias, transB=1)
        return made

    def peepholes(self) -> "list[ir.Value]":
        """Of the input, output and forget gate, [hidden] each."""
        return [self._part(7, gate * self.hidden, (gate + 1) * self.hidden) for gate in range(3)]

    def _bias(self, *, early: bool) -> "ir.Value | None":
        op, inputs = self.outside, self.outside.node.inputs
        if len(inputs) < 4 or inputs[3] is None:
            return None
        sums = (np.arange(self.rows) < self.summed).astype(np.float32)
        part = op("Mul", self._part(3, self.rows, 2 * self.rows), op.constant(sums if early else 1 - sums))
        made: ir.Value = op("Add", self._part(3, 0, self.rows), part) if early else part
        return made

    def _matrix(self, op: "Op", index: int, start: int, end: int) -> "ir.Value":
        """Rows of W or R for an operator that `op` writes. Stored as int8 they stay so, with a scale for each row."""
        value = self.outside.node.inputs[index]
        source = None if value is None else value.producer()
        if source is not None and source.op_type == "DequantizeLinear" and constant(source, 0) is not None:
            return self._codes(op, source, start, end)
        return self._part(index, start, end)

    def _part(self, index: int, start: int, end: int) -> "ir.Value":
        """Rows of what an operand holds for this direction."""
        op, value = self.outside, constant(self.outside.node, index)
        if value is not None:
            return op.constant(value[self.number, start:end])
        whole = op("Gather", op.node.inputs[index], op.constant(np.array(self.number, np.int64)), axis=0)
        made: ir.Value = op("Slice", whole, *(op.integers(n) for n in (start, end, 0)))
        return made

    def _codes(self, op: "Op", source: "ir.Node", start: int, end: int) -> "ir.Value":
        codes, scale = constant(source, 0), constant(source, 1)
        assert codes is not None
        assert scale is not None
        scales = np.broadcast_to(scale.reshape(-1, self.rows), codes.shape[:2])[self.number, start:end].copy()
        parts = [codes[self.number, start:end], scales, np.zeros(end - start, codes.dtype)]
        made: ir.Value = op("DequantizeLinear", *(op.constant(part) for part in parts), axis=0)
        return made


@dataclass(frozen=True)
class Recurrence:
    """The operands that recurrent operators share; `initial` are the states at the start."""

    op: "Op"
    x: "ir.Value"
    r: "ir.Value"
    lengths: "ir.Value | None"
    initial: "tuple[ir.Value | None, ...]"
    direction: str
    batch_first: bool

    def expand(self, cell_of: Callable[[Weights], Cell], summed_bias: float = 1.0) -> "list[ir.Value | None] | None":
        """Y, Y_h (and Y_c), None where nobody reads one; None for all where a shape is unknown."""
        op, shape, of_state = self.op, shape_of(self.x), shape_of(self.r)
        if shape is None or of_state is None:
            return None
        (batch, steps) = shape[:2] if self.batch_first else shape[1::-1]
        directions, rows, hidden = of_state
        x = op("Transpose", self.x, perm=(1, 0, 2)) if self.batch_first else self.x
        flat = op("Reshape", x, op.integers(steps * batch, shape[2]))
        valid = self._valid(steps, batch)
        results = []
        for number in range(directions):
            weights = Weights(op, number, rows, hidden, round(rows * summed_bias))
            product = op("Reshape", weights.times_input(flat), op.integers(steps, batch, rows))
            states = [self._start(state, number, batch, hidden) for state in self.initial]
            body = self._body(cell_of(weights), f"{op.base}/{number}", (batch, rows, hidden), valid is not None)
            backwards = self.direction == "reverse" or number == 1
            results.append(self._scan(body, states, [product] if valid is None else [product, valid], backwards))
        return self._joined(results)

    def _valid(self, steps: int, batch: int) -> "ir.Value | None":
        """Which steps each sequence has, [steps, batch, 1]; None when it has all."""
        given = constant(self.op.node, 4)
        if self.lengths is None or (given is not None and (given >= steps).all()):
            return None
        at = self.op.constant(np.arange(steps, dtype=np.int32).reshape(steps, 1, 1))
        made: ir.Value = self.op("Less", at, self.op("Reshape", self.lengths, self.op.integers(1, batch, 1)))
        return made

    def _start(self, state: "ir.Value | None", number: int, batch: int, hidden: int) -> "ir.Value":
        if state is None:
            return self.op.constant(np.zeros((batch, hidden), np.float32))
        axis = int(self.batch_first)
        made: ir.Value
        if (shape_of(state) or (0, 0))[axis] == 1:
            made = self.op("Squeeze", state, self.op.integers(axis))
        else:
            made = self.op("Gather", state, self.op.constant(np.array(number, np.int64)), axis=axis)
        return made

    def _wanted(self, number: int) -> bool:
        outputs = self.op.node.outputs
        if number >= len(outputs) or not outputs[number].name:
            return False
        return bool(outputs[number].uses()) or outputs[number].is_graph_output()

    def _body(self, cell: Cell, name: str, sizes: tuple[int, int, int], masked: bool) -> "ir.Graph":
        """(states, row of the product, valid?) → the next states and, where it is read, h."""
        import onnx_ir as ir

        op = type(self.op)(self.op.node)
        batch, rows, hidden = sizes
        held = [_input(f"{name}/state_{k}", (batch, hidden)) for k in range(len(self.initial))]
        row, valid = _input(f"{name}/row", (batch, rows)), _input(f"{name}/valid", (batch, 1), np.bool_)
        states = cell(op, row, held)
        h = states[0]
        if masked:
            states = [op("Where", valid, new, old) for new, old in zip(states, held)]
            h = op("Where", valid, h, op.constant(np.array(0, np.float32)))
        outputs = [*states, *([op("Identity", h)] if self._wanted(0) else [])]
        for number, node in enumerate(op.made):
            node.name = f"{name}/{node.op_type}_{number}"
            for place, output in enumerate(node.outputs):
                output.name = f"{node.name}_{place}"
        return ir.Graph([*held, row, *([valid] if masked else [])], outputs, nodes=op.made, name=f"{name}/step")

    def _scan(
        self, body: "ir.Graph", states: "Sequence[ir.Value]", sequences: "Sequence[ir.Value]", backwards: bool
    ) -> "list[ir.Value]":
        """The last states and, where they are read, all h [steps, batch, hidden]."""
        import onnx_ir as ir

        made = self.op(
            "Scan",
            *states,
            *sequences,
            outputs=len(body.outputs),
            body=body,
            num_scan_inputs=len(sequences),
            scan_input_directions=(int(backwards),) * len(sequences),
            scan_output_directions=(int(backwards),) if len(body.outputs) > len(states) else None,
        )
        return [made] if isinstance(made, ir.Value) else list(made)

    def _joined(self, results: "Sequence[Sequence[ir.Value]]") -> "list[ir.Value | None]":
        """Directions side by side, in the layout of the operator."""
        axis = int(self.batch_first)
        states = [
            self._stack([of[k] for of in results], axis) if self._wanted(1 + k) else None
            for k in range(len(self.initial))
        ]
        if not self._wanted(0):
            return [None, *states]
        y = self._stack([of[-1] for of in results], 1 + axis)
        return [self.op("Transpose", y, perm=(1, 0, 2, 3)) if self.batch_first else y, *states]

    def _stack(self, values: "Sequence[ir.Value]", axis: int) -> "ir.Value":
        apart = [self.op("Unsqueeze", value, self.op.integers(axis)) for value in values]
        made: ir.Value = apart[0] if len(apart) == 1 else self.op("Concat", *apart, axis=axis)
        return made


def _input(name: str, shape: tuple[int, ...], dtype: "np.typing.DTypeLike" = np.float32) -> "ir.Value":
    import onnx_ir as ir

    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype))))
