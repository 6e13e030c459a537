"""onnx:int8-dynamic: matrix products on integers, their inputs quantized at run time. Needs no data."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.graph import add_initializer, make, replace
from edgewright.export.onnx.passes.dead_code import remove_dead_code
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.onnx.passes.shapes import infer_shapes
from edgewright.export.onnx.quantize.weight_only import NEEDS, encoded, store_int8
from edgewright.export.onnx.quantize.weights import PRODUCTS, Weight, WeightOptions, rows, weights_of
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact

if TYPE_CHECKING:
    import onnx_ir as ir


@step(source="onnx:float32", target="onnx:int8-dynamic", needs=NEEDS, cost=0.3, options=WeightOptions)
def int8_dynamic(source: Artifact, out: Path, job: Job, options: WeightOptions) -> Notes:  # noqa: ARG001
    """Products become MatMulInteger. Convolutions and recurrent layers get int8 weights and compute in float.

    A convolution is never quantized at run time: onnxruntime then takes 3 to 12 times as long as in float.
    """
    model = load_onnx(source.path)
    contract = contract_of(model)
    weights, floats = weights_of(model, options.smallest, among=PRODUCTS)
    quantized: dict[ir.Value, list[ir.Value]] = {}
    for weight in weights:
        if weight.is_product:
            _multiply_integers(weight, quantized)
        else:
            store_int8(weight)
    remove_dead_code(model)
    tidy_names(model)
    infer_shapes(model)
    save_model(model, contract, out)
    return {
        "dynamic_weights": [str(weight.value.name) for weight in weights if weight.is_product],
        "int8_weights": [str(weight.value.name) for weight in weights if not weight.is_product],
        "float_weights": rows(floats),
    }


def _multiply_integers(weight: Weight, quantized: "dict[ir.Value, list[ir.Value]]") -> None:
    """x · W + b  ⇒  x → DynamicQuantizeLinear → MatMulInteger(W + 128, zero point 128) → Cast → · (s_x · s_W) → + b

    uint8 by uint8, because kernels for uint8 by int8 saturate on x86 without VNNI. `quantized`: inputs done before.
    """
    import onnx_ir as ir

    codes, scales = encoded(weight.array, weight.output_axis)
    codes = codes.T if weight.output_axis == 0 else codes
    graph, name = weight.readers[0][0].graph, weight.value.name
    assert graph is not None
    matrix = add_initializer(graph, f"{name}_uint8", (codes.astype(np.int16) + 128).astype(np.uint8))
    zero = add_initializer(graph, f"{name}_zero_point", np.array(128, np.uint8))
    scale = add_initializer(graph, f"{name}_scale", scales)
    for node, _ in weight.readers:
        x = node.inputs[0]
        assert x is not None
        if x not in quantized:
            dynamic = ir.node("DynamicQuantizeLinear", [x], num_outputs=3, name=f"{x.name}_quantize")
            for output, suffix in zip(dynamic.outputs, ("quantized", "scale", "zero_point"), strict=True):
                output.name = f"{x.name}_{suffix}"
            graph.insert_before(node, dynamic)
            quantized[x] = list(dynamic.outputs)
        x_codes, x_scale, x_zero = quantized[x]
        product = make("MatMulInteger", [x_codes, matrix, x_zero, zero], name=f"{node.name}_integer")
        real = make("Cast", [product.outputs[0]], {"to": ir.DataType.FLOAT}, name=f"{node.name}_real")
        step_size = make("Mul", [x_scale, scale], name=f"{node.name}_scale")
        scaled = make("Mul", [real.outputs[0], step_size.outputs[0]], name=f"{node.name}_scaled")
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        added = [] if bias is None else [make("Add", [scaled.outputs[0], bias], name=f"{node.name}_biased")]
        replace(node, product, real, step_size, scaled, *added)
