"""A session on the interpreter that ai-edge-litert and tflite-runtime share."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BadInput, BadModel
from edgewright.runtimes.descriptor import captured
from edgewright.runtimes.runtime import Arrays
from edgewright.runtimes.tflite_view import TfliteTensor, TfliteView, open_tflite


class Interpreter(Protocol):
    def allocate_tensors(self) -> None: ...
    def resize_tensor_input(self, input_index: int, tensor_size: Any) -> None: ...
    def set_tensor(self, tensor_index: int, value: NDArray[Any]) -> None: ...
    def get_tensor(self, tensor_index: int) -> NDArray[Any]: ...
    def get_tensor_details(self) -> list[dict[str, Any]]: ...
    def invoke(self) -> None: ...


Make = Callable[[Path, int, bool], Interpreter]
"""(path, threads, keep every inner tensor) → an interpreter."""


def open_interpreter(package: str, path: Path, threads: int, keep_inner: bool) -> Interpreter:
    """An interpreter of `ai_edge_litert` or `tflite_runtime`: the same interface by two names.

    With `keep_inner` inner tensors stay readable, which delegates would not allow.
    """
    module = importlib.import_module(f"{package}.interpreter")
    kinds = module.OpResolverType
    made = module.Interpreter(
        model_path=str(path),
        num_threads=threads,
        experimental_op_resolver_type=kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep_inner else kinds.AUTO,
        experimental_preserve_all_tensors=keep_inner,
    )
    return cast(Interpreter, made)


class TfliteSession:
    """`make` is called after the file was verified, once to run and once more for inner tensors."""

    def __init__(self, path: Path, threads: int, make: Make) -> None:
        self._path = path
        self._threads = threads
        self._make = make
        self._view = open_tflite(path)
        self.contract = self._view.contract
        self.contract.check_names(self._view.inputs, self._view.outputs, path)
        self._inputs = [self._view.inputs[info.name] for info in self.contract.inputs]
        self._outputs = [self._view.outputs[info.name] for info in self.contract.outputs]
        self._interpreter = self._open(keep_inner=False)
        self._shapes: list[tuple[int | None, ...]] = [self._view.main.tensors[index].shape for index in self._inputs]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        self._set(self._interpreter, inputs)
        self._invoke(self._interpreter)
        return self.contract.from_file(self._given(self._interpreter, index) for index in self._outputs)

    def prepared(self, inputs: Arrays) -> Callable[[], None]:
        self._set(self._interpreter, inputs)
        return self._interpreter.invoke

    def intermediates(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Every operator's outputs, on the reference of no delegate: a delegate does not keep its inner tensors."""
        interpreter = self._open(keep_inner=True)
        self._set(interpreter, inputs)
        self._invoke(interpreter)
        return {
            tensor.name: real(self._given(interpreter, index), tensor)
            for index, tensor in inner_tensors(self._view).items()
        }

    def _given(self, interpreter: Interpreter, index: int) -> NDArray[Any]:
        """A tensor after a call; the interpreter hands out none without elements, such as the boxes where none is."""
        tensor = self._view.main.tensors[index]
        if None in tensor.shape:
            shape = next(detail["shape"] for detail in interpreter.get_tensor_details() if detail["index"] == index)
            if 0 in shape:
                return np.empty(shape, tensor.dtype)
        return interpreter.get_tensor(index)

    def _open(self, *, keep_inner: bool) -> Interpreter:
        try:
            with captured():  # native chatter; what matters comes with the exception
                interpreter = self._make(self._path, self._threads, keep_inner)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadModel(f"{self._path}: the TFLite interpreter refuses it: {error}") from None
        return interpreter

    def _set(self, interpreter: Interpreter, inputs: Arrays) -> None:
        arrays = self.contract.to_file(inputs)
        shapes: list[tuple[int | None, ...]] = [array.shape for array in arrays]
        if interpreter is not self._interpreter or shapes != self._shapes:
            for index, shape in zip(self._inputs, shapes, strict=True):
                interpreter.resize_tensor_input(index, list(shape))
            interpreter.allocate_tensors()
        if interpreter is self._interpreter:
            self._shapes = shapes
        for index, array in zip(self._inputs, arrays, strict=True):
            interpreter.set_tensor(index, array)

    def _invoke(self, interpreter: Interpreter) -> None:
        try:
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BadInput(f"{self._path}: the TFLite interpreter failed on these inputs: {error}") from None


def inner_tensors(view: TfliteView) -> dict[int, TfliteTensor]:
    """What operators of the main graph compute, by tensor index, in execution order; numbers only."""
    indices = [index for operator in view.main.operators for index in operator.outputs]
    tensors = {index: view.main.tensors[index] for index in indices}
    return {index: tensor for index, tensor in tensors.items() if tensor.dtype in NUMERIC}


NUMERIC = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64")


def real(stored: NDArray[Any], tensor: TfliteTensor) -> NDArray[Any]:
    """Stored codes → real values, by the tensor's own scale."""
    if not tensor.scale:
        return np.array(stored)
    along = [1] * stored.ndim
    if len(tensor.scale) > 1:
        along[tensor.quantized_dimension] = len(tensor.scale)
    scale = np.asarray(tensor.scale, np.float32).reshape(along)
    zero_point = np.asarray(tensor.zero_point, np.float32).reshape(along)
    return np.asarray((stored.astype(np.float32) - zero_point) * scale)
