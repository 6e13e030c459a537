"""`python -m edgewright.benchmarks.compress [PART…] [--out DIR] [--seeds N] [--json]`, from the checkout.

Prints tables with their bars; exit 1 when a bar is missed. A stopped run goes on where it was, by the results in --out.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edgewright.benchmarks.quantization.table import Table

ORDER = ("pruning", "distillation", "clustering", "architecture", "dynamic", "road", "everything")
PARTS = tuple(part for part in ORDER if (Path(__file__).parent / f"{part}.py").exists())
"""Modules of this folder; each has `measure(out, seeds)`."""

Measure = Callable[[Path, Sequence[int]], Table | list[Table]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgewright.benchmarks.compress", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--out", type=Path, default=Path("out/compress"), help="where results and files are kept")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds the means are over")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if given.seeds < 1:
        parser.error(f"--seeds is {given.seeds}, wanted 1 or more")
    tables: list[Table] = []
    for part in given.parts or PARTS:
        found = _measure(part)(given.out, range(given.seeds))
        made = found if isinstance(found, list) else [found]
        tables += made
        if not given.json:
            print(*made, sep="\n", flush=True)
    if given.json:
        print(json.dumps([table.to_json() for table in tables], indent=1))
    return 0 if all(bar.met for table in tables for bar in table.bars) else 1


def _measure(part: str) -> Measure:
    """Imported when its turn comes: most parts import torch."""
    measure: Measure = importlib.import_module(f"edgewright.benchmarks.compress.{part}").measure
    return measure


if __name__ == "__main__":
    sys.exit(main())
