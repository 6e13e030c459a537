"""The lengths of a foreign file's inputs: as asked for, an open batch of one, or one of several to compare."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgewright.errors import BadInput, nearest

if TYPE_CHECKING:
    import onnx_ir as ir

OPEN, TO, CHOICE = "?", "..", "|"


Lengths = Sequence[int | str]
Range = tuple[int, int | None]
"""The smallest and the largest length of an open axis; None: any."""


@dataclass(frozen=True)
class InputShape:
    """The lengths of one input; axes in `open_axes` take others later, and have the one given meanwhile.

    `ranges`, one for each open axis, say which others: empty where all may be of any length. `choices` are the only
    whole shapes that there are, the one to begin with first; empty where ranges say it.
    """

    lengths: tuple[int, ...]
    open_axes: tuple[int, ...] = ()
    ranges: tuple[Range, ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()

    def __str__(self) -> str:
        if self.choices:
            return CHOICE.join(",".join(map(str, shape)) for shape in self.choices)
        shown = {axis: f"{self.lengths[axis]}{OPEN}" for axis in self.open_axes}
        shown |= {
            axis: f"{'' if low == self.lengths[axis] else shown[axis]}{low}{TO}{high}"
            for axis, (low, high) in zip(self.open_axes, self.ranges)
            if high is not None
        }
        return ",".join(shown.get(axis, str(n)) for axis, n in enumerate(self.lengths))


Shapes = Mapping[str, InputShape]
"""By the name of the input."""


def input_shape(name: str, lengths: "Lengths | Sequence[Lengths]") -> InputShape:
    """1, 3, "224?" → an axis that ends in ? is open, with that length until it is resized; a bare ? at axis 0 means 1?.

    "1..8" is open from 1 to 8 and begins with 1; "4?1..8" begins with 4. Lists of whole numbers are the shapes that
    there are, the one to begin with first. Raises BadInput on anything but whole numbers from 1 on.
    """
    shapes = [input_shape(name, each) for each in lengths if isinstance(each, list | tuple)]
    if shapes:
        return _of_choices(name, shapes if len(shapes) == len(lengths) else [])
    plain, ranges = [], {}
    for axis, given in enumerate(lengths):
        begin, low, high = _length(name, axis, given)
        plain.append(begin)
        if low is not None:
            ranges[axis] = low, high
    if len({plain[axis] for axis in ranges}) < len(ranges):
        raise BadInput(f"shape of {name!r}: let its open lengths begin with different ones, as in {name}=1,3,224?,225?")
    bounded = any(high is not None for _, high in ranges.values())
    return InputShape(tuple(plain), tuple(ranges), tuple(ranges.values()) if bounded else ())


def _length(name: str, axis: int, given: object) -> tuple[int, int | None, int | None]:
    """(to begin with, smallest, largest) of an axis; both None: fixed, the largest None: any."""
    parts = re.fullmatch(r"(?:(\d+)?(\?))?(?:(\d+)(?:\.\.(\d+))?)?", str(given).strip())
    begin, mark, low, high = parts.groups() if parts else (None, None, None, None)
    if mark and not low:
        begin, low = begin or ("1" if axis == 0 else None), "1"
    elif low and (high or not mark):
        begin = begin or low
    else:
        begin = None  # such as "4?8"
    numbers = [int(n) for n in (low, begin, high) if n is not None]
    if begin is None or numbers[0] < 1 or numbers != sorted(numbers):
        raise BadInput(
            f"shape of {name!r}: {given!r} at axis {axis}; wanted a length from 1 on, as in {name}=1,3,224,224, or "
            f"an open one with a length to begin with, as in {name}=1?,3,224,224, or {name}=1..8,3,224,224, or "
            f"{name}=4?1..8,3,224,224"
        )
    is_open = bool(mark or high)
    return int(begin), int(low or 1) if is_open else None, int(high) if high else None


def _of_choices(name: str, given: Sequence[InputShape]) -> InputShape:
    """Raises BadInput where two lengths begin alike but part later."""
    shapes = [each.lengths for each in given]
    if len({len(shape) for shape in shapes}) != 1 or any(each.open_axes for each in given):
        raise BadInput(f"shape of {name!r}: choices are whole shapes, all with the same number of axes")
    columns = list(zip(*shapes, strict=True))
    open_axes = tuple(axis for axis, column in enumerate(columns) if len(set(column)) > 1)
    if len({columns[axis][0] for axis in open_axes}) < len({columns[axis] for axis in open_axes}):
        raise BadInput(f"shape of {name!r}: begin with a choice whose open lengths all differ")
    return InputShape(shapes[0], open_axes, (), tuple(dict.fromkeys(shapes)) if open_axes else ())


def input_shapes(lengths: "Mapping[str, Lengths | Sequence[Lengths]]") -> dict[str, InputShape]:
    """Raises BadInput, see `input_shape`."""
    return {name: input_shape(name, given) for name, given in lengths.items()}


def split_shapes(texts: Sequence[str]) -> "dict[str, Lengths | Sequence[Lengths]]":
    """x=1,3,224,224 as on the command line → lengths by input; | parts choices. Raises BadInput."""
    lengths: dict[str, Lengths | Sequence[Lengths]] = {}
    for text in texts:
        name, _, given = text.rpartition("=")
        if not name or not given or name in lengths:
            raise BadInput(f"shape {text!r}: wanted NAME=LENGTH,LENGTH,… once for an input, as in x=1,3,224,224")
        choices = [choice.split(",") for choice in given.split(CHOICE)]
        lengths[name] = choices if len(choices) > 1 else choices[0]
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
