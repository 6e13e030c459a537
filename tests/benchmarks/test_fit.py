"""Verdicts with their reasons, word for word; each figure with its standing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.benchmarks.arena import Arena, arena_of
from edgewright.benchmarks.fit import Fit, Verdict, fit
from edgewright.benchmarks.hosts import Fingerprint
from edgewright.benchmarks.measurement import Measurement
from edgewright.devices.device import Budget, Device, Figure, device
from edgewright.devices.spec import Format, Precision, Spec
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.read.model import Model, Op, Tensor


def model(format_: Format = Format.TFLITE, precision: Precision = Precision.INT8, weights: int = 20_000) -> Model:
    """input 600 B → conv (weights) → output 400 B: 608 + 400 bytes of activations, with 16-byte alignment."""
    tensors = (Tensor("x", (1, 600), "int8", 600, False), Tensor("w", (weights,), "int8", weights, True))
    tensors += (Tensor("y", (1, 400), "int8", 400, False),)
    op = Op("conv", "conv", ("x", "w"), ("y",), 1000, weights, "int8", "CONV_2D")
    by_name = {tensor.name: tensor for tensor in tensors}
    return Model(format_, precision, (op,), by_name, ("x",), ("y",), Contract((), ()), weights + 4_000, {})


def board(ram: float, storage: float = 100_000, runtime: str = "litert", *, weights_in_ram: bool = True) -> Device:
    return Device(
        name="board",
        title="A board",
        runtime=runtime,
        accepts=(Spec(Format.TFLITE, Precision.INT8), Spec(Format.TFLITE, Precision.FLOAT32)),
        weights_in_ram=weights_in_ram,
        storage_bytes=Figure(storage, "measured", "its manual"),
        ram_bytes=Figure(ram, "assumed", "a guess"),
    )


def reason(found: Fit, resource: str) -> str:
    return next(line.reason for line in found.lines if line.resource == resource)


def test_fits() -> None:
    found = fit(model(), board(ram=50_000))
    assert found.verdict is Verdict.FITS
    assert reason(found, "storage") == "24.0 kB (measured) of 100 kB (measured): 24.0 %"
    assert reason(found, "RAM") == (
        "21.0 kB (modelled: activations 1.01 kB + weights 20.0 kB) of 50.0 kB (assumed): 42.0 %"
    )
    assert reason(found, "latency") == "latency on board is not modelled yet"
    assert {line.resource: line.standing for line in found.lines} == {
        "storage": "measured",
        "RAM": "modelled",
        "latency": "modelled",
    }


@pytest.mark.parametrize(
    ("ram", "verdict"),
    [(21_007, Verdict.NO), (21_008, Verdict.TIGHT), (26_259, Verdict.TIGHT), (26_260, Verdict.FITS)],
)
def test_tight_begins_above_eighty_percent_and_no_above_the_limit(ram: float, verdict: Verdict) -> None:
    assert fit(model(), board(ram)).verdict is verdict


def test_weights_in_flash_take_no_ram() -> None:
    found = fit(model(), board(2_000, weights_in_ram=False))
    assert found.verdict is Verdict.FITS
    assert reason(found, "RAM") == (
        "1.01 kB (modelled: activations; weights stay in flash) of 2.00 kB (assumed): 50.4 %"
    )


def test_the_worst_resource_decides() -> None:
    found = fit(model(), board(ram=50_000, storage=20_000))
    assert found.verdict is Verdict.NO
    assert reason(found, "storage") == "24.0 kB (measured) of 20.0 kB (measured): 120.0 %"


def test_a_format_that_the_device_does_not_load() -> None:
    found = fit(model(), device("apple-watch-s9"))
    assert (found.verdict, len(found.lines)) == (Verdict.NO, 1)
    assert found.lines[0].reason == "apple-watch-s9 loads coreml:…, not tflite:int8"


def test_a_precision_that_the_device_does_not_load() -> None:
    found = fit(model(precision=Precision.FLOAT16), device("nrf5340"))
    assert found.verdict is Verdict.NO
    assert found.lines[0].reason == "nrf5340 loads tflite at int8, float32, not tflite:float16"


def test_a_measured_arena_replaces_the_model() -> None:
    found = fit(model(), board(20_000, runtime="tflite-micro", weights_in_ram=False), arena=Arena(10_500))
    assert reason(found, "RAM") == ("10.5 kB (measured: tensor arena, on a 64-bit host) of 20.0 kB (assumed): 52.5 %")
    # Only tflite-micro has an arena: elsewhere the model stays.
    assert "modelled" in reason(fit(model(), board(50_000), arena=Arena(10_500)), "RAM")


def test_what_tflite_micro_refuses_does_not_fit() -> None:
    micro = board(20_000, runtime="tflite-micro", weights_in_ram=False)
    found = fit(model(), micro, arena=Arena(None, "tflite-micro refuses it: no GELU"))
    assert found.verdict is Verdict.NO
    assert reason(found, "RAM") == "tflite-micro refuses it: no GELU"


def test_a_budget_below_the_device_is_the_limit() -> None:
    found = fit(model(), board(50_000), budget=Budget(ram_bytes=21_500, size_bytes=200_000))
    assert found.verdict is Verdict.TIGHT
    assert reason(found, "RAM").endswith("of 21.5 kB (your budget): 97.7 %")
    assert reason(found, "storage").endswith("of 100 kB (measured): 24.0 %")


def test_a_latency_budget_is_never_guessed() -> None:
    host = Fingerprint("a CPU", 2, "Linux 6", "x86_64", "3.11.7")
    measured = Measurement(
        "00", "tflite:int8", "litert", "2", 1, "measured", 0.0483, 0.05, (0.048, 0.049), 0.048, 1, 1, 1, host, 3, 120
    )
    found = fit(model(), board(50_000), measured, budget=Budget(latency_ms=5))
    assert found.verdict is Verdict.UNKNOWN
    assert reason(found, "latency") == (
        "your budget of 5.00 ms: latency on board is not modelled yet (48.3 µs on the measuring host, another machine)"
    )


@pytest.mark.parametrize(
    ("drop", "allowed", "verdict", "text"),
    [
        (0.004, None, Verdict.FITS, "0.4 points below the original (measured)"),
        (0.004, 0.01, Verdict.FITS, "0.4 points below the original (measured), your budget is 1.0"),
        (0.02, 0.01, Verdict.NO, "2.0 points below the original (measured), your budget is 1.0"),
        (None, 0.01, Verdict.UNKNOWN, "your budget asks for accuracy, which was not measured"),
    ],
)
def test_accuracy(drop: float | None, allowed: float | None, verdict: Verdict, text: str) -> None:
    found = fit(model(), board(50_000), accuracy_drop=drop, budget=Budget(accuracy_drop=allowed))
    assert found.verdict is verdict
    assert reason(found, "accuracy") == text


def test_a_fit_is_json() -> None:
    found = fit(model(), board(50_000)).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert [line["resource"] for line in found["lines"]] == ["storage", "RAM", "latency"]


def test_a_file_that_tflite_micro_cannot_read_has_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\0" * 64)
    arena = arena_of(path)
    assert arena is not None
    assert arena.bytes is None
    assert arena.problem == "damaged TFLite file: it does not begin with the identifier TFL3"


def test_what_cannot_be_verified_here_is_stated_and_not_judged() -> None:
    found = fit(model(), board(50_000), unverified="Core ML runs on macOS only", budget=Budget(accuracy_drop=0.01))
    assert found.verdict is Verdict.FITS
    assert reason(found, "accuracy") == "unverified: Core ML runs on macOS only"


def test_lengths_that_are_not_fixed_are_stated() -> None:
    closed = model()
    source = replace(closed.tensors["x"], shape=(None, 600))
    found = fit(replace(closed, tensors=dict(closed.tensors) | {"x": source}), board(ram=50_000))
    assert "+ weights 20.0 kB; lengths that are not fixed taken as 1)" in reason(found, "RAM")
