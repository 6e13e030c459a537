"""A .tflite file as C++ source for tflite-micro: the bytes, what the application must know, and its operators.

    static tflite::MicroMutableOpResolver<net_operators> resolver;
    net_register_operators(resolver);
    alignas(16) static uint8_t arena[net_arena_bytes];
    tflite::MicroInterpreter interpreter(tflite::GetModel(net_model), resolver, arena, net_arena_bytes);
"""  # fmt: skip

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from edgewright.errors import BadInput, UnsupportedOps
from edgewright.export.tflite.micro_kernels import RESOLVER_METHOD
from edgewright.runtimes.micro import arena_bytes
from edgewright.runtimes.tflite_view import TfliteTensor, TfliteView, open_tflite

HEADER = ".h"
C_SUFFIXES = (".cc", ".cpp", HEADER)
BYTES_A_LINE = 24
ARENA_ALIGNMENT = 16


@dataclass(frozen=True)
class CArray:
    """The text of a header and of the source beside it, which includes it by the name `{name}.h`."""

    header: str
    source: str


def check_c_name(out: Path) -> None:
    """Raises BadInput unless `out` can name C++ files and what they define."""
    if out.suffix not in C_SUFFIXES:
        raise BadInput(f"{out}: a C array is written as {', '.join(C_SUFFIXES)}")
    if not re.match("[A-Za-z]", out.stem):
        raise BadInput(f"{out}: name it from a letter on: the names in C come from it")


def c_array(model: Path, name: str, labels: Sequence[str] = ()) -> CArray:
    """The .tflite file `model` as the pair of C++ files `name`, which also begins all names in them.

    Raises UnsupportedOps for operators that tflite-micro lacks, BadModel when it refuses the file, MissingExtra
    without it.
    """
    view, content, prefix = open_tflite(model), model.read_bytes(), re.sub(r"\W", "_", name, flags=re.ASCII)
    methods = _methods(view)
    arena = arena_bytes(model)
    lines = [
        f"extern const unsigned char {prefix}_model[];  // 16-byte aligned",
        f"constexpr unsigned int {prefix}_model_bytes = {len(content)};",
        "",
        "// What tflite-micro's allocator counted on a 64-bit host with reference kernels: 32-bit cores need less,",
        "// optimized kernels (CMSIS-NN, ESP-NN) may ask for scratch buffers on top.",
        f"constexpr unsigned int {prefix}_arena_bytes = {-(-arena // ARENA_ALIGNMENT) * ARENA_ALIGNMENT};",
        "",
        *_ends(prefix, view),
        *_labels(prefix, labels),
        f"// static tflite::MicroMutableOpResolver<{prefix}_operators> resolver;",
        f"// {prefix}_register_operators(resolver);  // true when all of them are registered",
        f"constexpr unsigned int {prefix}_operators = {len(methods)};",
        "template <typename Resolver>",
        f"bool {prefix}_register_operators(Resolver& resolver) {{",
        "  return " + " &&\n         ".join(f"resolver.{method}() == 0" for method in methods) + ";  // 0: kTfLiteOk",
        "}",
    ]
    guard = f"{prefix.upper()}_MODEL_H_"
    header = "\n".join([f"#ifndef {guard}", f"#define {guard}", "", *lines, "", f"#endif  // {guard}", ""])
    rows = "\n".join(_rows(content))
    return CArray(
        header, f'#include "{name}.h"\n\nalignas(16) const unsigned char {prefix}_model[] = {{\n{rows}\n}};\n'
    )


def _methods(view: TfliteView) -> list[str]:
    """The resolver's methods for all operators, each once. Raises one UnsupportedOps for those without."""
    from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    operators = [op for graph in view.graphs for op in graph.operators]
    used = sorted({op.custom or names.get(op.code, f"BUILTIN_{op.code}") for op in operators})
    missing = {name: ("tflite-micro registers no such builtin", [name]) for name in used if name not in RESOLVER_METHOD}
    if missing:
        raise UnsupportedOps("tflm", missing)
    return [RESOLVER_METHOD[name] for name in used]


def _ends(prefix: str, view: TfliteView) -> Iterator[str]:
    main = view.main
    for kind, indices, names in (("input", main.inputs, view.inputs), ("output", main.outputs, view.outputs)):
        called = {index: name for name, index in names.items()}
        for number, index in enumerate(indices):
            yield from _end(f"{prefix}_{kind}_{number}", called.get(index, ""), main.tensors[index])


def _end(symbol: str, name: str, tensor: TfliteTensor) -> Iterator[str]:
    lengths = [length or 1 for length in tensor.shape]
    plain = re.sub("[^ -~]", "?", name)
    yield f"// {plain}: {tensor.dtype} {lengths}"
    yield f"constexpr unsigned int {symbol}_elements = {prod(lengths)};"
    if len(tensor.scale) == 1:
        yield f"constexpr float {symbol}_scale = {_float(tensor.scale[0])};  // real = (code - zero_point) * scale"
        yield f"constexpr int {symbol}_zero_point = {tensor.zero_point[0]};"
    yield ""


def _labels(prefix: str, labels: Sequence[str]) -> Iterator[str]:
    if labels:
        yield f"constexpr const char* {prefix}_labels[] = {{"
        yield from (f"    {_text(label)}," for label in labels)
        yield from ("};", "")


def _text(text: str) -> str:
    """A string literal: what is not plain ASCII as octal bytes of UTF-8."""
    plain = set(range(32, 127)) - set(b'"\\?')  # "?": trigraphs
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _float(value: float) -> str:
    text = f"{value:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def _rows(content: bytes) -> Iterator[str]:
    for start in range(0, len(content), BYTES_A_LINE):
        yield ",".join(map(str, content[start : start + BYTES_A_LINE])) + ","
