"""tflite-micro: the microcontrollers' interpreter, on this host: does a file run there, and in what arena?"""

import re
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgewright.devices.spec import Format
from edgewright.errors import BadInput, BadModel, MissingExtra
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.descriptor import captured
from edgewright.runtimes.runtime import Arrays
from edgewright.runtimes.tflite_session import inner_tensors, real
from edgewright.runtimes.tflite_view import TfliteView, open_tflite

FIRST_ARENA_BYTES = 1 << 18
LARGEST_ARENA_BYTES = 1 << 29
DEQUANTIZE = 6
"""In the schema's BuiltinOperator."""


class MicroSession:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._view = _read(path)
        self.contract = self._view.contract
        view, main = self._view, self._view.main
        self.contract.check_names(view.inputs, view.outputs, path)
        self._inputs = [main.inputs.index(view.inputs[info.name]) for info in self.contract.inputs]
        self._outputs = [main.outputs.index(view.outputs[info.name]) for info in self.contract.outputs]
        self._interpreter = _interpreter(path)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        self._invoke(self._interpreter, self.contract.to_file(inputs))
        return self.contract.from_file(self._interpreter.get_output(index) for index in self._outputs)

    def prepared(self, inputs: Arrays) -> Callable[[], None]:
        """Setting the inputs stays inside: the arena reuses their memory, so every call needs them anew."""
        arrays = self.contract.to_file(inputs)
        return lambda: self._invoke(self._interpreter, arrays)

    def intermediates(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        interpreter = _interpreter(self._path, keep_inner=True)
        self._invoke(interpreter, self.contract.to_file(inputs))
        return {
            tensor.name: real(interpreter.GetTensor(index, 0)["tensor_data"], tensor)
            for index, tensor in inner_tensors(self._view).items()
        }

    def _invoke(self, interpreter: Any, arrays: list[NDArray[Any]]) -> None:
        try:
            for index, array in zip(self._inputs, arrays, strict=True):
                interpreter.set_input(array, index)
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise BadInput(f"{self._path}: tflite-micro failed on these inputs: {error}") from None


class TfliteMicro:
    name = "tflite-micro"
    formats = (Format.TFLM, Format.TFLITE)
    preference = 30
    caution = ""

    def missing(self) -> str | None:
        return None if find_spec("tflite_micro") else "needs 'tflite-micro': pip install 'edgewright[tflite-micro]'"

    def version(self) -> str:
        return version("tflite-micro")

    def load(self, artifact: Artifact, threads: int = 1) -> MicroSession:  # noqa: ARG002 it has one thread
        return MicroSession(artifact.path)


def arena_bytes(path: Path) -> int:
    """Bytes of arena that tflite-micro's recording allocator counts on this host, after one call.

    Its structures hold 64-bit pointers here: on a 32-bit core the same model needs about 1 % less.
    Raises MissingExtra, or BadModel when tflite-micro refuses the file.
    """
    if RUNTIME.missing():
        raise MissingExtra("tflite-micro", "tflite-micro", "measuring an arena")
    _read(path)
    interpreter = _interpreter(path)
    text = [""]
    try:
        with captured() as text:
            interpreter.invoke()
            interpreter.print_allocations()
    except RuntimeError as error:  # a kernel may turn down a type only when it runs
        raise BadModel(f"{path}: tflite-micro fails on it: {text[0].strip() or error}") from None
    found = re.search(r"Arena allocation total (\d+) bytes", text[0])
    if found is None:
        raise BadModel(f"{path}: tflite-micro did not report its arena: {text[0].strip() or 'no output'}")
    return int(found.group(1))


def _read(path: Path) -> TfliteView:
    """Raises BadModel on a damaged file, and on one that the interpreter would run and answer wrongly."""
    view = open_tflite(path)
    for graph in view.graphs:
        for op in graph.operators:
            if op.code == DEQUANTIZE and len(graph.tensors[op.inputs[0]].scale) > 1:
                raise BadModel(
                    f"{path}: tflite-micro would read the first scale of {graph.tensors[op.inputs[0]].name!r} for all "
                    "its channels; convert for `tflm`"
                )
    return view


def _interpreter(path: Path, *, keep_inner: bool = False) -> Any:
    """An interpreter with an arena that is large enough: doubled as long as memory is what it lacks."""
    from tflite_micro.python.tflite_micro import runtime  # type: ignore[import-untyped]

    kinds = runtime.InterpreterConfig
    config = kinds.kPreserveAllTensors if keep_inner else kinds.kAllocationRecording
    arena, text = FIRST_ARENA_BYTES, [""]
    while arena <= LARGEST_ARENA_BYTES:
        try:
            with captured() as text:
                return runtime.Interpreter.from_file(str(path), arena_size=arena, intrepreter_config=config)
        except Exception as error:  # its Python side reads the file too, and may stumble over anything
            if not re.search(r"missing: \d+", text[0]):
                raise BadModel(f"{path}: tflite-micro refuses it: {text[0].strip() or error}") from None
        arena *= 2
    raise BadModel(f"{path}: tflite-micro needs an arena over {LARGEST_ARENA_BYTES} bytes: {text[0].strip()}")


RUNTIME = TfliteMicro()
