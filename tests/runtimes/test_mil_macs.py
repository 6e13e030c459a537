"""Multiply-accumulates of single operations, counted by hand."""

from collections.abc import Mapping

import pytest

from edgewright.runtimes.read.mil_blocks import Block, Operation, Program, Value
from edgewright.runtimes.read.mil_macs import operation_macs

Shape = tuple[int, ...]


@pytest.mark.parametrize(
    ("type_", "given", "output", "macs"),
    [
        ("conv", {"x": (1, 8, 10, 10), "weight": (16, 8, 3, 3)}, (1, 16, 8, 8), 16 * 8 * 8 * 8 * 9),
        ("conv", {"x": (1, 8, 10, 10), "weight": (8, 1, 3, 3)}, (1, 8, 8, 8), 8 * 8 * 8 * 9),
        ("conv_transpose", {"x": (1, 8, 5, 5), "weight": (8, 4, 2, 2)}, (1, 4, 10, 10), 8 * 25 * 4 * 4),
        ("linear", {"x": (3, 20), "weight": (7, 20)}, (3, 7), 3 * 7 * 20),
        ("matmul", {"x": (2, 4, 6), "y": (2, 6, 5)}, (2, 4, 5), 2 * 4 * 5 * 6),
        ("matmul", {"x": (2, 6, 4), "y": (2, 6, 5)}, (2, 4, 5), 2 * 4 * 5 * 6),  # transpose_x
        (
            "scaled_dot_product_attention",
            {"query": (1, 2, 3, 8), "key": (1, 2, 5, 8), "value": (1, 2, 5, 4)},
            (1, 2, 3, 4),
            2 * 3 * 5 * 8 + 2 * 3 * 5 * 4,
        ),
        ("lstm", {"x": (10, 1, 6), "weight_ih": (16, 6), "weight_hh": (16, 4)}, (10, 1, 4), 10 * (16 * 6 + 16 * 4)),
        ("relu", {"x": (1, 8)}, (1, 8), 0),
    ],
)
def test_counts(type_: str, given: Mapping[str, Shape], output: Shape, macs: int) -> None:
    values = {name: Value(name, shape, "float16") for name, shape in given.items()}
    operation = Operation(type_, {name: (name,) for name in given}, {}, (Value("out", output, "float16"),), ())
    program = Program("CoreML7", (), (), Block((), (operation,), ("out",)), values, {})
    assert operation_macs(operation, program) == macs
