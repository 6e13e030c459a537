"""What an ML program asks of memory, from its declared types alone: modelled figures, nothing is run."""

from dataclasses import dataclass
from pathlib import Path

from edgewright.runtimes.dtypes import bits, elements
from edgewright.runtimes.read.memory import ALIGNMENT_BYTES, Use, peak_bytes
from edgewright.runtimes.read.mil_blocks import Block, Program, Value, read_program, used

ROW_BYTES = 64
"""The Neural Engine keeps the last axis of a buffer contiguous and aligned to this (Apple, "Deploying Transformers on
the Apple Neural Engine"); a last axis of one float16 takes 32 times its bytes."""


@dataclass(frozen=True)
class ProgramMemory:
    """`weights_stored_bytes` as the package holds them, `weights_unpacked_bytes` as the program declares them once
    decoded (a runtime that streams compressed weights needs less). `activations_bytes` is the peak of values alive
    at once, `aligned_activations_bytes` the same with rows as the Neural Engine keeps them. States are held throughout.
    """

    weights_stored_bytes: int
    weights_unpacked_bytes: int
    activations_bytes: int
    aligned_activations_bytes: int
    states_bytes: int

    @property
    def unpacked_bytes(self) -> int:
        """All of it with every weight decoded."""
        return self.weights_unpacked_bytes + self.activations_bytes + self.states_bytes


def program_memory(package: Path) -> ProgramMemory:
    """Raises BadModel on a damaged package, MissingExtra without coremltools."""
    return memory_of(read_program(package))


def memory_of(program: Program) -> ProgramMemory:
    read = used(program.block.operations) | set(program.block.outputs)
    weights = {name: constant for name, constant in program.constants.items() if name in read}
    weights = {name: constant for name, constant in weights.items() if not _is_parameter(program.values[name])}
    return ProgramMemory(
        weights_stored_bytes=sum(constant.stored_bytes for constant in weights.values()),
        weights_unpacked_bytes=sum(program.values[name].bytes for name in weights),
        activations_bytes=_peak(program, program.block, ALIGNMENT_BYTES, program.inputs),
        aligned_activations_bytes=_peak(program, program.block, ROW_BYTES, program.inputs),
        states_bytes=sum(value.bytes for value in program.states),
    )


def _peak(program: Program, block: Block, row_bytes: int, inputs: tuple[Value, ...]) -> int:
    """Of one block; what a nested block holds comes on top of what is alive around it."""
    uses = [
        Use(
            tuple(operation.reads) + tuple(used(inner for nested in operation.blocks for inner in nested.operations)),
            tuple(value.name for value in operation.outputs),
            max((_peak(program, nested, row_bytes, nested.inputs) for nested in operation.blocks), default=0),
        )
        for operation in block.operations
    ]
    own = {value.name for value in inputs} | {value.name for each in block.operations for value in each.outputs}
    sizes = {name: _held_bytes(program.values[name], row_bytes) for name in own}
    return peak_bytes(uses, sizes, [value.name for value in inputs], block.outputs)


def _held_bytes(value: Value, row_bytes: int) -> int:
    if row_bytes == ALIGNMENT_BYTES or not value.shape:
        return -(-value.bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    row = -(-(value.shape[-1] or 1) * bits(value.dtype) // 8)
    return elements(value.shape[:-1]) * -(-row // row_bytes) * row_bytes


def _is_parameter(value: Value) -> bool:
    """Strides, axes and the like: no weights."""
    return not value.shape or value.dtype in ("int32", "bool", "")
