"""Scales that keep results off the ties: runtimes that compute with other small errors then give the same codes."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime  # type: ignore[import-untyped]
import pytest
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
from numpy.typing import NDArray

from edgewright.export.onnx.file import load_onnx
from edgewright.export.onnx.graph import constant, nodes_of
from edgewright.export.onnx.quantize.ties import (
    DENOMINATORS,
    MOST_RAISED_WEIGHTS,
    SUM_DENOMINATORS,
    weight_scales_clear_of_ties,
)
from edgewright.export.tflite.convert import convert

Floats = NDArray[np.float32]
FLOAT32 = 2.0**-22  # of a ratio of three float32 scales


def is_clear(ratio: float, largest: int) -> bool:
    """Whether the ratio is p / q with q odd, as near as float32 can say it."""
    found = (Fraction(round(ratio * q), q) for q in range(3, largest + 1, 2))
    return any(abs(float(fraction) / ratio - 1) < FLOAT32 for fraction in found)


def test_weight_scales_are_raised_a_little_and_never_lowered() -> None:
    scales = np.geomspace(5e-3, 1e-1, 50).astype(np.float32)
    raised = weight_scales_clear_of_ties(scales, 0.0235, 0.031)
    growth = raised.astype(np.float64) / scales
    assert (growth >= 1).all()
    assert (growth <= 1 + 1.01 * MOST_RAISED_WEIGHTS).all()
    ratios = raised.astype(np.float64) * 0.0235 / 0.031
    assert all(is_clear(ratio, int(DENOMINATORS[-1])) for ratio in ratios)


def test_a_scale_far_out_of_reach_stays() -> None:
    scales = np.array([1e-9, 0.01], np.float32)
    assert weight_scales_clear_of_ties(scales, 0.02, 0.03)[0] == scales[0]


def scale_of(node: ir.Node, index: int) -> float:
    """Of the codes behind an input of an operator, or (-1) that its output becomes, past a Relu."""
    value = node.outputs[0] if index < 0 else node.inputs[index]
    assert value is not None
    near = value.consumers()[0] if index < 0 else value.producer()
    while near is not None and near.op_type in ("Relu", "Clip"):
        near = near.outputs[0].consumers()[0]
    scale = None if near is None else constant(near, 1)
    assert scale is not None
    return float(scale)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_sums_have_odd_denominators(name: str, int8_models: Mapping[str, Path]) -> None:
    sums = list(nodes_of(load_onnx(int8_models[name]), "Add"))
    assert len(sums) >= 8
    for node in sums:
        first, second, out = (scale_of(node, index) for index in (0, 1, -1))
        common = [
            q for q in SUM_DENOMINATORS.tolist()
            if all(abs(round(q * x / out) / (q * x / out) - 1) < FLOAT32 for x in (first, second))
        ]  # fmt: skip
        assert common, node.name


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
def test_xnnpack_and_onnxruntime_give_the_same_codes(
    name: str, int8_models: Mapping[str, Path], probes: Mapping[str, Floats]
) -> None:
    samples = probes[name][:8]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(int8_models[name], options, providers=["CPUExecutionProvider"])
    content = convert(load_onnx(int8_models[name])).content
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    for sample in samples:
        (wanted,) = session.run(None, {"input": sample[None]})
        (given,) = runner(input=sample[None]).values()
        np.testing.assert_array_equal(given, wanted)
