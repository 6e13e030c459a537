"""Rules that lower ONNX operators to a target: the signature of a rule is the schema of the operator.

    @TFLITE.lower("Conv", layout="nhwc")
    def conv(b, x, w, bias=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, ...): ...

The first parameter is the backend's builder, further positional ones are the ONNX inputs (a default of None marks an
optional one, ``*xs`` a variadic one), keyword-only ones the ONNX attributes with ONNX's defaults (none: required).
`schema_problems` compares every signature with `onnx.defs`; a test holds it empty.
"""

import importlib
import inspect
import pkgutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from edgewright.errors import Error, UnsupportedOps

if TYPE_CHECKING:
    import onnx_ir as ir

Layout = Literal["any", "nhwc", "axis", "nchw"]
"""any: elementwise · nhwc: wants channels last · axis: an attribute to renumber · nchw: must see the original order."""

INTERNAL_OPSET = 21
"""Backends see one opset; `export/onnx/passes/upgrade.py` lifts every model to it."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Rule:
    op_type: str
    layout: Layout
    function: Callable[..., Any]
    owner: str
    fits: "Callable[[ir.Node], bool] | None" = None
    """Which nodes the rule takes as they are; the others are decomposed first. None: all."""


class Lowerings:
    """The rules of one target, filled by the modules of its `ops` folder."""

    def __init__(self, target: str, ops_package: str) -> None:
        self.target = target
        self._ops_package = ops_package
        self._rules: dict[str, Rule] = {}
        self._loaded = False

    def lower(
        self, *op_types: str, layout: Layout = "any", fits: "Callable[[ir.Node], bool] | None" = None
    ) -> Callable[[F], F]:
        """Register the decorated function as the rule of these ONNX operators. A second rule for one is an error."""

        def register(function: F) -> F:
            for op_type in op_types:
                owner = f"{function.__module__}.{function.__name__}"
                known = self._rules.setdefault(op_type, Rule(op_type, layout, function, owner, fits))
                if known.function is not function:
                    raise Error(f"{self.target}: {op_type} is already lowered by {known.owner}, not by {owner}")
            return function

        return register

    def rules(self) -> Mapping[str, Rule]:
        """All rules by operator, after walking the `ops` folder."""
        if not self._loaded:
            package = importlib.import_module(self._ops_package)
            for module_info in pkgutil.iter_modules(package.__path__, self._ops_package + "."):
                importlib.import_module(module_info.name)
            self._loaded = True
        return self._rules

    def takes(self, node: "ir.Node") -> bool:
        """Whether there is a rule for the node as it is."""
        rule = self.rules().get(node.op_type)
        return rule is not None and (rule.fits is None or rule.fits(node))

    def check_coverage(self, nodes: Iterable["ir.Node"], reasons: Mapping[str, str] | None = None) -> None:
        """Raises one UnsupportedOps that lists every operator without a rule, with reason, count and nodes."""
        missing: dict[str, list[str]] = defaultdict(list)
        for node in nodes:
            if node.domain not in ("", "ai.onnx") or node.op_type not in self.rules():
                name = f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
                missing[name].append(node.name or node.op_type)
        if missing:
            why = reasons or {}
            raise UnsupportedOps(
                self.target, {op: (why.get(op, "no lowering yet"), names) for op, names in missing.items()}
            )


def attributes(node: "ir.Node") -> dict[str, Any]:
    """Attributes as Python values: ints → tuple, tensor → numpy array, string → str."""
    return {name: _attribute(attribute) for name, attribute in node.attributes.items()}


def _attribute(attribute: "ir.Attr") -> Any:
    kind = attribute.type.name
    if kind == "TENSOR":
        return attribute.as_tensor().numpy()
    if kind.endswith("S"):
        return tuple(attribute.value)
    return attribute.value


def schema_problems(rules: Mapping[str, Rule], opset: int = INTERNAL_OPSET) -> list[str]:
    """How the signatures differ from `onnx.defs`: names and order of inputs, names and defaults of attributes.

    An operator that came after `opset` is compared with its newest form.
    """
    import onnx.defs

    problems: list[str] = []
    for rule in rules.values():
        newest: int = onnx.defs.get_schema(rule.op_type).since_version
        known = onnx.defs.has(rule.op_type, opset, "")
        schema = onnx.defs.get_schema(rule.op_type, opset if known else newest, "")
        parameters = list(inspect.signature(rule.function).parameters.values())[1:]
        problems += [f"{rule.owner} ({rule.op_type}): {text}" for text in _differences(schema, parameters)]
    return problems


def _differences(schema: Any, parameters: Sequence[inspect.Parameter]) -> list[str]:
    kinds = inspect.Parameter
    problems: list[str] = []
    variadic = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
    positional = [p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    if not variadic and len(positional) != len(schema.inputs):
        problems.append(f"{len(positional)} positional parameters, the operator has {len(schema.inputs)} inputs")
    for parameter, formal in zip(positional, schema.inputs):
        optional = formal.option.name == "Optional"
        if optional != (parameter.default is None):
            problems.append(f"input {formal.name} is {'optional' if optional else 'required'}, {parameter.name} is not")
    given = {p.name: p.default for p in parameters if p.kind is kinds.KEYWORD_ONLY}
    for name, attribute in schema.attributes.items():
        if name not in given:
            problems.append(f"attribute {name} is missing")
            continue
        default = _default(attribute)
        if given[name] != default and not (attribute.required and given[name] is kinds.empty):
            problems.append(f"attribute {name} defaults to {default!r}, not {given[name]!r}")
    problems += [f"{name} is no attribute of the operator" for name in given if name not in schema.attributes]
    return problems


def _default(attribute: Any) -> Any:
    import onnx.helper

    if attribute.default_value.type == 0:
        return None
    value = onnx.helper.get_attribute_value(attribute.default_value)
    if isinstance(value, list):
        return tuple(each.decode() if isinstance(each, bytes) else each for each in value)
    return value.decode() if isinstance(value, bytes) else value
