"""Operators that act on each element: rows, ONNX name → torch name."""

from functools import reduce
from typing import TYPE_CHECKING

from edgewright.export.onnx.differentiable.rules import TORCH, Call

if TYPE_CHECKING:
    from torch import Tensor

UNARY = {
    "Abs": "abs",
    "Ceil": "ceil",
    "Cos": "cos",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "Log": "log",
    "Neg": "neg",
    "Not": "logical_not",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Sqrt": "sqrt",
    "Tanh": "tanh",
}
FUNCTIONAL = {"HardSwish": "hardswish", "Mish": "mish", "Softplus": "softplus", "Softsign": "softsign"}
BINARY = {
    "Add": "add",
    "And": "logical_and",
    "Equal": "eq",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "Less": "lt",
    "LessOrEqual": "le",
    "MatMul": "matmul",
    "Mul": "mul",
    "Or": "logical_or",
    "Sub": "sub",
}
VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add"}


@TORCH.lower(*UNARY)
def unary(b: Call, x: "Tensor") -> "Tensor":
    import torch

    y: Tensor = getattr(torch, UNARY[b.op_type])(x)
    return y


@TORCH.lower(*FUNCTIONAL)
def functional(b: Call, x: "Tensor") -> "Tensor":
    import torch

    y: Tensor = getattr(torch.nn.functional, FUNCTIONAL[b.op_type])(x)
    return y


@TORCH.lower(*BINARY)
def binary(b: Call, a: "Tensor", c: "Tensor") -> "Tensor":
    import torch

    y: Tensor = getattr(torch, BINARY[b.op_type])(a, c)
    return y


@TORCH.lower(*VARIADIC)
def variadic(b: Call, *xs: "Tensor") -> "Tensor":
    import torch

    return reduce(getattr(torch, VARIADIC[b.op_type]), xs)


@TORCH.lower("Div")
def div(b: Call, a: "Tensor", c: "Tensor") -> "Tensor":  # noqa: ARG001
    import torch

    return a / c if a.is_floating_point() else torch.div(a, c, rounding_mode="trunc")


@TORCH.lower("Pow")
def power(b: Call, a: "Tensor", c: "Tensor") -> "Tensor":  # noqa: ARG001
    return a.pow(c).to(a.dtype)


@TORCH.lower("Identity")
def identity(b: Call, x: "Tensor") -> "Tensor":  # noqa: ARG001
    return x


@TORCH.lower("Where")
def where(b: Call, condition: "Tensor", a: "Tensor", c: "Tensor") -> "Tensor":  # noqa: ARG001
    return a.where(condition, c)


@TORCH.lower("Cast")
def cast(b: Call, x: "Tensor", *, to: int, saturate: int = 1) -> "Tensor":  # noqa: ARG001
    import onnx_ir as ir
    import torch

    return x.to(getattr(torch, str(ir.DataType(to).numpy())))
