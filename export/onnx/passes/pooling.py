"""A mean over all positions has one form."""

from typing import TYPE_CHECKING

from edgewright.export.onnx.graph import constant, integers, make, nodes_of, replace, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir


def pool_globally(model: "ir.Model") -> int:
    """ReduceMean(x, 2…r-1) → GlobalAveragePool(x) [→ Flatten]; AveragePool of full size likewise.

    Unsqueeze → GlobalAveragePool becomes GlobalAveragePool → Unsqueeze, so 1-D pooling stays 1-D.
    """
    count = sum(_from_mean(node) for node in nodes_of(model, "ReduceMean"))
    count += sum(_from_average(node) for node in nodes_of(model, "AveragePool"))
    return count + sum(_without_unsqueeze(node) for node in nodes_of(model, "GlobalAveragePool"))


def _from_mean(node: "ir.Node") -> bool:
    shape, axes = shape_of(node.inputs[0]), constant(node, 1)
    if shape is None or len(shape) < 3 or axes is None:
        return False
    if {int(axis) % len(shape) for axis in axes} != set(range(2, len(shape))):
        return False
    pool = _pool(node.inputs[0], shape)
    if node.attributes.get_int("keepdims", 1):
        replace(node, pool)
    else:
        pool.name, pool.outputs[0].name = f"{node.name}_pool", f"{node.outputs[0].name}_pooled"
        replace(node, pool, make("Flatten", pool.outputs, {"axis": 1}))
    return True


def _from_average(node: "ir.Node") -> bool:
    shape, pooled = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    whole = shape is not None and integers(node, "kernel_shape", ()) == shape[2:]
    if shape is None or not whole or any(integers(node, "pads", (0,))) or pooled is None or set(pooled[2:]) != {1}:
        return False
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    replace(node, _pool(node.inputs[0], shape))
    return True


def _without_unsqueeze(node: "ir.Node") -> bool:
    x = node.inputs[0]
    above = None if x is None else x.producer()
    if above is None or above.op_type != "Unsqueeze":
        return False
    shape, axes, rank = shape_of(above.inputs[0]), constant(above, 1), len(shape_of(x) or ())
    if shape is None or len(shape) < 3 or axes is None or min(int(axis) % rank for axis in axes) < 2:
        return False
    pool = _pool(above.inputs[0], shape)
    pool.name, pool.outputs[0].name = f"{node.name}_pool", f"{node.outputs[0].name}_pooled"
    replace(node, pool, make("Unsqueeze", [pool.outputs[0], above.inputs[1]]))
    return True


def _pool(x: "ir.Value | None", shape: tuple[int, ...]) -> "ir.Node":
    import onnx_ir as ir

    pool = make("GlobalAveragePool", [x])
    pool.outputs[0].shape = ir.Shape((*shape[:2], *(1,) * (len(shape) - 2)))
    pool.outputs[0].type = None if x is None else x.type
    return pool
