"""If, Loop and Scan: what is known ahead is folded, the rest runs as IF and WHILE and answers as onnx says."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from edgewright.errors import BadModel, UnsupportedOps
from edgewright.export.onnx.passes.control_flow import fold_control_flow
from edgewright.export.onnx.simplify import simplify
from edgewright.export.tflite.convert import Converted, convert

from .conftest import Answer

HEADER = '<ir_version: 10, opset_import: ["": 21]>\n'
RUNTIMES = ("xnnpack", "builtin", "legacy")

Check = Callable[..., Converted]


@pytest.fixture
def check(run: Answer) -> Check:
    """Converts a model in onnx's text form, compares three runtimes, two calls each, with onnxruntime."""

    def compare(text: str, **inputs: NDArray[Any]) -> Converted:
        proto = onnx.parser.parse_model(HEADER + text)
        onnx.checker.check_model(proto)
        wanted = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, inputs)
        converted = convert(ir.from_proto(proto))
        for runtime in RUNTIMES:
            for _ in range(2):
                given = run(converted.content, inputs, runtime)
                for value, array in zip(proto.graph.output, wanted, strict=True):
                    assert given[value.name].dtype == array.dtype
                    np.testing.assert_allclose(given[value.name], array, rtol=1e-5, atol=1e-6, err_msg=runtime)
        return converted

    return compare


def codes(converted: Converted) -> Counter[str]:
    return Counter(op.code for op in converted.ops)


X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("choice", [True, False])
def test_an_if_takes_what_its_branches_read(check: Check, choice: bool) -> None:
    converted = check(
        """g (bool c, float[3,4] x, float[3,4] z) => (float[3,4] y, float[3,4] w) {
            a = Relu(x)
            y, w = If(c) <
                then_branch = t () => (float[3,4] p, float[3,4] q) { p = Add(a, z) q = Mul(a, z) },
                else_branch = e () => (float[3,4] r, float[3,4] s) { r = Identity(a) s = Sub(x, z) }>
        }""",
        c=np.array(choice), x=X, z=X[::-1].copy(),
    )  # fmt: skip
    assert codes(converted)["IF"] == 1


@pytest.mark.parametrize("choice", [True, False])
def test_branches_may_give_constants_and_what_they_get(check: Check, choice: bool) -> None:
    check(
        """g (bool c, float[3] x) => (float[3] y, float[3] w, int64 n) {
            y, w, n = If(c) <
                then_branch = t () => (float[3] p, float[3] q, int64 k) {
                    p = Constant<value_floats=[1.0, 2.0, 3.0]>() q = Identity(p) k = Constant<value_int=7>() },
                else_branch = e () => (float[3] r, float[3] s, int64 m) {
                    r = Identity(x) s = Identity(x) m = Constant<value_int=-7>() }>
        }""",
        c=np.array(choice), x=X[0, :3],
    )  # fmt: skip


@pytest.mark.parametrize("choice", [(True, True), (True, False), (False, True)])
def test_nested_ifs_and_captures_of_captures(check: Check, choice: tuple[bool, bool]) -> None:
    converted = check(
        """g (bool c, bool d, float[4] x) => (float[4] y) {
            a = Exp(x)
            y = If(c) <
                then_branch = t () => (float[4] p) { b = Neg(x) p = If(d) <
                    then_branch = tt () => (float[4] tp) { tp = Add(a, b) },
                    else_branch = te () => (float[4] tq) { tq = Mul(b, x) }> },
                else_branch = e () => (float[4] r) { r = Sub(a, x) }>
        }""",
        c=np.array(choice[0]), d=np.array(choice[1]), x=X[0],
    )  # fmt: skip
    assert codes(converted)["IF"] == 2


