"""The TFLite exporter: its whole road from a foreign file, and LiteRT with and without XNNPACK."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgewright.benchmarks.conformance.cases import Arrays

if TYPE_CHECKING:
    import onnx

EXPORTER = "edgewright.export"
"""Found by name: what measures does not depend on what it measures."""


class Tflite:
    name = "tflite"
    about = ""

    def __init__(self) -> None:
        self.dtypes: frozenset[str] = import_module(f"{EXPORTER}.tflite.lower").DTYPES
        self._simplify = import_module(f"{EXPORTER}.onnx.simplify").simplify
        self._convert = import_module(f"{EXPORTER}.tflite.convert").convert

    def convert(self, model: "onnx.ModelProto") -> bytes:
        import onnx_ir as ir

        simplified, _ = self._simplify(ir.from_proto(model))
        content: bytes = self._convert(simplified).content
        return content

    def answers(self, content: bytes, inputs: Arrays) -> Iterator[tuple[str, Mapping[str, NDArray[Any]]]]:
        """Also holds that every tensor has the shape that the file declares."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType  # type: ignore[import-untyped]

        ways = {"XNNPACK": OpResolverType.AUTO, "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
        for way, resolver in ways.items():
            interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
            interpreter.allocate_tensors()
            if moved := _other_shapes(content, interpreter):
                raise RuntimeError(f"{way} computes other shapes than the file declares: {moved}")
            yield way, interpreter.get_signature_runner()(**inputs)


def _other_shapes(content: bytes, interpreter: Any) -> list[str]:
    from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

    tensors = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0].tensors
    declared = [() if tensor.shape is None else tuple(tensor.shape) for tensor in tensors]
    return [
        f"{detail['name']} {tuple(detail['shape'])} for {declared[detail['index']]}"
        for detail in interpreter.get_tensor_details()
        if detail["index"] < len(declared) and tuple(detail["shape"]) != declared[detail["index"]]
    ]
