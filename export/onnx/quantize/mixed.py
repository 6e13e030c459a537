"""The truth within an accuracy budget: int8 but for the few operators that cost too much, each with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.data import Samples
from edgewright.errors import BadInput, BadModel
from edgewright.export.onnx.file import contract_of, load_onnx, save_model
from edgewright.export.onnx.graph import nodes_of
from edgewright.export.onnx.quantize.bias import channel_means, correct_biases
from edgewright.export.onnx.quantize.calibrate import observe
from edgewright.export.onnx.quantize.goal import Goal, Score, goal_of
from edgewright.export.onnx.quantize.local import merge
from edgewright.export.onnx.quantize.observation import Estimator
from edgewright.export.onnx.quantize.options import QuantizeOptions
from edgewright.export.onnx.quantize.plan import CARRYING, plan_int8
from edgewright.export.onnx.quantize.qdq import Ranges
from edgewright.export.onnx.quantize.quantized import quantized_copy
from edgewright.export.onnx.quantize.search import (
    CONVERSION_COST,
    HEAVY,
    Found,
    OnlyFloat,
    search,
    units_of,
    without_heavy,
)
from edgewright.export.onnx.quantize.sensitivity import output_snr
from edgewright.export.onnx.quantize.step import NEEDS
from edgewright.export.onnx.quantize.truth import Truth, make_truth, split
from edgewright.export.onnx.quantize.weight_only import store_recurrent, store_weights
from edgewright.export.onnx.quantize.weights import RECURRENT, SMALLEST
from edgewright.export.steps import Job, Notes, step
from edgewright.progress import Progress
from edgewright.runtimes.artifact import Artifact
from edgewright.runtimes.contract import Contract
from edgewright.runtimes.read import read
from edgewright.runtimes.runtime import batch_of

if TYPE_CHECKING:
    import onnx_ir as ir

DEFAULT_DROP = 0.01
RANKING_PROBES = 16


@dataclass(frozen=True)
class MixedOptions(QuantizeOptions):
    """`accuracy_drop`: the fraction of labelled samples that int8 may lose against float (default: the recipe's budget,
    else 0.01). `snr_db`: what stands for it where labels are missing or too few to show it.
    """

    accuracy_drop: float | None = None
    snr_db: float = 25.0

    def __post_init__(self) -> None:
        super().__post_init__()
        drop = DEFAULT_DROP if self.accuracy_drop is None else self.accuracy_drop
        if not 0 <= drop < 1 or not 0 < self.snr_db <= 100:
            raise BadInput(f"{self}: accuracy_drop is a fraction from 0 to 1, snr_db above 0 and at most 100")


@step(source="onnx:float32", target="onnx:mixed", needs=NEEDS, cost=8.0, options=MixedOptions, uses_data=True)
def quantize_mixed(source: Artifact, out: Path, job: Job, options: MixedOptions) -> Notes:
    """Int8 where the budget allows it. Where plain int8 meets it the plan is that, and the file reads as int8.

    Recurrent layers keep a float state, and get int8 weights; so does the rest where it is too little work beside them,
    or would not meet the budget in int8.

    Raises BadModel when nothing heavy could stay in int8 and no layer is recurrent.
    """
    model = load_onnx(source.path)
    contract = contract_of(model)
    drop = DEFAULT_DROP if options.accuracy_drop is None else options.accuracy_drop
    _, probes, _ = split(job, options.samples)
    goal = goal_of(model, contract, probes, job.validation, drop, options.snr_db)
    macs = {op.name: op.macs for op in read(source.path).ops}
    if not any(True for _ in nodes_of(model, *RECURRENT)):
        truth, notes = within_budget(model, contract, job, options, goal, macs)
        save_model(truth.quantized.model, contract, out)
        return truth.notes | notes
    made, notes = _recurrent(model, contract, job, options, goal, macs)
    save_model(made, contract, out)
    return notes


def _recurrent(
    model: "ir.Model", contract: Contract, job: Job, options: MixedOptions, goal: Goal, macs: Mapping[str, int]
) -> "tuple[ir.Model, Notes]":
    """Int8 weights in every recurrent layer, and around them a plan where it is worth its conversions."""
    beside = sum(macs.get(str(node.name), 0) for node in plan_int8(model.clone()).int8)
    why = f"less than {CONVERSION_COST:.0%} of the work lies beside the recurrent layers"
    notes: Notes = {"goal": str(goal)}
    if beside >= CONVERSION_COST * sum(macs.values()):
        try:
            truth, found = within_budget(model.clone(), contract, job, options, goal, macs)
        except OnlyFloat:
            why = f"no plan with a product in int8 reaches {goal}"
        else:
            made, why, notes = truth.quantized.model, "", truth.notes | found
    if why:
        made = model
        floats = [{"op": node.op_type, "node": str(node.name), "why": why} for node in nodes_of(model, *HEAVY)]
        job.progress.say(f"mixed: int8 weights and float arithmetic: {why}")
        notes |= {"kept_float": floats, "stored_weights": store_weights(made, SMALLEST)}
    notes["int8_weights"] = store_recurrent(made)
    score = goal.score(made)
    if why and not goal.met(score):
        raise BadModel(f"mixed: with int8 weights alone the recurrent layers give {score}, and the goal is {goal}")
    return made, notes | {"score": str(score), "goal_met": goal.met(score)}


def within_budget(
    model: "ir.Model", contract: Contract, job: Job, options: MixedOptions, goal: Goal, macs: Mapping[str, int]
) -> tuple[Truth, Notes]:
    """A truth that meets the goal, and notes: the goal, plain int8's score, the plan. `macs` are by node name."""
    untrained = replace(options, rounding="nearest", qat=None)  # only what is kept in the end is trained
    plain = make_truth(model, contract, job, untrained, "mixed")
    score = goal.score(plain.quantized.model)
    notes: Notes = {"goal": str(goal), "int8_score": str(score)}
    if goal.met(score):
        job.progress.say(f"mixed: plain int8 meets the budget ({score}; {goal})")
        plain = plain if options == untrained else make_truth(model, contract, job, options, "mixed")
        return plain, notes | {"kept_float": [], "score": str(score), "goal_met": True}
    found = _search(model, contract, job, goal, plain.notes["estimator"], options, macs)
    truth = make_truth(model, contract, job, options, "mixed", found.keep_float)
    reached = goal.score(truth.quantized.model)
    kept = [{"op": _op(model, name), "node": name, "why": why} for name, why in found.keep_float.items()]
    for row in kept:
        job.progress.say(f"mixed: {row['op']} {row['node']}: {row['why']}")
    met = "" if goal.met(reached) else ", which misses the goal"  # the plan met it with the ranges of the search
    job.progress.say(f"mixed: {score} in plain int8, {reached} with {len(kept)} operators kept float{met} ({goal})")
    reached_notes = {"score": str(reached), "goal_met": not met, "plans_measured": found.measured}
    return truth, notes | {"kept_float": kept} | reached_notes


