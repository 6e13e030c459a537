"""Ours without verification and store: an ONNX file → TFLite; precision "writer": its last step, from a clean file."""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from edgewright.benchmarks.exporters.drivers.probe import Job, main


def convert(job: Job) -> None:
    artifacts, specs = (import_module(f"edgewright.{name}") for name in ("runtimes.artifact", "devices.spec"))
    source, precision = Path(job.source), job.precision
    with tempfile.TemporaryDirectory() as folder:
        if precision == "writer":
            precision = "float32"
        else:
            source = Path(folder) / "clean.onnx"
            import_module("edgewright.export.onnx.foreign").import_onnx(Path(job.source), source)
        made = {specs.Spec.parse("onnx:float32"): artifacts.artifact_at(source)}
        target = specs.Spec.parse(f"tflite:{precision}")
        for step in route(target, with_data=job.data is not None):
            last = step.target == target
            out = Path(job.out) if last else Path(folder) / f"{step.name}.onnx"
            step.function(
                made[step.source], out, calibration(job), step.options(**({"layout": job.layout} if last else {}))
            )
            made[step.target] = artifacts.artifact_at(out, step.target.precision)


def route(target: Any, *, with_data: bool) -> tuple[Any, ...]:
    specs, planner = (import_module(f"edgewright.{name}") for name in ("devices.spec", "export.planner"))
    path: tuple[Any, ...] = planner.plan(specs.Spec.parse("onnx:float32"), [target], has_data=with_data).path(target)
    return path


def calibration(job: Job) -> Any:
    steps, data = (import_module(f"edgewright.{name}") for name in ("export.steps", "data"))
    if job.data is None:
        return steps.Job()
    return steps.Job(data.Samples({"input": import_module("numpy").load(job.data)}))


if __name__ == "__main__":
    main(convert)
