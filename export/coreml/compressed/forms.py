"""Palettes and sparse arrays → MIL's constexpr operations, which a runtime expands. iOS18 has its own forms."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.export.coreml.compressed.sparse import Sparse
from edgewright.export.palette import Palette, along

Array = NDArray[Any]


@dataclass(frozen=True)
class Place:
    """Where operations are made: by the builder `mb`, for `opset`, before an operation, the last one named `name`."""

    mb: Any
    opset: str
    before: Any
    name: str

    def called(self, part: str) -> dict[str, Any]:
        """The place and name of an operation that gives a part."""
        return {"before_op": self.before, "name": f"{self.name}_{part}"}

    @property
    def last(self) -> dict[str, Any]:
        return {"before_op": self.before, "name": self.name}


def palette_var(palette: Palette, at: Place) -> Any:
    """(indices, table) → lut_to_dense; with a mask lut_to_sparse → sparse_to_dense; scales of channels behind."""
    if at.opset < "iOS18":
        return at.mb.constexpr_lut_to_dense(
            indices=packed(palette.indices, palette.bits),
            lut=palette.tables[0],
            shape=np.array(palette.indices.shape, np.uint32),
            **at.last,
        )
    rank, axis = palette.indices.ndim, palette.axis
    scales = None if palette.channel_scales is None else along(palette.channel_scales, axis, rank)
    table = _table_var(palette, at)
    if palette.mask is not None:
        codes = narrow(palette.indices[palette.mask], palette.bits)
        mask, values = at.mb.constexpr_lut_to_sparse(
            indices_mask=narrow(palette.mask, 1), indices_nonzero_data=codes, lut=table, **at.called("values")
        )
        return _expanded(mask, values, scales, at)
    codes = narrow(palette.indices, palette.bits)
    if scales is None:
        return at.mb.constexpr_lut_to_dense(indices=codes, lut=table, **at.last)
    dense = at.mb.constexpr_lut_to_dense(indices=codes, lut=table, **at.called("unscaled"))
    return at.mb.constexpr_blockwise_shift_scale(data=dense, scale=scales, **at.last)


def sparse_var(sparse: Sparse, at: Place) -> Any:
    """(mask, values) → sparse_to_dense; int8 values through their scales first."""
    if at.opset < "iOS18":
        return at.mb.constexpr_sparse_to_dense(
            nonzero_data=sparse.values,
            mask=packed(sparse.mask, 1),
            shape=np.array(sparse.mask.shape, np.uint32),
            **at.last,
        )
    scales = None if sparse.scales is None else along(sparse.scales, sparse.axis, sparse.mask.ndim)
    return _expanded(narrow(sparse.mask, 1), sparse.values, scales, at)


def _table_var(palette: Palette, at: Place) -> Any:
    """[groups along the axis, 2^bits, 1], int8 ones through their scales."""
    rank = palette.indices.ndim
    shape = [len(palette.tables) if i == palette.axis else 1 for i in range(rank)]
    table = palette.tables.reshape(*shape, -1, 1)
    if palette.table_scales is None:
        return table
    steps = palette.table_scales.reshape(*shape, 1, 1)
    return at.mb.constexpr_blockwise_shift_scale(data=table, scale=steps, **at.called("table"))


def _expanded(mask: Any, values: Any, scales: Array | None, at: Place) -> Any:
    if scales is not None:
        mask, values = at.mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=mask, nonzero_data=values, scale=scales, **at.called("scaled")
        )
    return at.mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask, **at.last)


def narrow(codes: Array, bits: int) -> Array:
    """In MIL's unsigned type of so many bits."""
    from coremltools.converters.mil.mil import types  # type: ignore[import-untyped]

    return codes.astype(types.nptype_from_builtin(types.string_to_builtin(f"uint{bits}")))


def packed(codes: Array, bits: int) -> NDArray[np.uint8]:
    """Codes of `bits` bits one behind the other, the lowest bit first: iOS16's form."""
    rows = np.unpackbits(codes.reshape(-1, 1).astype(np.uint8), axis=1, count=bits, bitorder="little")
    return np.packbits(rows, bitorder="little")
