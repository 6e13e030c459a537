"""The lengths of a foreign file's inputs: as asked for, an open batch of one, or one of several to compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgewright.errors import BadInput, nearest

if TYPE_CHECKING:
    import onnx_ir as ir

OPEN = "?"


@dataclass(frozen=True)
class InputShape:
    """The lengths of one input; axes in `open_axes` take any length later, and have the one given meanwhile."""

    lengths: tuple[int, ...]
    open_axes: tuple[int, ...] = ()

    def __str__(self) -> str:
        return ",".join(f"{n}{OPEN if axis in self.open_axes else ''}" for axis, n in enumerate(self.lengths))


Shapes = Mapping[str, InputShape]
"""By the name of the input."""


def input_shape(name: str, lengths: Sequence[int | str]) -> InputShape:
    """1, 3, "224?" → an axis that ends in ? is open, with that length until it is resized; a bare ? at axis 0 means 1?.

    Raises BadInput on anything but whole numbers from 1 on.
    """
    plain, open_axes = [], []
    for axis, given in enumerate(lengths):
        text = str(given).strip()
        if text.endswith(OPEN):
            open_axes.append(axis)
            text = text.removesuffix(OPEN) or ("1" if axis == 0 else "")
        if not text.isdecimal() or int(text) < 1:
            raise BadInput(
                f"shape of {name!r}: {given!r} at axis {axis}; wanted a length from 1 on, as in {name}=1,3,224,224, or "
                f"an open one with a length to begin with, as in {name}=1?,3,224,224"
            )
        plain.append(int(text))
    if len({plain[axis] for axis in open_axes}) < len(open_axes):
        raise BadInput(f"shape of {name!r}: let its open lengths begin with different ones, as in {name}=1,3,224?,225?")
    return InputShape(tuple(plain), tuple(open_axes))


def input_shapes(lengths: Mapping[str, Sequence[int | str]]) -> dict[str, InputShape]:
    """Raises BadInput, see `input_shape`."""
    return {name: input_shape(name, given) for name, given in lengths.items()}


def split_shapes(texts: Sequence[str]) -> dict[str, list[str]]:
    """x=1,3,224,224 as on the command line → lengths by input. Raises BadInput."""
    lengths: dict[str, list[str]] = {}
    for text in texts:
        name, _, given = text.rpartition("=")
        if not name or not given or name in lengths:
            raise BadInput(f"shape {text!r}: wanted NAME=LENGTH,LENGTH,… once for an input, as in x=1,3,224,224")
        lengths[name] = given.split(",")
    return lengths


def fix_lengths(model: "ir.Model", shapes: Shapes) -> list[str]:
    """Give every input fixed lengths, in place: those asked for, else 1 to an open batch; gives the inputs so fixed.

    Raises one BadInput on lengths that stay open, shapes that contradict the file, and names that it does not have.
    """
    inputs = {str(v.name): v for v in model.graph.inputs if v.name not in model.graph.initializers}
    problems = [f"no input {name!r}; {nearest(name, inputs)}" for name in shapes if name not in inputs]
    fixed: list[str] = []
    changed: dict[str, Sequence[int]] = {}
    for name, value in inputs.items():
        wanted = shapes[name].lengths if name in shapes else _with_one_batch(value)
        if problem := _contradiction(name, value, wanted):
            problems.append(problem)
        elif value.shape is None or tuple(value.shape) != wanted:
            changed[name] = wanted
            fixed += [] if name in shapes else [name]
    if problems:
        raise BadInput(
            "inputs must have fixed lengths (an open batch is 1 unless you say more): " + "; ".join(problems)
        )
    if changed:
        set_lengths(model, changed)
    return fixed


def set_lengths(model: "ir.Model", lengths: Mapping[str, Sequence[int]]) -> None:
    """Set the shapes of these inputs, in place, and forget all that follow from them; inference finds them anew."""
    import onnx_ir as ir

    for value in model.graph.inputs:
        if str(value.name) in lengths:
            value.shape = ir.Shape(lengths[str(value.name)])
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None


def _with_one_batch(value: "ir.Value") -> tuple[Any, ...]:
    import onnx_ir as ir

    dims = tuple(value.shape or ())
    return (1, *dims[1:]) if dims and isinstance(dims[0], ir.SymbolicDim) else dims


def _contradiction(name: str, value: "ir.Value", wanted: Sequence[object]) -> str | None:
    """Why these cannot be the lengths of an input."""
    dims = None if value.shape is None else list(value.shape)
    if dims is None:
        return None if wanted else f"{name!r} has no shape: give one, as in --shape {name}=1,3,224,224"
    shown = "×".join(_shown(n) for n in dims)
    if len(wanted) != len(dims) or any(isinstance(n, int) and n != w for n, w in zip(dims, wanted, strict=True)):
        return f"{name!r} is {shown} in the file, not {'×'.join(map(str, wanted))}"
    left = [axis for axis, length in enumerate(wanted) if not isinstance(length, int)]
    if not left:
        return None
    where = " and ".join(f"{_shown(dims[axis])!r} at axis {axis}" for axis in left)
    example = ",".join(str(n) if isinstance(n, int) else f"<{_shown(n)}>" for n in wanted)
    return f"{name!r} has an open length {where}: say which, as in --shape {name}={example}"


def _shown(length: object) -> str:
    text = length if isinstance(length, int) else getattr(length, "value", None)
    return OPEN if text is None else str(text)
