"""Cross-layer equalization: give the channels of a tensor like ranges, so that one scale suits them all.

    conv(W₁) → relu → conv(W₂)   ⇒   conv(W₁ / s) → relu → conv(W₂ · s)       the same function, s one factor a channel

After Nagel et al. 2019 (arXiv 1906.04721), for weights with a scale for each output channel: the producer's side is
free then, so the factors even out the activations, weighed against the noise of the consumer's weights (that trade is
SmoothQuant's, Xiao et al. 2022, arXiv 2211.10438). Channels are followed through activations, pools and sums.

A Clip at 6 stays as it is: a channel is scaled up only so far that its highest value stays well below the bound. What
is far above all that was seen may then be cut where it was not before; so the result is measured before it is kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.graph import add_initializer, constant, make, nodes_of, shape_of
from edgewright.export.onnx.quantize.channels import Channels
from edgewright.export.onnx.quantize.factors import on_grid
from edgewright.export.onnx.quantize.grid import WEIGHT_LIMIT
from edgewright.export.onnx.quantize.layers import as_held, by_output, inputs_of
from edgewright.export.onnx.quantize.plan import WEIGHTED, clip_bounds, data_inputs

if TYPE_CHECKING:
    import onnx_ir as ir

Floats = NDArray[np.float64]
CARRYING = ("Relu", "LeakyRelu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Add", "Sub")
"""Operators f with f(x / s) = f(x) / s for a factor s > 0 on each channel; for Clip see above."""
STRENGTHS = np.linspace(0.0, 1.0, 9)
SMALLEST = 2.0**-10  # factor: a channel that hardly lives is not blown up beyond all measure
LEAST_BOUNDED = 0.25  # factor where a Clip bounds the channel: unseen values may reach higher than any seen one
HEADROOM = 1.5  # of the bound over the highest value seen, after scaling


@dataclass(frozen=True)
class Group:
    """Tensors whose channels take one factor; who makes them, who reads them, and the upper bounds of its Clips."""

    tensors: tuple["ir.Value", ...]
    producers: tuple["ir.Node", ...]
    consumers: tuple["ir.Node", ...]
    bounds: tuple[tuple["ir.Node", float], ...]

    @property
    def name(self) -> str:
        """Of the tensor that stands for the group."""
        return min(str(value.name) for value in self.tensors)


def channel_groups(model: "ir.Model") -> list[Group]:
    """Every set of tensors between weighted operators whose channels can be scaled without changing the function."""
    parent: dict[ir.Value, ir.Value] = {}

    def find(value: "ir.Value") -> "ir.Value":
        while parent.setdefault(value, value) is not value:
            value = parent[value]
        return value

    for node in nodes_of(model):
        if _carries(node):
            for value in data_inputs(node):
                parent[find(node.outputs[0])] = find(value)
        elif node.op_type in WEIGHTED:
            find(node.outputs[0])
    members: dict[ir.Value, list[ir.Value]] = {}
    for value in parent:
        members.setdefault(find(value), []).append(value)
    groups = (_group(values) for values in members.values())
    return [group for group in groups if group is not None]


def equalize(groups: Iterable[Group], seen: Mapping[str, Channels]) -> dict[str, Floats]:
    """Scale the weights in place; gives the factors of the groups that changed, by name."""
    made = {}
    for group in groups:
        factors = on_grid(_best_factors(group, seen))
        if not (factors == 1).all():
            made[group.name] = factors
            _apply(group, factors)
    return made


def replay(model: "ir.Model", factors: Mapping[str, Floats]) -> None:
    """Equalize a float model, in place, as another one of the same names was."""
    for group in channel_groups(model):
        if group.name in factors:
            _apply(group, factors[group.name])
    for group in input_groups(model):
        if group.name in factors:
            _scale_input(group, factors[group.name])


def _apply(group: Group, factors: Floats) -> None:
    for node in group.producers:
        _scale_outputs(node, 1 / factors)
    for node in group.consumers:
        _scale_inputs(node, factors)


def input_groups(model: "ir.Model") -> list[Group]:
    """Every float input of the graph whose channels weighted operators alone read."""
    import onnx_ir as ir

    groups = []
    for value in model.graph.inputs:
        readers, shape = tuple(dict.fromkeys(value.consumers())), shape_of(value)
        single = value.dtype == ir.DataType.FLOAT and not value.is_graph_output() and shape is not None
        if single and shape is not None and len(shape) > 1 and shape[1] > 1 and readers and all(map(_plain, readers)):
            groups.append(Group((value,), (), readers, ()))
    return groups


def scale_inputs(groups: Iterable[Group], seen: Mapping[str, Channels]) -> tuple[dict[str, Floats], dict[str, str]]:
    """x → conv(W) becomes x → Mul(1 / s) → conv(W · s), in place, where the channels of an input differ in range.

    Sensors do: an accelerometer and a gyroscope share no unit. Gives the factors by input, and the names of the new
    operators, which must stay in float to be of use, with the reason why they are there.
    """
    made, reasons = {}, {}
    for group in groups:
        factors = on_grid(_best_factors(group, seen))
        if not (factors == 1).all():
            made[group.name] = factors
            name = _scale_input(group, factors)
            reasons[name] = "scales the channels of the input to like ranges before they are rounded"
    return made, reasons


def _scale_input(group: Group, factors: Floats) -> str:
    value, graph = group.tensors[0], group.consumers[0].graph
    assert graph is not None
    for node in group.consumers:
        _scale_inputs(node, factors)
    spread = (1 / factors).reshape(1, -1, *(1,) * (len(shape_of(value) or ()) - 2)).astype(np.float32)
    scaling = make(
        "Mul", [value, add_initializer(graph, f"{value.name}_factors", spread)], name=f"{value.name}_scaling"
    )
    scaled = scaling.outputs[0]
    scaled.name, scaled.type, scaled.shape = f"{value.name}_scaled", value.type, value.shape
    graph.insert_before(graph[0], scaling)
    for node in group.consumers:
        node.replace_input_with(0, scaled)
    return str(scaling.name)


def _carries(node: "ir.Node") -> bool:
    if node.op_type in ("Flatten", "Reshape"):
        before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
        return bool(before and after and len(after) == 2 and before[1] == after[1] and np.prod(before[2:]) == 1)
    if node.op_type == "Clip":
        return clip_bounds(node)[0] == 0
    if node.op_type in ("Add", "Sub"):
        shapes = {shape_of(value) for value in node.inputs}
        return len(shapes) == 1 and all(constant(node, index) is None for index in (0, 1))
    return node.op_type in CARRYING


def _group(values: "list[ir.Value]") -> Group | None:
    """None when something else than a weighted operator makes or reads one of the tensors."""
    inside = set(values)
    makers = [value.producer() for value in values]
    readers = [use.node for value in values for use in value.uses()]
    if any(v.is_graph_input() or v.is_graph_output() for v in values) or any(m is None for m in makers) or not readers:
        return None
    producers = tuple(dict.fromkeys(m for m in makers if m is not None and m.op_type in WEIGHTED))
    consumers = tuple(dict.fromkeys(n for n in readers if n.op_type in WEIGHTED or n.outputs[0] not in inside))
    carriers = {m for m in makers if m is not None} - set(producers)
    if not producers or not consumers or any(not _carries(node) for node in carriers):
        return None
    if any(not _plain(node) for node in (*producers, *consumers)) or any(c.inputs[0] not in inside for c in consumers):
        return None
    clips = [(node, clip_bounds(node)[1]) for node in carriers if node.op_type == "Clip"]
    return Group(tuple(values), producers, consumers, tuple((clip, high) for clip, high in clips if np.isfinite(high)))


def _plain(node: "ir.Node") -> bool:
    """A weighted operator with constants that no one else reads."""
    shared = any(value is not None and len(value.uses()) > 1 for value in node.inputs[1:])
    biased = len(node.inputs) < 3 or node.inputs[2] is None or constant(node, 2) is not None
    return node.op_type in WEIGHTED and constant(node, 1) is not None and biased and not shared


def _best_factors(group: Group, seen: Mapping[str, Channels]) -> Floats:
    """The factors, from none to full equalization, with the least modelled noise at the consumers' outputs."""
    span = np.max([seen[str(value.name)].span for value in group.tensors], axis=0)
    if not span.any():
        return np.ones_like(span)
    live = np.maximum(span / span.max(), SMALLEST)
    candidates = [_bounded(live**strength, group, seen) for strength in STRENGTHS]
    return min(candidates, key=lambda factors: sum(_noise(node, factors, seen) for node in group.consumers))