LOOP = """g (int64 n, float[4] x) => (float[4] y, float[4] w, float[4] k) {{
    s = Constant<value_floats=[0.0, 1.0, 2.0, 3.0]>()
    a = Abs(x)
    y, w, k = Loop({trips}, {go}, s, x, x) <
        body = b (int64 i, bool go_in, float[4] p, float[4] q, float[4] z) =>
                 (bool go_out, float[4] p2, float[4] q2, float[4] z2) {{
            f = Cast<to=1>(i) fa = Mul(f, a) p2 = Add(q, fa) q2 = Identity(p) z2 = Identity(z)
            lim = Constant<value_float=40.0>() m = ReduceMax<keepdims=0>(p2) go_out = {ends} }}>
}}"""


@pytest.mark.parametrize("steps", [0, 1, 13])
def test_a_computed_number_of_steps(check: Check, steps: int) -> None:
    """States swap places, one stays, the step's number is used and an outer value is captured."""
    converted = check(LOOP.format(trips="n", go="", ends="Identity(go_in)"), n=np.array(steps), x=X[0])
    assert codes(converted)["WHILE"] == 1
    assert "LOGICAL_AND" not in codes(converted)


def test_a_loop_that_ends_on_what_it_computes(check: Check) -> None:
    converted = check(LOOP.format(trips="n", go="", ends="Less(m, lim)"), n=np.array(1000), x=X[0])
    assert codes(converted)["LOGICAL_AND"] == 1
    open_ended = LOOP.replace("int64 n, ", "").format(trips="", go="go", ends="Less(m, lim)")
    check(open_ended.replace("a = Abs(x)", "a = Abs(x) go = Constant<value = bool {1}>()"), x=X[0])


def test_an_endless_loop_is_refused() -> None:
    text = LOOP.replace("int64 n, ", "").format(trips="", go="", ends="Identity(go_in)")
    with pytest.raises(UnsupportedOps, match="it never ends"):
        convert(ir.from_proto(onnx.parser.parse_model(HEADER + text)))


STACKED = """g (float[4] x) => (float[4] y, float[{n},4] rows) {{
    n = Constant<value_int={n}>() t = Constant<value = bool {{1}}>()
    y, rows = Loop(n, t, x) <
        body = b (int64 i, bool go, float[4] s) => (bool go2, float[4] s2, float[4] row) {{
            h = Constant<value_float=0.5>() s2 = Mul(s, h) row = Add(s2, x) go2 = Identity(go) }}>
}}"""


@pytest.mark.parametrize(("steps", "code"), [(3, "CONCATENATION"), (30, "WHILE")])
def test_rows_of_a_known_number_of_steps(check: Check, steps: int, code: str) -> None:
    converted = check(STACKED.format(n=steps), x=X[0])
    assert codes(converted)[code] == 1
    assert ("WHILE" in codes(converted)) == (code == "WHILE")


def test_rows_of_an_unknown_number_of_steps_are_refused() -> None:
    text = (
        STACKED.format(n=30)
        .replace("float[4] x)", "int64 n, float[4] x)", 1)
        .replace("n = Constant<value_int=30>()", "")
    )
    with pytest.raises(UnsupportedOps, match="how many there are is computed"):
        convert(ir.from_proto(onnx.parser.parse_model(HEADER + text)))


@pytest.mark.parametrize("steps", [2, 20])
@pytest.mark.parametrize("backwards", [0, 1])
def test_scan_along_other_axes_and_backwards(check: Check, steps: int, backwards: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, steps)).astype(np.float32)
    converted = check(
        f"""g (float[2] s, float[2,{steps}] x, float[{steps},2] z)
                => (float[2] e, float[2,{steps}] y, int64[{steps}] m) {{
            e, y, m = Scan<num_scan_inputs=2, scan_input_axes=[-1, 0], scan_input_directions=[{backwards}, 0],
                           scan_output_axes=[1, 0], scan_output_directions=[0, {backwards}],
                body = b (float[2] s0, float[2] xt, float[2] zt) => (float[2] s1, float[2] yt, int64 mt) {{
                    s1 = Add(s0, xt) yt = Mul(s1, zt) mt = ArgMax<axis=0, keepdims=0>(yt) }}>(s, x, z)
        }}""",
        s=x[:, 0], x=x, z=x.T.copy(),
    )  # fmt: skip
    assert codes(converted)["WHILE"] == (steps == 20)


