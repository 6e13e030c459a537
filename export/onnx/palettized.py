"""onnx:float32 → onnx:palettized: weights as packed indices and a table, which onnxruntime unfolds when it loads."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgewright.compress.entropy import coded
from edgewright.errors import BadInput, BadModel, nearest
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.passes.dead_code import remove_dead_code
from edgewright.export.onnx.passes.names import tidy_names
from edgewright.export.onnx.quantize.weights import Weight, WeightOptions, rows, weights_of
from edgewright.export.onnx.unpacking import looked_up
from edgewright.export.palette import Palette, palettize
from edgewright.export.steps import Job, Notes, step
from edgewright.runtimes.artifact import Artifact

MODES = ("kmeans", "unique")


@dataclass(frozen=True)
class PackedOptions(WeightOptions):
    """`bits` of an index, 1 to 8; depthwise convolutions get at least `depthwise_bits`. `group_channels`: how many
    output channels share a table, at most (0: all). `mode` kmeans fits a table to the weights (Han et al. 2016, arXiv
    1510.00149) where they have more values than that; unique stores only those that lose nothing. Raises BadInput.
    """

    bits: int = 4
    depthwise_bits: int = 8
    group_channels: int = 0
    mode: str = "kmeans"

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = [
            f"{name} is {bits!r}; it is 1 to 8"
            for name, bits in (("bits", self.bits), ("depthwise_bits", self.depthwise_bits))
            if type(bits) is not int or bits not in self.widths
        ]
        if type(self.group_channels) is not int or self.group_channels < 0:
            problems.append(f"group_channels is {self.group_channels!r}; it is a number of channels, 0 for all")
        if self.mode not in MODES:
            problems.append(f"unknown mode {self.mode!r}; {nearest(str(self.mode), MODES)}")
        if problems:
            raise BadInput("palettized: " + "; ".join(problems))

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(range(1, 9))

    @property
    def masks(self) -> bool:
        """A bit mask costs more nodes than it saves bytes."""
        return False

    @property
    def channel_scales(self) -> bool:
        return False

    @property
    def table(self) -> str:
        return "float"


@step(
    source="onnx:float32",
    target="onnx:palettized",
    needs={"onnx": "onnx", "onnx-ir": "onnx", "onnxscript": "onnx"},
    cost=0.6,
    options=PackedOptions,
)
def onnx_palettized(source: Artifact, out: Path, job: Job, options: PackedOptions) -> Notes:  # noqa: ARG001
    """Indices and tables for convolutions, matrix products and recurrent layers; arithmetic stays float32.

    Notes: `stored_weights` with bits, exactness, bytes before and after, and what the indices take entropy-coded;
    `float_weights` with the reasons. Raises BadModel when no weight can be stored so.
    """
    model = load_onnx(source.path)
    contract = contract_of(model)
    weights, floats = weights_of(model, options.smallest, depthwise=True)
    stored: list[dict[str, Any]] = []
    for weight in weights:
        palette = palettize(weight.array, weight.output_axis, options, _bits(weight, options))
        if not isinstance(palette, str) and palette.stored_bytes >= weight.array.nbytes:
            palette = f"it would take {palette.stored_bytes} bytes instead of {weight.array.nbytes}"
        if isinstance(palette, str):
            floats |= dict.fromkeys((node for node, _ in weight.readers), palette)
        else:
            stored.append(_row(weight, palette))
            _store(weight, palette)
    if not stored:
        listed = "\n".join(f"  {row['op']} ({row['node']}): {row['why']}" for row in rows(floats))
        raise BadModel(f"palettized: no weight can be stored so; choose another precision\n{listed}".rstrip())
    remove_dead_code(model)
    tidy_names(model)
    save_model(model, contract, out)
    return {"stored_weights": stored, "float_weights": rows(floats)}


def _bits(weight: Weight, options: PackedOptions) -> int:
    depthwise = weight.readers[0][0].op_type == "Conv" and weight.array.shape[1] == 1 and _groups(weight) > 1
    return max(options.bits, options.depthwise_bits) if depthwise else options.bits


def _groups(weight: Weight) -> int:
    return weight.readers[0][0].attributes.get_int("group", 1)


def _row(weight: Weight, palette: Palette) -> dict[str, Any]:
    return {
        "name": str(weight.value.name),
        "op": weight.readers[0][0].op_type,
        "shape": list(weight.array.shape),
        "bits": palette.bits,
        "group_channels": palette.group_channels,
        "exact": palette.exact,
        "bytes_before": weight.array.nbytes,
        "bytes_after": palette.stored_bytes,
        **asdict(coded(palette.indices)),
    }


def _store(weight: Weight, palette: Palette) -> None:
    """w → op  ⇒  indices → … → Gather(table) → op, in place."""
    import onnx_ir as ir

    first, graph = weight.readers[0][0], weight.readers[0][0].graph
    assert graph is not None
    real = looked_up(palette, graph, first, str(weight.value.name))
    real.dtype, real.shape = ir.DataType.FLOAT, weight.value.shape
    for node, index in weight.readers:
        node.replace_input_with(index, real)
