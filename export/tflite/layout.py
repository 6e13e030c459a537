"""Where each tensor lies channels-last: every transpose of the file is decided here, once, for the whole graph.

Rules that want channels last (`nhwc`) or the original order (`nchw`) fix the form of what they read and give. The
others follow: connected ones form a region, which takes the form with the fewest elements to transpose at its border.
"""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.export.lowering import Rule
from edgewright.export.tflite.builder import Builder
from edgewright.export.tflite.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

Shape = tuple[int, ...]

SPATIAL_RANKS = (3, 4, 5)
"""Ranks of N×C×spatial that have a channels-last form."""


@dataclass(frozen=True)
class Form:
    """How the file holds a value.

    original: as in ONNX · last: channels last, N×C×H×W as N×H×W×C, N×C×L as N×1×L×C, N×C×D×H×W as N×D×H×W×C · flat:
    a flattened N×(C·H·W) whose features lie in the order H, W, C; `source` is (C, H, W).
    """

    kind: Literal["original", "last", "flat"]
    source: Shape = ()

    def axis(self, axis: int, rank: int) -> int:
        """Where the file holds an ONNX axis."""
        axis %= rank
        if self.kind != "last" or axis == 0:
            return axis
        held = max(rank, 4)
        return held - 1 if axis == 1 else axis - 1 + (held - rank)

    def shape(self, shape: Shape) -> Shape:
        if self.kind != "last":
            return shape
        return (shape[0], *(1,) * (4 - len(shape)), *shape[2:], shape[1])

    def array(self, array: NDArray[Any]) -> NDArray[Any]:
        """A constant as the file holds it; its rank is that of the values it meets."""
        if self.kind == "last":
            return np.moveaxis(array, 1, -1).reshape(self.shape(array.shape))
        if self.kind == "flat" and array.shape[-1] != 1:
            split = array.reshape(*array.shape[:-1], *self.source)
            return np.moveaxis(split, -len(self.source), -1).reshape(array.shape)
        return array


ORIGINAL = Form("original")
LAST = Form("last")


def reorders(shape: Shape) -> bool:
    """Whether channels last puts the elements of N×C×spatial in another order."""
    return len(shape) in SPATIAL_RANKS and shape[1] > 1 and prod(shape[2:]) > 1


def convert(builder: Builder, tensor: Tensor, shape: Shape, held: Form, wanted: Form) -> Tensor:
    """`tensor`, of ONNX shape `shape` and held in one form, in another."""
    if held == wanted:
        return tensor
    original = _to_original(builder, tensor, shape, held)
    if wanted.kind == "last":
        order = (0, *range(2, len(shape)), 1)
        return builder.reshape(builder.transpose(original, order), wanted.shape(shape))
    if wanted.kind == "flat" and shape[-1] != 1:
        split = builder.reshape(original, (shape[0], *wanted.source))
        order = (0, *range(2, len(wanted.source) + 1), 1)
        return builder.reshape(builder.transpose(split, order), shape)
    return original


def _to_original(builder: Builder, tensor: Tensor, shape: Shape, held: Form) -> Tensor:
    channels, *spatial = held.source or shape[1:] or (1,)
    if held == ORIGINAL or (held.kind == "flat" and shape[-1] == 1):
        return tensor
    last = builder.reshape(tensor, (shape[0], *spatial, channels))
    order = (0, len(spatial) + 1, *range(1, len(spatial) + 1))
    return builder.reshape(builder.transpose(last, order), shape)


def shape_of(value: "ir.Value") -> Shape:
    assert value.shape is not None
    return tuple(int(n) for n in value.shape)  # type: ignore[arg-type]


def is_constant(value: "ir.Value | None") -> bool:
    return value is not None and value.const_value is not None


