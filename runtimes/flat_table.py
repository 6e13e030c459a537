"""A bounds-checked view on a FlatBuffers table, on `struct` and numpy alone.

The generated accessors trust every offset, and a native runtime dies on a bad one; here each is checked before use.
Format: https://flatbuffers.dev/internals (table → vtable → field offsets; vectors and strings carry their length).
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Corrupt(ValueError):
    """An offset or a length points outside the buffer. Callers turn it into BadModel naming the file."""


def read_at(data: memoryview, code: str, position: int) -> int:
    """One little-endian number; `code` is a `struct` letter."""
    if position < 0 or position + struct.calcsize(code) > len(data):
        raise Corrupt(f"offset {position} lies outside its {len(data)} bytes")
    return int(struct.unpack_from("<" + code, data, position)[0])


@dataclass(frozen=True)
class Table:
    """A table at `position`; `slot` is the field's number in its schema, from 0."""

    data: memoryview
    position: int

    def __post_init__(self) -> None:
        vtable = self._vtable()
        length, size = read_at(self.data, "H", vtable), read_at(self.data, "H", vtable + 2)
        if length < 4 or length % 2 or vtable + length > len(self.data) or self.position + size > len(self.data):
            raise Corrupt(f"malformed table at {self.position}")
        if any(read_at(self.data, "H", vtable + at) >= max(size, 1) for at in range(4, length, 2)):
            raise Corrupt(f"a field lies outside its table at {self.position}")

    def number(self, slot: int, code: str, default: int = 0) -> int:
        at = self._field(slot)
        return default if at is None else read_at(self.data, code, at)

    def table(self, slot: int) -> "Table | None":
        at = self._field(slot)
        return None if at is None else Table(self.data, self._follow(at))

    def tables(self, slot: int) -> list["Table"]:
        start, count = self._vector(slot, 4)
        return [Table(self.data, self._follow(start + 4 * index)) for index in range(count)]

    def numbers(self, slot: int, dtype: str) -> NDArray[Any]:
        kind = np.dtype(dtype).newbyteorder("<")
        start, count = self._vector(slot, kind.itemsize)
        return np.frombuffer(self.data, kind, count, start) if count else np.empty(0, kind)

    def content(self, slot: int) -> memoryview:
        start, count = self._vector(slot, 1)
        return self.data[start : start + count]

    def text(self, slot: int) -> str:
        return bytes(self.content(slot)).decode("utf-8", "replace")

    def _vtable(self) -> int:
        return self.position - read_at(self.data, "i", self.position)

    def _field(self, slot: int) -> int | None:
        vtable = self._vtable()
        at = 4 + 2 * slot
        offset = read_at(self.data, "H", vtable + at) if at < read_at(self.data, "H", vtable) else 0
        return self.position + offset if offset else None

    def _follow(self, at: int) -> int:
        return at + read_at(self.data, "I", at)

    def _vector(self, slot: int, item_bytes: int) -> tuple[int, int]:
        """Where its first item lies, and how many there are."""
        at = self._field(slot)
        if at is None:
            return 0, 0
        start = self._follow(at)
        count = read_at(self.data, "I", start)
        if start + 4 + count * item_bytes > len(self.data):
            raise Corrupt(f"a vector of {count} items at {start} is longer than the file")
        return start + 4, count
