"""What a Core ML package says of itself, as Xcode shows it."""

import json
from typing import Any

from edgewright.runtimes.read.model_metadata import SHOWN_LABELS

TEXTS = {"author": "author", "license": "license", "version": "versionString", "description": "shortDescription"}


def coreml_metadata(spec: Any, operations: Any) -> dict[str, str]:
    """author, license, version, description, normalization, labels, where stated; and the keys that users gave.

    `operations` are those of the program: a classifier's labels are a constant of `classify`.
    """
    about = spec.description.metadata
    found = dict(about.userDefined) | {name: getattr(about, field) for name, field in TEXTS.items()}
    labels = _classes(operations) or _listed(found.pop("labels", ""))
    if labels:
        more = ", …" if len(labels) > SHOWN_LABELS else ""
        found["labels"] = f"{len(labels)}: {', '.join(labels[:SHOWN_LABELS])}{more}"
    return {name: text for name, text in found.items() if text}


def _classes(operations: Any) -> list[str]:
    given = [each for op in operations if op.type == "classify" for each in op.inputs["classes"].arguments]
    names = {each.name for each in given if each.name}
    constants = [op.attributes["val"] for op in operations if op.outputs and op.outputs[0].name in names]
    lists = [
        value.immediateValue.list.values for value in (*(each.value for each in given if not each.name), *constants)
    ]
    tensors = [each.immediateValue.tensor for values in lists for each in values]
    return [str(label) for each in tensors for label in (each.strings.values or each.longInts.values)]


def _listed(text: str) -> list[str]:
    """Labels of each pixel, which edgewright writes as JSON."""
    try:
        return [str(label) for label in json.loads(text)] if text.startswith("[") else []
    except json.JSONDecodeError:
        return [text]