def _bounded(factors: Floats, group: Group, seen: Mapping[str, Channels]) -> Floats:
    """The nearest factors that keep clear of the Clips: what reached a bound in calibration keeps its scale."""
    for clip, bound in group.bounds:
        high = seen[str(clip.outputs[0].name)].high
        least = np.where(high > 0, np.maximum(HEADROOM * high / (bound or 1.0), LEAST_BOUNDED), 1.0)
        factors = np.maximum(factors, np.minimum(least, 1.0))
    return factors


def _noise(node: "ir.Node", factors: Floats, seen: Mapping[str, Channels]) -> float:
    """Relative to the energy of each output channel: rounding of the input's codes, and of the weight's."""
    channels = seen[str(node.inputs[0].name)]  # type: ignore[union-attr]
    weight = _weight(node)
    index = inputs_of(weight, len(factors))
    step = (np.max(channels.high / factors) - np.min(channels.low / factors)) / 255
    scaled = weight * factors[index][:, :, None]
    from_codes = step**2 * (scaled**2).sum((1, 2))
    steps = np.abs(scaled).max((1, 2)) / WEIGHT_LIMIT
    from_weights = steps**2 * (channels.mean_square / factors**2)[index].sum(1) * weight.shape[2]
    energy = ((weight**2).sum(2) * channels.mean_square[index]).sum(1)
    return float(np.mean((from_codes + from_weights) / np.maximum(energy, 1e-30)))


def _scale_outputs(node: "ir.Node", factors: Floats) -> None:
    _write(node, _weight(node) * factors[:, None, None])
    bias = constant(node, 2)
    if bias is not None:
        _replace(node, 2, bias * factors)


def _scale_inputs(node: "ir.Node", factors: Floats) -> None:
    weight = _weight(node)
    _write(node, weight * factors[inputs_of(weight, len(factors))][:, :, None])


def _weight(node: "ir.Node") -> Floats:
    weight = constant(node, 1)
    assert weight is not None
    return by_output(node, weight)


def _write(node: "ir.Node", weight: Floats) -> None:
    before = constant(node, 1)
    assert before is not None
    _replace(node, 1, as_held(node, weight, before.shape))


def _replace(node: "ir.Node", index: int, array: Floats) -> None:
    value = node.inputs[index]
    assert value is not None
    assert node.graph is not None
    new = add_initializer(node.graph, f"{value.name}_equalized", array.astype(np.float32))
    new.shape, new.type = value.shape, value.type
    node.replace_input_with(index, new)
