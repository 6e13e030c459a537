"""Sliding windows: which TFLite padding equals ONNX's, and what must be padded explicitly where none does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Height and width. `declared` are ONNX's pads (begin, end) for each; `pads` adds what ceil_mode reaches beyond."""

    kernel: Pair
    strides: Pair
    dilations: Pair
    declared: tuple[Pair, Pair]
    size: Pair
    out: Pair

    @property
    def pads(self) -> tuple[Pair, Pair]:
        (top, bottom), (left, right) = self.declared
        return (top, max(bottom, self.overhang(0) - top)), (left, max(right, self.overhang(1) - left))

    @property
    def padding(self) -> str | None:
        """VALID or SAME where one of them places every window as ONNX does; None: pad first, then VALID."""
        axes = range(2)
        if all(self.pads[axis] == (0, 0) for axis in axes):
            return "VALID"
        # Where windows end before the tensor does, tflite-runtime's XNNPACK takes the negative rest for padding.
        reaching = all(self.reach(axis) >= self.size[axis] for axis in axes)
        same_size = reaching and all(self.out[axis] == -(-self.size[axis] // self.strides[axis]) for axis in axes)
        if same_size and all(self.pads[axis][0] == self.overhang(axis) // 2 for axis in axes):
            return "SAME"
        return None

    def overhang(self, axis: int) -> int:
        """How far all windows together reach beyond the tensor."""
        return max(self.reach(axis) - self.size[axis], 0)

    def reach(self, axis: int) -> int:
        """How many elements all windows together span."""
        return (self.out[axis] - 1) * self.strides[axis] + self.extent(axis)

    def extent(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def counts(self, axis: int, *, declared: bool) -> list[int]:
        """Elements under each window, without dilation: those of the tensor, and of its `declared` pads if asked."""
        before, after = self.declared[axis] if declared else (0, 0)
        starts = [position * self.strides[axis] - self.declared[axis][0] for position in range(self.out[axis])]
        last = self.size[axis] + after
        return [min(start + self.kernel[axis], last) - max(start, -before) for start in starts]

    def averages_evenly(self, count_pads: bool) -> bool:
        """Whether AVERAGE_POOL_2D alone divides each window's sum by ONNX's count."""
        if self.padding == "VALID" or (self.padding == "SAME" and not count_pads):
            return True
        size = self.kernel[0] * self.kernel[1]
        counts = [self.counts(axis, declared=count_pads) for axis in range(2)]
        return all(rows * columns == size for rows in counts[0] for columns in counts[1])


def window(
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    size: Sequence[int],
    out: Sequence[int],
) -> Window:
    """From ONNX attributes of one or two spatial axes; `size` and `out` are the file's heights and widths."""
    rank = len(kernel)
    begin_end = pads or (0,) * (2 * rank)
    pairs = [(begin_end[axis], begin_end[axis + rank]) for axis in range(rank)]
    plain = Window(
        _pair(kernel), _pair(strides or (1,) * rank), _pair(dilations or (1,) * rank), ((0, 0), (0, 0)),
        (size[0], size[1]), (out[0], out[1]),
    )  # fmt: skip
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        totals = [plain.overhang(axis) for axis in range(2)]
        smaller = [total // 2 for total in totals]
        pairs = [
            (small, total - small) if auto_pad == "SAME_UPPER" else (total - small, small)
            for total, small in zip(totals, smaller)
        ]
    elif auto_pad == "VALID":
        pairs = [(0, 0)] * rank
    full = [(0, 0)] * (2 - len(pairs)) + pairs
    return replace(plain, declared=(full[0], full[1]))


def _pair(values: Sequence[int]) -> Pair:
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])