def test_a_state_that_grows_is_refused() -> None:
    text = """g (int64 n, float[4] x) => (float[?] y) {
        y = Loop(n, , x) < body = b (int64 i, bool go, float[?] s) => (bool go2, float[?] s2) {
            s2 = Concat<axis=0>(s, x) go2 = Identity(go) }> }"""
    with pytest.raises((UnsupportedOps, BadModel), match=r"changes its shape|fixed shapes"):
        convert(ir.from_proto(onnx.parser.parse_model(HEADER + text)))


def test_a_state_that_grows_a_few_times_is_unrolled(check: Check) -> None:
    converted = check(
        """g (float[4] x) => (float[16] y) {
            n = Constant<value_int=3>() t = Constant<value = bool {1}>()
            y = Loop(n, t, x) < body = b (int64 i, bool go, float[?] s) => (bool go2, float[?] s2) {
                s2 = Concat<axis=0>(s, x) go2 = Identity(go) }> }""",
        x=X[0],
    )
    assert "WHILE" not in codes(converted)


def test_what_is_known_ahead_is_folded() -> None:
    """An If on the number of the step within a Loop of three steps: four plain nodes are left."""
    model = ir.from_proto(
        onnx.parser.parse_model(
            HEADER
            + """g (float[4] x) => (float[4] y) {
            n = Constant<value_int=3>() t = Constant<value = bool {1}>()
            y = Loop(n, t, x) <
                body = b (int64 i, bool go, float[4] s) => (bool go2, float[4] s2) {
                    one = Constant<value_int=1>() first = Less(i, one) go2 = Identity(go)
                    s2 = If(first) <then_branch = p () => (float[4] r) { r = Exp(s) },
                                    else_branch = q () => (float[4] u) { v = Sin(s) u = Add(v, x) }> }>
        }"""
        )
    )
    folded, counts = simplify(model)
    assert [node.op_type for node in folded.graph] == ["Exp", "Sin", "Add", "Sin", "Add"]
    assert counts["fold_control_flow"] > 0
    assert fold_control_flow(folded) == 0
    x = X[0]
    (y,) = ReferenceEvaluator(ir.to_proto(folded)).run(None, {"x": x})
    np.testing.assert_allclose(y, np.sin(np.sin(np.exp(x)) + x) + x, rtol=1e-6)


def test_bodies_with_open_shapes_are_unrolled() -> None:
    """Each step slices x to another length: only unrolled have the pieces shapes."""
    model = ir.from_proto(
        onnx.parser.parse_model(
            HEADER
            + """g (float[6] x) => (float[6] y) {
            n = Constant<value_int=6>() t = Constant<value = bool {1}>()
            zero = Constant<value_ints=[0]>() one = Constant<value_ints=[1]>()
            e, y = Loop(n, t, zero) <
                body = b (int64 i, bool go, int64[1] s) => (bool go2, int64[1] s2, float r) {
                    s2 = Add(s, one) part = Slice(x, zero, s2) r = ReduceSum<keepdims=0>(part) go2 = Identity(go) }>
        }"""
        )
    )
    folded, _ = simplify(model)
    (y,) = ReferenceEvaluator(ir.to_proto(folded)).run(None, {"x": np.arange(6, dtype=np.float32)})
    np.testing.assert_array_equal(y, np.cumsum(np.arange(6)))
    assert "WHILE" not in codes(convert(folded))


def test_an_old_scan_is_not_misread() -> None:
    """Scan of opset 8 has a batch axis; onnx's converter would drop it silently."""
    text = """<ir_version: 3, opset_import: ["": 8]>
        g (float[1,2] s, float[1,3,2] x) => (float[1,2] y, float[1,3,2] z) {
        y, z = Scan<num_scan_inputs=1, body = b (float[2] a, float[2] n) => (float[2] o, float[2] p) {
            o = Add(a, n) p = Identity(o) }>("", s, x) }"""
    with pytest.raises(BadModel, match="Scan of opset 8"):
        simplify(ir.from_proto(onnx.parser.parse_model(text)))
