"""Composite operators that an older opset spelled out: one operator can stay in float, ten would round ten times."""

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from edgewright.export.onnx.graph import constant, make, nodes_of, replace, shape_of

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnxscript.rewriter import RewriteRuleSet

Pattern = Callable[..., Any]


def fuse_composites(model: "ir.Model") -> int:
    """x·(1 + erf(x/√2))/2 and its tanh form → Gelu; (x - mean)/√(variance + ε)·s + b → LayerNormalization."""
    present = {node.op_type for node in nodes_of(model)}
    count = sum(int(_rules(core).apply_to_model(model)) for core in ("Erf", "Tanh", "ReduceMean") if core in present)
    return count + sum(_take_bias(node) for node in nodes_of(model, "Add"))


@cache
def _rules(core: str) -> "RewriteRuleSet":
    """What is built around one operator, in every order of factors and summands: 0.3 s to enumerate."""
    from onnxscript.rewriter import RewriteRuleSet

    spelled = {"Erf": lambda: _gelu_rules("none"), "Tanh": lambda: _gelu_rules("tanh"), "ReduceMean": _layer_norm_rules}
    return RewriteRuleSet(spelled[core](), commute=True)


def _gelu_rules(approximate: str) -> list[Any]:
    """One for each place where the factor 1/2 may stand."""
    from onnxscript.rewriter import pattern

    def gate(op: Any, x: Any) -> Any:
        return (_erf if approximate == "none" else _tanh)(op, x, pattern.OrValue) + 1.0

    placements: list[Pattern] = [
        lambda op, x: op.Mul(op.Mul(x, gate(op, x)), 0.5),
        lambda op, x: op.Mul(x, op.Mul(gate(op, x), 0.5)),
        lambda op, x: op.Mul(op.Mul(x, 0.5), gate(op, x)),
    ]
    return [pattern.RewriteRule(each, lambda op, x: op.Gelu(x, approximate=approximate)) for each in placements]


def _erf(op: Any, x: Any, either: Any) -> Any:
    return op.Erf(either([op.Div(x, math.sqrt(2)), op.Mul(x, math.sqrt(0.5))]))


def _tanh(op: Any, x: Any, either: Any) -> Any:
    cube = either([op.Pow(x, 3.0), op.Mul(op.Mul(x, x), x)])
    return op.Tanh(op.Mul(op.Add(x, op.Mul(cube, 0.044715)), math.sqrt(2 / math.pi)))


def _layer_norm_rules() -> list[Any]:
    from onnxscript.rewriter import pattern

    def spelled_out(op: Any, x: Any, scale: Any, epsilon: Any) -> Any:
        mean = op.ReduceMean(x, [-1], _allow_other_attributes=True, _outputs=["mean"])
        deviation = op.Sub(x, mean)
        square = pattern.OrValue([op.Pow(deviation, 2.0), op.Mul(deviation, deviation)])
        variance = op.ReduceMean(square, [-1], _allow_other_attributes=True, _outputs=["variance"])
        spread = op.Sqrt(op.Add(variance, epsilon))
        return op.Mul(pattern.OrValue([op.Div(deviation, spread), op.Mul(deviation, op.Reciprocal(spread))]), scale)

    def fits(_context: Any, x: Any, scale: Any, epsilon: Any, mean: Any, variance: Any) -> bool:
        """Factor and ε are constants, one for each value of the last axis and one for all."""
        row = scale.const_value is not None and shape_of(scale) == (shape_of(x) or (None,))[-1:]
        kept = all((shape_of(value) or (0,))[-1] == 1 for value in (mean, variance))
        return row and kept and epsilon.const_value is not None and epsilon.const_value.size == 1

    def fused(op: Any, x: Any, scale: Any, epsilon: Any, **_others: Any) -> Any:
        return op.LayerNormalization(x, scale, axis=-1, epsilon=float(epsilon.const_value.numpy().item()))

    return [pattern.RewriteRule(spelled_out, fused, fits)]


def _take_bias(add: "ir.Node") -> bool:
    """LayerNormalization(x, s) + b, where b is one constant for each value of the last axis."""
    for index in (0, 1):
        value, bias = add.inputs[index], constant(add, 1 - index)
        norm = None if value is None else value.producer()
        if value is None or norm is None or norm.op_type != "LayerNormalization" or len(norm.inputs) != 2:
            continue
        row = bias is not None and bias.shape == (shape_of(norm.inputs[1]) or (None,))
        if row and len(value.uses()) == 1 and not value.is_graph_output():
            inputs = [*norm.inputs, add.inputs[1 - index]]
            replace(add, make("LayerNormalization", inputs, dict(norm.attributes), name=norm.name))
            assert norm.graph is not None
            norm.graph.remove(norm, safe=True)
            return True
    return False
