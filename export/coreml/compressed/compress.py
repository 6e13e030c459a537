"""The weights of a MIL program, stored in another form in place, each on record with its bytes."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from edgewright.errors import BadModel
from edgewright.export.coreml.compressed.constants import Row, Weight, weights_of
from edgewright.export.coreml.compressed.forms import Place, palette_var, sparse_var
from edgewright.export.coreml.compressed.options import PaletteOptions, SparseOptions, StoredOptions
from edgewright.export.coreml.compressed.sparse import Sparse, pruned, sparsify
from edgewright.export.palette import Palette, palettize
from edgewright.export.steps import Notes

Form = Palette | Sparse
Choose = Callable[[NDArray[Any], Weight], Form | str]


def palettize_program(program: Any, options: PaletteOptions) -> Notes:
    """Indices into tables for the weights of a program, in place. Notes as those of `compress`."""

    def choose(array: NDArray[Any], weight: Weight) -> Form | str:
        bits = max(options.bits, options.depthwise_bits) if weight.depthwise else options.bits
        return palettize(array, weight.channel_axis, options, bits)

    return compress(program, options, choose, "palettized")


def sparsify_program(program: Any, options: SparseOptions) -> Notes:
    """The weights of a program without their zeros, in place. Notes as those of `compress`."""
    return compress(program, options, lambda array, weight: sparsify(array, weight.channel_axis, options), "sparse")


def compress(program: Any, options: StoredOptions, choose: Choose, what: str) -> Notes:
    """Prunes to the density and stores each weight in the form that `choose` gives, where that takes fewer bytes.

    Notes: `stored_weights`, a row each with form and bytes before and after; `float_weights` with the reasons. Raises
    BadModel when no weight is left.
    """
    block = program.functions["main"]
    weights, others = weights_of(block, options.smallest)
    stored: list[Row] = []
    for weight in weights:
        array = pruned(weight.array, options.density)
        form = choose(array, weight)
        if not isinstance(form, str) and form.stored_bytes >= array.nbytes:
            form = f"it would take {form.stored_bytes} bytes instead of {array.nbytes}"
        if isinstance(form, str):
            others.append({"name": weight.name, "shape": list(array.shape), "why": form})
        else:
            name = f"{weight.name}_{what}"
            _replace(weight, form, name, options.opset)
            stored.append({"name": name, "op": weight.reader, "shape": list(array.shape), **_facts(form, array)})
    if not stored:
        listed = "\n".join(f"  {row['name']}: {row['why']}" for row in others)
        raise BadModel(f"{what}: no weight can be stored so; choose another precision\n{listed}".rstrip())
    return {"stored_weights": stored, "float_weights": others}


def _replace(weight: Weight, form: Form, name: str, opset: str) -> None:
    from coremltools.converters.mil import Builder  # type: ignore[import-untyped]

    constant = weight.var.op
    block = constant.enclosing_block
    with block:
        at = Place(Builder, opset, constant, name)
        var = palette_var(form, at) if isinstance(form, Palette) else sparse_var(form, at)
    block.replace_uses_of_var_after_op(
        anchor_op=constant, old_var=weight.var, new_var=var, no_check_var_types=True, force_replace=True
    )
    block.remove_ops([constant])


def _facts(form: Form, array: NDArray[Any]) -> Row:
    sizes = {"bytes_before": array.nbytes, "bytes_after": form.stored_bytes}
    if isinstance(form, Sparse):
        values = str(form.values.dtype)
        return {"form": "sparse", "nonzero": form.values.size, "values": values, "exact": values != "int8", **sizes}
    row: Row = {"form": "palettized" if form.mask is None else "sparse palettized", "bits": form.bits}
    return row | {"group_channels": form.group_channels, "table": str(form.tables.dtype), "exact": form.exact, **sizes}
