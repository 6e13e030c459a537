"""Sliding windows: which TFLite padding equals ONNX's, and what must be padded explicitly where none does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Window:
    """Along each spatial axis, two or three of them. `declared` are ONNX's pads (begin, end) for each; `pads` adds what
    ceil_mode reaches beyond."""

    kernel: Ints
    strides: Ints
    dilations: Ints
    declared: Pairs
    size: Ints
    out: Ints

    @property
    def axes(self) -> range:
        return range(len(self.kernel))

    @property
    def pads(self) -> Pairs:
        return tuple((begin, max(end, self.overhang(axis) - begin)) for axis, (begin, end) in enumerate(self.declared))

    @property
    def padding(self) -> str | None:
        """VALID or SAME where one of them places every window as ONNX does; None: pad first, then VALID."""
        if all(pads == (0, 0) for pads in self.pads):
            return "VALID"
        # Where windows end before the tensor does, tflite-runtime's XNNPACK takes the negative rest for padding.
        reaching = all(self.reach(axis) >= self.size[axis] for axis in self.axes)
        same_size = reaching and all(self.out[axis] == -(-self.size[axis] // self.strides[axis]) for axis in self.axes)
        if same_size and all(self.pads[axis][0] == self.overhang(axis) // 2 for axis in self.axes):
            return "SAME"
        return None

    @property
    def padded_size(self) -> Ints:
        return tuple(size + begin + end for size, (begin, end) in zip(self.size, self.pads))

    def overhang(self, axis: int) -> int:
        """How far all windows together reach beyond the tensor."""
        return max(self.reach(axis) - self.size[axis], 0)

    def reach(self, axis: int) -> int:
        """How many elements all windows together span."""
        return (self.out[axis] - 1) * self.strides[axis] + self.extent(axis)

    def extent(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def starts(self, axis: int) -> list[int]:
        """Where each window begins; below 0 it begins in the pads."""
        return [position * self.strides[axis] - self.declared[axis][0] for position in range(self.out[axis])]

    def counts(self, axis: int, *, declared: bool) -> list[int]:
        """Elements under each window: those of the tensor, and of its `declared` pads if asked."""
        before, after = self.declared[axis] if declared else (0, 0)
        reached = range(-before, self.size[axis] + after)
        steps = range(0, self.extent(axis), self.dilations[axis])
        return [sum(start + step in reached for step in steps) for start in self.starts(axis)]

    def averages_evenly(self, count_pads: bool) -> bool:
        """Whether AVERAGE_POOL_2D alone divides each window's sum by ONNX's count."""
        if len(self.kernel) > 2 or set(self.dilations) != {1}:
            return False
        if self.padding == "VALID" or (self.padding == "SAME" and not count_pads):
            return True
        counts = [self.counts(axis, declared=count_pads) for axis in self.axes]
        return all(prod(each) == prod(self.kernel) for each in product(*counts))

    def along(self, *axes: int) -> "Window":
        """The window over these of its axes, as one over two: a single axis gets a height of 1."""
        lead = 2 - len(axes)

        def chosen(values: Sequence[int]) -> Ints:
            return (1,) * lead + tuple(values[axis] for axis in axes)

        declared = ((0, 0),) * lead + tuple(self.declared[axis] for axis in axes)
        fields = (self.kernel, self.strides, self.dilations)
        kernel, strides, dilations = (chosen(values) for values in fields)
        return Window(kernel, strides, dilations, declared, chosen(self.size), chosen(self.out))


def window(
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    size: Sequence[int],
    out: Sequence[int],
) -> Window:
    """From ONNX attributes of one to three spatial axes; `size` and `out` are the file's, at least height and width."""
    rank = len(kernel)
    lead = (1,) * (2 - rank)
    begin_end = pads or (0,) * (2 * rank)
    pairs = [(begin_end[axis], begin_end[axis + rank]) for axis in range(rank)]
    none: Pairs = ((0, 0),) * len(lead)
    length, step, spacing = ((*lead, *(values or (1,) * rank)) for values in (kernel, strides, dilations))
    plain = Window(length, step, spacing, (*none, *((0, 0),) * rank), tuple(size), tuple(out))
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        totals = [plain.overhang(axis) for axis in plain.axes][len(lead) :]
        smaller = [total // 2 for total in totals]
        pairs = [
            (small, total - small) if auto_pad == "SAME_UPPER" else (total - small, small)
            for total, small in zip(totals, smaller)
        ]
    elif auto_pad == "VALID":
        pairs = [(0, 0)] * rank
    return replace(plain, declared=(*none, *pairs))
