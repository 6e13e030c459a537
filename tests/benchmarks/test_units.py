import pytest

from edgewright.benchmarks.units import bytes_text, ms_text, percent_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1234, "1.23 kB"),
        (24_000, "24.0 kB"),
        (786_432, "786 kB"),
        (75e6, "75.0 MB"),
        (1e9, "1.00 GB"),
    ],
)
def test_bytes(count: float, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0.0483, "48.3 µs"), (0.61, "610 µs"), (1.0, "1.00 ms"), (12.31, "12.3 ms"), (1e4, "10.0 s")],
)
def test_milliseconds(milliseconds: float, text: str) -> None:
    assert ms_text(milliseconds) == text


def test_percent() -> None:
    assert [percent_text(share) for share in (0.862, 0.0, 0.0004, 0.0005)] == ["86.2 %", "0.0 %", "<0.1 %", "0.1 %"]
    assert (percent_text(0.3333, 0), percent_text(0.004, 0)) == ("33 %", "<1 %")
