"""onnx:int8-weights: weights in int8, a scale for each output channel or block; arithmetic stays float. No data."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.graph import nodes_of
from edgewright.export.onnx.passes.dead_code import remove_dead_code
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.onnx.passes.scaling import fold_scaling
from edgewright.export.onnx.quantize.blockwise import SHORTEST, block_of, store_blocks
from edgewright.export.onnx.quantize.grid import WEIGHT_LIMIT, encode_weight
from edgewright.export.onnx.quantize.least_squares import least_error_grids
from edgewright.export.onnx.quantize.weights import RECURRENT, Weight, WeightOptions, rows, store, weights_of
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact

if TYPE_CHECKING:
    import onnx_ir as ir

NEEDS = {"onnx": "onnx", "onnx-ir": "onnx", "onnxscript": "onnx"}


@dataclass(frozen=True)
class Int8WeightOptions(WeightOptions):
    """`block_size`: how many weights share a scale, at most (0: all of an output channel); the longest block that
    divides the row is taken. `across_kernel` gives a block's places of the kernel one scale. `depthwise` gives int8
    weights to depthwise convolutions too.
    """

    block_size: int = 0
    depthwise: bool = False
    across_kernel: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.block_size, int) or 0 != self.block_size < SHORTEST:
            raise BadInput(f"block_size is {self.block_size!r}; it is a number of weights, at least {SHORTEST}, or 0")
        for name, given in (("depthwise", self.depthwise), ("across_kernel", self.across_kernel)):
            if not isinstance(given, bool):
                raise BadInput(f"{name} is {given!r}; it is true or false")


@step(source="onnx:float32", target="onnx:int8-weights", needs=NEEDS, cost=0.3, options=Int8WeightOptions)
def int8_weights(source: Artifact, out: Path, job: Job, options: Int8WeightOptions) -> Notes:  # noqa: ARG001
    """Convolutions, matrix products and recurrent layers get int8 weights; depthwise and small ones stay float.

    Where no block fits, there is one scale for each output channel.
    """
    model = load_onnx(source.path)
    contract = contract_of(model)
    fold_scaling(model)
    weights, floats = weights_of(model, options.smallest, depthwise=options.depthwise)
    blocks = {weight: block_of(weight, options.block_size) if options.block_size else 0 for weight in weights}
    for weight, block in blocks.items():
        if block:
            shared, limit = options.across_kernel, WEIGHT_LIMIT
            store_blocks(weight, block, -limit, limit, np.int8, symmetric=True, across_kernel=shared)
        else:
            store_int8(weight)
    remove_dead_code(model)
    tidy_names(model)
    save_model(model, contract, out)
    return {
        "int8_weights": [str(weight.value.name) for weight in weights],
        "blocks": {str(weight.value.name): block for weight, block in blocks.items() if block},
        "float_weights": rows(floats),
    }


def store_recurrent(model: "ir.Model") -> list[str]:
    """Int8 weights for every LSTM, GRU and RNN of a model, in place; the names of those weights."""
    if not any(True for _ in nodes_of(model, *RECURRENT)):
        return []
    weights, _ = weights_of(model, 1, RECURRENT)
    return _stored(model, [weight for weight in weights if weight.readers[0][0].op_type in RECURRENT])


def store_weights(model: "ir.Model", smallest: int) -> list[str]:
    """Int8 for all other weights of at least so many elements, in place; their names."""
    weights, _ = weights_of(model, smallest)
    others = [weight for weight in weights if weight.readers[0][0].op_type not in RECURRENT]
    return _stored(model, [weight for weight in others if weight.array.size >= smallest])


def _stored(model: "ir.Model", weights: list[Weight]) -> list[str]:
    for weight in weights:
        store_int8(weight)
    remove_dead_code(model)
    tidy_names(model)
    return [str(weight.value.name) for weight in weights]


def store_int8(weight: Weight) -> None:
    """Symmetric, [-127, 127]. A scale for each row of each direction of a recurrent layer."""
    array = weight.array
    if weight.readers[0][0].op_type in RECURRENT and len(array) > 1:
        codes, scales = encoded(array.reshape(-1, array.shape[2]), 0)
        store(weight, codes.reshape(array.shape), scales.reshape(*array.shape[:2], 1), 2, array.shape[2])
    else:
        store(weight, *encoded(array, weight.output_axis), weight.output_axis)


def encoded(array: NDArray[Any], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes in the array's shape, and scales [C] along `axis`.

    Scales of least error: against scales from the largest entry -0.5 to +1.8 dB at the output, +1.2 in the median of
    five networks.
    """
    channels = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    scales, _ = least_error_grids(channels, -WEIGHT_LIMIT, WEIGHT_LIMIT, symmetric=True)
    return encode_weight(array, axis, scales), scales
