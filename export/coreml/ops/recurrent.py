"""LSTM and RNN where MIL's own compute what ONNX says; all other cases, and GRU, run as a loop.

MIL's gru puts the reset gate where its documentation does not tell until iOS18, and in which order a `reverse` layer
gives its steps is not told either: neither is used.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.windows import Ints
from edgewright.export.onnx.graph import constant

if TYPE_CHECKING:
    import onnx_ir as ir

PLAIN = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
DIRECTIONS = {"LSTM": ("forward", "bidirectional"), "RNN": ("forward",)}
GATES = (0, 2, 1, 3)
"""ONNX's order is input, output, forget, cell; MIL's input, forget, output, cell."""


def _plain(node: "ir.Node") -> bool:
    given, plain = node.attributes, PLAIN[node.op_type]
    activations = tuple(given.get_strings("activations", ()) or ())
    usual = activations in ((), plain, plain * 2) and not given.get_ints("activation_alpha", ())
    whole = "clip" not in given and not given.get_int("layout", 0) and not given.get_int("input_forget", 0)
    extra = [value for index, value in enumerate(node.inputs) if index in (4, 7) and value is not None]
    fixed = all(constant(node, index) is not None for index in (1, 2))
    biased = len(node.inputs) < 4 or node.inputs[3] is None or constant(node, 3) is not None
    known = given.get_string("direction", "forward") in DIRECTIONS[node.op_type]
    return usual and whole and not extra and fixed and biased and known


@COREML.lower("LSTM", layout="nchw", fits=_plain)
def lstm(
    b: MilBuilder,
    x: Value,
    w: Value,
    r: Value,
    bias: Value = None,
    sequence_lens: Value = None,  # noqa: ARG001 (the parameters without use are those that `_plain` excludes)
    initial_h: Value = None,
    initial_c: Value = None,
    p: Value = None,  # noqa: ARG001
    *,
    activation_alpha: Ints = None,  # noqa: ARG001
    activation_beta: Ints = None,  # noqa: ARG001
    activations: Ints = None,  # noqa: ARG001
    clip: float | None = None,  # noqa: ARG001
    direction: str = "forward",
    hidden_size: int | None = None,  # noqa: ARG001
    input_forget: int = 0,  # noqa: ARG001
    layout: int = 0,  # noqa: ARG001
) -> tuple[Value, ...]:
    directions, hidden = r.shape[0], r.shape[2]
    more = {}
    for number, ending in zip(range(directions), ("", "_back")):
        more[f"weight_ih{ending}"] = ordered(w[number], hidden)
        more[f"weight_hh{ending}"] = ordered(r[number], hidden)
        if bias is not None:
            more[f"bias{ending}"] = ordered(summed(bias[number]), hidden)
    y, h, c = b.mb.lstm(
        x=x,
        initial_h=beside(b, initial_h, x, directions, hidden),
        initial_c=beside(b, initial_c, x, directions, hidden),
        direction=direction,
        output_sequence=True,
        recurrent_activation="sigmoid",
        cell_activation="tanh",
        activation="tanh",
        **more,
    )
    return apart(b, y, directions), stacked(b, h, directions), stacked(b, c, directions)


@COREML.lower("RNN", layout="nchw", fits=_plain)
def rnn(
    b: MilBuilder,
    x: Value,
    w: Value,
    r: Value,
    bias: Value = None,
    sequence_lens: Value = None,  # noqa: ARG001
    initial_h: Value = None,
    *,
    activation_alpha: Ints = None,  # noqa: ARG001
    activation_beta: Ints = None,  # noqa: ARG001
    activations: tuple[str, ...] = ("Tanh", "Tanh"),  # noqa: ARG001
    clip: float | None = None,  # noqa: ARG001
    direction: str = "forward",
    hidden_size: int | None = None,  # noqa: ARG001
    layout: int = 0,  # noqa: ARG001
) -> tuple[Value, ...]:
    biased = {} if bias is None else {"bias": summed(bias[0])}
    y, h = b.mb.rnn(
        x=x,
        initial_h=beside(b, initial_h, x, 1, r.shape[2]),
        weight_ih=w[0],
        weight_hh=r[0],
        direction=direction,
        output_sequence=True,
        activation="tanh",
        **biased,
    )
    return apart(b, y, 1), stacked(b, h, 1)


def ordered(rows: NDArray[np.floating[Any]], hidden: int) -> NDArray[np.floating[Any]]:
    """Blocks of rows in MIL's order of gates."""
    return np.concatenate([rows[gate * hidden : (gate + 1) * hidden] for gate in GATES])


def summed(bias: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The biases of input and state, which meet the same sum."""
    half = len(bias) // 2
    return np.asarray(bias[:half] + bias[half:])


def beside(b: MilBuilder, state: Value, x: Value, directions: int, hidden: int) -> Value:
    """[directions, batch, hidden] → [batch, directions · hidden]; zeros where there is none."""
    batch = x.shape[1]
    if state is None:
        return np.zeros((batch, directions * hidden), b.dtype)
    if isinstance(state, np.ndarray):
        return np.ascontiguousarray(state.transpose(1, 0, 2)).reshape(batch, -1)
    turned = b.mb.transpose(x=state, perm=[1, 0, 2])
    return b.mb.reshape(x=turned, shape=[batch, directions * hidden])


def apart(b: MilBuilder, y: Value, directions: int) -> Value:
    """[steps, batch, directions · hidden] → [steps, directions, batch, hidden]."""
    steps, batch, width = y.shape
    if directions == 1:
        return b.mb.expand_dims(x=y, axes=[1])
    split = b.mb.reshape(x=y, shape=[steps, batch, directions, width // directions])
    return b.mb.transpose(x=split, perm=[0, 2, 1, 3])


def stacked(b: MilBuilder, state: Value, directions: int) -> Value:
    """[batch, directions · hidden] → [directions, batch, hidden]."""
    batch, width = state.shape
    if directions == 1:
        return b.mb.expand_dims(x=state, axes=[0])
    split = b.mb.reshape(x=state, shape=[batch, directions, width // directions])
    return b.mb.transpose(x=split, perm=[1, 0, 2])
