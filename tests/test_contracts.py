"""What every step, pass, runtime and device promises: a new one is held to it without a new test."""

import numpy as np
import pytest

from edgewright.compress.passes import Given, passes
from edgewright.data import Samples
from edgewright.devices.device import devices
from edgewright.devices.spec import Format, Precision, Spec
from edgewright.edits import Edit
from edgewright.export.fingerprint import sources
from edgewright.export.lowering import schema_problems
from edgewright.export.onnx.decompose import EXPANSIONS
from edgewright.export.planner import plan
from edgewright.export.steps import Job, steps
from edgewright.runtimes.artifact import artifact_at, digest_of
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.read import read
from edgewright.runtimes.runtime import pick, runtimes
from tests.models import NETWORKS, samples

TORCH = Spec.parse("torch:float32")
CHOICES = {"coreml-sparse": {"density": 0.5}}  # without a loss it needs weights that hold zeros
FROM_FILES = [step for step in steps() if step.source.format is not Format.TORCH]


@pytest.mark.parametrize("step", FROM_FILES, ids=lambda step: f"{step.source}-{step.target}")
def test_a_step_makes_what_it_says_with_the_same_ends_and_the_same_bytes(step, clean_models, tmp_path):
    source, job = (
        artifact_at(clean_models["watch_cnn"]),
        Job(calibration=Samples({"input": samples("watch_cnn", 16).numpy()})),
    )
    for before in plan(source.spec, [step.source]).steps:
        path = tmp_path / f"{before.name}{before.target.suffix}"
        before.function(source, path, job, before.options())
        source = artifact_at(path, before.target.precision)
    made = []
    for turn in ("one", "two"):
        out = tmp_path / turn / f"model{step.target.suffix}"
        out.parent.mkdir()
        notes = step.function(source, out, job, step.options(**CHOICES.get(step.name, {})))
        assert isinstance(notes, dict)
        assert list(out.parent.iterdir()) == [out]
        made.append(digest_of(out))
    assert made[0] == made[1]
    table, before = read(out), read(source.path)
    assert Spec(table.format, table.precision) in specs_of(step.target)
    assert ends(table.contract) == ends(before.contract)
    assert table.macs == before.macs


def specs_of(target: Spec) -> set[Spec]:
    """What a file of this Spec may read as: a mixed plan finds that all int8 is within the budget, or that some is."""
    held = Format.TFLITE if target.format is Format.TFLM else target.format  # TFLite, of fewer operators
    int8 = {Precision.INT8} if target.precision is Precision.MIXED else set()
    return {Spec(held, precision) for precision in {target.precision} | int8}


def ends(contract: Contract) -> list[tuple[object, ...]]:
    return [(info.name, info.shape, info.dtype) for info in (*contract.inputs, *contract.outputs)]


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)
def test_a_step_depends_on_its_own_source(step):
    assert step.module in sources(step.module)
    assert step.cost > 0 and step.needs


def test_an_expansion_has_the_signature_of_its_operator():
    assert schema_problems(EXPANSIONS.rules()) == []


@pytest.mark.parametrize("name", list(passes()))
def test_a_pass_leaves_its_input_alone_and_its_edit_replays_as_json(name):
    chosen = passes()[name]
    module, example = NETWORKS["watch_cnn"][0](), samples("watch_cnn", 1)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    data = Samples({"input": samples("watch_cnn", 24).numpy()}, np.arange(24) % 7)
    given = Given({"input": example}, data, data, teachers=[NETWORKS["watch_cnn"][0]()])
    smaller, edit = chosen.function(module, chosen.config(), given)
    assert all(before[key].equal(value) for key, value in module.state_dict().items())
    assert smaller(example).shape == module(example).shape
    fewer = sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in module.parameters())
    assert fewer == bool(edit.resized or edit.replaced)
    assert Edit.from_json(edit.to_json()).resized == edit.resized
    assert chosen.config.__dataclass_params__.frozen


@pytest.mark.parametrize("name", list(runtimes()))
def test_a_runtime_runs_or_says_in_a_sentence_why_not(name):
    runtime = runtimes()[name]
    missing = runtime.missing()
    if missing is None:
        assert runtime.version()
    else:
        assert len(missing.split()) > 3
    for format_ in runtime.formats:
        found, why = pick(format_, name)
        assert (found is runtime) if missing is None else (found is None and missing in why)


@pytest.mark.parametrize("name", list(devices()))
def test_what_a_device_accepts_can_be_made_or_says_why_not(name):
    device = devices()[name]
    route = plan(TORCH, device.accepts)
    for spec in device.accepts:
        assert spec in {step.target for step in route.steps} or len(route.blocked[spec]) > 5
    assert any(spec not in route.blocked for spec in device.accepts)
    for figure in (device.storage_bytes, device.ram_bytes):
        assert figure.value > 0 and len(figure.source) > 10
