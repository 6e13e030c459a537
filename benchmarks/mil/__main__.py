"""python -m edgewright.benchmarks.mil: write docs/mil-evaluator.md, or run one of the proofs."""

import argparse
import sys
from pathlib import Path

from edgewright.benchmarks.mac.family_bundle import write_families
from edgewright.benchmarks.mac.page import page as page_of_mac
from edgewright.benchmarks.mac.results import read_results
from edgewright.benchmarks.mil.operations import page
from edgewright.benchmarks.mil.their_tests import run
from edgewright.benchmarks.mil.vendor import largest_differences


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgewright.benchmarks.mil", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/mil-evaluator.md"), help="where the table goes")
    parser.add_argument("--vendor", nargs=2, type=Path, metavar=("PACKAGE", "ONNX"), help="compare two files instead")
    parser.add_argument("--their-tests", type=int, metavar="N", help="run N cases of each test of coremltools")
    parser.add_argument(
        "--mac-bundle", type=Path, metavar="DIR", help="packages of all families and a script for a Mac"
    )
    parser.add_argument("--mac-results", type=Path, metavar="FILE", help="show the results.json of that script")
    given = parser.parse_args()
    if given.mac_bundle:
        write_families(given.mac_bundle)
        print(f"{given.mac_bundle} written", file=sys.stderr)
        return 0
    if given.mac_results:
        print(page_of_mac(read_results(given.mac_results)), end="")
        return 0
    if given.vendor:
        for name, error in largest_differences(*given.vendor).items():
            print(f"{name}: largest difference {error:.2g}")
        return 0
    if given.their_tests:
        return run(given.their_tests)
    given.out.write_text(page(), encoding="utf-8")
    print(f"{given.out} written", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
