"""Results by what made them. An entry is a folder, written in `.making-*` and renamed once; failures leave nothing."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import BadInput
from edgewright.runtimes.artifact import digest_of
from edgewright.staging import making

Json = Any
Key = Mapping[str, Json]
ADVICE = "Free space, or point EDGEWRIGHT_STORE elsewhere."


@dataclass(frozen=True)
class Entry:
    """A finished result: files in `folder`, `record` as its maker returned it; `hit` when nothing had to be made."""

    folder: Path
    record: dict[str, Json]
    hit: bool
    seconds: float


def default_root() -> Path:
    """`EDGEWRIGHT_STORE`, else the user's cache folder."""
    named = os.environ.get("EDGEWRIGHT_STORE")
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(cache_home) if cache_home else Path.home() / ".cache") / "edgewright"


class Store:
    """Content-addressed by the full sha256 of a canonical JSON key. Safe for concurrent builds."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def get_or_make(self, key: Key, make: Callable[[Path], dict[str, Json]]) -> Entry:
        """The entry for `key`; where there is none, `make(folder)` fills a temporary folder and returns its record.

        An entry whose files no longer have their digest is made again. Raises WriteFailed when the disk refuses.
        """
        found = self.find(key)
        if found is not None:
            return found
        place = self._place(key)
        started = time.perf_counter()
        with making(self.root, ADVICE) as temporary:
            content = temporary / "content"
            content.mkdir()
            record = make(content)
            seconds = time.perf_counter() - started
            text = {"key": key, "record": record, "seconds": seconds, "digest": digest_of(content)}
            (temporary / "entry.json").write_text(json.dumps(text, indent=1, sort_keys=True))
            self._publish(temporary, place)
        return Entry(place / "content", json.loads(json.dumps(record)), False, seconds)

    def find(self, key: Key) -> Entry | None:
        """The entry for `key`, if it was made and is whole."""
        return self._read(self._place(key))

    def _place(self, key: Key) -> Path:
        name = hashlib.sha256(canonical(key).encode()).hexdigest()
        return self.root / name[:2] / name

    @contextlib.contextmanager
    def unfinished(self, key: Key) -> Iterator[Path | None]:
        """A folder for what a long step has done so far: it outlives a kill, and is gone when the block ends well.

        What the user gave being refused ends it too. None while another build holds it.
        """
        folder = self.root / "unfinished" / hashlib.sha256(canonical(key).encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            try:
                yield folder
            except BadInput:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)

    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.root.rglob("*") if file.is_file())

    def trim(self, limit_bytes: int) -> int:
        """Remove what is least recently used until at most `limit_bytes` are left; returns the bytes removed."""
        kept = [*self.root.glob("??/*/entry.json"), *self.root.glob("unfinished/*/lock")]
        entries = sorted(kept, key=lambda file: file.stat().st_mtime)
        sizes = {file: sum(f.stat().st_size for f in file.parent.rglob("*") if f.is_file()) for file in entries}
        total, removed = sum(sizes.values()), 0
        for file in entries:
            if total - removed <= limit_bytes:
                break
            shutil.rmtree(file.parent)
            removed += sizes[file]
        return removed

    def _read(self, place: Path) -> Entry | None:
        try:
            text = json.loads((place / "entry.json").read_text())
            if digest_of(place / "content") != text["digest"]:
                raise ValueError("content changed")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, OSError):
            shutil.rmtree(place, ignore_errors=True)
            return None
        os.utime(place / "entry.json")
        return Entry(place / "content", text["record"], True, text["seconds"])

    def _publish(self, temporary: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.rename(place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another build was first: its result is as good
                raise


def canonical(key: Key) -> str:
    return json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
