"""Forms of a float model that compute the same function and lose less to int8."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgewright.data import Samples
from edgewright.export.onnx.quantize.channels import observe_channels, outlier_notes
from edgewright.export.onnx.quantize.equalize import channel_groups, equalize, input_groups, scale_inputs
from edgewright.export.onnx.quantize.factors import EQUALIZED_KEY, decode, encode
from edgewright.progress import Progress
from edgewright.runtimes.contract import Contract

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Form:
    """A float model, what was done to it, and which of its operators must stay in float, with the reason."""

    name: str
    model: "ir.Model"
    keep_float: dict[str, str] = field(default_factory=dict)


def equalized_forms(
    model: "ir.Model", contract: Contract, samples: Samples, progress: Progress
) -> tuple[list[Form], list[dict[str, Any]]]:
    """Copies of the model with equalized channels, and the outlier channels of the model.

    Where a Clip bounds channels, what is gained is not certain: there is a form without those.
    """
    groups = channel_groups(model)
    names = {str(value.name) for group in groups for value in group.tensors}
    if not names:
        return [], []
    seen = observe_channels(model, contract, names, samples, progress)
    forms = []
    for name, bounded in (("equalized", True), ("equalized but for bounded channels", False)):
        if not bounded and not any(group.bounds for group in groups):
            continue
        copy = model.clone()
        factors = equalize([group for group in channel_groups(copy) if bounded or not group.bounds], seen)
        if factors:
            copy.metadata_props[EQUALIZED_KEY] = encode(factors)
            forms.append(Form(name, copy))
    return forms, outlier_notes(seen)


def scaled_input_form(form: Form, contract: Contract, samples: Samples, progress: Progress) -> Form | None:
    """A copy that scales the channels of its inputs; None where they have like ranges, or others read them."""
    copy = form.model.clone()
    groups = input_groups(copy)
    if not groups:
        return None
    names = {str(group.tensors[0].name) for group in groups}
    factors, reasons = scale_inputs(groups, observe_channels(copy, contract, names, samples, progress))
    if not factors:
        return None
    before = decode(copy.metadata_props.get(EQUALIZED_KEY, "{}"))
    copy.metadata_props[EQUALIZED_KEY] = encode(before | factors)
    return Form(f"{form.name}, inputs scaled", copy, form.keep_float | reasons)