class Layout:
    """The form in which each value is made (`made`) and each operand is read (`read`)."""

    def __init__(self, graph: "ir.Graph", rules: Mapping[str, Rule], ends: Mapping["ir.Value", Form]) -> None:
        """`ends` gives the forms of the graph's inputs and outputs; those not named keep the original order."""
        self._rules = rules
        self._variadic = {op for op, rule in rules.items() if _is_variadic(rule)}
        self._ends = ends
        self._outputs = set(graph.outputs)
        self._made: dict[ir.Value, Form] = {}
        self._regions = self._find_regions(graph)
        self._open: dict[ir.Value, ir.Node] = {}  # what a region makes that is being decided, by its first node
        self._returned: set[ir.Node] = set()

    def made(self, value: "ir.Value") -> Form:
        if value not in self._made and value in self._open:
            self._returned.add(self._open[value])
            return ORIGINAL
        if value not in self._made:
            self._made[value] = self._decide(value)
        return self._made[value]

    def read(self, node: "ir.Node", index: int) -> Form | None:
        """The form in which a rule reads an operand; None for parameters, which it sees as they are in ONNX."""
        layout, value = self._rules[node.op_type].layout, node.inputs[index]
        if value is None or index not in self._data_operands(node):
            return None
        if self._follows(node):
            return self.made(node.outputs[0])
        if index == 0 and self._takes_any(node, self.made(value)):
            return self.made(value)
        if layout == "nhwc" and len(shape_of(value)) in SPATIAL_RANKS:
            return LAST
        return ORIGINAL

    def _decide(self, value: "ir.Value") -> Form:
        node = value.producer()
        if node is None:
            return self._ends.get(value, ORIGINAL)
        if self._follows(node):
            region = self._regions[node]
            outputs = [output for member in region for output in member.outputs]
            self._open.update(dict.fromkeys(outputs, region[0]))
            form = self._region_form(region)
            if (
                region[0] in self._returned
            ):  # what it makes comes back to it, by way of an operator that does not follow
                form = ORIGINAL
            self._made.update(dict.fromkeys(outputs, form))
            return form
        if self._rules[node.op_type].layout == "nhwc" and len(shape_of(value)) in SPATIAL_RANKS:
            return LAST
        source = node.inputs[0]
        if source is None or is_constant(source):
            return ORIGINAL
        if _flattens(node) and self.made(source) == LAST and reorders(shape_of(source)):
            return Form("flat", shape_of(source)[1:])
        if _regrids(node) and self.made(source) == LAST:
            return LAST
        if _brings_channels_forward(node) and self.made(source) == ORIGINAL:
            return LAST
        return ORIGINAL

    def _follows(self, node: "ir.Node") -> bool:
        """Whether the rule takes any form as long as all its operands share it."""
        if self._rules[node.op_type].layout not in ("any", "axis"):
            return False
        ranks = {len(shape_of(output)) for output in node.outputs if output.shape is not None}
        first = node.inputs[0]
        axis = self._rules[node.op_type].layout == "axis"
        return len(ranks) == 1 and (not axis or (first is not None and {len(shape_of(first))} == ranks))

    def _takes_any(self, node: "ir.Node", form: Form) -> bool:
        """Rules that renumber for themselves, so that nothing need be transposed before them."""
        if form.kind == "flat":
            return _multiplies_constant(node)
        return (
            _flattens(node)
            or _regrids(node)
            or node.op_type == "Transpose"
            or node.op_type.startswith(("Reduce", "Arg"))
        )

    def _find_regions(self, graph: "ir.Graph") -> dict["ir.Node", list["ir.Node"]]:
        region: dict[ir.Node, list[ir.Node]] = {}
        for node in graph:
            if not self._follows(node):
                continue
            region[node] = [node]
            for value in self._operands(node):
                producer = value.producer()
                if producer in region and region[producer] is not region[node]:
                    small, large = sorted((region[producer], region[node]), key=len)
                    large.extend(small)
                    region.update(dict.fromkeys(small, large))
        return region

    def _data_operands(self, node: "ir.Node") -> range:
        """Which operands have a form; the others are weights and parameters."""
        every = self._rules[node.op_type].layout in ("any", "nchw") or node.op_type in self._variadic
        return range(len(node.inputs) if every else 1)

    def _operands(self, node: "ir.Node") -> list["ir.Value"]:
        """The operands that share the form of what the node makes: computed, and of the same rank."""
        rank = len(shape_of(node.outputs[0]))
        values = [node.inputs[index] for index in self._data_operands(node)]
        return [
            value for value in values if value is not None and not is_constant(value) and len(shape_of(value)) == rank
        ]

    def _region_form(self, region: list["ir.Node"]) -> Form:
        members = set(region)
        made = {output for node in region for output in node.outputs}
        entering = {value: self.made(value) for node in region for value in self._operands(node) if value not in made}
        choices = [ORIGINAL]
        if len(shape_of(region[0].outputs[0])) in SPATIAL_RANKS:
            choices.append(LAST)
        # Features in another order stay whole: nothing in the region may cut or join them.
        widths = {shape_of(value)[-1] for value in made if shape_of(value)}
        flat = {form for form in entering.values() if form.kind == "flat" and widths == {prod(form.source)}}
        if all(self._rules[node.op_type].layout == "any" for node in region):
            choices += sorted(flat, key=lambda form: form.source)
        return min(choices, key=lambda form: self._cost(form, entering, made, members))

    def _cost(
        self, form: Form, entering: Mapping["ir.Value", Form], made: Iterable["ir.Value"], members: set["ir.Node"]
    ) -> int:
        """Elements to transpose at the border of a region in this form."""
        cost = sum(_conversion(shape_of(value), held, form) for value, held in entering.items())
        for value in made:
            wants = {self._ends.get(value, ORIGINAL)} if value in self._outputs else set()
            for node, index in value.uses():
                if node not in members:
                    wants.add(self._wanted(node, index, form))
            cost += sum(_conversion(shape_of(value), form, want) for want in wants)
        return cost

    def _wanted(self, node: "ir.Node", index: int, form: Form) -> Form:
        if index == 0 and self._takes_any(node, form):
            return form
        value = node.inputs[index]
        assert value is not None
        nhwc = self._rules[node.op_type].layout == "nhwc" and index == 0 and len(shape_of(value)) in SPATIAL_RANKS
        return LAST if nhwc else ORIGINAL


