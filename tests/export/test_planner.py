import pytest

from edgewright.devices.spec import Spec
from edgewright.errors import NoPath
from edgewright.export.planner import plan
from edgewright.export.steps import NoOptions, Step, steps


def edge(source, target, cost=1.0, name=None, needs=None, uses_data=False):
    return Step(
        name or f"{source}-{target}", Spec.parse(source), Spec.parse(target), lambda *_: {}, needs or {},
        NoOptions, cost, uses_data, "test",
    )  # fmt: skip


GRAPH = [
    edge("torch:float32", "onnx:float32", 5, "capture"),
    edge("onnx:float32", "onnx:int8", 1, "quantize", uses_data=True),
    edge("onnx:float32", "tflite:float32", 1, "write"),
    edge("onnx:int8", "tflite:int8", 1, "write-int8"),
    edge("onnx:float32", "coreml:float32", 1, "apple", needs={"no-such-package": "coreml"}),
]
TORCH = Spec.parse("torch:float32")


def test_shared_hops_are_taken_once_and_in_order():
    route = plan(TORCH, [Spec.parse("tflite:int8"), Spec.parse("tflite:float32")], GRAPH)
    assert [step.name for step in route.steps] == ["capture", "quantize", "write", "write-int8"]
    assert [step.name for step in route.path(Spec.parse("tflite:int8"))] == ["capture", "quantize", "write-int8"]


def test_the_cheaper_way_wins_and_names_break_ties():
    ways = [*GRAPH, edge("torch:float32", "tflite:float32", 5.5, "direct")]
    assert [s.name for s in plan(TORCH, [Spec.parse("tflite:float32")], ways).steps] == ["direct"]
    tie = [edge("torch:float32", "onnx:float32", 1, "b"), edge("onnx:float32", "tflite:float32", 1, "z")]
    tie += [edge("torch:float32", "coreml:float32", 1, "a"), edge("coreml:float32", "tflite:float32", 1, "z2")]
    for order in (tie, tie[::-1]):
        assert [s.name for s in plan(TORCH, [Spec.parse("tflite:float32")], order).steps] == ["a", "z2"]


def test_what_is_blocked_says_why_and_the_rest_goes_on():
    route = plan(TORCH, [Spec.parse("coreml:float32"), Spec.parse("onnx:float32")], GRAPH)
    assert [step.name for step in route.steps] == ["capture"]
    blocked = route.blocked[Spec.parse("coreml:float32")]
    assert blocked == "step apple needs no-such-package: pip install 'edgewright[coreml]'"
    assert "coreml:float32  blocked: step apple needs" in str(route)
    assert "torch:float32 ─capture→ onnx:float32" in str(route)


def test_int8_without_data_is_refused_with_what_can_be_reached():
    with pytest.raises(NoPath) as caught:
        plan(TORCH, [Spec.parse("tflite:int8")], GRAPH, has_data=False)
    assert "step quantize needs samples to calibrate: give --data" in str(caught.value)
    assert "one can reach: onnx:float32, tflite:float32." in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_step_that_uses_data_only_if_given_goes_without():
    ways = [*GRAPH, edge("onnx:float32", "onnx:float16", 1, "half", uses_data="if given")]
    route = plan(TORCH, [Spec.parse("onnx:float16")], ways, has_data=False)
    assert [step.name for step in route.steps] == ["capture", "half"]


def test_no_step_at_all():
    with pytest.raises(NoPath, match="no step makes it"):
        plan(TORCH, [Spec.parse("coreml:palettized")], GRAPH)


def test_the_real_graph_reaches_all_nine_files_from_torch():
    wanted = [Spec.parse(f"{f}:{p}") for f in ("onnx", "tflite", "coreml") for p in ("float32", "float16", "int8")]
    route = plan(TORCH, wanted)
    assert route.blocked == {}
    assert {step.target for step in route.steps} == set(wanted)
    assert str(route.path(Spec.parse("tflite:int8"))[-1].source) == "onnx:int8"
    assert str(route.path(Spec.parse("coreml:int8"))[-1].source) == "onnx:int8"


def test_every_step_names_known_extras_and_has_frozen_options():
    for step in steps():
        assert step.options.__dataclass_params__.frozen, step.name
        assert set(step.needs.values()) <= {"torch", "onnx", "tflite", "tflite-micro", "coreml"}, step.name
        assert step.missing() is None, step.name
