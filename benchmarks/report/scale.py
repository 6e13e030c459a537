"""Axes: from values to pixels, with ticks at 1, 2 and 5."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    position: float
    label: str


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to pixels [start, end], in equal ratios where `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        value, low, high = (math.log10(v) if self.log else v for v in (value, self.low, self.high))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self, text: Callable[[float], str]) -> list[Tick]:
        return [Tick(self(value), text(value)) for value in self._values()]

    def _values(self) -> list[float]:
        if not self.log:
            step = _round_step((self.high - self.low) / 5)
            first = math.ceil(self.low / step - 1e-9)
            return [round(n * step, 10) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
        inside = [value for value in values if self.low <= value <= self.high]
        decades = [value for value in inside if math.log10(value) % 1 == 0]
        return decades if len(inside) > 8 and len(decades) > 1 else inside


def spanning(values: Sequence[float], start: float, end: float, *, zero: bool, wide: float = 20) -> Scale:
    """A scale that holds `values` with some air. Positive values that differ more than `wide`-fold get a log scale.

    `zero`: a linear scale starts at 0, so that lengths compare.
    """
    low, high = min(values), max(values)
    if low > 0 and high / low > wide:
        return Scale(low / 1.3, high * 1.3, start, end, log=True)
    air = (high - low) * 0.15 or abs(high) * 0.1 or 1.0
    return Scale(0.0 if zero and low >= 0 else low - air, high + air, start, end)


def _round_step(rough: float) -> float:
    base = 10.0 ** math.floor(math.log10(rough))
    return next(digit * base for digit in (1, 2, 5, 10) if digit * base >= rough)
