"""onnx:int4-weights: weights in int4, a scale and a zero point for each block of what is summed over. No data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.passes.dead_code import remove_dead_code
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.onnx.quantize.least_squares import encode_groups, least_error_grids
from edgewright.export.onnx.quantize.weight_only import NEEDS, store_int8
from edgewright.export.onnx.quantize.weights import RECURRENT, Weight, WeightOptions, rows, store, weights_of
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact

LOW, HIGH = -8, 7
SHORTEST = 8
"""Of a block: below, its float32 scale takes more than half of what int8 would."""


@dataclass(frozen=True)
class BlockOptions(WeightOptions):
    """`block_size`: how many weights share a scale, at most; the longest block that divides the row is taken."""

    block_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.block_size, int) or self.block_size < SHORTEST:
            raise BadInput(f"block_size is {self.block_size!r}; it is a number of weights, at least {SHORTEST}")


@step(source="onnx:float32", target="onnx:int4-weights", needs=NEEDS, cost=0.5, options=BlockOptions)
def int4_weights(source: Artifact, out: Path, job: Job, options: BlockOptions) -> Notes:  # noqa: ARG001
    """Where no block fits, and in recurrent layers, weights become int8; depthwise and small ones stay float."""
    model = load_onnx(source.path)
    contract = contract_of(model)
    weights, floats = weights_of(model, options.smallest)
    blocks = {weight: _block(weight, options.block_size) for weight in weights}
    if not any(blocks.values()):
        raise BadModel(f"int4-weights: no weight has blocks of {SHORTEST} or more; choose int8-weights")
    for weight, block in blocks.items():
        if block:
            _store_int4(weight, block)
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


def _block(weight: Weight, most: int) -> int:
    """The largest divisor of the row's length up to `most`; 0 where it is too short, or no operator takes blocks."""
    length = weight.array.shape[weight.input_axis]
    fitting = max(n for n in range(1, min(most, length) + 1) if length % n == 0)
    return 0 if fitting < SHORTEST or weight.readers[0][0].op_type in RECURRENT else fitting


def _store_int4(weight: Weight, block: int) -> None:
    import onnx_ir as ir

    axis = weight.input_axis
    last = np.moveaxis(weight.array, axis, -1)
    groups = last.reshape(-1, block)
    scales, zeros = (each[:, None] for each in least_error_grids(groups, LOW, HIGH, symmetric=False))
    codes = encode_groups(groups.astype(np.float64), scales, zeros, LOW, HIGH)
    kind = ir.DataType.INT4.numpy()

    def placed(each: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(each.reshape(*last.shape[:-1], -1), -1, axis)

    store(weight, placed(codes).astype(kind), placed(scales), axis, block, placed(zeros).astype(kind))
