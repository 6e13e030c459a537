"""Multiply-accumulates of one operation of an ML program, one pass through it."""

from edgewright.runtimes.dtypes import elements
from edgewright.runtimes.read.mil_blocks import Operation, Program
from edgewright.runtimes.read.model import macs_per_weight, matmul_macs

RECURRENT = ("gru", "lstm", "rnn")


def operation_macs(operation: Operation, program: Program) -> int:
    """Of convolutions, matrix products, attention and recurrent layers; 0 for all else, nested blocks not included."""

    def shape(parameter: str) -> tuple[int | None, ...]:
        return program.values[operation.inputs[parameter][0]].shape

    output = operation.outputs[0].shape if operation.outputs else ()
    if operation.type in ("conv", "linear"):
        return macs_per_weight(elements(output), shape("weight"), 0)
    if operation.type == "conv_transpose":
        return macs_per_weight(elements(shape("x")), shape("weight"), 0)
    if operation.type == "matmul":
        return matmul_macs(shape("x"), output)
    if operation.type == "scaled_dot_product_attention":
        return elements(shape("query")) * (shape("key")[-2] or 1) + elements(output) * (shape("key")[-2] or 1)
    if operation.type in RECURRENT:
        steps_and_batch = elements(shape("x")[:2])
        weights = [key for key in operation.inputs if key.startswith("weight_") and operation.inputs[key]]
        return steps_and_batch * sum(elements(shape(key)) for key in weights)
    return 0
