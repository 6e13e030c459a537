"""What a user chooses about a Core ML file: the oldest system it must run on, and what its metadata says."""

from dataclasses import dataclass

from edgewright.errors import BadInput, nearest

# A watchOS is built from the iOS of the same year and loads the same MIL opset (coremltools' own aliases).
OPSET_OF_TARGET = {
    "iOS15": "iOS15",
    "iOS16": "iOS16",
    "iOS17": "iOS17",
    "iOS18": "iOS18",
    "watchOS8": "iOS15",
    "watchOS9": "iOS16",
    "watchOS10": "iOS17",
    "watchOS11": "iOS18",
}


@dataclass(frozen=True)
class CoremlOptions:
    """`target` is the minimum deployment target. Author, licence and version are written only when given.

    Raises BadInput for an unknown target.
    """

    target: str = "iOS17"
    author: str = ""
    licence: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        if self.target not in OPSET_OF_TARGET:
            raise BadInput(f"unknown Core ML target {self.target!r}; {nearest(self.target, OPSET_OF_TARGET)}")

    @property
    def opset(self) -> str:
        """The MIL opset of the target, named by its iOS version."""
        return OPSET_OF_TARGET[self.target]


@dataclass(frozen=True)
class CoremlInt8Options(CoremlOptions):
    """`compute` is the arithmetic around the int8 tensors: the Neural Engine knows float16 only."""

    compute: str = "float16"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.opset < "iOS17":
            raise BadInput(
                f"coreml:int8 has int8 activations, which need target iOS17 / watchOS10 or later, not {self.target}"
            )
        if self.compute not in ("float16", "float32"):
            raise BadInput(f"unknown compute {self.compute!r}; {nearest(self.compute, ('float16', 'float32'))}")
