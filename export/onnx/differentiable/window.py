"""What a sliding window reads: pads on both sides of each spatial axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Window:
    """`pads` are those that the operator declares, per spatial axis (begin, end); `beyond` what its last window reads
    after them (ceil_mode)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    beyond: tuple[int, ...]


def window(
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
    size: Sequence[int],
    out: Sequence[int],
) -> Window:
    """The window of `kernel` over spatial lengths `size` that gives lengths `out`."""
    rank = len(kernel)
    steps, spread = tuple(strides or (1,) * rank), tuple(dilations or (1,) * rank)
    reach = [(n - 1) * s + (k - 1) * d + 1 - m for n, s, k, d, m in zip(out, steps, kernel, spread, size, strict=True)]
    if auto_pad.startswith("SAME"):
        odd = auto_pad == "SAME_LOWER"
        declared = tuple(((max(r, 0) + odd) // 2, max(r, 0) - (max(r, 0) + odd) // 2) for r in reach)
    else:
        flat = tuple(pads or (0,) * 2 * rank) if auto_pad == "NOTSET" else (0,) * 2 * rank
        declared = tuple(zip(flat[:rank], flat[rank:], strict=True))
    beyond = tuple(max(r - begin - end, 0) for r, (begin, end) in zip(reach, declared, strict=True))
    return Window(tuple(kernel), steps, spread, declared, beyond)


def pad_spatial(x: "Tensor", pads: Sequence[tuple[int, int]], value: float = 0.0) -> "Tensor":
    """x [n, channels, *spatial] with pads (or cuts, where negative) around its spatial axes."""
    from torch.nn import functional

    flat = [n for pair in reversed(pads) for n in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x
