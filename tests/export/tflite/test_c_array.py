"""A file as C++ for tflite-micro: the same bytes, aligned, with what the application must know."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgewright.errors import BadInput, UnsupportedOps
from edgewright.export.steps import Job
from edgewright.export.tflite.c_array import c_array, check_c_name
from edgewright.export.tflite.convert import TfliteOptions, tflite_float32
from edgewright.export.tflite.micro import TflmInt8Options, tflm_int8
from edgewright.export.tflite.micro_kernels import RESOLVER_METHOD
from edgewright.runtimes.artifact import artifact_at
from edgewright.runtimes.micro import arena_bytes
from edgewright.runtimes.tflite_view import open_tflite

Models = Mapping[str, Path]
MAIN = """
#include <cstdint>
#include <cstdio>
#include <cstring>
#include "net-1.h"
struct Resolver { int calls = 0; METHODS };
int main() {
  Resolver resolver;
  bool registered = net_1_register_operators(resolver);
  unsigned long sum = 0;
  for (unsigned int i = 0; i < net_1_model_bytes; i++) sum += net_1_model[i];
  std::printf("%d %d %u %u %lu %.9g %d %s\\n", registered, resolver.calls, net_1_operators,
              static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(net_1_model) % 16), sum, net_1_input_0_scale,
              net_1_input_0_zero_point, net_1_labels[1]);
}
"""


@pytest.fixture(scope="module")
def file(int8_models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("micro") / "m.tflite"
    tflm_int8(artifact_at(int8_models["watch_cnn"]), path, Job(), TflmInt8Options())
    return path


def test_the_source_holds_the_bytes_of_the_file(file: Path) -> None:
    made = c_array(file, "net")
    body = made.source[made.source.index("{") + 1 : made.source.index("}")]
    assert bytes(int(number) for number in body.split(",") if number.strip()) == file.read_bytes()
    assert '#include "net.h"' in made.source and "alignas(16) const unsigned char net_model[]" in made.source
    assert made == c_array(file, "net")


def test_the_header_says_what_the_application_needs(file: Path) -> None:
    header = c_array(file, "net").header
    stated = dict(re.findall(r"constexpr (?:unsigned int|int|float) net_(\w+) = ([^;]+);", header))
    view, arena = open_tflite(file), arena_bytes(file)
    given, taken = view.main.tensors[view.main.outputs[0]], view.main.tensors[view.main.inputs[0]]
    assert int(stated["model_bytes"]) == file.stat().st_size
    assert 0 <= int(stated["arena_bytes"]) - arena < 16
    assert int(stated["input_0_elements"]) == 600 and int(stated["output_0_elements"]) == 7
    assert float(stated["output_0_scale"].rstrip("f")) == pytest.approx(given.scale[0], rel=1e-8)
    assert int(stated["input_0_zero_point"]) == taken.zero_point[0]
    methods = re.findall(r"resolver\.(Add\w+)\(\)", header)
    assert len(methods) == len(set(methods)) == int(stated["operators"]) and "AddConv2D" in methods


def test_it_compiles_and_is_aligned(file: Path, tmp_path: Path) -> None:
    made = c_array(file, "net-1", ['"idle"', "näher"])
    (tmp_path / "net-1.h").write_text(made.header)
    (tmp_path / "net-1.cc").write_text(made.source)
    methods = " ".join(f"int {name}() {{ calls++; return 0; }}" for name in RESOLVER_METHOD.values())
    (tmp_path / "main.cc").write_text(MAIN.replace("METHODS", methods))
    compilers = [compiler for compiler in ("g++", "clang++") if shutil.which(compiler)]
    for compiler in compilers:  # none on some machines: the text itself is checked above
        program = tmp_path / compiler
        flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
        subprocess.run([compiler, *flags, "main.cc", "net-1.cc", "-o", program], cwd=tmp_path, check=True)
        said = subprocess.run([program], capture_output=True, check=True).stdout.decode().split()
        tensor = open_tflite(file).main.tensors[open_tflite(file).main.inputs[0]]
        operators = len({op.code for op in open_tflite(file).main.operators})
        assert said[:5] == ["1", str(operators), str(operators), "0", str(sum(file.read_bytes()))]
        assert float(said[5]) == pytest.approx(tensor.scale[0], rel=1e-8) and int(said[6]) == tensor.zero_point[0]
        assert said[7] == "näher"
    assert r'"\"idle\""' not in made.header and '"\\042idle\\042"' in made.header


def test_operators_that_tflite_micro_lacks_are_named(tmp_path: Path) -> None:
    import onnx.parser

    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[1,8] x) => (float[1,8] y) { y = Gelu(x) }'
    (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    tflite_float32(artifact_at(tmp_path / "m.onnx"), tmp_path / "m.tflite", Job(), TfliteOptions())
    with pytest.raises(UnsupportedOps, match="GELU × 1: tflite-micro registers no such builtin"):
        c_array(tmp_path / "m.tflite", "m")


@pytest.mark.parametrize(("name", "reason"), [("net.c", r"written as \.cc, \.cpp, \.h"), ("1.cc", "from a letter on")])
def test_names_that_cannot_be_are_refused(name: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        check_c_name(Path(name))
