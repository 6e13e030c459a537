"""Packed indices and a table in standard ONNX operators, constant throughout, so that a runtime folds them once.

Indices of 8, 4, 2 and 1 bits divide a byte; the other widths are sums of these, held apart: 6 bits are 4 and 2. Every
width then takes what it should, and all of unpacking is done on bytes: onnxruntime folds 2.4 million 6-bit weights in
0.2 s more than it needs to load float ones.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.onnx.graph import add_initializer, make
from edgewright.export.palette import Palette

if TYPE_CHECKING:
    import onnx_ir as ir

Bytes = NDArray[np.uint8]


def parts_of(indices: Bytes, bits: int) -> list[tuple[int, int, Bytes]]:
    """(width, shift, packed) with index = Σ part << shift; `packed` holds 8 / width entries in a byte, lowest first."""
    found, shift = [], 0
    for width in (8, 4, 2, 1):
        if bits & width:
            entries = (indices.reshape(-1) >> shift) & np.uint8((1 << width) - 1)
            whole = np.pad(entries, (0, -len(entries) % (8 // width))).reshape(-1, 8 // width)
            packed = np.bitwise_or.reduce(whole << np.arange(0, 8, width, dtype=np.uint8), axis=1)
            found.append((width, shift, packed))
            shift += width
    return found


def looked_up(palette: Palette, graph: "ir.Graph", before: "ir.Node", name: str) -> "ir.Value":
    """The weight of a palette without mask and scales, as nodes put before one of the graph.

    packed → BitShift → BitwiseAnd, the parts joined by BitwiseOr → Cast (→ Add: where a group's table begins) →
    Gather(table) → Reshape (→ Transpose).
    """
    return _Unpacking(graph, before, name).weight(palette)


class _Unpacking:
    """Nodes and constants of one weight while they are made."""

    def __init__(self, graph: "ir.Graph", before: "ir.Node", name: str) -> None:
        self._graph, self._before, self._name = graph, before, name

    def weight(self, palette: Palette) -> "ir.Value":
        import onnx_ir as ir

        moved = np.moveaxis(palette.indices, palette.axis, 0)
        groups, entries = len(palette.tables), moved.size
        joined = self._joined(moved, palette.bits)
        whole = self._node("Cast", [joined], {"to": ir.DataType.INT32})
        if groups > 1:
            begins = np.arange(groups, dtype=np.int32)[:, None] * palette.tables.shape[1]
            rows = self._node("Reshape", [whole, self._constant("rows", np.array([groups, entries // groups]))])
            whole = self._node("Add", [rows, self._constant("begins", begins)])
        table = self._constant("table", palette.tables.astype(np.float32).reshape(-1))
        real = self._node("Gather", [table, whole])
        real = self._node("Reshape", [real, self._constant("shape", np.array(moved.shape, np.int64))])
        if palette.axis:
            back = [*range(1, palette.axis + 1), 0, *range(palette.axis + 1, moved.ndim)]
            real = self._node("Transpose", [real], {"perm": back})
        return real

    def _joined(self, indices: Bytes, bits: int) -> "ir.Value":
        """uint8 [entries]"""
        joined = None
        for width, shift, packed in parts_of(indices, bits):
            part = self._unpacked(packed, width, indices.size)
            if shift:
                part = self._node("BitShift", [part, self._byte(f"place{width}", shift)], {"direction": "LEFT"})
            joined = part if joined is None else self._node("BitwiseOr", [joined, part])
        assert joined is not None
        return joined

    def _unpacked(self, packed: Bytes, width: int, entries: int) -> "ir.Value":
        """uint8 [entries] of `width` bits each."""
        held = self._constant(f"indices{width}", packed if width == 8 else packed[:, None])
        if width == 8:
            return held
        shifts = self._constant(f"shifts{width}", np.arange(0, 8, width, dtype=np.uint8))
        shifted = self._node("BitShift", [held, shifts], {"direction": "RIGHT"})
        lowest = self._node("BitwiseAnd", [shifted, self._byte(f"mask{width}", (1 << width) - 1)])
        flat = self._node("Reshape", [lowest, self._constant("flat", np.array([-1]))])
        if packed.size * 8 // width == entries:
            return flat
        ends = [self._constant(part, np.array([each])) for part, each in (("first", 0), ("last", entries))]
        return self._node("Slice", [flat, *ends])

    def _byte(self, part: str, value: int) -> "ir.Value":
        return self._constant(part, np.array(value, np.uint8))

    def _constant(self, part: str, array: NDArray[Any]) -> "ir.Value":
        return add_initializer(self._graph, f"{self._name}_{part}", array)

    def _node(self, op_type: str, inputs: "list[ir.Value]", attributes: Mapping[str, Any] | None = None) -> "ir.Value":
        node = make(op_type, inputs, attributes, name=f"{self._name}_{op_type.lower()}")
        self._graph.insert_before(self._before, node)
        return node.outputs[0]
