from pathlib import Path

import numpy as np
import pytest

from edgewright.benchmarks import memory

MEGABYTE = 1_000_000


def test_peak_stays_after_memory_is_given_back_until_it_is_reset() -> None:
    assert memory.reset_peak()
    before = memory.peak_bytes()
    np.ones(60 * MEGABYTE, np.uint8)
    assert memory.peak_bytes() - before == pytest.approx(60 * MEGABYTE, rel=0.1)
    assert memory.resident_bytes() - before < 10 * MEGABYTE
    assert memory.reset_peak()
    assert memory.peak_bytes() - before < 10 * MEGABYTE


def test_without_proc_the_peak_since_the_start_is_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = memory.peak_bytes()
    monkeypatch.setattr(memory, "_STATUS", Path("/absent/status"))
    monkeypatch.setattr(memory, "_CLEAR_REFS", Path("/absent/clear_refs"))
    assert not memory.reset_peak()
    assert memory.resident_bytes() == memory.peak_bytes()
    assert memory.peak_bytes() >= known - 10 * MEGABYTE
