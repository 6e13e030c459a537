"""A module with several exits, cut into stages by what each exit needs."""

import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from edgewright.errors import BadModel


@dataclass(frozen=True)
class Stage:
    """`module` takes `inputs` by position and gives a tuple of `outputs`: its scores, then features for later stages.

    `macs` counts the multiplications of convolutions and matrix products.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int

    @property
    def scores(self) -> str:
        return self.outputs[0]


def cut(module: nn.Module, examples: Mapping[str, Tensor]) -> tuple[Stage, ...]:
    """One stage for each output of `module`, in their order: what the output needs and no earlier stage has.

    Every tensor that crosses a cut is carried along, so that nothing is computed twice; the stages are fixed to the
    shapes of `examples`. Raises BadModel when torch cannot trace the module, or a stage is empty.
    """
    graph_module = _traced(module, examples)
    nodes = list(graph_module.graph.nodes)
    *_, output = nodes
    ends: Sequence[fx.Node] = output.args[0]
    stage_of: dict[fx.Node, int] = {}
    for index, end in enumerate(ends):
        if end in stage_of or end.op == "placeholder":
            raise BadModel(f"exit {index + 1} has no operators of its own: its answer is there before it")
        _claim(end, index, stage_of)
    names = dict(zip(_placeholders(nodes), examples, strict=True))
    names |= {end: f"scores_{index + 1}" for index, end in enumerate(ends)}
    for index in range(len(ends)):
        crossing = [node for node in nodes if stage_of.get(node) == index and _is_late(node, stage_of)]
        fresh = [node for node in crossing if node not in names]
        names |= {node: f"features_{index + 1}" + (f"_{n}" if n else "") for n, node in enumerate(fresh)}
    return tuple(_stage(graph_module, index, ends[index], stage_of, names) for index in range(len(ends)))


def macs_of(module: nn.Module, inputs: Iterable[Tensor]) -> int:
    """Multiplications of convolutions and matrix products in one call, as torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return int(counter.get_total_flops()) // 2


def _traced(module: nn.Module, examples: Mapping[str, Tensor]) -> fx.GraphModule:
    """The module's graph without in-place operators: what one stage leaves no later one may change."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's exporter warns of its own deprecations
            program = torch.export.export(module.eval(), tuple(examples.values())).run_decompositions({})
            traced: fx.GraphModule = program.module(check_guards=False)
            return traced
    except Exception as error:  # torch wraps whatever the module's code raised
        raise BadModel(f"torch cannot trace {type(module).__name__} to cut it: {error}") from error


def _placeholders(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    return [node for node in nodes if node.op == "placeholder"]


def _claim(end: fx.Node, index: int, stage_of: dict[fx.Node, int]) -> None:
    """Give to stage `index` all operators that `end` needs and that no earlier stage has."""
    waiting = [end]
    while waiting:
        node = waiting.pop()
        if node in stage_of or node.op in ("placeholder", "get_attr"):
            continue
        stage_of[node] = index
        waiting += node.all_input_nodes
        waiting += [user for user in node.users if user.target is operator.getitem]


def _is_late(node: fx.Node, stage_of: Mapping[fx.Node, int]) -> bool:
    """Whether a later stage uses this tensor. Of a tuple the tensors cross, not the tuple."""
    return any(stage_of.get(user, -1) > stage_of[node] for user in node.users)


def _stage(
    whole: fx.GraphModule, index: int, end: fx.Node, stage_of: Mapping[fx.Node, int], names: Mapping[fx.Node, str]
) -> Stage:
    own = [node for node in whole.graph.nodes if stage_of.get(node) == index]
    outside = dict.fromkeys(node for each in own for node in each.all_input_nodes if stage_of.get(node) != index)
    crossing = [node for node in whole.graph.nodes if node in outside and node.op != "get_attr"]
    graph = fx.Graph()
    copies = {node: graph.placeholder(names[node]) for node in crossing}
    constants = [node for node in outside if node.op == "get_attr"]
    for node in [*constants, *own]:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    outputs = [end, *(node for node in own if node is not end and _is_late(node, stage_of))]
    graph.output(tuple(copies[node] for node in outputs))
    module = fx.GraphModule(whole, graph)
    macs = macs_of(module, [torch.zeros_like(node.meta["val"], device="cpu") for node in crossing])
    return Stage(module, tuple(names[n] for n in crossing), tuple(names[n] for n in outputs), macs)
