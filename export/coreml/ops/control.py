"""If as cond, Loop and Scan as while_loop: inner graphs become blocks, which see the values around them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgewright.export.coreml.builder import MilBuilder, Value, static_shape
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.windows import Ints
from edgewright.export.onnx.passes.control_flow import ends_early

if TYPE_CHECKING:
    import onnx_ir as ir

Step = Callable[[Value, Value, list[Value], list[Value]], tuple[Value, list[Value], list[Value]]]
"""(number, go on?, states, rows) → go on?, states, rows that it gives."""


@COREML.lower("If", layout="nchw")
def if_(b: MilBuilder, cond: Value, *, else_branch: "ir.Graph", then_branch: "ir.Graph") -> Sequence[Value]:
    for then, other, output in zip(then_branch.outputs, else_branch.outputs, b.node.outputs):
        if static_shape(then) != static_shape(other):
            raise b.refusal(f"its branches give {output.name!r} in different shapes")

    def branch(graph: "ir.Graph") -> Callable[[], tuple[Value, ...]]:
        return lambda: tuple(b.mb.identity(x=value) for value in b.inner(graph, []))

    made = b.mb.cond(pred=scalar(b, cond), _true_fn=branch(then_branch), _false_fn=branch(else_branch))
    return made if isinstance(made, tuple | list) else (made,)


@COREML.lower("Loop", layout="nchw")
def loop(b: MilBuilder, m: Value = None, cond: Value = None, *states: Value, body: "ir.Graph") -> Sequence[Value]:
    asks, known = ends_early(body) or not (cond is None or isinstance(cond, np.ndarray)), isinstance(m, np.ndarray)
    if m is None and not asks:
        raise b.refusal("it has neither a number of steps nor a condition: it never ends")
    stacked = body.outputs[1 + len(states) :]
    if stacked and (asks or not known):
        raise b.refusal("it stacks what its steps give, and how many there are is computed; make that a constant")
    go = np.bool_(True) if cond is None else scalar(b, cond)

    def step(at: Value, keep: Value, held: list[Value], _: list[Value]) -> tuple[Value, list[Value], list[Value]]:
        number, told = (like(b, value, declared) for value, declared in zip((at, keep), body.inputs))
        goes_on, *results = b.inner(body, [number, told, *held])
        return scalar(b, goes_on), results[: len(states)], results[len(states) :]

    trips = None if m is None else scalar(b, m)
    return repeat(b, trips, go, list(states), [], [(value, 0, False) for value in stacked], step)


@COREML.lower("Scan", layout="nchw")
def scan(
    b: MilBuilder,
    *operands: Value,
    body: "ir.Graph",
    num_scan_inputs: int,
    scan_input_axes: Ints = None,
    scan_input_directions: Ints = None,
    scan_output_axes: Ints = None,
    scan_output_directions: Ints = None,
) -> Sequence[Value]:
    count = len(operands) - num_scan_inputs
    rows = body.outputs[count:]
    read = columns(operands[count:], scan_input_axes, scan_input_directions)
    made = columns(rows, scan_output_axes, scan_output_directions)
    (first, axis, _), *_ = read
    trips = np.int32(first.shape[axis])

    def step(_at: Value, go: Value, held: list[Value], cut: list[Value]) -> tuple[Value, list[Value], list[Value]]:
        results = b.inner(body, [*held, *cut])
        return go, results[:count], results[count:]

    return repeat(b, trips, np.bool_(True), list(operands[:count]), read, made, step)


def columns(values: Sequence[Any], axes: Ints, directions: Ints) -> list[tuple[Any, int, bool]]:
    """What is cut or stacked, along which axis, and whether backwards."""
    zeros = [0] * len(values)
    return [(v, a, bool(d)) for v, a, d in zip(values, axes or zeros, directions or zeros, strict=True)]


def repeat(
    b: MilBuilder,
    trips: Value,
    go: Value,
    states: list[Value],
    read: Sequence[tuple[Value, int, bool]],
    stacked: "Sequence[tuple[ir.Value, int, bool]]",
    step: Step,
) -> list[Value]:
    """The last states, and the rows that steps gave, stacked. Truth is held as int32 where it is cut or stacked."""
    mb, count = b.mb, len(states)
    steps = int(trips) if isinstance(trips, np.integer) else 0
    empty = [np.zeros([steps, *static_shape(row)], _held_dtype(b, row)) for row, _, _ in stacked]
    sources = [b.number(source) for source, _, _ in read]

    def goes_on(at: Value, keep: Value, *_: Value) -> Value:
        return keep if trips is None else mb.logical_and(x=keep, y=mb.less(x=at, y=trips))

    def once(at: Value, keep: Value, *held: Value) -> tuple[Value, ...]:
        cut = [
            b.typed(row_of(b, source, _place(b, at, steps, backwards), axis), given)
            for source, (given, axis, backwards) in zip(sources, read)
        ]
        keep, new, rows = step(at, keep, list(held[:count]), cut)
        grown = [
            mb.scatter(
                data=held[count + number],
                indices=mb.expand_dims(x=_place(b, at, steps, backwards), axes=[0]),
                updates=mb.expand_dims(x=b.number(mb.identity(x=row)), axes=[0]),
                axis=0,
                mode="update",
                **b.unchecked(),
            )
            for number, (row, (_, _, backwards)) in enumerate(zip(rows, stacked))
        ]
        kept = [mb.identity(x=value) for value in (keep, *new)]
        return (mb.add(x=at, y=np.int32(1)), *kept, *grown)

    start = [mb.identity(x=value) for value in (np.int32(0), go, *states, *empty)]
    _, _, *results = mb.while_loop(_cond=goes_on, _body=once, loop_vars=tuple(start))
    grown = [_placed(b, whole, axis, row) for whole, (row, axis, _) in zip(results[count:], stacked)]
    return [*results[:count], *grown]


def row_of(b: MilBuilder, source: Value, place: Value, axis: int) -> Value:
    batch = {} if b.opset < "iOS16" else {"batch_dims": 0}
    return b.mb.gather(x=source, indices=place, axis=axis, **batch, **b.unchecked())


def _place(b: MilBuilder, at: Value, steps: int, backwards: bool) -> Value:
    return b.mb.sub(x=np.int32(steps - 1), y=at) if backwards else at


def _held_dtype(b: MilBuilder, row: "ir.Value") -> type[np.generic]:
    return b.dtype if row.dtype is not None and row.dtype.is_floating_point() else np.int32


def _placed(b: MilBuilder, whole: Value, axis: int, row: "ir.Value") -> Value:
    """Stacked along the axis that ONNX wants, as truth where the rows are."""
    rank = len(whole.shape)
    order = list(range(1, rank))
    order.insert(axis % rank, 0)
    made = whole if order == list(range(rank)) else b.mb.transpose(x=whole, perm=order)
    truth = row.dtype is not None and row.dtype.name == "BOOL"
    return b.mb.not_equal(x=made, y=np.int32(0)) if truth else made


def scalar(b: MilBuilder, value: Value) -> Value:
    """Of rank 0."""
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).reshape(())[()]
    return b.mb.squeeze(x=value, axes=list(range(len(value.shape)))) if value.shape else value


def like(b: MilBuilder, value: Value, declared: "ir.Value") -> Value:
    """A scalar in the shape that the body declares, [] or [1]."""
    return b.mb.expand_dims(x=value, axes=[0]) if static_shape(declared) else value
