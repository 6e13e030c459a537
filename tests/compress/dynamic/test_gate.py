import numpy as np
import pytest

from edgewright.compress.dynamic.calibrate import calibrate, outcome
from edgewright.compress.dynamic.gate import NEVER, Gate, sureness
from edgewright.errors import BadInput

LABELS = np.array([0, 0, 1, 1])
EARLY = np.array([[4.0, 0.0], [1.0, 0.0], [0.0, 3.0], [2.0, 0.0]])  # the last one is wrong, and rather sure
LAST = np.array([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, 4.0]])
COSTS = (1.0, 3.0)


def test_sureness_goes_from_zero_to_one():
    scores = np.array([[0.0, 0.0, 0.0, 0.0], [50.0, 0.0, 0.0, 0.0]])
    assert sureness(scores, "entropy") == pytest.approx([0, 1])
    assert sureness(scores, "max_probability") == pytest.approx([0.25, 1])


def test_the_cheapest_gate_that_loses_nothing_lets_the_surest_leave():
    gate = calibrate([EARLY, LAST], LABELS, COSTS, drop=0.0)
    found = outcome(gate, [EARLY, LAST], LABELS, COSTS)
    assert gate.leaves(0, EARLY).tolist() == [True, False, True, False]
    assert (found.accuracy, found.rates, found.mean_cost) == (1.0, (0.5, 0.5), 2.5)


def test_a_drop_that_is_allowed_is_spent():
    gate = calibrate([EARLY, LAST], LABELS, COSTS, drop=0.25)
    assert outcome(gate, [EARLY, LAST], LABELS, COSTS).rates == (1.0, 0.0)


def test_a_mean_cost_is_kept_with_the_best_accuracy():
    gate = calibrate([EARLY, LAST], LABELS, COSTS, confidence="entropy", mean_cost=0.65)
    found = outcome(gate, [EARLY, LAST], LABELS, COSTS)
    assert (found.accuracy, found.mean_cost) == (1.0, 2.5)
    with pytest.raises(BadInput, match=r"mean cost of 0\.2; the least is 0\.250"):
        calibrate([EARLY, LAST], LABELS, COSTS, mean_cost=0.2)


def test_a_useless_exit_is_never_taken():
    wrong = EARLY[:, ::-1]
    gate = calibrate([wrong[:3], LAST[:3]], LABELS[:3], COSTS, drop=0.0)
    assert gate.thresholds == (NEVER,)


def test_json_gives_the_same_gate_and_an_unknown_rule_is_refused():
    gate = Gate("entropy", (0.5, 0.75))
    assert Gate.from_json(gate.to_json()) == gate
    with pytest.raises(BadInput, match="known: max_probability, entropy"):
        Gate("luck", (0.5,))
