"""Operators on the bits of whole numbers, in int32; bytes and 64-bit integers are cast to it before."""

import numpy as np

from edgewright.export.tflite.broadcast import emit_broadcast
from edgewright.export.tflite.node_builder import NodeBuilder
from edgewright.export.tflite.rules import TFLITE
from edgewright.export.tflite.tensor import Tensor
from edgewright.export.tflite.types import computes_in

PLAIN = {"fusedActivationFunction": "NONE"}
HALF_BITS = 16
HALF = 2.0**HALF_BITS

INT32 = computes_in("INT32")


@TFLITE.lower("BitwiseXor", fits=INT32)
def bitwise_xor(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    a, c = _checked(b, a, c)
    return emit_broadcast(b, "BITWISE_XOR", [a, c])


@TFLITE.lower("BitwiseNot", fits=INT32)
def bitwise_not(b: NodeBuilder, x: Tensor) -> Tensor:
    (x,) = _checked(b, x)
    return emit_broadcast(b, "BITWISE_XOR", [x, b.scalar(-1, x, "all_ones")])


@TFLITE.lower("BitwiseAnd", fits=INT32)
def bitwise_and(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    a, c = _checked(b, a, c)
    return _and(b, a, c, b.y)


@TFLITE.lower("BitwiseOr", fits=INT32)
def bitwise_or(b: NodeBuilder, a: Tensor, c: Tensor) -> Tensor:
    """a xor c xor (a and c)."""
    a, c = _checked(b, a, c)
    both = _and(b, a, c, b.temp("both", b.y))
    one = emit_broadcast(b, "BITWISE_XOR", [a, c], to=b.temp("one", b.y))
    return b.emit("BITWISE_XOR", [one, both])


def _and(b: NodeBuilder, a: Tensor, c: Tensor, to: Tensor) -> Tensor:
    """Of each half of the bits: (a + c - (a xor c)) / 2, which no half overflows."""
    high_a, low_a = _halves(b, a, "a")
    high_c, low_c = _halves(b, c, "c")
    high = _and_half(b, high_a, high_c, "high")
    low = _and_half(b, low_a, low_c, "low")
    raised = emit_broadcast(b, "MUL", [high, b.scalar(HALF, high, "half")], PLAIN, to=b.temp("raised", high))
    return b.emit("ADD", [raised, low], PLAIN, to=to)


def _halves(b: NodeBuilder, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The upper 16 bits, with the sign, and the lower ones."""
    high = emit_broadcast(b, "RIGHT_SHIFT", [x, b.scalar(HALF_BITS, x, "half_bits")], to=b.temp(f"{name}_high", x))
    raised = emit_broadcast(b, "MUL", [high, b.scalar(HALF, x, "half")], PLAIN, to=b.temp(f"{name}_raised", x))
    return high, b.emit("SUB", [x, raised], PLAIN, to=b.temp(f"{name}_low", x))


def _and_half(b: NodeBuilder, a: Tensor, c: Tensor, name: str) -> Tensor:
    either = emit_broadcast(b, "BITWISE_XOR", [a, c], to=b.temp(f"{name}_either", b.y))
    total = emit_broadcast(b, "ADD", [a, c], PLAIN, to=b.temp(f"{name}_sum", b.y))
    twice = b.emit("SUB", [total, either], PLAIN, to=b.temp(f"{name}_twice", b.y))
    return emit_broadcast(b, "RIGHT_SHIFT", [twice, b.scalar(1, twice, "one")], to=b.temp(f"{name}_and", b.y))


def _checked(b: NodeBuilder, *operands: Tensor) -> tuple[Tensor, ...]:
    if any(operand.dtype != np.int32 for operand in operands):
        b.refuse("bits of 64-bit integers beyond 32 bits")
    return operands
