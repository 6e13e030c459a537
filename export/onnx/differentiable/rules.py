"""The rules of the differentiable graph, and what a rule is told about its node."""

from dataclasses import dataclass
from typing import NoReturn

from edgewright.errors import UnsupportedOps
from edgewright.export.lowering import Lowerings

TORCH = Lowerings("training (learned rounding, qat)", "edgewright.export.onnx.differentiable.ops")


@dataclass(frozen=True)
class Call:
    """The node that a rule runs: `shapes` are those of its outputs (None: unknown), `used` how many outputs are."""

    op_type: str
    name: str
    shapes: tuple[tuple[int, ...] | None, ...]
    used: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first output, from the graph's shape inference."""
        return self.shapes[0] if self.shapes[0] is not None else self.refuse("its output has no static shape")

    def refuse(self, why: str) -> NoReturn:
        raise UnsupportedOps(TORCH.target, {self.op_type: (why, [self.name])})

    def only_one_output(self) -> None:
        if self.used > 1:
            self.refuse("its second output is used")
