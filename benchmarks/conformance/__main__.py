"""`python -m edgewright.benchmarks.conformance [TARGET] [--out FILE] [--stored]`, from the checkout.

Writes the page of a target's operators; with --stored also runs the models that onnx stores, the large ones too.
Exit 1 when anything answers wrongly.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from edgewright.benchmarks.conformance.cases import Case, node_cases, stored_cases
from edgewright.benchmarks.conformance.coreml import Coreml
from edgewright.benchmarks.conformance.judge import Target, Verdict, judge
from edgewright.benchmarks.conformance.table import page
from edgewright.benchmarks.conformance.tflite import Tflite

TARGETS: dict[str, Callable[[], Target]] = {"tflite": Tflite, "coreml": Coreml}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edgewright.benchmarks.conformance", description=__doc__)
    parser.add_argument("target", nargs="?", default="tflite", choices=sorted(TARGETS))
    parser.add_argument("--out", type=Path, help="default: docs/TARGET-operators.md")
    parser.add_argument("--stored", action="store_true", help="the stored models too")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # onnx's cases divide by zero on purpose
    logging.disable(logging.WARNING)
    target = TARGETS[given.target]()
    known: list[Verdict] = []
    others: list[Verdict] = []
    for case in node_cases():
        (known if case.dtypes() <= target.dtypes else others).append(judge(case, target))
    out = given.out or Path("docs") / f"{target.name}-operators.md"
    out.write_text(page(target.name, target.dtypes, known, others, target.about))
    stored = _say(stored_cases(), target) if given.stored else []
    wrong = [verdict for verdict in (*known, *others, *stored) if verdict.outcome == "wrong"]
    for verdict in wrong:
        print(f"WRONG {verdict.op_type} {verdict.case}: {verdict.reason}")
    passed = sum(verdict.outcome == "passed" for verdict in known)
    print(f"{out}: {passed} of {len(known)} cases pass ({passed / len(known):.1%}), {len(wrong)} wrong")
    return 1 if wrong else 0


def _say(cases: Iterable[Case], target: Target) -> list[Verdict]:
    verdicts = []
    for case in cases:
        verdicts.append(judge(case, target))
        found = verdicts[-1]
        print(f"{found.outcome:8} {found.op_type:18} {found.case}  {found.reason[:200]}", flush=True)
    return verdicts


if __name__ == "__main__":
    sys.exit(main())
