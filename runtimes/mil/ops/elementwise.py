"""Elementwise operations of one and of two tensors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from edgewright.runtimes.mil.operators import OPERATION, Function
from edgewright.runtimes.mil.parameters import from_numpy

Tensor = torch.Tensor
UNARY = (
    "abs", "acos", "asin", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "logical_not",
    "round", "sign", "sin", "sinh", "sqrt", "square", "tan",
)  # fmt: skip
BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum,
    "equal": torch.eq, "not_equal": torch.ne, "greater": torch.gt, "greater_equal": torch.ge, "less": torch.lt,
    "less_equal": torch.le, "logical_and": torch.logical_and, "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
}  # fmt: skip
CASTS = {
    "fp16": torch.float32, "fp32": torch.float32, "int8": torch.int8, "uint8": torch.uint8, "int16": torch.int16,
    "uint16": torch.int32, "int32": torch.int32, "bool": torch.bool,
}  # fmt: skip


def unary(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda x: function(x)


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda x, y: function(x, y)


OPERATION.rows({name: unary(getattr(torch, name)) for name in UNARY})
OPERATION.rows({name: binary(function) for name, function in BINARY.items()})


@OPERATION("identity")
def identity(x: Tensor) -> Tensor:
    return x


@OPERATION("real_div")
def real_div(x: Tensor, y: Tensor) -> Tensor:
    """Integers lose what follows the point."""
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@OPERATION("floor_div")
def floor_div(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="floor")


@OPERATION("mod")
def mod(x: Tensor, y: Tensor) -> Tensor:
    """With the sign of `y`."""
    return torch.remainder(x, y)


@OPERATION("pow")
def power(x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x, y)


@OPERATION("inverse")
def inverse(x: Tensor, epsilon: Any = 1e-4) -> Tensor:
    return 1 / (x + float(epsilon))


@OPERATION("rsqrt")
def rsqrt(x: Tensor, epsilon: Any = 1e-12) -> Tensor:
    return torch.rsqrt(x + float(epsilon))


@OPERATION("log")
def log(x: Tensor, epsilon: Any = 1e-45) -> Tensor:
    return torch.log(x + torch.tensor(float(epsilon)))


@OPERATION("clip")
def clip(x: Tensor, alpha: Any, beta: Any) -> Tensor:
    return x.clamp(float(alpha), float(beta))


@OPERATION("threshold")
def threshold(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.maximum(x, alpha)


@OPERATION("select")
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond, a, b)


@OPERATION("cast")
def cast(x: Any, dtype: str) -> Any:
    """Floats lose what follows the point; integers beyond the new type wrap."""
    if isinstance(x, str):
        return x
    if dtype == "uint16":
        return from_numpy(x.numpy().astype(np.int64).astype(np.uint16).astype(np.int32))
    return x.to(CASTS[dtype])
