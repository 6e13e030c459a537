"""The comparison of package sizes: on a network that is made in no time, some schemes of each kind."""

import logging
from pathlib import Path

import pytest

from edgewright.benchmarks.coreml import size
from edgewright.benchmarks.exporters.files import Network
from edgewright.export.capture import capture_module
from edgewright.runtimes.read import read

KINDS = {"int8": "int8-weights", "palette 4": "palettized", "sparse palette 4": "palettized", "sparse int8": "sparse"}


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """The motion network of the exporters' benchmark as ONNX."""
    import onnx_ir as ir

    from edgewright.benchmarks.exporters.networks import NETWORKS

    made = Network("cnn_1d", tmp_path / "cnn_1d")
    made.folder.mkdir()
    module, example = NETWORKS["cnn_1d"]()
    ir.save(capture_module(module, example, ["output"]), made.onnx)
    return made


def test_ours_is_no_bigger_than_coremltools_own(network: Network) -> None:
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    known = size.schemes()
    models = {target: size.by_coremltools(network, target) for target in ("iOS17", "iOS18")}
    float_bytes = None
    for title in ("float16", *KINDS):
        scheme = known[title]
        package = size.exported(network, scheme, title)
        ours = size.package_bytes(package)
        with size.quiet():
            theirs = size.saved_bytes(scheme.theirs(models[scheme.target]))
        assert 0.8 * theirs < ours <= 1.005 * theirs
        float_bytes = float_bytes or ours
        assert read(package).precision.value == KINDS.get(title, "float16")
        assert ours <= (1 if title == "float16" else 0.75) * float_bytes


def test_every_scheme_names_steps_that_there_are() -> None:
    from edgewright.export.steps import steps

    known = {step.name: step.options for step in steps()}
    for scheme in size.schemes().values():
        for name, choices in scheme.choices.items():
            known[name](**choices, **({"target": scheme.target} if name.startswith("coreml") else {}))