def _conversion(shape: Shape, held: Form, wanted: Form) -> int:
    if held == wanted or (LAST in (held, wanted) and not reorders(shape)):
        return 0
    return prod(shape)


def _is_variadic(rule: Rule) -> bool:
    kinds = (parameter.kind for parameter in inspect.signature(rule.function).parameters.values())
    return inspect.Parameter.VAR_POSITIONAL in kinds


def _flattens(node: "ir.Node") -> bool:
    """N×C×spatial → N×(C·spatial)."""
    source = node.inputs[0]
    if node.op_type not in ("Flatten", "Reshape") or source is None:
        return False
    before, after = shape_of(source), shape_of(node.outputs[0])
    return len(before) in SPATIAL_RANKS and len(after) == 2 and before[0] == after[0]


def _regrids(node: "ir.Node") -> bool:
    """N×C×spatial → N×C×other spatial axes: channels last they are joined or split in place."""
    source = node.inputs[0]
    if node.op_type not in ("Reshape", "Squeeze", "Unsqueeze") or source is None:
        return False
    before, after = shape_of(source), shape_of(node.outputs[0])
    return {len(before), len(after)} <= set(SPATIAL_RANKS) and before[:2] == after[:2]


def _brings_channels_forward(node: "ir.Node") -> bool:
    """N×spatial×C → N×C×spatial: what lies there already is its channels-last form."""
    rank = len(shape_of(node.outputs[0]))
    if node.op_type != "Transpose" or "perm" not in node.attributes or rank not in SPATIAL_RANKS:
        return False
    return tuple(node.attributes["perm"].as_ints()) == (0, rank - 1, *range(1, rank - 1))


def _multiplies_constant(node: "ir.Node") -> bool:
    """A product whose constant matrix can be permuted along what it shares with its first operand."""
    if node.op_type not in ("Gemm", "MatMul") or ("transA" in node.attributes and node.attributes["transA"].as_int()):
        return False
    matrix = node.inputs[1]
    return matrix is not None and is_constant(matrix) and len(shape_of(matrix)) == 2
