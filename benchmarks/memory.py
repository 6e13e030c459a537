"""Resident memory of this process, in bytes.

On Linux the peak can be reset (writing 5 to ``/proc/self/clear_refs``, proc(5)), so what inference needs is told apart
from what loading needed. Elsewhere only the peak since the start is known.
"""

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    """What the process holds now; where the system does not say (macOS), the most that it has held."""
    return _status("VmRSS") or _peak_since_start()


def peak_bytes() -> int:
    """The most that the process has held since the last `reset_peak`, or since its start where that cannot be reset."""
    return _status("VmHWM") or _peak_since_start()


def reset_peak() -> bool:
    """Start a new peak at what is held now. False where the system has no such switch."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _status(key: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def _peak_since_start() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
