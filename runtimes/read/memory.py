"""How much memory the values of one inference need: a modelled figure, from lifetimes alone."""

from edgewright.runtimes.read.model import Model

ALIGNMENT_BYTES = 16


def activation_peak_bytes(model: Model, *, ends_stay: bool = True) -> int:
    """The most bytes that are alive at once, operators in the file's order: a modelled figure, below a real arena.

    An inner tensor lives from its producer to its last reader, nothing in place, each rounded up to 16 bytes. With
    `ends_stay` inputs and outputs live the whole time, as in LiteRT; without, an input lives to its last reader and an
    output from its producer, as in tflite-micro. Left out: the runtime's structures, scratch buffers, gaps, variables.
    """
    last_use = {name: step for step, op in enumerate(model.ops) for name in op.inputs}
    last_use |= dict.fromkeys(model.outputs, len(model.ops))
    if ends_stay:
        last_use |= dict.fromkeys(model.inputs, len(model.ops))
    held = set(model.inputs) | (set(model.outputs) if ends_stay else set())
    peak = 0
    for step, op in enumerate(model.ops):
        held.update(op.outputs)
        peak = max(peak, sum(_aligned_bytes(model, name) for name in held.union(op.inputs)))
        held = {name for name in held if last_use.get(name, -1) > step}
    return peak


def _aligned_bytes(model: Model, name: str) -> int:
    tensor = model.tensors[name]
    return 0 if tensor.constant else -(-tensor.bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
