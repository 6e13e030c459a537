"""onnx:int4-weights: weights in int4, a scale and a zero point for each block of what is summed over. No data."""

from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.passes.dead_code import remove_dead_code
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.onnx.passes.scaling import fold_scaling
from edgewright.export.onnx.quantize.blockwise import SHORTEST, block_of, store_blocks
from edgewright.export.onnx.quantize.weight_only import NEEDS, store_int8
from edgewright.export.onnx.quantize.weights import WeightOptions, rows, weights_of
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact

LOW, HIGH = -8, 7


@dataclass(frozen=True)
class BlockOptions(WeightOptions):
    """`block_size`: how many weights share a scale, at most; the longest block that divides the row is taken.

    `symmetric` leaves their zero points out: 3 % smaller, coarser. `across_kernel` gives all places of a kernel one
    scale.
    """

    block_size: int = 32
    symmetric: bool = False
    across_kernel: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.block_size, int) or self.block_size < SHORTEST:
            raise BadInput(f"block_size is {self.block_size!r}; it is a number of weights, at least {SHORTEST}")
        for name, given in (("symmetric", self.symmetric), ("across_kernel", self.across_kernel)):
            if not isinstance(given, bool):
                raise BadInput(f"{name} is {given!r}; it is true or false")


@step(source="onnx:float32", target="onnx:int4-weights", needs=NEEDS, cost=0.5, options=BlockOptions)
def int4_weights(source: Artifact, out: Path, job: Job, options: BlockOptions) -> Notes:  # noqa: ARG001
    """Where no block fits, and in recurrent layers, weights become int8; depthwise and small ones stay float."""
    import onnx_ir as ir

    model = load_onnx(source.path)
    contract = contract_of(model)
    fold_scaling(model)
    weights, floats = weights_of(model, options.smallest)
    blocks = {weight: block_of(weight, options.block_size) for weight in weights}
    if not any(blocks.values()):
        raise BadModel(f"int4-weights: no weight has blocks of {SHORTEST} or more; choose int8-weights")
    for weight, block in blocks.items():
        if block:
            kind = ir.DataType.INT4.numpy()
            shared = options.across_kernel
            store_blocks(weight, block, LOW, HIGH, kind, symmetric=options.symmetric, across_kernel=shared)
        else:
            store_int8(weight)
    remove_dead_code(model)
    tidy_names(model)
    save_model(model, contract, out)
    return {
        "int4_weights": {str(weight.value.name): block for weight, block in blocks.items() if block},
        "int8_weights": [str(weight.value.name) for weight, block in blocks.items() if not block],
        "float_weights": rows(floats),
    }
