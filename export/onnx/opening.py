"""Lengths that stay open: a graph is made at two lengths, and where both differ it is written for any.

x[37,4,6] → Reshape(·, [37,24])                 x[1?,4,6] → Reshape(·, [-1,24])
x[164,4,6] → Reshape(·, [164,24])       ⇒
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.bounds import require_bounds_within
from edgewright.export.onnx.file import contract_of
from edgewright.export.onnx.graph import constant, shape_of
from edgewright.export.onnx.passes.batch import InputShape, set_lengths
from edgewright.export.onnx.passes.shapes import infer_shapes, require_static
from edgewright.export.onnx.simplify import simplify
from edgewright.runtimes.contract import CONTRACT_KEY, Contract, TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir

ADVICE = "give that axis a fixed length in --shape"
INITIAL_STATES = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6)}


STEP = 36  # beyond the length to begin with, where an axis is like no other
PRIMES = (127, 131, 137, 139, 149, 151, 157, 163)
"""Apart are the two lengths of a trial: more than any product of strides, so that lengths differ behind every window,
and by an amount that tells which open axis a length comes from."""


@dataclass(frozen=True)
class Trial:
    """Two lengths to try for all open axes that begin with the same one; what to do where they do not serve."""

    begin: int
    first: int
    second: int
    advice: str = ADVICE


def trials_of(shapes: Mapping[str, InputShape]) -> dict[int, Trial]:
    """By the length to begin with: open axes of several inputs that begin with the same length are one length.

    Where an input has choices that say all, they are tried. Raises BadInput where there are more open lengths than can
    be told apart.
    """
    begins = sorted({shape.lengths[axis] for shape in shapes.values() for axis in shape.open_axes})
    if len(begins) > len(PRIMES):
        raise BadInput(f"{len(begins)} open lengths; at most {len(PRIMES)} can be told apart")
    free = {n: Trial(n, n + STEP, n + STEP + prime) for n, prime in zip(begins, PRIMES, strict=False)}
    return free | {n: trial for shape in shapes.values() for n, trial in _chosen(shape).items()}


def _chosen(shape: InputShape) -> dict[int, Trial]:
    """Trials at two of the choices, where all others follow from them; a network that halves its images and joins them
    again takes no other lengths."""
    columns = {column for column in zip(*shape.choices, strict=True) if len(set(column)) > 1}
    second = next((i for i in range(1, len(shape.choices)) if all(column[i] != column[0] for column in columns)), None)
    if second is None or min(map(min, columns)) == 1 or (len(shape.choices) > 2 and len(columns) > 1):
        return {}
    trials = {column[0]: Trial(column[0], column[0], column[second]) for column in columns}
    regular = all((n - column[0]) % (column[second] - column[0]) == 0 for column in columns for n in column)
    return trials if regular else {}


def lengths_at(shapes: Mapping[str, InputShape], second: bool) -> dict[str, list[int]]:
    """The lengths of each input in the first or second trial."""
    trials = {begin: trial.second if second else trial.first for begin, trial in trials_of(shapes).items()}
    return {
        name: [trials[length] if axis in shape.open_axes else length for axis, length in enumerate(shape.lengths)]
        for name, shape in shapes.items()
    }


def simplify_open(model: "ir.Model", shapes: Mapping[str, InputShape]) -> tuple["ir.Model", dict[str, int]]:
    """As `simplify`, for any length of the open axes; the model has the lengths to begin with, its contract says more.

    Raises BadModel naming every operator that depends on an open length in another way than a Reshape can say.
    """
    import onnx_ir as ir

    proto = ir.to_proto(model)
    first, second = ir.from_proto(proto), ir.from_proto(proto)
    set_lengths(first, lengths_at(shapes, second=False))
    set_lengths(second, lengths_at(shapes, second=True))
    require_bounds_within(first, second)
    try:
        (first, counts), (second, _) = simplify(first), simplify(second)
    except BadModel as error:
        tried = ", ".join(f"{trial.first} and {trial.second}" for trial in trials_of(shapes).values())
        raise BadModel(
            f"{error}\nwith open lengths ({tried} were tried); {ADVICE}, or choices x=1,3,64,64|1,3,128,128"
        ) from error
    _merge(first, second)
    varying = {str(a.name): _differing(a, b) for a, b in zip(first.graph.outputs, second.graph.outputs, strict=True)}
    set_lengths(first, {name: shape.lengths for name, shape in shapes.items()})
    infer_shapes(first)
    require_static(first)
    first.metadata_props.pop(CONTRACT_KEY, None)
    first.metadata_props[CONTRACT_KEY] = _opened(contract_of(first), shapes, varying).to_json()
    return first, counts


def at_trial_lengths(model: "ir.Model", contract: Contract) -> "tuple[tuple[ir.Model, ...], tuple[Trial, ...]]":
    """Two copies of a model, with open axes that are longer than those to begin with, and how long they are; itself
    where none is open."""
    import onnx_ir as ir

    if not any(info.open_axes for info in contract.inputs):
        return (model,), ()
    proto, shapes = ir.to_proto(model), _open_shapes(contract)
    copies = ir.from_proto(proto), ir.from_proto(proto)
    for copy, second in zip(copies, (False, True), strict=True):
        set_lengths(copy, lengths_at(shapes, second))
        infer_shapes(copy)
    return copies, tuple(trials_of(shapes).values())


def _open_shapes(contract: Contract) -> dict[str, InputShape]:
    return {
        info.name: InputShape(tuple(int(n or 1) for n in info.shape), info.open_axes, info.ranges, info.choices)
        for info in contract.inputs
        if info.open_axes
    }


def _opened(contract: Contract, shapes: Mapping[str, InputShape], outputs: Mapping[str, tuple[int, ...]]) -> Contract:
    def opened(info: TensorInfo) -> TensorInfo:
        shape = shapes.get(info.name, InputShape(()))
        return replace(info, open_axes=shape.open_axes, ranges=shape.ranges, choices=shape.choices)

    return Contract(
        tuple(map(opened, contract.inputs)),
        tuple(replace(info, open_axes=outputs.get(info.name, ())) for info in contract.outputs),
    )


def _differing(first: "ir.Value", second: "ir.Value") -> tuple[int, ...]:
    pairs = zip(first.shape or (), second.shape or (), strict=True)
    return tuple(axis for axis, (a, b) in enumerate(pairs) if a != b)


def _merge(first: "ir.Model", second: "ir.Model") -> None:
    """Write `first` for any length, in place. Raises BadModel where it cannot be."""
    ours, theirs = list(first.graph), list(second.graph)
    if [node.op_type for node in ours] != [node.op_type for node in theirs]:
        odd = next((a for a, b in zip(ours, theirs, strict=False) if a.op_type != b.op_type), ours[-1])
        raise BadModel(f"with another length {odd.name} ({odd.op_type}) is another operator; {ADVICE}")
    rows = [problem for a, b in zip(ours, theirs, strict=True) for problem in _adapt(a, b)]
    if rows:
        raise BadModel(
            f"what depends on an open length can be written only where a Reshape does; {ADVICE}:\n" + "\n".join(rows)
        )


def _adapt(ours: "ir.Node", theirs: "ir.Node") -> list[str]:
    """Make the constants of a node serve for both lengths; what cannot."""
    import onnx_ir as ir

    problems: list[str] = []
    if not _alike(ours, theirs):
        problems.append(f"  {ours.name} ({ours.op_type}): its attributes or inner graphs")
    if any(_loses_elements(node) for node in (ours, theirs)):
        problems.append(f"  {ours.name} ({ours.op_type}): its constant shape has one length inside")
    for index, value in enumerate(ours.inputs):
        a, b = constant(ours, index), constant(theirs, index)
        if a is None or b is None or np.array_equal(a, b):
            continue
        if ours.op_type in INITIAL_STATES and index in INITIAL_STATES[ours.op_type] and not a.any() and not b.any():
            ours.replace_input_with(index, None)  # zeros are what there is without
            continue
        free = _for_any(ours, index, a, b)
        if free is None or value is None or ours.graph is None:
            problems.append(f"  {ours.name} ({ours.op_type}): its constant {value.name if value else ''}")
            continue
        name = f"{ours.outputs[0].name}/any_length"
        made = ir.val(name, const_value=ir.tensor(free, name=name))
        ours.graph.register_initializer(made)
        ours.replace_input_with(index, made)
    return problems


def _for_any(node: "ir.Node", index: int, a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any] | None:
    """The constant operand of a node that serves for both lengths; None where there is none."""
    if a.shape != b.shape or a.dtype != np.int64 or index == 0:
        return None
    varies = a != b
    if node.op_type == "Reshape" and varies.sum() == 1 and not (a == 0).any():
        return np.where(varies, -1, a)
    if node.op_type == "Slice" and index == 2:  # to the end, wherever it is
        return np.where(varies, np.iinfo(np.int64).max, a) if _ends_at_border(node, a, varies) else None
    if node.op_type == "Expand" and node.inputs[0] is not None and node.inputs[0].shape is not None:
        held = (1,) * (len(a) - len(node.inputs[0].shape)) + tuple(node.inputs[0].shape)
        kept = all(length == wanted for length, wanted, moves in zip(held, a, varies, strict=True) if moves)
        return np.where(varies, 1, a) if kept else None
    return None


def _loses_elements(node: "ir.Node") -> bool:
    """A Reshape to a shape that was recorded at another length; inference does not mind."""
    sizes = [prod(shape_of(value) or ()) for value in (node.inputs[0], node.outputs[0])]
    return node.op_type == "Reshape" and sizes[0] != sizes[1]


def _ends_at_border(node: "ir.Node", ends: NDArray[Any], varies: NDArray[Any]) -> bool:
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    axes, steps = (constant(node, i) if len(node.inputs) > i else None for i in (3, 4))
    if shape is None or (steps is not None and (steps < 0).any()):
        return False
    where = range(len(ends)) if axes is None else axes
    return all(shape[int(axis)] == end for axis, end, moves in zip(where, ends, varies, strict=True) if moves)


def _alike(ours: "ir.Node", theirs: "ir.Node") -> bool:
    """Whether attributes are the same; inner graphs never are."""
    pairs = [(attribute.value, theirs.attributes.get(name)) for name, attribute in ours.attributes.items()]
    return len(pairs) == len(theirs.attributes) and all(b is not None and a == b.value for a, b in pairs)
