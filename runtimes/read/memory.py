"""How much memory the values of one inference need: a modelled figure, from lifetimes alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from edgewright.runtimes.read.model import Model

ALIGNMENT_BYTES = 16


@dataclass(frozen=True)
class Use:
    """What one operator reads and makes, and the bytes that it holds only while it runs."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    scratch_bytes: int = 0


def activation_peak_bytes(model: Model, *, ends_stay: bool = True) -> int:
    """The most bytes that are alive at once, operators in the file's order: a modelled figure, below a real arena.

    An inner tensor lives from its producer to its last reader, nothing in place, each rounded up to 16 bytes. With
    `ends_stay` inputs and outputs live the whole time, as in LiteRT; without, an input lives to its last reader and an
    output from its producer, as in tflite-micro. Left out: the runtime's structures, scratch buffers, gaps, variables.
    """
    sizes = {name: _aligned_bytes(model, name) for name in model.tensors}
    uses = [Use(op.inputs, op.outputs) for op in model.ops]
    return peak_bytes(uses, sizes, model.inputs, model.outputs, ends_stay=ends_stay)


def peak_bytes(
    uses: Sequence[Use],
    sizes: Mapping[str, int],
    inputs: Collection[str],
    outputs: Collection[str],
    *,
    ends_stay: bool = True,
) -> int:
    """The peak over `uses` in order; a name without a size is held elsewhere and takes nothing."""
    last_use = {name: step for step, use in enumerate(uses) for name in use.inputs}
    last_use |= dict.fromkeys(outputs, len(uses))
    if ends_stay:
        last_use |= dict.fromkeys(inputs, len(uses))
    held = set(inputs) | (set(outputs) if ends_stay else set())
    peak = 0
    for step, use in enumerate(uses):
        held.update(use.outputs)
        alive = sum(sizes.get(name, 0) for name in held.union(use.inputs))
        peak = max(peak, alive + use.scratch_bytes)
        held = {name for name in held if last_use.get(name, -1) > step}
    return peak


def _aligned_bytes(model: Model, name: str) -> int:
    tensor = model.tensors[name]
    return 0 if tensor.constant else -(-tensor.bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
