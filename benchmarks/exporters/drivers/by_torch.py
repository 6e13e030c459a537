"""torch's own exporter: a network → the ONNX file that every converter is given."""

import warnings
from importlib import import_module
from typing import Any

from edgewright.benchmarks.exporters.drivers.probe import Job, main

OPSET = 18
"""The newest that every converter here reads without converting it first."""


def convert(job: Job) -> None:
    networks, torch = (import_module(name) for name in ("edgewright.benchmarks.exporters.networks", "torch"))
    module, examples = networks.NETWORKS[job.source]()
    asked: dict[str, Any] = {"dynamo": True, "opset_version": OPSET, "verbose": False, "external_data": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, tuple(examples.values()), job.out, input_names=list(examples), output_names=["output"], **asked
        )


if __name__ == "__main__":
    main(convert)
