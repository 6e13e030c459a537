"""onnx2tf: an ONNX file → TFLite, by its own flatbuffer writer; images channels last, as it does by default."""

import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from edgewright.benchmarks.exporters.drivers.probe import Job, main

SUFFIXES = {
    "float32": "_float32", "float16": "_float16", "int8": "_integer_quant", "int8-dynamic": "_dynamic_range_quant"
}  # fmt: skip
"""How it names its files. `_integer_quant` has float inputs and outputs."""


def convert(job: Job) -> None:
    asked: dict[str, Any] = {}
    if job.precision == "int8":
        asked = {
            "output_integer_quantized_tflite": True,
            "custom_input_op_name_np_data_path": [["input", job.data, 0.0, 1.0]],
        }
    if job.precision == "int8-dynamic":
        asked = {"output_dynamic_range_quantized_tflite": True}
    with tempfile.TemporaryDirectory() as folder:
        import_module("onnx2tf").convert(
            input_onnx_file_path=job.source, output_folder_path=folder, non_verbose=True, **asked
        )
        made = {path.stem: path for path in Path(folder).glob("*.tflite")}
        wanted = f"{Path(job.source).stem}{SUFFIXES[job.precision]}"
        if wanted not in made:
            raise FileNotFoundError(f"it wrote no {wanted}.tflite, but {', '.join(sorted(made)) or 'nothing'}")
        shutil.copy(made[wanted], job.out)


if __name__ == "__main__":
    main(convert)
