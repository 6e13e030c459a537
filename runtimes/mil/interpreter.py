"""Runs a program: one instruction after the other, each result checked against its declaration and rounded to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from edgewright.errors import BadInput, BadModel
from edgewright.runtimes.mil.program import HELD, Block, Instruction, Program, Ref, Value
from edgewright.runtimes.mil.sums import Float16Sums, Float32Sums

Arithmetic = Literal["float32", "float16-storage", "float16-accumulate"]
Array = NDArray[Any]
FLOAT16_MAX = 65504.0
LOOP_LIMIT = 1_000_000


@dataclass(frozen=True)
class Overflow:
    """A tensor that the program declares float16 and whose values are finite in float32 but not in float16."""

    tensor: str
    operation: str
    peak: float


@dataclass(frozen=True)
class Evaluation:
    """What one call gave, by the names in the file. `overflow` is the first tensor beyond float16, if any."""

    outputs: dict[str, Any]
    state: dict[str, Array]
    overflow: Overflow | None


@dataclass
class Machine:
    """One call of a program.

    `arithmetic`: "float32" keeps what is declared float16 in float32, "float16-storage" rounds each such result,
    "float16-accumulate" also every step of the sums of products in convolutions, matrix products, means and sums that
    give float16 (other inner sums, as in softmax or a normalization, stay float32).
    `see` gets every result by name; where it returns a tensor, the readers get that one instead.
    """

    program: Program
    arithmetic: Arithmetic = "float32"
    see: Callable[[str, Array], Array | None] | None = None
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    overflow: Overflow | None = None

    def call(self, inputs: Mapping[str, Array]) -> Evaluation:
        """Raises BadInput when an operation fails on these inputs, BadModel when it is not as it is declared."""
        values = {value.name: _tensor(inputs[value.name], value) for value in self.program.inputs}
        for value in self.program.states:
            self.state.setdefault(value.name, torch.zeros([n or 1 for n in value.shape or ()], dtype=_held(value)))
        with torch.inference_mode():
            results = self._block(self.program.body, values)
        outputs = {name: _array(result) for name, result in zip(self.program.outputs, results, strict=True)}
        return Evaluation(outputs, {name: tensor.numpy() for name, tensor in self.state.items()}, self.overflow)

    def _block(self, block: Block, values: dict[str, Any]) -> list[Any]:
        for instruction in block.instructions:
            results = self._results(instruction, values)
            for output, result in zip(instruction.outputs, results, strict=True):
                values[output.name] = self._seen(output, self._typed(instruction, output, result))
            for name in instruction.done:
                values.pop(name, None)
        return [_resolved(output, values) for output in block.outputs]

    def _results(self, instruction: Instruction, values: dict[str, Any]) -> tuple[Any, ...]:
        if instruction.type in ("read_state", "write_state"):
            return self._on_state(instruction, values)
        arguments = {key: _resolved(value, values) for key, value in instruction.arguments.items()}
        if instruction.type == "cond":
            chosen = instruction.blocks[0 if bool(arguments["pred"]) else 1]
            return tuple(self._block(chosen, dict(values)))
        if instruction.type == "while_loop":
            return self._loop(instruction, arguments["loop_vars"], values)
        return self._applied(instruction, arguments)

    def _applied(self, instruction: Instruction, arguments: dict[str, Any]) -> tuple[Any, ...]:
        operator = instruction.operator
        assert operator is not None
        if operator.sums:
            narrow = self.arithmetic == "float16-accumulate" and instruction.outputs[0].dtype == "float16"
            arguments["sums"] = Float16Sums() if narrow else Float32Sums()
        try:
            results = operator.function(**arguments)
        except (RuntimeError, ValueError, IndexError) as error:  # torch's and numpy's own refusals
            where = f"{instruction.type} → {', '.join(value.name for value in instruction.outputs)}"
            raise BadInput(f"{self.program.path}: {where} failed on these inputs: {error}") from error
        return results if isinstance(results, tuple) else (results,)

    def _loop(self, instruction: Instruction, state: list[Any], values: dict[str, Any]) -> tuple[Any, ...]:
        test, body = instruction.blocks
        for _ in range(LOOP_LIMIT):
            if not bool(self._block(test, values | dict(zip(test.inputs, state, strict=True)))[0]):
                return tuple(state)
            state = self._block(body, values | dict(zip(body.inputs, state, strict=True)))
        raise BadInput(f"{self.program.path}: a while_loop did not end within {LOOP_LIMIT} rounds")

    def _on_state(self, instruction: Instruction, values: dict[str, Any]) -> tuple[Any, ...]:
        name = instruction.arguments["x"].name
        if instruction.type == "read_state":
            return (self.state[name].clone(),)
        self.state[name] = _resolved(instruction.arguments["data"], values).clone()
        return ()

    def _typed(self, instruction: Instruction, output: Value, result: Any) -> Any:
        """The result, rounded to float16 if so declared. Raises BadModel where shape or type differ."""
        if not isinstance(result, torch.Tensor):
            return result
        fits = output.shape is None or (
            len(output.shape) == result.ndim
            and all(want in (None, have) for want, have in zip(output.shape, result.shape))
        )
        if not fits or result.dtype != _held(output):
            raise BadModel(
                f"{self.program.path}: {instruction.type} → {output.name} gives {result.dtype} {list(result.shape)}, "
                f"declared {output.dtype} {list(output.shape or ())}"
            )
        if output.dtype != "float16" or self.arithmetic == "float32":
            return result
        rounded = result.half().float()
        if self.overflow is None and not bool(rounded.isfinite().all()):
            self.overflow = _overflow(instruction, output, result)
        return rounded

    def _seen(self, output: Value, result: Any) -> Any:
        if self.see is None or not isinstance(result, torch.Tensor):
            return result
        instead = self.see(output.name, result.numpy())
        return result if instead is None else _tensor(instead, output)


def _overflow(instruction: Instruction, output: Value, result: torch.Tensor) -> Overflow | None:
    finite = result[result.isfinite()]
    peak = float(finite.abs().max()) if finite.numel() else 0.0
    narrow = instruction.operator is not None and instruction.operator.sums and not bool(result.isfinite().all())
    if narrow or peak > FLOAT16_MAX:
        return Overflow(output.name, instruction.type, peak if peak > FLOAT16_MAX else float("inf"))
    return None


def _resolved(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_resolved(item, values) for item in value]
    return values[value.name] if isinstance(value, Ref) else value


def _held(value: Value) -> torch.dtype:
    held: torch.dtype = getattr(torch, HELD[value.dtype])
    return held


def _tensor(array: Array, value: Value) -> torch.Tensor:
    return torch.from_numpy(np.array(array, HELD[value.dtype]))


def _array(result: Any) -> Any:
    return result.numpy() if isinstance(result, torch.Tensor) else result
