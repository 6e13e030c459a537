"""Einsum: any equation as reductions, transposes and matrix products, two operands at a time."""

import string
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.graph import shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Term:
    """An operand; each of its axes has a letter of its own."""

    value: "ir.Value"
    letters: str


@EXPANSIONS.lower("Einsum")
def einsum(op: Op, *inputs: "ir.Value", equation: str) -> "ir.Value | None":
    shapes = [shape_of(value) for value in inputs]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(inputs):
        return None
    operands, output = _letters(equation, [len(shape) for shape in known])
    lengths = _lengths(operands, known)
    full = [tuple(lengths[name] for name in names) for names in operands]
    repeated = [v if a == b else op("Expand", v, op.integers(*b)) for v, a, b in zip(inputs, known, full)]
    terms = [_diagonal(op, value, names, lengths) for value, names in zip(repeated, operands)]
    for joined in _order(operands, output, full):
        chosen = [terms.pop(index) for index in sorted(joined, reverse=True)][::-1]
        while len(chosen) > 1:
            first, second, *chosen = chosen
            kept = output + "".join(term.letters for term in (*terms, *chosen))
            chosen.insert(0, _multiply(op, first, second, kept, lengths))
        terms += chosen
    return _arranged(op, _sum_out(op, terms[0], output), output)


def _letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Each operand's axes and the output's, the dots replaced by letters that the equation does not use."""
    text = equation.replace(" ", "")
    left, arrow, output = text.partition("->")
    parts = left.split(",")
    free = [letter for letter in string.ascii_letters if letter not in text]
    widths = [rank - len(part.replace("...", "")) if "..." in part else 0 for part, rank in zip(parts, ranks)]
    spare = "".join(free[: max(widths, default=0)])
    operands = [part.replace("...", spare[len(spare) - width :]) for part, width in zip(parts, widths)]
    if not arrow:
        once = sorted({c for c in left if c not in ",." and left.count(c) == 1})
        return operands, spare + "".join(once)
    return operands, output.replace("...", spare)


def _lengths(operands: list[str], shapes: list[tuple[int, ...]]) -> dict[str, int]:
    """By letter; an axis of length 1 repeats along the dots."""
    lengths: dict[str, int] = {}
    for names, shape in zip(operands, shapes):
        for name, length in zip(names, shape):
            lengths[name] = length if lengths.get(name, 1) == 1 else lengths[name]
    return lengths


def _order(operands: list[str], output: str, shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Which terms are joined next, as positions among those left; found by numpy."""
    if len(operands) < 3:
        return [tuple(range(len(operands)))]
    arrays = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    return list(np.einsum_path(f"{','.join(operands)}->{output}", *arrays, optimize="greedy")[0][1:])


def _diagonal(op: Op, value: "ir.Value", names: str, lengths: dict[str, int]) -> Term:
    """ii → i: all off the diagonal is replaced by 0, then summed out."""
    for name in sorted(set(names)):
        while names.count(name) > 1:
            first, second = [n for n, other in enumerate(names) if other == name][:2]
            shape = [1] * len(names)
            shape[first] = shape[second] = lengths[name]
            mask = op.constant(np.eye(lengths[name], dtype=bool).reshape(shape))
            kept = op("Where", mask, value, op.like(0, op.node.inputs[0]))  # type: ignore[arg-type]
            value = op("ReduceSum", kept, op.integers(second), keepdims=0)
            names = names[:second] + names[second + 1 :]
    return Term(value, names)


def _sum_out(op: Op, term: Term, kept: str) -> Term:
    axes = [axis for axis, name in enumerate(term.letters) if name not in kept]
    if not axes:
        return term
    value = op("ReduceSum", term.value, op.integers(*axes), keepdims=0)
    return Term(value, "".join(name for name in term.letters if name in kept))


def _multiply(op: Op, a: Term, b: Term, kept: str, lengths: dict[str, int]) -> Term:
    """As one MatMul [batch, rows, shared] · [batch, shared, columns]; elementwise where nothing is summed."""
    a, b = _sum_out(op, a, kept + b.letters), _sum_out(op, b, kept + a.letters)
    batch = "".join(name for name in a.letters if name in b.letters and name in kept)
    shared = "".join(name for name in a.letters if name in b.letters and name not in kept)
    rows = "".join(name for name in a.letters if name not in b.letters)
    columns = "".join(name for name in b.letters if name not in a.letters)
    names = batch + rows + columns
    if not shared:
        wide = {name: position for position, name in enumerate(names)}
        return Term(op("Mul", _spread(op, a, wide), _spread(op, b, wide)), names)
    left = _block(op, a, (batch, rows, shared), lengths)
    right = _block(op, b, (batch, shared, columns), lengths)
    return Term(op.reshape(op("MatMul", left, right), [lengths[name] for name in names]), names)


def _spread(op: Op, term: Term, places: dict[str, int]) -> "ir.Value":
    """The term's axes in the order of `places`, with axes of length 1 where it has none."""
    value = _arranged(op, term, "".join(sorted(term.letters, key=lambda name: places[name])))
    missing = [position for name, position in places.items() if name not in term.letters]
    return op("Unsqueeze", value, op.integers(*missing)) if missing else value


def _block(op: Op, term: Term, groups: tuple[str, str, str], lengths: dict[str, int]) -> "ir.Value":
    """Its axes in three groups, each made one."""
    value = _arranged(op, term, "".join(groups))
    return op.reshape(value, [prod(lengths[name] for name in group) for group in groups])


def _arranged(op: Op, term: Term, names: str) -> "ir.Value":
    if term.letters == names:
        return term.value
    made: ir.Value = op("Transpose", term.value, perm=[term.letters.index(name) for name in names])
    return made
