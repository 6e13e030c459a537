"""How much memory the values of one inference need: a modelled figure, from lifetimes alone."""

from edgewright.runtimes.read.model import Model

ALIGNMENT_BYTES = 16


def activation_peak_bytes(model: Model) -> int:
    """The most bytes that are alive at once, operators in the file's order: modelled, a lower bound of an arena.

    Inputs and outputs live the whole time, an inner tensor from its producer to its last reader, nothing in place, each
    rounded up to 16 bytes. Left out: what a runtime adds (its own structures, scratch buffers, gaps between tensors,
    variables). tflite-micro frees inputs early, so where the input dominates it may need less.
    """
    last_use = {name: step for step, op in enumerate(model.ops) for name in op.inputs}
    ends = {*model.inputs, *model.outputs}
    lasting = sum(_aligned(model, name) for name in ends)
    alive = peak = lasting
    for step, op in enumerate(model.ops):
        born = [name for name in dict.fromkeys(op.outputs) if name not in ends]
        alive += sum(_aligned(model, name) for name in born)
        peak = max(peak, alive)
        unread = [name for name in born if name not in last_use]
        read = [name for name in dict.fromkeys(op.inputs) if last_use[name] == step and name not in ends]
        alive -= sum(_aligned(model, name) for name in (*unread, *read))
    return peak


def _aligned(model: Model, name: str) -> int:
    tensor = model.tensors[name]
    return 0 if tensor.constant else -(-tensor.bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
