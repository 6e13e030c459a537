"""The verdicts of a run as the page that the documentation has."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from edgewright.benchmarks.conformance.judge import Verdict

AIM = 0.9
REASON_LENGTH = 160


def page(
    target: str, dtypes: Iterable[str], counted: Sequence[Verdict], others: Sequence[Verdict], about: str = ""
) -> str:
    """Markdown: `counted` are the node cases of the target's element types, `others` those of other types."""
    passed = sum(verdict.outcome == "passed" for verdict in counted)
    share = passed / len(counted) if counted else 1.0
    kinds = ", ".join(sorted(dtypes))
    wrong = sum(verdict.outcome == "wrong" for verdict in (*counted, *others))
    return "\n".join([
        f"# ONNX operators on {target}",
        "",
        f"Written by `python -m edgewright.benchmarks.conformance {target}`: onnx's own node cases, each through the",
        "whole road from a foreign file, and compared with the answers on record.",
        "",
        f"Of {len(counted)} cases whose inputs and outputs are {kinds},",
        f"**{passed} pass ({share:.1%}; aim: {AIM:.0%})**, {_count(counted, 'refused')} are refused with reasons.",
        f"Of {len(others)} cases of other types {_count(others, 'passed')} pass. Wrong answers in all: {wrong}.",
        "",
        "A case that is refused with everything computed is tried with its parameters constant (integers and scalars",
        "behind the first input), then with all inputs but the first constant, as weights are; the third column counts",
        f"the cases that passed so. {about}".rstrip(),
        "",
        "| operator | passed | with constants | cases | refused or wrong, and why |",
        "|---|---|---|---|---|",
        *(_row(op, verdicts) for op, verdicts in sorted(_by_op(counted).items())),
        "",
    ])  # fmt: skip


def _count(verdicts: Sequence[Verdict], outcome: str) -> int:
    return sum(verdict.outcome == outcome for verdict in verdicts)


def _by_op(verdicts: Sequence[Verdict]) -> Mapping[str, list[Verdict]]:
    grouped: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        grouped[verdict.op_type].append(verdict)
    return grouped


def _row(op_type: str, verdicts: Sequence[Verdict]) -> str:
    good = [verdict for verdict in verdicts if verdict.outcome == "passed"]
    why = Counter(_shown(verdict) for verdict in verdicts if verdict.outcome != "passed")
    reasons = "; ".join(f"{count} × {reason}" for reason, count in sorted(why.items()))
    constant = sum(verdict.constants != "none" for verdict in good)
    return f"| {op_type} | {len(good)} | {constant or ''} | {len(verdicts)} | {reasons} |"


def _shown(verdict: Verdict) -> str:
    reason = verdict.reason.replace("|", "\\|")
    short = reason if len(reason) <= REASON_LENGTH else reason[:REASON_LENGTH] + " …"
    return f"WRONG ({verdict.case}): {short}" if verdict.outcome == "wrong" else short
