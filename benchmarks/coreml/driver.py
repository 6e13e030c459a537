"""One conversion in this process: an ONNX file from anywhere → .mlpackage, without verification and store."""

import tempfile
from importlib import import_module
from pathlib import Path

from edgewright.benchmarks.exporters.drivers.by_edgewright import calibration, route
from edgewright.benchmarks.exporters.drivers.probe import Job, main


def convert(job: Job) -> None:
    """`job.out` gets the ending .mlpackage."""
    artifacts, specs = (import_module(f"edgewright.{name}") for name in ("runtimes.artifact", "devices.spec"))
    target = specs.Spec.parse(f"coreml:{job.precision}")
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean.onnx"
        import_module("edgewright.export.onnx.foreign").import_onnx(Path(job.source), clean)
        [step] = route(target, with_data=False)
        step.function(
            artifacts.artifact_at(clean), Path(job.out).with_suffix(".mlpackage"), calibration(job), step.options()
        )


if __name__ == "__main__":
    main(convert)