def _search(
    model: "ir.Model",
    contract: Contract,
    job: Job,
    goal: Goal,
    estimator: Estimator,
    options: MixedOptions,
    macs: Mapping[str, int],
) -> Found:
    """Calibrates once; every plan that is measured takes its ranges from there."""
    calibration, probes, _ = split(job, options.samples)
    plan = plan_int8(model)
    names = {str(value.name) for value in plan.groups if value.const_value is None}  # fixed grids may become free
    seen = observe(model, contract, names, calibration, job.progress)
    ranges = {name: observation.range(estimator) for name, observation in seen.items()}
    units = units_of(plan, _noise(model, contract, ranges, probes, job.progress), macs)

    means = channel_means(model, contract, calibration, job.progress) if options.correct_bias else {}

    def measure(keep_float: Mapping[str, str]) -> Score:
        return goal.score(correct_biases(quantized_copy(model, ranges, keep_float), means).model)

    with job.progress.task("mixed plan") as advance:
        found = search(units, measure, goal, advance)
    has_heavy = any(unit.macs_share for unit in units)
    unpaired = without_heavy(plan_int8(model.clone(), found.keep_float)) if has_heavy else {}
    return Found(dict(found.keep_float) | unpaired, found.score, found.measured)


def _noise(
    model: "ir.Model", contract: Contract, ranges: Ranges, probes: Samples, progress: Progress
) -> dict[str, float]:
    """Node name → noise power / signal power at the worst output when it alone is in int8."""
    merged = merge(model, quantized_copy(model, ranges).model)
    computing = [branch for branch in merged.branches if branch.int8 and branch.op not in CARRYING]
    few = probes.first(max(RANKING_PROBES, batch_of(contract, 1)))
    found = output_snr(merged, computing, contract, few, progress)
    return {branch.node: 10 ** (-found[branch.tensor] / 10) for branch in computing}


def _op(model: "ir.Model", name: str) -> str:
    return next(node.op_type for node in model.graph if node.name == name)
