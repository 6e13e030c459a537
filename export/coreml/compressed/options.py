"""What a user chooses about weights that are stored as indices into a table, or without their zeros."""

from dataclasses import dataclass

from edgewright.errors import BadInput, nearest
from edgewright.export.coreml.options import CoremlOptions
from edgewright.export.onnx.quantize.weights import SMALLEST

WIDTHS = (1, 2, 3, 4, 6, 8)
"""Bits of an index into a table. 3 came with iOS18."""


@dataclass(frozen=True)
class StoredOptions(CoremlOptions):
    """Weights of fewer than `smallest` elements stay float.

    `density` is the share of a tensor's weights that stay, the largest ones (magnitude pruning, Han et al. 2015, arXiv
    1506.02626); at 1 none is set to zero. Raises BadInput.
    """

    density: float = 1.0
    smallest: int = SMALLEST

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.opset < "iOS16":
            raise BadInput(f"compressed weights need target iOS16 / watchOS9 or later, not {self.target}")
        if not isinstance(self.smallest, int) or self.smallest < 1:
            raise BadInput(f"smallest is {self.smallest!r}; it is a number of elements, at least 1")
        if not isinstance(self.density, int | float) or not 0 < self.density <= 1:
            raise BadInput(f"density is {self.density!r}; it is a share of the weights, above 0 and at most 1")

    def need_ios18(self, wanted: dict[str, bool]) -> None:
        """Raises BadInput with every choice that is made and that the target lacks."""
        late = [choice for choice, made in wanted.items() if made]
        if late and self.opset < "iOS18":
            raise BadInput(f"{', '.join(late)}: needs target iOS18 / watchOS11 or later, not {self.target}")


@dataclass(frozen=True)
class PaletteOptions(StoredOptions):
    """`bits` of an index (1, 2, 3, 4, 6, 8); weights of depthwise convolutions get at least `depthwise_bits`.

    `mode` kmeans fits the table of a tensor to its weights (Han et al. 2016, arXiv 1510.00149), and is exact where they
    have few enough values; unique stores only those that are exact. `group_channels`: how many output channels share a
    table, at most (0: all). `channel_scales`: a scale for each output channel beside the table. `table` holds the
    values as float or int8. The last three need iOS18, and so do 3 bits.
    """

    bits: int = 4
    depthwise_bits: int = 8
    group_channels: int = 0
    channel_scales: bool = False
    mode: str = "kmeans"
    table: str = "float"

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [n for n in (self.bits, self.depthwise_bits) if type(n) is not int or n not in WIDTHS]:
            raise BadInput(f"bits of a palette are {', '.join(map(str, WIDTHS))}; not {unknown[0]!r}")
        if type(self.group_channels) is not int or self.group_channels < 0:
            raise BadInput(f"group_channels is {self.group_channels!r}; it is a number of channels, 0 for all")
        if type(self.channel_scales) is not bool:
            raise BadInput(f"channel_scales is {self.channel_scales!r}; it is true or false")
        for given, known in ((self.mode, ("kmeans", "unique")), (self.table, ("float", "int8"))):
            if given not in known:
                raise BadInput(f"palettized: unknown choice {given!r}; {nearest(str(given), known)}")
        if self.mode == "unique" and self.table == "int8":
            raise BadInput("palettized: unique keeps the values as they are, a table of int8 rounds them; choose one")
        self.need_ios18(
            {
                "3 bits": 3 in (self.bits, self.depthwise_bits),
                "group_channels": self.group_channels > 0,
                "channel_scales": self.channel_scales,
                "a table of int8": self.table == "int8",
            }
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits that an index may have on the target."""
        return WIDTHS if self.opset >= "iOS18" else tuple(width for width in WIDTHS if width != 3)

    @property
    def masks(self) -> bool:
        """A palette may go with a bit mask."""
        return self.opset >= "iOS18"


@dataclass(frozen=True)
class SparseOptions(StoredOptions):
    """`values`: what is not zero is held as float, or (iOS18) as int8 with a scale for each output channel."""

    values: str = "float"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values not in ("float", "int8"):
            raise BadInput(f"sparse: unknown values {self.values!r}; {nearest(str(self.values), ('float', 'int8'))}")
        self.need_ios18({"values of int8": self.values == "int8"})
