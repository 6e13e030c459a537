"""One case through one target: passed, refused with a reason, or wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgewright.benchmarks.conformance.cases import Arrays, Case
from edgewright.errors import BadModel, UnsupportedOps

if TYPE_CHECKING:
    import onnx

RELATIVE, ABSOLUTE = 1e-3, 1e-5
"""The suite's own relative tolerance; kernels use float32 approximations near 0."""

SHAPED_BY_VALUES = ("BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "MelWeightMatrix", "Range")
"""Their first input too is a parameter, from which the output gets its shape; any other case is never all constant."""

Constants = Literal["none", "parameters", "all but the first", "all"]
"""Which inputs had to be constants: scalars and integers behind the first one are parameters."""


class Target(Protocol):
    """What takes ONNX models. `dtypes` are ONNX's names of the element types that it computes with.

    `about` is a sentence that the page of its operators says of how the cases are written.
    """

    name: str
    about: str
    dtypes: frozenset[str]

    def convert(self, model: "onnx.ModelProto") -> bytes:
        """Raises UnsupportedOps or BadModel, with the reason, for what it cannot express."""
        ...

    def answers(self, content: bytes, inputs: Arrays) -> Iterator[tuple[str, Mapping[str, NDArray[Any]]]]:
        """The outputs by each way to run the file. Raises RuntimeError or ValueError when the runtime refuses it."""
        ...


@dataclass(frozen=True)
class Verdict:
    """`reason` tells why it is refused, or what is wrong."""

    case: str
    op_type: str
    outcome: Literal["passed", "refused", "wrong"]
    constants: Constants = "none"
    reason: str = ""


def judge(case: Case, target: Target) -> Verdict:
    """As it is, with everything computed; what is refused is tried with more and more inputs constant, as weights are.

    An error other than a refusal is wrong, and so is a file that the runtime does not load or that answers otherwise.
    """
    reasons: list[str] = []
    for constants, names in _choices(case).items():
        try:
            content = target.convert(_with_constants(case, names))
        except (UnsupportedOps, BadModel) as refusal:
            reasons.append(_reason(refusal))
            continue
        except Exception as error:  # whatever it is, it tells the user nothing
            return Verdict(case.name, case.op_type, "wrong", constants, f"raises {type(error).__name__}: {error}")
        feed = {name: array for name, array in case.inputs.items() if name not in names}
        problem = _difference(target, content, feed, case.outputs)
        return Verdict(case.name, case.op_type, "wrong" if problem else "passed", constants, problem or "")
    return Verdict(case.name, case.op_type, "refused", "none", next((each for each in reversed(reasons) if each), ""))


def _choices(case: Case) -> dict[Constants, tuple[str, ...]]:
    """The inputs to make constant, fewest first; a choice that adds nothing is left out."""
    given = list(case.inputs.items())
    parameters = tuple(name for name, array in given[1:] if array.dtype.kind in "iub" or array.ndim == 0)
    wanted: dict[Constants, tuple[str, ...]] = {
        "none": (),
        "parameters": parameters,
        "all but the first": tuple(name for name, _ in given[1:]),
    }
    if case.op_type in SHAPED_BY_VALUES:
        wanted["all"] = tuple(case.inputs)
    chosen: dict[Constants, tuple[str, ...]] = {}
    for label, names in wanted.items():
        if names not in chosen.values():
            chosen[label] = names
    return chosen


def _with_constants(case: Case, names: tuple[str, ...]) -> "onnx.ModelProto":
    import onnx
    from onnx import numpy_helper

    if not names:
        return case.model
    fixed = onnx.ModelProto()
    fixed.CopyFrom(case.model)
    fixed.graph.initializer.extend(numpy_helper.from_array(case.inputs[name], name) for name in names)
    left = [end for end in case.model.graph.input if end.name not in names]
    del fixed.graph.input[:]
    fixed.graph.input.extend(left)
    return fixed


def _reason(refusal: UnsupportedOps | BadModel) -> str:
    """On one line; operators that the case's own one was spelled out in are named."""
    if isinstance(refusal, UnsupportedOps):
        return "; ".join(f"{op}: {reason}" for op, (reason, _) in sorted(refusal.missing.items()))
    return " ".join(str(refusal).split())


def _difference(target: Target, content: bytes, feed: Arrays, wanted: Arrays) -> str | None:
    """How the answers differ from those on record; None when they do not."""
    try:
        for way, given in target.answers(content, feed):
            for name, array in wanted.items():
                if given[name].shape != array.shape or given[name].dtype != array.dtype:
                    return f"{way}, {name}: {given[name].dtype}{given[name].shape}, not {array.dtype}{array.shape}"
                if not _equal(given[name], array):
                    return f"{way}, {name}: {given[name].ravel()[:6]}, not {array.ravel()[:6]}"
    except (RuntimeError, ValueError) as error:
        return f"the runtime refuses it: {error}"
    return None


def _equal(given: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Integers exactly, floats within the tolerance."""
    if wanted.dtype.kind in "iubOSU":
        return np.array_equal(given, wanted)
    ours, theirs = given.astype(np.float64), wanted.astype(np.float64)  # bfloat16 does not mix with other types
    return np.allclose(ours, theirs, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
