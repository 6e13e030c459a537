"""Outputs are written aside and renamed once: a full disk or a killed run leaves nothing half-made behind."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgewright.errors import WriteFailed

PREFIX = ".making-"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


@contextlib.contextmanager
def making(folder: Path, advice: str) -> Iterator[Path]:
    """A temporary folder inside `folder`, gone afterwards; what killed runs left there is removed first.

    Raises WriteFailed with `advice` when the disk refuses.
    """
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=folder))
        yield temporary
    except OSError as error:
        if error.errno in FULL | REFUSED and not isinstance(error, WriteFailed):
            raise WriteFailed(f"{folder}: {error.strerror}; nothing was kept. {advice}") from error
        raise
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def replacing(out: Path, advice: str = "Free space, or choose another place.") -> Iterator[Path]:
    """A path to write a file or folder at; when the block ends well it takes the place of `out`."""
    with making(out.parent, advice) as folder:
        made = folder / out.name
        yield made
        if out.is_dir():
            out.rename(folder / f"old-{out.name}")
        made.replace(out)


def _sweep(folder: Path) -> None:
    for leftover in folder.glob(f"{PREFIX}*"):
        pid = leftover.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(leftover, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
