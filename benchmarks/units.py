"""Figures as people read them: decimal units, three digits."""


def bytes_text(count: float) -> str:
    """1234 → '1.23 kB'."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= size:
            return f"{_three_digits(count / size)} {unit}"
    return f"{count:.0f} B"


def ms_text(milliseconds: float) -> str:
    """0.0483 → '48.3 µs'; 12.31 → '12.3 ms'."""
    if milliseconds < 1:
        return f"{_three_digits(milliseconds * 1e3)} µs"
    if milliseconds >= 1e4:
        return f"{_three_digits(milliseconds / 1e3)} s"
    return f"{_three_digits(milliseconds)} ms"


def percent_text(fraction: float, decimals: int = 1) -> str:
    """0.862 → '86.2 %'; a little above nothing → '<0.1 %'."""
    least = 10.0**-decimals
    if 0 < 100 * fraction < least / 2:
        return f"<{least:g} %"
    return f"{100 * fraction:.{decimals}f} %"


def _three_digits(value: float) -> str:
    decimals = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{decimals}f}"
