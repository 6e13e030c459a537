"""Files → one neutral op table (`Model`), without running them."""

from pathlib import Path

from edgewright.devices.spec import Format
from edgewright.errors import BadModel, Error
from edgewright.runtimes.artifact import format_of
from edgewright.runtimes.read.model import Model, Op, Tensor

__all__ = ["Model", "Op", "Tensor", "read"]


def read(path: Path) -> Model:
    """What the file holds. Raises BadInput on an unknown kind of file, BadModel on a damaged one, MissingExtra."""
    kind = format_of(path)
    try:
        return _read(path, kind)
    except Error:
        raise
    except (LookupError, ValueError, TypeError) as error:  # an operator without its inputs, a name that nothing makes
        raise BadModel(f"{path}: malformed {kind.value} file ({type(error).__name__}: {error})") from error


def _read(path: Path, kind: Format) -> Model:
    if kind is Format.ONNX:
        from edgewright.runtimes.read.onnx_file import read_onnx

        return read_onnx(path)
    if kind is Format.TFLITE:
        from edgewright.runtimes.read.tflite_file import read_tflite

        return read_tflite(path)
    if kind is Format.COREML:
        from edgewright.runtimes.read.coreml_file import read_coreml

        return read_coreml(path)
    from edgewright.runtimes.read.torch_file import read_torch

    return read_torch(path)
