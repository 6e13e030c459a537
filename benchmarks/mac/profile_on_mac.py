"""Run the Core ML packages beside this file on this Mac: answers, times, and the device of each operation.

    python3 -m pip install coremltools numpy
    python3 profile_on_mac.py

It writes results.json beside itself. Python 3.9 or later. Devices are told from macOS 14.4 on, where coremltools has
compute plans.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import coremltools  # type: ignore[import-untyped]
import numpy as np

HERE = Path(__file__).resolve().parent
UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
FEWEST_RUNS, MOST_RUNS = 10, 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to time each package on each unit")
    seconds = parser.parse_args().seconds
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    results: dict[str, Any] = {"format": 1, "edgewright": manifest["edgewright"], "machine": machine(), "cases": []}
    for case in manifest["cases"]:
        found = {key: case[key] for key in ("name", "digest", "reference_digest", "samples")}
        found["units"] = {}
        results["cases"].append(found)
        if digest(HERE / case["package"]) != case["digest"]:
            sys.exit(f"{case['package']} is not the package that the expected answers belong to")
        calls = expected(HERE / case["goldens"])
        for unit in UNITS:
            found["units"][unit] = on_unit(HERE / case["package"], unit, calls, seconds)
            text = found["units"][unit]
            print(case["name"], unit, text["error"] or f"{text['median_ms']:.3f} ms", flush=True)
            (HERE / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")  # a crash keeps these
    print(HERE / "results.json")
    return 0


def machine() -> dict[str, Any]:
    return {
        "model": told("sysctl", "-n", "hw.model"),
        "chip": told("sysctl", "-n", "machdep.cpu.brand_string"),
        "memory_bytes": told("sysctl", "-n", "hw.memsize"),
        "macos": platform.mac_ver()[0],
        "build": told("sw_vers", "-buildVersion"),
        "python": platform.python_version(),
        "coremltools": coremltools.__version__,
        "measured": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def told(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def digest(package: Path) -> str:
    """sha256 over names and bytes of the package's files, without what the Finder leaves there."""
    total = hashlib.sha256()
    for file in sorted(each for each in package.rglob("*") if each.is_file() and not each.name.startswith(".")):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(package).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def expected(file: Path) -> list[dict[str, dict[str, Any]]]:
    """For each call {"input": {name: array}, and the same by the name of each set of expected answers}."""
    calls: dict[int, dict[str, dict[str, Any]]] = {}
    with np.load(file, allow_pickle=False) as stored:
        for key in stored.files:
            number, kind, name = key.split("/", 2)
            calls.setdefault(int(number), {}).setdefault(kind, {})[name] = stored[key]
    return [calls[number] for number in sorted(calls)]


def on_unit(package: Path, unit: str, calls: list[dict[str, dict[str, Any]]], seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {"error": "", "placement": [], "placement_error": ""}
    try:
        units = coremltools.ComputeUnit[unit]
        begun = time.perf_counter()
        model = coremltools.models.MLModel(str(package), compute_units=units)
        found["load_ms"] = 1e3 * (time.perf_counter() - begun)
        begun = time.perf_counter()
        model.predict(calls[0]["input"])
        found["first_ms"] = 1e3 * (time.perf_counter() - begun)
        answers = [model.predict(call["input"]) for call in calls]
        kinds = [kind for kind in calls[0] if kind != "input"]
        found["against"] = {kind: compared([call[kind] for call in calls], answers) for kind in kinds}
        found.update(timed(model, calls[0]["input"], seconds))
    except Exception as error:  # Core ML raises plain ones; the other units shall still run
        found["error"] = f"{type(error).__name__}: {error}"
        return found
    try:
        found["placement"] = placement(model, units)
    except Exception as error:
        found["placement_error"] = f"{type(error).__name__}: {error}"
    return found


def timed(model: Any, inputs: dict[str, Any], seconds: float) -> dict[str, Any]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < FEWEST_RUNS or (time.perf_counter() < end and len(times) < MOST_RUNS):
        begun = time.perf_counter()
        model.predict(inputs)
        times.append(1e3 * (time.perf_counter() - begun))
    return {"median_ms": float(np.median(times)), "p90_ms": float(np.quantile(times, 0.9)), "runs": len(times)}


def compared(wanted: list[dict[str, Any]], answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Signal-to-noise ratio of each output over all calls, the largest difference, the share of equal top-1."""
    outputs = {name: one_output([w[name] for w in wanted], [a[name] for a in answers]) for name in wanted[0]}
    first = next(iter(wanted[0]))
    ranked = all(call[first].ndim == 2 and call[first].shape[1] > 1 for call in wanted)
    top1 = None
    if ranked:
        tops = [np.asarray(a[first]).argmax(1) == w[first].argmax(1) for w, a in zip(wanted, answers)]
        top1 = float(np.mean(np.concatenate(tops)))
    return {"outputs": outputs, "top1_agreement": top1}


def one_output(wanted: list[Any], answers: list[Any]) -> dict[str, Any]:
    signal = noise = largest = 0.0
    for truth, given in zip(wanted, answers):
        answer = np.asarray(given, np.float64)
        if answer.shape != truth.shape:
            raise ValueError(f"an answer of shape {answer.shape}, not {truth.shape}")
        with np.errstate(invalid="ignore", over="ignore"):
            difference = answer - truth.astype(np.float64)
            noise += float(np.sum(difference**2))
        signal += float(np.sum(truth.astype(np.float64) ** 2))
        largest = max(largest, float(np.max(np.abs(difference), initial=0)))
    if not math.isfinite(noise):
        return {"snr_db": "-inf", "max_abs": str(largest)}
    snr_db = 10 * math.log10(max(signal, 1e-300) / noise) if noise else math.inf
    return {"snr_db": snr_db if noise else "inf", "max_abs": largest}


def placement(model: Any, units: Any) -> list[dict[str, Any]]:
    """The device that Core ML plans for each operation, those that could take it, and its share of the cost."""
    from coremltools.models.compute_plan import MLComputePlan  # type: ignore[import-untyped]

    plan = MLComputePlan.load_from_path(model.get_compiled_model_path(), compute_units=units)
    rows = []
    for function in plan.model_structure.program.functions.values():
        for operation in operations(function.block):
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is None:  # constants
                continue
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            rows.append(
                {
                    "name": operation.outputs[0].name if operation.outputs else "",
                    "type": operation.operator_name,
                    "device": device_name(usage.preferred_compute_device),
                    "supported": sorted(map(device_name, usage.supported_compute_devices)),
                    "cost": cost.weight if cost is not None else None,
                }
            )
    return rows


def operations(block: Any) -> Any:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from operations(inner)


def device_name(device: Any) -> str:
    """MLNeuralEngineComputeDevice → NeuralEngine"""
    return type(device).__name__.replace("ML", "", 1).replace("ComputeDevice", "")


if __name__ == "__main__":
    sys.exit(main())
