"""Sliding windows say where they stand: in pads, not in a mode that each backend would have to interpret."""

from typing import TYPE_CHECKING

import numpy as np

from edgewright.export.onnx.graph import add_initializer, integers, make, nodes_of, shape_of
from edgewright.export.onnx.passes.shapes import infer_shapes

if TYPE_CHECKING:
    import onnx_ir as ir

Ints = tuple[int, ...]


def place_windows(model: "ir.Model") -> int:
    """Conv(auto_pad=SAME_UPPER) becomes Conv(pads), MaxPool(ceil_mode=1) becomes MaxPool(pads); ConvTranspose too.

    A window that ceil_mode would start beyond the tensor and its left pads does not exist in torch and onnxruntime,
    but shape inference counts it: shapes behind such a pool are inferred anew.
    """
    placed = sum(_place(model, node) for node in nodes_of(model, "Conv", "AveragePool", "MaxPool"))
    return placed + sum(_place_transposed(node) for node in nodes_of(model, "ConvTranspose"))


def _place(model: "ir.Model", node: "ir.Node") -> bool:
    import onnx_ir as ir

    shape, mode = shape_of(node.inputs[0]), node.attributes.get_string("auto_pad", "NOTSET")
    ceil = bool(node.attributes.get_int("ceil_mode", 0)) and mode == "NOTSET"
    if shape is None or not (ceil or mode != "NOTSET"):
        return False
    size = shape[2:]
    declared = integers(node, "pads", (0,) * 2 * len(size)) if mode == "NOTSET" else (0,) * 2 * len(size)
    counted = node.attributes.get_int("count_include_pad", 0)
    pads = _over_the_end(node, size, declared) if ceil else _same(node, size, str(mode))
    if node.op_type != "Conv" and any(pad >= length for pad, length in zip(pads, _kernel(node) * 2)):
        return False  # between dilated elements; onnxruntime takes no such pads
    if pads != declared and counted and ceil:
        # What is declared counts in the average, what ceil_mode reaches beyond it does not.
        _pad_before(node, declared)
        pads = tuple(pad - own for pad, own in zip(pads, declared))
        size = (shape_of(node.inputs[0]) or ())[2:]
        node.attributes.pop("count_include_pad")
    node.attributes.add(ir.AttrInt64s("pads", pads))
    for name in ("auto_pad", "ceil_mode"):
        node.attributes.pop(name, None)
    if ceil:
        _correct_shape(model, node, (*shape[:2], *_positions(node, size, pads)))
    return True


def _place_transposed(node: "ir.Node") -> bool:
    """ConvTranspose(auto_pad or output_shape) becomes ConvTranspose(pads); a mode that would pad, not cut, stays."""
    import onnx_ir as ir

    shape, mode = shape_of(node.inputs[0]), node.attributes.get_string("auto_pad", "NOTSET")
    if shape is None or (mode == "NOTSET" and "output_shape" not in node.attributes):
        return False
    size, steps = shape[2:], _steps(node)
    extra = integers(node, "output_padding", (0,) * len(size))
    full = tuple((n - 1) * stride + extent + more for n, (extent, stride), more in zip(size, steps, extra))
    by_mode = full if mode == "VALID" else tuple(n * stride for n, (_, stride) in zip(size, steps))
    cuts = [have - want for have, want in zip(full, integers(node, "output_shape", by_mode)[-len(size) :])]
    if min(cuts) < 0:
        return False
    small, large = [cut // 2 for cut in cuts], [cut - cut // 2 for cut in cuts]
    node.attributes.add(ir.AttrInt64s("pads", small + large if mode == "SAME_UPPER" else large + small))
    for name in ("auto_pad", "output_shape"):
        node.attributes.pop(name, None)
    return True


def _kernel(node: "ir.Node") -> Ints:
    by_weight = shape_of(node.inputs[1]) if node.op_type in ("Conv", "ConvTranspose") else None
    return integers(node, "kernel_shape", by_weight[2:] if by_weight else ())


def _steps(node: "ir.Node") -> list[tuple[int, int]]:
    """(extent, stride) of the window along each axis."""
    kernel = _kernel(node)
    ones = (1,) * len(kernel)
    dilations, strides = integers(node, "dilations", ones), integers(node, "strides", ones)
    return [((k - 1) * d + 1, s) for k, d, s in zip(kernel, dilations, strides)]


def _same(node: "ir.Node", size: Ints, mode: str) -> Ints:
    if mode == "VALID":
        return (0,) * 2 * len(size)
    totals = [max((-(-n // s) - 1) * s + extent - n, 0) for n, (extent, s) in zip(size, _steps(node))]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return tuple(small + large if mode == "SAME_UPPER" else large + small)


def _over_the_end(node: "ir.Node", size: Ints, declared: Ints) -> Ints:
    before, after = list(declared[: len(size)]), list(declared[len(size) :])
    for axis, (extent, stride) in enumerate(_steps(node)):
        last = -(-(size[axis] + before[axis] + after[axis] - extent) // stride) * stride
        if last < size[axis] + before[axis]:
            after[axis] = max(after[axis], last + extent - size[axis] - before[axis])
    return tuple(before + after)


def _pad_before(node: "ir.Node", pads: Ints) -> None:
    import onnx_ir as ir

    x, graph, rank = node.inputs[0], node.graph, len(pads) // 2
    if not any(pads):
        return
    assert x is not None and graph is not None
    name = f"{node.outputs[0].name}_padded"
    amounts = np.array([0, 0, *pads[:rank], 0, 0, *pads[rank:]], np.int64)
    pad = make("Pad", [x, add_initializer(graph, f"{name}_pads", amounts)], name=name)
    pad.outputs[0].name, pad.outputs[0].type = name, x.type
    shape = shape_of(x) or ()
    pad.outputs[0].shape = ir.Shape(n + int(a) + int(b) for n, a, b in zip(shape, amounts, amounts[len(shape) :]))
    graph.insert_before(node, pad)
    node.replace_input_with(0, pad.outputs[0])


def _positions(node: "ir.Node", size: Ints, pads: Ints) -> Ints:
    before, after = pads[: len(size)], pads[len(size) :]
    steps = zip(size, before, after, _steps(node))
    return tuple((n + b + a - extent) // stride + 1 for n, b, a, (extent, stride) in steps)


def _correct_shape(model: "ir.Model", node: "ir.Node", shape: Ints) -> None:
    import onnx_ir as ir

    if shape_of(node.outputs[0]) == shape:
        return
    behind = [node]
    for reader in behind:
        behind += [other for output in reader.outputs for other in output.consumers() if other not in behind]
        for output in reader.outputs:
            output.shape = None
    for output in node.outputs:
        output.shape = ir.Shape(shape) if output.name else None
    infer_shapes(model)
