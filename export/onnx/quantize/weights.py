"""Which constants are weights, what each operator wants of its own, and why some stay float."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.graph import add_initializer, constant, make, nodes_of

if TYPE_CHECKING:
    import onnx_ir as ir

PRODUCTS = ("Gemm", "MatMul")
CONVOLUTIONS = ("Conv", "ConvTranspose")
RECURRENT = ("LSTM", "GRU", "RNN")
WEIGHTED = (*CONVOLUTIONS, *PRODUCTS, *RECURRENT)
SMALLEST = 1024


@dataclass(frozen=True)
class WeightOptions:
    """Tensors of fewer than `smallest` elements stay float: they are few bytes, and cost accuracy and time."""

    smallest: int = SMALLEST

    def __post_init__(self) -> None:
        if not isinstance(self.smallest, int) or self.smallest < 1:
            raise BadInput(f"smallest is {self.smallest!r}; it is a number of elements, at least 1")


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant that only weighted operators read. `output_axis` counts output channels, `input_axis` is summed over.

    A recurrent one is [directions, gates · hidden, inputs].
    """

    value: "ir.Value"
    readers: "tuple[tuple[ir.Node, int], ...]"
    output_axis: int
    input_axis: int

    @property
    def array(self) -> NDArray[Any]:
        assert self.value.const_value is not None
        return self.value.const_value.numpy()

    @property
    def is_product(self) -> bool:
        return all(node.op_type in PRODUCTS for node, _ in self.readers)


def weights_of(
    model: "ir.Model", smallest: int, among: Sequence[str] = (), *, depthwise: bool = False
) -> "tuple[list[Weight], dict[ir.Node, str]]":
    """The weights to store in fewer bits, and the weighted operators that keep float ones, with the reason.

    Depthwise weights stay float without `depthwise`. Where no weight of the operators `among` (default: of any) has
    `smallest` elements, the size of the largest one counts as `smallest`. Raises BadModel when there is none at all.
    """
    found, floats = _candidates(model, depthwise)
    wanted = among or WEIGHTED
    sizes = [_size(value) for value, readers in found.items() if any(node.op_type in wanted for node, _ in readers)]
    if not sizes:
        listed = "\n".join(f"  {node.op_type} ({node.name}): {why}" for node, why in floats.items())
        raise BadModel(f"no {', '.join(wanted)} has a weight to quantize; choose another precision\n{listed}".rstrip())
    smallest = min(smallest, max(sizes))
    for value, readers in list(found.items()):
        if _size(value) < smallest:
            floats |= {node: f"{_size(value)} weights, fewer than {smallest}" for node, _ in readers}
            del found[value]
    return [Weight(value, tuple(readers), *_axes(readers[0][0])) for value, readers in found.items()], floats


def store(
    weight: Weight,
    codes: NDArray[Any],
    scales: NDArray[np.float32],
    axis: int,
    block_size: int = 0,
    zero_points: NDArray[Any] | None = None,
) -> None:
    """w → op  ⇒  codes → DequantizeLinear(scales) → op, in place. `scales` are [C] along `axis`, or one a block.

    Zero points are 0 where none are given, and written out: onnxruntime's `session.x64quantprecision` wants them.
    """
    import onnx_ir as ir

    first, graph, name = weight.readers[0][0], weight.readers[0][0].graph, weight.value.name
    assert graph is not None
    stored = add_initializer(graph, f"{name}_{codes.dtype.name}", codes)
    scale = add_initializer(graph, f"{name}_scale", scales)
    attributes = {"axis": axis} | ({"block_size": block_size} if block_size else {})
    given = np.zeros(scales.shape, codes.dtype) if zero_points is None else zero_points
    zero = add_initializer(graph, f"{name}_zero_point", given)
    dequantize = make("DequantizeLinear", [stored, scale, zero], attributes, name=f"{name}_dequantize")
    real = dequantize.outputs[0]
    real.name, real.dtype, real.shape = f"{name}_dequantized", ir.DataType.FLOAT, weight.value.shape
    graph.insert_before(first, dequantize)
    for node, index in weight.readers:
        node.replace_input_with(index, real)


def rows(floats: "dict[ir.Node, str]") -> list[dict[str, str]]:
    """Operators that keep float weights, for the record: op, node, why."""
    return [{"op": node.op_type, "node": node.name or "", "why": why} for node, why in floats.items()]


def _candidates(
    model: "ir.Model", depthwise: bool
) -> "tuple[dict[ir.Value, list[tuple[ir.Node, int]]], dict[ir.Node, str]]":
    """Every weight with its readers, and why other weighted operators have none."""
    found: dict[ir.Value, list[tuple[ir.Node, int]]] = {}
    floats: dict[ir.Node, str] = {}
    for node in nodes_of(model, *WEIGHTED):
        for index in (1, 2) if node.op_type in RECURRENT else (1,):
            why, value = _obstacle(node, index, depthwise), node.inputs[index]
            if why is None and value is not None:
                found.setdefault(value, []).append((node, index))
            else:
                floats[node] = str(why)
    return found, floats


def _size(value: "ir.Value") -> int:
    assert value.const_value is not None
    return value.const_value.size


def _axes(node: "ir.Node") -> tuple[int, int]:
    """Of the output channels and of what is summed over."""
    if node.op_type in RECURRENT:
        return 1, 2
    rowwise = node.op_type == "Conv" or (node.op_type == "Gemm" and node.attributes.get_int("transB", 0) != 0)
    return (0, 1) if rowwise else (1, 0)


def _obstacle(node: "ir.Node", index: int, depthwise: bool) -> str | None:
    array, value = constant(node, index), node.inputs[index]
    if array is None or value is None:
        return "its weight is computed"
    grouped = node.op_type in CONVOLUTIONS and node.attributes.get_int("group", 1) > 1
    if grouped and not depthwise and array.shape[_axes(node)[1]] == 1:
        return "depthwise: few weights that decide much"
    if node.op_type == "MatMul" and array.ndim != 2:
        return "its constant is no matrix"
    odd = any(node.attributes.get_float(name, 1.0) != 1 for name in ("alpha", "beta"))
    if node.op_type == "Gemm" and (odd or node.attributes.get_int("transA", 0) != 0):
        return "it scales its product or transposes its input"
    others = [use.node for use in value.uses() if use.node.op_type not in WEIGHTED or use.idx not in (1, 2)]
    if others or len({_axes(use.node) for use in value.uses()}) > 1:
        return "its weight is also read in another way"
    return None
