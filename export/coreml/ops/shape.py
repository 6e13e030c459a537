"""Views and orders: the numbers stay, their places change. Target shapes come from ONNX's own inference."""

from edgewright.export.coreml.builder import MilBuilder, Value
from edgewright.export.coreml.fitting import real
from edgewright.export.coreml.lowerings import COREML
from edgewright.export.coreml.windows import Ints


@COREML.lower("Identity")
def identity(b: MilBuilder, x: Value) -> Value:  # noqa: ARG001
    return x


@COREML.lower("Reshape", layout="nchw")
def reshape(b: MilBuilder, x: Value, shape: Value, *, allowzero: int = 0) -> Value:  # noqa: ARG001
    return view(b, x)


@COREML.lower("Flatten", layout="nchw")
def flatten(b: MilBuilder, x: Value, *, axis: int = 1) -> Value:  # noqa: ARG001
    return view(b, x)


@COREML.lower("Squeeze", layout="nchw")
def squeeze(b: MilBuilder, x: Value, axes: Value = None) -> Value:
    dropped = b.integers(axes, "axes") if axes is not None else [i for i, n in enumerate(x.shape) if n == 1]
    return b.mb.squeeze(x=x, axes=dropped) if dropped else x


@COREML.lower("Unsqueeze", layout="nchw")
def unsqueeze(b: MilBuilder, x: Value, axes: Value) -> Value:
    rank = len(b.shape())
    return b.mb.expand_dims(x=x, axes=sorted(axis % rank for axis in b.integers(axes, "axes")))


@COREML.lower("Transpose", layout="nchw")
def transpose(b: MilBuilder, x: Value, *, perm: Ints = None) -> Value:
    return b.mb.transpose(x=x, perm=list(perm) if perm else list(reversed(range(len(x.shape)))))


@COREML.lower("DepthToSpace", layout="nchw", fits=real)
def depth_to_space(b: MilBuilder, x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    """CRD is torch's PixelShuffle, DCR TensorFlow's order of channels."""
    if mode == "CRD":
        return b.mb.pixel_shuffle(x=x, upscale_factor=blocksize)
    return b.mb.depth_to_space(x=x, block_size=blocksize)


def view(b: MilBuilder, x: Value) -> Value:
    """`x` in the shape of the node's output."""
    shape = b.shape()
    if not shape:
        return b.mb.squeeze(x=x, axes=list(range(len(x.shape))))
    return b.mb.reshape(x=x, shape=shape)
