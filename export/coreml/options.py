"""What a user chooses about a Core ML file: the oldest system it must run on, and what its metadata says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from edgewright.errors import BadInput, nearest
from edgewright.export.metadata import Metadata

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

IO_TYPES = ("float32", "float16")
COLORS = ("RGB", "BGR", "GRAYSCALE")


@dataclass(frozen=True)
class CoremlOptions:
    """`target` is the minimum deployment target. Author, licence and version are written only when given.

    `image` makes inputs images: "RGB", "BGR" or "GRAYSCALE", with several inputs "photo=RGB,mask=GRAYSCALE". `io` is
    how real-valued inputs and outputs are held: float32, or float16 (iOS16 and later). `metadata` is what the recipe
    says of the model. Raises BadInput for an unknown target, and for what is no text.
    """

    target: str = "iOS17"
    author: str = ""
    licence: str = ""
    version: str = ""
    image: str = ""
    io: str = "float32"
    metadata: Metadata | None = None

    def __post_init__(self) -> None:
        wrong = [
            f"{f.name} = {getattr(self, f.name)!r}"
            for f in fields(CoremlOptions)
            if f.name != "metadata" and type(getattr(self, f.name)) is not str
        ]
        if wrong:
            raise BadInput(f"Core ML options are text; not {', '.join(wrong)}")
        if self.target not in OPSET_OF_TARGET:
            raise BadInput(f"unknown Core ML target {self.target!r}; {nearest(self.target, OPSET_OF_TARGET)}")
        if self.io not in IO_TYPES:
            raise BadInput(f"unknown io {self.io!r}; {nearest(self.io, IO_TYPES)}")
        if self.io == "float16" and self.opset < "iOS16":
            raise BadInput(f"float16 inputs and outputs need target iOS16 / watchOS9 or later, not {self.target}")
        self.images(())

    @property
    def opset(self) -> str:
        """The MIL opset of the target, named by its iOS version."""
        return OPSET_OF_TARGET[self.target]

    def images(self, inputs: Sequence[str]) -> Mapping[str, str]:
        """The color layout of each input that is an image. Raises BadInput for unknown ones, and unknown inputs."""
        found = {}
        for text in filter(None, self.image.split(",")):
            name, _, color = text.strip().rpartition("=")
            if color not in COLORS:
                raise BadInput(f"unknown image {color!r}; {nearest(color, COLORS)}")
            if inputs and (name not in inputs if name else len(inputs) > 1):
                raise BadInput(
                    f"image {text!r}: say which input, as in {inputs[0]}={color}; there are {', '.join(inputs)}"
                )
            found[name or (inputs[0] if inputs else "")] = color
        return found


@dataclass(frozen=True)
class CoremlInt4Options(CoremlOptions):
    """int4 weights in blocks came with iOS18 and watchOS11."""

    target: str = "iOS18"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.opset < "iOS18":
            raise BadInput(f"coreml:int4-weights needs target iOS18 / watchOS11 or later, not {self.target}")


@dataclass(frozen=True)
class CoremlInt8Options(CoremlOptions):
    """`compute` is the arithmetic around the int8 tensors, in which a runtime without int8 kernels computes.

    float16, because quantized activations pay on the Neural Engine only (int8 by int8 on A17 Pro, M4 and later; on CPU
    and GPU they slow a model down), and a float32 program is eligible for CPU and GPU alone: coremltools guide,
    "Quantization: Performance" and "Typed Execution Workflow Example". Its rounding, as modelled on a CPU, moves 4 %
    (watch network) to 17 % (StudentNet) of the inner codes, nearly all by one step, yet the end-to-end SNR against the
    float network by only 0.15 and 0.06 dB. float32 follows the QDQ truth within one step: for the CPU, and to compare.
    """

    compute: str = "float16"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.opset < "iOS17":
            raise BadInput(
                f"coreml:int8 has int8 activations, which need target iOS17 / watchOS10 or later, not {self.target}"
            )
        if self.compute not in ("float16", "float32"):
            raise BadInput(f"unknown compute {self.compute!r}; {nearest(self.compute, ('float16', 'float32'))}")
