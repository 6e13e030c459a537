"""Recurrent layers over [time, batch, features]. Only results are float16 where declared so, not what is inside.

A reversed layer gives its steps in the order in which it took them, the last one of the sequence first; only in a
bidirectional LSTM they stand at their own time.
"""

from collections.abc import Callable
from typing import Any

import torch

from edgewright.runtimes.mil.operators import OPERATION

Tensor = torch.Tensor
Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "linear": lambda x: x,
    "scaled_tanh": torch.tanh,  # both of its scales are 1 here
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
}
Step = Callable[..., tuple[Tensor, ...]]


@OPERATION("rnn")
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Any = False,
    activation: str = "tanh",
) -> tuple[Tensor, ...]:
    outer = ACTIVATIONS[activation.lower()]
    into = _projected(x, weight_ih, bias)

    def step(now: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        return (outer(now + h @ weight_hh.T),)

    return _run(into, (initial_h,), step, direction, bool(output_sequence))


@OPERATION("gru")
def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Any = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: Any = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gates in the order reset, output, update."""
    gate, outer = ACTIVATIONS[recurrent_activation.lower()], ACTIVATIONS[activation.lower()]
    into = _projected(x, weight_ih, input_bias)
    reset_w, out_w, update_w = weight_hh.chunk(3)
    biases = bias if bias is not None else x.new_zeros(weight_hh.shape[0])
    reset_b, out_b, update_b = biases.chunk(3)

    def step(now: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        reset_x, out_x, update_x = now.chunk(3, 1)
        reset = gate(reset_x + h @ reset_w.T + reset_b)
        update = gate(update_x + h @ update_w.T + update_b)
        seen = reset * (h @ out_w.T + out_b) if reset_after else (reset * h) @ out_w.T + out_b
        out = outer(out_x + seen)
        return ((1 - update) * out + update * h,)

    return _run(into, (initial_h,), step, direction, bool(output_sequence))


@OPERATION("lstm")
def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Any = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: Any = None,
) -> tuple[Tensor, ...]:
    """Gates in the order input, forget, output, cell."""
    functions = [ACTIVATIONS[name.lower()] for name in (recurrent_activation, cell_activation, activation)]
    limit = float(clip) if clip is not None else None
    whole = bool(output_sequence)
    forward = _lstm_step(weight_hh, peephole, functions, limit)
    if direction != "bidirectional":
        return _run(_projected(x, weight_ih, bias), (initial_h, initial_c), forward, direction, whole)
    assert weight_ih_back is not None and weight_hh_back is not None
    backward = _lstm_step(weight_hh_back, peephole_back, functions, limit)
    (h0, h1), (c0, c1) = initial_h.chunk(2, 1), initial_c.chunk(2, 1)
    one = _run(_projected(x, weight_ih, bias), (h0, c0), forward, "forward", whole)
    two = _run(_projected(x, weight_ih_back, bias_back), (h1, c1), backward, "reverse", whole)
    return tuple(torch.cat(pair, -1) for pair in zip(one, (two[0].flip(0), *two[1:]), strict=True))


def _lstm_step(
    weight: Tensor, peephole: Tensor | None, functions: list[Callable[[Tensor], Tensor]], limit: float | None
) -> Step:
    gate, inner, outer = functions
    peep_i, peep_f, peep_o = peephole.chunk(3) if peephole is not None else (weight.new_zeros(()),) * 3

    def step(now: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        i, f, o, z = (now + h @ weight.T).chunk(4, 1)
        c = gate(f + peep_f * c) * c + gate(i + peep_i * c) * inner(z)
        c = c if limit is None else c.clamp(-limit, limit)
        return gate(o + peep_o * c) * outer(c), c

    return step


def _projected(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found = x @ weight.T
    return found if bias is None else found + bias


def _run(into: Tensor, state: tuple[Tensor, ...], step: Step, direction: str, whole: bool) -> tuple[Tensor, ...]:
    """(h of every step, or of the last alone; the last state)"""
    seen = []
    for now in into if direction == "forward" else into.flip(0):
        state = step(now, *state)
        seen.append(state[0])
    return torch.stack(seen if whole else seen[-1:]), *state
