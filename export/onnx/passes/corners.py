"""Resize from corner to corner, where its factor gives no whole length."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, constant, nodes_of, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


def align_by_lengths(model: "ir.Model") -> int:
    """Resize(x, scales) → Resize(x, sizes) with align_corners, in place; gives how many.

    1.5 × 9 is 13.5 to ONNX's reference, which then never reads the last element, and 13 to torch and onnxruntime: these
    are what the network was made and tried with. Sizes say 13.
    """
    return sum(_by_lengths(node) for node in nodes_of(model, "Resize"))


def _by_lengths(node: "ir.Node") -> bool:
    shape, out, scales = shape_of(node.inputs[0]), shape_of(node.outputs[0]), constant(node, 2)
    aligned = node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "align_corners"
    if node.attributes.get_int("antialias", 0):  # whose filter onnxruntime takes from the factor
        return False
    if not aligned or shape is None or out is None or scales is None or not scales.size:
        return False
    axes = [axis % len(shape) for axis in node.attributes.get_ints("axes", range(len(shape)))]
    if all(shape[axis] * scale == out[axis] for axis, scale in zip(axes, scales.tolist(), strict=True)):
        return False
    assert node.graph is not None
    sizes = add_initializer(
        node.graph, f"{node.outputs[0].name}_sizes", np.array([out[axis] for axis in axes], np.int64)
    )
    node.resize_inputs(4)
    node.replace_input_with(2, None)
    node.replace_input_with(3, sizes)
    return True
