"""How fast the road itself is: `python -m edgewright.benchmarks.road RECIPE` (default: the watch example).

Drives the command line as a user does. The trained and compressed module comes from the store; capture, all exports and
their verification are made anew; latency measuring is left out. Prints the wall time, the time of each step, and the
time to `edgewright --help`; every figure is the median of a few runs, with the lowest and the highest.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUNS = 5


def main(recipe: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        build(recipe, store, Path(folder) / "out")
        walls: list[float] = []
        steps: dict[str, list[float]] = defaultdict(list)
        for _ in range(RUNS):
            forget_exports(store)
            started = time.perf_counter()
            manifest = build(recipe, store, Path(folder) / "out")
            walls.append(time.perf_counter() - started)
            for row in manifest["artifacts"]:
                if not row["from_store"]:
                    steps[f"{row['step']} → {row['name']}"].append(row["seconds"])
        helps = [timed(["--help"], store) for _ in range(RUNS)]
    print(line("torch module → all files, whole process", walls))
    for name, seconds in steps.items():
        print(line(f"  {name}", seconds))
    print(line("edgewright --help", helps))


def build(recipe: str, store: Path, out: Path) -> dict[str, Any]:
    """The manifest of a build without latency measuring."""
    words = ["build", "--recipe", recipe, "--no-bench", "--json", "--out", str(out)]
    manifest: dict[str, Any] = json.loads(edgewright(words, store))
    return manifest


def forget_exports(store: Path) -> None:
    """Remove what was made from the torch module: every entry but those that only have torch modules as input."""
    for entry in store.glob("??/*/entry.json"):
        key = json.loads(entry.read_text())["key"]
        if not (set(key) >= {"step", "input"} and (entry.parent / "content" / "model.torch").exists()):
            shutil.rmtree(entry.parent)


def timed(words: Sequence[str], store: Path) -> float:
    started = time.perf_counter()
    edgewright(words, store)
    return time.perf_counter() - started


def edgewright(words: Sequence[str], store: Path) -> str:
    environment = os.environ | {"EDGEWRIGHT_STORE": str(store)}
    command = [sys.executable, "-m", "edgewright", *words]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def line(what: str, seconds: Sequence[float]) -> str:
    return f"{what:<48} {statistics.median(seconds):7.3f} s  [{min(seconds):.3f}, {max(seconds):.3f}]"


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "examples/watch/edgewright.toml")
