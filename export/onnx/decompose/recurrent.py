"""LSTM, GRU and RNN as one matrix product over all steps, and a Scan whose body multiplies the state alone.

Equations as in the operators of ONNX; gates keep their order, so that weights stay as they are stored.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.decompose import EXPANSIONS, Op
from edgewright.export.onnx.recurrence import Cell, Recurrence, Weights

if TYPE_CHECKING:
    import onnx_ir as ir

    Values = Sequence[ir.Value]

ALPHA = {"LeakyRelu": 0.01, "ThresholdedRelu": 1.0, "HardSigmoid": 0.2, "Elu": 1.0, "Affine": 1.0, "ScaledTanh": 1.0}
BETA = {"HardSigmoid": 0.5, "Affine": 0.0, "ScaledTanh": 1.0}
"""Activations that take parameters, with their defaults."""


class Activations:
    """The activations of one direction, the first for gates, applied to what `clip` bounds."""

    def __init__(self, given: Sequence[tuple[str, float | None, float | None]], clip: float | None) -> None:
        self._given, self._clip = given, clip

    def __call__(self, op: Op, number: int, x: "ir.Value", *, clipped: bool = True) -> "ir.Value":
        name, alpha, beta = self._given[number]
        if self._clip is not None and clipped:
            x = op("Clip", x, _float(op, -self._clip), _float(op, self._clip))
        made: ir.Value
        if name == "Affine":
            made = op("Add", op("Mul", x, _float(op, alpha or 0.0)), _float(op, beta or 0.0))
        elif name == "ScaledTanh":
            made = op("Mul", op("Tanh", op("Mul", x, _float(op, beta or 0.0))), _float(op, alpha or 0.0))
        else:
            made = op(name, x, alpha=alpha, beta=beta)
        return made


def _float(op: Op, number: float) -> "ir.Value":
    return op.constant(np.array(number, np.float32))


def _activations(
    names: Sequence[str],
    per_direction: int,
    alphas: Sequence[float] | None,
    betas: Sequence[float] | None,
    clip: float | None,
) -> Iterator[Activations]:
    """One for each direction. Parameters are given in order, to the activations that take them."""
    alpha, beta = iter(alphas or ()), iter(betas or ())
    given = []
    known = {name.lower(): name for name in (*ALPHA, "Relu", "Tanh", "Sigmoid", "Softsign", "Softplus")}
    for name in (known.get(name.lower(), name) for name in names):
        first = next(alpha, ALPHA[name]) if name in ALPHA else None
        second = next(beta, BETA[name]) if name in BETA else None
        given.append((name, first, second))
    for start in range(0, len(given), per_direction):
        yield Activations(given[start : start + per_direction], clip)


@EXPANSIONS.lower("RNN")
def rnn(
    op: Op,
    x: "ir.Value",
    w: "ir.Value",  # noqa: ARG001
    r: "ir.Value",
    b: "ir.Value | None" = None,  # noqa: ARG001
    sequence_lens: "ir.Value | None" = None,
    initial_h: "ir.Value | None" = None,
    *,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    activations: Sequence[str] = ("Tanh", "Tanh"),
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,  # noqa: ARG001
    layout: int = 0,
) -> "list[ir.Value | None] | None":
    functions = _activations(activations, 1, activation_alpha, activation_beta, clip)

    def cell_of(weights: Weights) -> Cell:
        act = next(functions)

        def cell(op: Op, row: "ir.Value", states: "Values") -> "list[ir.Value]":
            return [act(op, 0, op("Add", row, weights.times_state(op, states[0])))]

        return cell

    return Recurrence(op, x, r, sequence_lens, (initial_h,), direction, bool(layout)).expand(cell_of)


@EXPANSIONS.lower("GRU")
def gru(
    op: Op,
    x: "ir.Value",
    w: "ir.Value",  # noqa: ARG001
    r: "ir.Value",
    b: "ir.Value | None" = None,  # noqa: ARG001
    sequence_lens: "ir.Value | None" = None,
    initial_h: "ir.Value | None" = None,
    *,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,  # noqa: ARG001
    layout: int = 0,
    linear_before_reset: int = 0,
) -> "list[ir.Value | None] | None":
    names = activations or ("Sigmoid", "Tanh") * 2
    functions = _activations(names, 2, activation_alpha, activation_beta, clip)

    def cell_of(weights: Weights) -> Cell:
        act, hidden = next(functions), weights.hidden

        def cell(op: Op, row: "ir.Value", states: "Values") -> "list[ir.Value]":
            (h,) = states
            update_x, reset_x, new_x = op("Split", row, outputs=3, axis=1, num_outputs=3)
            if linear_before_reset:
                product = weights.times_state(op, h, biased=True)
                update_h, reset_h, new_h = op("Split", product, outputs=3, axis=1, num_outputs=3)
            else:
                product = weights.times_state(op, h, 0, 2 * hidden)
                update_h, reset_h = op("Split", product, outputs=2, axis=1, num_outputs=2)
            update, reset = act(op, 0, op("Add", update_x, update_h)), act(op, 0, op("Add", reset_x, reset_h))
            if linear_before_reset:
                new_h = op("Mul", reset, new_h)
            else:
                new_h = weights.times_state(op, op("Mul", reset, h), 2 * hidden, 3 * hidden)
            new = act(op, 1, op("Add", new_x, new_h))
            return [op("Add", new, op("Mul", update, op("Sub", h, new)))]  # (1 - z) · new + z · h

        return cell

    recurrence = Recurrence(op, x, r, sequence_lens, (initial_h,), direction, bool(layout))
    return recurrence.expand(cell_of, summed_bias=2 / 3 if linear_before_reset else 1.0)


@EXPANSIONS.lower("LSTM")
def lstm(
    op: Op,
    x: "ir.Value",
    w: "ir.Value",  # noqa: ARG001
    r: "ir.Value",
    b: "ir.Value | None" = None,  # noqa: ARG001
    sequence_lens: "ir.Value | None" = None,
    initial_h: "ir.Value | None" = None,
    initial_c: "ir.Value | None" = None,
    p: "ir.Value | None" = None,
    *,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,  # noqa: ARG001
    input_forget: int = 0,
    layout: int = 0,
) -> "list[ir.Value | None] | None":
    names = activations or ("Sigmoid", "Tanh", "Tanh") * 2
    functions = _activations(names, 3, activation_alpha, activation_beta, clip)

    def cell_of(weights: Weights) -> Cell:
        act = next(functions)

        def cell(op: Op, row: "ir.Value", states: "Values") -> "list[ir.Value]":
            h, c = states
            gates = op("Add", row, weights.times_state(op, h))
            i, o, f, new = op("Split", gates, outputs=4, axis=1, num_outputs=4)
            if p is not None:
                at_i, at_o, at_f = weights.peepholes()
                i, f = op("Add", i, op("Mul", at_i, c)), op("Add", f, op("Mul", at_f, c))
            i = act(op, 0, i)
            f = op("Sub", _float(op, 1), i) if input_forget else act(op, 0, f)
            c = op("Add", op("Mul", f, c), op("Mul", i, act(op, 1, new)))
            if p is not None:
                o = op("Add", o, op("Mul", at_o, c))
            return [op("Mul", act(op, 0, o), act(op, 2, c, clipped=False)), c]

        return cell

    states = (initial_h, initial_c)
    return Recurrence(op, x, r, sequence_lens, states, direction, bool(layout)).expand(cell_of)
