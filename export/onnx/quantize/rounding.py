"""Weights and biases rounded so that the network as a whole answers best, learned from samples without labels.

The integer constants move on their grids by gradient descent through the quantized network, towards the float network's
outputs (finetuning of all weights at once: QFT, arXiv 2212.02634). Layer-wise learned rounding (AdaRound, arXiv
2004.10568) was measured beside it: it can undo the noise of rounding weights only, and activations make most of it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgewright.data import Samples
from edgewright.export.onnx.differentiable.descent import answers_of, descend, distance, shuffled
from edgewright.export.onnx.differentiable.graph import TorchGraph, stacked
from edgewright.export.onnx.differentiable.write_back import write_back
from edgewright.export.onnx.graph import nodes_of, shape_of
from edgewright.export.onnx.quantize.quantized import Quantized, judge_of, shown_db
from edgewright.export.steps import Notes
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir

BATCH = 16
STEPS = 300
LEARNING_RATE = 0.01  # steps of a weight's grid
CHECKS = 3  # how often the probes are asked
SECONDS_PER_NODE, SECONDS_PER_VALUE, SECONDS_PER_MAC = 1e-4, 8e-9, 6e-10
"""What one training step costs on one core of a desktop processor: values and MACs count for each call in a batch."""


def learn_rounding(
    float_model: "ir.Model",
    quantized: Quantized,
    contract: Contract,
    calibration: Samples,
    probes: Samples,
    progress: Progress,
    seconds: int,
) -> tuple[Quantized, Notes]:
    """The int8 model whose outputs on `probes` are nearest to the float model's: as given, or with learned rounding.

    Scales stay. `float_model` has the names of `quantized`. The budget is counted in steps of a fixed cost model, never
    in measured time, so the same inputs give the same bytes on every run; notes say when it cut the training short.
    Raises UnsupportedOps when an operator cannot be differentiated.
    """
    student, teacher = TorchGraph(quantized.model, quantized.masters), TorchGraph(float_model, {})
    judge = judge_of(float_model, contract, probes)
    before_db = judge.snr_db(quantized.model)
    steps = min(STEPS, int(seconds / seconds_per_step(quantized.model, BATCH)))
    best, best_db = quantized, before_db
    if student.weights and steps:
        inputs = stacked(contract, calibration)
        rows = shuffled(len(next(iter(inputs.values()))), BATCH, steps, seed=0)
        checks = {len(rows) * (index + 1) // CHECKS for index in range(CHECKS)}
        with progress.task("learn rounding", len(rows)) as advance:
            training = descend(student, inputs, distance(answers_of(teacher, inputs)), rows, LEARNING_RATE)
            for done, _ in enumerate(training, 1):
                advance(1)
                if done in checks:
                    candidate = write_back(student, quantized)
                    db = judge.snr_db(candidate.model)
                    best, best_db = (candidate, db) if db > best_db else (best, best_db)
    notes: Notes = {
        "before_db": shown_db(before_db),
        "after_db": shown_db(best_db),
        "kept": best is not quantized,
        "steps": steps,
        "cut_by_budget": steps < STEPS,
    }
    return best, notes


def seconds_per_step(model: "ir.Model", batch: int) -> float:
    """What the cost model says of one forward and backward pass of `batch` calls."""
    costs = [_cost(node) for node in nodes_of(model)]
    return sum(cost.fixed + batch * cost.per_call for cost in costs)


@dataclass(frozen=True)
class _Cost:
    """Seconds."""

    fixed: float
    per_call: float


def _cost(node: "ir.Node") -> _Cost:
    values = int(np.prod(shape_of(node.outputs[0]) or (1,)))
    macs = 0
    if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        weight, x = shape_of(node.inputs[1]) or (1,), shape_of(node.inputs[0]) or (1,)
        reads = int(np.prod(weight[1:])) if node.op_type == "Conv" else x[-1]
        macs = int(np.prod(x)) * int(np.prod(weight[1:])) if node.op_type == "ConvTranspose" else values * reads
    return _Cost(SECONDS_PER_NODE, SECONDS_PER_VALUE * values + SECONDS_PER_MAC * macs)
